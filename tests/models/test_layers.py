"""Layers against torch's own; their equations are checked in the whole models that hold them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.models.layers import (
    Attention,
    BiLSTM,
    Dropout,
    Highway,
    MaskedBatchNorm,
    ScaledPositions,
    Standardise,
    masked_mean,
)
from tests.models import naive
from tests.models.common import CLOSE, scrambled


def ragged(*shape, lengths=(5, 1, 3), seed=0, dtype=torch.float64):
    """x (B, L, ...) with noise in the padding too, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), *shape, generator=generator, dtype=dtype)
    return x, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_leaves_the_mean_and_drops_each_number_by_itself(p):
    """A million ones. The share that is left and how often two neighbours, or two that are four
    apart (one random number gives four), are left together lie within five deviations."""
    torch.manual_seed(0)
    layer, x = Dropout(p), torch.ones(1000, 1000, requires_grad=True)
    y = layer(x)
    kept = (y != 0).double()
    assert torch.equal(y[y != 0].unique(), torch.tensor([1 / (1 - round(p * 65536) / 65536)]))
    assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / 1e6) ** 0.5
    both = (1 - p) ** 2
    for apart in (1, 2, 3, 4, 1000):
        together = (kept.flatten()[apart:] * kept.flatten()[:-apart]).mean()
        assert abs(together - both) < 5 * (both * (1 - both) * 3 / 1e6) ** 0.5
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert not torch.equal(layer(x), y)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("shape", [(), (1,), (3, 0), (5, 7)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dropout_of_any_shape_and_type(shape, dtype):
    x = torch.ones(shape, dtype=dtype)
    y = Dropout(0.5)(x)
    assert y.shape == x.shape and y.dtype == dtype and set(y.flatten().tolist()) <= {0.0, 2.0}


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=40, deadline=None)
def test_fused_attention_is_the_one_that_writes_its_maps_down(seed, lengths, scale, dtype):
    """Outputs and gradients, float64 to 1e-12 and float32 to 1e-4 of the largest; memories of no
    step at all and batches without padding among them."""
    torch.manual_seed(seed)
    layer = Attention(8, 2).to(dtype)
    x = torch.randn(3, 4, 8, dtype=dtype, requires_grad=True)
    memory = scale * torch.randn(3, 5, 8, dtype=dtype)
    memory.requires_grad_()
    mask = torch.arange(5) >= torch.tensor(lengths)[:, None]
    wanted = [x, memory, *layer.parameters()]
    found = []
    for listening in (False, True):
        handle = layer.weights.register_forward_hook(lambda *_: None) if listening else None
        y = layer(x, memory, mask)
        gradients = torch.autograd.grad((y * torch.linspace(-1, 1, 8, dtype=dtype)).sum(), wanted)
        found.append([y.detach(), *gradients])
        if handle:
            handle.remove()
    share = 1e-12 if dtype == torch.float64 else 1e-4
    for fused, written in zip(*found, strict=True):
        assert (fused - written).abs().max() <= share * written.abs().max().clamp(min=scale)


def test_positions_are_sines_and_cosines_scaled_by_alpha():
    layer = ScaledPositions(8)
    with torch.no_grad():
        layer.alpha.fill_(0.7)
    x = torch.randn(2, 40, 8)
    expected = x.numpy() + 0.7 * naive.positions(40, 8)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4).filter(lambda n: sum(n) > 1),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_batch_norm_in_training_is_torchs_on_the_real_rows(lengths, seed):
    ours, theirs = MaskedBatchNorm(3), torch.nn.BatchNorm1d(3)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([1.0, 0.5, -2.0]))
        ours.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
        theirs.load_state_dict(ours.state_dict(), strict=False)
    x, mask = ragged(3, lengths=lengths, seed=seed, dtype=torch.float32)
    x = (3 * x + 2).requires_grad_()
    copy = x.detach().clone().requires_grad_()
    slope = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed))
    for _ in range(2):  # the second time from statistics that have moved
        mine, other = ours(x, mask)[~mask], theirs(copy[~mask])
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.mean, theirs.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.variance, theirs.running_var, rtol=1e-4, atol=1e-5)
        (mine * slope).sum().backward()
        (other * slope).sum().backward()
    spread = float(copy.detach()[~mask].std(0, correction=0).min())
    atol = 1e-3 * max(1.0, 1 / spread)
    torch.testing.assert_close(x.grad, copy.grad, rtol=1e-3, atol=atol)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-3, atol=1e-3)


def test_highway_carries_through_shut_gates_and_transforms_through_open_ones():
    layer, x = Highway(6), torch.randn(3, 6)
    for bias, expected in ((-1e4, x), (1e4, layer.transform(x))):
        torch.nn.init.constant_(layer.gate[0].bias, bias)
        assert torch.equal(layer(x), expected)


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_bilstm_is_torchs_on_packed_sequences(lengths, seed):
    ours = scrambled(BiLSTM(3, 4), seed)
    theirs = torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True).double()
    state = dict(ours.ahead.state_dict())
    state |= {f"{k}_reverse": v for k, v in ours.back.state_dict().items()}
    theirs.load_state_dict(state)
    x, mask = ragged(3, lengths=lengths, seed=seed)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours(x, mask), expected, **CLOSE)


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_masked_mean_is_the_mean_of_what_is_real(lengths, seed):
    x, mask = ragged(2, lengths=[*lengths, 5], seed=seed)
    for row, mean, length in zip(x, masked_mean(x, mask), [*lengths, 5], strict=True):
        expected = row[:length].mean(0) if length else torch.zeros(2, dtype=x.dtype)
        torch.testing.assert_close(mean, expected, **CLOSE)


def test_standardise_is_the_identity_until_it_is_fitted_then_exact_on_many_rows():
    rows = (np.random.default_rng(0).normal(size=(300_000, 2)) * 0.05 - 13.8).astype(np.float32)
    layer, x = Standardise(2), torch.from_numpy(rows[:5])
    assert torch.equal(layer(x), x)
    layer.fit(rows)
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"mean", "deviation"}
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(layer.mean, exact.mean(0), atol=1e-4)
    np.testing.assert_allclose(layer.deviation, exact.std(0), rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 5.0, 1000.1, -13.8155])
def test_standardise_only_centres_a_constant_column(value):
    rows = np.full((3000, 2), value, np.float32)
    layer = Standardise(2)
    layer.fit(rows)
    x = torch.tensor([[value, value], [value + 1, value]])
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(layer(x), expected, atol=1e-3, rtol=0)
