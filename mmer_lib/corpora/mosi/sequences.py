"""MOSI and MOSEI from a folder of computational sequences (``.csd``) of the CMU-MultimodalSDK."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmer_lib.corpora.mosi.csd import ComputationalSequence, Rows, open_sequence
from mmer_lib.corpora.mosi.reading import SEGMENT, Reading, spoken
from mmer_lib.data import DataError, Utterance, Word, few

KINDS = {
    "labels": ("opinion", "labels"),
    "words": ("words",),
    "vectors": ("wordvectors",),
    "audio": ("covarep",),
    "vision": ("facet", "openface"),
}
"""What is read, and the parts of a file's name, in whatever case, that tell it."""

ENOUGH = 1000
"""Words that it takes to tell whether a file's words stand beside their own intervals."""

OVERLAP = 10
"""How often the segments of a video may take each of its rows, on average."""


class Track(NamedTuple):
    """Rows in the order of a time of theirs, `at` (N,): the middle, of vectors the start."""

    features: np.ndarray
    intervals: np.ndarray
    at: np.ndarray


Tracks = dict[str, Track | None]


def read_folder(
    root: Path, parts: dict[str, str], progress: bool = True, as_written: bool = False
) -> Reading:
    """Every labelled segment of the videos in `parts` (video -> part), named ``video[i]``, i its
    row among the labels of the video.

    A segment takes the rows whose middle lies in it, start <= middle < end. Times count from its
    start; words that reach out of it are cut. The vector of a word is the row in whose interval
    the middle of the word lies. Segments without words, or without rows of a file that is there,
    are left out.

    ``CMU_MOSI_ModifiedTimestampedWords.csd`` has every word one row too early: "oh", a word of two
    letters, is said to last the 3 s of the pause after it, and segments lack their last word. Such
    a file is known by its durations (see `_early`), and every word is given the interval of the
    row before it. Of the first word of a video no more than the end is known: it lasts 0 s. With
    `as_written` the words stay where they are, to compare with figures of those who left them.

    Raises:
        DataError: no labels or no words; two files of a kind; a file that `csd` refuses, or whose
            features are not what its kind needs; segments of a video that overlap so that they
            take its rows over `OVERLAP` times.
    """
    from tqdm import tqdm

    files = _files(root)
    reading = Reading(root.name)
    with ExitStack() as stack:
        opened = {k: stack.enter_context(open_sequence(path)) for k, path in files.items()}
        labels = opened.pop("labels")
        early = _is_early(opened["words"], reading, as_written)
        taken: Counter[tuple[str, str]] = Counter()
        for id in tqdm(labels.ids, desc=root.name, unit="video", disable=not progress, leave=False):
            aligned = SEGMENT.fullmatch(id)
            video = aligned["video"] if aligned else id
            rows = _typed(labels, labels.rows(id), id, float)
            if aligned and len(rows.features) != 1:
                raise DataError(f"{labels.path}: {id}: {len(rows.features)} labels for one segment")
            if video not in parts:
                reading.left_out["video in no standard fold"] += len(rows.features)
                remedy = "the others are read"
                reading.findings.add("left out: video in no standard fold", video, remedy)
                continue
            tracks = {k: _rows(sequence, id, video, k) for k, sequence in opened.items()}
            if early:
                _move(tracks)
            tracks = {k: None if r is None else _ordered(r, k) for k, r in tracks.items()}
            homes = {k: id if id in sequence else video for k, sequence in opened.items()}
            _check_overlap(labels, id, homes, rows.intervals, tracks, taken)
            for i, interval in enumerate(rows.intervals):
                name = id if aligned else f"{video}[{i}]"
                sentiment = reading.sentiment(rows.features[i, 0], name)
                made = None
                if sentiment is not None:
                    made = _utterance(name, video, interval, sentiment, tracks, files, reading)
                if made is not None:
                    reading.add(made, parts[video])
        if "vision" in opened:
            reading.vision_names = opened["vision"].names
    return reading


