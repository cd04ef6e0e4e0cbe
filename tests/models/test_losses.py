import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmer_lib.models.compared.misa import moment_discrepancy, reconstruction
from mmer_lib.models.losses import (
    alignment,
    contrastive,
    diagonal_ideal,
    difference,
    embedding_alignment,
    forced_ideal,
)
from tests.models import naive

LABELS = st.lists(st.integers(-2, 2), min_size=1, max_size=9)


def vectors(n, seed=0, dtype=torch.float64):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def double_loop(shared, labels, temperature):
    """MIMIC, Eq. 12: over i's positives j, then over the i that have one."""
    norms = [math.sqrt(sum(x * x for x in row)) for row in shared]
    n, losses = len(shared), []

    def e(i, k):
        return math.exp(float(shared[i] @ shared[k]) / (norms[i] * norms[k]) / temperature)

    for i in range(n):
        others = [k for k in range(n) if k != i]
        own = [
            -math.log(e(i, j) / sum(e(i, k) for k in others))
            for j in others
            if labels[j] == labels[i]
        ]
        if own:
            losses.append(sum(own) / len(own))
    return sum(losses) / len(losses) if losses else 0.0


@given(labels=LABELS, seed=st.integers(0, 10**6), temperature=st.sampled_from([0.05, 0.1, 1.0]))
@settings(max_examples=60, deadline=None)
def test_contrastive_agrees_with_the_double_loop(labels, seed, temperature):
    s = vectors(len(labels), seed)
    expected = double_loop(s.numpy(), labels, temperature)
    found = contrastive(s, torch.tensor(labels), temperature)
    assert found.shape == ()
    np.testing.assert_allclose(found.item(), expected, rtol=1e-4, atol=1e-4)


def contrastive_views(first, second, temperature=0.1):
    """As MIMIC calls it with two views of each utterance."""
    rows = torch.arange(len(first)).repeat(2)
    return contrastive(torch.cat([first, second]), rows, temperature)


def two_view_loop(first, second, temperature):
    """MIMIC, Eq. 12, for each view of each utterance; j is the other view. In torch, for its
    gradients."""
    views = [*first, *second]
    n, losses = len(first), []
    for i, one in enumerate(views):
        e = [torch.exp(one @ x / (one.norm() * x.norm()) / temperature) for x in views]
        losses.append(-torch.log(e[(i + n) % (2 * n)] / sum(e[k] for k in range(2 * n) if k != i)))
    return sum(losses) / len(losses)


@given(
    n=st.integers(1, 6), seed=st.integers(0, 10**6), temperature=st.sampled_from([0.05, 0.1, 1.0])
)
@settings(max_examples=40, deadline=None)
def test_contrastive_views_and_its_gradients_agree_with_the_double_loop(n, seed, temperature):
    pair = [vectors(n, s).requires_grad_() for s in (seed, seed + 1)]
    found, expected = (f(*pair, temperature) for f in (contrastive_views, two_view_loop))
    assert found.shape == ()
    np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-4, atol=1e-4)
    if n == 1:
        assert found == 0
    for mine, true in zip(*(torch.autograd.grad(f, pair) for f in (found, expected)), strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-3, atol=1e-4)


def test_alike_views_far_from_all_others_cost_nothing_and_swapping_them_changes_nothing():
    s = torch.eye(4)
    assert contrastive_views(s, s, 0.01) < 1e-6 < contrastive_views(s, s.flip(0), 0.01)
    first, second = vectors(5), vectors(5, 1)
    swapped = contrastive_views(second, first)
    torch.testing.assert_close(contrastive_views(first, second), swapped)


@pytest.mark.parametrize("labels", [[3], [0, 1, 2]])
def test_without_positives_it_is_zero_with_a_finite_gradient(labels):
    s = vectors(len(labels), dtype=torch.float32).requires_grad_()
    loss = contrastive(s, torch.tensor(labels))
    loss.backward()
    assert loss == 0 and (s.grad == 0).all()


def test_a_score_rounded_to_minus_zero_is_zero():
    scores = torch.tensor([-0.3, 0.3, 0.0]).round()
    s = vectors(3)
    assert contrastive(s, scores) == contrastive(s, torch.zeros(3))


