"""MOSI in the formats in which people have it, small: nobody said this. The videos' names are those
of the standard folds."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from mmer_lib.corpora import sandbox
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.data import Corpus, DataError

VIDEOS = {
    "train": ("03bSnISJMiM", "0h-zjBukYpk", "1DmNV9C1hbY"),
    "dev": ("WKA5OygbEKI",),
    "test": ("tmZoasNr4rU", "zhpQhgha_KU"),
}
PART = {video: part for part, videos in VIDEOS.items() for video in videos}

FILES = {
    "words": "CMU_MOSI_TimestampedWords.csd",
    "vectors": "CMU_MOSI_TimestampedWordVectors.csd",
    "audio": "CMU_MOSI_COVAREP.csd",
    "vision": "CMU_MOSI_Visual_Facet_42.csd",
    "labels": "CMU_MOSI_Opinion_Labels.csd",
}

TOKENS = "oh sp this movie isnt sp really great um 2011s sp caf\u00e9".split()
ROW = 0.25  # seconds of a token; all times are exact in float32
BEGIN = 1.5  # of the first token
SEGMENTS = ((0, 8), (8, 13), (13, 14), (14, 24))  # rows of the tokens; the third is one pause


@dataclass
class Segment:
    """What was written of one labelled segment; times of words in seconds from its start."""

    id: str
    video: str
    start: float
    end: float
    sentiment: float
    words: list[tuple[str, float, float]]


@dataclass
class Release:
    """A folder of computational sequences."""

    root: Path
    segments: list[Segment] = field(default_factory=list)

    @property
    def spoken(self) -> list[Segment]:
        """Those that have words, in the order of the reader."""
        return [s for s in sorted(self.segments, key=lambda s: s.video) if s.words]

    def file(self, kind: str) -> Path:
        return self.root / FILES[kind]


# ------------------------------------------------------------------- computational sequences


def write_csd(path: Path, entries: dict, name: str = "a name", metadata: dict | None = None, **how):
    """`entries`: id -> (features, intervals), None for a dataset that is left out."""
    with h5py.File(path, "w") as file:
        root = file.create_group(name)
        for id, (features, intervals) in entries.items():
            group = root.create_group(f"data/{id}")
            for key, array in (("features", features), ("intervals", intervals)):
                if array is not None:
                    group.create_dataset(key, data=array, **how)
        for key, value in {"md5": "None", "creator": "asdfasdf", **(metadata or {})}.items():
            root.create_dataset(f"metadata/{key}", (1,), h5py.string_dtype())[0] = value


def read_csd(path: Path) -> dict:
    """What `write_csd` took, to be changed and written again."""
    with h5py.File(path) as file:
        (root,) = file.values()
        return {id: (g["features"][()], g["intervals"][()]) for id, g in root["data"].items()}


def change_csd(path: Path, id: str, features=None, intervals=None, **how) -> None:
    """Write other arrays for one id; the others stay."""
    entries = read_csd(path)
    old = entries[id]
    entries[id] = tuple(
        o if n is None else n for o, n in zip(old, (features, intervals), strict=True)
    )
    write_csd(path, entries, **how)


def tokens_of(number: int, n: int = 24) -> list[str]:
    return [TOKENS[(i + 5 * number) % len(TOKENS)] if i != 13 else "sp" for i in range(n)]


def write_release(root: Path) -> Release:
    """Six videos of four segments, of which one is a pause: 18 utterances, 9 / 3 / 6."""
    root.mkdir(parents=True, exist_ok=True)
    release, rng = Release(root), np.random.default_rng(0)
    files: dict[str, dict] = {kind: {} for kind in FILES}
    for number, video in enumerate(PART):
        tokens = tokens_of(number)
        starts = BEGIN + ROW * np.arange(len(tokens))
        times = np.stack([starts, starts + ROW], axis=1)
        words = np.array([[token.encode()] for token in tokens])
        labels = rng.integers(-15, 16, (len(SEGMENTS), 1)).astype("f4") / 5
        bounds = [(times[a, 0], times[b - 1, 1]) for a, b in SEGMENTS]
        spoken = [i for i, token in enumerate(tokens) if token != "sp"]
        files["words"][video] = words, times
        files["vectors"][video] = rng.standard_normal((len(spoken), 4)).astype("f4"), times[spoken]
        files["audio"][video] = regular(rng, 3, ROW / 2)
        files["vision"][video] = regular(rng, 2, ROW)
        files["labels"][video] = labels, np.array(bounds, "f4")
        for i, ((a, b), (start, end)) in enumerate(zip(SEGMENTS, bounds, strict=True)):
            said = [
                (tokens[k], times[k, 0] - start, times[k, 1] - start)
                for k in range(a, b)
                if tokens[k] != "sp"
            ]
            release.segments.append(
                Segment(f"{video}[{i}]", video, start, end, float(labels[i, 0]), said)
            )
    names = {"vision": {"dimension names": '["smile", "frown"]'}}
    for kind, entries in files.items():
        write_csd(release.file(kind), entries, FILES[kind][:-4], names.get(kind))
    return release


def regular(rng, width: int, step: float, seconds: float = 9.0):
    """(features, intervals) of rows one after the other, from 0 on."""
    starts = step * np.arange(int(seconds / step))
    rows = rng.standard_normal((len(starts), width)).astype("f4")
    return rows, np.stack([starts, starts + step], axis=1)


def write_timed(root: Path, early: bool, n: int = 400) -> dict[str, list[str]]:
    """Words and labels alone, every word as long as it has letters, one segment a video; the words
    stand one row too early if asked, as in the real file. What was said, by video."""
    root.mkdir(parents=True, exist_ok=True)
    words, labels, said = {}, {}, {}
    rng = np.random.default_rng(1)
    for video in PART:
        tokens = rng.choice(["a", "it", "and", "film", "sp", "really", "surprising"], n).tolist()
        lasting = np.array([len(token) * 0.0625 for token in tokens])
        ends = 1 + np.cumsum(lasting)
        times = np.stack([ends - lasting, ends], axis=1)
        if early:
            times = np.concatenate([times[1:], [[ends[-1], ends[-1] + 1]]])
        words[video] = np.array([[token.encode()] for token in tokens]), times
        labels[video] = np.ones((1, 1), "f4"), np.array([[ends[99], ends[199]]], "f4")
        said[video] = [token for token in tokens[100:200] if token != "sp"]
    write_csd(root / "words.csd", words)
    write_csd(root / "labels.csd", labels)
    return said


# -------------------------------------------------------------------------------- pickles


def mmsa(aligned: bool = True, clips: int = 3, seed: int = 0) -> dict:
    """What MMSA's pickles hold, 6 rows in place of 50, vectors of 8; `clips` a video."""
    rng, content = np.random.default_rng(seed), {}
    for part, videos in VIDEOS.items():
        ids = [f"{video}$_${i}" for video in videos for i in range(clips)]
        n, rows = len(ids), {"text": 6, "audio": 6 if aligned else 9, "vision": 6 if aligned else 7}
        lengths = {name: rng.integers(1, most + 1, n) for name, most in rows.items()}
        if aligned:
            lengths = dict.fromkeys(rows, lengths["text"])
        arrays = {
            name: padded(rng, lengths[name], rows[name], width)
            for name, width in (("text", 8), ("audio", 3), ("vision", 2))
        }
        mask = np.arange(6) < lengths["text"][:, None]
        labels = rng.integers(-15, 16, n).astype("f4") / 5
        content["valid" if part == "dev" else part] = {
            "raw_text": np.array([f"WELL {id} IT'S GOOD." for id in ids]),
            **arrays,
            "id": ids,
            "text_bert": np.stack([mask * 101, mask, 0 * mask], axis=1).astype("f4"),
            "annotations": np.where(labels < 0, "Negative", "Positive"),
            "classification_labels": (labels >= 0).astype("f4"),
            "regression_labels": labels,
        }
        if not aligned:
            more = {f"{name}_lengths": lengths[name].tolist() for name in ("audio", "vision")}
            content["valid" if part == "dev" else part].update(more)
    return content


