"""Corpora: each reader turns files (or a recipe) into `Utterance`s.

`load(name)` is the one door: ``load("demo")`` needs nothing but the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
"""Class order of every classifier in this library (MUSE, section 4.1)."""

MODALITIES = ("text", "audio", "vision")


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
        vision: one row a video frame, float32, shape (F, A); columns are the
            corpus's `vision_names`.
        vision_times: time of each row in seconds, shape (F,).
        emotion: one of `EMOTIONS`.
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
    """

    name: str
    key: str
    utterances: tuple[Utterance, ...]
    synthetic: bool = False
    vision_names: tuple[str, ...] = ()
    extras: dict = field(default_factory=dict)

    @property
    def sessions(self) -> list[str]:
        return sorted({u.session for u in self.utterances})

    def splits(self, fold: int) -> Split:
        """Speaker-independent fold: session `fold` is the test part, the next one the
        development part, the rest trains (MUSE, section 4.1: five folds of 60/20/20).

        Raises:
            DataError: fold out of range, fewer than three sessions, or a speaker who stands
                in two sessions (the parts would leak into each other).
        """
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


def load(name: str) -> Corpus:
    """Load a corpus by name: ``demo`` (synthetic, made on first use).

    Raises:
        DataError: unknown name.
    """
    if name == "demo":
        from . import demo

        return demo.load()
    raise DataError(f"unknown corpus {name!r}; known: demo")