@pytest.mark.parametrize("case", ["random", "equal", "opposite"])
def test_a_low_temperature_keeps_the_gradient_finite(case):
    s = vectors(16, dtype=torch.float32)
    s = {"random": s, "equal": s[:1].repeat(16, 1), "opposite": torch.cat([s[:8], -s[:8]])}[case]
    s.requires_grad_()
    loss = contrastive(s, torch.arange(16) % 2, temperature=0.01)
    loss.backward()
    assert loss.isfinite() and loss >= 0 and s.grad.isfinite().all()


def test_mixed_precision_leaves_it_in_float32():
    s, t = vectors(16, dtype=torch.float32), torch.arange(16) % 2
    expected = contrastive(s, t)
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive(s, t)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------- the ideals of L_align

SIZES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=4)
NAN = float("nan")


def masks(sizes):
    """Utterances of (frames, words) -> frame mask (B, T) and word mask (B, W)."""
    found = []
    for lengths in zip(*sizes, strict=True):
        found.append(torch.arange(max(1, *lengths, 1)) >= torch.tensor(lengths)[:, None])
    return found


def spoken(sizes, seed=0):
    """Times of frames (T,) and of words (B, W, 2), as a corpus might have them: pauses, words that
    overlap, words and whole utterances without times; and NaN in the padding."""
    rng = np.random.default_rng(seed)
    frames, words = (max(1, *lengths, 1) for lengths in zip(*sizes, strict=True))
    times = np.full((len(sizes), words, 2), NAN)
    for row, (_, count) in enumerate(sizes):
        if row % 3 == 2:
            continue
        start = np.sort(rng.uniform(0, 0.1 * frames, count))
        times[row, :count] = np.stack([start, start + rng.uniform(0.02, 0.2, count)], axis=1)
        times[row, 1:2] = NAN
    middles = 0.0125 + 0.1 * np.arange(frames)
    return torch.tensor(middles, dtype=torch.float32), torch.tensor(times, dtype=torch.float32)


