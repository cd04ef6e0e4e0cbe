"""A small configuration of every model, changes of it, and the comparison with a second reading."""

from dataclasses import fields

import numpy as np
import pytest

from mmer_lib.models.registry import model_class
from tests.models.common import CLOSE, scrambled
from tests.models.utterances import HOP, MODALITIES, SIZES, batched, encoder, examples, garbled

_MUSE = dict(width=8, heads=2, hidden=12, stack=2, filters=2, prenet_kernel=3, dropout=0.2)
_MUSE |= {"phoneme_embedding": 3}
_MFN = {"attention": 4, "candidate": 3, "retain": 6, "update": 2, "head": 4}
_MFN = {f"{part}_hidden": size for part, size in _MFN.items()}
_NETWORKS = dict(units=4, text_width=3, audio_width=2, vision_width=5)
SMALL = {
    "muse": _MUSE,
    "muse-multigranular": {**_MUSE, "projection": 5},
    "bert": dict(projection=5, dropout=0.2),
    "yoon": dict(units=4, speech_dropout=0.2, text_dropout=0.2),
    "xu": dict(units=4, dropout=0.2),
    "li": dict(channels=(3, 5, 2), kernels=(3, 2, 2), width=4, units=3),
    "ssl": dict(dropout=0.2),
    "mimic": dict(units=4, heads=2, bottleneck=6, head=(7, 5), dropout=0.2),
    "misa": dict(units=3, width=6, heads=2, hidden=8, dropout=0.2),
    "tfn": {**_NETWORKS, "hidden": 6},
    "lmf": {**_NETWORKS, "rank": 3},
    "mfn": dict(text_units=3, audio_units=2, vision_units=4, memory=5, **_MFN),
    "mv-lstm": dict(view_width=3, units=4, alpha=0.5, beta=0.25),
    "mult": dict(width=6, heads=3, layers=2, self_layers=2, kernels=(1, 3, 1)),
    "raven": dict(inputs=5, cells=4, hidden=6),
    "mfm": dict(
        **dict(units=(4, 3, 2), memory=5, hidden=(6, 7, 8, 9)),
        **dict(latent=(3, 2, 4), factor=(4, 3, 2), label_latent=3, label_factor=5),
    ),
    "iccn": dict(text_width=8, audio_width=6, vision_width=5, channels=(3, 4), product=4),
    "majority": {},
    "linear": dict(inputs=("words", "frames")),
}
WIDE = {
    "muse": dict(width=16, hidden=32, filters=8),
    "muse-multigranular": dict(width=16, hidden=32, filters=8),
    "yoon": dict(units=8),
    "li": dict(units=16),
    "mimic": dict(units=32, bottleneck=18, head=(64, 32)),
    "misa": dict(width=36, hidden=32, units=8),
    "tfn": dict(units=8, text_width=12, audio_width=12, vision_width=12, hidden=32),
    "lmf": dict(units=8, text_width=12, audio_width=12, vision_width=12),
    "mfn": dict.fromkeys(_MFN, 16),
    "mv-lstm": dict(units=8),
    "mfm": dict(hidden=(32,) * 4, factor=(16, 16, 16), label_factor=16),
    "iccn": dict(text_width=16, audio_width=12, vision_width=12, channels=(8, 8)),
}
"""Wider ones: in small layers, a ReLU can die, and a maximum can leave a unit out."""

_FRAME = {"level": "frame"}
CASES = {
    "muse": [
        {},
        {"fusion": "concat", "ideal": "forced"},
        {"fusion": "phoneme", "classes": 1},
        {"text_layers": 0, "cross_layers": 1, "fusion_layers": 0},
        {"cross_layers": 0, "align": 0.0},
        {"align_over": "word", "tts": 0.5},
        {"speech": "group", "stack": 1},
        {"speech": "layer", "stack": 1},
    ],
    "muse-multigranular": [
        {},
        {"encoder": "bert", "fusion": "word"},
        {"cross_layers": 0, "fusion_layers": 0, "align": 0.0, "embedding": 0.0},
        {"join": "early", "embedding": 0.0},
    ],
    "bert": [{}, {"encoder": "bert"}],
    "yoon": [{}, {"prosody": False, "stack": 2}],
    "xu": [{}],
    "li": [{}],
    "ssl": [{}, {"encoder": "bert", "speech": "layer"}],
    "mimic": [
        {},
        {"modalities": ("text",), "parts": ("S", "M")},
        {"modalities": ("audio",), "decoupling": "orthogonal", "difference": 0.3},
        {"parts": ("M",), "gate": False},
        {"decoupling": "orthogonal", "difference": 0.3},
        {"decoupling": "none", "modalities": ("text", "audio"), "parts": ("S", "I")},
        {**_FRAME},
        {**_FRAME, "modalities": ("text", "vision")},
        {**_FRAME, "decoupling": "orthogonal", "difference": 0.3},
        {"layers": 2, "positives": "views"},
    ],
    "misa": [{}, {"text_encoder": "mean", "reconstruction": 0.0}],
    "lmf": [{}],
    "mfn": [{}],
    "mv-lstm": [{}, {"alpha": 0.0, "beta": 0.0}],
    "tfn": [{}],
    "mult": [{}, {"causal": False, "classes": 4}],
    "raven": [{}, {"nonverbal": "word", "form": "program"}],
    "mfm": [{}, {"rebuilt_text": 0.0, "rebuilt_audio": 0.0, "rebuilt_vision": 0.0}],
    "iccn": [{}, {"text_from": "cls"}],
    "majority": [{}],
    "linear": [{}, {"inputs": ("cls", "audio"), "classes": 1}],
}
"""By model: changes of its small configuration that may hold each property or not."""

