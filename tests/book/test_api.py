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


def load(name, root=None):
    return name, root


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["Args:", "    name: short. root: a folder;", "        or"],
            ["Args:", "    name: short.", "    root: a folder;", "        or"],
        ),
        (["It loads. root: a folder."], ["It loads. root: a folder."]),
        (["Args:", "    name: short; None: the first."], None),
        (
            ["Raises:", "KeyError: none. ValueError: two."],
            ["Raises:", "    KeyError: none.", "    ValueError: two."],
        ),
        (["x (B) -> (B, D)."], ["x (B) → (B, D)."]),
        (["Attributes:", "    root: K."], ["Attributes:", "    root: \\K."]),
    ],
)
def test_docstrings_become_what_napoleon_reads(lines, told):
    """Entries that share a line stand apart; a letter is no list, an arrow is one character."""
    reference = pytest.importorskip("reference", reason="the book's packages are not installed")
    found = list(lines)
    reference._prepare(None, "function", "load", load, None, found)
    assert found == (told or lines)
