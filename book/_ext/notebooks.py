"""Jupyter notebooks from the chapters, for JupyterLab, Colab and Binder.

A chapter is MyST Markdown, of which a plain notebook shows only the Markdown. What Sphinx adds is
turned into plain Markdown here: included source, boxes, citations, links, captions. The cells with
code stay as they are, behind a first one that installs the package where it is missing.

They are written, not kept in the repository: into book/notebooks by `make notebooks`, and into the
built book, from where Colab opens those that are published.

python book/_ext/notebooks.py [ADDRESS]     write book/notebooks; ADDRESS as in `repository_address`
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from pybtex.database import parse_file
from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader

BOOK = Path(__file__).resolve().parents[1]
FOLDER = BOOK / "notebooks"
BRANCH, PUBLISHED = "main", "gh-pages"  # where the sources are, and where the built book

_FENCE = re.compile(r"^(`{3,}|:{3,})(.*)\n((?:.*\n)*?)\1$", re.M)
_ROLE = re.compile(r"\{([a-z:]+)\}`(?:([^`<]*?)\s*<)?([^`<>]+)>?`")
_TARGET = re.compile(r"^\(([\w-]+)\)=\n", re.M)
_TO_TARGET = re.compile(r"\]\(((?:muse|mimic)-eq-\d+)\)")
_LABEL = re.compile(r"\[([^\]]+)\]\{\.(live|recorded|synthetic)\}")

_SET_UP = """\
repository = "{address}"  # where mmer is, for a kernel that lacks it
import importlib.util, os, sys
from pathlib import Path

if importlib.util.find_spec("mmer_lib") is None:  # as on Colab, whose torch stays
    assert repository, "mmer is missing here: write its repository's address above"
    !git clone --quiet --depth 1 {{repository}} mmer
    missing = !{{sys.executable}} mmer/book/_ext/missing.py
    %pip install --quiet {{" ".join(missing)}}
    %pip install --quiet --no-deps ./mmer
# To the folder of the book, from where the cells read ../data.
checkout = Path(importlib.util.find_spec("mmer_lib").origin).parents[1]
os.chdir(next((p for p in (checkout / "book", Path("mmer/book")) if p.is_dir()), "."))"""


def repository_address(text: str) -> str:
    """https://github.com/OWNER/NAME of a remote on GitHub (https or ssh), "" of any other."""
    found = re.fullmatch(
        r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?",
        text.strip(),
    )
    return f"https://github.com/{found[1]}/{found[2]}" if found else ""


def known_address(asked: str = "") -> str:
    """Where the repository is public, or "".

    That is `asked`, else the remote `origin`, if it is on GitHub.

    Raises:
        ValueError: `asked` is no address on GitHub.
    """
    if asked:
        if address := repository_address(asked):
            return address
        raise ValueError(f"not the address of a repository on GitHub: {asked}")
    command = ["git", "-C", str(BOOK), "remote", "get-url", "origin"]
    try:
        told = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:  # no git, as in an unpacked archive
        return ""
    return repository_address(told.stdout)


def launches(name: str, address: str) -> dict[str, str]:
    """{service: web address that opens the notebook of a chapter there}.

    Colab opens the one of the published book, without the rest of the repository. Binder installs
    the repository and writes them (`postBuild`).
    """
    if not address:
        return {}
    repository = address.removeprefix("https://github.com/")
    colab = "https://colab.research.google.com/github"
    lab = f"?urlpath=lab/tree/book/notebooks/{name}.ipynb"
    return {
        "Colab": f"{colab}/{repository}/blob/{PUBLISHED}/notebooks/{name}.ipynb",
        "Binder": f"https://mybinder.org/v2/gh/{repository}/{BRANCH}{lab}",
    }


@cache
def names() -> tuple[str, ...]:
    """The chapters that have cells."""
    every = sorted(BOOK.glob("*.md"))
    return tuple(p.stem for p in every if "```{code-cell}" in p.read_text(encoding="utf-8"))


