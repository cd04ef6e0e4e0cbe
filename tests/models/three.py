"""Utterances of text, audio and vision, small configurations of every system that reads them, and
the comparison with a second reading."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mmer_lib.models.compared.iccn import IccnConfig
from mmer_lib.models.compared.lmf import LmfConfig
from mmer_lib.models.compared.mfm import MfmConfig
from mmer_lib.models.compared.mfn import MfnConfig
from mmer_lib.models.compared.mult import MultConfig
from mmer_lib.models.compared.mvlstm import MvLstmConfig
from mmer_lib.models.compared.raven import RavenConfig
from mmer_lib.models.compared.tfn import TfnConfig
from mmer_lib.models.registry import model_class
from tests.models import test_mimic
from tests.models.common import CLOSE
from tests.models.test_mimic import MODALITIES, PARTS, examples, garbled

WIDTHS = {"words": 3, "audio": 4, "vision": 2}
"""Widths of the inputs in `examples`."""
MFN = MfnConfig(
    **WIDTHS, text_units=3, audio_units=2, vision_units=4, memory=5, attention_hidden=4,
    candidate_hidden=3, retain_hidden=6, update_hidden=2, head_hidden=4,
)  # fmt: skip
MFM = MfmConfig(
    **WIDTHS, units=(4, 3, 2), memory=5, hidden=(6, 7, 8, 9), memory_dropout=0.0,
    latent=(3, 2, 4), factor=(4, 3, 2), factor_dropout=(0, 0, 0), label_latent=3, label_factor=5,
)  # fmt: skip
ICCN = IccnConfig(
    **WIDTHS, cls=5, text_width=8, audio_width=6, vision_width=5, channels=(3, 4), product=4,
    dropout=0.0,
)  # fmt: skip
MULT = MultConfig(
    **WIDTHS, width=6, heads=3, layers=2, self_layers=2, kernels=(1, 3, 1), causal=True
)

CASES = {
    "lmf": (
        LmfConfig(**WIDTHS, units=4, text_width=3, audio_width=2, vision_width=5, rank=3),
        [{}, {"classes": 4}, {"fused": 6}, {"fused": 5, "classes": 4, "rank": 1}],
    ),
    "mfn": (MFN, [{}, {"classes": 4}]),
    "mv-lstm": (
        MvLstmConfig(**WIDTHS, view_width=3, units=4, alpha=0.5, beta=0.25),
        [
            {},
            {"classes": 4},
            {"alpha": 0.1},
            {"beta": 0.0},
            {"alpha": 0.0, "beta": 1.0},
            {"alpha": 1.0, "beta": 1.0},
            {"alpha": 0.0, "beta": 0.0, "squash": True},
        ],
    ),
    "tfn": (
        TfnConfig(**WIDTHS, units=4, text_width=3, audio_width=2, vision_width=5, hidden=6),
        [{}, {"classes": 4}, {"bound": 0.0}, {"fusion_dropout": 0.0}],
    ),
    "mult": (
        MULT,
        [
            {},
            {"causal": False, "classes": 4},
            {"layers": 1, "self_layers": 3, "heads": 1},
            {"width": 4, "heads": 2, "self_layers": 1, "kernels": (3, 1, 5), "classes": 4},
        ],
    ),
    "raven": (
        RavenConfig(**WIDTHS, inputs=5, cells=4, hidden=6, dropout=0.0),
        [
            {},
            {"nonverbal": "word", "classes": 4},
            {"form": "program", "shift": 0.7},
            {"nonverbal": "word", "form": "program"},
        ],
    ),
    "mfm": (
        MFM,
        [
            {},
            {"classes": 4},
            {"rebuilding": (1.0, 0.0, 0.5)},
            {"rebuilding": (0, 0, 0)},
            {"discrepancy": 0.0},
        ],
    ),
    "iccn": (
        ICCN,
        [
            {},
            {"classes": 4, "kernel": 1},
            {"text_from": "cls"},
            {"correlation": 0.0, "kernel": 5},
        ],
    ),
}
"""By model: a small configuration, and changes of it."""

WIDE = {
    "lmf": {"units": 8, "text_width": 12, "audio_width": 12, "vision_width": 12},
    "mfn": {name: 16 for name in MFN.__dataclass_fields__ if name.endswith("hidden")},
    "mv-lstm": {"units": 8},
    "tfn": {"units": 8, "text_width": 12, "audio_width": 12, "vision_width": 12, "hidden": 32},
    "mult": {},
    "raven": {},
    "mfm": {"hidden": (32,) * 4, "factor": (16, 16, 16), "label_factor": 16},
    "iccn": {"text_width": 16, "audio_width": 12, "vision_width": 12, "channels": (8, 8)},
}
"""Wider ones: in small layers, a ReLU can die."""

every = pytest.mark.parametrize(
    "name, change",
    [pytest.param(n, c, id=f"{n} {c}") for n, (_, changes) in CASES.items() for c in changes],
)
by_name = pytest.mark.parametrize("name", list(CASES))


def every_change(name):
    return pytest.mark.parametrize("change", CASES[name][1], ids=str)


def made_of(name, wide=False, **change):
    config = replace(CASES[name][0], **(WIDE[name] if wide else {}), **change)
    return model_class(name)(config)


def still(name):
    """All dropouts of a configuration, off."""
    config = CASES[name][0]
    off = {f.name: getattr(config, f.name) for f in fields(config) if f.name.endswith("dropout")}
    return {k: (0.0,) * len(v) if isinstance(v, tuple) else 0.0 for k, v in off.items()}


def batched(made, dtype=torch.float64):
    """A padded `Batch`, with vectors at [CLS]."""
    cls = torch.tensor([[len(e["words"]) / (i + 1) for i in range(5)] for e in made], dtype=dtype)
    return replace(test_mimic.batched(made, dtype), cls=cls)


def given(example):
    """An utterance's inputs (L, width) by modality."""
    return dict(zip(MODALITIES, (example[part] for part in PARTS), strict=True))


def agrees(model, naive):
    """The whole forward, padded and garbled, against naive(utterance, row of the batch) ->
    everything that the model names, and "logits" (classes,)."""
    made = examples()
    batch = garbled(batched(made))
    out = model(batch)
    for row, e in enumerate(made):
        expected = naive(e, row)
        logits = expected.pop("logits")
        found = out.logits[row].detach().numpy().reshape(-1)
        np.testing.assert_allclose(found, logits, **CLOSE)
        assert set(out.named) == set(expected)
        for name, value in expected.items():
            found = out.named[name][row].detach().numpy()
            if found.shape != value.shape:  # by step: the real ones stand first
                assert (found[len(value) :] == 0).all()
                found = found[: len(value)]
            np.testing.assert_allclose(found, value, **CLOSE)
    return batch, out
