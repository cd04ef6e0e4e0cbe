"""The reference: every public module of the library stands on one of its pages."""

import re
from pathlib import Path

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
    assert set(modules) == set(shown), "each has its place on a page of book/api"


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
