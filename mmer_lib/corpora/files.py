"""What the readers of files share: text and sound from disk, and findings said once a kind."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmer_lib.corpora import DataError

LOUDEST = 4.0
"""The largest sample that still counts as one in [-1, 1]: some decoders go a little over 1."""

LONGEST = 2**26
"""Samples, those of all channels, that a sound file may hold: 70 minutes at 16 kHz. Packed silence
takes next to no room, so a small file could fill the memory."""

_PARTS = re.compile(r"\s+|\S{1,200}")
_BLOCK = 2**20  # samples read at a time; what a header says of their number may be wrong


def few(items: Iterable[object], most: int = 5) -> str:
    """The first few of many: "a, b, c, d, e, ..."."""
    items = list(items)
    return ", ".join(str(item) for item in items[:most]) + ", ..." * (len(items) > most)


def normalised(form: str, text: str) -> str:
    """`unicodedata.normalize`, whose time grows with the square of the length of a run of
    combining marks; here words are cut after 200 letters, which no word has."""
    return "".join(unicodedata.normalize(form, part) for part in _PARTS.findall(text))


class Findings:
    """What a reader notices in files, gathered by kind; a kind is said once, however often it
    was found.

    Args:
        source: what the messages begin with (a corpus, a file).
    """

    def __init__(self, source: str):
        self.source = source
        self.places: dict[tuple[str, str], list[str]] = {}

    def add(self, problem: str, place: str, remedy: str) -> None:
        """Note a problem, where it was found, and what follows from it or mends it."""
        self.places.setdefault((problem, remedy), []).append(place)

    def messages(self) -> list[str]:
        """One for every kind of problem, with how often and where (the first few places)."""
        return [
            f"{self.source}: {problem}: {len(places)} ({few(places)}); {remedy}"
            for (problem, remedy), places in self.places.items()
        ]

    def warn(self, stacklevel: int = 3) -> None:
        """One warning for every kind."""
        for message in self.messages():
            warnings.warn(message, stacklevel=stacklevel)

    def fail(self) -> None:
        """Raises:
        DataError: there are findings; the message holds all kinds, a line each.
        """
        if self.places:
            raise DataError("\n".join(self.messages()))


def read_text(path: Path) -> str:
    """A text file as UTF-8 (with or without a byte order mark), else as Windows-1252, of which
    Latin-1's letters are a part; bytes that Windows-1252 does not define become U+FFFD."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def decoded(path: Path) -> tuple[np.ndarray, int]:
    """Samples of a sound file as they are, float32, (N,) or (N, C), and their rate in Hz.

    Raises:
        DataError: not a sound file that libsndfile reads, or more than `LONGEST` samples.
    """
    import soundfile

    blocks, left = [], LONGEST
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            while len(block := file.read(max(1, _BLOCK // channels), dtype="float32")):
                blocks.append(block)
                left -= block.size
                if left < 0:
                    raise DataError(
                        f"{path}: over {LONGEST:,} samples; cut the recording into utterances"
                    )
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: named .raw, without a rate
        raise DataError(f"{path}: not readable as sound ({error}); convert it to wav") from error
    if not blocks:
        return np.zeros((0, channels)[: 1 + (channels > 1)], np.float32), rate
    return np.concatenate(blocks), rate


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a sound file, float32 in [-1, 1], (N,), or (N, C) with several channels, and
    their rate in Hz.

    Raises:
        DataError: no such file, a folder, or not a sound file that libsndfile reads; no samples,
            more than `LONGEST`, or some that are NaN, infinite or beyond `LOUDEST`.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise DataError(f"{path}: a folder, not a sound file; name one file")
    if not os.path.isfile(path):  # which, unlike Path's, may be asked about any name
        raise DataError(f"{path}: no such file")
    samples, rate = decoded(path)
    if not samples.size:
        raise DataError(f"{path}: empty (no samples); record it again or leave it out")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are NaN or infinite; convert the recording "
                        "again or leave it out")  # fmt: skip
    if (loudest := np.abs(samples).max()) > LOUDEST:
        raise DataError(f"{path}: far too loud, up to {loudest:g}; scale its samples to [-1, 1] "
                        "(16-bit ones: divide by 32768)")  # fmt: skip
    return samples, rate


def read_sound(path: Path) -> np.ndarray:
    """The samples of `read_wav` alone."""
    return read_wav(path)[0]


def stamp(path: Path, relative: str) -> tuple[str, int, int]:
    """(relative path, bytes, time of change in nanoseconds): stands for a sound file's content
    in digests, since to hash gigabytes at every load would be slow.

    Raises:
        OSError: no such file.
    """
    status = path.stat()
    return relative, status.st_size, status.st_mtime_ns
