"""MISA against its second reading; what it depends on; its losses reach every parameter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.models.base import by_modality
from mmer_lib.models.compared.misa import Misa, MisaConfig, ends
from mmer_lib.training.learner import Learner
from mmer_lib.training.settings import PRESETS
from tests.models import naive
from tests.models.common import CLOSE, moved, scrambled
from tests.models.test_mimic import MODALITIES, PARTS, batched, examples, garbled

SMALL = MisaConfig(words=3, audio=4, vision=2, units=3, width=6, heads=2, hidden=8, dropout=0.2)
CHANGES = [
    {},
    {"classes": 4},
    {"units": None},
    {"text_encoder": "mean"},
    {"decoder": False},
    {"text_encoder": "mean", "units": None, "classes": 4, "heads": 3, "decoder": False},
]
every = pytest.mark.parametrize("change", CHANGES, ids=str)


@every
def test_the_whole_forward_agrees_with_the_naive_one(change):
    config, made = replace(SMALL, **change), examples()
    model = scrambled(Misa(config))
    w, out = naive.weights(model), model(garbled(batched(made)))
    for row, e in enumerate(made):
        given = dict(zip(MODALITIES, (e[part] for part in PARTS), strict=True))
        expected = naive.misa(given, w, config)
        logits = expected.pop("logits")
        found = out.logits[row].detach().numpy()
        np.testing.assert_allclose(found, logits[0] if config.classes == 1 else logits, **CLOSE)
        assert set(out.named) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(out.named[name][row].detach(), value, **CLOSE)


@every
@pytest.mark.parametrize("garbage", [1e3, float("nan")])
def test_padding_company_and_order_change_nothing(change, garbage):
    model, made = scrambled(Misa(replace(SMALL, **change))), examples()
    plain = model(batched(made))
    torch.testing.assert_close(model(garbled(batched(made), (4, 1, 7), garbage)).named, plain.named)
    for order in ([2, 0], [1], [1, 0, 2]):
        some = model(batched([made[i] for i in order]))
        torch.testing.assert_close(some.logits, plain.logits[order], **CLOSE)


@pytest.mark.parametrize("part", PARTS)
def test_the_output_depends_on_every_modality(part):
    model, batch = scrambled(Misa(SMALL)), batched(examples())
    value = getattr(batch, part).clone()
    value[1, 0] += 1
    difference = (model(batch).logits - model(replace(batch, **{part: value})).logits).abs()
    assert difference[1] > 1e-8 and difference[0] == difference[2] == 0


def test_an_utterance_without_vision_is_finite_and_a_batch_of_one_works():
    model = scrambled(Misa(SMALL))
    made = examples({"words": (3, 1), "audio": (7, 2), "vision": (0, 6)})
    together = model(batched(made)).logits
    alone = model(garbled(batched(made[:1]), extra=(0, 0, 1))).logits  # nothing is ever empty
    assert together.isfinite().all()
    torch.testing.assert_close(alone, together[:1], **CLOSE)
    assert Misa(SMALL).train()(batched(made[1:], torch.float32)).logits.isfinite().all()


def test_the_ends_of_a_bidirectional_lstm_are_those_of_its_real_part():
    states = torch.arange(24.0).reshape(2, 3, 4)
    mask = torch.tensor([[False, False, True], [False, False, False]])
    expected = torch.stack(
        [torch.cat([states[0, 1, :2], states[0, 0, 2:]]),
         torch.cat([states[1, 2, :2], states[1, 0, 2:]])]
    )  # fmt: skip
    assert torch.equal(ends(states, mask), expected)


@every
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_every_parameter_gets_a_gradient_from_its_losses_and_moves(change, preset):
    torch.manual_seed(0)
    wide = {"width": 36, "hidden": 32, "units": 8, "dropout": 0.0}
    config = replace(SMALL, **(wide | change))
    settings = PRESETS["misa"][preset][1]
    if not config.decoder:
        settings = replace(settings, reconstruction=0.0)
    task = "sentiment" if config.classes == 1 else "emotion"
    model = Misa(config).double()
    learner = Learner(model, replace(settings, task=task)).train()
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    losses = learner.loss(batched(examples()))
    losses["loss"].backward()
    for name, p in model.named_parameters():
        none = name.endswith("key.bias")  # shifts all scores of a softmax alike
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert (p.grad.abs().max() > 1e-12) is not none, name
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert moved(model, before) >= {k for k in before if not k.endswith("key.bias")}
    assert set(losses) >= {"task", "similarity", "difference", "loss"}
    assert ("reconstruction" in losses) is config.decoder


def test_the_total_is_the_weighted_sum():
    settings = PRESETS["misa"]["paper"][1]
    losses = Learner(scrambled(Misa(SMALL)), settings).loss(batched(examples()))
    weights = {"task": 1.0, "similarity": 1.0, "difference": 0.3, "reconstruction": 1.0}
    total = sum(weights[k] * losses[k] for k in weights)
    torch.testing.assert_close(losses["loss"], total)


def test_the_sizes_are_the_published_programs():
    """Its authors' program has 1,435,105 at these widths, 3,588 of them in parts that nothing reads
    (a discriminator, a norm of the words); and 5.14 million with word vectors of its own."""
    bert = MisaConfig(words=768, audio=74, vision=35, text_encoder="mean")
    assert sum(p.numel() for p in Misa(bert).parameters()) == 1_435_105 - 3_588
    assert sum(p.numel() for p in Misa(MisaConfig()).parameters()) == 5_143_549


def test_what_it_names_is_what_its_losses_and_its_trace_read():
    named = scrambled(Misa(SMALL))(batched(examples())).named
    for letter in "hisr":
        assert tuple(by_modality(named, f"{letter}_{{}}")) == MODALITIES
    assert all(by_modality(named, pattern) for pattern in Misa.traced.values())
    torch.testing.assert_close(named["S"], sum(named[f"s_{m}"] for m in MODALITIES) / 3)
    assert Misa.auxiliaries(SMALL) == ("similarity", "difference", "reconstruction")
    assert Misa.auxiliaries(replace(SMALL, decoder=False)) == ("similarity", "difference")


def test_an_unknown_reading_of_the_text_is_refused():
    with pytest.raises(DataError, match="text_encoder 'bert'; known: lstm, mean"):
        MisaConfig(text_encoder="bert")
