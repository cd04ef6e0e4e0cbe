"""What the names in a pickle stand for (see `pickles`): arrays, dtypes and containers, made here of
parts that are checked. Nothing is imported by name, and no function of the file's choice is called.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmer_lib.data import DataError

if TYPE_CHECKING:
    from mmer_lib.corpora.mosi.unpickle import Machine

REMEDY = "have the file saved as arrays, numbers, texts and plain containers alone"

_TYPES = re.compile(r"[biufc](1|2|4|8|16)|[SU]\d{1,9}|O8?")  # as numpy names its dtypes


class Name(NamedTuple):
    """What a name in the file stands for. `make(machine, arguments)` is its call; None where it
    can be no more than an argument."""

    module: str
    name: str
    make: Callable[[Machine, tuple], object] | None = None


class Unfinished:
    """An array, or the dtype of this name, whose contents follow in a BUILD; `places` in the memo
    wait for it."""

    def __init__(self, dtype: str | None = None):
        self.dtype = dtype
        self.places: list[int] = []


def find(machine: Machine, module: str, name: str) -> Name:
    """What an allowed name stands for; nothing is imported."""
    if type(module) is not str or type(name) is not str:
        raise machine.damaged("a name that is no text")
    if (module, name) not in _NAMES:
        shown = f"{module}.{name}"[:200].encode("unicode_escape").decode()
        raise DataError(
            f"{machine.path}: holds {shown}, which is refused, since it could run code; {REMEDY}"
        )
    return _NAMES[module, name]


def _array(machine: Machine, dtype, shape, raw, order: str) -> np.ndarray:
    """A read-only array over the bytes `raw`, or one of the objects in the list `raw`."""
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or len(shape) > 64:
        raise machine.damaged("an array without dtype or shape")
    if not all(type(d) is int and d >= 0 for d in shape):
        raise machine.damaged("an impossible shape")
    most = len(machine.content)
    if any(d > most for d in shape) or math.prod(max(d, 1) for d in shape) > most:
        raise DataError(
            f"{machine.path}: an array with more items than the file has bytes; download it again"
        )
    n = math.prod(shape)
    machine.spend(n * dtype.itemsize)
    if dtype.hasobject:
        if type(raw) is not list or len(raw) != n:
            raise machine.damaged("an array of objects without its objects")
        flat = np.empty(n, object)
        for i, item in enumerate(raw):
            flat[i] = item
        flat.flags.writeable = False
        return flat.reshape(shape)
    raw = _bytes(machine, raw)
    if len(raw) != n * dtype.itemsize:
        raise machine.damaged(f"an array of {n * dtype.itemsize} bytes with {len(raw)}")
    if dtype.kind == "b" and raw.strip(b"\0\1"):
        raise machine.damaged("truth values other than 0 and 1")
    if dtype.kind == "U" and raw and np.frombuffer(raw, f"{dtype.str[0]}u4").max() > 0x10FFFF:
        raise machine.damaged("letters that Unicode does not have")
    return np.ndarray(shape, dtype, raw, order=order)


def _bytes(machine: Machine, raw: bytes | str) -> bytes:
    """Bytes as pickles hold them: as they are, or as a text in Latin-1."""
    if type(raw) is bytes:
        return raw
    if type(raw) is not str:
        raise machine.damaged("no bytes where there must be some")
    machine.spend(len(raw))
    return raw.encode("latin1")


def _reconstruct(machine: Machine, arguments: tuple) -> Unfinished:
    if arguments[0] is not _NDARRAY:
        raise machine.damaged("an array of another class")
    return Unfinished()


def _dtype(machine: Machine, arguments: tuple) -> Unfinished:
    name = arguments[0]
    if type(name) is not str or not _TYPES.fullmatch(name):
        shown = name[:20].encode("unicode_escape").decode() if type(name) is str else "unknown"
        raise DataError(f"{machine.path}: an array of type {shown}, which is refused; {REMEDY}")
    return Unfinished(name)


def finish(machine: Machine, made: Unfinished, state: tuple) -> np.dtype | np.ndarray:
    """What BUILD makes. Of a dtype's state only the byte order counts."""
    if made.dtype is None:
        _, shape, dtype, fortran, raw = state
        return _array(machine, dtype, shape, raw, "F" if fortran else "C")
    _, order, subarray, names, fields, *_ = state
    if subarray is not None or names is not None or fields is not None:
        raise DataError(f"{machine.path}: a structured array, which is refused; {REMEDY}")
    return np.dtype(made.dtype).newbyteorder(order)


def _from_buffer(machine: Machine, arguments: tuple) -> np.ndarray:
    raw, dtype, shape, order = arguments
    return _array(machine, dtype, shape, raw, "F" if order == "F" else "C")


def _scalar(machine: Machine, arguments: tuple) -> np.generic:
    dtype, raw = arguments
    if type(raw) is list:
        raise machine.damaged("a scalar that is an object")
    return _array(machine, dtype, (), raw, "C")[()]


def _encode(machine: Machine, arguments: tuple) -> bytes:
    text, encoding = arguments
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise machine.damaged("_codecs.encode of anything but a text to Latin-1")
    return _bytes(machine, text)


def _complex(machine: Machine, arguments: tuple) -> complex:
    real, imaginary = arguments
    if type(real) is not float or type(imaginary) is not float:
        raise machine.damaged("a complex number of anything but two floats")
    return complex(real, imaginary)


def _no_bytes(machine: Machine, arguments: tuple) -> bytes:
    if arguments:
        raise machine.damaged("bytes with arguments")
    return b""


def _of_list(kind: type) -> Callable[[Machine, tuple], object]:
    """A set or frozenset of the items in a list, or an OrderedDict of the pairs in one."""

    def make(machine: Machine, arguments: tuple) -> object:
        (items,) = arguments or ([],)
        if type(items) is not list:
            raise machine.damaged(f"a {kind.__name__} of anything but a list")
        machine.spend(len(items))
        machine.keys([key for key, _ in items] if kind is OrderedDict else items)
        return kind(items)

    return make


def _default_dict(machine: Machine, arguments: tuple) -> defaultdict:
    (factory,) = arguments or (None,)
    if factory is not None and (type(factory) is not Name or factory.name not in _FACTORIES):
        raise machine.damaged("a defaultdict of anything but a builtin type")
    return defaultdict(factory and _FACTORIES[factory.name])


_NDARRAY = Name("numpy", "ndarray")
_FACTORIES = {kind.__name__: kind for kind in (list, tuple, dict, set, int, float, str, bool)}
_BUILTINS = {**dict.fromkeys(_FACTORIES), "set": _of_list(set), "frozenset": _of_list(frozenset),
             "bytes": _no_bytes, "complex": _complex}  # fmt: skip
_CALLS = [
    *((f"numpy.{core}.multiarray", "_reconstruct", _reconstruct) for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar", _scalar) for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer", _from_buffer) for core in ("core", "_core")),
    *((module, n, make) for module in ("builtins", "__builtin__") for n, make in _BUILTINS.items()),
    ("numpy", "dtype", _dtype),
    ("_codecs", "encode", _encode),
    ("collections", "OrderedDict", _of_list(OrderedDict)),
    ("collections", "defaultdict", _default_dict),
]
_NAMES = {("numpy", "ndarray"): _NDARRAY, **{call[:2]: Name(*call) for call in _CALLS}}
