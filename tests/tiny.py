"""Small models, small encoders and trainings of a second, which several tests share."""

import functools
import string
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.data import EMOTIONS, MODALITIES, Corpus, Utterance
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features
from mmer_lib.pretrained import import_torchaudio
from mmer_lib.training.fit import fit
from mmer_lib.training.settings import PRESETS

_MUSE = {"width": 16, "hidden": 32, "stack": 8, "phoneme_embedding": 8, "filters": 4}
_FUSED = {"units": 8, "text_width": 4, "audio_width": 4, "vision_width": 4}
_UNITS = {"text_units": 4, "audio_units": 4, "vision_units": 4, "memory": 4, "head_hidden": 8}
_GATES = {f"{name}_hidden": 8 for name in ("retain", "update", "attention", "candidate")}
SMALL = {
    "muse": _MUSE,
    "muse-multigranular": {**_MUSE, "projection": 8},
    "bert": {"projection": 8},
    "mimic": {"units": 8, "bottleneck": 4},
    "misa": {"units": 8, "width": 16, "hidden": 16},
    "yoon": {"units": 8, "stack": 8, "prosody": False},
    "xu": {"units": 8, "stack": 8},
    "li": {"units": 8, "width": 8, "channels": (8, 8), "kernels": (3, 2)},
    "ssl": {},
    "majority": {},
    "linear": {},
    "tfn": {**_FUSED, "hidden": 16},
    "mfn": {**_UNITS, **_GATES},
    "mv-lstm": {"view_width": 4, "units": 4},
    "lmf": _FUSED,
    "mult": {"width": 8, "heads": 2, "layers": 1, "self_layers": 1},
    "raven": {"inputs": 8, "cells": 8, "hidden": 16},
    "mfm": {
        **dict.fromkeys(("units", "latent", "factor"), (4, 4, 4)),
        **dict.fromkeys(("memory", "label_latent", "label_factor"), 4),
        "hidden": (8, 8, 8, 8),
    },
    "iccn": {**{f"{m}_width": 8 for m in MODALITIES}, "channels": (2, 2), "product": 4},
}
"""Model options by model."""

FILES = ["config.json", "model.safetensors", "result.json", "run.json"]
"""What a finished training leaves."""

SENTIMENT = tuple(name for name in SMALL if PRESETS[name]["fast"][1].task == "sentiment")
"""The models whose preset learns a sentiment, from audio and vision; the others learn classes."""

every = pytest.mark.parametrize("name", list(SMALL))


def changes_for(name, options=None, **changes):
    """What makes a training of this model small: options of the model, settings."""
    small = {"max_epochs": 2, **SMALL[name], **(options or {}), **changes}
    if name == "ssl" and not changes.get("wav2vec"):
        small.setdefault("listener", ears())
    return small


def tiny(name, corpus, out, options=None, **changes):
    """A few seconds' training of a small model; `options` and `changes` come on top of `SMALL`."""
    how = {"device": "cpu", "progress": False, **changes_for(name, options, **changes)}
    return fit(name, corpus, out=out, **how)


@functools.cache
def ears():
    """The folder of a small speech encoder, made once a process."""
    return small_wav2vec(tempfile.mkdtemp(prefix="ears-"))


def weights(run):
    return {k: v.numpy().tobytes() for k, v in run.model.state_dict().items()}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def with_utterances(corpus, change, key="changed"):
    """The corpus with change(i, utterance) in the place of every utterance."""
    us = tuple(change(i, u) for i, u in enumerate(corpus.utterances))
    return replace(corpus, utterances=us, key=key)


def spoilt(features, rows, seed=0):
    """Noise in the place of some utterances' features."""
    rng = np.random.default_rng(seed)
    made = {}
    for part in ("frames", "sound", "words", "cls", "subwords", "audio", "vision"):
        if (items := getattr(features, part)) is not None:
            made[part] = list(items)
            for r in rows:
                noise = 7 + 3 * rng.standard_normal(items[r].shape)
                noise = noise.clip(1, 20) if part == "subwords" else noise
                made[part][r] = noise.astype(items[r].dtype)
    return replace(features, **made)


def relabelled(corpus, rows):
    us = list(corpus.utterances)
    for r in rows:
        emotion = EMOTIONS[(EMOTIONS.index(us[r].emotion) + 1) % 4]
        us[r] = replace(us[r], emotion=emotion, sentiment=-us[r].sentiment / 2 + 0.1)
    return replace(corpus, utterances=tuple(us))


def renamed(corpus):
    """The corpus with three classes of other names; the fourth counts to the third."""
    classes = ("rage", "joy", "rest")
    return replace(
        with_utterances(
            corpus, lambda i, u: replace(u, emotion=classes[min(EMOTIONS.index(u.emotion), 2)])
        ),
        emotions=classes,
    )


def with_frames(corpus, bands, key="framed"):
    """The corpus with a filterbank of its own: 20 to 40 frames, `bands` wide."""
    rng = np.random.default_rng(bands)
    return with_utterances(
        corpus,
        lambda i, u: replace(u, frames=rng.normal(2, 3, (20 + i % 21, bands)).astype("f4")),
        key,
    )


def small_bert(folder, seed=0, positions=32, width=12):
    """The name of a folder with a random BERT of one layer, and its tokenizer of letters."""
    import_torchaudio()
    from transformers import BertConfig, BertModel, BertTokenizer

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    vocabulary = {piece: i for i, piece in enumerate([*marks, *letters, "the", "dog"])}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def small_wav2vec(folder, seed=0):
    """The name of a folder with a random wav2vec 2.0 of one layer and 50 frames a second."""
    import_torchaudio()
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(20, 8),
        conv_stride=(160, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return str(folder)


def three_examples():
    """Three utterances of 2, 5 and 3 words and 7, 12 and 3 frames; the last, then the first."""
    rng = np.random.default_rng(0)
    words, frames = (2, 5, 3), (7, 12, 3)
    features = Features(
        frames=[rng.normal(size=(n, 7)).astype("f4") for n in frames],
        words=[rng.normal(size=(n, 6)).astype("f4") for n in words],
        known=[np.ones(n, bool) for n in words],
        phonemes=[rng.integers(1, 70, (n, 3)) for n in words],
    )
    us = tuple(Utterance(f"u{i}", "p", "s", "") for i in range(3))
    return Examples(Corpus("mine", "k", us), features, [2, 0])
