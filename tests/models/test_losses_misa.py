"""The losses of MISA against loops, and what their algebra demands."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.models.losses import difference, moment_discrepancy, reconstruction

seeds = st.integers(0, 2**20)
quick = settings(max_examples=25, deadline=None)


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


@given(seeds)
@quick
def test_difference_is_its_loops(seed):
    shared, individual = drawn(seed), drawn(seed + 1)
    pairs = [*zip(shared, individual, strict=True), *itertools.combinations(individual, 2)]
    expected = sum(naive_difference(x, y) for x, y in pairs)
    assert float(difference(shared, individual)) == pytest.approx(expected, rel=1e-5)


@given(seeds, st.integers(1, 6))
@quick
def test_moments_are_their_loops(seed, moments):
    vectors = drawn(seed)
    pairs = list(itertools.combinations(vectors, 2))
    expected = np.mean([naive_moments(x, y, moments) for x, y in pairs])
    assert float(moment_discrepancy(vectors, moments)) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_is_finite_where_two_samples_are_alike():
    x = torch.full((4, 3), 0.5, requires_grad=True)
    (moment_discrepancy([x, x.clone()]) + difference([x], [x.clone()])).backward()
    assert x.grad.isfinite().all()


@given(seeds)
@quick
def test_reconstruction_is_the_mean_squared_error_of_all(seed):
    found, asked = drawn(seed), drawn(seed + 1)
    squares = [((a - b) ** 2).numpy().mean() for a, b in zip(found, asked, strict=True)]
    assert float(reconstruction(found, asked)) == pytest.approx(np.mean(squares), rel=1e-5)
    assert float(reconstruction(found, found)) == 0
