"""What the readers of files share: text and sound from disk, and findings said once a kind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mmer_lib.data import DataError

LOUDEST = 4.0
"""The largest sample that still counts as one in [-1, 1]: some decoders go a little over 1."""

LONGEST = 2**26
"""Samples of all channels that a sound file may hold, 70 minutes at 16 kHz: a small file of packed
silence could fill the memory."""


def read_text(path: Path) -> str:
    """A text file as UTF-8, else as Windows-1252."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples of a sound file, float32 in [-1, 1], (N,), or (N, C) with several channels, and
    their rate in Hz.

    Raises:
        DataError: no such file, a folder, or not a sound file that libsndfile reads; no samples,
            more than `LONGEST`, or some that are NaN, infinite or beyond `LOUDEST`.
    """
    import soundfile

    path = Path(path)
    if not os.path.isfile(path):  # which, unlike Path's, may be asked about any name
        raise DataError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:  # whose header may claim any number of samples
            samples = file.read(LONGEST // file.channels + 1, dtype="float32")
            rate = file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: named .raw, without a rate
        raise DataError(f"{path}: not readable as sound ({error}); convert it to wav") from error
    if samples.size > LONGEST:
        raise DataError(f"{path}: over {LONGEST:,} samples; cut the recording into utterances")
    if not samples.size:
        raise DataError(f"{path}: empty (no samples); record it again or leave it out")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are NaN or infinite; convert it again")
    if (loudest := np.abs(samples).max()) > LOUDEST:
        raise DataError(
            f"{path}: far too loud, up to {loudest:g}; scale its samples to [-1, 1] "
            "(16-bit ones: divide by 32768)"
        )
    return samples, rate


def read_sound(path: Path) -> np.ndarray:
    """The samples of `read_wav` alone."""
    return read_wav(path)[0]


def stamp(path: Path, relative: str) -> tuple[str, int, int]:
    """(relative path, bytes, time of change in nanoseconds): stands for a sound file's content
    in digests, since to hash gigabytes at every load would be slow."""
    status = path.stat()
    return relative, status.st_size, status.st_mtime_ns
