"""A corpus of one's own: from a table beside its sound files, or from arrays. All that is wrong is
said at once, before anything is computed; no speaker stands in two parts of a fold."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from mmer_lib.corpora import NAMES
from mmer_lib.corpora.files import (
    FEATURE_FILES,
    LOUDEST,
    check_sound,
    find,
    not_text,
    numbers,
    read_features,
    read_sound,
    read_words,
    stamp,
)
from mmer_lib.data import EMOTIONS, Corpus, DataError, Findings, Split, Utterance, Word, few
from mmer_lib.store import digest

TABLES = ("metadata.csv", "metadata.jsonl")
"""The tables that stand for a folder."""

FIELDS = ("audio", "text", "label", "speaker", "session", "split", "id", "sentiment")
FIELDS = (*FIELDS, "start", "end", "words", "vision")
"""All fields that a column may hold."""

ALSO = {
    "audio": "file_name",
    "text": "transcription",
    "label": "emotion",
    "speaker": "speaker_id",
}
"""What the column of a field is called in data sets of Hugging Face; read where it has no other."""

PARTS = {
    **{part: part for part in Split._fields},
    **dict.fromkeys(("valid", "validation", "val"), "dev"),
}
"""What a split may be called, and the part that it means."""

FEATURES = ("frames", "audio", "vision", "vectors")
"""Arrays of features, (rows, columns), whose columns are the same in all utterances."""

TIMES = {"audio_times": "audio", "vision_times": "vision"}
"""Arrays of the rows' times, and whose."""

_SHAPES = {
    "waveforms": ((1, 2), "(samples,) or (samples, channels)"),
    "frames": ((2,), "(T, bands)"),
    **dict.fromkeys(TIMES, ((1,), "(rows,)")),
}
_MISSING = ("", "nan", "NaN", "NaT", "<NA>")  # how what is missing looks as text
_REMARK = "#|sep="  # how a line begins that is no row
_SLOWEST = 1000  # Hz; a rate under it was meant in kHz


def from_table(
    path: str | Path,
    audio: str | None = "audio",
    text: str = "text",
    label: str | None = "label",
    speaker: str | None = "speaker",
    session: str | None = "session",
    split: str | None = "split",
    id: str | None = "id",
    sentiment: str | None = "sentiment",
    start: str | None = "start",
    end: str | None = "end",
    words: str | None = "words",
    vision: str | None = "vision",
    scale: tuple[float, float] | None = None,
    name: str | None = None,
    shared_speakers: bool = False,
) -> Corpus:
    """A corpus from a table with one line an utterance, whose files lie beside it.

    A CSV table is UTF-8, has the names of its columns in the first line, and separates them by
    commas, semicolons, tabs or ``|``; JSON lines have the names in every line. Other columns are
    ignored; None leaves one out that means something else. The text must be English. The key covers
    all cells and features that are read, and of each sound its name, size and time of change.

    Args:
        path: the table, or a folder with a ``metadata.csv``, a ``metadata.jsonl``, or a table for
            each part of a split (``train.csv``, ``dev.csv``, ``test.csv``, or ``.jsonl``).
        audio: column of sound files (wav, flac, ogg, mp3; any rate, mono or stereo), relative to
            the table's folder; they are read when called for. Or of features, as `vision`; not
            needed beside it.
        text, label, speaker: columns of what is said, its class, and by whom; also read where they
            are called as in `ALSO`. With a sentiment, no label is needed.
        session, split, id, sentiment: columns that may be missing; without `id`, an utterance is
            named by its files.
        start, end: columns that say, in seconds, which part of its files an utterance is.
        words: column of CSV files with columns ``word``, ``start``, ``end``, in seconds from the
            start of the utterance.
        vision: column of files of features: ``.npy`` (rows, columns), or CSV, all of whose columns
            are taken; one named ``timestamp`` has the rows' times. Of OpenFace's CSV, the
            intensities of action units are taken (``AU01_r``, ...), where a face was found.
            Without words, all rows are read as they are.
        scale, shared_speakers: see `from_arrays`, also for warnings.
        name: of the corpus; by default the table's, or its folder's.

    Raises:
        DataError: a table or files that cannot be read, uneven rows (row 1 has the names of
            the columns); what `from_arrays` refuses.
    """
    given = (audio, text, label, speaker, session, split, id, sentiment, start, end, words, vision)
    columns = dict(zip(FIELDS, given, strict=True))
    path = Path(path).expanduser()
    problems, notes = Findings(str(path)), Findings(str(path))
    tables = _tables(path)
    read = [_read_table(file, columns, part, problems) for part, file in tables.items()]
    cells, names = pd.concat([cells for cells, _ in read]).fillna(""), read[0][1]
    if cells.empty:
        problems.fail()
        raise DataError(f"{path}: no rows under the names of the columns; add one an utterance")
    _check_cells(cells, names, problems)
    folder, (file, *more) = path if path.is_dir() else path.parent, tables.values()
    media, contents, units = _read_files(folder, cells, names, problems, notes)
    if "id" not in cells:
        given = [field for field in ("audio", "vision") if field in cells][:1]
        parts = given + [field for field in ("start", "end") if field in cells]
        cells["id"] = cells[parts].agg(" ".join, axis=1) if given else cells.index
    extras = {
        "table": folder.absolute().name if more else file.name,
        "columns": {f: column or "" for f, column in columns.items() if column != f},
        "scale": scale,
        "name": name,
        "shared_speakers": shared_speakers,
    }
    is_folder = more or file.name in TABLES
    title = name or (folder.absolute().name if is_folder else file.stem)
    cells = cells.drop(columns=["start", "end", "words"], errors="ignore")
    made = _corpus(title, cells, media, contents, names, problems, notes, shared_speakers, scale)
    return replace(made, vision_names=units, extras=extras)


