"""A corpus of one's own: from a table beside its sound files, or from arrays::

    from mmer_lib.corpora import own

    corpus = own.from_table("recordings/metadata.csv")
    corpus = own.from_arrays(texts, labels, speakers, waveforms, rate=16000)

Either is checked as a whole before anything is computed, and all that is wrong is said at once.
Folds are made so that no speaker stands in two parts, and a split in which one does is refused
unless it is meant so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mmer_lib.corpora import NAMES
from mmer_lib.corpora.arrays import media_of, same
from mmer_lib.corpora.metadata import TABLE, read_table, sound_files
from mmer_lib.data import EMOTIONS, Corpus, DataError, Findings, Split, Utterance, few
from mmer_lib.store import digest

PARTS = {"train": "train", "dev": "dev", "test": "test",
         "valid": "dev", "validation": "dev", "val": "dev"}  # fmt: skip
"""What a split may be called, and the part that it means."""

_NOTHING = ("nan", "NaN", "NaT", "<NA>")  # how what is missing looks as text
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
    path = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    problems = Findings(str(path))
    columns = {"audio": audio, "text": text, "label": label, "speaker": speaker,
               "session": session, "split": split, "id": id, "sentiment": sentiment}  # fmt: skip
    cells, places = read_table(path, columns, problems)
    files = cells.pop("audio")
    media, stamps = sound_files(path.parent, files, f"column {audio!r}", places, problems)
    cells.setdefault("id", files)
    names = {field: f"column {column!r}" for field, column in columns.items()}
    if cells["id"] is files:
        names["id"] = names["audio"]
    title, origin = name, ""
    if name is None and path.name == TABLE:
        title, origin = path.absolute().parent.name, " of the folder"
    elif name is None:
        title, origin = path.stem, " of the table"
    _check_name(title, str(path), origin)
    corpus = _corpus(title, cells, media, stamps, names, places, problems, shared_speakers)
    renamed = {field: column for field, column in columns.items() if column != field}
    extras = {"table": path.name, "columns": renamed, "name": name}
    return replace(corpus, extras={**extras, "shared_speakers": shared_speakers})


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
            `training.fit` must be told their distance and length in seconds:
            model_options={"hop": 0.010, "window": 0.025}.
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
    cells = {"text": text, "label": label, "speaker": speaker, "session": session,
             "split": split, "id": ids, "sentiment": sentiment}  # fmt: skip
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
    media = media_of(given, rate, places, problems)
    cells = {k: list(map(_cell, v)) for k, v in given.items() if k not in arrays}
    cells.setdefault("id", [str(i) for i in range(n)])
    names = {**{field: field for field in cells}, "id": "ids"}
    contents = [[m.get("waveform", partial(same, None))(), m.get("frames"), m.get("words")]
                for m in media]  # fmt: skip
    content = [contents, rate]
    corpus = _corpus(name, cells, media, content, names, places, problems, shared_speakers)
    return replace(corpus, extras={"arrays": sorted(arrays.keys() & given.keys())})


def _cell(value: object) -> str:
    missing = value is None or (not isinstance(value, str) and str(value) in _NOTHING)
    return "" if missing else str(value).strip()


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
        fixed = _fixed([PARTS[part.lower()] for part in cells["split"]], problems.source)
    if "label" in cells:
        emotions, labels = _classes(cells["label"], problems.source)
        if fixed is None:
            _check_folds(speakers, sessions, places, problems)
        elif not shared_speakers:
            _check_split(speakers, fixed, problems)
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


def _check_cells(cells: dict, names: dict, places: list[str], problems: Findings) -> None:
    """Nothing is empty, ids are unique, splits and sentiments mean something."""
    for field, column in cells.items():
        if field == "id" and names["id"] == names.get("audio"):
            continue  # empty sound files have been found before
        for cell, place in zip(column, places, strict=True):
            missing = field in ("label", "speaker", "session", "split") and cell in _NOTHING
            if missing or not cell:
                where = f"{place}: {cell}" if cell else place
                remedy = "fill it in or delete the utterance"
                problems.add(f"{names[field]} is empty", where, remedy)
    first: dict[str, str] = {}
    for cell, place in zip(cells["id"], places, strict=True):
        if cell and first.setdefault(cell, place) != place:
            where = f"{first[cell]} and {place}: {cell}"
            problems.add(f"{names['id']} is there twice", where, "give every utterance its own")
    for cell, place in zip(cells.get("split", ()), places, strict=False):
        if cell and cell.lower() not in PARTS and cell not in _NOTHING:
            remedy = f"use one of {', '.join(PARTS)}"
            problems.add(f"{names['split']}: unknown part", f"{place}: {cell}", remedy)
    for cell, place in zip(cells.get("sentiment", ()), places, strict=False):
        if cell and not _is_sentiment(cell):
            where = f"{place}: {cell}"
            problems.add(f"{names['sentiment']}: no sentiment", where, "give numbers in [-3, 3]")


def _is_sentiment(cell: str) -> bool:
    try:
        return -3 <= float(cell) <= 3
    except ValueError:
        return False


def _classes(labels: list[str], source: str) -> tuple[tuple[str, ...], list[str]]:
    """The classes, and the label of every utterance as one of them."""
    lower = [label.lower() for label in labels]
    if set(lower) <= set(EMOTIONS):
        emotions, labels = EMOTIONS, lower
    else:
        emotions = tuple(sorted(set(labels)))
    if len(set(labels)) < 2:
        raise DataError(f"{source}: one class only ({few(set(labels))}); give two or more")
    return emotions, labels


def _fixed(parts: list[str], source: str) -> Split:
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
    homes: dict[str, dict[str, str]] = {}  # of each speaker the sessions, where first
    for speaker, session, place in zip(speakers, units, places, strict=True):
        homes.setdefault(speaker, {}).setdefault(session, place)
    for speaker, found in homes.items():
        if len(found) > 1:
            first = [f"{session} ({place})" for session, place in found.items()][:2]
            where = f"{speaker}: {' and '.join(first)}"
            problems.add("speakers in several sessions, so that folds would leak", where, _MIX)
    problems.fail()


def _shared(speakers: list[str], split: Split) -> list[str]:
    """Of every speaker who stands in several parts of the split, these."""
    parts: dict[str, set[str]] = {}
    for part, rows in split._asdict().items():
        for row in rows:
            parts.setdefault(speakers[row], set()).add(part)
    return [f"{who}: {', '.join(sorted(where))}" for who, where in parts.items() if len(where) > 1]


def _check_split(speakers: list[str], split: Split, problems: Findings) -> None:
    """No speaker stands in two parts of the split."""
    remedy = (
        "it leaks: give every speaker one part, or say shared_speakers=True (--shared-speakers), "
        "if scores need not tell of new speakers"
    )
    for place in _shared(speakers, split):
        problems.add("speaker in more than one part of the split", place, remedy)
    problems.fail()


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
    us, homes = corpus.utterances, {emotion: set() for emotion in corpus.emotions}
    for u in us:
        homes[u.emotion].add(u.session)
    if corpus.fixed is not None:
        trained = {us[row].emotion for row in corpus.fixed.train}
        return [(0, emotion) for emotion in homes if emotion not in trained]
    sessions, found = corpus.sessions, []
    for fold, test in enumerate(sessions):
        out = {test, sessions[(fold + 1) % len(sessions)]}
        found += [(fold, emotion) for emotion, home in homes.items() if home <= out]
    return found


def _warn(corpus: Corpus) -> None:
    """Say so where speakers stand in two parts, training parts lack a class, or classes look the
    same."""
    notes, us = Findings(corpus.name), corpus.utterances
    if corpus.fixed is not None:
        for place in _shared([u.speaker for u in us], corpus.fixed):
            remedy = "scores will not tell of new speakers"
            notes.add("speaker in more than one part of the split", place, remedy)
    for fold, emotion in _untrained(corpus):
        remedy = "a model cannot learn it there"
        notes.add("class without a training utterance", f"{emotion}, fold {fold}", remedy)
    folded: dict[str, set[str]] = {}
    for emotion in corpus.emotions:
        folded.setdefault(emotion.lower(), set()).add(emotion)
    for names in folded.values():
        if len(names) > 1:
            remedy = "they count as different; write them alike if they are not"
            notes.add("classes that differ in case alone", few(sorted(names)), remedy)
    notes.warn(stacklevel=5)
