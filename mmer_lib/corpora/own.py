"""A corpus of one's own: from a table beside its sound files, or from arrays. All that is wrong is
said at once, before anything is computed; no speaker stands in two parts of a fold."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from mmer_lib.corpora import NAMES
from mmer_lib.corpora.files import LOUDEST, read_sound, stamp
from mmer_lib.data import EMOTIONS, Corpus, DataError, Findings, Split, Utterance, Word, few
from mmer_lib.store import digest

TABLE = "metadata.csv"
"""The table that stands for a folder."""

NEEDED = ("audio", "text", "label", "speaker")
"""Fields whose columns may not be missing."""

FIELDS = (*NEEDED, "session", "split", "id", "sentiment")
"""All fields that a column may hold."""

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
_SLOWEST = 1000  # Hz; a rate under it was meant in kHz


def from_table(
    path: str | Path,
    audio: str = "audio",
    text: str = "text",
    label: str = "label",
    speaker: str = "speaker",
    session: str = "session",
    split: str = "split",
    id: str = "id",
    sentiment: str = "sentiment",
    name: str | None = None,
    shared_speakers: bool = False,
) -> Corpus:
    """A corpus from a CSV table with one line an utterance, whose sound files lie beside it.

    The table is UTF-8, has the names of its columns in the first line, and separates them by
    commas, semicolons, tabs or ``|``; other columns are ignored. The text must be English. The key
    covers all cells that are read, and of each sound its name, size and time of change.

    Args:
        path: the table, or a folder with a ``metadata.csv``.
        audio: column of sound files (wav, flac, ogg, mp3; any rate, mono or stereo), relative to
            the table's folder. They are read when called for.
        text, label, speaker: columns of what is said, its class, and by whom.
        session, split, id, sentiment: columns that may be missing; without `id`, an utterance is
            named by its sound file.
        name: of the corpus; by default the table's, or the folder's of a ``metadata.csv``.
        shared_speakers: see `from_arrays`, also for warnings.

    Raises:
        DataError: a table or sound files that cannot be read, uneven rows (row 1 has the names of
            the columns); what `from_arrays` refuses.
    """
    given = (audio, text, label, speaker, session, split, id, sentiment)
    columns = dict(zip(FIELDS, given, strict=True))
    path = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    problems = Findings(str(path))
    cells = _read_table(path, columns, problems)
    names = {field: f"column {column!r}" for field, column in columns.items()}
    media, stamps = _sound_files(path.parent, cells["audio"], names["audio"], problems)
    title = name or (path.absolute().parent.name if path.name == TABLE else path.stem)
    extras = {
        "table": path.name,
        "columns": {field: column for field, column in columns.items() if column != field},
        "name": name,
        "shared_speakers": shared_speakers,
    }
    return _corpus(title, cells, media, stamps, names, problems, shared_speakers, extras)


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
    name: str = "own",
    shared_speakers: bool = False,
) -> Corpus:
    """A corpus of N utterances from arrays; every argument but `rate`, `vision_names`, `name`
    and `shared_speakers` has N items. The key covers all contents.

    Args:
        text: what is said, in English.
        label: class names; the classes are `EMOTIONS` where all are among these, in whatever case,
            else the sorted names. None, and no sentiment: new utterances, for
            `training.examples_for` and `Run.predict`; they have no folds, and may do without
            speakers.
        speaker: who says it.
        waveforms, rate: floats in [-1, 1], (samples,) or (samples, channels), and their Hz.
        frames: filterbanks (T, bands), read in place of the waveforms; `training.fit` must be told
            their distance and length in seconds: hop=0.010, window=0.025.
        words: (word, start, end) in spoken order, times in seconds.
        session: the unit of a fold, at least three. Without it, speakers are dealt into five groups
            (or as many as there are speakers) of about as many utterances.
        split: "train", "dev" or "test" ("valid", "validation", "val" mean dev), in place of folds.
        ids, sentiment: unique names, by default "0", "1", ...; in [-3, 3].
        audio, vision: features (N_i, D), (F_i, A) that you have computed; read in place of those
            that are computed from the waveforms.
        audio_times, vision_times: of each row, in seconds, (N_i,), (F_i,): rows are averaged over
            the `words`, which must be given then; one with a NaN counts as not there. Without times
            (one row a word, say) they are a sequence of their own, which is read as it is.
        vectors: text vectors, one a word or sub-word, (L_i, D).
        vision_names: of the A columns of `vision`, for figures.
        shared_speakers: take a split although speakers stand in two of its parts. Its scores say
            nothing about new speakers.

    Warns:
        UserWarning: a speaker in two parts of a split that is meant so; a class that some
            training part has no utterance of; classes that differ in case alone.

    Raises:
        DataError: all that is not as above, at once; a part without utterances; a speaker in two
            parts or sessions; fewer than two classes; without a split, fewer than three sessions.
    """
    given = (text, label, speaker, session, split, ids, sentiment)
    cells = {f: list(v) for f, v in zip(FIELDS[1:], given, strict=True) if v is not None}
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
    if (label is not None or sentiment is not None) and speaker is None:
        raise DataError(f"{name}: labels without speakers, whom folds keep apart; give speaker")
    problems, places = Findings(name), [f"item {i}" for i in range(n)]
    media = _media(arrays, rate, places, problems)
    contents = [{**m, "waveform": m["waveform"]()} if "waveform" in m else m for m in media]
    table = pd.DataFrame({"id": range(n), **cells}, dtype=object, index=places)
    table = table.where(table.notna(), "").map(lambda cell: str(cell).strip())
    names = {**{field: field for field in FIELDS}, "id": "ids"}
    extras = {"arrays": sorted(arrays)}
    made = _corpus(name, table, media, contents, names, problems, shared_speakers, extras)
    return replace(made, vision_names=tuple(vision_names))


# --------------------------------------------------------------------------------- tables


def _read_table(path: Path, columns: dict[str, str], problems: Findings) -> pd.DataFrame:
    """The cells: a column a field, a row an utterance, its index the place ("row 2"). Rows with
    too few or too many cells go to the problems."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with a {TABLE}")
    try:
        text = path.read_bytes().decode("utf-8-sig").lstrip("\r\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        remedy = "save the table as UTF-8 (a spreadsheet calls it 'CSV UTF-8')"
        raise DataError(f"{path}, line {line}: not UTF-8; {remedy}") from error
    delimiter = max(",;\t|", key=re.split(r"[\r\n]", text, maxsplit=1)[0].count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: {error}; save the table as CSV again") from error
    rows = {f"row {i}": [cell.strip() for cell in line] for i, line in enumerate(lines, 1)}
    header = rows.pop("row 1", [])
    if twice := [column for column in columns.values() if header.count(column) > 1]:
        raise DataError(f"{path}: more than one column {few(map(repr, twice))}; rename the others")
    asked = [field for field, column in columns.items() if field in NEEDED or column != field]
    if missing := [field for field in asked if columns[field] not in header]:
        named = ", ".join(repr(columns[field]) for field in missing)
        calls = ", ".join(f"{field}='...'" for field in missing)
        options = " ".join(f"--column {field}=..." for field in missing)
        raise DataError(
            f"{path}: no column {named} (there are {', '.join(header)}); rename columns, or say "
            f"{calls} ({options})"
        )
    n, whole = len(header), {}
    for place, cells in rows.items():
        row = cells[:n] + list(filter(None, cells[n:]))
        if len(row) == n and any(row):
            whole[place] = row
        elif any(row):
            remedy = f"give {n} as in row 1, text with a separator in quotation marks"
            problems.add("too few or too many cells", place, remedy)
    if not whole:
        problems.fail()
        raise DataError(f"{path}: no rows under the names of the columns; add one an utterance")
    table = pd.DataFrame.from_dict(whole, orient="index", columns=header)
    return pd.DataFrame({f: table[column] for f, column in columns.items() if column in header})


def _sound_files(
    folder: Path, files: pd.Series, column: str, problems: Findings
) -> tuple[list[dict], list]:
    """Waveform and rate of every utterance, and what stands for the content of its file; files
    that cannot be used go to the problems."""
    import soundfile

    media, stamps = [], []
    for place, file in files[files != ""].items():
        path, where = folder / file, f"{place}: {file}"
        if not os.path.isfile(path):
            problems.add(f"{column}: no such file in {folder}", where, "correct the name")
            continue
        try:
            header = soundfile.info(path)
        except (soundfile.SoundFileError, TypeError):  # TypeError: named .raw, without a rate
            problems.add(f"{column}: not readable as sound", where, "convert it to wav")
            continue
        if not header.frames:
            problems.add(f"{column}: no samples", where, "record it again or delete the row")
        media.append({"waveform": partial(read_sound, path), "rate": header.samplerate})
        stamps.append(stamp(path, file))
    return media, stamps


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
                problems.add(
                    f"{name}: not as many columns as item 0", place, "compute all in the same way"
                )
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
        remedy = "expected floats (16-bit samples: divide by 32768)"
        problem, told = "wrong type", array.dtype
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
    shared_speakers: bool,
    extras: dict,
) -> Corpus:
    """The corpus, when nothing is wrong with it: `table` has the text of every field (column) of
    every utterance, its index tells the place; `media` the other fields, `content` what stands for
    these in the key, `names` what a field is called in messages."""
    source = problems.source
    if not re.fullmatch(r"\w[\w.-]*", name) or name in NAMES:
        raise DataError(
            f"{source}: the name {name!r} is taken or cannot be part of a file's name; say "
            "name='...' (--name ...) for the corpus, with letters, digits, . - _"
        )
    _check_cells(table, names, problems)
    problems.fail()
    if "id" not in table:
        table["id"] = table["audio"]
    table = table.drop(columns="audio", errors="ignore")
    cells, emotions, fixed = table.to_dict("list"), (), None
    if "sentiment" in table:
        table["sentiment"] = table["sentiment"].astype(float)
    if "split" in table:
        table["split"] = table["split"].map(lambda cell: PARTS[cell.lower()])
        fixed = Split(*(np.flatnonzero(table["split"] == p).tolist() for p in Split._fields))
        for part, rows in fixed._asdict().items():
            if not rows:
                raise DataError(f"{source}: the split has no utterance in {part}; give it some")
    if "label" in table:
        emotions = tuple(sorted(set(table["label"])))
        if len(emotions) < 2:
            raise DataError(f"{source}: one class only ({few(emotions)}); give two or more")
        if {label.lower() for label in emotions} <= set(EMOTIONS):
            emotions, table["label"] = EMOTIONS, table["label"].str.lower()
    labelled = "label" in table or "sentiment" in table
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
            _find_shared(table, remedy, problems)
        problems.fail()
        if "session" not in table:
            table["session"] = _dealt(table["speaker"].tolist())
    fields = table.drop(columns="split", errors="ignore").rename(columns={"label": "emotion"})
    rows = zip(fields.to_dict("records"), media, strict=True)
    utterances = tuple(Utterance(**{"speaker": "", "session": "", **row, **m}) for row, m in rows)
    made = {
        "session": [u.session for u in utterances],
        "label": [u.emotion for u in utterances],
    }
    key = digest("own", {**cells, **made}, content)
    corpus = Corpus(name, key, utterances, emotions=emotions, fixed=fixed, extras=extras)
    if labelled:
        corpus.splits(0)  # which refuses a speaker in two sessions
        _warn(corpus, table)
    return corpus


def _check_cells(table: pd.DataFrame, names: dict[str, str], problems: Findings) -> None:
    for field, column in table.items():
        may_be_nan = field in ("audio", "text", "id", "sentiment")  # "nan" may be said, or a name
        empty = column.isin(("",) if may_be_nan else _MISSING)
        wrong = {(" is empty", "fill it in or delete the utterance"): empty}
        if field == "split":
            remedy = f"use one of {', '.join(PARTS)}"
            wrong[": unknown part", remedy] = ~empty & ~column.str.lower().isin(PARTS)
        if field == "sentiment":
            right = pd.to_numeric(column, errors="coerce").between(-3, 3)
            wrong[": no sentiment", "give numbers in [-3, 3]"] = ~empty & ~right
        for (problem, remedy), rows in wrong.items():
            for place, cell in column[rows].items():
                problems.add(names[field] + problem, f"{place}: {cell}".rstrip(": "), remedy)
    unique = "id" if "id" in table else "audio"
    first: dict[str, str] = {}
    for place, cell in table[unique].items():
        if cell and first.setdefault(cell, place) != place:
            where = f"{first[cell]} and {place}: {cell}"
            problems.add(f"{names[unique]} is there twice", where, "give every utterance its own")


def _find_shared(table: pd.DataFrame, remedy: str, findings: Findings) -> None:
    """Speakers who stand in several parts of the split, with a place of each."""
    homes = table[["speaker", "split"]].drop_duplicates()
    homes = homes[homes.duplicated("speaker", keep=False)]
    for speaker, rows in homes.groupby("speaker", sort=False):
        places = " and ".join(f"{home} ({place})" for place, home in rows["split"][:2].items())
        problem = "speaker in more than one part of the split"
        findings.add(problem, f"{speaker}: {places}", remedy)


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


def _warn(corpus: Corpus, table: pd.DataFrame) -> None:
    """Say so where speakers stand in two parts, training parts lack a class, or classes look the
    same."""
    notes = Findings(corpus.name)
    if corpus.fixed is not None:
        _find_shared(table, "scores will not tell of new speakers", notes)
    for fold, emotion in _untrained(corpus) if corpus.emotions else ():
        remedy = "a model cannot learn it there"
        notes.add("class without a training utterance", f"{emotion}, fold {fold}", remedy)
    for _, alike in groupby(sorted(corpus.emotions, key=str.lower), str.lower):
        if len(names := list(alike)) > 1:
            remedy = "they count as different; write them alike if they are not"
            notes.add("classes that differ in case alone", few(names), remedy)
    notes.warn(stacklevel=5)