def from_arrays(
    text: Sequence[str],
    label: Sequence[str] | None = None,
    speaker: Sequence[str] | None = None,
    waveforms: Sequence[np.ndarray] | None = None,
    rate: int | None = None,
    frames: Sequence[np.ndarray] | None = None,
    words: Sequence[Sequence[tuple[str, float, float]]] | None = None,
    session: Sequence[str] | None = None,
    split: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    sentiment: Sequence[float] | None = None,
    audio: Sequence[np.ndarray] | None = None,
    audio_times: Sequence[np.ndarray] | None = None,
    vision: Sequence[np.ndarray] | None = None,
    vision_times: Sequence[np.ndarray] | None = None,
    vectors: Sequence[np.ndarray] | None = None,
    vision_names: Sequence[str] = (),
    scale: tuple[float, float] | None = None,
    name: str = "own",
    shared_speakers: bool = False,
) -> Corpus:
    """A corpus of N utterances from arrays; every argument but `rate`, `vision_names`,
    `scale`, `name` and `shared_speakers` has N items. The key covers all contents.

    Args:
        text: what is said, in English.
        label: class names; the classes are those of `EMOTIONS` where all are among these, in
            whatever case, else the sorted names; numbers are sorted as numbers. None, and no
            sentiment: new utterances, for `training.examples_for` and `Run.predict`; they have no
            folds, and may do without speakers.
        speaker: who says it.
        waveforms, rate: floats in [-1, 1], (samples,) or (samples, channels), and their Hz.
        frames: filterbanks (T, bands), read in place of the waveforms; `training.fit` must be told
            their distance and length in seconds: hop=0.010, window=0.025.
        words: (word, start, end) in spoken order, times in seconds.
        session: the unit of a fold, at least three. Without it, speakers are dealt into five groups
            (or as many as there are speakers) of about as many utterances.
        split: "train", "dev" or "test" ("valid", "validation", "val" mean dev), in place of folds.
            Where none is dev, about a fifth of train becomes it, whole speakers.
        ids, sentiment: unique names, by default "0", "1", ...; in [-3, 3].
        audio, vision: features (N_i, D), (F_i, A) that you have computed; read in place of those
            that are computed from the waveforms.
        audio_times, vision_times: of each row, in seconds, (N_i,), (F_i,): rows are averaged over
            the `words`, which must be given then; one with a NaN counts as not there. Without times
            (one row a word, say) they are a sequence of their own, which is read as it is.
        vectors: text vectors, one a word or sub-word, (L_i, D).
        vision_names: of the A columns of `vision`, for figures.
        scale: the lowest and the highest sentiment there is, such as (1, 5), which become -3 and 3.
        shared_speakers: take a split although speakers stand in two of its parts. Its scores say
            nothing about new speakers.

    Warns:
        UserWarning: a speaker in two parts of a split that is meant so, a recording in two parts
            or sessions; a class that some training part has no utterance of; classes or speakers
            that differ in case alone; sentiment that seems to have another scale; what was taken of
            OpenFace's files, and a part that was made.

    Raises:
        DataError: all that is not as above, at once; a part without utterances; a speaker in two
            parts or sessions; fewer than two classes; without a split, fewer than three sessions.
    """
    given = (text, label, speaker, session, split, ids, sentiment)
    cells = {f: list(v) for f, v in zip(FIELDS[1:8], given, strict=True) if v is not None}
    arrays = {"waveforms": waveforms, "words": words, "frames": frames, "vectors": vectors}
    arrays |= {"audio": audio, "audio_times": audio_times}
    arrays |= {"vision": vision, "vision_times": vision_times}
    arrays = {field: list(values) for field, values in arrays.items() if values is not None}
    n = len(cells["text"])
    lengths = {field: len(values) for field, values in {**cells, **arrays}.items()}
    if set(lengths.values()) != {n}:
        told = ", ".join(f"{field} {length}" for field, length in lengths.items())
        raise DataError(f"{name}: lengths differ ({told}); give one item an utterance to each")
    if waveforms is not None and (rate is None or not rate >= _SLOWEST):
        raise DataError(f"{name}: waveforms with rate {rate!r}; give it in Hz, not in kHz")
    problems, places = Findings(name), [f"item {i}" for i in range(n)]
    media = _media(arrays, rate, places, problems)
    contents = [{**m, "waveform": m["waveform"]()} if "waveform" in m else m for m in media]
    table = pd.DataFrame({"id": range(n), **cells}, dtype=object, index=places)
    table = table.where(table.notna(), "").map(_as_text)
    names = {**{field: field for field in FIELDS}, "id": "ids"}
    _check_cells(table, names, problems)
    notes = Findings(name)
    made = _corpus(name, table, media, contents, names, problems, notes, shared_speakers, scale)
    return replace(made, vision_names=tuple(vision_names), extras={"arrays": sorted(arrays)})


