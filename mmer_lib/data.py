"""Words, utterances, corpora with their split, and the padded batches that a model reads.

Shapes in one notation: B utterances, W words, P phonemes a word, T frames, S sub-words, D width.
Masks follow torch: True = padding. Lengths belong to a modality: each has its own mask.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # torch takes longer to import than all else here
    from torch import Tensor

EMOTIONS = ("angry", "happy", "neutral", "sad")
"""The four classes of MUSE (section 4.1), in the order of a classifier's outputs."""

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
        text, words: as written; `Word`s in spoken order.
        waveform, rate: callable that returns the samples, (N,) float32 in [-1, 1]; in Hz.
        frames, audio: filterbank (T, bands) and acoustic features (N, D) that the corpus brings,
            float32, read in place of those computed from `waveform`.
        vectors: text vectors that the corpus brings, one a word or sub-word, (L, D) float32.
        vision: one row a video frame, (F, A) float32; columns are the corpus's `vision_names`.
        audio_times, vision_times: time of each row in seconds, (N,), (F,); None where the rows are
            a sequence of their own, which is read as it is and not averaged over words.
        emotion, sentiment: one of the corpus's `emotions`; in [-3, 3].
        planted: what a synthetic corpus knows about itself (`corpora.demo.Planted`).
    """

    id: str
    speaker: str
    session: str
    text: str | None
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
        key: hex digest that changes whenever the content does. Features are cached by it; where it
            is empty, they are computed anew.
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
            DataError: it was made from arrays.
        """
        extras = self.extras
        if "arrays" in extras:
            raise DataError(f"{self.name}: was made from arrays; the command line cannot name it")
        if "table" not in extras:
            words = ["--data", self.name] + ["--root", "DIR"] * ("root" in extras)
            return words + ["--as-written"] * bool(extras.get("as_written"))
        words = ["--data", f"DIR/{extras['table']}"]
        for name, column in extras.get("columns", {}).items():
            words += ["--column", f"{name}={column}"]
        if extras.get("scale"):
            words += ["--scale", *(f"{end:g}" for end in extras["scale"])]
        if extras.get("name"):
            words += ["--name", self.name]
        if extras.get("shared_speakers"):
            words.append("--shared-speakers")
        return words

    @property
    def sessions(self) -> list[str]:
        return sorted({u.session for u in self.utterances})

    def splits(self, fold: int) -> Split:
        """Speaker-independent fold: session `fold` is the test part, the next one the
        development part, the rest trains (MUSE, section 4.1: five folds of 60/20/20). A corpus
        with a `fixed` split has that as fold 0 and no other.

        Raises:
            DataError: fold out of range, fewer than three sessions, or a speaker in two of them.
        """
        if self.fixed is not None:
            if fold != 0:
                raise DataError(f"{self.name}: comes with one split; fold {fold} does not exist")
            return self.fixed
        sessions, count = self.sessions, len(self.sessions)
        if count < 3:
            raise DataError(
                f"{self.name}: {count} session(s); folds by session need at least three"
            )
        if not 0 <= fold < count:
            raise DataError(f"{self.name}: fold {fold} does not exist; choose 0 to {count - 1}")
        test, dev = sessions[fold], sessions[(fold + 1) % count]
        split, session_of = Split([], [], []), {}
        for i, u in enumerate(self.utterances):
            session = session_of.setdefault(u.speaker, u.session)
            if session != u.session:
                raise DataError(
                    f"{self.name}: speaker {u.speaker!r} stands in sessions {session!r} and "
                    f"{u.session!r}; folds by session would leak. Give the speaker one session"
                )
            part = {test: split.test, dev: split.dev}.get(session, split.train)
            part.append(i)
        return split


@dataclass
class Batch:
    """Tensors of B utterances; a part that the features lack is None. Masks are (B, length).

    Attributes:
        index: (B,) positions in the corpus.
        words, known: (B, W, D) vectors; (B, W) True where the word has one.
        phonemes: (B, W, P) symbol numbers, 0 = padding.
        frames: (B, T, 128) filterbank.
        audio, vision: (B, W, D) acoustic features and action units, averaged over words.
        cls: (B, D) a text encoder's vector at [CLS].
        subwords: (B, S) sub-word numbers of a text encoder.
        sound: (B, N) samples at 16 kHz.
        word_times: (B, W, 2) start and end of each word in seconds, NaN where unknown.
        emotion: (B,) positions in the corpus's `emotions`.
        sentiment: (B,) in [-3, 3].
    """

    index: Tensor
    words: Tensor | None = None
    known: Tensor | None = None
    word_mask: Tensor | None = None
    phonemes: Tensor | None = None
    frames: Tensor | None = None
    frame_mask: Tensor | None = None
    audio: Tensor | None = None
    audio_mask: Tensor | None = None
    vision: Tensor | None = None
    vision_mask: Tensor | None = None
    cls: Tensor | None = None
    subwords: Tensor | None = None
    subword_mask: Tensor | None = None
    sound: Tensor | None = None
    sound_mask: Tensor | None = None
    word_times: Tensor | None = None
    emotion: Tensor | None = None
    sentiment: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in present.items() if v is not None})

    def to(self, device, non_blocking: bool = True) -> Batch:
        """A copy on a device (a real copy only where it has to be)."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        return self._map(lambda t: t.pin_memory())


def pad(items: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Items (L_i, ...) -> (B, L, ...) padded with zeros, and its mask (B, L).

    Every axis is padded to the longest, at least to one position, so that nothing is empty.
    """
    import torch

    shape = np.max([item.shape for item in items], axis=0).clip(min=1).tolist()
    # Torch's memory begins at multiples of 64 bytes, numpy's anywhere; sums of products are done in
    # another order, and rounded otherwise, where they begin elsewhere.
    padded = torch.zeros(len(items), *shape, dtype=getattr(torch, items[0].dtype.name))
    mask = torch.ones(len(items), shape[0], dtype=torch.bool)
    for row, padding, item in zip(padded.numpy(), mask.numpy(), items, strict=True):
        row[tuple(map(slice, item.shape))] = item
        padding[: len(item)] = False
    return padded, mask


def few(items: Iterable[object], most: int = 5) -> str:
    """The first few of many: "a, b, c, d, e, ..."."""
    items = list(items)
    return ", ".join(str(item) for item in items[:most]) + ", ..." * (len(items) > most)


class Findings:
    """What a reader notices in `source` (a corpus, a file), gathered by kind."""

    def __init__(self, source: str):
        self.source = source
        self.places: dict[tuple[str, str], list[str]] = {}

    def add(self, problem: str, place: str, remedy: str) -> None:
        """Note a problem, where it was found, and what follows from it or mends it."""
        self.places.setdefault((problem, remedy), []).append(place)

    def messages(self) -> list[str]:
        """One for every kind of problem, with how often and where (the first few places)."""
        return [
            f"{self.source}: {problem}: {len(places)} ({few(places)}); {remedy}"
            for (problem, remedy), places in self.places.items()
        ]

    def warn(self, stacklevel: int = 3) -> None:
        """One warning for every kind."""
        for message in self.messages():
            warnings.warn(message, stacklevel=stacklevel)

    def fail(self) -> None:
        """A DataError where there are findings: all kinds, a line each."""
        if self.places:
            raise DataError("\n".join(self.messages()))


_PARTS = re.compile(r"\s+|\S{1,200}")
_TAG = re.compile(r"\[[^\[\]]*\]")
_TOKEN = re.compile(r"['’]?[^\W_]+(?:[.,:'’\-][^\W_]+)*['’]?")  # noqa: RUF001


def normalised(form: str, text: str) -> str:
    """`unicodedata.normalize`, whose time grows with the square of the length of a run of
    combining marks; here words are cut after 200 letters, which no word has."""
    return "".join(unicodedata.normalize(form, part) for part in _PARTS.findall(text))


def tokenise(text: str) -> list[str]:
    """The words of a text, as written: "Don't stop -- it's 3.5!" -> Don't, stop, it's, 3.5.

    Bare punctuation, quotation marks, emoji and square brackets ("[LAUGHTER]") go.
    """
    words = _TOKEN.findall(_TAG.sub(" ", normalised("NFC", text)))
    return [w[1:-1] if w[0] in "'’" and w[-1] in "'’" else w for w in words]  # noqa: RUF001


def word_list(utterance: Utterance) -> list[str]:
    """The words of every word-level part: those with times, else those of the text."""
    if utterance.words is None:
        return tokenise(utterance.text)
    return [word.text for word in utterance.words]


def moments(pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column of pieces (n_i, D), all together: (D,), (D,),
    float64; one piece is in memory at a time. Rows are added one after the other: for D over 1 the
    result is that of numpy for all in one array, bit for bit."""

    def mean_of(pieces: Iterable[np.ndarray]) -> np.ndarray:
        total, count = 0.0, 0
        for piece in pieces:
            total = np.concatenate([np.broadcast_to(total, (1, piece.shape[1])), piece]).sum(0)
            count += len(piece)
        return total / count

    mean = mean_of(pieces)
    return mean, np.sqrt(mean_of(np.square(piece - mean) for piece in pieces))