@given(sizes=SIZES, spread=st.sampled_from([0.05, 0.2, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_diagonal_ideal_agrees_with_the_double_loop(sizes, spread):
    found = diagonal_ideal(*masks(sizes), spread)
    for row, (frames, words) in zip(found, sizes, strict=True):
        expected = naive.diagonal_ideal(frames, words, spread)
        np.testing.assert_allclose(row[:frames, :words], expected, rtol=0, atol=2e-6)
        assert (row[:, words:] == 0).all()
        if words:
            np.testing.assert_allclose(row.sum(-1), 1, atol=1e-5)


@given(sizes=SIZES, seed=st.integers(0, 10**6), leak=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_forced_ideal_agrees_with_the_double_loop(sizes, seed, leak):
    (_, word_mask), (times, words) = masks(sizes), spoken(sizes, seed)
    found, counted = forced_ideal(times, words, word_mask, leak)
    assert found.isfinite().all()
    for row, (_, count) in enumerate(sizes):
        expected = naive.forced_ideal(times.numpy(), words[row, :count].numpy(), leak)
        assert counted[row].tolist() == [one is not None for one in expected]
        for frame, one in enumerate(expected):
            if one is not None:
                np.testing.assert_allclose(found[row, frame, :count], one, rtol=0, atol=1e-6)
                assert (found[row, frame, count:] == 0).all()
                assert abs(float(found[row, frame].sum()) - 1) < 1e-5


def attention(frame_mask, word_mask, seed=0, heads=2, dtype=torch.float32):
    """Attention (B, H, T, W) as a model gives it: softmax rows, nothing on padding."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(word_mask), heads, frame_mask.shape[1], word_mask.shape[1])
    scores = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    padding = word_mask[:, None, None, :]
    scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).to(dtype)


def ideal_of(kind, sizes, seed=0):
    """Ideal (B, T, W), the frames that count (B, T), and per utterance the naive rows."""
    frame_mask, word_mask = masks(sizes)
    if kind == "diagonal":
        rows = [list(naive.diagonal_ideal(*size, 0.2)) for size in sizes]
        return diagonal_ideal(frame_mask, word_mask), ~frame_mask, rows
    times, words = spoken(sizes, seed)
    ideal, counted = forced_ideal(times, words, word_mask)
    rows = [
        naive.forced_ideal(times[:frames].numpy(), words[i, :count].numpy(), 0.1)
        for i, (frames, count) in enumerate(sizes)
    ]
    return ideal, counted & ~frame_mask, rows


@pytest.mark.parametrize("kind", ["diagonal", "forced"])
@given(sizes=SIZES, seed=st.integers(0, 10**6), heads=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_alignment_agrees_with_its_equation(kind, sizes, seed, heads):
    frame_mask, word_mask = masks(sizes)
    ideal, counted, rows = ideal_of(kind, sizes, seed)
    a = attention(frame_mask, word_mask, seed, heads)
    found = alignment(a, ideal, counted, word_mask)
    maps = [a[i, :, :frames, :words].numpy() for i, (frames, words) in enumerate(sizes)]
    assert found.shape == () and found.dtype == torch.float32
    np.testing.assert_allclose(found, naive.alignment(maps, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("over", ["utterance", "word"])
@pytest.mark.parametrize("kind", ["diagonal", "forced"])
@given(sizes=SIZES, seed=st.integers(0, 10**6), heads=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_alignment_over_utterances_agrees_with_its_equation(kind, over, sizes, seed, heads):
    frame_mask, word_mask = masks(sizes)
    ideal, counted, rows = ideal_of(kind, sizes, seed)
    a = attention(frame_mask, word_mask, seed, heads)
    maps = [a[i, :, :frames, :words].numpy() for i, (frames, words) in enumerate(sizes)]
    expected = naive.alignment_by_utterance(maps, rows, over == "word")
    found = alignment(a, ideal, counted, word_mask, over)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_of_one_utterance_frames_and_utterances_are_one_mean_and_words_divide_it():
    frame_mask, word_mask = masks([(6, 4)])
    rest = diagonal_ideal(frame_mask, word_mask), ~frame_mask, word_mask
    a = attention(frame_mask, word_mask)
    frame, utterance, word = (alignment(a, *rest, o) for o in ("frame", "utterance", "word"))
    torch.testing.assert_close(utterance, frame)
    torch.testing.assert_close(word, frame / 4)


def test_a_long_utterance_weighs_more_over_frames_and_not_over_utterances():
    frame_mask, word_mask = masks([(9, 4), (3, 4), (2, 0)])  # the last has nothing to count
    ideal, a = diagonal_ideal(frame_mask, word_mask), attention(frame_mask, word_mask)

    def loss(rows, over):
        return alignment(a[rows], ideal[rows], ~frame_mask[rows], word_mask[rows], over)

    long, short = (loss(slice(i, i + 1), "frame") for i in (0, 1))
    every = slice(None)
    torch.testing.assert_close(loss(every, "frame"), (9 * long + 3 * short) / 12)
    torch.testing.assert_close(loss(every, "utterance"), (long + short) / 2)
    torch.testing.assert_close(loss(every, "word"), (long + short) / 8)


@pytest.mark.parametrize("over", ["frame", "utterance", "word"])
@pytest.mark.parametrize("sizes", [[(3, 0)], [(0, 3)], [(0, 0), (2, 0), (0, 2)]])
def test_where_no_frame_counts_alignment_is_zero_with_a_finite_gradient(sizes, over):
    frame_mask, word_mask = masks(sizes)
    a = attention(frame_mask, word_mask).requires_grad_()
    ideal = diagonal_ideal(frame_mask, word_mask)
    loss = alignment(a, ideal, ~frame_mask, word_mask, over)
    loss.backward()
    assert loss == 0 and (a.grad == 0).all()


def test_alignment_of_attention_that_is_exactly_zero_has_a_finite_gradient():
    a = torch.tensor([[[[1.0, 0.0, 0.0]]]], requires_grad=True)
    frame_mask, word_mask = masks([(1, 3)])
    loss = alignment(a, torch.tensor([[[0.0, 0.5, 0.5]]]), ~frame_mask, word_mask)
    loss.backward()
    assert loss.isfinite() and loss > 1 and a.grad.isfinite().all()


def test_alignment_takes_attention_in_half_precision():
    frame_mask, word_mask = masks([(6, 4), (3, 2)])
    ideal, a = diagonal_ideal(frame_mask, word_mask), attention(frame_mask, word_mask)
    expected = alignment(a, ideal, ~frame_mask, word_mask)
    half = a.to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = alignment(half, ideal, ~frame_mask, word_mask)
    found.backward()
    assert found.dtype == torch.float32 and half.grad.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-2)


@given(n=st.integers(1, 6), seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_embedding_alignment_agrees_with_its_equation(n, seed):
    x, y = vectors(n, seed, torch.float32), vectors(n, seed + 1, torch.float32)
    expected = naive.embedding_alignment(x.double().numpy(), y.double().numpy())
    found = embedding_alignment(x, y)
    assert found.shape == () and found == embedding_alignment(y, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert embedding_alignment(x, x) == 0


def drawn(seed, rows=5, width=3, count=3, scale=1.0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(scale * rng.random((rows, width))) for _ in range(count)]


def naive_difference(x, y):
    x, y = x.numpy().copy(), y.numpy().copy()
    for matrix in (x, y):
        matrix -= matrix.mean(0)
        for row in matrix:
            row /= max(np.sqrt((row**2).sum()), 1e-12)
    total = 0.0
    for i in range(x.shape[1]):
        for j in range(y.shape[1]):
            total += sum(x[b, i] * y[b, j] for b in range(len(x))) ** 2
    return total / (x.shape[1] * y.shape[1])


def naive_moments(x, y, moments):
    x, y = x.numpy(), y.numpy()
    total = np.sqrt(((x.mean(0) - y.mean(0)) ** 2).sum())
    for k in range(2, moments + 1):
        a, b = (((z - z.mean(0)) ** k).mean(0) for z in (x, y))
        total += np.sqrt(((a - b) ** 2).sum())
    return total


def test_fixed_norms_of_the_difference_are_numbers_to_its_gradient():
    """MISA's program divides by lengths that it has detached: as if they had been given."""
    torch.manual_seed(0)
    shared, individual = (torch.randn(5, 4, requires_grad=True) for _ in range(2))
    units = []
    for x in (shared, individual):
        centred = x - x.mean(0)
        units.append(centred / torch.tensor([[float(row.norm())] for row in centred]))
    expected = torch.autograd.grad((units[0].T @ units[1]).square().mean(), (shared, individual))
    loss = difference([shared], [individual], fixed_norms=True)
    assert loss == difference([shared], [individual])
    for found, true in zip(torch.autograd.grad(loss, (shared, individual)), expected, strict=True):
        torch.testing.assert_close(found, true)
    other = torch.autograd.grad(difference([shared], [individual]), shared)[0]
    assert F.cosine_similarity(other.flatten(), expected[0].flatten(), dim=0) < 0.9


@given(st.integers(0, 2**20))
@settings(max_examples=25, deadline=None)
def test_difference_is_its_loops(seed):
    shared, individual = drawn(seed), drawn(seed + 1)
    pairs = [*zip(shared, individual, strict=True), *itertools.combinations(individual, 2)]
    expected = sum(naive_difference(x, y) for x, y in pairs)
    assert float(difference(shared, individual)) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 2**20), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_moments_are_their_loops(seed, moments):
    vectors = drawn(seed)
    pairs = list(itertools.combinations(vectors, 2))
    expected = np.mean([naive_moments(x, y, moments) for x, y in pairs])
    assert float(moment_discrepancy(vectors, moments)) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_finite_where_two_samples_are_alike():
    x = torch.full((4, 3), 0.5, requires_grad=True)
    (moment_discrepancy([x, x.clone()]) + difference([x], [x.clone()])).backward()
    assert x.grad.isfinite().all()


@given(st.integers(0, 2**20))
@settings(max_examples=25, deadline=None)
def test_reconstruction_is_the_mean_squared_error_of_all(seed):
    found, asked = drawn(seed), drawn(seed + 1)
    squares = [((a - b) ** 2).numpy().mean() for a, b in zip(found, asked, strict=True)]
    assert float(reconstruction(found, asked)) == pytest.approx(np.mean(squares), rel=1e-5)
    assert float(reconstruction(found, found)) == 0
