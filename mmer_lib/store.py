"""Files whole or not there: the cache folder, digests, and lists of arrays of different lengths,
read from mapped memory."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np

from mmer_lib.data import DataError


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
    dataclass, mapping (string keys, any order) or sequence of these. Sequences of all kinds count
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
    if isinstance(part, Sequence):
        return ["list", [_plain(p) for p in part]]
    raise TypeError(f"digest: cannot take a {type(part).__name__}: {part!r}")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end it is synced to disk and takes the place
    of `path` in one step. If the body raises, nothing is left behind and `path` is untouched; what
    a killed process left is removed by the next that writes in the same folder.

    Raises:
        DataError: the system refuses it (no space, no permission, no such folder, ...).
    """
    path = Path(path)
    with writing(path):
        temporary = _temporary(path)
        try:
            yield temporary
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            if temporary.exists():
                temporary.unlink()


@contextmanager
def scratch(folder: str | Path) -> Iterator[Path]:
    """Yield a new folder inside `folder`, on the same disk, which is removed at the end or, after a
    kill, by the next process that writes in `folder`.

    Raises:
        DataError: the system refuses it.
    """
    folder = Path(folder)
    with writing(folder):
        temporary = _temporary(folder / "scratch")
        temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses while `path` is written becomes a DataError that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        number = re.search(r"os error (\d+)", str(error))
        if isinstance(error, SafetensorError) and not number:
            raise
        check_folder(path.parent)
        told = os.strerror(int(number[1])) if number else getattr(error, "strerror", None)
        reason = told or error
        raise DataError(
            f"{path}: cannot be written: {reason}. Free some space or allow writing there, or name "
            "another place: --out (out=...) for runs, MMER_CACHE for the cache"
        ) from error


def _temporary(path: Path) -> Path:
    """A new path beside `path`, named by this machine and process, in a folder that is there; those
    of processes of this machine that are no more are removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    for left in path.parent.glob(f".*.{machine}-*-*.tmp"):
        if _alive(int(left.name.split("-")[-2])):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)  # its own children may still write there
        else:
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{machine}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _alive(process: int) -> bool:
    """Whether a process of this machine runs; where that cannot be asked, it is taken to."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


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


class Lazy(Sequence[Any]):
    """A sequence whose items are made when they are asked for, and not kept: it is read as a list
    is, and takes no memory for what it holds."""

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self._item(k) for k in range(len(self))[i]]
        return self._item(range(len(self))[i])

    def _item(self, i: int) -> Any:
        raise NotImplementedError


class Ragged(Lazy):
    """Items (n_i,) or (n_i, D) that lie one after the other in one array: views of it.

    Args:
        flat: (sum n_i,) or (sum n_i, D). offsets: where each item begins and the last one ends,
            (items + 1,).
    """

    def __init__(self, flat: np.ndarray, offsets: np.ndarray):
        self.flat, self.offsets = flat, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _item(self, i: int) -> np.ndarray:
        return self.flat[self.offsets[i] : self.offsets[i + 1]]


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
    with ragged_writer(path, arrays) as writer:
        writer.metadata.update(metadata)
        for name, items in arrays.items():
            for item in items:
                writer.append(name, item)


