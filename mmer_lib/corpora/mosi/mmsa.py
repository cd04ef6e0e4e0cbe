"""MOSI and MOSEI from pickles: those of MMSA (``aligned_50.pkl``, ``unaligned_50.pkl``), and those
of MISA and its like (lists of utterances). They are read by `unpickle.load_pickle`, which runs
nothing of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmer_lib.corpora.mosi.reading import Reading, spoken
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError, Split, Utterance, few

_PARTS = {"train": "train", "dev": "dev", "valid": "dev", "test": "test"}
_FILES = {"train": ("train.pkl",), "dev": ("dev.pkl", "valid.pkl"), "test": ("test.pkl",)}
_FORMATS = "expected a pickle of MMSA or MISA: a dict with train, valid (or dev) and test"


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
    if path.is_dir():
        names = {part: [n for n in names if (path / n).is_file()] for part, names in _FILES.items()}
        for part, there in names.items():
            if len(there) != 1:
                raise DataError(
                    f"{path}: {len(there)} files {' or '.join(_FILES[part])}, expected one; name a "
                    "single pickle itself, and of MISA's the folder with all three"
                )
        parts = {part: load_pickle(path / there[0]) for part, there in names.items()}
    else:
        parts = _parts(path, load_pickle(path))
    reading = Reading(path.name)
    for part in Split._fields:
        where = f"{path}: {part}"
        if isinstance(parts[part], dict):
            _read_mmsa(parts[part], part, where, reading)
        elif isinstance(parts[part], list):
            _read_misa(parts[part], part, where, reading)
        else:
            raise DataError(f"{where}: a {type(parts[part]).__name__}; {_FORMATS}")
    return reading


def _parts(path: Path, whole: object) -> dict[str, object]:
    if not isinstance(whole, dict):
        raise DataError(f"{path}: holds a {type(whole).__name__}; {_FORMATS}")
    named = [(_PARTS[key], value) for key, value in whole.items() if key in _PARTS]
    if sorted(part for part, _ in named) != sorted(Split._fields):
        keys = few(key if isinstance(key, str) else type(key).__name__ for key in whole)
        raise DataError(f"{path}: holds a dict with {keys or 'nothing'}; {_FORMATS}")
    return dict(named)


# ----------------------------------------------------------------------------------- MMSA


def _read_mmsa(content: dict, part: str, where: str, reading: Reading) -> None:
    """One part: N utterances, sequences padded to L rows."""
    ids = [_text(id, f"{where}: id") for id in _items(content, "id", where)]
    n = len(ids)
    texts = [_text(text, f"{where}: raw_text") for text in _items(content, "raw_text", where, n)]
    labels = _numbers(_items(content, "regression_labels", where, n), f"{where}: regression_labels")
    bert = _array(content, "text_bert", where, n)  # (N, 3, L): indices, mask, segments
    sequences = {"audio": _array(content, "audio", where, n),
                 "vision": _array(content, "vision", where, n)}  # fmt: skip
    if "text" in content:
        sequences["text"] = _array(content, "text", where, n)
    mask, there = bert[:, 1] != 0, {}
    for name, rows in sequences.items():
        lengths = f"{name}_lengths"
        if lengths in content:
            there[name] = _within(content, lengths, where, ids, rows.shape[1], reading)
        elif rows.shape[1] == mask.shape[1]:
            there[name] = mask
        else:
            raise DataError(
                f"{where}: {name!r} has {rows.shape[1]} rows and the mask of text_bert "
                f"{mask.shape[1]}, without {lengths!r}; take a file that has them"
            )
    for i, id in enumerate(ids):
        taken = {name: rows[i][there[name][i]] for name, rows in sequences.items()}
        for name, rows in sequences.items():
            if rows[i][~there[name][i]].any():
                problem = f"{name}: rows behind the utterance's length that are not 0"
                reading.findings.add(problem, id, "cut off; are the lengths right?")
        if not len(taken["audio"]) or not len(taken["vision"]) or not mask[i].any():
            reading.leave_out("without rows of a modality", id)
            continue
        taken = {name: reading.repair(rows, name, id) for name, rows in taken.items()}
        vectors = taken.get("text")
        _take(id, texts[i], labels[i], part, vectors, taken["audio"], taken["vision"], reading)


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


def _items(content: dict, name: str, where: str, n: int | None = None) -> Sequence:
    """A list, or an array along its first axis, of n items."""
    items = content.get(name)
    if not isinstance(items, list | np.ndarray) or getattr(items, "ndim", 1) == 0:
        what = "is missing" if items is None else f"is a {type(items).__name__}"
        raise DataError(f"{where}: {name!r} {what}; take a file of MMSA that has it")
    if n is not None and len(items) != n:
        raise DataError(f"{where}: {name!r} has {len(items)} items and 'id' {n}; take a whole file")
    return items


def _array(content: dict, name: str, where: str, n: int) -> np.ndarray:
    """(N, ., .) of numbers."""
    array = _items(content, name, where, n)
    shape = getattr(array, "shape", "of a list")
    middle = name != "text_bert" or (len(shape) == 3 and shape[1] == 3)
    if not isinstance(array, np.ndarray) or array.ndim != 3 or not middle:
        expected = "(N, 3, L)" if name == "text_bert" else "(N, L, D)"
        raise DataError(f"{where}: {name!r} of shape {shape}, expected {expected} with N {n}")
    return array


# ----------------------------------------------------------------------------------- MISA


def _read_misa(content: Sequence, part: str, where: str, reading: Reading) -> None:
    """One part: a list of ((words, vision, audio[, actual_words]), label, id)."""
    for i, item in enumerate(content):
        place = f"{where}: item {i}"
        features, label, id = _unpacked(item, (3,), place)
        words, vision, audio, *rest = _unpacked(features, (3, 4), place)
        id = _text(id, f"{place}: id")
        written = _words(rest[0] if rest else words, bool(rest), place)
        text = " ".join(word for word in written if spoken(word))
        if not text:
            reading.leave_out("without words", id)
            continue
        vision, audio = (
            reading.repair(_matrix(rows, name, place), name, id)
            for name, rows in (("vision", vision), ("audio", audio))
        )
        label = _numbers([label], f"{place}: label")[0]
        _take(id, text, label, part, None, audio, vision, reading)


def _unpacked(item: object, lengths: tuple[int, ...], place: str) -> Sequence:
    if not isinstance(item, list) or len(item) not in lengths:
        size = f" of {len(item)}" if isinstance(item, list) else ""
        raise DataError(
            f"{place}: a {type(item).__name__}{size}; expected ((words, vision, audio, "
            "actual_words), label, id)"
        )
    return item


def _words(words: object, actual: bool, place: str) -> list[str]:
    """The words of an utterance as texts."""
    if not isinstance(words, list | np.ndarray):
        raise DataError(f"{place}: words are a {type(words).__name__}; expected a list of texts")
    if not actual and not all(isinstance(word, str) for word in words):
        raise DataError(
            f"{place}: words are indices into a vocabulary that is not in the file, and there "
            "are no actual_words; make it with actual_words, as MISA's create_dataset.py does"
        )
    return [_text(word, f"{place}: words") for word in words]


def _matrix(rows: object, name: str, place: str) -> np.ndarray:
    """(L, D) of numbers, L and D at least 1."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or not rows.size:
        shape = getattr(rows, "shape", type(rows).__name__)
        raise DataError(f"{place}: {name} of shape {shape}; expected numbers in rows and columns")
    return rows


# -------------------------------------------------------------------------- what both share


def _take(
    id: str,
    text: str,
    label: float,
    part: str,
    vectors: np.ndarray | None,
    audio: np.ndarray,
    vision: np.ndarray,
    reading: Reading,
) -> None:
    if not text.strip():
        reading.leave_out("without words", id)
    elif (sentiment := reading.sentiment(label, id)) is not None:
        video = reading.video(id)
        fields = {"vectors": vectors, "audio": audio, "vision": vision, "sentiment": sentiment}
        reading.add(Utterance(id, video, video, text.strip(), **fields), part)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where} is a {type(value).__name__}, expected a text")
    return value


def _numbers(values: Sequence, where: str) -> np.ndarray:
    """(N,) float64: the first number of every item (a label of MOSEI has seven)."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
        return numbers.reshape(len(values), -1)[:, 0] if len(values) else np.zeros(0)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{where}: not numbers, or not of one shape; take a whole file") from error
