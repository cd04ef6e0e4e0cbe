import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.losses import contrastive

LABELS = st.lists(st.integers(-2, 2), min_size=1, max_size=9)


def vectors(n, seed=0, dtype=torch.float64):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(shared, labels, temperature):
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
    expected = naive(s.numpy(), labels, temperature)
    found = contrastive(s, torch.tensor(labels), temperature)
    assert found.shape == ()
    np.testing.assert_allclose(found.item(), expected, rtol=1e-4, atol=1e-4)


def test_contrastive_of_a_case_by_hand():
    """Two pairs at right angles: exp(1/t) against exp(1/t) + 2, with t = 1."""
    s = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    together = contrastive(s, torch.tensor([0, 0, 1, 1]), 1.0)
    apart = contrastive(s, torch.tensor([0, 1, 0, 1]), 1.0)
    assert together.item() == pytest.approx(math.log((math.e + 2) / math.e), abs=1e-6)
    assert apart.item() == pytest.approx(math.log(math.e + 2), abs=1e-6)


def test_utterances_alone_in_their_label_are_left_out_but_stay_in_the_sum():
    s = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = contrastive(s, torch.tensor([0, 0, 5]), 1.0)
    assert found.item() == pytest.approx(math.log((math.e + 1) / math.e), abs=1e-6)


@pytest.mark.parametrize("labels", [[3], [0, 1, 2]])
def test_without_positives_it_is_zero_with_a_finite_gradient(labels):
    s = vectors(len(labels), dtype=torch.float32).requires_grad_()
    loss = contrastive(s, torch.tensor(labels))
    loss.backward()
    assert loss == 0 and s.grad.isfinite().all() and (s.grad == 0).all()


@given(labels=LABELS, seed=st.integers(0, 10**6), power=st.integers(-3, 3))
@settings(max_examples=30, deadline=None)
def test_the_length_of_a_vector_does_not_matter(labels, seed, power):
    s, t = vectors(len(labels), seed), torch.tensor(labels)
    scale = 10.0 ** (power * torch.linspace(0.2, 1, len(labels))[:, None])
    torch.testing.assert_close(contrastive(s * scale, t), contrastive(s, t), rtol=1e-4, atol=1e-4)


@given(labels=LABELS, seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_order_of_a_batch_does_not_matter(labels, seed):
    s, t = vectors(len(labels), seed), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(contrastive(s[order], t[order]), contrastive(s, t))


def test_the_names_of_the_labels_do_not_matter():
    s, t = vectors(5), torch.tensor([0, 0, 1, 1, 0])
    scores = torch.tensor([-3.0, -3.0, 2.0, 2.0, -3.0])
    assert contrastive(s, t) == contrastive(s, scores)


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


def test_a_step_down_the_gradient_brings_positives_together():
    s, t = vectors(8, dtype=torch.float32).requires_grad_(), torch.arange(8) % 2
    before = contrastive(s, t)
    before.backward()
    assert contrastive(s.detach() - 0.01 * s.grad, t) < before


def test_mixed_precision_leaves_it_in_float32():
    s, t = vectors(16, dtype=torch.float32), torch.arange(16) % 2
    expected = contrastive(s, t)
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive(s, t)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