def padded(rng, lengths: np.ndarray, most: int, width: int) -> np.ndarray:
    """(N, most, width) with 0 behind each length."""
    array = rng.standard_normal((len(lengths), most, width)).astype("f4")
    array[np.arange(most) >= lengths[:, None]] = 0
    return array


def misa(columns: int = 1, seed: int = 0) -> dict:
    """What MISA's pickles hold: lists of ((indices, vision, audio, words), label, id)."""
    rng, content = np.random.default_rng(seed), {}
    for part, videos in VIDEOS.items():
        content[part] = []
        for id in (f"{video}[{i}]" for video in videos for i in range(2)):
            n = int(rng.integers(1, 7))
            words = [f"word{k}" for k in range(n)]
            rows = (rng.standard_normal((n, width)) for width in (2, 3))
            label = rng.integers(-15, 16, (1, columns)).astype("f4") / 5
            content[part].append(((np.arange(n), *rows, words), label, id))
    return content


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


# ------------------------------------------------------------------- what tests do with it


def read_here(reader: str, path: Path, remedy: str) -> object:
    """`sandbox.read_in_child` without the child, which takes a moment to start."""
    with tempfile.TemporaryDirectory() as folder:
        reason = sandbox.write_content(reader, str(path), folder)
        if reason:
            raise DataError(f"{path}: {reason}; {remedy}")
        return sandbox.read_content(folder)


def load(root: Path, name: str = "mosi") -> tuple[Corpus, list[str]]:
    """The corpus, and what its warnings say, the one about counts left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus = mosi.load(root, name, progress=False)
    messages = [str(w.message) for w in caught]
    return corpus, [m for m in messages if not m.startswith(f"{name}: found")]


def assert_same(one: Corpus, other: Corpus) -> None:
    """Every field of every utterance, bit for bit, and the split."""
    assert one.fixed == other.fixed and len(one.utterances) == len(other.utterances)
    for a, b in zip(one.utterances, other.utterances, strict=True):
        for name in a.__dataclass_fields__:
            x, y = getattr(a, name), getattr(b, name)
            assert type(x) is type(y) or isinstance(x, np.ndarray), name
            if isinstance(x, np.ndarray):
                assert x.dtype == y.dtype, name
                np.testing.assert_array_equal(x, y, name)
            else:
                assert x == y, name
