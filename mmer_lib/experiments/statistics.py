"""Spread and significance: bootstrap intervals, paired tests, correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

EXACT = 16
"""Up to so many pairs `paired_test` goes through every sign flip (2**16 of them)."""


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two rankings (N,); NaN where one of them is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def bootstrap(
    values: np.ndarray, others: np.ndarray | None = None, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values (N,) with the 95% percentile interval of the bootstrap over them:
    (mean, low, high); N at least 2. With others (M,), the difference of the two means, each group
    drawn anew."""
    groups = [np.asarray(x, float) for x in (values, others) if x is not None]

    def statistic(first: np.ndarray, second: np.ndarray | None = None, axis: int = -1):
        return first.mean(axis) - (0 if second is None else second.mean(axis))

    how = {"n_resamples": draws, "method": "percentile", "rng": np.random.default_rng(seed)}
    interval = stats.bootstrap(groups, statistic, **how).confidence_interval
    return float(statistic(*groups)), float(interval.low), float(interval.high)


def paired_test(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """(mean of a - b, two-sided p) of a paired permutation test: if the two sides did not
    differ, every difference could as well have the other sign. Scores (n,), n at least 2: exact
    for at most `EXACT` pairs, else from 99,999 flips with a fixed seed; no p is below 2 / 2**n.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    test = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf if len(first) <= EXACT else 99_999,
        batch=4096,
        rng=np.random.default_rng(0),
    )
    return float(np.mean(first - second)), float(test.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: p-values (m,), in their order, that hold for all m tests at once."""
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, float)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.tolist()
