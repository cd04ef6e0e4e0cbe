"""Ways to damage a file: of bytes, of lines of text, of nested objects. All draw from a
`random.Random`, so that a number says which damage was done."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from random import Random

import numpy as np

LARGEST = 1 << 16
"""Bytes of an input; the readers' bounds of memory and time are for files of any size."""

_NUMBERS = (0, 1, -1, 2, 127, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
_TEXTS = (
    "", " ", "nan", "-inf", "1e400", "-1", "9" * 30, "9" * 5000, "\0", "\ufeff", "caf\u00e9",
    "\u0663", "\U0001f600", "\ud800", "a\u0300\u0327" * 20, "x" * 3000, "../../etc/passwd",
    "os\nsystem\n", "%s%n", "\x1b[2J", '"', "''", "[" * 2000, "{\"a\":" * 2000, "\r", "\u2028",
    "sp", "$_$", "[3]", "/dev/zero", "a.raw",
)  # fmt: skip
_VALUES = (
    None, True, 0, 1, -1, 2.5, 7, 1000, 10**9, 2**31, 2**63, -(2**70), 10**400, 1e308, math.nan,
    math.inf, "", "text", "1", b"bytes", [], {}, (), [[]], [None], {"a": 1}, (1, 2, 3),
)  # fmt: skip
_JSON = tuple(v for v in _VALUES if not isinstance(v, bytes | tuple))

# ------------------------------------------------------------------------------------ bytes


def _cut(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if made else 0):
        made[rng.randrange(len(made))] = rng.randrange(256)
    return bytes(made)


def _number(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    number = (rng.choice(_NUMBERS) % (1 << 8 * size)).to_bytes(size, order)
    at = rng.randrange(len(data) + 1)
    return data[:at] + number + data[at + size :]


def _block(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Left out, said again, moved elsewhere, or taken from another file."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    rest, block = data[:a] + data[b:], data[a:b][:4096]
    at = rng.randrange(len(rest) + 1)
    other = rng.choice(others)
    c, d = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    return rng.choice((
        rest,
        data[:b] + block * rng.choice((1, 2, 100)) + data[b:],
        rest[:at] + data[a:b] + rest[at:],
        data[:a] + other[c:d] + data[b:],
    ))  # fmt: skip


BYTES = (_cut, _flip, _number, _block)


def bytes_of(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """One to four changes, which know nothing of the format."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(BYTES)(data, rng, others)[:LARGEST]
    return data


# ------------------------------------------------------------------------------------- text


def text_of(separators: str) -> Callable:
    """Changes of lines and of their fields, which are told apart by `separators`."""

    def change(data: bytes, rng: Random, others: list[bytes]) -> bytes:
        if rng.random() < 0.2:
            return bytes_of(data, rng, others)
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        for _ in range(rng.choice((1, 1, 2, 5))):
            at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
            kind = rng.randrange(7)
            if kind == 0:
                lines.insert(to, lines[at])
            elif kind == 1 and len(lines) > 1:
                del lines[at]
            elif kind == 2:
                lines[at], lines[to] = lines[to], lines[at]
            else:
                separator = rng.choice(separators)
                fields = lines[at].split(separator)
                i, j = rng.randrange(len(fields)), rng.randrange(len(fields))
                if kind == 3:
                    fields[i], fields[j] = fields[j], fields[i]
                elif kind == 4:
                    fields[i:i] = [fields[j]] * rng.choice((1, 1, 50))
                elif kind == 5 and rng.random() < 0.5:
                    fields[i] = ""
                else:
                    fields[i] = rng.choice(_TEXTS) * rng.choice((1, 1, 1, 1, 1, 20))
                lines[at] = separator.join(fields)[:LARGEST]  # or it grows fifty times a change
        text = "\n".join(lines)[:LARGEST]
        if rng.random() < 0.1:
            return text.encode(rng.choice(("utf-16", "utf-32", "cp1252")), "replace")[:LARGEST]
        return text.encode("utf-8", "surrogateescape" if rng.random() < 0.9 else "surrogatepass")

    def safely(data: bytes, rng: Random, others: list[bytes]) -> bytes:
        try:
            return change(data, rng, others)[:LARGEST]
        except UnicodeEncodeError:  # a lone surrogate: no text file can hold it
            return bytes_of(data, rng, others)

    return safely


# ---------------------------------------------------------------------------- nested objects


def change(value: object, rng: Random, values: tuple = _VALUES) -> object:
    """A copy of nested dicts, lists, tuples, arrays and scalars with one thing in it changed; the
    place is found by walking down at random."""
    if isinstance(value, np.ndarray):
        return _array(value, rng)
    inside = list(value.items() if isinstance(value, dict) else enumerate(value)) \
        if isinstance(value, dict | list | tuple) else []  # fmt: skip
    if not inside or rng.random() < 0.15:
        return _other(value, rng, values)
    key, item = rng.choice(inside)
    kind = rng.random()
    if isinstance(value, dict):
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            return {**value, rng.choice(inside)[0]: item, rng.choice(_TEXTS): item}
        return {**value, key: change(item, rng, values)}
    items = list(value)
    if kind < 0.1:
        del items[key]
    elif kind < 0.2:
        items[key:key] = [item] * rng.choice((1, 2, 50))
    elif kind < 0.3:
        other = rng.randrange(len(items))
        items[key], items[other] = items[other], items[key]
    else:
        items[key] = change(item, rng, values)
    return tuple(items) if isinstance(value, tuple) else items


def _other(value: object, rng: Random, values: tuple) -> object:
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.choice((1, 1, 90, 120, 1000))):
            value = [value]
        return value
    if kind == 1:
        return rng.choice(_TEXTS)
    return copy.deepcopy(rng.choice(values))


def _array(array: np.ndarray, rng: Random) -> np.ndarray | list:
    """Of another type or shape, with values that are none, or cut."""
    kind = rng.randrange(8)
    try:
        if kind == 0:
            types = ("f2", "f4", ">f8", "i1", "u8", "?", "S3", "U2", "O", "c16", "f16")
            return array.astype(rng.choice(types))
        if kind == 1:
            shapes = ((-1,), (-1, 1), (1, -1), (1, 1, -1), (0,), (-1, array.shape[0] or 1))
            return array.reshape(rng.choice(shapes))
        if kind == 2:
            return array[: rng.randrange(len(array) + 1)]
        if kind == 3:
            return np.repeat(array, rng.choice((2, 50)), axis=rng.randrange(array.ndim))[:5000]
        if kind == 4:
            return array.T
        if kind == 5:
            return array.tolist()
        made = array.astype("f8") if array.dtype.kind in "fiub" else array.copy()
        values = (math.nan, math.inf, -math.inf, 1e308, -1, 3.4e38, 1e6, 0)
        made.reshape(-1)[rng.randrange(made.size)] = rng.choice(values)
        return made
    except (ValueError, TypeError, IndexError, OverflowError):
        return array


def changed(value: object, rng: Random, values: tuple = _VALUES) -> object:
    """One to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = change(value, rng, values)
    return value


def json_of(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Changes of what JSON says; of bytes where it says nothing any more."""
    if rng.random() < 0.8:
        try:
            return written(changed(json.loads(data), rng, _JSON))[:LARGEST]
        except (ValueError, RecursionError):
            pass
    return bytes_of(data, rng, others)


def written(value: object) -> bytes:
    """As JSON; what lies deeper than Python can say is brackets in brackets."""
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):
        return b'{"a": ' + b"[" * 5000 + b"1" + b"]" * 5000 + b"}"
