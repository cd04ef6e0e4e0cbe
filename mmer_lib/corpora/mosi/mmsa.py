"""MOSI and MOSEI from pickles: those of MMSA (``aligned_50.pkl``, ``unaligned_50.pkl``), and those
of MISA and its like (lists of utterances). They are read by `unpickle.load_pickle`, which runs
nothing of what is in them and gives lists, dicts, texts, numbers and arrays of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer_lib.corpora.mosi.reading import Reading, spoken
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError, Split, Utterance, few

_PARTS = {"train": "train", "dev": "dev", "valid": "dev", "test": "test"}
_FILES = {"train": ("train.pkl",), "dev": ("dev.pkl", "valid.pkl"), "test": ("test.pkl",)}
_FORMATS = "expected a pickle of MMSA or MISA: a dict with train, valid (or dev) and test"
_ITEM = "((words, vision, audio, actual_words), label, id)"


def read_pickles(path: Path) -> Reading:
    """The utterances of one pickle with three parts, or of a folder with ``train.pkl``,
    ``dev.pkl`` and ``test.pkl``.

    Of MMSA's, `text` becomes the vectors, and padding is cut off: in an aligned file every
    sequence has the rows that the mask in `text_bert` has (those of [CLS] and [SEP] too); in an
    unaligned one audio and vision have the lengths that it says. Of MISA's, the text is that of
    `actual_words`, or of the words where they are written out; indices into a vocabulary that is
    not there are dropped.

    Raises:
        DataError: a pickle that `load_pickle` refuses, or of another format (with the field and
            part named).
    """
    parts = _folder(path) if path.is_dir() else _parts(path, load_pickle(path))
    reading = Reading(path.name)
    for part in Split._fields:
        where = f"{path}: {part}"
        if isinstance(parts[part], dict):
            _read_mmsa(parts[part], part, where, reading)
        elif isinstance(parts[part], list):
            for i, item in enumerate(parts[part]):
                _read_misa(item, part, f"{where}: item {i}", reading)
        else:
            raise DataError(f"{where}: a {type(parts[part]).__name__}; {_FORMATS}")
    return reading


def _folder(path: Path) -> dict[str, object]:
    parts = {}
    for part, names in _FILES.items():
        there = [name for name in names if (path / name).is_file()]
        if len(there) != 1:
            raise DataError(
                f"{path}: {len(there)} files {' or '.join(names)}, expected one; name a single "
                "pickle itself, and of MISA's the folder with all three"
            )
        parts[part] = load_pickle(path / there[0])
    return parts


def _parts(path: Path, content: object) -> dict[str, object]:
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}; {_FORMATS}")
    named = [(_PARTS[key], value) for key, value in content.items() if key in _PARTS]
    if sorted(part for part, _ in named) != sorted(Split._fields):
        raise DataError(f"{path}: holds a dict with {few(content) or 'nothing'}; {_FORMATS}")
    return dict(named)


# ----------------------------------------------------------------------------------- MMSA


def _read_mmsa(content: dict, part: str, where: str, reading: Reading) -> None:
    """One part: N utterances, sequences padded to L rows."""
    ids = _texts(content, "id", where)
    n = len(ids)
    texts = _texts(content, "raw_text", where, n)
    labels = _numbers(_items(content, "regression_labels", where, n), f"{where}: regression_labels")
    mask = _array(content, "text_bert", where, n)[:, 1] != 0  # (N, 3, L): indices, mask, segments
    names = ("audio", "vision", "text") if "text" in content else ("audio", "vision")
    sequences = {name: _array(content, name, where, n) for name in names}
    real = {}  # (N, L), which rows are no padding
    for name, rows in sequences.items():
        if f"{name}_lengths" in content:
            real[name] = _within(content, f"{name}_lengths", where, ids, rows.shape[1], reading)
        elif rows.shape[1] == mask.shape[1]:
            real[name] = mask
        else:
            raise DataError(
                f"{where}: {name!r} has {rows.shape[1]} rows and the mask of text_bert "
                f"{mask.shape[1]}, without '{name}_lengths'; take a file that has them"
            )
    for i, id in enumerate(ids):
        for name, rows in sequences.items():
            if rows[i][~real[name][i]].any():
                problem = f"{name}: rows behind the utterance's length that are not 0"
                reading.findings.add(problem, id, "cut off; are the lengths right?")
        if not real["audio"][i].any() or not real["vision"][i].any() or not mask[i].any():
            reading.leave_out("without rows of a modality", id)
            continue
        fields = {k: reading.repair(rows[i][real[k][i]], k, id) for k, rows in sequences.items()}
        fields["vectors"] = fields.pop("text", None)
        _add(reading, id, texts[i], labels[i], part, fields)


def _within(
    content: dict, name: str, where: str, ids: list[str], most: int, reading: Reading
) -> np.ndarray:
    """(N, L) from lengths: which rows are no padding."""
    lengths = _numbers(_items(content, name, where, len(ids)), f"{where}: {name}")
    if not (lengths >= 0).all():
        raise DataError(f"{where}: {name} that are negative or NaN; take a whole file")
    for i in np.flatnonzero(lengths > most):
        problem = f"{name}: more than the {most} rows that are there"
        reading.findings.add(problem, ids[i], "all rows are taken")
    return np.arange(most) < lengths[:, None]


def _items(content: dict, name: str, where: str, n: int | None = None) -> list | np.ndarray:
    """A list, or an array along its first axis, of n items."""
    items = content.get(name)
    if not isinstance(items, list | np.ndarray) or getattr(items, "ndim", 1) == 0:
        what = "is missing" if items is None else f"is a {type(items).__name__}"
        raise DataError(f"{where}: {name!r} {what}; take a file of MMSA that has it")
    if n is not None and len(items) != n:
        raise DataError(f"{where}: {name!r} has {len(items)} items and 'id' {n}; take a whole file")
    return items


def _texts(content: dict, name: str, where: str, n: int | None = None) -> list[str]:
    return [_text(text, f"{where}: {name}") for text in _items(content, name, where, n)]


def _array(content: dict, name: str, where: str, n: int) -> np.ndarray:
    """(N, L, D) of numbers, of `text_bert` (N, 3, L)."""
    array = _items(content, name, where, n)
    shape = getattr(array, "shape", "of a list")
    expected = "(N, 3, L)" if name == "text_bert" else "(N, L, D)"
    wrong = not isinstance(array, np.ndarray) or array.ndim != 3
    if wrong or (name == "text_bert" and shape[1] != 3):
        raise DataError(f"{where}: {name!r} of shape {shape}, expected {expected} with N {n}")
    return array


# ----------------------------------------------------------------------------------- MISA


def _read_misa(item: object, part: str, place: str, reading: Reading) -> None:
    """One utterance: ((words, vision, audio[, actual_words]), label, id)."""
    features, label, id = _unpacked(item, (3,), place)
    words, vision, audio, *actual = _unpacked(features, (3, 4), place)
    id = _text(id, f"{place}: id")
    written = actual[0] if actual else words
    if not isinstance(written, list | np.ndarray):
        raise DataError(f"{place}: words are a {type(written).__name__}; expected a list of texts")
    if not actual and not all(isinstance(word, str) for word in written):
        raise DataError(
            f"{place}: words are indices into a vocabulary that is not in the file, and there "
            "are no actual_words; make it with actual_words, as MISA's create_dataset.py does"
        )
    text = " ".join(w for w in (_text(w, f"{place}: words") for w in written) if spoken(w))
    fields = {}
    for name, rows in (("vision", vision), ("audio", audio)):
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or not rows.size:
            shape = getattr(rows, "shape", type(rows).__name__)
            raise DataError(
                f"{place}: {name} of shape {shape}; expected numbers in rows and columns"
            )
        fields[name] = reading.repair(rows, name, id)
    _add(reading, id, text, _numbers([label], f"{place}: label")[0], part, fields)


def _unpacked(item: object, lengths: tuple[int, ...], place: str) -> list:
    if not isinstance(item, list) or len(item) not in lengths:
        size = f" of {len(item)}" if isinstance(item, list) else ""
        raise DataError(f"{place}: a {type(item).__name__}{size}; expected {_ITEM}")
    return item


# -------------------------------------------------------------------------- what both share


def _add(reading: Reading, id: str, text: str, label: float, part: str, fields: dict) -> None:
    if not text.strip():
        reading.leave_out("without words", id)
        return
    sentiment = reading.sentiment(label, id)
    if sentiment is not None:
        video = reading.video(id)
        utterance = Utterance(id, video, video, text.strip(), sentiment=sentiment, **fields)
        reading.add(utterance, part)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where} is a {type(value).__name__}, expected a text")
    return value


def _numbers(values: list | np.ndarray, where: str) -> np.ndarray:
    """(N,) float64: the first number of every item (a label of MOSEI has seven)."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
        return numbers.reshape(len(values), -1)[:, 0] if len(values) else np.zeros(0)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{where}: not numbers, or not of one shape; take a whole file") from error