def _as_text(cell: object) -> str:
    try:
        return (cell.decode() if isinstance(cell, bytes) else str(cell)).strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{cell!r}: bytes that are not UTF-8; give decoded text") from error


# --------------------------------------------------------------------------------- tables


def _tables(path: Path) -> dict[str, Path]:
    """The table, or those of the parts of a split in a folder, by part."""
    if not path.is_dir():
        return {"": path}
    there = [path / table for table in TABLES if (path / table).is_file()]
    ends = (".csv", ".jsonl")
    parts = {f.stem: f for f in sorted(path.iterdir()) if f.stem in PARTS and f.suffix in ends}
    if not there and not parts:
        known = f"{', '.join(TABLES)}, or train.csv, dev.csv, test.csv"
        raise DataError(f"{path}: no such table in this folder; it needs {known}")
    return {"": there[0]} if there else parts


def _read_table(
    path: Path, columns: dict[str, str | None], part: str, problems: Findings
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The cells: a column a field, a row an utterance, its index the place ("row 2"); and what a
    field is called. With a part, all rows are of that part of a split."""
    table = _read_rows(path, {*columns.values(), *ALSO.values()}, problems)
    header = list(table)
    default = {f: column == f for f, column in columns.items()}
    for field, other in ALSO.items():
        if default[field] and field not in header and other in header:
            columns = {**columns, field: other}
    columns = {f: column for f, column in columns.items() if column or f == "text"}
    if twice := [column for column in columns.values() if header.count(column) > 1]:
        raise DataError(f"{path}: more than one column {few(map(repr, twice))}; rename the others")
    needed = {"text", "speaker"}
    needed |= {"audio"} if columns.get("vision") not in header else set()
    needed |= {"label"} if columns.get("sentiment") not in header else set()
    asked = [f for f in columns if f in needed or not (default[f] or columns[f] in ALSO.values())]
    if missing := [field for field in asked if columns[field] not in header]:
        named = ", ".join(repr(columns[field]) for field in missing)
        calls = ", ".join(f"{field}='...'" for field in missing)
        options = " ".join(f"--column {field}=..." for field in missing)
        raise DataError(
            f"{path}: no column {named} (there are {', '.join(header)}); rename columns, or say "
            f"{calls} ({options})"
        )
    cells = pd.DataFrame({f: table[column] for f, column in columns.items() if column in header})
    for one, other in (("start", "end"), ("end", "start")):
        if one in cells and other not in cells:
            remedy = f"give both, or say {one}=None (--column {one}=)"
            raise DataError(f"{path}: a column {columns[one]!r} without one for {other}; {remedy}")
    if part:
        cells = cells.assign(split=part)
        cells.index = [f"{path.name}, {place}" for place in cells.index]
    return cells, {field: f"column {column!r}" for field, column in columns.items()}


def _read_rows(path: Path, known: set[str | None], problems: Findings) -> pd.DataFrame:
    """All cells of a table as text, the index their places. Rows with too few or too many cells go
    to the problems; lines of remarks before the names of columns, of which some are `known`, are
    passed over."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with {TABLES[0]}")
    content = path.read_bytes()
    if remedy := not_text(content):
        raise DataError(f"{path}: {remedy}")
    try:
        text = content.decode("utf-8-sig").lstrip("\r\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        remedy = "save the table as UTF-8 (a spreadsheet calls it 'CSV UTF-8')"
        raise DataError(f"{path}, line {line}: not UTF-8; {remedy}") from error
    if text.startswith(("[", "{")):
        lines = [text] if text[0] == "[" else text.splitlines()
        try:
            rows = [json.loads(line) for line in lines if line.strip()]
        except ValueError as error:
            raise DataError(f"{path}: not JSON with one row an utterance ({error})") from error
        table = pd.DataFrame(rows[0] if text[0] == "[" else rows, dtype=object)
        table = table.rename(columns=str, index=lambda i: f"row {i + 1}")
        return table.where(table.notna(), "").map(_as_text)
    lines = io.StringIO(text, newline=None)
    first = next((line for line in lines if not re.match(_REMARK, line)), "")
    delimiter = max(",;\t|", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: {error}; save the table as CSV again") from error
    rows = {f"row {i}": [cell.strip() for cell in line] for i, line in enumerate(lines, 1)}
    header = rows.pop("row 1", [])
    while re.match(_REMARK, "".join(header[:1])) and rows and not known & {*header}:
        header = rows.pop(next(iter(rows)))
    n, whole = len(header), {}
    for place, cells in rows.items():
        row = cells[:n] + list(filter(None, cells[n:]))
        if len(row) == n and any(row):
            whole[place] = row
        elif any(row):
            remedy = f"give {n} as in row 1, text with a separator in quotation marks"
            problems.add("too few or too many cells", place, remedy)
    return pd.DataFrame.from_dict(whole, orient="index", columns=header)


def _read_files(
    folder: Path, cells: pd.DataFrame, names: dict[str, str], problems: Findings, notes: Findings
) -> tuple[list[dict], list[dict], tuple[str, ...]]:
    """Of every utterance what its files hold, and what stands for that in the key; the names of
    the columns of vision. Files that cannot be used go to the problems."""
    arrays: dict[str, list] = defaultdict(lambda: [None] * len(cells))
    sounds: list[dict] = [{} for _ in range(len(cells))]
    stamps, found = list(sounds), {}
    whole = pd.DataFrame({"start": 0.0, "end": np.inf}, index=cells.index)
    times = numbers(cells[["start", "end"]]) if "start" in cells else whole
    columns = [field for field in ("words", "audio", "vision") if field in cells]
    shared = cells[columns].apply(lambda files: files.duplicated(keep=False))
    for (i, place), field in itertools.product(enumerate(cells.index), columns):
        file, interval = cells[field].iloc[i], times.iloc[i].tolist()
        path, where = find(folder, file), f"{place}: {file}"
        if not file or np.isnan(interval).any():  # which is said already
            continue
        if not os.path.isfile(path):
            problems.add(f"{names[field]}: no such file in {folder}", where, "correct the name")
            continue
        try:
            if field == "words":
                arrays["words"][i] = read_words(path)
            elif field == "audio" and path.suffix.lower() not in FEATURE_FILES:
                rate = check_sound(path, *interval)
                clip = interval if "start" in cells else []
                sounds[i] = {"waveform": partial(read_sound, path, *clip), "rate": rate}
                stamps[i] = {"sound": [stamp(path, file), rate, clip]}
            else:
                rows, at, found[field] = read_features(path, *interval)
                if at is None and shared[field].iloc[i]:
                    remedy = "give every utterance its own, or files with a column timestamp"
                    problems.add(f"{names[field]} is there twice", where, remedy)
                if at is not None and (not len(rows) or pd.isna(rows).all()):
                    raise DataError("no face, or no rows from start to end; leave it out")
                if at is not None and "words" not in cells:
                    rows, at = rows[there := ~pd.isna(rows).any(axis=1)], None
                    if not there.all():
                        notes.add(
                            f"{names[field]}: rows without a face, or with gaps", where, "left out"
                        )
                arrays[field][i] = rows
                if at is not None:
                    arrays[f"{field}_times"][i] = at
                if found[field][:1] == ("AU01_r",):
                    what = f"OpenFace's intensities of {len(found[field])} action units"
                    notes.add(f"{names[field]}: {what}", where, "nothing else is taken of it")
        except DataError as error:
            problem, _, remedy = str(error).partition("; ")
            problems.add(f"{names[field]}: {problem}", where, remedy)
    media = _media(arrays, None, list(cells.index), problems)
    contents = [{**m, **s} for m, s in zip(media, stamps, strict=True)]
    media = [{**m, **s} for m, s in zip(media, sounds, strict=True)]
    return media, contents, found.get("vision", ())


# --------------------------------------------------------------------------------- arrays


def _media(
    arrays: dict[str, list], rate: int | None, places: list[str], problems: Findings
) -> list[dict]:
    """Of every utterance the fields that come from arrays; what is wrong goes to the problems."""
    media: list[dict] = [{} for _ in places]
    for name, items in arrays.items():
        width = np.shape(items[0])[-1:]
        for place, item, fields in zip(places, items, media, strict=True):
            if item is None:
                continue
            if name == "words":
                fields["words"] = _words(item, place, problems)
                continue
            array = _array(item, name, place, problems, f"{name}_times" in arrays)
            if name == "waveforms":
                fields |= {"waveform": partial(np.asarray, array), "rate": int(rate)}
                continue
            fields[name] = array
            if name in FEATURES and array.shape[-1:] != width:
                problem = f"{name}: not as many columns as the first"
                problems.add(problem, place, "compute all alike")
            if name in TIMES and len(array) != len(fields.get(TIMES[name], ())):
                problems.add(f"{name}: not one for each row", place, f"give {TIMES[name]} as many")
    return media


def _words(words: Sequence[tuple], place: str, problems: Findings) -> tuple[Word, ...]:
    timed = tuple(Word(str(text), float(start), float(end)) for text, start, end in words)
    starts = [0.0, *(word.start for word in timed)]
    if starts != sorted(starts) or not all(w.start <= w.end < np.inf for w in timed):
        remedy = "give start <= end in seconds, in order"
        problems.add("words: times run backwards", place, remedy)
    return timed


def _array(
    array: object, name: str, place: str, problems: Findings, may_lack: bool = False
) -> np.ndarray:
    """The array as float32, times as they are; what is wrong with it goes to the problems. Rows of
    one that `may_lack` some hold NaN."""
    array, problem = np.asarray(array), ""
    if array.dtype.kind in ("f" if name == "waveforms" else "fiu"):
        array = array.astype(np.float64 if name in TIMES else np.float32, copy=False)
    axes, shape = _SHAPES.get(name, ((2,), "(rows, columns)"))
    if array.ndim not in axes or not array.size:
        problem, told, remedy = "wrong shape", array.shape, f"expected {shape}"
    elif array.dtype.kind != "f":
        problem, told, remedy = "wrong type", array.dtype, "expected floats"
        remedy += " (16-bit samples: divide by 32768)" * (name == "waveforms")
    elif np.isinf(array).any() or (np.isnan(array).any() and not may_lack):
        problem, told, remedy = "NaN or infinite", "", "mend or leave out these utterances"
    elif name == "waveforms" and (told := np.abs(array).max()) > LOUDEST:
        problem, remedy = "far too loud", "scale to [-1, 1] (16-bit samples: divide by 32768)"
    if problem:
        problems.add(f"{name}: {problem}", f"{place} {told}".strip(), remedy)
    return array


# ------------------------------------------------------------------------ what both share


def _corpus(
    name: str,
    table: pd.DataFrame,
    media: list[dict],
    content: list,
    names: dict[str, str],
    problems: Findings,
    notes: Findings,
    shared_speakers: bool,
    scale: tuple[float, float] | None,
) -> Corpus:
    """The corpus, when nothing is wrong with it: `table` has the text of every field (column) of
    every utterance, its index tells the place; `media` the other fields, `content` what stands for
    these in the key, `names` what a field is called in messages; what is doubtful goes to the
    `notes`, which are told."""
    source = problems.source
    if not re.fullmatch(r"\w[\w.-]*", name) or name in NAMES:
        raise DataError(
            f"{source}: the name {name!r} is taken or cannot be part of a file's name; say "
            "name='...' (--name ...) for the corpus, with letters, digits, . - _"
        )
    notes.source = name
    for field in ("label", "speaker", "session"):
        if field in table:  # composed and decomposed letters are the same
            table[field] = table[field].map(partial(unicodedata.normalize, "NFC"))
    cells = table.to_dict("list")
    if "sentiment" in table:
        table["sentiment"] = _rescaled(table["sentiment"], scale, names, problems, notes)
    problems.fail()
    emotions, fixed = (), None
    if "label" in table:
        emotions = _classes(set(table["label"]))
        if len(emotions) < 2:
            raise DataError(f"{source}: one class only ({few(emotions)}); give two or more")
        if set(emotions) <= set(EMOTIONS):
            table["label"] = table["label"].str.lower()
    labelled = "label" in table or "sentiment" in table
    if labelled and "speaker" not in table:
        raise DataError(f"{source}: labels without speakers, whom folds keep apart; give speaker")
    if "split" in table:
        table["split"] = table["split"].map(lambda cell: PARTS[cell.lower()])
        if labelled:
            _make_dev(table, notes)
        fixed = Split(*(np.flatnonzero(table["split"] == p).tolist() for p in Split._fields))
        for part, rows in fixed._asdict().items():
            if not rows:
                raise DataError(f"{source}: the split has no utterance in {part}; give it some")
    if labelled:
        unit = "session" if "session" in table else "speaker"
        units = sorted(set(table[unit]))
        if fixed is None and len(units) < 3:
            raise DataError(
                f"{source}: {len(units)} {unit}s ({few(units)}) and no split; folds need three or "
                "more: give the speakers' sessions (at least three, each speaker in one), or a "
                "split with train, dev and test"
            )
        if fixed is not None and not shared_speakers:
            remedy = (
                "it leaks: give every speaker one part, or say shared_speakers=True "
                "(--shared-speakers), if scores need not tell of new speakers"
            )
            _find_shared(table, "speaker", "split", remedy, problems)
        problems.fail()
        if "session" not in table:
            table["session"] = _dealt(table["speaker"].tolist())
        _note(table, emotions, notes)
    fields = table.drop(columns=["audio", "vision", "split"], errors="ignore")
    fields = fields.rename(columns={"label": "emotion"})
    rows = zip(fields.to_dict("records"), media, strict=True)
    utterances = tuple(Utterance(**{"speaker": "", "session": "", **row, **m}) for row, m in rows)
    made = {
        "session": [u.session for u in utterances],
        "label": [u.emotion for u in utterances],
    }
    key = digest("own", {**cells, **made}, content, *([[*map(float, scale)]] if scale else []))
    corpus = Corpus(name, key, utterances, emotions=emotions, fixed=fixed)
    if labelled:
        corpus.splits(0)  # which refuses a speaker in two sessions
        for fold, emotion in _untrained(corpus) if emotions else ():
            remedy = "a model cannot learn it there"
            notes.add("class without a training utterance", f"{emotion}, fold {fold}", remedy)
    notes.warn(stacklevel=4)
    return corpus


def _classes(labels: set[str]) -> tuple[str, ...]:
    """The classes, in their order."""
    if (lower := {label.lower() for label in labels}) <= set(EMOTIONS):
        return tuple(emotion for emotion in EMOTIONS if emotion in lower)
    numeric = pd.to_numeric(pd.Series(list(labels)), errors="coerce").notna().all()
    return tuple(sorted(labels, key=float if numeric else str))


def _rescaled(
    cells: pd.Series,
    scale: tuple[float, float] | None,
    names: dict[str, str],
    problems: Findings,
    notes: Findings,
) -> pd.Series:
    """Sentiment in [-3, 3]. What is not goes to the problems, what seems to have another scale to
    the notes."""
    values = numbers(cells)
    low, high = scale or (-3, 3)
    for place in values.index[~values.between(low, high)]:
        remedy = f"give numbers in [{low:g}, {high:g}]"
        problems.add(f"{names['sentiment']}: no sentiment", f"{place}: {cells[place]}", remedy)
    least, most = values.min(), values.max()
    remedy = (
        "if the scale is another than -3 to 3, name its lowest and highest value: scale=(1, 5) "
        "(--scale 1 5)"
    )
    about = f"{names['sentiment']}: unusual range", f"from {least:g} to {most:g}", remedy
    if scale is None and max(-least, most) > 3:
        problems.add(*about)
    elif scale is None and (least >= 0 or most <= 0 or max(-least, most) <= 1):
        notes.add(*about)
    return (values - low) / (high - low) * 6 - 3 if scale else values


def _make_dev(table: pd.DataFrame, notes: Findings) -> None:
    """A dev part for a split that has none: of train, whole speakers of about a fifth."""
    train = table.loc[table["split"] == "train", "speaker"]
    if (table["split"] == "dev").any() or train.nunique() < 2:
        return
    dev = train[np.array(_dealt(train.tolist())) == f"group {min(5, train.nunique())}"]
    table.loc[dev.index, "split"] = "dev"
    remedy = f"{len(dev)} utterances of train are taken for it, of whole speakers"
    notes.add("the split has no dev part", f"speakers {few(sorted(set(dev)))}", remedy)


def _check_cells(table: pd.DataFrame, names: dict[str, str], problems: Findings) -> None:
    for field, column in table.items():
        may_be_nan = field in ("audio", "text", "id", "sentiment")  # "nan" may be said, or a name
        empty = column.isin(("",) if may_be_nan else _MISSING)
        wrong = {(" is empty", "fill it in or delete the utterance"): empty}
        if field == "split":
            remedy = f"use one of {', '.join(PARTS)}"
            wrong[": unknown part", remedy] = ~empty & ~column.str.lower().isin(PARTS)
        if field in ("start", "end"):
            remedy = "give start < end in seconds from the start of the file"
            bad = ~(numbers(table["end"]) > numbers(table["start"]).where(lambda x: x >= 0))
            wrong[": no time", remedy] = ~empty & bad
        for (problem, remedy), rows in wrong.items():
            for place, cell in column[rows].items():
                problem_here = names.get(field, field) + problem
                problems.add(problem_here, f"{place}: {cell}".rstrip(": "), remedy)
    clip = table.columns.intersection(["audio", "start", "end"])
    for field, column in table.items():
        if field not in ("id", "audio"):
            continue
        one = table[clip].agg(" ".join, axis=1) if field == "audio" else column
        first: dict[str, str] = {}
        for place, cell in one.items():
            if column[place] and first.setdefault(cell, place) != place:
                where = f"{first[cell]} and {place}: {cell}"
                remedy = "give every utterance its own"
                remedy += ", or its start and end, in seconds" * (field == "audio")
                problems.add(f"{names[field]} is there twice", where, remedy)


def _find_shared(
    table: pd.DataFrame, what: str, home: str, remedy: str, findings: Findings
) -> None:
    """Speakers or recordings that stand in several parts of the split, or sessions, with a place of
    each."""
    homes = table[[what, home]].drop_duplicates()
    homes = homes[homes.duplicated(what, keep=False)]
    for one, rows in homes.groupby(what, sort=False):
        places = " and ".join(f"{part} ({place})" for place, part in rows[home][:2].items())
        title = "speaker" if what == "speaker" else "recording"
        where = "part of the split" if home == "split" else home
        findings.add(f"{title} in more than one {where}", f"{one}: {places}", remedy)


def _dealt(speakers: list[str]) -> list[str]:
    """A session for every utterance: speakers, those with most utterances first, go to the
    group that has fewest."""
    counts = Counter(speakers)
    loads = [0] * min(5, len(counts))
    home = {}
    for speaker, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        group = loads.index(min(loads))
        home[speaker] = f"group {group + 1}"
        loads[group] += n
    return [home[speaker] for speaker in speakers]


def _untrained(corpus: Corpus) -> list[tuple[int, str]]:
    """(fold, class) where the fold's training part has no utterance of the class: all of them are
    in the sessions that it holds out (see `Corpus.splits`)."""
    labels = [u.emotion for u in corpus.utterances]
    if corpus.fixed is not None:
        trained = {labels[row] for row in corpus.fixed.train}
        return [(0, emotion) for emotion in corpus.emotions if emotion not in trained]
    counts = pd.crosstab([u.session for u in corpus.utterances], labels)  # sorted, as the sessions
    counts = counts.reindex(columns=corpus.emotions, fill_value=0).to_numpy()
    training = counts.sum(axis=0) - counts - np.roll(counts, -1, axis=0)
    return [(int(fold), corpus.emotions[i]) for fold, i in np.argwhere(training == 0)]


def _note(table: pd.DataFrame, emotions: Sequence[str], notes: Findings) -> None:
    """Speakers and recordings in two parts, classes and speakers that look the same."""
    home = "split" if "split" in table else "session"
    if home == "split":
        _find_shared(table, "speaker", home, "scores will not tell of new speakers", notes)
    for what in [field for field in ("audio", "vision") if field in table][:1]:
        remedy = "it leaks: give all who speak in a recording one session or part"
        _find_shared(table, what, home, remedy, notes)
    for title, values in (("classes", emotions), ("speakers", set(table["speaker"]))):
        for _, alike in groupby(sorted(values, key=lambda x: (x.lower(), x)), str.lower):
            if len(names := list(alike)) > 1:
                remedy = "they count as different; write them alike if they are not"
                notes.add(f"{title} that differ in case alone", few(names), remedy)
