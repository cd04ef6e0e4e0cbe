"""A corpus of one's own: from a table beside its sound files, or from arrays::

    from mmer_lib.corpora import own

    corpus = own.from_table("recordings/metadata.csv")
    corpus = own.from_arrays(texts, labels, speakers, waveforms, rate=16000)

Either is checked as a whole before anything is computed, and all that is wrong is said at once.
Folds are made so that no speaker stands in two parts, and a split in which one does is refused
unless it is meant so.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

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
    first line, and separates them by commas, semicolons or tabs. Columns that are not named here
    are ignored. The text must be English: so are the word vectors (GloVe) and the dictionary of
    pronunciations (CMU).

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
        DataError: no such table, not UTF-8, no lines or missing columns; a line with too few or
            too many cells, an empty cell, a sound file that is missing, empty or unreadable
            (with line numbers and column); what `from_arrays` refuses. What is wrong inside a
            sound file is found when it is read (`files.read_wav`).
    """
    given = (audio, text, label, speaker, session, split, id, sentiment)
    columns = dict(zip(FIELDS, given, strict=True))
    path = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    problems = Findings(str(path))
    cells, places = _read_table(path, columns, problems)
    names = {field: f"column {column!r}" for field, column in columns.items()}
    files = cells.pop("audio")
    media, stamps = _sound_files(path.parent, files, names["audio"], places, problems)
    if "id" not in cells:
        cells["id"], names["id"] = files, names["audio"]
    title, origin = name, ""
    if name is None and path.name == TABLE:
        title, origin = path.absolute().parent.name, " of the folder"
    elif name is None:
        title, origin = path.stem, " of the table"
    _check_name(title, str(path), origin)
    corpus = _corpus(title, cells, media, stamps, names, places, problems, shared_speakers)
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
    cells = {
        "text": text,
        "label": label,
        "speaker": speaker,
        "session": session,
        "split": split,
        "id": ids,
        "sentiment": sentiment,
    }
    arrays = {"waveforms": waveforms, "frames": frames, "words": words}
    given = {k: list(v) for k, v in {**cells, **arrays}.items() if v is not None}
    n = len(given["text"])
    if not n:
        raise DataError(f"{name}: no utterances; give at least one item to every argument")
    if any(len(values) != n for values in given.values()):
        lengths = ", ".join(f"{k} {len(values)}" for k, values in given.items())
        raise DataError(f"{name}: lengths differ ({lengths}); give one item an utterance to each")
    if waveforms is None and frames is None:
        raise DataError(f"{name}: no sound; give waveforms and their rate, or frames")
    if label is not None and speaker is None:
        raise DataError(f"{name}: labels without speakers, whom folds keep apart; give speaker")
    _check_name(name, name)
    problems, places = Findings(name), [f"item {i}" for i in range(n)]
    media, contents = _media(given, rate, places, problems)
    cells = {k: list(map(_cell, v)) for k, v in given.items() if k not in arrays}
    cells.setdefault("id", [str(i) for i in range(n)])
    names = {**{field: field for field in cells}, "id": "ids"}
    content = [contents, rate]
    corpus = _corpus(name, cells, media, content, names, places, problems, shared_speakers)
    return replace(corpus, extras={"arrays": sorted(arrays.keys() & given.keys())})


def _cell(value: object) -> str:
    missing = value is None or (not isinstance(value, str) and str(value) in _MISSING)
    return "" if missing else str(value).strip()


# --------------------------------------------------------------------------------- tables


def _read_table(
    path: Path, columns: dict[str, str], problems: Findings
) -> tuple[dict[str, list[str]], list[str]]:
    """Cells by field, and the place of each line ("line 2"). Lines with too few or too many cells
    go to the problems.

    `csv` reads the table, since it knows the line of the file where a row begins.
    """
    rows = _rows(path, set(columns.values()))
    _, header = rows.pop(0)
    _check_header(path, header, columns)
    cells = {field: [] for field, column in columns.items() if column in header}
    places = []
    for number, row in rows:
        if len(row) < len(header) or any(row[len(header) :]):
            remedy = f"give {len(header)} as in line 1, text with a separator in quotation marks"
            problems.add("number of cells", f"line {number} has {len(row)}", remedy)
            continue
        places.append(f"line {number}")
        for field, column in cells.items():
            column.append(row[header.index(columns[field])])
    if not places:
        problems.fail()
        raise DataError(f"{path}: no lines under the names of the columns; add one an utterance")
    return cells, places


