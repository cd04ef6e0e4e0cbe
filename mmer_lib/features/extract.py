"""Features: what the models read, computed once from a corpus and cached.

`extract(corpus)` is the one door. Every part has a file of its own in ``cache_dir()/features``,
named by a digest of the corpus's content and the part's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np

from mmer_lib.data import Corpus, DataError, Utterance, moments, tokenise
from mmer_lib.features import brought
from mmer_lib.features import phonemes as _phonemes
from mmer_lib.features import speech as _speech
from mmer_lib.features.pieces import Each, bar, in_chunks, in_threads
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.store import cache_dir, digest, load_ragged, ragged_writer

PARTS = ("speech", "sound", "words", "cls", "subwords", "phonemes", "audio", "vision")

NORMALISATIONS = ("utterance", "speaker", "none")
"""Over what each band of `Features.frames` has mean 0 and variance 1 (MUSE leaves it open)."""

AUDIO_VERSION = SPEECH_VERSION = WORDS_VERSION = PHONEMES_VERSION = VISION_VERSION = 1
SOUND_VERSION = CLS_VERSION = SUBWORDS_VERSION = 1
"""Part of the cache key: to be raised whenever a part's code changes what it computes."""

_NEEDS = {
    "speech": ("waveform", "rate"),
    "sound": ("waveform", "rate"),
    "words": ("text",),
    "cls": ("text",),
    "subwords": ("text",),
    "phonemes": ("text",),
    "audio": ("words", "waveform", "rate"),
    "vision": ("words", "vision", "vision_times"),
}

