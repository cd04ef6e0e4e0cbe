"""A corpus of one's own: from a table beside its sound files, or from arrays::

    from mmer_lib.corpora import own

    corpus = own.from_table("recordings/metadata.csv")
    corpus = own.from_arrays(texts, labels, speakers, waveforms, rate=16000)

Either is checked as a whole before anything is computed, and all that is wrong is said at once.
Folds are made so that no speaker stands in two parts, and a split in which one does is refused
unless it is meant so.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
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

_MISSING = ("", "nan", "NaN", "NaT", "<NA>")  # how what is missing looks as text
_SLOWEST = 1000  # Hz; a rate under it was meant in kHz
_MIX = (
    "give the speakers' sessions (at least three, each speaker in one), or a split with train, "
    "dev and test"
)


def _is_sentiment(cell: str) -> bool:
    try:
        return -3 <= float(cell) <= 3
    except ValueError:
        return False


_FILL = "fill it in or delete the utterance"
_CHECKS = (
    (("audio", "id", "text", "sentiment"), lambda cell: cell == "", " is empty", _FILL),
    (("label", "speaker", "session", "split"), _MISSING.__contains__, " is empty", _FILL),
    (
        ("split",),
        lambda cell: cell.lower() not in PARTS,
        ": unknown part",
        f"use one of {', '.join(PARTS)}",
    ),
    (
        ("sentiment",),
        lambda cell: not _is_sentiment(cell),
        ": no sentiment",
        "give numbers in [-3, 3]",
    ),
)
"""(fields, what makes a cell wrong, what that is called, remedy); the first that fits counts."""


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

    The table is UTF-8 (with or without a byte order mark), has the names of its columns in the
    first line, and separates them by commas, semicolons, tabs or ``|``. Columns that are not named
    here are ignored. The text must be English: so are the word vectors (GloVe) and the dictionary
    of pronunciations (CMU).

    Args:
        path: the table, or a folder with a ``metadata.csv``.
        audio: column of sound files (what libsndfile reads: wav, flac, ogg, mp3), relative to
            the table's folder; any rate, mono or stereo. They are read when called for.
        text, label, speaker: columns of what is said, its class, and by whom; "nan" for a label
            or a speaker is an empty cell. See `from_arrays` for labels, sessions, splits and
            sentiments.
        session, split, id, sentiment: columns that may be missing (under these very names). An
            id is the name of the sound file as the table gives it where there is none.
        name: of the corpus; by default the table's name without ending, or the folder's where
            the table is ``metadata.csv``.
        shared_speakers: see `from_arrays`.

    The key covers all cells that are read, and of each sound its name, size and time of change.

    Warns:
        UserWarning: see `from_arrays`.

    Raises:
        DataError: no such table, not UTF-8, no rows or missing columns; a row with too few or
            too many cells, an empty cell, a sound file that is missing, empty or unreadable
            (with column and rows, of which the first has the names of the columns); what
            `from_arrays` refuses. What is wrong inside a sound file is found when it is read
            (`files.read_wav`).
    """
    given = (audio, text, label, speaker, session, split, id, sentiment)
    columns = dict(zip(FIELDS, given, strict=True))
    path = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    problems = Findings(str(path))
    cells = _read_table(path, columns, problems)
    names = {field: f"column {column!r}" for field, column in columns.items()}
    media, stamps = _sound_files(path.parent, cells["audio"], names["audio"], problems)
    title = name or (path.absolute().parent.name if path.name == TABLE else path.stem)
    corpus = _corpus(title, cells, media, stamps, names, problems, shared_speakers)
    extras = {
        "table": path.name,
        "columns": {field: column for field, column in columns.items() if column != field},
        "name": name,
        "shared_speakers": shared_speakers,
    }
    return replace(corpus, extras=extras)


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
    name: str = "own",
    shared_speakers: bool = False,
) -> Corpus:
    """A corpus of N utterances from arrays; every argument but `rate`, `name` and
    `shared_speakers` has N items.

    Args:
        text: what is said, in English (see `from_table`).
        label: any class names. Where all are among `EMOTIONS`, in whatever case, the classes are
            these four in their order; else the sorted names. None: new utterances, which a
            trained model can be asked about (`training.examples_for`, `Run.predict`) and none
            can be trained on; they have no folds, and may do without speakers.
        speaker: who says it.
        waveforms: samples in [-1, 1], floats, (samples,) or (samples, channels).
        rate: their sampling rate in Hz.
        frames: filterbanks that are computed already, (T, bands), T free, the same number of
            bands everywhere. Where waveforms are given too, the model still reads the frames.
            `training.fit` must be told their distance and length in seconds: hop=0.010,
            window=0.025.
        words: (word, start, end) in spoken order, times in seconds.
        session: the unit of a fold, at least three; each is the test part once. Where there is
            none, speakers are dealt into five groups (or as many as there are speakers) of
            about as many utterances, the same way every time.
        split: "train", "dev" or "test" ("valid", "validation", "val" mean dev), in place of
            folds.
        ids: unique names; by default "0", "1", ...
        sentiment: in [-3, 3].
        shared_speakers: take a split although speakers stand in two of its parts. Its scores say
            nothing about new speakers.

    Arrays of float32 are kept, not copied: leave them unchanged. The key covers all contents.

    Warns:
        UserWarning: a speaker in two parts of a split that is meant so; a class that some
            training part has no utterance of.

    Raises:
        DataError: lengths that differ; neither waveforms nor frames; labels without speakers; an
            empty text, label or speaker (None and NaN too); ids twice; arrays, times, splits or
            sentiments that are not as above; a rate under 1000 Hz; a part of the split without
            utterances; a speaker in two parts of the split; fewer than two classes; without a
            split, fewer than three speakers or sessions, or a speaker in two sessions.
    """
    given = (text, label, speaker, session, split, ids, sentiment)
    cells = dict(zip(FIELDS[1:], given, strict=True))
    arrays = {"waveforms": waveforms, "frames": frames, "words": words}
    cells = {field: list(values) for field, values in cells.items() if values is not None}
    arrays = {field: list(values) for field, values in arrays.items() if values is not None}
    n = len(cells["text"])
    if not n:
        raise DataError(f"{name}: no utterances; give at least one item to every argument")
    lengths = {field: len(values) for field, values in {**cells, **arrays}.items()}
    if set(lengths.values()) != {n}:
        told = ", ".join(f"{field} {length}" for field, length in lengths.items())
        raise DataError(f"{name}: lengths differ ({told}); give one item an utterance to each")
    if waveforms is None and frames is None:
        raise DataError(f"{name}: no sound; give waveforms and their rate, or frames")
    if label is not None and speaker is None:
        raise DataError(f"{name}: labels without speakers, whom folds keep apart; give speaker")
    problems, places = Findings(name), [f"item {i}" for i in range(n)]
    media, contents = _media(arrays, rate, places, problems)
    table = pd.DataFrame({"id": range(n), **cells}, dtype=object, index=places).map(_cell)
    names = {**{field: field for field in FIELDS}, "id": "ids"}
    content = [contents, rate]
    corpus = _corpus(name, table, media, content, names, problems, shared_speakers)
    return replace(corpus, extras={"arrays": sorted(arrays)})


