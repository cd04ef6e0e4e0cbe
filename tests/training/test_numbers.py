"""Numbers: float32 beside float64, losses at extreme values, and what is the same bit for bit."""

import copy
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer_lib.experiments.costs import random_batch
from mmer_lib.models import losses
from mmer_lib.models.compared.iccn import canonical_correlations
from mmer_lib.models.compared.mfm import normal_discrepancy
from mmer_lib.models.compared.misa import moment_discrepancy, reconstruction
from mmer_lib.models.layers import ScaledPositions
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.training.fit import examples_for
from tests.models.cases import built, config_of, still
from tests.models.utterances import batched, examples
from tests.tiny import every

ROUNDING = 5e-6
"""Largest relative error of float32, as a share of the length of the vector in question."""


def as_type(batch, dtype):
    return batch._map(lambda t: t.to(dtype) if t.is_floating_point() else t)


@pytest.fixture
def case(trained, small_corpus, keep_cache):
    """case(name): the trained model of that name, in training mode and without dropout, and a
    batch of seven utterances of different lengths."""

    def make(name):
        run = trained[name]
        config = run.model.config
        drops = {f.name: getattr(config, f.name) for f in fields(config)}
        drops = {
            k: (0.0,) * len(v) if isinstance(v, tuple) else 0.0
            for k, v in drops.items()
            if k.endswith("dropout")
        }
        model = type(run.model)(replace(config, **drops))
        model.load_state_dict(run.model.state_dict())
        return model.train(), examples_for(run, small_corpus, range(0, 160, 25)).collate(range(7))

    return make


def numbers_of(model, batch):
    """Of one step: logits, loss and the gradient of all parameters as one vector, in float64."""
    model.zero_grad()
    output = model(batch)
    loss = model.total(model.losses(batch, output))
    numbers = {"logits": output.logits, "loss": loss}
    if loss.requires_grad:  # not a closed form
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        numbers["gradient"] = torch.cat(grads)
    return {k: v.detach().double() for k, v in numbers.items()}


@pytest.fixture
def whole_float64(monkeypatch):
    """`.float()`, by which losses leave half precision, leaves float64 as it is."""
    plain = Tensor.float
    monkeypatch.setattr(Tensor, "float", lambda t: t if t.dtype == torch.float64 else plain(t))


# ------------------------------------------------------------------------------ float32 and float64


def assert_within_rounding(model, batch):
    found, exact = (
        numbers_of(copy.deepcopy(model).to(dtype), as_type(batch, dtype))
        for dtype in (torch.float32, torch.float64)
    )
    for key, value in exact.items():
        error = (found[key] - value).norm() / value.norm().clamp(min=1e-30)
        assert error < ROUNDING, f"{key}: {error:.1e}"


@every
def test_float32_is_float64_within_its_rounding(case, whole_float64, name):
    assert_within_rounding(*case(name))


@every
def test_scrambled_weights_are_within_the_rounding_too(whole_float64, name):
    """On noise, every parameter and buffer away from its tame first value."""
    model = built(name, **still(config_of(name))).train()
    assert_within_rounding(model, batched(examples()))


def test_positions_of_a_long_recording_are_off_by_less_than_a_thousandth():
    """12,500 frames, 150 seconds: the angle in float32 is off by its own rounding."""
    width, steps = 128, 12_500
    found = ScaledPositions(width)(torch.zeros(1, steps, width))[0].detach().numpy()
    rates = np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width)
    angles = np.arange(steps)[:, None] * rates
    exact = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(steps, width)
    assert np.abs(found - exact).max() < 1e-3


# ------------------------------------------------------------------------- losses at extreme values

EXTREME = {
    "zeros": torch.zeros(4, 3),
    "alike": torch.tensor([[1.0, -2.0, 0.5]]).repeat(4, 1),
    "tiny": torch.full((4, 3), 1e-30),
    "huge": torch.tensor([[1e4, -1e4, 0.0]] * 2 + [[0.0, 1.0, -1e4]] * 2),
    "one": torch.tensor([[1e-4, 0.0, 1e4]]),
}


def finite(loss, inputs):
    """The loss and its gradients are finite."""
    assert loss.isfinite().all(), loss
    for gradient in torch.autograd.grad(loss, inputs, allow_unused=True):
        assert gradient is None or gradient.isfinite().all(), gradient


@pytest.mark.parametrize("a", EXTREME)
@pytest.mark.parametrize("b", EXTREME)
@pytest.mark.parametrize("temperature", [0.001, 100.0])
def test_losses_of_vectors_are_finite(a, b, temperature):
    v = [EXTREME[name].clone().requires_grad_() for name in (a, b, a, b, b, a)]
    if len({len(x) for x in v}) > 1:
        v = [x[:1].detach().requires_grad_() for x in v]
    labels = torch.arange(len(v[0])) % 2
    finite(losses.contrastive(v[0], labels, temperature), v[:1])
    finite(losses.embedding_alignment(*v[:2]), v[:2])
    finite(losses.difference(v[:3], v[3:]), v)
    finite(reconstruction(v[:3], v[3:]), v)
    finite(normal_discrepancy(v[0]), v[:1])
    finite(canonical_correlations(*v[:2], ridge=1e-3).sum(), v[:2])
    finite(moment_discrepancy([x.clamp(0, 1) for x in v[:3]]), v[:3])
    finite(F.cross_entropy(v[0], labels), v[:1])


# -------------------------------------------------------------------------------------- bit for bit


@every
def test_no_operation_refuses_to_be_deterministic(case, name):
    """With memory that is not yet written filled with NaN, which torch then does too."""
    model, batch = case(name)
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (numbers_of(model, batch) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[k], again[k]) and first[k].isfinite().all() for k in first)


def test_as_many_threads_give_the_same_bits_and_others_the_same_within_rounding():
    """The gradient of a step: sums are cut among the threads, and added in another order."""
    torch.manual_seed(0)
    model = Mimic(MimicConfig(dropout=0.0))
    batch, before, gradients = random_batch(model, 8, 40), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        first, again = (numbers_of(model, batch)["gradient"] for _ in range(2))
        torch.set_num_threads(before)
        assert torch.equal(first, again)
        gradients.append(first)
    one, two = gradients
    assert (two - one).norm() / one.norm() < ROUNDING
