"""Sphinx extension: the library's docstrings, as they are written, for Sphinx."""

import re
from pathlib import Path

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    source = Path(__file__).read_text(encoding="utf-8")
    app.add_config_value("mmer_reference", source, "env", str)  # a change of it reads all again
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _prepare(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    # `Utterance`s: reStructuredText wants a mark where code ends inside a word.
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]
    # Of a value, napoleon takes what stands before a colon for the type; here it never is.
    if what in ("attribute", "data", "property") and lines:
        lines[0] = f":{lines[0]}"


def _shorten(app: Sphinx, what: str, name: str, obj, options, signature, result):
    # What dataclasses print for a default that is made anew is no Python.
    return (signature or "").replace("<factory>", "...") or None, result


def _skip(app: Sphinx, what: str, name: str, obj, skip: bool, options) -> bool | None:
    # Of a named tuple's fields the class says what they are; each has only its number.
    told = getattr(obj, "__doc__", None) or ""
    return True if told.startswith("Alias for field number") else None