def _cell(value: object) -> str:
    """A cell as text; what pandas or numpy hold for a missing one is empty."""
    if value is None or (not isinstance(value, str) and str(value) in _MISSING):
        return ""
    return str(value).strip()


# --------------------------------------------------------------------------------- tables


def _read_table(path: Path, columns: dict[str, str], problems: Findings) -> pd.DataFrame:
    """The cells: a column a field, a row an utterance, its index the place ("row 2"). Rows with
    too few or too many cells go to the problems."""
    text = _decoded(path)
    first_line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(",;\t|", key=first_line.count)
    try:
        header = [cell.strip() for cell in next(csv.reader([first_line], delimiter=delimiter))]
        _check_header(path, header, columns)
        n = len(header)
        table = pd.read_csv(
            io.StringIO(text, newline=""),
            sep=delimiter,
            header=None,
            names=range(n + 1),  # the last is for what is too much
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            engine="python",
            on_bad_lines=lambda row: [*row[:n], "".join(row[n:])],
        )
    except (pd.errors.ParserError, csv.Error) as error:
        raise DataError(f"{path}: {error}; save the table as CSV again") from error
    table = table.map(str.strip, na_action="ignore")
    table.index = [f"row {i + 1}" for i in table.index]
    filled = table.notna() & (table != "")
    table = table[filled.any(axis=1)][1:]
    uneven = table[range(n)].isna().any(axis=1) | filled[n][table.index]
    for place in table.index[uneven]:
        remedy = f"give {n} as in row 1, text with a separator in quotation marks"
        problems.add("too few or too many cells", place, remedy)
    table = table.loc[~uneven, range(n)]
    if table.empty:
        problems.fail()
        raise DataError(f"{path}: no rows under the names of the columns; add one an utterance")
    table.columns = header
    there = {field: table[column] for field, column in columns.items() if column in header}
    return pd.DataFrame(there)


