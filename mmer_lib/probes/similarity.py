"""How alike modalities become in the course of a training: do they rise, then fall?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEAST = 0.05
"""A rise and a fall of less than this cosine count as none."""


def curves(results: Sequence[dict], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean cosine between the modalities through N runs, as `trace.Trace` recorded it: epochs
    (M,), fractions within the first, and curves (N, M). M is that of the shortest run.

    Args:
        results: of runs of one sweep. kind: "h", "i", ...

    A ValueError where they were traced at different moments.
    """
    traces = [result["trace"] for result in results]
    rows = [np.mean([v for k, v in t.items() if k.split()[0] == kind], axis=0) for t in traces]
    shortest = min(map(len, rows))
    (epochs,) = {tuple(t["epoch"][:shortest]) for t in traces}
    return np.array(epochs), np.array([row[:shortest] for row in rows])


class Hump(NamedTuple):
    """Whether a curve rises, from its first value to its highest, and then falls, to its last.

    Attributes:
        height: the smaller of rise and fall, 0 where the highest value is the first or the last.
        at: epoch of the highest. dip: the height of the curve upside down.
    """

    height: float
    at: float
    dip: float
    rise: float
    fall: float


def hump(epochs: np.ndarray, curve: np.ndarray) -> Hump:
    """The hump of a curve (M,) at some epochs (M,)."""
    rise, fall = float(curve.max() - curve[0]), float(curve.max() - curve[-1])
    dip = float(min(curve[0], curve[-1]) - curve.min())
    return Hump(min(rise, fall), float(epochs[curve.argmax()]), dip, rise, fall)


@dataclass(frozen=True)
class Verdict:
    """What several runs say of "first rises, then falls".

    Attributes:
        runs: their number. humps: of these, those whose own hump is at least `LEAST` high.
        height, at, dip: of the mean curve, each with the 95% interval of the bootstrap over runs.
        text: whether the whole interval of the height lies above `LEAST`, or below it.
    """

    runs: int
    humps: int
    height: tuple[float, float, float]
    at: tuple[float, float, float]
    dip: tuple[float, float, float]

    @property
    def text(self) -> str:
        _, low, high = self.height
        if low >= LEAST:
            return "rises, then falls"
        return "does not rise and fall" if high < LEAST else "open"


def judge(epochs: np.ndarray, found: np.ndarray, draws: int = 2000, seed: int = 0) -> Verdict:
    """The verdict on the curves (N, M) of N runs."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(found), size=(draws, len(found)))
    means = [found.mean(0), *(found[rows].mean(0) for rows in drawn)]
    whole, *others = (hump(epochs, mean)[:3] for mean in means)  # height, at, dip
    spread = np.percentile(others, [2.5, 97.5], axis=0).T
    own = sum(hump(epochs, curve).height >= LEAST for curve in found)
    measures = ((value, *map(float, ends)) for value, ends in zip(whole, spread, strict=True))
    return Verdict(len(found), own, *measures)
