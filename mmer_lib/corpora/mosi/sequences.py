"""MOSI and MOSEI from a folder of computational sequences (``.csd``) of the CMU-MultimodalSDK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmer_lib.corpora.mosi.csd import Rows, Sequence, read_sequence
from mmer_lib.corpora.mosi.reading import SEGMENT, Reading, spoken
from mmer_lib.data import DataError, Word, few

KINDS = {
    "labels": "opinion|labels",
    "words": "^(?!.*vector).*words",
    "vectors": "wordvectors|glove",
    "audio": "coa?varep|opensmile",
    "vision": "facet|openface",
}
"""What is read, and what in a file's name tells it, in whatever case: in those of the files and in
those that the SDK gives its sequences ("FACET 4.2", "COAVAREP")."""

NAMES = "labels or opinion; words; WordVectors or glove; COVAREP or openSMILE; Facet or OpenFace"

ENOUGH = 1000
"""Words that it takes to tell whether a file's words stand beside their own intervals."""

OVERLAP = 10
"""How often segments may take each row of a file, on average."""

_NO_ROWS = Rows(np.zeros((0, 1), np.float32), np.zeros((0, 2)))


class Track(NamedTuple):
    """Rows in the order of a time of theirs, `at` (N,): the middle, of vectors the start."""

    features: np.ndarray
    intervals: np.ndarray
    at: np.ndarray

    def inside(self, interval: np.ndarray) -> slice:
        """The rows whose time lies in the interval: start <= time < end."""
        return slice(*np.searchsorted(self.at, interval))


def read_folder(
    root: Path, parts: dict[str, str], progress: bool = True, as_written: bool = False
) -> Reading:
    """Every labelled segment of the videos in `parts` (video -> part), named ``video[i]``, i its
    row among the labels of the video.

    A segment takes the words and the rows of audio and vision (see `KINDS`) whose middle lies in
    it, start <= middle < end. Times count from its start; words that reach out of it are cut. The
    vector of a word is the row in whose interval the middle of the word lies. Without a file of
    words each row of vectors counts as one, named "?", and there is no text.
    Segments without words, or without rows of a file that is there, are left out.

    Of words that stand one row too early (see `_early`) each is given the interval of the row
    before; the first of a video, of which only the end is known, lasts 0 s. With `as_written` they
    stay where they are.

    Raises:
        DataError: no labels, neither words nor vectors; two files of a kind; a file that `csd`
            refuses, or whose features are not what its kind needs; segments that overlap too much.
    """
    reading = Reading(root.name)
    files = _read_files(root, reading, progress)
    labels = files.pop("labels")
    if nameless := "words" not in files:
        vectors = files["vectors"]
        remedy = "each of its rows counts as a word, and there is no text"
        reading.findings.add("vectors without a file of words", vectors.path.name, remedy)
        unnamed = {
            i: r._replace(features=np.full((len(r.features), 1), "?", object))
            for i, r in vectors.rows.items()
        }
        files["words"] = vectors._replace(rows=unnamed)
    reading.holders = {kind: file.path.name for kind, file in files.items()}
    early = _is_early(files["words"], reading, as_written)
    room = {k: OVERLAP * sum(len(r.features) for r in f.rows.values()) for k, f in files.items()}
    for id, rows in labels.rows.items():
        aligned = SEGMENT.fullmatch(id)
        video = aligned["video"] if aligned else id
        if aligned and len(rows.features) != 1:
            raise DataError(f"{labels.path}: {id}: {len(rows.features)} labels for one segment")
        if video not in parts:
            reading.left_out["video in no standard fold"] += len(rows.features)
            problem = "left out: video in no standard fold"
            reading.findings.add(problem, video, "the others are read")
            continue
        tracks = _tracks(files, id, video, early)
        for kind, track in tracks.items():
            room[kind] -= np.diff(np.searchsorted(track.at, rows.intervals)).sum()
            if room[kind] < 0:
                raise DataError(
                    f"{labels.path}: {id}: segments overlap so that they take every row of {kind} "
                    f"over {OVERLAP} times; take a file of the published labels"
                )
        for i, (interval, label) in enumerate(zip(rows.intervals, rows.features, strict=True)):
            name = id if aligned else f"{video}[{i}]"
            _add_segment(reading, name, parts[video], label[0], interval, tracks, nameless)
    columns = files["vision"].names if "vision" in files else ()
    if reading.utterances and columns and len(columns) == reading.utterances[0].vision.shape[1]:
        reading.vision_names = columns
    return reading