def _decoded(path: Path) -> str:
    """The table's text, without blank lines before it."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with a {TABLE}")
    content = path.read_bytes()
    if b"\0" in content[:4]:
        remedy = "save the table as UTF-8 (a spreadsheet calls it 'CSV UTF-8')"
        raise DataError(f"{path}: UTF-16, not UTF-8; {remedy}")
    try:
        text = content.decode("utf-8-sig").lstrip("\r\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the table as UTF-8") from error
    if not text.strip():
        raise DataError(f"{path}: empty; its first line names the columns")
    return text


def _check_header(path: Path, header: list[str], columns: dict[str, str]) -> None:
    """Raises:
    DataError: names all columns that are missing, and what they may be called in this table; or
        those that are there twice.
    """
    twice = [name for name in columns.values() if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: more than one column {few(map(repr, twice))}; rename the others")
    alike = {"".join(name.split()).casefold(): name for name in header}
    meant = {
        field: alike.get("".join(name.split()).casefold(), "...")
        for field, name in columns.items()
        if name not in header and (field in NEEDED or name != field)
    }
    if meant:
        named = ", ".join(repr(columns[field]) for field in meant)
        calls = ", ".join(f"{field}={name!r}" for field, name in meant.items())
        options = " ".join(f"--column {shlex.quote(f'{f}={name}')}" for f, name in meant.items())
        raise DataError(
            f"{path}: no column {named} (there are {', '.join(header)}); rename columns, or say "
            f"{calls} ({options})"
        )


def _sound_files(
    folder: Path, files: pd.Series, column: str, problems: Findings
) -> tuple[list[dict], list]:
    """Waveform and rate of every utterance, and what stands for the content of its file; files
    that cannot be used go to the problems."""
    import soundfile

    media, stamps = [], []
    for place, file in files.items():
        path, where = folder / file, f"{place}: {file}"
        if not file:
            continue  # which `_CHECKS` finds
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


def _same(array: np.ndarray) -> np.ndarray:
    """A waveform's callable, bound to samples that are there already."""
    return array


def _media(
    arrays: dict[str, list], rate: object, places: list[str], problems: Findings
) -> tuple[list[dict], list]:
    """Of every utterance the fields that come from arrays (waveform and rate, frames, words), and
    their contents for the key; what is wrong goes to the problems."""
    if "waveforms" in arrays:
        if not isinstance(rate, int | float | np.number) or not _SLOWEST <= rate < math.inf:
            remedy = f"give it in Hz ({_SLOWEST} or more), not in kHz"
            raise DataError(f"{problems.source}: waveforms with rate {rate!r}; {remedy}")
    media, contents = [], []
    for i, place in enumerate(places):
        fields, wave = {}, None
        if "waveforms" in arrays:
            wave = _array(arrays["waveforms"][i], "waveforms", place, problems)
            fields.update(waveform=partial(_same, wave), rate=int(rate))
        if "frames" in arrays:
            fields["frames"] = _array(arrays["frames"][i], "frames", place, problems)
        if "words" in arrays:
            fields["words"] = _word_times(arrays["words"][i], place, problems)
        media.append(fields)
        contents.append([wave, fields.get("frames"), fields.get("words")])
    if "frames" in arrays:
        bands = [fields["frames"].shape[1] for fields in media]
        most = Counter(filter(None, bands)).most_common(1)
        for n, place in zip(bands, places, strict=True):
            if n and n != most[0][0]:
                where = f"{place}: {n}"
                problems.add("frames: not as many bands as most", where, "use one filterbank")
    return media, contents


