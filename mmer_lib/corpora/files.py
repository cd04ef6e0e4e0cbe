"""What the readers of files share: text and sound from disk, and findings said once a kind."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from mmer_lib.data import DataError

LOUDEST = 4.0
"""The largest sample that still counts as one in [-1, 1]: some decoders go a little over 1."""

LONGEST = 2**26
"""Samples of all channels that a sound file may hold, 70 minutes at 16 kHz: a small file of packed
silence could fill the memory."""


_POINTER = b"version https://git-lfs"
_FETCH = "a pointer of Git LFS in place of the file; fetch it with 'git lfs pull'"


def read_text(path: Path) -> str:
    """A text file as UTF-8, else as Windows-1252."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_wav(
    path: str | Path, start: float = 0, end: float | None = None
) -> tuple[np.ndarray, int]:
    """Samples of a sound file, float32 in [-1, 1], (N,), or (N, C) with several channels, and
    their rate in Hz; those from `start` to `end` alone, in seconds.

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
            rate, most = file.samplerate, LONGEST // file.channels + 1
            if start:
                file.seek(min(round(start * rate), file.frames))
            if end is not None:
                most = min(most, round((end - start) * rate))
            samples = file.read(most, dtype="float32")
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: named .raw, without a rate
        raise DataError(f"{path}: {_not_sound(path)}") from error
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


def read_sound(path: Path, start: float = 0, end: float | None = None) -> np.ndarray:
    """The samples of `read_wav` alone."""
    return read_wav(path, start, end)[0]


def check_sound(path: Path, start: float, end: float) -> int:
    """The rate of a sound file by its header; a DataError, without the path, where it cannot be
    used."""
    import soundfile

    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, TypeError) as error:  # as in `read_wav`
        raise DataError(_not_sound(path)) from error
    if not header.frames:
        raise DataError("no samples; record it again or delete the row")
    if header.duration < (start if np.isinf(end) else end - 0.1):  # ends may be rounded
        raise DataError("shorter than start and end say; give them in seconds")
    return header.samplerate


def _not_sound(path: Path) -> str:
    with open(path, "rb") as file:
        pointer = file.read(len(_POINTER)) == _POINTER
    return _FETCH if pointer else "not readable as sound; convert it to wav"


def not_text(content: bytes) -> str:
    """What a file is, and what to do, where it is known to be something else than it should be."""
    if content.startswith(_POINTER):
        return _FETCH
    if content.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        return "a spreadsheet's file, not a table as text; save the sheet as 'CSV UTF-8'"
    return ""


def find(folder: Path, name: str) -> Path:
    """A file as a table names it: as it stands, else with other slashes, or with letters composed
    or decomposed, as systems differ in."""
    slashed = name.replace("\\", "/")
    names = [name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]
    return next((folder / n for n in names if os.path.isfile(folder / n)), folder / name)


def numbers(cells: pd.DataFrame | pd.Series) -> pd.DataFrame | pd.Series:
    """Texts as numbers, with a decimal point or comma; NaN where they are none."""
    if isinstance(cells, pd.DataFrame):
        return cells.apply(numbers)
    return pd.to_numeric(cells.str.replace(",", "."), errors="coerce").astype(float)


FEATURE_FILES = (".npy", ".csv")
"""Files of features, by the end of their names."""


def _read_csv(path: Path, **how) -> pd.DataFrame:
    """A CSV file; without names of columns where its first line has numbers alone."""
    try:
        with open(path, encoding="utf-8") as file:
            bare = re.fullmatch(r"[\s\d.,eE+-]+", file.readline())
        table = pd.read_csv(path, header=None if bare else "infer", **how)
    except ValueError as error:  # all of pandas' own, and UTF-8's
        raise DataError("not readable as CSV; write it again") from error
    return table.rename(columns=lambda name: str(name).strip())  # OpenFace's begin with a space


def read_words(path: Path) -> list[tuple[str, float, float]]:
    """(word, start, end) of a CSV file with these columns."""
    table = _read_csv(path, keep_default_na=False)  # "nan" may be said
    if not {"word", "start", "end"} <= {*table}:
        raise DataError("no columns word, start, end; name them so, times in seconds")
    times = table[["start", "end"]].apply(pd.to_numeric, errors="coerce")
    return list(zip(table["word"].astype(str), times["start"], times["end"], strict=True))


def read_features(
    path: Path, start: float, end: float
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Features (rows, columns) from start to end, their times from the start, where the file has
    some, and the names of the columns. Of OpenFace's file, the intensities of action units, NaN
    where no face was found."""
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, allow_pickle=False), None, ()
        except (ValueError, EOFError) as error:
            raise DataError("not an array of numbers; save it with numpy.save") from error
    table = _read_csv(path)
    names = [name for name in table if re.fullmatch(r"AU\d\d_r", name)]
    if names and "success" in table:
        table.loc[table["success"] == 0, names] = np.nan
    if "timestamp" in table:
        table = table[table["timestamp"].between(start, end, inclusive="left")]
        times = table["timestamp"].to_numpy() - start
    else:
        times = None
    names = names or [name for name in table if name != "timestamp"]
    return table[names].to_numpy(), times, tuple(names)


def stamp(path: Path, relative: str) -> tuple[str, int, int]:
    """(relative path, bytes, time of change in nanoseconds): stands for a sound file's content
    in digests, since to hash gigabytes at every load would be slow."""
    status = path.stat()
    return relative, status.st_size, status.st_mtime_ns
