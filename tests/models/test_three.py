"""What every system of three modalities has to hold: neither padding nor company changes an answer,
each modality has lengths of its own, one utterance is enough, every parameter learns."""

import json
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch

from mmer_lib.corpora import DataError
from mmer_lib.learner import Learner
from mmer_lib.models.lmf import LmfConfig
from mmer_lib.models.mfn import MfnConfig
from mmer_lib.models.mvlstm import MvLstmConfig
from mmer_lib.models.tfn import TfnConfig
from mmer_lib.presets import PRESETS
from mmer_lib.runs import model_class

from .common import CLOSE, moved, scrambled
from .test_mimic import PARTS, batched, examples, garbled

INPUTS = {"words": 3, "audio": 4, "vision": 2}
LMF = LmfConfig(**INPUTS, units=4, text_width=3, audio_width=2, vision_width=5, rank=3)
MFN = MfnConfig(
    **INPUTS, text_units=3, audio_units=2, vision_units=4, memory=5, attention_hidden=4,
    candidate_hidden=3, retain_hidden=6, update_hidden=2, head_hidden=4,
)  # fmt: skip
MV_LSTM = MvLstmConfig(**INPUTS, view_width=3, units=4, alpha=0.5, beta=0.25)
TFN = TfnConfig(**INPUTS, units=4, text_width=3, audio_width=2, vision_width=5, hidden=6)