def _array(array: object, name: str, place: str, problems: Findings) -> np.ndarray:
    """The array as float32; where it is wrong, which goes to the problems, an empty one."""
    try:
        array = np.asarray(array)
    except ValueError:  # rows of different lengths
        array = np.zeros(0, object)
    problem = ""
    if array.ndim not in ((2,) if name == "frames" else (1, 2)) or not array.size:
        shape = "(T, bands)" if name == "frames" else "(samples,) or (samples, channels)"
        problem, told, remedy = "wrong shape", array.shape, f"expected {shape}"
    elif array.dtype.kind != "f":
        remedy = "expected floats (16-bit samples: divide by 32768)"
        problem, told = "wrong type", array.dtype
    if problem:
        problems.add(f"{name}: {problem}", f"{place}: {told}", remedy)
        return np.zeros((0, 0), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        problems.add(f"{name}: NaN or infinite", place, "mend or leave out these utterances")
    elif name == "waveforms" and np.abs(array).max() > LOUDEST:
        remedy = "scale to [-1, 1] (16-bit samples: divide by 32768)"
        problems.add("waveforms: far too loud", f"{place}: {np.abs(array).max():g}", remedy)
    return array


def _word_times(words: Iterable, place: str, problems: Findings) -> tuple[Word, ...]:
    try:
        timed = tuple(Word(str(text), float(start), float(end)) for text, start, end in words)
    except (TypeError, ValueError):
        problems.add("words: not (word, start, end)", place, "give three items a word")
        return ()
    ordered = all(a <= b for a, b in pairwise([0.0, *(word.start for word in timed)]))
    if not ordered or not all(word.start <= word.end < math.inf for word in timed):
        problems.add("words: times run backwards", place, "give start <= end in seconds, in order")
    return timed


# ------------------------------------------------------------------------ what both share


def _corpus(
    name: str,
    table: pd.DataFrame,
    media: list[dict],
    content: list,
    names: dict[str, str],
    problems: Findings,
    shared_speakers: bool,
) -> Corpus:
    """The corpus, when nothing is wrong with it.

    Args:
        table: text of every field (column) of every utterance; the index is its place in the
            table or the arrays. Without labels, utterances are nobody's.
        media: the other fields of each utterance.
        content: what stands for these in the key.
        names: what a field is called in messages.
    """
    source = problems.source
    if not re.fullmatch(r"\w[\w.-]*", name) or name in NAMES:
        why = "is taken" if name in NAMES else "cannot be part of a file's name"
        raise DataError(
            f"{source}: the name {name!r} {why}; say name='...' (--name ...) for the corpus, "
            "with letters, digits, . - _"
        )
    _check_cells(table, names, problems)
    problems.fail()
    if "id" not in table:
        table["id"] = table["audio"]
    table = table.drop(columns="audio", errors="ignore")
    cells = table.to_dict("list")
    emotions, labels, fixed = (), None, None
    if "split" in table:
        table["split"] = table["split"].map(lambda cell: PARTS[cell.lower()])
        fixed = Split(*(np.flatnonzero(table["split"] == p).tolist() for p in Split._fields))
        for part, rows in fixed._asdict().items():
            if not rows:
                raise DataError(f"{source}: the split has no utterance in {part}; give it some")
    if "label" in table:
        emotions, labels = _classes(table["label"], source)
        if fixed is None:
            _check_folds(table, problems)
        elif not shared_speakers:
            remedy = (
                "it leaks: give every speaker one part, or say shared_speakers=True "
                "(--shared-speakers), if scores need not tell of new speakers"
            )
            _find_shared(
                table, "split", "speaker in more than one part of the split", remedy, problems
            )
        problems.fail()
        if "session" not in table:
            table["session"] = _dealt(table["speaker"].tolist())
    columns = {
        "id": table["id"],
        "speaker": table.get("speaker", ""),
        "session": table.get("session", ""),
        "text": table["text"],
        "emotion": labels,
        "sentiment": table["sentiment"].astype(float) if "sentiment" in table else None,
    }
    fields = pd.DataFrame(columns)
    utterances = tuple(
        Utterance(**row, **more) for row, more in zip(fields.to_dict("records"), media, strict=True)
    )
    made = {"session": fields["session"].tolist(), "label": fields["emotion"].tolist()}
    key = digest("own", {**cells, **made}, content)
    corpus = Corpus(name, key, utterances, emotions=emotions, fixed=fixed)
    if "label" in table:
        _warn(corpus, table)
    return corpus


def _check_cells(table: pd.DataFrame, names: dict[str, str], problems: Findings) -> None:
    for field, column in table.items():
        checks = [check for check in _CHECKS if field in check[0]]
        for place, cell in column.items():
            for _, wrong, problem, remedy in checks:
                if wrong(cell):
                    where = f"{place}: {cell}" if cell else place
                    problems.add(names[field] + problem, where, remedy)
                    break
    unique = "id" if "id" in table else "audio"
    first: dict[str, str] = {}
    for place, cell in table[unique].items():
        if cell and first.setdefault(cell, place) != place:
            where = f"{first[cell]} and {place}: {cell}"
            problems.add(f"{names[unique]} is there twice", where, "give every utterance its own")


def _classes(labels: pd.Series, source: str) -> tuple[tuple[str, ...], pd.Series]:
    """The classes, and the label of every utterance as one of them."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"{source}: one class only ({few(classes)}); give two or more")
    if {label.lower() for label in classes} <= set(EMOTIONS):
        return EMOTIONS, labels.str.lower()
    return tuple(classes), labels


def _check_folds(table: pd.DataFrame, problems: Findings) -> None:
    """Speakers or sessions are enough for folds, and no speaker stands in two of them."""
    unit = "session" if "session" in table else "speaker"
    there = sorted(set(table[unit]))
    if len(there) < 3:
        raise DataError(
            f"{problems.source}: {len(there)} {unit}s ({few(there)}) and no split; folds need "
            f"three or more: {_MIX}"
        )
    if unit == "session":
        problem = "speakers in several sessions, so that folds would leak"
        _find_shared(table, unit, problem, _MIX, problems)


def _find_shared(
    table: pd.DataFrame, unit: str, problem: str, remedy: str, problems: Findings
) -> None:
    """Speakers who stand in several sessions or parts of the split, with a place of each."""
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for place, speaker, home in zip(table.index, table["speaker"], table[unit], strict=True):
        homes[speaker].setdefault(home, place)
    for speaker, home in homes.items():
        if len(home) > 1:
            places = " and ".join(f"{name} ({place})" for name, place in list(home.items())[:2])
            problems.add(problem, f"{speaker}: {places}", remedy)


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
        remedy = "scores will not tell of new speakers"
        _find_shared(table, "split", "speaker in more than one part of the split", remedy, notes)
    for fold, emotion in _untrained(corpus):
        remedy = "a model cannot learn it there"
        notes.add("class without a training utterance", f"{emotion}, fold {fold}", remedy)
    alike: dict[str, list[str]] = defaultdict(list)
    for emotion in corpus.emotions:
        alike[emotion.lower()].append(emotion)
    for names in alike.values():
        if len(names) > 1:
            remedy = "they count as different; write them alike if they are not"
            notes.add("classes that differ in case alone", few(names), remedy)
    notes.warn(stacklevel=5)
