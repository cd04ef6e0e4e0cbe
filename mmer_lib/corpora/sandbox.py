"""Files that can harm whoever reads them (pickles, HDF5) are read in a child process, within limits
of memory, time and disk.

The child leaves arrays as plain bytes and all else as JSON in a temporary folder, so that nothing
that it hands back can run. It imports this module: numpy and the standard library alone.
"""

from __future__ import annotations

import errno
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MEMORY = 2 * 2**30
"""Bytes that a child may take beside 8 times the file's size (where the system can limit it)."""

SECONDS = 30
"""Of computing that a child may take beside a second for every megabyte of the file."""

UNFOLDED = 100
"""How many times as large as the file its content may be, beside `SPARE`."""

SPARE = 64 * 2**20
"""Bytes that any file's content may have."""

_ROOT = Path(__file__).parents[2]
_KINDS = "biuf"  # of numpy's dtypes, those that are handed back
_TIMES, _SPARE = 4, 2**22  # letters of JSON that a file may unfold to: times its bytes, and more


class Refused(ValueError):
    """What a reader in the child says of a file that it does not read."""


def read_in_child(reader: str, path: Path, remedy: str) -> Any:
    """What ``read(path, keep)`` of the module `reader` gives, called in a child process.

    Arrays of numbers are mapped from a temporary file; tuples, sets, and arrays of texts or objects
    become lists, bytes and the keys of dicts texts; all else is refused. What `keep(array)` gives
    stands for the array, which need not stay in memory then.

    Raises:
        DataError: no such file, refused by the reader, damaged, or beyond a limit; ends with the
            remedy.
    """
    from mmer_lib.data import DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    size = path.stat().st_size
    memory, seconds = MEMORY + 8 * size, SECONDS + size // 2**20
    with tempfile.TemporaryDirectory(prefix="mmer-", ignore_cleanup_errors=True) as folder:
        limits = [str(limit) for limit in (memory, seconds, SPARE + UNFOLDED * size)]
        start = (
            f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
            f"from {__name__} import main; sys.exit(main(*sys.argv[1:]))"
        )
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads take address space
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", start, reader, str(path), folder, *limits],
                env={**os.environ, **one},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=20 * seconds,
                check=False,
            )
            if done.returncode == 0:
                return read_content(folder)
            reason = done.stdout.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            reason = ""
    if not reason:  # killed, most likely for its time
        reason = f"did not end well in {seconds} s of computing"
    raise DataError(f"{path}: {reason}; {remedy}")


def read_content(folder: str) -> Any:
    """What `write_content` left in the folder."""
    content = np.asarray(np.memmap(Path(folder, "arrays"), np.uint8, "c"))

    def value(item: dict) -> Any:
        if folder not in item:
            return item
        dtype, shape, start = item[folder]
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        return content[start:end].view(dtype).reshape(shape)

    return json.loads(Path(folder, "value").read_text("utf-8"), object_hook=value)


# ----------------------------------------------------------------------------- in the child


def main(reader: str, path: str, folder: str, *limits: str) -> int:
    """Entry of the child."""
    _limit(*map(int, limits))
    reason = write_content(reader, path, folder)
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason[:500])
    sys.stdout.buffer.write(shown.encode("utf-8", "replace"))
    return bool(reason)


def write_content(reader: str, path: str, folder: str) -> str:
    """Let the reader read, and leave in the folder what it gives; else why not."""
    read = importlib.import_module(reader).read
    try:
        with open(Path(folder, "arrays"), "wb") as arrays, open(Path(folder, "value"), "w") as text:
            arrays.write(bytes(64))
            keep = partial(_plain, arrays, folder)
            left = _SPARE + _TIMES * os.path.getsize(path)
            for piece in json.JSONEncoder(default=keep).iterencode(read(path, keep)):
                left -= text.write(piece)
                if left < 0:
                    raise Refused("unfolds to more than the file holds")
        return ""
    except MemoryError:
        return "takes too much memory to read"
    except Refused as error:
        return str(error)
    except Exception as error:
        if getattr(error, "errno", None) == errno.EFBIG:
            return f"unfolds to over {UNFOLDED} times its size"
        return f"damaged, truncated or of another format ({type(error).__name__}: {error})"


def _plain(file: BinaryIO, folder: str, value: Any) -> Any:
    """What JSON says for a value that it does not know. An array is written behind those before;
    the name of the folder, which no file can know, stands for it."""
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, set | frozenset):
        return list(value)
    if not hasattr(value, "__array__"):
        raise Refused(f"holds a {type(value).__name__}, which is refused")
    value = np.asarray(value)
    if value.dtype.kind not in _KINDS or value.dtype.itemsize > 8:
        return value.tolist()
    plain = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
    if plain.dtype.kind == "b":  # whose bytes may be others than 0 and 1
        plain = plain.view(np.uint8) != 0
    file.write(bytes(-file.tell() % 64))
    start = file.tell()
    file.write(plain.reshape(-1).view(np.uint8))
    return {folder: [plain.dtype.str, list(value.shape), start]}


def _limit(memory: int, seconds: int, disk: int) -> None:
    """Set the limits, where the system has them."""
    try:
        import resource
    except ImportError:  # Windows; the time is limited by the parent
        return
    for kind, limit in (("AS", memory), ("CPU", seconds), ("FSIZE", disk), ("CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (limit, limit))
        except (ValueError, OSError):  # macOS does not limit memory
            pass
