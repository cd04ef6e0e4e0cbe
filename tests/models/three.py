"""What every system that reads text, audio and vision must do, whatever it is made of."""

from dataclasses import replace

import torch

from mmer_lib.learner import Learner
from mmer_lib.models.misa import INPUTS
from mmer_lib.presets import PRESETS

from .common import CLOSE, moved, scrambled
from .test_mimic import MODALITIES, PARTS, batched, examples, garbled

MISSING = [{"words": (0, 4), "audio": (3, 4), "vision": (2, 4)},
           {"words": (3, 4), "audio": (0, 4), "vision": (2, 4)},
           {"words": (3, 4), "audio": (3, 4), "vision": (0, 4)},
           {"words": (0, 4), "audio": (0, 4), "vision": (0, 4)}]  # fmt: skip
WIDTHS = {"words": 3, "audio": 4, "vision": 2}
"""Widths of the inputs in `examples`."""


def given(example):
    """An utterance's inputs (L, width) by modality."""
    return dict(zip(MODALITIES, (example[part] for part in PARTS), strict=True))


def same(found, expected):
    torch.testing.assert_close(found.logits, expected.logits, **CLOSE)
    assert found.logits.isfinite().all()


def ignores_padding_company_and_order(model):
    made = examples()
    plain = model(batched(made))
    for garbage in (1e3, float("nan")):
        same(model(garbled(batched(made), (4, 1, 7), garbage)), plain)
    for order in ([2, 0], [1], [1, 0, 2]):
        some = model(batched([made[i] for i in order]))
        torch.testing.assert_close(some.logits, plain.logits[order], **CLOSE)


def depends_on_every_modality(model):
    batch = batched(examples())
    for part in PARTS:
        value = getattr(batch, part).clone()
        value[1, 0] += 1
        other = model(replace(batch, **{part: value})).logits
        difference = (model(batch).logits - other).abs().reshape(3, -1).amax(1)
        assert difference[1] > 1e-8 and difference[0] == difference[2] == 0, part


def bears_a_missing_modality(model):
    """The first of two utterances lacks something: finite, and the same alone."""
    for lengths in MISSING:
        made = examples(lengths)
        together = model(batched(made))
        alone = model(garbled(batched(made[:1]), extra=(1, 1, 1), garbage=float("nan")))
        assert together.logits.isfinite().all() and alone.logits.isfinite().all(), lengths
        torch.testing.assert_close(alone.logits, together.logits[:1], **CLOSE)


def bears_a_batch_of_one(cls, config, settings):
    """In training too, with the model's own losses."""
    for training in (True, False):
        learner = Learner(cls(config), settings).train(training)
        batch = batched(examples()[1:2], torch.float32)
        losses = learner.loss(batch)
        losses["loss"].backward()
        assert losses["loss"].isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


def learner_of(name, cls, config):
    """In training, float64, with the paper's settings."""
    torch.manual_seed(0)
    task = "sentiment" if config.classes == 1 else "emotion"
    return Learner(cls(config).double(), replace(PRESETS[name]["paper"][1], task=task)).train()


def teaches_every_parameter(name, cls, config, none=lambda name: False):
    """Each gets a gradient from the losses and moves; `none` says which the algebra spares."""
    learner = learner_of(name, cls, config)
    before = {k: v.detach().clone() for k, v in learner.model.named_parameters()}
    learner.loss(batched(examples()))["loss"].backward()
    for key, p in learner.model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
        assert (p.grad.abs().max() > 1e-13) is not none(key), key
    torch.optim.SGD(learner.model.parameters(), lr=1.0).step()
    assert moved(learner.model, before) >= {k for k in before if not none(k)}


def training_ignores_padding(name, cls, config):
    """Losses and gradients are those without padding."""
    found = []
    for change in (lambda b: b, lambda b: garbled(b, (2, 3, 4), float("nan"))):
        learner = learner_of(name, cls, config)
        torch.manual_seed(1)
        losses = learner.loss(change(batched(examples())))
        losses["loss"].backward()
        found.append((losses, {k: p.grad for k, p in learner.model.named_parameters()}))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-10)


def comes_back_from_its_folder(model, folder):
    model, batch = scrambled(model).float(), batched(examples(), torch.float32)
    model.save_pretrained(folder)
    loaded = type(model).from_pretrained(folder)
    assert loaded.config == model.config
    assert torch.equal(loaded(batch).logits, model(batch).logits)


def reads_what_it_needs(model):
    """The fields named by `needs` are enough."""
    batch = batched(examples())
    needs = set(model.needs(model.config))
    assert needs == {name for m in MODALITIES for name in INPUTS[m]}
    bare = replace(batch, emotion=None, sentiment=None)
    same(model(bare), model(batch))