_ARRAYS = {"speech": ("frames",), "words": ("words", "known")}  # in the file of a part

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
        sizes: widths by part: "speech", "words", "cls", "audio", "vision"; and "phonemes", the
            number of symbols, padding included.
        key: digest of the corpus's content and the settings of the parts.
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

    The words of an utterance are `Utterance.words`, or, for the parts that need no times,
    `tokenise(text)` where a corpus has none.

    Raises:
        DataError: an unknown part, text or normalisation; an utterance without a field that a
            part needs (found before anything is computed); a damaged cache file; unusable data,
            with the utterance named.
    """
    instead = {"words": text != "glove", "audio": listener is not None}  # asked for by name
    own = [p for p in PARTS if p in parts and brought.brings(corpus, p) and not instead.get(p)]
    _check(corpus, parts, own, listener)
    if normalisation not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise DataError(f"unknown normalisation {normalisation!r}; known: {known}")
    encoders = {
        "words": _encoder(text) if "words" in parts else None,
        "cls": encoder or BertWords(),
        "subwords": encoder or BertWords(),
        "audio": listener,
    }
    wanted = [part for part in PARTS if part in parts and part not in own]
    paths = {part: _path(corpus, part, encoders.get(part)) for part in wanted}
    for part in _missing(paths):
        if part in _missing(paths):  # one pass over the sound may have written two parts
            _compute(part, corpus, encoders, paths, progress)
    loaded, sizes = {}, {}
    for part, path in paths.items():
        arrays, metadata = load_ragged(path, verify=True)
        loaded.update(arrays)
        sizes[part] = metadata["size"]
    for part in own:
        name = "frames" if part == "speech" else part
        loaded[name] = brought.arrays(corpus, part)
        sizes[part] = loaded[name][0].shape[1]
        if part == "words":
            loaded["known"] = [vectors.any(axis=1) for vectors in loaded["words"]]
    if "phonemes" in loaded:
        loaded["phonemes"] = Each(_trim, loaded["phonemes"])
    if "cls" in loaded:
        loaded["cls"] = Each(itemgetter(0), loaded["cls"])
    if "frames" in loaded:
        loaded["frames"] = _normalised(loaded["frames"], corpus, normalisation)
    key = digest([path.stem for path in paths.values()], own and [own, corpus.key], normalisation)
    return Features(**loaded, sizes=sizes, key=key)


def _normalised(frames: Arrays, corpus: Corpus, normalisation: str) -> Arrays:
    """Filterbanks with mean 0 and variance 1 over an utterance, over a speaker, or untouched."""
    if normalisation == "none":
        return frames
    if normalisation == "utterance":
        return Each(_speech.normalise, frames)
    rows: dict[str, list[int]] = {}
    for i, utterance in enumerate(corpus.utterances):
        rows.setdefault(utterance.speaker, []).append(i)
    known = {speaker: moments(Each(frames.__getitem__, own)) for speaker, own in rows.items()}
    return Each(_speech.normalise, frames, [known[u.speaker] for u in corpus.utterances])


def word_list(utterance: Utterance) -> list[str]:
    """The words of every word-level part: those with times, else those of the text."""
    if utterance.words is None:
        return tokenise(utterance.text)
    return [word.text for word in utterance.words]


def phoneme_matrix(rows: Sequence[np.ndarray]) -> np.ndarray:
    """W rows of indices, each of its own length -> (W, P) int64 padded with 0, P at least 1."""
    matrix = np.zeros((len(rows), max([1, *map(len, rows)])), dtype=np.int64)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


def _check(corpus: Corpus, parts: Sequence[str], own: Sequence[str], listener) -> None:
    """Every part is known and every utterance has what it needs."""
    for part in parts:
        if part not in PARTS:
            raise DataError(f"unknown part {part!r}; known: {', '.join(PARTS)}")
    if not corpus.utterances:
        raise DataError(f"{corpus.name}: no utterances")
    for part in parts:
        needed = brought.FIELDS[part][:1] if part in own else _NEEDS[part]
        if part == "audio" and listener is not None:
            needed = ("waveform", "rate")
        elif part == "audio" and part not in own and corpus.utterances[0].audio is not None:
            needed = ("words", "audio", "audio_times")
        for u in corpus.utterances:
            for name in needed:
                if getattr(u, name) is None:
                    raise DataError(_lack(corpus, u, name, part))


def _lack(corpus: Corpus, utterance: Utterance, name: str, part: str) -> str:
    message = f"{corpus.name}: utterance {utterance.id!r} has no {name}, which {part!r} needs"
    if name == "words":
        message += " (averages by word need word times; text alone gives words and phonemes)"
    return f"{message}. Leave {part!r} out of `parts`, or use a corpus that has it"


def _encoder(text: str | Glove | BertWords) -> Glove | BertWords:
    if isinstance(text, Glove | BertWords):
        return text
    if text not in ("glove", "bert"):
        raise DataError(f"unknown text {text!r}; known: glove, bert, a Glove, a BertWords")
    return Glove() if text == "glove" else BertWords()


def _path(corpus: Corpus, part: str, encoder: Glove | BertWords | SpeechStates | None) -> Path:
    settings = {
        "speech": (SPEECH_VERSION, _speech.DEFAULT),
        "audio": (AUDIO_VERSION, _speech.DEFAULT, _speech.PROSODY, _speech.F0_RANGE)
        if encoder is None
        else (AUDIO_VERSION, encoder.identity),
        "sound": (SOUND_VERSION, _speech.DEFAULT.rate),
        "words": (WORDS_VERSION, encoder.identity if encoder else None),
        "cls": (CLS_VERSION, encoder.identity if encoder else None),
        "subwords": (SUBWORDS_VERSION, encoder.identity if encoder else None),
        "phonemes": (PHONEMES_VERSION, _phonemes.PHONEMES),
        "vision": (VISION_VERSION,),
    }[part]
    if part == "phonemes":
        settings += (_phonemes.tagger_available(),)
    key = digest(corpus.key, part, settings)[:16]
    return cache_dir() / "features" / f"{corpus.name}-{part}-{key}.safetensors"


def _missing(paths: dict[str, Path]) -> list[str]:
    return [part for part, path in paths.items() if not path.is_file()]


def _compute(part: str, corpus: Corpus, encoders: dict, paths: dict[str, Path], progress: bool):
    """Compute one part (the two that come from sound together) and write its file, utterance by
    utterance."""
    us, encoder, parts, size = corpus.utterances, encoders.get(part), (part,), None
    one_by_one = bar(us, part, progress)
    if part == "audio" and encoder is not None:
        encoder.model  # noqa: B018 (loads it before there are threads)
        items = _from_sound(lambda u: {part: _heard(u, encoder)}, us, part, progress)
    elif part == "audio" and us[0].audio is not None:
        items = ({part: _named(_audio, u)} for u in one_by_one)
    elif part in ("speech", "audio"):
        apart = encoders["audio"] is not None or us[0].audio is not None
        both = ("speech",) if apart else ("speech", "audio")
        parts = tuple(p for p in _missing(paths) if p in both)
        items = _from_sound(lambda u: _acoustic(u, parts), us, " + ".join(parts), progress)
    elif part == "vision":
        items = ({part: _named(_vision, u)} for u in one_by_one)
    elif part == "phonemes":
        size, phonemizer = len(_phonemes.PHONEMES), _phonemes.Phonemizer()
        most = max(len(row) for u in us for row in [[0], *phonemizer.encode(word_list(u))])
        blank = np.zeros(most, dtype=np.int64)  # widens every utterance to the corpus's P
        rows = ([blank, *phonemizer.encode(word_list(u))] for u in one_by_one)
        items = ({part: phoneme_matrix(widened)[1:]} for widened in rows)
    elif part == "sound":
        size = 1
        items = _from_sound(lambda u: {part: _sound(u)}, us, part, progress)
    elif part == "subwords":
        size = len(encoder.tokenizer)
        items = ({part: encoder.sentence(u.text)} for u in one_by_one)
    elif part == "cls":
        encoder.model  # noqa: B018 (loads it before there are threads)
        vectors = in_chunks(encoder.at_cls, [u.text for u in us], part, progress)
        items = ({part: vector[None]} for vector in vectors)
    elif isinstance(encoder, Glove):
        found = (encoder.vectors(word_list(u)) for u in one_by_one)
        items = ({"words": vectors, "known": known} for vectors, known in found)
    else:
        items = _bert(encoder, us, progress)
    _save({one: paths[one] for one in parts}, items, size)


def _save(paths: dict[str, Path], items: Generator[dict[str, np.ndarray]], size: int | None):
    """Write the files of some parts from the arrays of one utterance after another. `size` is the
    width that models need; by default that of a part's first array."""
    with ExitStack() as files, closing(items):
        names = {part: _ARRAYS.get(part, (part,)) for part in paths}
        writers = {p: files.enter_context(ragged_writer(paths[p], names[p])) for p in paths}
        for item in items:
            for part, writer in writers.items():
                for name in names[part]:
                    writer.append(name, item[name])
                writer.metadata["size"] = size or item[names[part][0]].shape[1]


