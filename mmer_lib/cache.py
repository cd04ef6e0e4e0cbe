"""Files that are either whole or not there: atomic writes, and digests of content."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmer_lib.corpora import DataError


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
