"""What every chapter put out when it was run for the book; exercises and figures are whole."""

import ast
import re
from functools import cache
from pathlib import Path

import execute
import pytest
import yaml

from mmer_lib.book.prepare import RUNS

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(p.stem for p in BOOK.glob("*.md"))
LONGEST = 84  # characters that fit beside two sidebars
TAUGHT = [name for name in CHAPTERS if name not in ("intro", "notation", "tested")]


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def printed(cell):
    return "".join(o.get("text", "") for o in cell.outputs if o.output_type == "stream")


@cache
def executed(name):
    """The chapter as `make chapters` has run it."""
    if name not in execute.names():
        return execute.read(name)
    if execute.outdated() or (notebook := execute.executed(name)) is None:
        pytest.fail(f"{name} was not run since it, or the code, was changed: make chapters")
    return notebook


def test_the_table_of_contents_names_every_chapter():
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    entries = [c for part in toc["parts"] for c in part["chapters"]]
    entries += [section for entry in entries for section in entry.get("sections", [])]
    named = [toc["root"], *(entry["file"] for entry in entries)]
    there = (p.relative_to(BOOK).with_suffix("") for p in BOOK.rglob("*.md"))
    assert sorted(named) == sorted(p.as_posix() for p in there)


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_chapter_runs_and_prints_nothing_on_standard_error(name):
    for cell in code_cells(executed(name)):
        errors = [o.text for o in cell.outputs if o.get("name") == "stderr"]
        assert errors == [], cell.source


@pytest.mark.parametrize("name", TAUGHT)
def test_the_exercise_refuses_the_stub_with_a_hint_and_takes_the_solution(name):
    cells = code_cells(executed(name))
    solutions = [c for c in cells if "solution" in c.metadata.get("tags", [])]
    assert solutions
    for solution in solutions:
        check = re.search(r"^(check_\w+)\(", solution.source, re.M)[1]
        stub = next(c for c in cells if f"def {check}(" in c.source)
        assert re.match(r"Not yet\b.{20,}", printed(stub))
        assert printed(solution).startswith("Right")


@pytest.mark.parametrize("name", CHAPTERS)
def test_cells_are_short_enough_to_read(name):
    for cell in code_cells(execute.read(name)):
        lines = cell.source.splitlines()
        assert max(map(len, lines)) <= LONGEST, cell.source
        assert len(lines) <= 14, cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_figure_has_a_caption_a_name_and_a_text_for_those_who_cannot_see_it(name):
    for cell in code_cells(executed(name)):
        drawn = any("image/png" in o.get("data", {}) for o in cell.outputs)
        if drawn:
            options = cell.metadata.get("mystnb", {})
            assert len(options["figure"]["caption"]) > 40, cell.source
            assert options["figure"]["name"], cell.source
            assert len(options["image"]["alt"]) > 40, cell.source


@pytest.mark.parametrize("name", TAUGHT)
def test_the_chapter_opens_with_its_aim_its_cost_and_the_kind_of_its_data(name):
    opening = (BOOK / f"{name}.md").read_text(encoding="utf-8").split("{code-cell}")[0]
    for wanted in ("**After this chapter**", "**Cost**", "{.synthetic}"):
        assert wanted in opening


def test_what_chapters_train_on_the_demo_corpus_is_trained_before_they_are_run():
    """But for what they train to show it, into a folder of their own."""
    asked = []
    for name in CHAPTERS:
        for cell in code_cells(execute.read(name)):
            source = re.sub(r"^[%!].*", "", cell.source, flags=re.M)
            for node in ast.walk(ast.parse(source)):
                if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "fit"):
                    continue
                model, options = node.args[0], {k.arg: k.value for k in node.keywords}
                if isinstance(model, ast.Constant) and "out" not in options:
                    same = ("fold", "seed", "preset", "progress")
                    left = {k: ast.literal_eval(v) for k, v in options.items() if k not in same}
                    asked.append((model.value, left))
    assert len(asked) > 20
    assert not [one for one in asked if one not in RUNS]