def _rows(path: Path, columns: set[str]) -> list[tuple[int, list[str]]]:
    """(number of the first line, cells without blanks around them) of every row that holds
    anything."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with a {TABLE}")
    content = path.read_bytes()
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in content[:2]:
        remedy = "save the table as UTF-8 (a spreadsheet calls it 'CSV UTF-8')"
        raise DataError(f"{path}: UTF-16, not UTF-8; {remedy}")
    try:
        content = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the table as UTF-8") from error
    delimiter = _delimiter(content.lstrip().partition("\n")[0], columns)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    rows, number = [], 1
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row):
                rows.append((number, row))
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {number}: {error}; save the table as CSV again") from error
    if not rows:
        raise DataError(f"{path}: empty; its first line names the columns")
    return rows


def _delimiter(line: str, columns: set[str]) -> str:
    """The separator by which a header names most of the columns."""

    def matches(delimiter: str) -> tuple[int, int]:
        names = [cell.strip() for cell in line.replace('"', "").split(delimiter)]
        return len(columns.intersection(names)), len(names)

    return max(",;\t", key=matches)


def _check_header(path: Path, header: list[str], columns: dict[str, str]) -> None:
    """Raises:
    DataError: names all columns that are missing, beside what they may be called in this table;
        or those that are there twice.
    """
    if len(header) == 1 and "|" in header[0]:
        remedy = "save the table with commas, semicolons or tabs in its place"
        raise DataError(f"{path}, line 1: the separator is |; {remedy}")

    def plain(name: str) -> str:
        return "".join(name.split()).casefold()

    what = "more than one"
    wrong = {field: "" for field, column in columns.items() if header.count(column) > 1}
    if not wrong:
        what, alike = "no", {plain(name): name for name in header}
        wrong = {
            field: alike.get(plain(column), "")
            for field, column in columns.items()
            if column not in header and (field in NEEDED or column != field)
        }
    if wrong:
        named = [
            f"{columns[field]!r}" + (f" (did you mean {name!r}?)" if name else "")
            for field, name in wrong.items()
        ]
        pairs = {field: name or "..." for field, name in wrong.items()}
        calls = ", ".join(f"{field}={name!r}" for field, name in pairs.items())
        options = " ".join(f"--column {shlex.quote(f'{f}={name}')}" for f, name in pairs.items())
        raise DataError(
            f"{path}, line 1: {what} column {', '.join(named)} (there are {', '.join(header)}); "
            f"rename columns, or say {calls} ({options})"
        )


def _sound_files(
    folder: Path, files: list[str], column: str, places: list[str], problems: Findings
) -> tuple[list[dict], list]:
    """Waveform and rate of every utterance, and what stands for the content of its file; files
    that cannot be used go to the problems."""
    import soundfile

    media, stamps = [], []
    for file, place in zip(files, places, strict=True):
        path, where = folder / file, f"{place}: {file}"
        if not file:
            problems.add(f"{column} is empty", place, "name the sound file")
        elif not os.path.isfile(path):
            problems.add(f"{column}: no such file in {folder}", where, "correct the name")
        else:
            try:
                header = soundfile.info(path)
            except (soundfile.SoundFileError, TypeError):  # TypeError: named .raw, without a rate
                problems.add(f"{column}: not readable as sound", where, "convert it to wav")
                continue
            if not header.frames:
                problems.add(f"{column}: no samples", where, "record it again or delete the line")
            media.append({"waveform": partial(read_sound, path), "rate": header.samplerate})
            stamps.append(stamp(path, file))
    return media, stamps


# --------------------------------------------------------------------------------- arrays


def _same(array: np.ndarray) -> np.ndarray:
    """A waveform's callable, bound to samples that are there already."""
    return array


def _media(
    given: dict[str, list], rate: object, places: list[str], problems: Findings
) -> tuple[list[dict], list]:
    """Of every utterance the fields that come from arrays (waveform and rate, frames, words), and
    their contents for the key; what is wrong goes to the problems."""
    if "waveforms" in given:
        what = f"{problems.source}: waveforms with rate {rate!r}"
        if not isinstance(rate, int | float | np.number) or not 0 < rate < math.inf:
            raise DataError(f"{what}; give it in Hz")
        if rate < _SLOWEST:
            raise DataError(f"{what}, under {_SLOWEST}; give it in Hz, not in kHz")
    media, contents = [], []
    for i, place in enumerate(places):
        fields, wave = {}, None
        if "waveforms" in given:
            wave = _array(given["waveforms"][i], (1, 2), "waveforms", place, problems)
            fields.update(waveform=partial(_same, wave), rate=int(rate))
        if "frames" in given:
            fields["frames"] = _array(given["frames"][i], (2,), "frames", place, problems)
        if "words" in given:
            fields["words"] = _word_times(given["words"][i], place, problems)
        media.append(fields)
        contents.append([wave, fields.get("frames"), fields.get("words")])
    widths = [fields["frames"].shape[1] if "frames" in fields else 0 for fields in media]
    common = Counter(filter(None, widths)).most_common(1)
    for width, place in zip(widths, places, strict=True):
        if width and width != common[0][0]:
            where = f"{place}: {width}"
            problems.add("frames: not as many bands as most", where, "use one filterbank")
    return media, contents


