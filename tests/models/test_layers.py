import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.models.layers import (
    Attention,
    BiLSTM,
    ConvPreNet,
    Dropout,
    Highway,
    MaskedBatchNorm,
    ScaledPositions,
    Standardise,
    TransformerLayer,
    masked_mean,
)
from tests.models import naive
from tests.models.common import CLOSE, scrambled

LENGTHS = (5, 1, 3)


def ragged(*shape, lengths=LENGTHS, seed=0, dtype=torch.float64):
    """x (B, L, ...) with noise in the padding too, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), *shape, generator=generator, dtype=dtype)
    return x, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def agree(output, expected, lengths=LENGTHS):
    for row, one, length in zip(output.detach().numpy(), expected, lengths, strict=True):
        np.testing.assert_allclose(row[:length], one, **CLOSE)


def utterances(x, lengths=LENGTHS):
    return [row[:length] for row, length in zip(x.numpy(), lengths, strict=True)]


# ------------------------------------------------------------------------------ attention


def test_attention_agrees_with_its_equation():
    layer = scrambled(Attention(8, 2))
    (x, _), (memory, mask) = ragged(8), ragged(8, lengths=(2, 4, 1), seed=1)
    pairs = zip(utterances(x), utterances(memory, (2, 4, 1)), strict=True)
    w = naive.weights(layer)
    agree(layer(x, memory, mask), [naive.attention(a, b, w, heads=2) for a, b in pairs])


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("width", [8, 5])
def test_attention_agrees_with_torch_under_copied_weights(heads, width):
    """What is read is as wide as what reads, or not."""
    layer = scrambled(Attention(8, heads, width))
    options = {"kdim": width, "vdim": width, "batch_first": True}
    other = torch.nn.MultiheadAttention(8, heads, **options).double().eval()
    three = [layer.query, layer.key, layer.value]
    with torch.no_grad():
        if width == 8:
            other.in_proj_weight.copy_(torch.cat([t.weight for t in three]))
        else:
            for letter, t in zip("qkv", three, strict=True):
                getattr(other, f"{letter}_proj_weight").copy_(t.weight)
        other.in_proj_bias.copy_(torch.cat([t.bias for t in three]))
    other.out_proj = layer.out
    (x, _), (memory, mask) = ragged(8), ragged(width, lengths=(2, 4, 1), seed=1)
    expected, _ = other(x, memory, memory, key_padding_mask=mask)
    torch.testing.assert_close(layer(x, memory, mask), expected, **CLOSE)


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


@pytest.mark.parametrize("cross", [False, True])
def test_transformer_layer_agrees_with_the_naive_one(cross):
    layer = scrambled(TransformerLayer(8, 2, 12, dropout=0.3, cross=cross))
    (x, mask), (memory, memory_mask) = ragged(8), ragged(8, lengths=(2, 4, 1), seed=1)
    read = utterances(memory, (2, 4, 1)) if cross else [None] * 3
    w = naive.weights(layer)
    expected = [naive.transformer(a, w, 2, b) for a, b in zip(utterances(x), read, strict=True)]
    agree(layer(x, mask, memory, memory_mask), expected)


# -------------------------------------------------------------------------------- positions


def test_positions_are_sines_and_cosines_scaled_by_alpha():
    layer = ScaledPositions(8)
    with torch.no_grad():
        layer.alpha.fill_(0.7)
    x = torch.randn(2, 40, 8)
    expected = x.numpy() + 0.7 * naive.positions(40, 8)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


# -------------------------------------------------------------------------------- batch norm


def test_batch_norm_in_evaluation_uses_the_running_statistics():
    layer = scrambled(MaskedBatchNorm(4))
    x, mask = ragged(4)
    w = naive.weights(layer)
    agree(layer(x, mask), [naive.batch_norm(one, w) for one in utterances(x)])


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


# ------------------------------------------------------------------------------ convolutions


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_conv_prenet_agrees_with_the_naive_one(kernel):
    layer = scrambled(ConvPreNet(3, 6, kernel, dropout=0.4))
    x, mask = ragged(3)
    w = naive.weights(layer)
    agree(layer(x, mask), [naive.conv_prenet(one, w) for one in utterances(x)])


# ----------------------------------------------------------------------------------- highway


def test_highway_agrees_with_its_equation():
    layer = scrambled(Highway(6))
    x, _ = ragged(6)
    expected = [naive.highway(one, naive.weights(layer)) for one in x.numpy()]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, **CLOSE)


def test_highway_with_shut_gates_is_the_identity():
    layer = Highway(6, gate_bias=-1e4)
    x, _ = ragged(6, dtype=torch.float32)
    assert torch.equal(layer(x), x)


def test_highway_with_open_gates_is_its_transformation():
    layer = Highway(6, gate_bias=1e4)
    x, _ = ragged(6, dtype=torch.float32)
    assert torch.equal(layer(x), layer.transform(x))


# -------------------------------------------------------------------------------------- LSTM


def test_bilstm_agrees_with_the_naive_one():
    layer = scrambled(BiLSTM(3, 4))
    x, mask = ragged(3)
    w = naive.weights(layer)
    agree(layer(x, mask), [naive.bilstm(one, w) for one in utterances(x)])


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


def test_bilstm_of_nothing_but_padding_is_zero():
    out = BiLSTM(3, 4)(torch.randn(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    assert (out == 0).all()


# --------------------------------------------------------------------------------- the small


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_masked_mean_is_the_mean_of_what_is_real(lengths, seed):
    x, mask = ragged(2, lengths=[*lengths, 5], seed=seed)
    for row, mean, length in zip(x, masked_mean(x, mask), [*lengths, 5], strict=True):
        expected = row[:length].mean(0) if length else torch.zeros(2, dtype=x.dtype)
        torch.testing.assert_close(mean, expected, **CLOSE)


def test_standardise_is_the_identity_until_it_is_fitted():
    layer, rows = Standardise(3), np.random.default_rng(0).normal(5, 3, (200, 3))
    x = torch.from_numpy(rows).float()
    assert torch.equal(layer(x), x)
    layer.fit(rows)
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"mean", "deviation"}
    torch.testing.assert_close(layer(x).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x).std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 5.0, 1000.1, -13.8155])
def test_standardise_only_centres_a_constant_column(value):
    rows = np.full((3000, 2), value, np.float32)
    layer = Standardise(2)
    layer.fit(rows)
    x = torch.tensor([[value, value], [value + 1, value]])
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(layer(x), expected, atol=1e-3, rtol=0)


def test_standardise_is_exact_on_many_rows():
    rows = (np.random.default_rng(0).normal(size=(300_000, 2)) * 0.05 - 13.8).astype(np.float32)
    layer, exact = Standardise(2), rows.astype(np.float64)
    layer.fit(rows)
    np.testing.assert_allclose(layer.mean, exact.mean(0), atol=1e-4)
    np.testing.assert_allclose(layer.deviation, exact.std(0), rtol=1e-3)
