"""Features: what the models read, computed once from a corpus and cached.

`extract(corpus)` is the one door. Every part has a file of its own in ``cache_dir()/features``,
named by a digest of the corpus's content, the part's settings and the source of its module: a part
is computed again when one of them changes, and the other parts are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmer_lib.data import Corpus, DataError, Utterance, moments, word_list
from mmer_lib.features import speech
from mmer_lib.features.phonemes import PHONEMES, Phonemizer, flatten, phoneme_matrix, unflatten
from mmer_lib.features.pieces import in_chunks, in_threads
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.store import (
    LazyMap,
    cache_dir,
    digest,
    lengths,
    load_arrays,
    save_arrays,
    source_digest,
)

PARTS = ("speech", "sound", "words", "cls", "subwords", "phonemes", "audio", "vision")

NORMALISATIONS = ("utterance", "speaker", "none")
"""Over what each band of `Features.frames` has mean 0 and variance 1 (MUSE leaves it open)."""

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Features:
    """What was asked of `extract`; a sequence has one array an utterance, in the corpus's order,
    and is None where its part was not asked for. W words, T frames, D, A widths, P phonemes.
    Sequences are read from memory-mapped files as they are used, and none is kept in memory.

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
    for what, name, known in (*asked, ("normalisation", normalisation, NORMALISATIONS)):
        if name not in known:
            raise DataError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    if not corpus.utterances:
        raise DataError(f"{corpus.name}: no utterances")
    encoder = encoder or BertWords()
    recipes = {
        part: _recipe(part, corpus, text, encoder, listener) for part in PARTS if part in parts
    }
    for part, recipe in recipes.items():
        _check_fields(corpus, part, recipe.needs)
    arrays, keys = {}, {}
    for part, recipe in recipes.items():
        source = source_digest(f"mmer_lib.features.{recipe.module}")
        keys[part] = digest(corpus.key, part, recipe.identity, source)
        if recipe.function is None:
            arrays |= _brought(corpus, part)
            continue
        path = cache_dir() / "features" / f"{corpus.name}-{part}-{keys[part][:16]}.safetensors"
        if not path.is_file():
            _compute(path, part, recipe, corpus, progress)
        arrays |= load_arrays(path, verify=True)[0]
    wide = [part for part in recipes if part not in ("sound", "subwords", "phonemes")]
    sizes = {part: arrays[_FIELDS[part]][0].shape[-1] for part in wide}
    if "frames" in arrays:
        arrays["frames"] = _normalised(arrays["frames"], corpus, normalisation)
    if "phonemes" in arrays:
        arrays["phonemes"] = LazyMap(unflatten, arrays["phonemes"])
        sizes["phonemes"] = len(PHONEMES)
    return Features(**arrays, sizes=sizes, key=digest(keys, normalisation))


def _check_fields(corpus: Corpus, part: str, needs: Sequence[str]) -> None:
    """Every utterance has the fields that a part needs."""
    for u in corpus.utterances:
        for name in needs:
            if getattr(u, name) is None:
                why = " (averages by word need word times)" if name == "words" else ""
                raise DataError(
                    f"{corpus.name}: utterance {u.id!r} has no {name}, which {part!r} needs{why}. "
                    f"Leave {part!r} out of `parts`, or use a corpus that has it"
                )


def _normalised(frames: Arrays, corpus: Corpus, normalisation: str) -> Arrays:
    """Filterbanks with mean 0 and variance 1 over an utterance, over a speaker, or untouched."""
    if normalisation == "none":
        return frames
    if normalisation == "utterance":
        return LazyMap(speech.normalise, frames, lengths=lengths(frames))
    rows: dict[str, list[int]] = {}
    for i, utterance in enumerate(corpus.utterances):
        rows.setdefault(utterance.speaker, []).append(i)
    known = {speaker: moments(LazyMap(frames.__getitem__, own)) for speaker, own in rows.items()}
    statistics = [known[u.speaker] for u in corpus.utterances]
    return LazyMap(speech.normalise, frames, statistics, lengths=lengths(frames))


# ------------------------------------------------------------------- how each part comes about

_FIELDS = {part: part for part in PARTS} | {"speech": "frames"}
"""The field of `Features` that a part fills; "words" fills "known" too."""

_BROUGHT = {"speech": "frames", "words": "vectors", "audio": "audio", "vision": "vision"}
"""The field of `Utterance` that a part is read from where a corpus brings it."""


@dataclass(frozen=True)
class _Recipe:
    """How a part comes about.

    Attributes:
        needs: fields that every utterance must have.
        module: of `mmer_lib.features`, which computes it: its source is part of the key.
        function: utterance -> the array of the part (of words two: vectors and which are known);
            with `length`, a list of utterances -> a list of these. None: the corpus brings them.
        identity: of what it is computed with, part of the key too.
        length: of an utterance; the lists hold utterances of like length.
    """

    needs: tuple[str, ...]
    module: str
    function: Callable | None = None
    identity: str | bool | None = None
    length: Callable[[Utterance], int] | None = None