CASES = {
    "lmf": (LMF, [{}, {"classes": 4}, {"fused": 6}, {"fused": 5, "classes": 4, "rank": 1}]),
    "mfn": (MFN, [{}, {"classes": 4}]),
    "mv-lstm": (
        MV_LSTM,
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
    "tfn": (TFN, [{}, {"classes": 4}, {"bound": 0.0}, {"fusion_dropout": 0.0}]),
}
"""By model: a small configuration, and changes of it."""

WIDE = {
    "lmf": {"units": 8, "text_width": 12, "audio_width": 12, "vision_width": 12},
    "mfn": {name: 16 for name in MFN.__dataclass_fields__ if name.endswith("hidden")},
    "mv-lstm": {"units": 8},
    "tfn": {"units": 8, "text_width": 12, "audio_width": 12, "vision_width": 12, "hidden": 32},
}
"""Wider ones: in small layers, a ReLU can die."""

BAD = {
    "mv-lstm": [
        ({"units": 0}, "units is 0; at least 1"),
        ({"alpha": 1.5}, "alpha is 1.5; a share, from 0 to 1"),
        ({"beta": -0.5}, "beta is -0.5; a share, from 0 to 1"),
        ({"dropout": 1.0}, "dropout is 1.0; from 0 to below 1"),
    ],
    "mfn": [
        ({"memory": 0}, "memory is 0; at least 1"),
        ({"vision_units": 0}, "vision_units is 0; at least 1"),
        ({"retain_dropout": 1.0}, "retain_dropout is 1.0; from 0 to below 1"),
    ],
    "lmf": [
        ({"rank": 0}, "rank is 0; at least 1"),
        ({"fused": 0}, "fused is 0; at least 1"),
        ({"vision_dropout": 1.5}, "vision_dropout is 1.5; from 0 to below 1"),
    ],
    "tfn": [
        ({"units": 0}, "units is 0; at least 1"),
        ({"text_width": -2}, "text_width is -2; at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; from 0 to below 1"),
        ({"fusion_dropout": -0.1}, "fusion_dropout is -0.1; from 0 to below 1"),
        ({"bound": -1.0}, "bound is -1.0; at least 0"),
        ({"classes": 0}, "classes is 0; at least 1"),
    ],
}

every = pytest.mark.parametrize(
    "name, change",
    [pytest.param(n, c, id=f"{n} {c}") for n, (_, changes) in CASES.items() for c in changes],
)


def every_change(name):
    return pytest.mark.parametrize("change", CASES[name][1], ids=str)


by_name = pytest.mark.parametrize("name", list(CASES))


def made_of(name, wide=False, **change):
    config = replace(CASES[name][0], **(WIDE[name] if wide else {}), **change)
    return model_class(name)(config)


single = partial(batched, dtype=torch.float32)


@every
@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("extra", [(1, 0, 0), (0, 9, 0), (4, 1, 7)])
def test_padding_changes_nothing(name, change, garbage, extra):
    model, batch = scrambled(made_of(name, **change)), batched(examples())
    plain, padded = model(batch), model(garbled(batch, extra, garbage))
    torch.testing.assert_close(padded.logits, plain.logits, **CLOSE)
    torch.testing.assert_close(padded.named, plain.named, **CLOSE)


@every
def test_company_and_order_change_nothing(name, change):
    model, made = scrambled(made_of(name, **change)), examples()
    together = model(batched(made)).logits
    for order in ([2, 0], [1], [1, 0, 2]):
        some = model(batched([made[i] for i in order])).logits
        torch.testing.assert_close(some, together[order], **CLOSE)


@every
@pytest.mark.parametrize("garbage", [1e3, float("nan")])
def test_training_learns_nothing_from_padding(name, change, garbage):
    gradients, states = [], []
    off = {f.name: 0.0 for f in fields(CASES[name][0]) if f.name.endswith("dropout")}
    for garble in (False, True):
        torch.manual_seed(0)
        model = made_of(name, **(off | change | off)).double().train()
        batch = batched(examples({**{p: (3, 1, 5) for p in PARTS}, "vision": (0, 6, 4)}))
        batch = garbled(batch, (3, 3, 3), garbage) if garble else batch
        model(batch).logits.square().sum().backward()
        gradients.append({k: p.grad for k, p in model.named_parameters()})
        states.append(dict(model.named_buffers()))
    torch.testing.assert_close(*gradients, **CLOSE)
    torch.testing.assert_close(*states, **CLOSE)
    assert all(g.isfinite().all() for g in gradients[1].values())


@by_name
@pytest.mark.parametrize("lacking", PARTS)
def test_an_utterance_that_lacks_a_modality_is_finite_and_alone_what_it_is_in_company(
    name, lacking
):
    lengths = {"words": (3, 1, 5), "audio": (7, 2, 1), "vision": (2, 6, 4)}
    lengths[lacking] = (0, *lengths[lacking][1:])
    model, made = scrambled(made_of(name)), examples(lengths)
    together = model(batched(made))
    empty = {p: int(p == lacking) for p in PARTS}  # nothing is ever empty
    alone = model(garbled(batched(made[:1]), tuple(empty.values())))
    assert together.logits.isfinite().all()
    torch.testing.assert_close(alone.logits, together.logits[:1], **CLOSE)


@by_name
def test_an_utterance_of_nothing_is_finite(name):
    made = examples(dict.fromkeys(PARTS, (0, 4)))
    for training in (True, False):
        model = made_of(name).train(training)
        assert model(single(made)).logits.isfinite().all()


@every
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_one_works(name, change, training):
    torch.manual_seed(0)
    model = made_of(name, **change).train(training)
    for lengths in ((1, 1, 1), (4, 2, 3)):
        batch = single(examples({p: (n,) for p, n in zip(PARTS, lengths, strict=True)}))
        logits = model(batch).logits
        logits.sum().backward()
        assert logits.shape == ((1,) if model.config.classes == 1 else (1, 4))
        assert logits.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every
@pytest.mark.parametrize("part", PARTS)
def test_the_output_depends_on_every_step_of_every_modality(name, change, part):
    model, batch = scrambled(made_of(name, wide=True, **change)), batched(examples())
    for step in range(getattr(batch, part).shape[1]):
        value = getattr(batch, part).clone()
        value[:, step] += 1
        real = ~getattr(batch, part.removesuffix("s") + "_mask")[:, step]
        other = model(replace(batch, **{part: value}))
        difference = (model(batch).logits - other.logits).abs().reshape(3, -1).amax(1)
        assert torch.equal(difference > 0, real)


@every
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_every_parameter_gets_a_gradient_and_moves(name, change, preset):
    torch.manual_seed(0)
    off = {f.name: 0.0 for f in fields(CASES[name][0]) if f.name.endswith("dropout")}
    model = made_of(name, wide=True, **(off | change)).double()
    task = "sentiment" if model.config.classes == 1 else "emotion"
    learner = Learner(model, replace(PRESETS[name][preset][1], task=task)).train()
    lengths = {
        "words": (3, 1, 5, 4, 2, 6),
        "audio": (7, 2, 1, 3, 5, 4),
        "vision": (2, 6, 4, 1, 3, 5),
    }
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    learner.loss(batched(examples(lengths)))["loss"].backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
        assert p.grad.abs().amax() > 1e-12, key
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert moved(model, before) == set(before)


@by_name
def test_the_fields_that_a_model_needs_are_enough_and_the_scalings_belong_to_two(name):
    model, batch = scrambled(made_of(name)), batched(examples())
    kept = {f: getattr(batch, f) for f in model.needs(model.config)}
    assert torch.equal(model(type(batch)(batch.index, **kept)).logits, model(batch).logits)
    assert set(model.scalings()) == {"audio", "vision"}
    before = model(batch).logits
    for part, layer in model.scalings().items():
        layer.fit(np.random.default_rng(0).normal(3, 2, (50, INPUTS[part])))
    assert (model(batch).logits != before).all()


@every
def test_a_saved_model_comes_back_bit_for_bit(name, change, tmp_path):
    model = scrambled(made_of(name, **change)).float()
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model", strict=True)
    assert loaded.config == model.config
    batch = single(examples())
    assert torch.equal(loaded(batch).logits, model(batch).logits)
    plain = json.loads(
        json.dumps({f.name: getattr(model.config, f.name) for f in fields(model.config)})
    )
    assert type(model.config)(**plain) == model.config


@by_name
def test_every_field_of_a_configuration_is_explained(name):
    config = CASES[name][0]
    explained = " ".join(c.__doc__ or "" for c in type(config).__mro__)
    assert all(f.name in explained for f in fields(config))


@pytest.mark.parametrize(
    "name, change, message", [(n, c, m) for n, cases in BAD.items() for c, m in cases]
)
def test_values_that_cannot_be_are_refused_by_the_name_of_the_field(name, change, message):
    with pytest.raises(DataError, match=message):
        replace(CASES[name][0], **change)
    with pytest.raises(AttributeError):
        CASES[name][0].classes = 2