def _from_sound(function: Callable, us: Sequence[Utterance], title: str, progress: bool):
    """function(utterance) of all, in threads."""
    _speech.import_torchaudio()  # before there are threads
    return in_threads(lambda u: _named(function, u), us, title, progress)


def _bert(encoder: BertWords, us: Sequence[Utterance], progress: bool):
    """Word vectors and known."""
    for u in us:
        _named(lambda one: encoder.check([word_list(one)]), u)
    encoder.model  # noqa: B018 (loads it before there are threads)
    sentences = Each(word_list, us)
    pairs = in_chunks(encoder.encode, sentences, "words", progress)
    for words, (vectors, _) in zip(sentences, pairs, strict=True):
        yield {"words": vectors, "known": encoder.known(words)}


def _sound(u: Utterance) -> np.ndarray:
    return _speech.prepare(u.waveform(), u.rate)


def _acoustic(utterance: Utterance, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Of the parts "speech" and "audio" the arrays "frames" (T, 128) and "audio" (W, 132)."""
    config = _speech.DEFAULT
    samples = _speech.prepare(utterance.waveform(), utterance.rate, config)
    bank = _speech.filterbank(samples, config.rate, config)
    made = {}
    if "speech" in wanted:
        made["frames"] = bank
    if "audio" in wanted:
        voice = _speech.prosody(samples, config.rate, config)
        frames = np.concatenate([bank, voice], axis=1)
        times = _speech.frame_times(len(frames), config)
        made["audio"] = _speech.average_by_word(frames, times, utterance.words)
    return made


def _heard(u: Utterance, listener: SpeechStates) -> np.ndarray:
    states, times = listener(_sound(u))
    return states if u.words is None else _speech.average_by_word(states, times, u.words)


def _audio(u: Utterance) -> np.ndarray:
    return _speech.average_by_word(u.audio, u.audio_times, u.words)


def _vision(u: Utterance) -> np.ndarray:
    return _speech.average_by_word(u.vision, u.vision_times, u.words)


def _named(function: Callable, utterance: Utterance, *args):
    """function(utterance, ...), where a DataError says which utterance it is about."""
    try:
        return function(utterance, *args)
    except DataError as error:
        raise DataError(f"utterance {utterance.id!r}: {error}") from error


def _trim(rows: np.ndarray) -> np.ndarray:
    """(W, P) without the columns at the end that are padding in every row; one stays."""
    used = np.flatnonzero(rows.any(axis=0))
    return rows[:, : used[-1] + 1 if len(used) else 1]