def notebook(name: str, address: str = "") -> nbformat.NotebookNode:
    """One chapter as a notebook without outputs."""
    source = jupytext.reads(_chapter(name), "md:myst")
    hidden = {"jupyter": {"source_hidden": True}}
    cells = [nbformat.v4.new_code_cell(_SET_UP.format(address=address), metadata=hidden)]
    for cell in source.cells:
        if cell.cell_type == "markdown":
            cells.append(nbformat.v4.new_markdown_cell(plain(cell.source)))
            continue
        tags = cell.metadata.get("tags", [])
        folded = hidden if "hide-input" in tags else {}
        cells.append(nbformat.v4.new_code_cell(cell.source, metadata={"tags": tags, **folded}))
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            caption = plain(figure["caption"].strip())
            cells.append(nbformat.v4.new_markdown_cell(f"**Figure.** {caption}"))
    for at, cell in enumerate(cells):
        cell["id"] = f"{name}-{at}"
    about = {
        "kernelspec": source.metadata["kernelspec"],
        "language_info": {"name": "python"},
        "mmer": {"source": f"book/{name}.md", "digest": _digest(cells)},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


def _digest(cells: list) -> str:
    """What tells apart the texts of cells, whatever they have put out."""
    texts = "\0".join(f"{cell.cell_type} {cell.source}" for cell in cells)
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def write(folder: Path, address: str = "") -> list[Path]:
    """Write the notebooks of all chapters, and remove those of chapters that are gone. One in which
    a reader has changed a cell stays as it is.

    Returns:
        Those that were left although their chapter says something else now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    for path in sorted({*folder.glob("*.ipynb"), *(folder / f"{name}.ipynb" for name in names())}):
        new = notebook(path.stem, address) if path.stem in names() else None
        if not path.exists():
            path.write_text(nbformat.writes(new) + "\n", encoding="utf-8")
            continue
        there = nbformat.read(path, 4)
        written, now = there.metadata.get("mmer", {}).get("digest"), _digest(there.cells)
        if new and now == new.metadata.mmer.digest:
            continue
        if now != written:  # a reader's own, or changed by one
            if new:
                left.append(path)
        elif new:
            path.write_text(nbformat.writes(new) + "\n", encoding="utf-8")
        else:
            path.unlink()
    return left


# ------------------------------------------------------------------ MyST as plain Markdown


def plain(text: str) -> str:
    """MyST Markdown as Markdown that any notebook shows.

    Raises:
        ValueError: a directive or a role that this module does not know.
    """
    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts.append(_inline(text[at : fence.start()]))
        parts.append(_directive(fence[2], fence[3]) if fence[2][:1] == "{" else fence[0])
        at = fence.end()
    return "".join([*parts, _inline(text[at:])])


def _directive(opening: str, content: str) -> str:
    kind, _, argument = opening[1:].partition("}")
    if kind == "literalinclude":
        return _included(argument.strip(), content)
    if kind == "bibliography":
        return "\n".join(f"- {_entry(key)}" for key in sorted(_references()))
    if kind in ("note", "tip", "warning", "admonition"):
        title = argument.strip() or kind.capitalize()
        lines = [f"**{title}.**", "", *plain(content.strip()).split("\n")]
        return "\n".join(f"> {line}".rstrip() for line in lines)
    raise ValueError(f"no plain form of the directive {kind}")


def _included(path: str, content: str) -> str:
    """The source that Sphinx would show."""
    options = dict(re.findall(r"^:([\w-]+): *\"?(.*?)\"?$", content, re.M))
    if "dedent" in options:
        options["dedent"] = int(options["dedent"]) if options["dedent"] else None
    file = (BOOK / path).resolve()
    text, _ = LiteralIncludeReader(str(file), options, Config()).read()
    language = options.get("language", "python")
    return f"```{language}\n{text.rstrip()}\n```\n\n`{file.relative_to(BOOK.parent)}`"


def _inline(text: str) -> str:
    text = _TO_TARGET.sub(lambda m: f"]({_holder(f'({m[1]})=')}.ipynb)", _TARGET.sub("", text))
    return _LABEL.sub(r"`\1`", _ROLE.sub(_role, text))


@cache
def _holder(line: str) -> str:
    """The chapter in which a line stands."""
    for name in names():
        if f"{line}\n" in _chapter(name):
            return name
    raise ValueError(f"no chapter has {line}")


def _role(found: re.Match) -> str:
    kind, text, target = found.groups()
    if kind == "doc":
        return _link(target, text)
    if kind == "numref":
        return f"a figure of {_link(_holder(f'    name: {target}'))}"
    if kind == "cite":
        return "(" + "; ".join(_cited(key.strip()) for key in target.split(",")) + ")"
    raise ValueError(f"no plain form of the role {kind}")


def _link(name: str, text: str | None = None) -> str:
    text = text or re.search(r"^# (.+)$", _chapter(name), re.M)[1]
    return f"[{text}]({name}.ipynb)" if name in names() else f"[{text}](../{name}.md)"


@cache
def _chapter(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


@cache
def _references() -> dict:
    return parse_file(BOOK / "references.bib").entries


def _cited(key: str) -> str:
    entry = _references()[key]
    last = [_unbraced(" ".join(p.last_names)) for p in entry.persons["author"]]
    people = f"{last[0]} et al." if len(last) > 2 else " and ".join(last)
    text = f"{people}, {entry.fields['year']}"
    return f"[{text}](https://doi.org/{entry.fields['doi']})" if "doi" in entry.fields else text


def _entry(key: str) -> str:
    fields = _references()[key].fields
    where = next((fields[f] for f in ("journal", "booktitle", "publisher") if f in fields), "")
    parts = [_cited(key), f"*{_unbraced(fields['title'])}*", _unbraced(where)]
    return ". ".join(part for part in parts if part) + "."


def _unbraced(text: str) -> str:
    return re.sub(r"[{}]", "", text)


if __name__ == "__main__":
    for left in write(FOLDER, known_address(sys.argv[1] if len(sys.argv) > 1 else "")):
        print(f"{left}: you changed it, so it was left; rename it to have the chapter as it is now")