def _files(root: Path) -> dict[str, Path]:
    """The file of every kind that is there."""
    there = sorted(p for p in root.glob("*.csd") if not p.name.startswith("."))
    files = {}
    for kind, marks in KINDS.items():
        names = {path: path.name.lower() for path in there}
        fits = [path for path, name in names.items() if any(mark in name for mark in marks)]
        if kind == "words":
            fits = [path for path in fits if "vector" not in names[path]]
        if len(fits) > 1:
            raise DataError(
                f"{root}: {len(fits)} files of {kind} ({few(p.name for p in fits)}); "
                "leave the one to be read and move the others elsewhere"
            )
        if fits:
            files[kind] = fits[0]
        elif kind in ("labels", "words"):
            marks = " or ".join(map(repr, marks))
            raise DataError(
                f"{root}: no .csd file of {kind} (with {marks} in its name) among "
                f"{few(p.name for p in there)}; add it"
            )
    return files


def _rows(sequence: ComputationalSequence, id: str, video: str, kind: str) -> Rows | None:
    """The rows of a segment, else of its video; None where the file has neither."""
    for name in (id, video):
        if name in sequence:
            return _typed(sequence, sequence.rows(name), name, str if kind == "words" else float)
    return None


def _typed(sequence: ComputationalSequence, rows: Rows, id: str, kind: type) -> Rows:
    if (rows.features.dtype == object) != (kind is str):
        found = "texts" if kind is float else "numbers"
        raise DataError(
            f"{sequence.path}: {id}: the features are {found}; its name says otherwise: rename it"
        )
    return rows


def _early(words: ComputationalSequence) -> int:
    """How many words the file has, if they stand one row before their intervals; else 0.

    Longer words take longer. In the real file the letters of a word and the logarithm of the
    duration beside it do not correlate (r 0.00), and those with the duration in the row before do
    (r 0.54), in each of the 93 videos.
    """
    letters, beside, before = [], [], []
    for id in words.ids:
        rows = _typed(words, words.rows(id), id, str)
        lasting = (rows.intervals[:, 1] - rows.intervals[:, 0]).clip(1e-3)
        counts = [len(text) if spoken(text) else 0 for text in rows.features[:, 0]]
        letters += counts[1:]
        beside += lasting[1:].tolist()
        before += lasting[:-1].tolist()
    word = np.array(letters) > 0
    if word.sum() < ENOUGH:
        return 0
    columns = np.array([letters, np.log(beside), np.log(before)])[:, word]
    with np.errstate(invalid="ignore"):  # all of one length
        correlation = np.corrcoef(columns)[0]
    return int(word.sum()) if correlation[2] > correlation[1] + 0.2 else 0


def _is_early(words: ComputationalSequence, reading: Reading, as_written: bool) -> bool:
    """Whether the words are to be moved, which is told. Those of files aligned to labels are not:
    the interval before a segment's first word is not there."""
    early = _early(words)
    problem, place = "words one row too early", f"{words.path.name}, {early} words"
    if early and SEGMENT.fullmatch(words.ids[0]):
        remedy = "kept, since they are aligned to labels; make the file from words by video"
        reading.findings.add(problem, place, remedy)
        return False
    if early and as_written:
        reading.findings.add(problem, place, "kept as written, as you ask")
        return False
    if early:
        reading.repaired[f"{words.path.name}: {problem}"] = early
        reading.findings.add(problem, place, "each has the interval of the row before")
    return early > 0


def _move(tracks: dict[str, Rows | None]) -> None:
    """Give each word, and each vector if they have the words' intervals, the interval before."""
    words, vectors = tracks["words"], tracks.get("vectors")
    if words is None or not len(words.features):
        return
    first = words.intervals[:1, [0, 0]]
    intervals = np.concatenate([first, words.intervals[:-1]])
    if vectors is not None and np.array_equal(vectors.intervals, words.intervals):
        tracks["vectors"] = vectors._replace(intervals=intervals)
    tracks["words"] = words._replace(intervals=intervals)


