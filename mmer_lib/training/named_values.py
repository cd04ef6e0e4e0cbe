"""NAME=VALUE on the command line."""

from __future__ import annotations

import ast

from mmer_lib.data import DataError

_KINDS = {"int": int, "float": (int, float), "bool": bool, "str": str}


def pairs(texts: list[str], option: str, form: str = "NAME=VALUE") -> dict[str, str]:
    """["a=1", "b=x"] -> {"a": "1", "b": "x"}."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise DataError(f"{option} {text}: write {form}")
        if name in pairs:
            raise DataError(f"{option} {name}: given twice")
        pairs[name] = value
    return pairs


def value_of(text: str):
    """A number, a boolean, a tuple, ... as Python writes it; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def typed_as(name: str, text: str, fields: dict):
    """The value for a field of a dataclass, of the type that the field has.

    Raises:
        DataError: another type.
    """
    kind = fields[name].type
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    value = text if kind == "str" else value_of(text)
    wanted = _KINDS.get(kind)
    if wanted and (not isinstance(value, wanted) or (kind != "bool" and isinstance(value, bool))):
        hint = ": True or False" if kind == "bool" else ""
        raise DataError(f"--set {name}={text}: {name} is of type {kind}{hint}")
    return float(value) if kind == "float" else value  # 1 and 1.0 are one configuration