def _array(
    array: object, axes: Sequence[int], name: str, place: str, problems: Findings
) -> np.ndarray:
    """The array as float32; where it is wrong, which goes to the problems, an empty one."""
    try:
        array = np.asarray(array)
    except ValueError:  # rows of different lengths
        array = np.zeros(0, object)
    if array.ndim not in axes or not array.size:
        shape = "(T, bands)" if name == "frames" else "(samples,) or (samples, channels)"
        problems.add(f"{name}: wrong shape", f"{place}: {array.shape}", f"expected {shape}")
        return np.zeros((0, 0), np.float32)
    if array.dtype.kind != "f":
        remedy = "expected floats (16-bit samples: divide by 32768)"
        problems.add(f"{name}: wrong type", f"{place}: {array.dtype}", remedy)
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
    cells: dict[str, list[str]],
    media: list[dict],
    content: list,
    names: dict[str, str],
    places: list[str],
    problems: Findings,
    shared_speakers: bool,
) -> Corpus:
    """The corpus, when nothing is wrong with it.

    Args:
        cells: text of every field, one an utterance; without labels, they are nobody's.
        media: the other fields of each utterance.
        content: what stands for these in the key.
        names, places: what a field and an utterance are called in messages.
    """
    _check_cells(cells, names, places, problems)
    problems.fail()
    nobody, fixed = [""] * len(places), None
    speakers, sessions = cells.get("speaker", nobody), cells.get("session")
    if "split" in cells:
        fixed = _fixed(cells["split"], problems.source)
    if "label" in cells:
        emotions, labels = _classes(cells["label"], problems.source)
        if fixed is None:
            _check_folds(speakers, sessions, places, problems)
        elif not shared_speakers:
            remedy = (
                "it leaks: give every speaker one part, or say shared_speakers=True "
                "(--shared-speakers), if scores need not tell of new speakers"
            )
            _find_shared(speakers, fixed, remedy, problems)
            problems.fail()
        sessions = sessions or _dealt(speakers)
    else:
        emotions, labels, sessions = (), [None] * len(places), sessions or nobody
    sentiments = map(float, cells["sentiment"]) if "sentiment" in cells else [None] * len(places)
    columns = (cells["id"], speakers, sessions, cells["text"], labels, sentiments, media)
    utterances = tuple(
        Utterance(i, who, where, text, emotion=emotion, sentiment=sentiment, **more)
        for i, who, where, text, emotion, sentiment, more in zip(*columns, strict=True)
    )
    key = digest("own", {**cells, "session": sessions, "label": labels}, content)
    corpus = Corpus(name, key, utterances, emotions=emotions, fixed=fixed)
    if "label" in cells:
        _warn(corpus)
    return corpus


def _check_name(name: str, source: str, origin: str = "") -> None:
    """`origin`: whose name it is, if nobody gave it."""
    if not re.fullmatch(r"\w[\w.-]*", name) or name in NAMES:
        why = "is taken" if name in NAMES else "cannot be part of a file's name"
        raise DataError(
            f"{source}: the name {name!r}{origin} {why}; say name='...' (--name ...) for the "
            "corpus, with letters, digits, . - _"
        )


def _is_sentiment(cell: str) -> bool:
    try:
        return -3 <= float(cell) <= 3
    except ValueError:
        return False


_EMPTY = (lambda cell: not cell, " is empty", "fill it in or delete the utterance")
_NAN = (lambda cell: cell in _MISSING, *_EMPTY[1:])
_CHECKS: dict[str, list[tuple[Callable[[str], bool], str, str]]] = {
    "id": [_EMPTY],
    "text": [_EMPTY],
    "label": [_NAN],
    "speaker": [_NAN],
    "session": [_NAN],
    "split": [
        _NAN,
        (lambda c: c.lower() not in PARTS, ": unknown part", f"use one of {', '.join(PARTS)}"),
    ],
    "sentiment": [
        _EMPTY,
        (lambda c: not _is_sentiment(c), ": no sentiment", "give numbers in [-3, 3]"),
    ],
}
"""Of every field what makes a cell wrong, what that is called, and the remedy; the first counts."""