def _recipe(
    part: str,
    corpus: Corpus,
    text: str | Glove | BertWords,
    encoder: BertWords,
    listener: SpeechStates | None,
) -> _Recipe:
    """How a part of this corpus comes about."""
    sound, times = ("waveform", "rate"), f"{part}_times"

    def averaged(u: Utterance) -> np.ndarray:
        return speech.average_by_word(getattr(u, part), getattr(u, times), u.words)

    if part == "audio" and listener is not None:
        return _Recipe(sound, "states", listener.of_utterance, listener.identity)
    if _brings(corpus, part) and (part != "words" or text == "glove"):
        return _Recipe((_BROUGHT[part],), "extract")
    if part == "vision" or (part == "audio" and corpus.utterances[0].audio is not None):
        return _Recipe(("words", part, times), "speech", averaged)
    match part:
        case "speech":
            return _Recipe(sound, "speech", lambda u: speech.filterbank(u.waveform(), u.rate))
        case "sound":
            return _Recipe(sound, "speech", lambda u: speech.prepare(u.waveform(), u.rate))
        case "audio":
            return _Recipe(
                ("words", *sound),
                "speech",
                lambda u: speech.audio_by_word(u.waveform(), u.rate, u.words),
            )
        case "words":
            return _words(text)
        case "phonemes":
            say = Phonemizer()
            return _Recipe(
                ("text",),
                "phonemes",
                lambda u: flatten(phoneme_matrix(say.encode(word_list(u)))),
                say.tagged,
            )
        case "cls":
            return _Recipe(
                ("text",),
                "text",
                lambda chunk: encoder.at_cls([u.text for u in chunk]),
                encoder.identity,
                length=lambda u: len(u.text),
            )
        case "subwords":
            return _Recipe(("text",), "text", lambda u: encoder.sentence(u.text), encoder.identity)


def _words(text: str | Glove | BertWords) -> _Recipe:
    if text in ("glove", "bert"):
        text = Glove() if text == "glove" else BertWords()
    if isinstance(text, Glove):
        return _Recipe(("text",), "text", lambda u: text.vectors(word_list(u)), text.identity)
    if not isinstance(text, BertWords):
        raise DataError(f"unknown text {text!r}; known: glove, bert, a Glove, a BertWords")

    def of_chunk(chunk: list[Utterance]) -> list[tuple[np.ndarray, np.ndarray]]:
        sentences = [word_list(u) for u in chunk]
        for u, words in zip(chunk, sentences, strict=True):
            with _naming(u):
                text.subwords(words)
        return text.encode(sentences)

    return _Recipe(("text",), "text", of_chunk, text.identity, lambda u: len(word_list(u)))


@contextmanager
def _naming(utterance: Utterance) -> Iterator[None]:
    """A DataError in here says which utterance it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"utterance {utterance.id!r}: {error}") from error


def _compute(path: Path, part: str, recipe: _Recipe, corpus: Corpus, progress: bool) -> None:
    """Write the file of a part, utterance by utterance."""

    def of_one(utterance: Utterance):
        with _naming(utterance):
            return recipe.function(utterance)

    if recipe.length is None:
        items = in_threads(of_one, corpus.utterances, part, progress)
    else:
        items = in_chunks(recipe.function, corpus.utterances, recipe.length, part, progress)
    known: list[np.ndarray] = []  # of the words, filled while the vectors are saved

    def arrays() -> Iterator[np.ndarray]:
        for item in items:
            if part == "words":
                item, mask = item
                known.append(mask)
            yield item

    with closing(items):
        lists = {_FIELDS[part]: arrays()} | ({"known": known} if part == "words" else {})
        save_arrays(path, lists, {})


def _brings(corpus: Corpus, part: str) -> bool:
    """Whether a part is read as the corpus brings it: any utterance has it, without times."""
    name = _BROUGHT.get(part)
    return name is not None and any(
        getattr(u, name) is not None and getattr(u, f"{name}_times", None) is None
        for u in corpus.utterances
    )


def _brought(corpus: Corpus, part: str) -> dict[str, list[np.ndarray]]:
    """A part that the corpus brings, (L, D) float32 an utterance.

    Raises:
        DataError: one that is not (L, D) with the D of the first, or holds NaN.
    """
    name = _BROUGHT[part]
    arrays = [np.asarray(getattr(u, name), dtype=np.float32) for u in corpus.utterances]
    for utterance, array in zip(corpus.utterances, arrays, strict=True):
        if array.ndim != 2 or array.shape[1:] != arrays[0].shape[1:] or np.isnan(array).any():
            raise DataError(
                f"{corpus.name}: utterance {utterance.id!r} has {name} of shape {array.shape}, or "
                f"with NaN; expected (L, D) with the D of the first, {arrays[0].shape[1:]}"
            )
    if part == "words":
        return {"words": arrays, "known": [vectors.any(axis=1) for vectors in arrays]}
    return {_FIELDS[part]: arrays}