@contextmanager
def ragged_writer(path: str | Path, names: Iterable[str]) -> Iterator[RaggedWriter]:
    """Yield a writer that takes the items of `save_ragged` one at a time, so that a file may be
    larger than memory. Until the end they lie on the disk of `path` in files without a name, which
    a process that is killed does not leave behind: twice the file is needed there. If the body
    raises, nothing is written.

    Args:
        names: of the arrays; one that gets no item is kept as empty.

    Raises:
        ValueError: as `save_ragged`. DataError: as `replacing`.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    with ExitStack() as files:
        columns = {}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for name in names:
                file = TemporaryFile(dir=path.parent)
                files.enter_context(file.raw)  # closed as it is: what waits is not written
                columns[name] = _Column(name, file, path)
        writer = RaggedWriter(columns)
        yield writer  # what the body raises is not of writing, and comes out as it is
        tensors = {}
        with replacing(path) as temporary, scratch(path.parent) as folder:
            for name, column in columns.items():
                tensors[name], tensors[name + _OFFSETS] = column.flat(), column.offsets()
            header = {
                "metadata": json.dumps(writer.metadata, allow_nan=False),
                "checksum": _checksum(tensors),
            }
            # its writer has a temporary file of its own, which a killed process would leave
            save_file(tensors, folder / path.name, header)
            os.replace(folder / path.name, temporary)


class RaggedWriter:
    """What `ragged_writer` yields.

    Attributes:
        metadata: anything that is JSON, to be filled until the end.
    """

    def __init__(self, columns: dict[str, _Column]):
        self.metadata: dict[str, Any] = {}
        self._columns = columns

    def append(self, name: str, item: np.ndarray) -> None:
        """One more item of a name, (n,) or (n, D)."""
        self._columns[name].append(np.asarray(item))


class _Column:
    """The items of one name, one after the other in a file."""

    def __init__(self, name: str, file: BinaryIO, path: Path):
        if name.endswith(_OFFSETS):
            raise ValueError(f"save_ragged: the name {name!r} is taken")
        self.name, self.file, self.path = name, file, path
        self.kind: tuple[np.dtype, int, tuple[int, ...]] | None = None  # dtype, rank, width
        self.ends = array("q", [0])

    def append(self, item: np.ndarray) -> None:
        kind = item.dtype, item.ndim, item.shape[1:]
        if self.kind is None:
            if item.ndim not in (1, 2) or item.dtype not in map(np.dtype, _DTYPES.values()):
                raise ValueError(
                    f"save_ragged: {self.name!r} holds {item.ndim}-d {item.dtype} arrays"
                )
            self.kind = kind
        if kind != self.kind:
            raise ValueError(
                f"save_ragged: items of {self.name!r} disagree in dtype or width: "
                f"{self.kind}, {kind}"
            )
        with writing(self.path):
            self.file.write(np.ascontiguousarray(item))
        self.ends.append(self.ends[-1] + len(item))

    def flat(self) -> np.ndarray:
        """All items as one array (sum n_i, ...), mapped."""
        dtype, _, width = self.kind or (np.dtype(np.float32), 1, ())
        shape = (self.ends[-1], *width)
        self.file.flush()
        return np.zeros(shape, dtype) if 0 in shape else np.memmap(self.file, dtype, "r", 0, shape)

    def offsets(self) -> np.ndarray:
        """(items + 1,) int64."""
        return np.frombuffer(self.ends, np.int64)


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in order of name."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        if array.size:
            state.update(array.reshape(-1).view(np.uint8))
    return state.hexdigest()


def load_ragged(path: str | Path, verify: bool = False) -> tuple[dict[str, Ragged], dict[str, Any]]:
    """Load what `save_ragged` wrote: (name -> items, metadata).

    Items are read-only views into the memory-mapped file: nothing is read before it is used.

    Args:
        verify: read everything now and compare it with the checksum in the file. What is read is
            the system's copy of the file, which it takes back where memory is short.

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


def _items(flat: np.ndarray, offsets: np.ndarray) -> Ragged:
    """The items of one name.

    Raises:
        ValueError: offsets that do not divide the whole array.
    """
    if offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets):
        raise ValueError("offsets")
    if offsets[0] != 0 or offsets[-1] != len(flat) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("offsets")
    return Ragged(flat, offsets)


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


@functools.cache
def source_digest(*modules: str) -> str:
    """Digest of the source of some modules of ours, and of all those of ours that they import: what
    was computed by them is stale when it changes.

    Args:
        modules: names such as "mmer_lib.models.muse".
    """
    root = Path(__file__).parents[1]
    pending, texts = list(modules), {}
    while pending:
        name = pending.pop()
        path = root / f"{name.replace('.', '/')}.py"
        if name in texts or not path.exists():
            continue
        texts[name] = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(texts[name])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmer_lib"):
                pending += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return digest(sorted(texts.items()))
