"""CMU-MOSI (Zadeh et al., 2016) and CMU-MOSEI (Zadeh et al., 2018), with a sentiment in [-3, 3]: a
folder of ``.csd`` files of the CMU-MultimodalSDK, a pickle of MMSA, pickles of MISA, or the safe
file that `convert` makes of a pickle once. Nothing is scaled.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import fields
from pathlib import Path

from mmer_lib.corpora.mosi.mmsa import DAMAGE, read_pickles
from mmer_lib.corpora.mosi.reading import Reading
from mmer_lib.corpora.mosi.sequences import read_folder
from mmer_lib.data import Corpus, DataError, Split, Utterance
from mmer_lib.store import digest, load_arrays, save_arrays

COUNTS = {
    "mosi": {"train": 1284, "dev": 229, "test": 686},
    "mosei": {"train": 16326, "dev": 1871, "test": 4659},
}
"""Utterances of each part, as MMSA publishes them."""

SAFE = ".safetensors"
"""How the name of a file made by `convert` ends."""

REMEDY = (
    "name a folder with the .csd files of the CMU-MultimodalSDK, a pickle of MMSA or MISA, a "
    "folder with MISA's train.pkl, dev.pkl and test.pkl, or a file made by mosi.convert"
)

_ARRAYS = ("vectors", "audio", "vision")


def load(root: str | Path, name: str, progress: bool = True, as_written: bool = False) -> Corpus:
    """The corpus "mosi" or "mosei" with its standard split, told apart by `name` alone.

    Speaker and session are the video: MOSI's 93 are by 89 speakers, whom no file names. What has
    no file is None. Values that are NaN or infinite are 0, an entry at a time, and are counted. The
    split is that of the SDK, by video (``data/folds``), of pickles their own. The key covers the
    content of the utterances and the split.

    Args:
        root: the folder or file.
        name: "mosi" or "mosei".
        progress: show a bar while ``.csd`` files are read.
        as_written: see `sequences.read_folder`.

    Warns:
        UserWarning: once for every kind of thing that is left out, mended or doubtful, with how
            often and where; counts that differ from `COUNTS`.

    Raises:
        DataError: no such folder or file, or one of another kind; what the readers
            of the formats raise; a part without utterances.
    """
    root, folds = Path(root), standard_folds(name)
    reading = _read(root, folds, progress, as_written)
    _compare_folds(reading, folds)
    split = _split(root, reading)
    reading.findings.warn()
    counts = {part: len(rows) for part, rows in split._asdict().items()}
    if counts != COUNTS[name]:
        there, published = (
            f"{', '.join(f'{part} {n}' for part, n in c.items())} ({sum(c.values())} in all)"
            for c in (counts, COUNTS[name])
        )
        reasons = "".join(f", left out {n} {why}" for why, n in reading.left_out.items())
        warnings.warn(f"{name}: found {there}{reasons}; published are {published}", stacklevel=2)
    utterances = tuple(reading.utterances)
    extras = {
        "counts": counts,
        "left_out": dict(reading.left_out),
        "repaired": dict(reading.repaired),
        "root": str(root),
        "as_written": as_written,
    }
    read = [f.name for f in fields(Utterance) if f.name not in ("waveform", "planted")]
    key = digest(name, [[getattr(u, field) for field in read] for u in utterances], split)
    names = reading.vision_names
    return Corpus(name, key, utterances, vision_names=names, fixed=split, extras=extras)


def _read(root: Path, folds: dict[str, str], progress: bool, as_written: bool) -> Reading:
    if not root.exists():
        raise DataError(f"{root}: no such folder or file; {REMEDY}")
    if root.is_dir():
        if any(root.glob("*.csd")):
            return read_folder(root, folds, progress, as_written)
        if not any(root.glob("*.pkl")):
            raise DataError(f"{root}: holds neither .csd files nor MISA's pickles; {REMEDY}")
    if root.suffix == ".csd":
        raise DataError(f"{root}: one .csd file is not a corpus; name the folder that holds them")
    return _read_safe(root) if root.suffix == SAFE else read_pickles(root)


# ---------------------------------------------------------------------------------- split


def standard_folds(name: str) -> dict[str, str]:
    """The part ("train", "dev", "test") of every video, as the CMU-MultimodalSDK has it."""
    packaged = Path(__file__).with_name(f"{name}.json")
    checkout = Path(__file__).parents[3] / "data" / "folds" / f"{name}.json"
    content = (packaged if packaged.exists() else checkout).read_text(encoding="utf-8")
    return {video: part for part, videos in json.loads(content).items() for video in videos}


def _split(root: Path, reading: Reading) -> Split:
    parts = list(enumerate(reading.parts.values()))
    split = Split(*([i for i, p in parts if p == part] for part in Split._fields))
    if empty := [part for part, rows in split._asdict().items() if not rows]:
        told = "\n".join(["", *reading.findings.messages()])
        raise DataError(f"{root}: no utterance in {' and '.join(empty)}; take whole files{told}")
    return split


def _compare_folds(reading: Reading, folds: dict[str, str]) -> None:
    """Tell of videos that stand in two parts, or elsewhere than the standard says."""
    parts: dict[str, set[str]] = {}
    for utterance in reading.utterances:
        parts.setdefault(utterance.speaker, set()).add(reading.parts[utterance.id])
    remedy = "figures do not compare with published ones"
    for video, where in parts.items():
        if len(where) > 1:
            leak = "scores will not tell of new speakers"
            reading.findings.add("video in more than one part of the split", video, leak)
        elif video not in folds:
            reading.findings.add("video in no standard fold", video, remedy)
        elif where != {folds[video]}:
            reading.findings.add("video in another part than the standard one", video, remedy)


# ------------------------------------------------------------------------------ safe file


def convert(source: str | Path, target: str | Path) -> None:
    """Write what a pickle, or the folder of MISA's, holds to ``*.safetensors``, a file that needs
    no trust: ``load(target, name)`` gives the same utterances, split and key.

    Raises:
        DataError: what `read_pickles` refuses; a target of another name, or that is there.
    """
    source, target = Path(source), Path(target)
    if target.suffix != SAFE or target.exists():
        raise DataError(f"{target}: give a name that ends in {SAFE}, of a file that is not there")
    reading = read_pickles(source)
    _split(source, reading)
    utterances = reading.utterances
    arrays = {field: [getattr(u, field) for u in utterances] for field in _ARRAYS}
    arrays = {field: rows for field, rows in arrays.items() if rows[0] is not None}
    metadata = {
        "ids": [u.id for u in utterances],
        "parts": list(reading.parts.values()),
        "sentiments": [u.sentiment for u in utterances],
        "texts": [u.text for u in utterances],
        "left_out": reading.left_out,
        "repaired": reading.repaired,
    }
    reading.findings.warn()
    save_arrays(target, arrays, metadata)


def _read_safe(path: Path) -> Reading:
    reading = Reading(path.name)
    try:
        arrays, told = load_arrays(path)
        for name in ("left_out", "repaired"):
            getattr(reading, name).update({reason: int(n) for reason, n in told[name].items()})
        columns = (told[name] for name in ("ids", "parts", "sentiments", "texts"))
        for id, part, label, text, *rows in zip(*columns, *arrays.values(), strict=True):
            if part not in Split._fields:
                raise ValueError(part)
            reading.add(id, part, label, text, dict(zip(arrays, rows, strict=True)))
    except DAMAGE as error:
        raise DataError(
            f"{path}: damaged, or not made by mosi.convert; convert the pickle again"
        ) from error
    return reading
