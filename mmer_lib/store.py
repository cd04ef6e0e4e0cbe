"""Files: the cache folder, whole files or none, digests, and lists of arrays in one file."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from mmer_lib.data import DataError

_ELSEWHERE = "name another: --out (out=...) for runs, MMER_CACHE for the cache"

# ------------------------------------------------------------------------- folders and files


def cache_dir() -> Path:
    """The folder of everything that can be made again: ``$MMER_CACHE``, else the user's own
    cache folder of the platform. Not created here."""
    if os.environ.get("MMER_CACHE"):
        return Path(os.environ["MMER_CACHE"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmer"))


def check_folder(folder: Path) -> None:
    """A DataError where a folder is not there and cannot be made (it is not made here)."""
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
    if not there.is_dir():
        raise DataError(f"{folder}: {there.name} is a file, not a folder; {_ELSEWHERE}")
    if there != folder and not os.access(there, os.W_OK):
        raise DataError(f"{folder}: nothing can be written in {there}; {_ELSEWHERE}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses while `path` is written becomes a DataError that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        check_folder(path.parent)
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: cannot be written: {reason}. Free some space or allow writing there, or "
            f"{_ELSEWHERE}"
        ) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end it is synced to disk and takes the place
    of `path` in one step. If the body raises, nothing is left behind and `path` is untouched.

    Raises:
        DataError: the system refuses it (no space, no permission, ...).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
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
    """Write `obj` (without NaN) as indented UTF-8 JSON, the whole file or nothing."""
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


# ---------------------------------------------------------------------------------- digests


def digest(*parts: Any) -> str:
    """SHA-256 (64 hex digits) of the parts, the same on every machine: None, bools, numbers,
    strings, bytes, numpy arrays, paths (by their text), or dataclasses, mappings (string keys, any
    order) or sequences (of any kind) of these; a TypeError otherwise."""
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


@cache
def source_digest(*modules: str) -> str:
    """Digest of the source of modules of this package ("mmer_lib.features.speech") and of all that
    they import of it, directly or not: part of the key of what they compute."""
    pending, sources = list(modules), {}
    while pending:
        module = pending.pop()
        path = Path(__file__).parents[1] / f"{module.replace('.', '/')}.py"
        if module in sources or not path.is_file():
            continue
        sources[module] = path.read_bytes()
        for node in ast.walk(ast.parse(sources[module])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmer_lib"):
                pending += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return digest(sources)


# --------------------------------------------------------------------------- lists of arrays


_OFFSETS = "/offsets"
_REMEDY = "delete this file; it is made again when it is next needed"


def save_arrays(
    path: str | Path, arrays: Mapping[str, Iterable[np.ndarray]], metadata: Mapping[str, Any]
) -> None:
    """Save lists of arrays of different lengths in one safetensors file, whole or not at all.

    The arrays of a list lie one after the other in one tensor; another, "NAME/offsets", says where
    each begins and the last one ends. They are taken one at a time, list after list, and may be
    more than memory holds: until the end they wait in files without a name, which go with the
    process.

    Args:
        arrays: name -> items, each of shape (n,) or (n, D) with n free (0 too). The items of one
            name agree in dtype (bool, integer or float), rank and D; a ValueError otherwise.
        metadata: anything that is JSON.

    Raises:
        DataError: as `replacing`.
    """
    from safetensors.numpy import save_file

    path, tensors = Path(path), {}
    with ExitStack() as files:
        for name, items in arrays.items():
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = TemporaryFile(dir=path.parent)
            files.enter_context(file.raw)  # closed as it is: what waits is not written
            tensors[name], tensors[name + _OFFSETS] = _joined(name, items, file, path)
        with replacing(path) as temporary:
            header = {"metadata": json.dumps(metadata, allow_nan=False)}
            save_file(tensors, temporary, header | {"checksum": _checksum(tensors)})


def _joined(
    name: str, items: Iterable[np.ndarray], file: IO, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """All items of a name as one array (sum n_i, ...), mapped from a file, and their offsets."""
    offsets, form = [0], None
    for item in items:
        item = np.ascontiguousarray(item)
        form = form or (item.dtype, item.shape[1:])
        if (item.dtype, item.shape[1:]) != form or len(form[1]) > 1 or form[0].kind not in "biuf":
            raise ValueError(f"{name!r}: cannot hold {item.dtype} {item.shape} beside {form}")
        with writing(path):
            file.write(item)
        offsets.append(offsets[-1] + len(item))
    with writing(path):
        file.flush()
    dtype, row = form or (np.dtype(np.float32), ())
    shape = (offsets[-1], *row)
    flat = np.zeros(shape, dtype) if 0 in shape else np.memmap(file, dtype, "r", 0, shape)
    return flat, np.array(offsets, dtype=np.int64)


def load_arrays(path: str | Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """Load what `save_arrays` wrote: (name -> items, metadata). Items are read-only views into the
    memory-mapped file.

    Raises:
        FileNotFoundError: no such file. DataError: damaged, or not written by `save_arrays`.
    """
    from safetensors import SafetensorError, safe_open

    arrays, tensors = {}, {}
    try:
        with safe_open(path, framework="pt") as file:  # that of numpy would copy
            header = file.metadata()
            for name in file.offset_keys():
                tensors[name] = file.get_tensor(name).numpy()
                tensors[name].flags.writeable = False
        if _checksum(tensors) != header["checksum"]:
            raise ValueError("the content does not match its checksum")
        for name in tensors.keys() - {name + _OFFSETS for name in tensors}:
            places = pairwise(tensors[name + _OFFSETS].tolist())
            arrays[name] = [tensors[name][begin:end] for begin, end in places]
        return arrays, dict(json.loads(header["metadata"]))
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: truncated or not a feature file ({error}); {_REMEDY}") from error


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in order of name."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        if tensor.size:
            state.update(tensor)
    return state.hexdigest()
