"""What must hold whatever a file holds: it is read, or refused by a `DataError` that names it;
nothing in it is run; memory and time are bounded; nothing is written beside it."""

from __future__ import annotations

import os
import signal
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmer_lib.data import DataError
from tests.fuzz.targets import Target

SECONDS = 20
"""Of computing that an input of at most `mutate.LARGEST` bytes may take."""

MEGABYTES = 64
"""That a reader may take beside what grows with the file."""

MARKER = "pwned"
"""A file that a payload in the seeds would make in the current folder."""


class Broken(AssertionError):
    """An invariant does not hold."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raises:
    Broken: so many seconds of computing have passed.
    """

    def late(*_):
        raise Broken(f"still reading after {seconds:g} s of computing")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def bound(target: Target, size: int) -> int:
    """Bytes of memory that a file of `size` bytes may take to read."""
    return MEGABYTES * 2**20 + target.times * size


def files_in(folder: Path) -> list[str]:
    return sorted(os.path.join(where, f) for where, _, files in os.walk(folder) for f in files)


def read(target: Target, path: Path, content: bytes) -> str:
    """Let the target's reader read a file of this content; "read" or "refused".

    Args:
        path: of the file, as `target.prepare` gave it; what is beside it stays as it is.

    Raises:
        Broken: an invariant does not hold. What the reader raises beside a DataError.
    """
    path.write_bytes(content)
    folder = path.parents[target.above]
    before = files_in(folder)
    with in_time(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # of numpy: a number that means nothing
        try:
            target.read(path)
            outcome = "read"
        except DataError as error:
            outcome = "refused"
            if not any(name in str(error) for name in (path.name, folder.name)):
                raise Broken(f"the message names no file: {error}") from error
    if files_in(folder) != before:
        raise Broken(f"files were made: {set(files_in(folder)) ^ set(before)}")
    if os.path.exists(MARKER):
        os.remove(MARKER)
        raise Broken("code in the file was run")
    return outcome


def read_in_bounds(target: Target, path: Path, content: bytes) -> str:
    """`read`, with the memory that Python and numpy take counted too."""
    tracemalloc.start()
    try:
        outcome = read(target, path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > bound(target, len(content)):
        raise Broken(f"{peak / 2**20:.0f} MB for a file of {len(content)} bytes")
    return outcome
