"""Files that are either whole or not there: atomic writes, ragged arrays, content digests."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmer_lib.corpora import DataError

_OFFSETS = "/offsets"
_REMEDY = "delete this file; it is made again when it is next needed"
_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}

# What reading a header that was cut or changed ends in; ValueError takes in wrong JSON.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError,
           RecursionError)  # fmt: skip


def cache_dir() -> Path:
    """The folder of everything that can be made again: ``$MMER_CACHE``, else the user's own
    cache folder of the platform. Not created here."""
    if os.environ.get("MMER_CACHE"):
        return Path(os.environ["MMER_CACHE"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmer"))


def check_folder(folder: Path) -> None:
    """The folder is there or can be made (it is not made here).

    Raises:
        DataError: what is in the way, and how to name another.
    """
    remedy = "name another: --out (out=...) for runs, MMER_CACHE for the cache"
    try:
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; {remedy}") from error
    if not there.is_dir():
        raise DataError(f"{folder}: {there.name} is a file, not a folder; {remedy}")
    if there != folder and not os.access(there, os.W_OK):
        raise DataError(f"{folder}: nothing can be written in {there}; {remedy}")


def digest(*parts: Any) -> str:
    """SHA-256 (64 hex digits) of the parts: the same on every machine and in every run.

    A part is None, a bool, a number, a string, bytes, a numpy array, a path (by its text), or a
    dataclass, mapping (string keys, any order), list or tuple of these. Lists and tuples count
    as the same.

    Raises:
        TypeError: a part of any other type.
    """
    text = json.dumps([_plain(part) for part in parts], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(part: Any) -> Any:
    """JSON in which two parts of different kinds never look alike: [kind, content]."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, bytes):
        return ["bytes", hashlib.sha256(part).hexdigest()]
    if isinstance(part, np.generic):
        return _plain(part.item())
    if isinstance(part, np.ndarray) and not part.dtype.hasobject:
        content = hashlib.sha256(np.ascontiguousarray(part)).hexdigest()
        return ["array", part.dtype.str, list(part.shape), content]
    if isinstance(part, Path):
        return ["path", str(part)]
    if is_dataclass(part) and not isinstance(part, type):
        content = {f.name: getattr(part, f.name) for f in fields(part)}
        return ["dataclass", type(part).__name__, _plain(content)]
    if isinstance(part, Mapping) and all(isinstance(k, str) for k in part):
        return ["mapping", [[k, _plain(part[k])] for k in sorted(part)]]
    if isinstance(part, list | tuple):
        return ["list", [_plain(p) for p in part]]
    raise TypeError(f"digest: cannot take a {type(part).__name__}: {part!r}")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end it is synced to disk and takes the place
    of `path` in one step. If the body raises, nothing is left behind and `path` is untouched.

    Raises:
        DataError: the folder of `path` cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        check_folder(path.parent)
        raise DataError(f"{path.parent}: cannot be made ({error.strerror})") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write the whole file or nothing (parent folders are made)."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, obj: Any) -> None:
    """Write `obj` as indented UTF-8 JSON, the whole file or nothing.

    Raises:
        TypeError, ValueError: `obj` is not JSON (NaN is not); nothing is written.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def save_ragged(
    path: str | Path, arrays: Mapping[str, Sequence[np.ndarray]], metadata: Mapping[str, Any]
) -> None:
    """Save lists of arrays of different lengths in one safetensors file, atomically.

    Args:
        arrays: name -> items, each of shape (n,) or (n, D) with n free (0 too). The items of one
            name agree in dtype (bool, integer or float), rank and D.
        metadata: anything that is JSON.

    Raises:
        ValueError: items of one name that disagree, a name that ends in "/offsets", or metadata
            that is not JSON. Nothing is written.
    """
    from safetensors.numpy import save_file

    tensors = {}
    for name, items in arrays.items():
        tensors[name], tensors[name + _OFFSETS] = _flatten(name, items)
    header = {
        "metadata": json.dumps(dict(metadata), allow_nan=False),
        "checksum": _checksum(tensors),
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, header)


def _flatten(name: str, items: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Items (n_i,) or (n_i, D) -> one array (sum n_i, ...) and offsets (len(items) + 1,)."""
    if name.endswith(_OFFSETS):
        raise ValueError(f"save_ragged: the name {name!r} is taken")
    items = [np.asarray(item) for item in items]
    kinds = {(item.dtype, item.ndim, item.shape[1:]) for item in items}
    if len(kinds) > 1:
        raise ValueError(f"save_ragged: items of {name!r} disagree in dtype or width: {kinds}")
    for dtype, ndim, _ in kinds:
        if ndim not in (1, 2) or dtype not in [np.dtype(d) for d in _DTYPES.values()]:
            raise ValueError(f"save_ragged: {name!r} holds {ndim}-d {dtype} arrays")
    offsets = np.cumsum([0, *(len(item) for item in items)], dtype=np.int64)
    flat = np.concatenate(items) if items else np.zeros(0, np.float32)
    return np.ascontiguousarray(flat), offsets


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in order of name."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        if array.size:
            state.update(array.reshape(-1).view(np.uint8))
    return state.hexdigest()


def load_ragged(
    path: str | Path, verify: bool = False
) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """Load what `save_ragged` wrote: (name -> items, metadata).

    Items are read-only views into the memory-mapped file: nothing is read before it is used.

    Args:
        verify: read everything now and compare it with the checksum in the file.

    Raises:
        FileNotFoundError: no such file.
        DataError: truncated, not written by `save_ragged`, or (with `verify`) changed since.
    """
    path = Path(path)
    try:
        tensors, header = _open(path)
        arrays = {
            name: _items(flat, tensors[name + _OFFSETS])
            for name, flat in tensors.items()
            if not name.endswith(_OFFSETS)
        }
        metadata, checksum = json.loads(header["metadata"]), header["checksum"]
        if not isinstance(metadata, dict):
            raise TypeError(metadata)
    except _DAMAGE as error:
        raise DataError(
            f"{path}: truncated or not a feature file ({path.stat().st_size} bytes); {_REMEDY}"
        ) from error
    if verify and _checksum(tensors) != checksum:
        raise DataError(f"{path}: the content does not match its checksum; {_REMEDY}")
    return arrays, metadata


def _items(flat: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """What `_flatten` put together.

    Raises:
        ValueError: offsets that do not divide the whole array.
    """
    ends = offsets.tolist()
    if offsets.dtype != np.int64 or offsets.ndim != 1 or not ends or ends != sorted(ends):
        raise ValueError("offsets")
    if ends[0] != 0 or ends[-1] != len(flat):
        raise ValueError("offsets")
    return [flat[a:b] for a, b in pairwise(ends)]


def _open(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a safetensors file: 8 bytes with the header's length, a JSON header, the data."""
    size = path.stat().st_size
    if size < 8:
        raise ValueError(size)
    buffer = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(buffer[:8].tobytes(), "little")
    if start > size:
        raise ValueError(start)
    entries = json.loads(buffer[8:start].tobytes())
    header = entries.pop("__metadata__")
    if start + max((e["data_offsets"][1] for e in entries.values()), default=0) != size:
        raise ValueError(size)
    return {name: _view(buffer[start:], entry) for name, entry in entries.items()}, header


def _view(data: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    """The array that a header entry {dtype, shape, data_offsets} describes, without a copy."""
    begin, end = entry["data_offsets"]
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
    if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
        raise ValueError(shape)
    return np.asarray(data[begin:end]).view(dtype).reshape(shape)
