"""MOSI and MOSEI from pickles: those of MMSA (``aligned_50.pkl``, ``unaligned_50.pkl``), and those
of MISA and its like (lists of utterances). They are read by `unpickle.load_pickle`, which runs
nothing of what is in them and gives lists, dicts, texts, numbers and arrays of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer_lib.corpora.mosi.reading import Reading, spoken
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError, Split, few

DAMAGE = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError)
"""What content of another form than is expected raises."""

_PARTS = {"train": "train", "dev": "dev", "valid": "dev", "test": "test"}
_FORMATS = (
    "expected a pickle of MMSA or MISA (a dict with train, valid or dev, and test), or a folder "
    "with MISA's train.pkl, dev.pkl and test.pkl"
)


def read_pickles(path: Path) -> Reading:
    """The utterances of one pickle with three parts, or of a folder with ``train.pkl``,
    ``dev.pkl`` and ``test.pkl``.

    Of MMSA's, `text` becomes the vectors, and padding is cut off: in an aligned file every
    sequence has the rows that the mask in `text_bert` has (those of [CLS] and [SEP] too); in an
    unaligned one audio and vision have the lengths that it says. Of MISA's, the text is that of
    `actual_words`, or of the words where they are written out; indices into a vocabulary that is
    not there are dropped.

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
                _read_mmsa(parts[part], part, reading)
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


def _read_mmsa(content: dict, part: str, reading: Reading) -> None:
    """One part: N utterances, sequences padded to L rows."""
    mask = content["text_bert"][:, 1] != 0  # (N, 3, L): indices, mask, segments
    sequences = {k: content[k] for k in ("audio", "vision", "text") if k in content or k != "text"}
    real = {}  # (N, L), which rows are no padding
    for name, rows in sequences.items():
        lengths = content.get(f"{name}_lengths")
        real[name] = mask if lengths is None else np.arange(rows.shape[1]) < _column(lengths)
    labels = _column(content["regression_labels"])[:, 0]
    columns = (content["id"], content["raw_text"], labels, *sequences.values())
    for i, (id, text, label, *matrices) in enumerate(zip(*columns, strict=True)):
        fields = {}
        for name, rows in zip(sequences, matrices, strict=True):
            if rows[~real[name][i]].any():
                problem = f"{name}: rows behind the utterance's length that are not 0"
                reading.findings.add(problem, id, "cut off; are the lengths right?")
            fields["vectors" if name == "text" else name] = rows[real[name][i]]
        reading.add(id, part, label, text, fields)


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
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:, :1]
