"""What a corpus brings beside what a model reads: refused, or said, before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import numpy as np

from mmer_lib.data import Corpus, DataError, Findings, few
from mmer_lib.features.extract import Features, word_list
from mmer_lib.features.speech import DEFAULT
from mmer_lib.training.settings import Settings

COMPUTED = (DEFAULT.bands, DEFAULT.hop_ms / 1000, DEFAULT.window_ms / 1000)
"""Bands, hop and window (seconds) of the filterbank that is computed from sound."""


def check_corpus(corpus: Corpus, settings: Settings, needs: Collection[str]) -> None:
    """Every utterance has the label that the task needs, in its range, and some have word times
    where the model needs them; a DataError names the first that has not."""
    task, classes = settings.task, corpus.emotions
    wanted = "numbers in [-3, 3]" if task == "sentiment" else f"one of {', '.join(classes)}"
    for u in corpus.utterances:
        label = getattr(u, task)
        if label is None:
            raise DataError(f"{corpus.name}: utterance {u.id!r} has no {task}")
        if not (-3 <= label <= 3 if task == "sentiment" else label in classes):  # nor is NaN
            raise DataError(f"{corpus.name}: utterance {u.id!r} has {task} {label}; give {wanted}")
    if "word_times" in needs and not any(u.words for u in corpus.utterances):
        raise DataError(
            f"{corpus.name}: no utterance has word times, which ideal='forced' needs; set ideal to "
            "'diagonal', or align to 0"
        )


def untimed(corpus: Corpus, needs: Collection[str]) -> set[int]:
    """The utterances without word times of a corpus in which others have them, where the model
    reads averages by word; they are told, since they are left out."""
    us = corpus.utterances
    averaged = [
        name
        for name in {"audio", "vision"} & {*needs}
        if all(getattr(u, name) is None or getattr(u, f"{name}_times") is not None for u in us)
    ]
    rows = {row for row, u in enumerate(us) if u.words is None}
    if not averaged or len(rows) == len(us):
        return set()
    notes, remedy = Findings(corpus.name), "left out, since this model reads averages by word"
    for row in sorted(rows):
        notes.add("utterances without word times", us[row].id, remedy)
    notes.warn(stacklevel=4)
    return rows


def check_hearing(model: type, settings: Settings) -> None:
    """A model that hears speech through an encoder only has one, frozen or trained along, and not
    two; a DataError otherwise."""
    through_encoder = {"audio", "speech"} <= set(model.config_class.__dataclass_fields__)
    if through_encoder and bool(settings.wav2vec) is bool(settings.listener):
        raise DataError(
            f"{model.__name__} hears speech through an encoder: name one for `transformers`, such "
            "as 'facebook/wav2vec2-base', as wav2vec, to train it along, or as listener (which "
            "may be 'resemblyzer', from a package)"
        )


def check_filterbank(
    corpus: Corpus, config, needs: Collection[str], given: Collection[str]
) -> None:
    """The filterbank of a corpus is the one that a model's `config` describes, of which `given`
    names the fields that are meant; a DataError otherwise."""
    if "frames" not in needs:
        return
    frames = next((u.frames for u in corpus.utterances if u.frames is not None), None)
    if frames is not None and not {"hop", "window"} <= set(given):
        raise DataError(
            f"{corpus.name}: brings frames; say how far apart and how long they are, in seconds: "
            "hop=0.010, window=0.025, with their values"
        )
    found, wanted = COMPUTED, (config.bands, config.hop, config.window)
    if frames is not None:
        found = (frames.shape[-1] if "bands" in given else config.bands, *wanted[1:])
    if found != wanted:
        found, wanted = (
            f"{bands} bands every {1000 * hop:g} ms over {1000 * window:g} ms"
            for bands, hop, window in (found, wanted)
        )
        raise DataError(
            f"{corpus.name}: its filterbank has {found}; the model is for {wanted}. Leave bands, "
            "hop and window out, or bring frames of that kind"
        )


def warn_doubtful(corpus: Corpus, features: Features) -> None:
    """Say so where most words have no vector, as in another language than the vectors', where a
    text holds no word, and where nothing is to be heard."""
    notes = Findings(corpus.name)
    for u, words in zip(corpus.utterances, features.words or features.phonemes or (), strict=False):
        if not len(words):
            notes.add("utterances without words", u.id, "the model has only the rest of them")
    for u, heard in zip(corpus.utterances, features.frames or features.sound or (), strict=False):
        if len(heard) > 1 and not np.ptp(heard, axis=0).any():  # the same at all times
            notes.add("silent utterances", u.id, "listen to them; a silent one says nothing")
    notes.warn(stacklevel=4)
    pairs = [
        pair
        for u, known in zip(corpus.utterances, features.known or (), strict=False)
        if u.vectors is None
        for pair in zip(word_list(u), known, strict=False)
    ]
    unknown = [word for word, known in pairs if not known]
    if len(unknown) > len(pairs) / 2:
        warnings.warn(
            f"{corpus.name}: {len(unknown) / len(pairs):.0%} of the words have no vector "
            f"({few(dict.fromkeys(unknown))}); text must be English, as the vectors and the "
            "dictionary of pronunciations are",
            stacklevel=3,
        )