def _read_files(root: Path, reading: Reading, progress: bool) -> dict[str, Sequence]:
    """The sequences of every kind that is there; ids that are damaged are told."""
    from tqdm import tqdm

    there = sorted(p for p in root.glob("*.csd") if not p.name.startswith("."))
    paths = {k: [p for p in there if re.search(mark, p.name, re.I)] for k, mark in KINDS.items()}
    for kind, fits in paths.items():
        if len(fits) > 1:
            raise DataError(
                f"{root}: {len(fits)} files of {kind} ({few(p.name for p in fits)}); "
                "leave the one to be read and move the others elsewhere"
            )
    for kind in ("labels", "words"):
        if not paths[kind] and not (kind == "words" and paths["vectors"]):
            raise DataError(
                f"{root}: no .csd file of {kind} among {few(p.name for p in there)}; "
                f"names that are known hold: {NAMES}"
            )
    for path in there:
        if not any(path in fits for fits in paths.values()):
            remedy = f"names that are known hold: {NAMES}"
            reading.findings.add(".csd file that is not read", path.name, remedy)
    found = [(kind, path) for kind, fits in paths.items() for path in fits]
    sequences = {}
    for kind, path in tqdm(found, root.name, unit="file", disable=not progress, leave=False):
        sequences[kind] = read_sequence(path)
        for id, why in sequences[kind].damaged:
            reading.findings.add(f"damaged in {path.name}", f"{id}: {why}", "left out")
            reading.left_out["damaged labels"] += kind == "labels"
        for id, rows in sequences[kind].rows.items():
            if (rows.features.dtype == object) != (kind == "words"):
                what = "numbers" if kind == "words" else "texts"
                raise DataError(
                    f"{path}: {id}: the features are {what}; its name says otherwise: rename it"
                )
    return sequences


# ------------------------------------------------------------- words one row too early


def _early(words: Sequence) -> int:
    """How many words the file has, if they stand one row before their intervals; else 0.

    Longer words take longer. In the real file the letters of a word and the logarithm of the
    duration beside it do not correlate (r 0.00), and those with the duration in the row before do
    (r 0.54), in each of the 93 videos.
    """
    letters, beside, before = [], [], []
    for rows in words.rows.values():
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


def _is_early(words: Sequence, reading: Reading, as_written: bool) -> bool:
    """Whether the words are to be moved, which is told. Those of files aligned to labels are not:
    the interval before a segment's first word is not there."""
    early = _early(words)
    if not early:
        return False
    result, moved = "each has the interval of the row before", False
    if SEGMENT.fullmatch(next(iter(words.rows))):
        result = "kept, since they are aligned to labels; make the file from words by video"
    elif as_written:
        result = "kept as written, as you ask"
    else:
        reading.repaired[f"{words.path.name}: words one row too early"], moved = early, True
    place = f"{words.path.name}, {early} words"
    reading.findings.add("words one row too early", place, result)
    return moved


# --------------------------------------------------------------------------- one segment


def _tracks(files: dict[str, Sequence], id: str, video: str, early: bool) -> dict[str, Track]:
    """The rows of a segment, else of its video; none where a file has neither. Where words are
    `early`, each, and each vector with the same intervals, gets the interval before."""
    found = {k: f.rows.get(id) or f.rows.get(video) or _NO_ROWS for k, f in files.items()}
    intervals = found["words"].intervals
    if early and len(intervals):
        moved = np.concatenate([intervals[:1, [0, 0]], intervals[:-1]])
        for kind in ("words", "vectors"):
            if kind in found and np.array_equal(found[kind].intervals, intervals):
                found[kind] = found[kind]._replace(intervals=moved)
    tracks = {}
    for kind, rows in found.items():
        at = rows.intervals[:, 0] if kind == "vectors" else rows.intervals.mean(axis=1)
        order = np.argsort(at, kind="stable")
        tracks[kind] = Track(rows.features[order], rows.intervals[order], at[order])
    return tracks


def _add_segment(
    reading: Reading,
    id: str,
    part: str,
    label: float,
    interval: np.ndarray,
    tracks: dict,
    nameless: bool,
) -> None:
    """Take up the segment of an interval, or leave it out."""
    words, rows, times = _words(tracks["words"], interval), {}, {}
    if not words:
        return reading.leave_out("without words", id)
    for kind in ("audio", "vision"):
        if kind in tracks:
            inside = tracks[kind].inside(interval)
            rows[kind] = tracks[kind].features[inside].copy()  # the video's need not stay
            times[f"{kind}_times"] = tracks[kind].at[inside] - interval[0]
            if not len(rows[kind]):
                return reading.leave_out(f"without {kind}", id)
    if "vectors" in tracks:
        rows["vectors"], known = _vectors(tracks["vectors"], words, interval[0])
        if not known.any():
            return reading.leave_out("without vectors", id)
        if not known.all():
            reading.findings.add("utterance with words that have no vector", id, "zeros for these")
    text = None if nameless else " ".join(word.text for word in words)
    reading.add(id, part, label, text, rows, words=words, **times)


def _words(track: Track, interval: np.ndarray) -> tuple[Word, ...]:
    """The words of a segment, without pauses, cut at its ends; times from its start."""
    (start, end), inside = interval, track.inside(interval)
    return tuple(
        Word(text.strip(), float(max(a, start) - start), float(min(b, end) - start))
        for text, (a, b) in zip(track.features[inside, 0], track.intervals[inside], strict=True)
        if spoken(text)
    )


def _vectors(track: Track, words: tuple[Word, ...], start: float) -> tuple[np.ndarray, np.ndarray]:
    """A vector for each of W words, (W, D), and whether there is one, (W,); zeros where not."""
    if not len(track.features):
        return np.zeros((len(words), 0), np.float32), np.zeros(len(words), bool)
    middles = start + np.array([(word.start + word.end) / 2 for word in words])
    row = np.searchsorted(track.at, middles, side="right") - 1
    known = (track.intervals[row, 0] <= middles) & (middles <= track.intervals[row, 1])
    return np.where(known[:, None], track.features[row], 0), known
