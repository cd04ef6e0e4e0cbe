"""What every system of three modalities has to hold: neither padding nor company changes an answer,
each modality has lengths of its own, one utterance is enough, every parameter learns."""

import json
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.training.learner import Learner
from mmer_lib.training.settings import PRESETS
from tests.models.common import CLOSE, moved, scrambled
from tests.models.test_mimic import PARTS, examples, garbled
from tests.models.three import CASES, WIDTHS, batched, by_name, every, made_of, still

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
    "mult": [
        ({"heads": 4}, "width 6 is not a multiple of heads 4"),
        ({"width": 5, "heads": 1}, "width is 5; an even number"),
        ({"kernels": (1, 2, 1)}, "kernels .*odd"),
        ({"kernels": (1, 1)}, "kernels .*3 numbers"),
        ({"attention_dropout": (0.1,)}, "attention_dropout .*3 numbers"),
        ({"attention_dropout": (0.1, 1.0, 0.0)}, "attention_dropout .*from 0 to below 1"),
        ({"layers": 0}, "layers is 0; at least 1"),
        ({"self_layers": 0}, "self_layers is 0; at least 1"),
    ],
    "raven": [
        ({"nonverbal": "frame"}, "nonverbal 'frame'; known: utterance, word"),
        ({"form": "code"}, "form 'code'; known: paper, program"),
        ({"shift": 0}, "shift is 0; above 0"),
        ({"cells": 0}, "cells is 0; at least 1"),
    ],
    "mfm": [
        ({"units": (4, 3)}, r"units \(4, 3\); 3 numbers"),
        ({"hidden": (4, 3, 2)}, "hidden .*4 numbers"),
        ({"latent": (4, 0, 2)}, "latent .*at least 1"),
        ({"memory": 0}, "memory is 0; at least 1"),
        ({"rebuilding": (1.0, -1.0, 0.0)}, "rebuilding .*at least 0"),
        ({"discrepancy": -1.0}, "discrepancy is -1.0; at least 0"),
    ],
    "iccn": [
        ({"text_from": "bert"}, "text_from 'bert'; known: words, cls"),
        ({"audio_width": 3}, "audio_width is 3; at least 4"),
        ({"channels": (8,)}, "channels .*2 numbers"),
        ({"kernel": 2}, "kernel is 2; an odd number"),
        ({"correlation": -0.1}, "correlation is -0.1; at least 0"),
        ({"ridge": 0.0}, "ridge is 0.0; above 0"),
    ],
}

single = partial(batched, dtype=torch.float32)


def losses_of(name, model, batch, preset="paper"):
    """As training has them, with the model's own."""
    task = "sentiment" if model.config.classes == 1 else "emotion"
    learner = Learner(model, replace(PRESETS[name][preset][1], task=task))
    return learner.train(model.training).loss(batch)


@every
@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("extra", [(1, 0, 0), (0, 9, 0), (4, 1, 7)])
def test_padding_changes_nothing(name, change, garbage, extra):
    model, batch = scrambled(made_of(name, **change)), batched(examples())
    plain, padded = model(batch), model(garbled(batch, extra, garbage))
    torch.testing.assert_close(padded.logits, plain.logits, **CLOSE)
    assert plain.logits.isfinite().all()
    named = {k: v[:, : plain.named[k].shape[1]] for k, v in padded.named.items()}  # steps, or all
    torch.testing.assert_close(named, plain.named, **CLOSE)


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
    """Losses, gradients and statistics are those without it."""
    found = []
    for garble in (False, True):
        torch.manual_seed(0)
        model = made_of(name, wide=True, **(still(name) | change | still(name))).double().train()
        batch = batched(examples({**{p: (3, 1, 5) for p in PARTS}, "vision": (0, 6, 4)}))
        batch = garbled(batch, (3, 2, 4), garbage) if garble else batch
        losses = losses_of(name, model, batch)
        losses["loss"].backward()
        gradients = {k: p.grad for k, p in model.named_parameters()}
        found.append((losses, gradients, dict(model.named_buffers())))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-10)
    assert all(g.isfinite().all() for g in gradients.values())


@every
@pytest.mark.parametrize("lacking", [*PARTS, PARTS])
def test_an_utterance_that_lacks_a_modality_is_finite_and_alone_what_it_is_in_company(
    name, change, lacking
):
    lengths = {"words": (3, 1, 5), "audio": (7, 2, 1), "vision": (2, 6, 4)}
    lengths |= {p: (0, *lengths[p][1:]) for p in PARTS if p in lacking}
    model, made = scrambled(made_of(name, **change)), examples(lengths)
    together = model(batched(made))
    empty = tuple(int(p in lacking) for p in PARTS)  # nothing is ever empty
    for extra, garbage in ((empty, 1e3), ((1, 1, 1), float("nan"))):
        alone = model(garbled(batched(made[:1]), extra, garbage))
        torch.testing.assert_close(alone.logits, together.logits[:1], **CLOSE)
    assert together.logits.isfinite().all()


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
        assert model(batch).logits.shape == ((1,) if model.config.classes == 1 else (1, 4))
        loss = losses_of(name, model, batch)["loss"]
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every
@pytest.mark.parametrize("part", [*PARTS, "cls"])
def test_the_output_depends_on_every_step_of_every_modality(name, change, part):
    """RAVEN reads no further than the last word."""
    model, batch = scrambled(made_of(name, wide=True, **change)), batched(examples())
    x, read = getattr(batch, part), part in model.needs(model.config)
    for step in range(1 if part == "cls" else x.shape[1]):
        real = torch.full((3,), read)
        at = ... if part == "cls" else (slice(None), step)
        if part != "cls":
            real &= ~getattr(batch, part.removesuffix("s") + "_mask")[:, step]
        if name == "raven":
            real &= (~batch.word_mask).sum(1) > step
        value = x.clone()
        value[at] += 1
        other = model(replace(batch, **{part: value}))
        difference = (model(batch).logits - other.logits).abs().reshape(3, -1).amax(1)
        assert torch.equal(difference > 0, real)


@every
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_every_parameter_gets_a_gradient_and_moves(name, change, preset):
    torch.manual_seed(0)
    model = made_of(name, wide=True, **(still(name) | change)).double()
    lengths = {
        "words": (3, 1, 5, 4, 2, 6),
        "audio": (7, 2, 1, 3, 5, 4),
        "vision": (2, 6, 4, 1, 3, 5),
    }
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    losses_of(name, model, batched(examples(lengths)), preset)["loss"].backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
        assert p.grad.abs().amax() > 1e-12, key
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert moved(model, before) == set(before)


@every
def test_the_fields_that_a_model_needs_are_enough_and_the_scalings_belong_to_two(name, change):
    model, batch = scrambled(made_of(name, **change)), batched(examples())
    needs = set(model.needs(model.config))
    text = {"cls"} if change.get("text_from") == "cls" else {"words", "word_mask"}
    assert needs == {*text, "audio", "audio_mask", "vision", "vision_mask"}
    kept = {f: getattr(batch, f) for f in needs}
    assert torch.equal(model(type(batch)(batch.index, **kept)).logits, model(batch).logits)
    assert set(model.scalings()) == {"audio", "vision"}
    before = model(batch).logits
    for part, layer in model.scalings().items():
        layer.fit(np.random.default_rng(0).normal(3, 2, (50, WIDTHS[part])))
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
