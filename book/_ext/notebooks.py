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

import nbformat
from docutils.parsers.rst import Directive, directives
from markdown_it.renderer import RendererHTML
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import parse_file
from sphinx.config import Config
from sphinx.directives.code import LiteralInclude, LiteralIncludeReader

BOOK = Path(__file__).resolve().parents[1]
FOLDER = BOOK / "notebooks"
BRANCH, PUBLISHED = "main", "gh-pages"  # where the sources are, and where the built book

_PARSER = create_md_parser(
    MdParserConfig(enable_extensions={"amsmath", "colon_fence", "dollarmath"}), RendererHTML
)
_BOXES = ("note", "tip", "hint", "important", "warning", "caution", "seealso")
_TITLED = ("admonition", "dropdown", "tab-item", "card")
_ROLE = re.compile(r"\{([a-z:]+)\}`([^`]+)`")
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
    source = read_myst_markdown_notebook((BOOK / f"{name}.md").read_text(encoding="utf-8"))
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
    there = {path.stem: nbformat.read(path, 4) for path in folder.glob("*.ipynb")}
    untouched = {name for name, one in there.items() if _digest(one.cells) == _written(one)}
    for name in untouched - set(names()):
        (folder / f"{name}.ipynb").unlink()
    left = []
    for name in names():
        path, new = folder / f"{name}.ipynb", notebook(name, address)
        if name in there and _digest(there[name].cells) == _written(new):
            continue
        if name in there and name not in untouched:
            left.append(path)
        else:
            path.write_text(nbformat.writes(new) + "\n", encoding="utf-8")
    return left


def _written(one: nbformat.NotebookNode) -> str | None:
    """The digest of its cells when it was written; None of another's notebook."""
    return one.metadata.get("mmer", {}).get("digest")


def plain(text: str) -> str:
    """MyST Markdown as Markdown that any notebook shows.

    Raises:
        ValueError: A directive or a role that this module does not know.
    """
    lines, out, at = text.splitlines(), [], 0
    for token in _PARSER.parse(text):
        if token.type not in ("fence", "colon_fence"):
            continue
        first, last = token.map
        out.append(_inline("\n".join(lines[at:first])))
        block = "\n".join(lines[first:last])
        out.append(_directive(token) if token.info.startswith("{") else block)
        at = last
    out.append(_inline("\n".join(lines[at:])))
    return "\n".join(part for part in out if part)


def _directive(token) -> str:
    kind, _, argument = token.info[1:].partition("}")
    argument = argument.strip()
    if kind == "literalinclude":
        return _included(argument, token.content)
    if kind == "bibliography":
        return "\n".join(f"- {_entry(key)}" for key in sorted(_references()))
    if kind in _BOXES + _TITLED:

        class Box(Directive):
            has_content, optional_arguments = True, 1
            final_argument_whitespace, option_spec = True, {"class": directives.class_option}

        body = plain("\n".join(parse_directive_text(Box, "", token.content).body))
        title = argument if kind in _TITLED else kind.capitalize()
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}.**", "", *body.split("\n")])
    raise ValueError(f"no plain form of the directive {kind}")


def _included(path: str, content: str) -> str:
    """The source that Sphinx would show."""
    parsed = parse_directive_text(LiteralInclude, path, content)
    file = BOOK / path
    text, _ = LiteralIncludeReader(str(file), parsed.options, Config()).read()
    language = parsed.options.get("language", "python")
    return f"```{language}\n{text.rstrip()}\n```\n\n`{file.resolve().relative_to(BOOK.parent)}`"


def _inline(text: str) -> str:
    text = _TO_TARGET.sub(lambda found: f"]({_holder(found[1])}.ipynb)", _TARGET.sub("", text))
    return _LABEL.sub(r"`\1`", _ROLE.sub(_role, text))


@cache
def _holder(target: str) -> str:
    """The chapter in which a place has that name."""
    for name in names():
        if f"\n({target})=\n" in _chapter(name):
            return name
    raise ValueError(f"no place in the chapters is named {target}")


def _role(found: re.Match) -> str:
    kind, inside = found[1], found[2]
    text, target = re.fullmatch(r"(?:(.*?)\s*<)?(.*?)>?", inside, re.S).groups()
    if kind == "doc":
        return _link(target, text)
    if kind == "numref":
        for name in names():
            if f"name: {target}\n" in _chapter(name):
                return f"a figure of {_link(name)}"
        raise ValueError(f"no figure is named {target}")
    if kind == "cite":
        return "(" + "; ".join(_cited(key.strip()) for key in inside.split(",")) + ")"
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


def _people(key: str) -> str:
    last = [_unbraced(" ".join(p.last_names)) for p in _references()[key].persons["author"]]
    if len(last) > 2:
        return f"{last[0]} et al."
    return " and ".join(last)


def _cited(key: str) -> str:
    fields = _references()[key].fields
    text = f"{_people(key)}, {fields['year']}"
    return f"[{text}](https://doi.org/{fields['doi']})" if "doi" in fields else text


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