def _ordered(rows: Rows, kind: str) -> Track:
    at = rows.intervals[:, 0] if kind == "vectors" else rows.middles
    order = np.argsort(at, kind="stable")
    return Track(rows.features[order], rows.intervals[order], at[order])


def _check_overlap(
    labels: ComputationalSequence,
    id: str,
    homes: dict[str, str],
    intervals: np.ndarray,
    tracks: Tracks,
    taken: Counter,
) -> None:
    """Segments hardly overlap, so that together they take little more memory than the rows do.

    Args:
        homes: of each kind the id under which its rows lie.
        taken: how many of these rows segments took so far, by kind and home.

    Raises:
        DataError: they overlap more.
    """
    for kind, track in tracks.items():
        if track is None:
            continue
        first, last = np.searchsorted(track.at, intervals.T)
        taken[kind, homes[kind]] += int((last - first).sum())
        if taken[kind, homes[kind]] > OVERLAP * len(track.at):
            raise DataError(
                f"{labels.path}: {id}: segments overlap so that they take every row of {kind} "
                f"over {OVERLAP} times; take a file of the published labels"
            )


def _utterance(
    id: str,
    video: str,
    interval: np.ndarray,
    sentiment: float,
    tracks: Tracks,
    files: dict[str, Path],
    reading: Reading,
) -> Utterance | None:
    """One segment; None where it is left out."""
    words = _words(tracks["words"], interval)
    if not words:
        reading.leave_out("without words", id)
        return None
    fields = {}
    for kind in ("audio", "vision"):
        if kind in tracks:
            rows, inside = tracks[kind], _inside(tracks[kind], interval)
            if inside.start == inside.stop:
                reading.leave_out(f"without {kind}", id)
                return None
            fields[kind] = reading.repair(rows.features[inside], files[kind].name, id)
            fields[f"{kind}_times"] = rows.at[inside] - interval[0]
    if "vectors" in tracks:
        vectors, found = _vectors(tracks["vectors"], words, interval[0])
        if not found.any():
            reading.leave_out("without vectors", id)
            return None
        if not found.all():
            reading.findings.add("utterance with words that have no vector", id, "zeros for these")
        fields["vectors"] = reading.repair(vectors, files["vectors"].name, id)
    text = " ".join(word.text for word in words)
    return Utterance(id, video, video, text, words, sentiment=sentiment, **fields)


def _inside(track: Track | None, interval: np.ndarray) -> slice:
    """The rows whose middle lies in the interval."""
    if track is None:
        return slice(0, 0)
    return slice(*np.searchsorted(track.at, interval))


def _words(track: Track | None, interval: np.ndarray) -> tuple[Word, ...]:
    """The words of a segment, without pauses, cut at its ends; times from its start."""
    if track is None:
        return ()
    (start, end), inside = interval, _inside(track, interval)
    return tuple(
        Word(text.strip(), float(max(a, start) - start), float(min(b, end) - start))
        for text, (a, b) in zip(track.features[inside, 0], track.intervals[inside], strict=True)
        if spoken(text)
    )


def _vectors(
    track: Track | None, words: tuple[Word, ...], start: float
) -> tuple[np.ndarray, np.ndarray]:
    """A vector for each of W words, (W, D), and whether there is one, (W,); zeros where not."""
    if track is None or not len(track.features):
        return np.zeros((len(words), 0), np.float32), np.zeros(len(words), bool)
    middles = start + np.array([(word.start + word.end) / 2 for word in words])
    row = np.searchsorted(track.at, middles, side="right") - 1
    found = (track.intervals[row, 0] <= middles) & (middles <= track.intervals[row, 1])
    return np.where(found[:, None], track.features[row], 0), found
