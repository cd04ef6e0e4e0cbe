"""The notebooks: as the chapters are now, plain for any Jupyter, ready where mmer is missing."""

import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import execute
import missing
import nbformat
import notebooks
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.book.test_chapters import BOOK, code_cells

ADDRESS = "https://github.com/OWNER/NAME"
STILL_MYST = re.compile(r"^[`:]{3,}\{|\{[a-z:.-]+\}`|\]\{\.|^\([\w-]+\)=$|^%", re.M)


@cache
def fresh(name):
    return notebooks.notebook(name, ADDRESS)


def prose(notebook):
    """The texts of its Markdown cells, without the code in them."""
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    return [re.sub(r"^(`{3,})[a-z]*\n.*?^\1$", "", t, flags=re.M | re.S) for t in texts]


def run_first_cell(text, folder, then="import os; print(os.getcwd())"):
    """Executes it in a kernel that starts in `folder`; returns what `then` prints."""
    cells = [nbformat.v4.new_code_cell(code) for code in (text, then)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    return notebook.cells[1].outputs[0].text.strip()


@pytest.mark.parametrize("name", notebooks.names())
def test_it_is_valid_has_the_chapters_code_and_no_outputs(name):
    kept = fresh(name)
    nbformat.validate(kept)
    cells = code_cells(kept)
    assert [c.source for c in cells[1:]] == [c.source for c in code_cells(execute.read(name))]
    assert all(c.outputs == [] and c.execution_count is None for c in cells)
    assert kept.cells[0] == cells[0]
    assert "find_spec" in kept.cells[0].source


@pytest.mark.parametrize("name", notebooks.names())
def test_nothing_is_left_that_only_the_book_understands_and_links_lead_somewhere(name):
    for text in prose(fresh(name)):
        assert not STILL_MYST.search(text), text
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            path = Path(target)
            beside = path.suffix == ".ipynb" and path.stem in notebooks.names()
            above = path.parts[0] == ".." and (BOOK / Path(*path.parts[1:])).is_file()
            assert target.startswith("https://") or beside or above, target


def test_what_sphinx_adds_becomes_plain():
    text = notebooks.plain(
        "See {doc}`muse`, {doc}`the letters <notation>` and {cite}`kim2014`. [live]{.live}\n\n"
        "By [Eq. 6](muse-eq-6):\n\n(muse-eq-99)=\n\\begin{align*}\nx\n\\end{align*}\n\n"
        "```{note}\nMind {doc}`corpus`.\n```\n\n:::{admonition} Two\nlines\n:::\n\n"
        "```{literalinclude} ../mmer_lib/models/muse.py\n:pyobject: PhonemeCNN.forward\n```\n\n"
        "```python\nplain = '{doc}`muse`'\n```"
    )
    assert "[MUSE in one sitting](muse.ipynb), [the letters](../notation.md) and (Kim, 2014" in text
    assert "`live`" in text
    assert "By [Eq. 6](muse-highway.ipynb):\n\n\\begin{align*}" in text
    assert "> **Note.**\n>\n> Mind [A corpus you can check](corpus.ipynb)." in text
    assert "> **Two.**\n>\n> lines" in text
    assert "```python\n    def forward(self, phonemes: Tensor) -> Tensor:" in text
    assert "plain = '{doc}`muse`'" in text


def test_where_mmer_is_the_first_cell_only_goes_to_the_book(tmp_path):
    cell = fresh("muse").cells[0].source
    assert Path(run_first_cell(cell, BOOK / "_ext")) == BOOK
    assert Path(run_first_cell(cell, tmp_path)) == BOOK


def test_where_mmer_is_missing_and_no_address_is_known_it_says_what_to_do(tmp_path):
    hidden = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'mmer_lib' else find(name)\n"
    )
    cell = notebooks.notebook("muse").cells[0].source
    with pytest.raises(CellExecutionError, match="write its repository's address above"):
        run_first_cell(hidden + cell, tmp_path)


def test_the_address_is_asked_for_or_that_of_origin(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="GitHub"):
        notebooks.known_address("https://example.org/mmer")
    for command in (["init"], ["remote", "add", "origin", "git@github.com:OWNER/FORK.git"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    monkeypatch.setattr(notebooks, "BOOK", tmp_path)
    assert notebooks.known_address() == "https://github.com/OWNER/FORK"


def test_launches_open_the_notebook_where_it_will_be():
    assert notebooks.launches("muse", "") == {}
    assert notebooks.launches("muse", ADDRESS) == {
        "Colab": "https://colab.research.google.com/github/OWNER/NAME/blob/gh-pages"
        "/notebooks/muse.ipynb",
        "Binder": "https://mybinder.org/v2/gh/OWNER/NAME/main"
        "?urlpath=lab/tree/book/notebooks/muse.ipynb",
    }


def test_a_notebook_follows_its_chapter_unless_its_reader_changed_it(tmp_path, monkeypatch):
    """Outputs are no change; a notebook whose chapter is gone goes too; others' are left alone."""
    chapters = ("corpus", "mimic", "muse", "mosi")
    monkeypatch.setattr(notebooks, "names", lambda: chapters)
    assert notebooks.write(tmp_path, ADDRESS) == []
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "mine.ipynb")

    def edit(name, cell, **changes):
        one = nbformat.read(tmp_path / f"{name}.ipynb", 4)
        one.cells[cell].update(changes)
        nbformat.write(one, tmp_path / f"{name}.ipynb")

    def kept():
        return {p.stem: nbformat.read(p, 4).cells for p in tmp_path.iterdir()}

    edit("mosi", 0, execution_count=7)
    edit("muse", 1, source="# Mine")
    edit("mimic", 1, source="# Mine")
    before = kept()
    assert notebooks.write(tmp_path, ADDRESS) == [
        tmp_path / f"{n}.ipynb" for n in ("mimic", "muse")
    ]
    assert kept() == before

    monkeypatch.setattr(notebooks, "names", lambda: ("corpus", "mosi"))
    monkeypatch.setattr(notebooks, "_SET_UP", "changed")
    assert notebooks.write(tmp_path, ADDRESS) == []
    after = kept()
    assert set(after) == {"corpus", "mimic", "mine", "mosi", "muse"}
    assert [after[n][0].source for n in ("corpus", "mosi")] == ["changed"] * 2
    assert after["muse"] == before["muse"]

    monkeypatch.setattr(notebooks, "names", lambda: ("corpus",))
    notebooks.write(tmp_path, ADDRESS)
    assert set(kept()) == {"corpus", "mimic", "mine", "muse"}


def test_only_what_a_kernel_lacks_is_installed(monkeypatch):
    there = metadata.version

    def version(name):
        if name in ("captum", "torch", "jupyter-book"):
            raise metadata.PackageNotFoundError
        return there(name)

    monkeypatch.setattr(metadata, "version", version)
    assert {"torch", "captum"} == {pin.split("==")[0] for pin in missing.missing()}


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/OWNER/NAME.git", ADDRESS),
        ("https://user@github.com/OWNER/NAME/\n", ADDRESS),
        ("git@github.com:OWNER/NAME.git", ADDRESS),
        ("ssh://git@github.com/OWNER/NAME.git", ADDRESS),
        ("/srv/mmer", ""),
        ("https://github.com.example/OWNER/NAME", ""),
    ],
)
def test_addresses_on_github(remote, address):
    assert notebooks.repository_address(remote) == address
