"""Corpora: each reader turns files (or a recipe) into `Utterance`s.

`load(name)` is the one door: ``load("demo")`` needs nothing but the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
"""The four classes of MUSE (section 4.1), in the order of a classifier's outputs."""

MODALITIES = ("text", "audio", "vision")

NAMES = ("demo", "iemocap", "mosi", "mosei")
"""The corpora that `load` knows by name; any other name is the path of a table."""


class DataError(ValueError):
    """A corpus, file or field that cannot be used; the message names it and the remedy."""


class Word(NamedTuple):
    """One spoken word with its start and end in seconds from the start of the utterance."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """One labelled utterance. A field that a corpus lacks is None.

    Attributes:
        id: unique within the corpus.
        speaker, session: who speaks, and the recording session (the unit of a fold).
        text: the words as written.
        words: `Word`s in spoken order, times in seconds.
        waveform: callable that returns the samples, float32 in [-1, 1], shape (N,).
        rate: sampling rate in Hz.
        frames: a filterbank that the corpus brings, (T, bands) float32, read in place of one
            computed from `waveform`.
        vectors: text vectors that the corpus brings, one a word or sub-word, (L, D) float32.
        audio: acoustic features that the corpus brings, (N, D) float32, read in place of those
            computed from `waveform`.
        audio_times: time of each row in seconds, (N,); None where the rows are a sequence of
            their own, which is read as it is and not averaged over words.
        vision: one row a video frame, float32, shape (F, A); columns are the
            corpus's `vision_names`.
        vision_times: time of each row in seconds, shape (F,); None as for `audio_times`.
        emotion: one of the corpus's `emotions`.
        sentiment: in [-3, 3].
        planted: what a synthetic corpus knows about itself (`corpora.demo.Planted`).
    """

    id: str
    speaker: str
    session: str
    text: str
    words: tuple[Word, ...] | None = None
    waveform: Callable[[], np.ndarray] | None = None
    rate: int | None = None
    frames: np.ndarray | None = None
    vectors: np.ndarray | None = None
    audio: np.ndarray | None = None
    audio_times: np.ndarray | None = None
    vision: np.ndarray | None = None
    vision_times: np.ndarray | None = None
    emotion: str | None = None
    sentiment: float | None = None
    planted: object | None = None


class Split(NamedTuple):
    """Positions in `Corpus.utterances` for the three parts of one fold."""

    train: list[int]
    dev: list[int]
    test: list[int]


@dataclass(frozen=True)
class Corpus:
    """A named list of utterances with its protocol.

    Attributes:
        name: short name, as given to `load`.
        key: hex digest that changes whenever the content does (features are cached by it).
        utterances: all of them, in a fixed order.
        synthetic: True when nobody ever said these words; every figure must then say so.
        vision_names: names of the columns of `Utterance.vision`.
        emotions: the classes, in the order of a classifier's outputs.
        fixed: the one split of a corpus that comes with one, in place of folds by session.
        extras: what else a reader wants to say of it (paths, counts, what it left out).
    """

    name: str
    key: str
    utterances: tuple[Utterance, ...]
    synthetic: bool = False
    vision_names: tuple[str, ...] = ()
    emotions: tuple[str, ...] = EMOTIONS
    fixed: Split | None = None
    extras: dict = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """What names this corpus on the command line; DIR stands for where the user keeps it.

        Raises:
            DataError: it was made from arrays, which the command line does not know.
        """
        if "arrays" in self.extras:
            raise DataError(f"{self.name}: was made from arrays; the command line cannot name it")
        if "table" in self.extras:
            words = ["--data", f"DIR/{self.extras['table']}"]
            for field, column in self.extras.get("columns", {}).items():
                words += ["--column", f"{field}={column}"]
            words += ["--name", self.name] if self.extras.get("name") else []
            return [*words, *(["--shared-speakers"] if self.extras.get("shared_speakers") else [])]
        words = ["--data", self.name, *(["--root", "DIR"] if "root" in self.extras else [])]
        return [*words, *(["--as-written"] if self.extras.get("as_written") else [])]

    @property
    def sessions(self) -> list[str]:
        return sorted({u.session for u in self.utterances})

    def splits(self, fold: int) -> Split:
        """Speaker-independent fold: session `fold` is the test part, the next one the
        development part, the rest trains (MUSE, section 4.1: five folds of 60/20/20). A corpus
        with a `fixed` split has that as fold 0 and no other.

        Raises:
            DataError: fold out of range, fewer than three sessions, or a speaker who stands
                in two sessions (the parts would leak into each other).
        """
        if self.fixed is not None:
            if fold != 0:
                raise DataError(f"{self.name}: comes with one split; fold {fold} does not exist")
            return self.fixed
        sessions = self.sessions
        if len(sessions) < 3:
            raise DataError(
                f"{self.name}: {len(sessions)} session(s); folds by session need at least three"
            )
        if not 0 <= fold < len(sessions):
            raise DataError(
                f"{self.name}: fold {fold} does not exist; choose 0 to {len(sessions) - 1}"
            )
        home: dict[str, str] = {}
        for u in self.utterances:
            if home.setdefault(u.speaker, u.session) != u.session:
                raise DataError(
                    f"{self.name}: speaker {u.speaker!r} stands in sessions {home[u.speaker]!r} "
                    f"and {u.session!r}; folds by session would leak. Give the speaker one session"
                )
        test, dev = sessions[fold], sessions[(fold + 1) % len(sessions)]
        parts: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
        for i, u in enumerate(self.utterances):
            part = "test" if u.session == test else "dev" if u.session == dev else "train"
            parts[part].append(i)
        return Split(**parts)


def load(
    name: str, /, root: str | Path | None = None, as_written: bool = False, **table: str | bool
) -> Corpus:
    """Load a corpus by name: ``demo`` (synthetic, made on first use), ``iemocap`` from the folder
    `root` of its release, ``mosi`` and ``mosei`` from the folder or file `root` (see `mosi.load`),
    or a table of one's own by its path.

    Args:
        name: of the corpus, or the path.
        root: of its release.
        as_written: of the ``.csd`` files of MOSI and MOSEI, leave the times of words as they are.
        table: of a table of one's own the names of columns and the corpus, as `own.from_table`
            takes them.

    Raises:
        DataError: unknown name; a root that is missing, or given where there is none; names for
            what is no table; what the reader of the corpus raises.
    """
    if table and name in NAMES:
        raise DataError(
            f"{name}: no table of your own; leave out {', '.join(table)} (--column, --name, "
            "--shared-speakers)"
        )
    if as_written and name not in ("mosi", "mosei"):
        raise DataError(f"{name}: as_written (--as-written) is for mosi and mosei; leave it out")
    if name in ("iemocap", "mosi", "mosei"):
        if root is None:
            raise DataError(f"{name}: name the folder of the release (root, --root)")
        from . import iemocap, mosi

        if name == "iemocap":
            return iemocap.load(root)
        return mosi.load(root, name, as_written=as_written)
    if root is not None:
        why = "is made, not read" if name == "demo" else "has no release"
        raise DataError(f"{name}: {why}; leave out the root {str(root)!r}")
    if name == "demo":
        from . import demo

        return demo.load()
    if not Path(name).exists():
        if Path(name).suffix or Path(name).name != name:
            raise DataError(f"{name}: no such file or folder; --data takes the path of a table")
        raise DataError(
            f"unknown corpus {name!r}; known: {', '.join(NAMES)}, or a table of your own (CSV, "
            "or the folder with its metadata.csv)"
        )
    from . import own

    return own.from_table(name, **table)
