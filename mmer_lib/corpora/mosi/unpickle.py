"""Pickles of arrays and plain containers, read without trust.

A pickle is a program that may call any function. Here `pickle.Unpickler` carries it out in a child
process (see `sandbox`), and every name in it that is not one of the few in `_KNOWN` is refused.
Those stand for classes and functions of this module, which build arrays; nothing is imported by
name. Whatever they raise is refused as damage.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmer_lib.corpora.sandbox import Refused, read_in_child

REMEDY = "download it again, or have it saved as arrays, numbers, texts and plain containers alone"

_DEPTH = 100
_TIMES, _SPARE = 4, 2**22  # what containers may unfold to: times the file's size, and bytes
_DTYPES = re.compile(r"[biufc](1|2|4|8|16)|[SU]\d{1,9}|O8?")
_ATOMS = (str, int, float, bool, type(None))


def load_pickle(path: str | Path) -> Any:
    """The object in a pickle of any protocol: arrays of numbers, and numbers, texts and None in
    lists and dicts. Tuples, sets, and arrays of texts or objects become lists, bytes texts.

    Raises:
        DataError: no such file; not a pickle, damaged or truncated; a name that stands for none of
            these types (told as module.name), a persistent id or an extension; containers that hold
            themselves, lie more than 100 deep, or unfold to more than the file could hold; more
            memory or time than `sandbox` allows.
    """
    return read_in_child(__name__, Path(path), REMEDY)


def read(path: str, keep: Callable[[np.ndarray], Any]) -> Any:
    """For `sandbox`: the object as JSON, with `keep(array)` in the place of arrays."""
    with open(path, "rb") as file:
        value = _Unpickler(file, encoding="latin1").load()
        if file.read(1):
            raise Refused("damaged: more follows after the pickle's one object")
    return _Plain(os.path.getsize(path), keep).of(value)


# ----------------------------------------------------------------------- what names stand for


class _Name:
    """What an allowed name stands for; `make` is its call, None where it is no function."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable | None = None):
        self.name, self.make = name, make

    def __call__(self, *arguments):
        if self.make is None:
            raise Refused(f"calls {self.name}, which is refused")
        return self.make(*arguments)

    def __setstate__(self, state):
        raise Refused(f"gives {self.name} a state, which is refused")


class _Dtype:
    __slots__ = ("dtype",)

    def __init__(self, name: str, *_):
        if not _DTYPES.fullmatch(name):
            raise Refused(f"holds an array of type {name[:20]}, which is refused")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple):
        _, order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise Refused("holds a structured array, which is refused")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array, which gets its content by BUILD."""

    __slots__ = ("content",)

    def __init__(self, *_):
        self.content = None

    def __setstate__(self, state: tuple):
        _, shape, dtype, fortran, raw = state
        self.content = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    """An array of the bytes `raw` (or a text in Latin-1), or of the objects in the list `raw`."""
    if dtype.dtype.hasobject:
        objects = np.empty(len(raw), object)
        for i, item in enumerate(raw):
            objects[i] = item
        return objects.reshape(shape)
    raw = raw.encode("latin1") if type(raw) is str else raw
    if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
        raise Refused(f"damaged: an array of shape {shape} with {len(raw)} bytes")
    return np.ndarray(shape, dtype.dtype, raw, order=order)


def _from_buffer(raw, dtype, shape, order, axes=None) -> _Array:
    made = _Array()
    made.content = _array(raw, dtype, shape, "F" if order == "F" else "C")
    if order == "K" and axes is not None:
        made.content = made.content.transpose(axes)
    return made


def _scalar(dtype, raw) -> Any:
    return _array(raw, dtype, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused("calls _codecs.encode for anything but Latin-1, which is refused")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): lambda items=(): list(items),
    ("builtins", "frozenset"): lambda items=(): list(items),
    ("builtins", "bytes"): lambda: b"",
    ("collections", "OrderedDict"): lambda pairs=(): dict(pairs),
    ("collections", "defaultdict"): lambda *factory: {},
    **{("builtins", name): None for name in ("list", "tuple", "dict", "int", "float", "str")},
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        shown = f"{module}.{name}"[:200]
        key = ("builtins" if module == "__builtin__" else module), name
        if key not in _KNOWN:
            raise Refused(f"holds {shown}, which is refused, since it could run code")
        return _Name(shown, _KNOWN[key])

    def persistent_load(self, pid):
        raise Refused("holds a persistent id, which is refused")


# ------------------------------------------------------------------------------ plain values


class _Plain:
    """Turns what was unpickled into JSON.

    Attributes:
        left: bytes that containers may yet unfold to: what is shared counts each time.
    """

    def __init__(self, size: int, keep: Callable[[np.ndarray], Any]):
        self.size, self.left = size, _TIMES * size + _SPARE
        self.keep = keep
        self.kept: dict[int, Any] = {}

    def of(self, value: Any, depth: int = 0) -> Any:
        kind = type(value)
        content = value.content if kind is _Array else value
        self.left -= 8 + getattr(content, "nbytes", len(value) if kind in (str, bytes) else 0)
        if self.left < 0 or depth > _DEPTH:
            raise Refused(
                f"containers hold themselves, lie more than {_DEPTH} deep, or unfold to more than "
                "the file holds"
            )
        if kind in _ATOMS:
            return value
        if kind in (bytes, bytearray):
            return value.decode("utf-8", "replace")
        if kind in (list, tuple, set, frozenset):
            return [self.of(item, depth + 1) for item in value]
        if kind is dict:
            if not all(type(key) in (*_ATOMS, bytes) for key in value):
                raise Refused("a dict with keys that are neither text nor number")
            return {"dict": [[self.of(k), self.of(v, depth + 1)] for k, v in value.items()]}
        if content is None or kind is not _Array:
            name = value.name if kind is _Name else kind.__name__
            raise Refused(f"damaged: {name} in the place of data")
        if any(n > self.size for n in content.shape):
            raise Refused("damaged: an array with more items than the file has bytes")
        if content.dtype.kind in "SUO":
            return self.of(content.tolist(), depth)
        if id(value) not in self.kept:
            if content.dtype.kind == "b":
                content = np.asarray(content.view(np.uint8) != 0)
            self.kept[id(value)] = self.keep(content)
        return self.kept[id(value)]
