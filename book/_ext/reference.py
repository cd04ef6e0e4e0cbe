"""Sphinx extension: the library's docstrings, as they are written, for Sphinx."""

import contextlib
import inspect
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.autodoc import DataDocumenter
from sphinx.util.inspect import object_description, stringify_signature
from sphinx.util.inspect import signature as signature_of

SECTIONS = ("Args:", "Attributes:", "Raises:")
NEXT = re.compile(r"(?<=[.;]) (?=((?:\w+, )*\w+): )")  # before the next name in a line


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    source = Path(__file__).read_text(encoding="utf-8")
    app.add_config_value("mmer_reference", source, "env", str)  # a change of it reads all again
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _skip)
    app.add_autodocumenter(Data, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Data(DataDocumenter):
    """A value that is no Python when it is printed, or names a folder of this machine, is not."""

    def should_suppress_value_header(self) -> bool:
        printed = re.search(r"<\w+ .*>|'/", object_description(self.object))
        return bool(printed) or super().should_suppress_value_header()


def _prepare(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    # `Utterance`s: reStructuredText wants a mark where code ends inside a word.
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]
    # "product: K.": it takes a letter with a full stop for the first of a list.
    lines[:] = [re.sub(r"(?<=: )(?=[A-Za-z]\.$)", r"\\", line) for line in lines]
    # An arrow of two characters could be parted at the end of a line of the page.
    lines[:] = [line if ">>>" in line else re.sub(r"(?<!\S)->(?!\S)", "→", line) for line in lines]
    # A docstring that begins with a section: its other lines have lost their indent.
    if lines[1:] and lines[0] in SECTIONS and not lines[1].startswith(" "):
        lines[1:] = [f"    {line}" if line else "" for line in lines[1:]]
    lines[:] = [part for line in _sections(lines) for part in _one_a_line(obj, *line)]
    # Nor is what stands before a colon in what is returned a type.
    for above, line in enumerate(lines[1:]):
        if lines[above] == "Returns:":
            lines[above + 1] = f"    :{line.strip()}"
    # Of a value, napoleon takes what stands before a colon for the type; here it never is.
    if what in ("attribute", "data", "property") and lines:
        lines[0] = f":{lines[0]}"


def _sections(lines: list[str]):
    """Each line, and whether it stands in one of `SECTIONS`."""
    inside = False
    for line in lines:
        inside = (inside and line.startswith("    ")) or line in SECTIONS
        yield line, inside


def _one_a_line(obj, line: str, inside: bool) -> list[str]:
    """The entries of a line: "name: of the model. folder: where it is kept." are two."""
    if not inside or line in SECTIONS:
        return [line]
    names = {*dir(obj), *getattr(obj, "__annotations__", ())}
    with contextlib.suppress(TypeError, ValueError):  # no callable, or one that does not tell
        names |= {*inspect.signature(obj).parameters}
    entries, start = [], 0
    for match in NEXT.finditer(line):
        if all(name in names or name.endswith("Error") for name in match[1].split(", ")):
            entries.append(line[start : match.start()].rstrip())
            start = match.end()
    entries.append(line[start:])
    return [entries[0], *(f"    {entry}" for entry in entries[1:])]


def _shorten(app: Sphinx, what: str, name: str, obj, options, signature, result):
    # A class whose parent makes it anew in `__new__` has arguments all the same.
    if what == "class" and re.match(r"\(\*args\b[^,]*, \*\*kwargs\b[^,]*\)$", signature or ""):
        made = signature_of(obj.__init__, bound_method=True)
        signature = stringify_signature(
            made, show_return_annotation=False, unqualified_typehints=True
        )
    # What dataclasses print for a default that is made anew is no Python.
    return (signature or "").replace("<factory>", "...") or None, result


def _skip(app: Sphinx, what: str, name: str, obj, skip: bool, options) -> bool | None:
    # Of a named tuple's fields the class says what they are; each has only its number.
    told = getattr(obj, "__doc__", None) or ""
    return True if told.startswith("Alias for field number") else None
