"""MOSI and MOSEI from pickles: those of arrays, as MMSA, MulT, MultiBench and programs that extract
features write them, and those of MISA and its like (lists of utterances). They are read by
`unpickle.load_pickle`, which runs nothing of what is in them and gives lists, dicts, texts, numbers
and arrays of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer_lib.corpora.mosi.reading import Reading, spoken
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError, Split, few

DAMAGE = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError)
"""What content of another form than is expected raises."""

_PARTS = {"train": "train", "dev": "dev", "valid": "dev", "val": "dev", "test": "test"}
_FORMATS = (
    "expected a pickle of MMSA, MulT, MultiBench or MISA (a dict with train, valid, val "
    "or dev, and test), or a folder with MISA's train.pkl, dev.pkl and test.pkl"
)


def read_pickles(path: Path) -> Reading:
    """The utterances of one pickle with three parts, or of a folder with ``train.pkl``,
    ``dev.pkl`` and ``test.pkl``.

    Of arrays, `text` becomes the vectors, `raw_text` the text, which MulT's and MultiBench's lack,
    and padding is cut off (see `_real`). Of MISA's, the text is that of `actual_words`, or of the
    words where they are written out; indices into a vocabulary that is not there are dropped.

    Raises:
        DataError: a pickle that `load_pickle` refuses, or of another format.
    """
    parts = _parts(path)
    reading = Reading(path.name)
    reading.holders = {"vectors": "text"}
    for part in Split._fields:
        place = f"{path}: {part}"
        try:
            if isinstance(parts[part], dict):
                _read_arrays(parts[part], part, reading)
                continue
            for i, item in enumerate(parts[part]):
                place = f"{path}: {part}: item {i}"
                _read_misa(item, part, reading)
        except DataError:
            raise
        except DAMAGE as error:
            raise DataError(f"{place}: {type(error).__name__}: {error}; {_FORMATS}") from error
    return reading


def _parts(path: Path) -> dict[str, object]:
    """The content of each part, of a folder that of the files named for parts."""
    if path.is_dir():
        content = {p: path / f"{p}.pkl" for p in _PARTS if (path / f"{p}.pkl").is_file()}
    else:
        content = load_pickle(path)
    named = [name for name in content if name in _PARTS] if isinstance(content, dict) else []
    if sorted(_PARTS[name] for name in named) != sorted(Split._fields):
        raise DataError(f"{path}: holds {few(named) or 'no part'}; {_FORMATS}")
    return {_PARTS[p]: load_pickle(content[p]) if path.is_dir() else content[p] for p in named}


def _read_arrays(content: dict, part: str, reading: Reading) -> None:
    """One part: N utterances, sequences padded to L rows."""
    sequences = {name: content[name] for name in ("audio", "vision", "text") if name in content}
    labels = _column(content["regression_labels" if "regression_labels" in content else "labels"])
    real, count = _real(content, sequences), len(labels)
    ids = content["id"] if "id" in content else [f"{part} {i}" for i in range(count)]
    texts = content.get("raw_text", [None] * count)
    for name, kept in real.items():
        if kept[:, 0].sum() < kept[:, -1].sum():
            reading.findings.add("sequence padded in front", f"{part} {name}", "cut off there")
    columns = (ids, texts, labels[:, 0], *sequences.values())
    for i, (id, text, label, *matrices) in enumerate(zip(*columns, strict=True)):
        if not isinstance(id, str):  # video, start and end, as MulT has them
            id = "$_$".join(map(str, id))
        fields = {}
        for name, rows in zip(sequences, matrices, strict=True):
            if rows[~real[name][i]].any():
                problem = f"{name}: rows of padding that are not 0"
                reading.findings.add(problem, id, "cut off; are the lengths right?")
            fields["vectors" if name == "text" else name] = rows[real[name][i]]
        reading.add(id, part, label, text, fields)


def _real(content: dict, sequences: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which rows of each sequence are no padding, (N, L).

    Their number is that of `audio_lengths` and its like, else that of the mask in `text_bert`
    ([CLS] and [SEP] have rows too). Where there is neither, padding is the rows of zeros at one
    end; sequences of one L are then aligned, and such a row is zero in all of them. Padding lies
    behind or in front: where fewer rows that are not zero, or more zeros, are cut off.
    """
    filled = {name: rows.any(axis=2) for name, rows in sequences.items()}
    mask = content["text_bert"][:, 1] != 0 if "text_bert" in content else np.zeros(0)
    told = {k for k, r in filled.items() if f"{k}_lengths" in content or r.shape == mask.shape}
    others = [rows for name, rows in filled.items() if name not in told]
    aligned = len({rows.shape for rows in others}) == 1
    real = {}
    for name, rows in filled.items():
        if name in told:
            lengths = content.get(f"{name}_lengths")
            kept = mask if lengths is None else np.arange(rows.shape[1]) < _column(lengths)
            lost = [(rows & ~way).sum() for way in (kept, kept[:, ::-1])]
            real[name] = kept if lost[0] <= lost[1] else kept[:, ::-1]
        else:
            rows = np.any(others, axis=0) if aligned else rows
            behind = np.logical_or.accumulate(rows[:, ::-1], axis=1)[:, ::-1]
            real[name] = min(behind, np.logical_or.accumulate(rows, axis=1), key=np.sum)
    return real


def _read_misa(item: list, part: str, reading: Reading) -> None:
    """One utterance: ((words, vision, audio[, actual_words]), label, id)."""
    (words, vision, audio, *actual), label, id = item
    written = actual[0] if actual else words
    if not actual and not all(isinstance(word, str) for word in written):
        raise DataError(
            f"{reading.findings.source}: {id}: words are indices into a vocabulary that is not in "
            "the file; make it with actual_words, as MISA's create_dataset.py does"
        )
    text = " ".join(filter(spoken, written))
    rows = {"vision": vision, "audio": audio}
    reading.add(id, part, _column([label])[0, 0], text, rows)


def _column(values: list | np.ndarray) -> np.ndarray:
    """(N, 1) float64: the first number of every item (a label of MOSEI has seven)."""
    rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if len(rows) and rows.shape[1] not in (1, 7):
        raise ValueError(f"{rows.shape[1]} numbers a label, expected a sentiment or MOSEI's seven")
    return rows[:, :1]
