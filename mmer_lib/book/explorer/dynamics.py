"""Similarity through a training, for every setting of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, plain, round_range, source
from mmer_lib.probes.similarity import LEAST, Verdict, judge

KINDS = {
    "h": "h, as encoded",
    "i": "i, what each has alone",
    "i_low": "i after the bottleneck",
}
"""What a similarity is of, as the reader is offered it."""


def sentence(verdict: Verdict) -> str:
    """A verdict in words and numbers."""
    (height, low, high), (at, first, last) = verdict.height, verdict.at
    if verdict.runs == 1:
        return (
            f"One seed, so no interval: the hump is {height:.3f} high, "
            f"with its highest point at epoch {at:.1f}."
        )
    return (
        f"Over {verdict.runs} seeds: {verdict.text}. The hump of their mean is {height:.3f} high "
        f"(95% interval {low:.3f} to {high:.3f}), with its highest point at epoch {at:.1f} "
        f"({first:.1f} to {last:.1f}). Seeds with a hump of at least {LEAST}: "
        f"{verdict.humps} of {verdict.runs}."
    )


def curve_data(epochs: np.ndarray, curves: np.ndarray) -> dict:
    """What the page shows of the curves (seeds, M) at some epochs (M,)."""
    epochs, curves = np.asarray(epochs, float), np.asarray(curves, float)
    verdict, mean = judge(epochs, curves), curves.mean(0)
    return {
        "epochs": epochs,
        "seeds": curves.round(3),
        "mean": mean.round(4),
        "peak": [verdict.at[0], mean.max()],
        "around": verdict.at[1:],
        "says": sentence(verdict),
    }


class Dynamics(Explorer):
    """How alike modalities are through a training, for every setting of a grid: a thin curve a
    seed, the mean thick, and whether it rises and then falls.

    Args:
        grid: name of an option -> its values.
        found: by the values of a combination, in the order of the grid: kind -> (epochs (M,),
            curves (seeds, M)), as `similarity.curves` returns them. What is not there cannot be
            chosen.
        missing: by combination, why it is not there.
        traits: of `Explorer`; `setting` and `kind`, by default the first that is there;
            `stretched`: whether the epochs are drawn at their square roots.
    """

    _esm = source("common.js", "dynamics.js")
    label = traitlets.Unicode("Similarity between modalities through training").tag(sync=True)
    setting = traitlets.Dict().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    stretched = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        grid: Mapping[str, Sequence],
        found: Mapping[tuple, Mapping[str, tuple[np.ndarray, np.ndarray]]],
        missing: Mapping[tuple, str] = {},
        **traits,
    ):
        combinations = list(product(*grid.values()))
        curves = {c: {k: curve_data(*v) for k, v in found.get(c, {}).items()} for c in combinations}
        by_kind = {k: [one[k] for one in curves.values() if k in one] for k in KINDS}
        first = next(c for c in combinations if curves[c])
        data = {
            "options": [{"name": name, "values": values} for name, values in grid.items()],
            "kinds": [
                {
                    "name": kind,
                    "shown": KINDS[kind],
                    "range": round_range(np.concatenate([c["seeds"].ravel() for c in every])),
                }
                for kind, every in by_kind.items()
                if every
            ],
            "found": list(curves.values()),
            "missing": [missing.get(c, "") for c in combinations],
            "last": max(curve["epochs"][-1] for every in by_kind.values() for curve in every),
        }
        chosen = {
            "setting": plain(dict(zip(grid, first, strict=True))),
            "kind": next(kind for kind in KINDS if kind in curves[first]),
        }
        super().__init__(data, **{**chosen, **traits})
