"""The reference: every public module of the library stands on one of its pages."""

import re
from pathlib import Path

import pytest

from tests.book.test_chapters import BOOK

LIBRARY = BOOK.parent / "mmer_lib"
PAGES = sorted((BOOK / "api").glob("*.md"))


def module(path):
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_with_public_names_is_there_once():
    shown = [
        name
        for page in PAGES
        for name in re.findall(r"^\.\. automodule:: (\S+)$", page.read_text("utf-8"), re.M)
    ]
    modules = [
        module(path)
        for path in LIBRARY.rglob("*.py")
        if re.search(r"^(?:def|class) [a-zA-Z]|^[A-Z]\w+\b.* = ", path.read_text("utf-8"), re.M)
    ]
    assert len(shown) == len(set(shown))
    figures = "mmer_lib.book.figures"  # of which the package shows every function
    inside = {m for m in modules if m.startswith(f"{figures}.") and m not in shown}
    assert set(modules) - inside == set(shown) - {figures}, (
        "each has its place on a page of book/api"
    )


def test_each_stands_under_its_name():
    for page in PAGES:
        text = page.read_text("utf-8")
        under = re.findall(r"^## (\S+)\n\n```\{eval-rst\}\n\.\. automodule:: (\S+)$", text, re.M)
        assert all(heading == name for heading, name in under)
        assert len(under) == text.count("automodule")


def test_the_overview_names_each_page():
    text = (BOOK / "api" / "index.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| \{doc\}`(\w+)`", text, re.M)) == sorted(
        Path(page).stem for page in PAGES if page.stem != "index"
    )


def prepared(obj, *lines):
    """The lines of a docstring as napoleon gets them."""
    reference = pytest.importorskip("reference", reason="the book's packages are not installed")
    lines = list(lines)
    reference._prepare(None, "function", obj.__name__, obj, None, lines)
    return lines


def load(name, root=None):
    return name, root


def test_entries_that_share_a_line_stand_apart():
    assert prepared(
        load, "It loads.", "", "Args:", "    name: short. root: a folder;", "        or"
    )[3:] == ["    name: short.", "    root: a folder;", "        or"]


def test_what_is_no_argument_stays_in_its_line():
    lines = ["It loads. root: a folder.", "", "Args:", "    name: short; None: the first."]
    assert prepared(load, *lines) == lines


def test_errors_that_share_a_line_stand_apart():
    told = prepared(load, "Raises:", "KeyError: none. ValueError: two.")
    assert told == ["Raises:", "    KeyError: none.", "    ValueError: two."]


def test_a_letter_is_no_list_and_an_arrow_is_one_character():
    told = prepared(load, "x (B) -> (B, D).", "", "Attributes:", "    name: short. root: K.")
    assert told == ["x (B) → (B, D).", "", "Attributes:", "    name: short.", "    root: \\K."]