MORE = {
    "muse": [
        {"fusion": "word", "stack": 3, "heads": 4, "prenet_kernel": 5},
        {"stack": 1, "kernels": (1, 5), "highway": 1, "align": 0.0},
        {"text_layers": 2, "cross_layers": 2, "fusion_layers": 1, "highway": 0},
        {"align_over": "utterance", "ideal": "forced", "tts": 1.0, "stack": 3},
        {"speech": "hubert", "stack": 1},
    ],
    "muse-multigranular": [{"speech": "layer", "stack": 1, "classes": 1}],
    "bert": [{"classes": 1}],
    "yoon": [{"prosody": False, "classes": 1}],
    "xu": [{"classes": 1, "stack": 3}],
    "li": [{"classes": 1, "channels": (3, 4), "kernels": (2, 1)}],
    "mimic": [
        {"classes": 4, "pool": 3},
        {"pool": 1, "heads": 1, "parts": ("I", "M")},
        {**_FRAME, "layers": 3, "positives": "views"},
        {"modalities": ("vision",), "decoupling": "none"},
        {**_FRAME, "classes": 4, "pool": 3, "parts": ("S",)},
    ],
    "misa": [{"classes": 4, "units": None}, {"text_encoder": "mean", "similarity": 0.0}],
    "lmf": [{"classes": 4, "rank": 1}],
    "mfn": [{"classes": 4}],
    "mv-lstm": [{"classes": 4, "beta": 0.0}, {"alpha": 0.0, "beta": 1.0}],
    "tfn": [{"classes": 4}, {"bound": 0.0}],
    "mult": [{"heads": 1, "self_layers": 3, "kernels": (3, 1, 5)}],
    "raven": [{"nonverbal": "word", "classes": 4}, {"form": "program", "shift": 0.7}],
    "mfm": [{"classes": 4, "rebuilt_audio": 0.0}, {"discrepancy": 0.0}],
    "iccn": [{"classes": 4, "kernel": 1}, {"correlation": 0.0, "kernel": 5}],
    "linear": [{"classes": 1}, {"inputs": "words,audio,vision"}],
}
"""Further ones, of sizes and of small choices, which the second readings are held against too."""


def _named(cases):
    return [pytest.param(n, c, id=f"{n} {c}") for n, changes in cases.items() for c in changes]


every = pytest.mark.parametrize("name, change", _named(CASES))
by_name = pytest.mark.parametrize("name", list(CASES))


def every_change(*names):
    """All cases of one model, or of several, which then come by name."""
    if len(names) == 1:
        (name,) = names
        return pytest.mark.parametrize("change", CASES[name] + MORE.get(name, []), ids=str)
    cases = {name: CASES[name] + MORE.get(name, []) for name in names}
    return pytest.mark.parametrize("name, change", _named(cases))


def config_of(name, wide=False, **change):
    """A small configuration; "group", "layer" and "hubert" name small speech encoders."""
    cls = model_class(name).config_class
    known = {f.name for f in fields(cls)}
    values = {k: v for k, v in (SIZES | {"hop": HOP}).items() if k in known} | SMALL[name]
    values |= (WIDE.get(name, {}) if wide else {}) | change
    if isinstance(values.get("encoder"), str):
        values["encoder"] = encoder(values["encoder"])
    if isinstance(kind := values.get("speech"), str):
        norm = "layer" if kind == "layer" else "group"
        kind = "hubert" if kind == "hubert" else "wav2vec2"
        values["speech"] = encoder(kind, feat_extract_norm=norm)
    return cls(**values)


def still(config):
    """All dropouts of a configuration, off."""
    names = [f.name for f in fields(config) if f.name.endswith("dropout")]
    group = {n: getattr(config, n) for n in names}
    return {n: (0.0,) * len(v) if isinstance(v, tuple) else 0.0 for n, v in group.items()}


def built(name, seed=0, wide=False, **change):
    """A model with scrambled weights, in float64 and evaluation mode."""
    model = scrambled(model_class(name)(config_of(name, wide, **change)), seed)
    if name == "linear":
        model.weights.abs_().add_(0.1).div_(model.weights.sum())
    return model


def lengths_for(change):
    """Lengths of the modalities: alike at MIMIC's level of frames, else each its own."""
    return dict.fromkeys(MODALITIES.values(), (4, 1, 3)) if change.get("level") == "frame" else {}


def padding_for(change, **more):
    """How much padding `garbled` adds, alike where the lengths are."""
    alike = dict.fromkeys(MODALITIES.values(), 2) if change.get("level") == "frame" else {}
    return more | alike


def given(e, modalities=MODALITIES):
    """An utterance's inputs (L, width) by modality."""
    return {m: e[MODALITIES[m]] for m in modalities}


def agrees(model, naive, made=None):
    """The whole forward, padded and garbled, against naive(utterance) -> everything that the model
    names, and "logits" (classes,). Returns the batch and the output."""
    change = {"level": getattr(model.config, "level", "")}
    made = made or examples(**lengths_for(change))
    batch = garbled(batched(made), **padding_for(change))
    out = model(batch)
    for row, e in enumerate(made):
        expected = naive(e)
        logits = expected.pop("logits")
        np.testing.assert_allclose(
            out.logits[row].detach().reshape(-1), np.reshape(logits, -1), **CLOSE
        )
        assert set(out.named) - {"frame_mask"} == set(expected)
        for name, value in expected.items():
            found = out.named[name][row].detach().numpy()
            if found.shape != value.shape:  # by step: the real ones stand first
                found = found[: len(value)]
            np.testing.assert_allclose(found, value, **CLOSE)
    return batch, out
