"""Pickles of arrays and plain containers, read without trust.

A pickle is a program that may call any function. Here `pickle.Unpickler` carries it out in a child
process (see `sandbox`), and every name in it that is not one of the few in `_KNOWN` is refused.
Those stand for functions of this module, which build arrays; nothing is imported by name. Whatever
they raise is refused as damage.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmer_lib.corpora.sandbox import Refused, read_in_child

REMEDY = "download it again, or have it saved as arrays, numbers, texts and plain containers alone"

_DTYPES = re.compile(r"[biufc](1|2|4|8|16)|[SU]\d{1,9}|O8?")
_LONGEST = 2**16  # of an array, beside its bytes: one of shape (n, 0) has none


def load_pickle(path: str | Path) -> Any:
    """The object in a pickle of any protocol: arrays of numbers, and numbers, texts and None in
    lists and dicts, as `sandbox.read_in_child` gives them.

    Raises:
        DataError: no such file; not a pickle, damaged or truncated; a name that stands for none of
            these types (told as module.name), a persistent id or an extension; containers that hold
            themselves or lie very deep; more memory, time or disk than `sandbox` allows.
    """
    return read_in_child(__name__, Path(path), REMEDY)


def read(path: str, keep: Callable[[np.ndarray], Any]) -> Any:
    """For `sandbox`."""
    with open(path, "rb") as file:
        value = _Unpickler(file, encoding="latin1").load()
        if file.read(1):
            raise Refused("damaged: more follows after the pickle's one object")
    return value


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Call | None:
        key = ("builtins" if module == "__builtin__" else module), name
        if key not in _KNOWN:
            shown = f"{module}.{name}"[:200]
            raise Refused(f"holds {shown}, which is refused, since it could run code")
        return None if _KNOWN[key] is None else _Call(_KNOWN[key])

    def persistent_load(self, pid):
        raise Refused("holds a persistent id, which is refused")


# ----------------------------------------------------------------------- what names stand for


class _Call(partial):
    """What an allowed name stands for: it can be called, and given no state."""

    __setstate__ = None


class _Dtype:
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

    def __init__(self, *_):
        self.content = None

    def __setstate__(self, state: tuple):
        _, shape, dtype, fortran, raw = state
        self.content = _content(raw, dtype, shape, "F" if fortran else "C")

    def __array__(self, *_, **__) -> np.ndarray:
        return self.content


def _content(raw, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    """An array of the bytes `raw` (or a text in Latin-1), or of the objects in the list `raw`."""
    if dtype.dtype.hasobject:
        objects = np.empty(len(raw), object)
        for i, item in enumerate(raw):
            objects[i] = item
        return objects.reshape(shape)
    raw = raw.encode("latin1") if type(raw) is str else raw
    size = len(raw)
    if size != math.prod(shape) * dtype.dtype.itemsize or max(shape, default=0) > size + _LONGEST:
        raise Refused(f"damaged: an array of shape {shape} with {size} bytes")
    return np.ndarray(shape, dtype.dtype, raw, order=order)


def _from_buffer(raw, dtype, shape, order, axes=None) -> _Array:
    made = _Array()
    made.content = _content(raw, dtype, shape, "F" if order == "F" else "C")
    if order == "K" and axes is not None:
        made.content = made.content.transpose(axes)
    return made


def _scalar(dtype, raw) -> Any:
    return _content(raw, dtype, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused("calls _codecs.encode for anything but Latin-1, which is refused")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable | None] = {  # None: stands among arguments, is not called
    ("_codecs", "encode"): _encode,
    ("builtins", "set"): lambda items=(): list(items),
    ("builtins", "frozenset"): lambda items=(): list(items),
    ("builtins", "bytes"): lambda: b"",
    ("collections", "OrderedDict"): lambda pairs=(): dict(pairs),
    ("collections", "defaultdict"): lambda *factory: {},
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): None,
    **{("builtins", name): None for name in ("list", "tuple", "dict", "int", "float", "str")},
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer
