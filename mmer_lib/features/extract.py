"""Features: what the models read, computed once from a corpus and cached.

Every part has a file of its own in ``cache_dir()/features``, named by a digest of the corpus's
content, the part's settings and the source of its module: it is computed again when one changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

from mmer_lib.data import MODALITIES, Corpus, DataError, Utterance, moments, word_list
from mmer_lib.features import speech
from mmer_lib.features.phonemes import PHONEMES, Phonemizer, flatten, phoneme_matrix, unflatten
from mmer_lib.features.pieces import in_chunks, in_threads
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.store import cache_dir, digest, load_arrays, save_arrays, source_digest

PARTS = ("speech", "sound", "words", "cls", "subwords", "phonemes", "audio", "vision")

NORMALISATIONS = ("utterance", "speaker", "none")
"""Over what each band of `Features.frames` has mean 0 and variance 1 (MUSE leaves it open)."""

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Features:
    """What was asked of `extract`; a sequence has one array an utterance, in the corpus's order,
    read from a memory-mapped file as it is used, and is None where its part was not asked for. W
    words, T frames, D, A widths, P phonemes.

    Attributes:
        frames: (T, 128) float32, filterbank, normalised as asked ("speech"); of another width where
            the corpus brings its own (`Utterance.frames`).
        sound: (N,) float32, samples of one channel at 16 kHz ("sound").
        words: (W, D) float32, word vectors ("words").
        known: (W,) bool, False where the vector is zeros for want of a better ("words").
        cls: (D,) float32, vector at [CLS] of the whole text ("cls").
        subwords: (S,) int64, sub-word numbers of the whole text, [CLS] first ("subwords").
        phonemes: (W, P) int64, indices into `phonemes.PHONEMES`, padded with 0; P is the most
            of any word in the utterance, at least 1 ("phonemes").
        audio: (W, 132) float32, averages over the time of each word: filterbank (128, not
            normalised) and `speech.PROSODY` (4); or of what the corpus brings ("audio").
        vision: (W, A) float32, averages over the time of each word ("vision"). What a corpus
            brings without times is read as it is, (L, A), as audio is.
        sizes: widths of "speech", "words", "cls", "audio" and "vision"; and of "phonemes" the
            number of symbols, padding included.
        key: digest of the keys of the parts and the normalisation.
    """

    frames: Arrays | None = None
    sound: Arrays | None = None
    words: Arrays | None = None
    known: Arrays | None = None
    cls: Arrays | None = None
    subwords: Arrays | None = None
    phonemes: Arrays | None = None
    audio: Arrays | None = None
    vision: Arrays | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    key: str = ""


def extract(
    corpus: Corpus,
    text: str | Glove | BertWords = "glove",
    parts: Sequence[str] = PARTS,
    progress: bool = True,
    normalisation: str = "utterance",
    encoder: BertWords | None = None,
    listener: SpeechStates | None = None,
) -> Features:
    """The features of every utterance: from the cache where they are, else computed and cached.

    Args:
        text: word vectors: "glove" (the corpus's own where it brings some, else 50-d), "bert"
            (MiniLM, 384), or a `Glove` or `BertWords`.
        parts: which of `PARTS`.
        progress: show a bar while computing.
        normalisation: of `frames`, one of `NORMALISATIONS`. "speaker" takes the statistics of
            all that a speaker says, labels unseen, test speakers too.
        encoder: of "cls" and "subwords"; None: MiniLM.
        listener: gives "audio" in place of filterbank and prosody: averages over words of what it
            says of the sound, or all its frames where a corpus has no word times.

    The words of an utterance are `Utterance.words`, or `tokenise(text)` where it has none.

    Raises:
        DataError: an unknown part, text or normalisation; an utterance without a field that a
            part needs (before anything is computed); a damaged cache file; unusable data.
    """
    asked = [("part", part, PARTS) for part in parts]
    asked += [("normalisation", normalisation, NORMALISATIONS)]
    asked += [("text", text, ("glove", "bert"))] * isinstance(text, str)
    for what, name, known in asked:
        if name not in known:
            raise DataError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    chosen = [part for part in PARTS if part in parts]
    recipes = {p: _recipe(p, corpus, text, encoder or BertWords(), listener) for p in chosen}
    timed = any(u.words is not None for u in corpus.utterances)
    for part, recipe in recipes.items():
        for u, name in itertools.product(corpus.utterances, recipe.needs):
            if getattr(u, name) is None and not (name == "words" and timed):
                why = " (averages by word need word times)" if name == "words" else ""
                rest = [m for m in MODALITIES if m != part]
                how = f"MIMIC: modalities={','.join(rest)}" if len(rest) == 2 else "`parts`"
                raise DataError(
                    f"{corpus.name}: utterance {u.id!r} has no {name}, which {part!r} needs{why}. "
                    f"Leave {part!r} out ({how}), or use a corpus that has it"
                )
    arrays, keys = {}, {}
    for part, recipe in recipes.items():
        source = source_digest(f"mmer_lib.features.{recipe.module}")
        keys[part] = digest(corpus.key, part, recipe.identity, source)
        path = cache_dir() / "features" / f"{corpus.name}-{part}-{keys[part][:16]}.safetensors"
        cached = corpus.key and recipe.module != "extract"
        if not (cached and path.is_file()):
            with closing(_computed(part, recipe, corpus, progress)) as items:
                if cached:
                    save_arrays(path, {part: items}, {})
                else:
                    arrays[part] = list(items)
        if cached:
            arrays[part] = load_arrays(path)[0][part]
    if "words" in arrays:
        both = arrays["words"]
        arrays["words"], arrays["known"] = [x[:, :-1] for x in both], [x[:, -1] > 0 for x in both]
    wide = [part for part in chosen if part not in ("sound", "subwords", "phonemes")]
    sizes = {part: arrays[part][0].shape[-1] for part in wide}
    if "speech" in arrays:
        arrays["frames"] = _normalised(arrays.pop("speech"), corpus, normalisation)
    if "phonemes" in arrays:
        arrays["phonemes"] = list(map(unflatten, arrays["phonemes"]))
        sizes["phonemes"] = len(PHONEMES)
    return Features(**arrays, sizes=sizes, key=digest(keys, normalisation))


class Normalised(Sequence):
    """Filterbanks with mean 0 and variance 1 over an utterance, or by the statistics of each, made
    whenever one is asked for and not kept. `raw`: as they were."""

    def __init__(self, raw: Arrays, statistics: Sequence | None = None):
        self.raw, self.statistics = raw, statistics

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, i: int) -> np.ndarray:
        return speech.normalise(self.raw[i], self.statistics and self.statistics[i])


def _normalised(frames: Arrays, corpus: Corpus, normalisation: str) -> Arrays:
    """Filterbanks with mean 0 and variance 1 over an utterance, over a speaker, or untouched."""
    if normalisation == "none":
        return frames
    if normalisation == "utterance":
        return Normalised(frames)
    own: dict[str, list[np.ndarray]] = {}
    for utterance, one in zip(corpus.utterances, frames, strict=True):
        own.setdefault(utterance.speaker, []).append(one)
    known = {speaker: moments(pieces) for speaker, pieces in own.items()}
    return Normalised(frames, [known[u.speaker] for u in corpus.utterances])


_BROUGHT = {"speech": "frames", "words": "vectors", "audio": "audio", "vision": "vision"}
"""The field of `Utterance` that a part is read from where a corpus brings it."""


class _Recipe(NamedTuple):
    """How a part comes about.

    Attributes:
        needs: fields that every utterance must have.
        module, identity: of `mmer_lib.features`, which computes it ("extract": the corpus brings
            it, and nothing is cached), and of what it computes with.
        function: utterance -> the array of the part ("words": vectors, and in a last column which
            are known); with `length`, a list of utterances of like length -> a list of these.
    """

    needs: tuple[str, ...]
    module: str
    function: Callable
    identity: str | bool | None = None
    length: Callable[[Utterance], int] | None = None


def _recipe(part: str, corpus: Corpus, text, encoder: BertWords, listener) -> _Recipe:
    """How a part of this corpus comes about."""
    sound, brought = ("waveform", "rate"), _BROUGHT.get(part)
    if part == "audio" and listener is not None:
        return _Recipe(sound, "states", listener.of_utterance, listener.identity)
    brings = brought is not None and any(
        getattr(u, brought) is not None and getattr(u, f"{brought}_times", None) is None
        for u in corpus.utterances
    )
    if brings and (part != "words" or text == "glove"):

        def brought_by(u: Utterance) -> np.ndarray:
            rows = np.asarray(getattr(u, brought), dtype=np.float32)
            return np.column_stack([rows, rows.any(axis=1)]) if part == "words" else rows

        return _Recipe((brought,), "extract", brought_by)
    if part == "vision" or (part == "audio" and corpus.utterances[0].audio is not None):
        times = f"{part}_times"

        def averaged(u: Utterance) -> np.ndarray:
            return speech.average_by_word(getattr(u, part), getattr(u, times), u.words or ())

        return _Recipe((part, "words", times), "speech", averaged)
    match part:
        case "speech":
            return _Recipe(sound, "speech", lambda u: speech.filterbank(u.waveform(), u.rate))
        case "sound":
            return _Recipe(sound, "speech", lambda u: speech.prepare(u.waveform(), u.rate))
        case "audio":

            def by_word(u: Utterance) -> np.ndarray:
                return speech.audio_by_word(u.waveform(), u.rate, u.words or ())

            return _Recipe(("words", *sound), "speech", by_word)
        case "words":
            given = {"glove": Glove, "bert": BertWords}[text]() if isinstance(text, str) else text

            if isinstance(given, Glove):

                @cache
                def table() -> dict[str, np.ndarray]:
                    return given.table(word for u in corpus.utterances for word in word_list(u))

                def looked_up(u: Utterance) -> np.ndarray:
                    return np.column_stack(given.vectors(word_list(u), table()))

                return _Recipe(("text",), "text", looked_up, given.identity)

            def vectors(chunk: list[Utterance]) -> list[np.ndarray]:
                return [np.column_stack(pair) for pair in given.encode(map(word_list, chunk))]

            return _Recipe(("text",), "text", vectors, given.identity, lambda u: len(word_list(u)))
        case "phonemes":
            say = Phonemizer()

            def pronounced(u: Utterance) -> np.ndarray:
                return flatten(phoneme_matrix(say.encode(word_list(u))))

            return _Recipe(("text",), "phonemes", pronounced, say.tagged)
        case "cls":

            def at_cls(chunk: list[Utterance]) -> list[np.ndarray]:
                return encoder.at_cls([u.text for u in chunk])

            return _Recipe(("text",), "text", at_cls, encoder.identity, lambda u: len(u.text))
        case "subwords":
            return _Recipe(("text",), "text", lambda u: encoder.sentence(u.text), encoder.identity)


def _computed(part: str, recipe: _Recipe, corpus: Corpus, progress: bool) -> Iterator[np.ndarray]:
    """The arrays of a part, computed as they are taken."""

    def of_one(utterance: Utterance) -> np.ndarray:
        try:
            return recipe.function(utterance)
        except DataError as error:
            raise DataError(f"utterance {utterance.id!r}: {error}") from error

    if recipe.length is None:
        return in_threads(of_one, corpus.utterances, part, progress)
    return in_chunks(recipe.function, corpus.utterances, recipe.length, part, progress)