def _check_cells(
    cells: dict[str, list[str]], names: dict[str, str], places: list[str], problems: Findings
) -> None:
    for field, column in cells.items():
        checks = _CHECKS[field]
        if field == "id" and names["id"] == names.get("audio"):
            checks = []  # empty names of sound files have been found before
        for cell, place in zip(column, places, strict=True):
            where = f"{place}: {cell}" if cell else place
            for wrong, problem, remedy in checks:
                if wrong(cell):
                    problems.add(names[field] + problem, where, remedy)
                    break
    first: dict[str, str] = {}
    for cell, place in zip(cells["id"], places, strict=True):
        if cell and first.setdefault(cell, place) != place:
            where = f"{first[cell]} and {place}: {cell}"
            problems.add(f"{names['id']} is there twice", where, "give every utterance its own")


def _classes(labels: list[str], source: str) -> tuple[tuple[str, ...], list[str]]:
    """The classes, and the label of every utterance as one of them."""
    if len(set(labels)) < 2:
        raise DataError(f"{source}: one class only ({few(set(labels))}); give two or more")
    lower = [label.lower() for label in labels]
    if set(lower) <= set(EMOTIONS):
        return EMOTIONS, lower
    return tuple(sorted(set(labels))), labels


def _fixed(cells: list[str], source: str) -> Split:
    parts = [PARTS[cell.lower()] for cell in cells]
    split = Split(*([i for i, p in enumerate(parts) if p == part] for part in Split._fields))
    for part, rows in split._asdict().items():
        if not rows:
            raise DataError(f"{source}: the split has no utterance in {part}; give it some")
    return split


def _check_folds(
    speakers: list[str], sessions: list[str] | None, places: list[str], problems: Findings
) -> None:
    """Speakers or sessions are enough for folds, and no speaker stands in two of them."""
    units, what = (sessions, "sessions") if sessions else (speakers, "speakers")
    if len(set(units)) < 3:
        raise DataError(
            f"{problems.source}: {len(set(units))} {what} ({few(sorted(set(units)))}) and no "
            f"split; folds need three or more: {_MIX}"
        )
    homes: dict[str, dict[str, str]] = defaultdict(dict)  # of each speaker the sessions, and where
    for speaker, session, place in zip(speakers, units, places, strict=True):
        homes[speaker].setdefault(session, place)
    for speaker, found in homes.items():
        if len(found) > 1:
            first = [f"{session} ({place})" for session, place in found.items()][:2]
            where = f"{speaker}: {' and '.join(first)}"
            problems.add("speakers in several sessions, so that folds would leak", where, _MIX)
    problems.fail()


def _find_shared(speakers: list[str], split: Split, remedy: str, problems: Findings) -> None:
    """Speakers who stand in several parts of the split."""
    parts: dict[str, set[str]] = defaultdict(set)
    for part, rows in split._asdict().items():
        for row in rows:
            parts[speakers[row]].add(part)
    for speaker, where in parts.items():
        if len(where) > 1:
            place = f"{speaker}: {', '.join(sorted(where))}"
            problems.add("speaker in more than one part of the split", place, remedy)


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
    utterances = corpus.utterances
    if corpus.fixed is not None:
        trained = {utterances[row].emotion for row in corpus.fixed.train}
        return [(0, emotion) for emotion in corpus.emotions if emotion not in trained]
    homes: dict[str, set[str]] = {emotion: set() for emotion in corpus.emotions}
    for u in utterances:
        homes[u.emotion].add(u.session)
    sessions, untrained = corpus.sessions, []
    for fold, test in enumerate(sessions):
        out = {test, sessions[(fold + 1) % len(sessions)]}
        untrained += [(fold, emotion) for emotion, home in homes.items() if home <= out]
    return untrained


def _warn(corpus: Corpus) -> None:
    """Say so where speakers stand in two parts, training parts lack a class, or classes look the
    same."""
    notes = Findings(corpus.name)
    if corpus.fixed is not None:
        speakers = [u.speaker for u in corpus.utterances]
        _find_shared(speakers, corpus.fixed, "scores will not tell of new speakers", notes)
    for fold, emotion in _untrained(corpus):
        remedy = "a model cannot learn it there"
        notes.add("class without a training utterance", f"{emotion}, fold {fold}", remedy)
    alike: dict[str, list[str]] = defaultdict(list)
    for emotion in corpus.emotions:
        alike[emotion.lower()].append(emotion)
    for names in alike.values():
        if len(names) > 1:
            remedy = "they count as different; write them alike if they are not"
            notes.add("classes that differ in case alone", few(sorted(names)), remedy)
    notes.warn(stacklevel=5)
