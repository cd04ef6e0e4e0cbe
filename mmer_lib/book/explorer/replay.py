"""Similarity through a training, replayed for every setting of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, plain, source
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


def told(epochs: np.ndarray, curves: np.ndarray) -> dict:
    """What the page shows of the curves (seeds, M) at some epochs (M,)."""
    epochs, curves = np.asarray(epochs, float), np.asarray(curves, float)
    if curves.ndim != 2 or epochs.shape != curves.shape[1:] or not curves.size:
        raise ValueError(f"epochs {epochs.shape} do not fit curves {curves.shape} (seeds, M)")
    verdict, mean = judge(epochs, curves), curves.mean(0)
    return {
        "epochs": epochs,
        "seeds": curves.round(3),
        "mean": mean.round(4),
        "peak": [verdict.at[0], mean.max()],
        "around": verdict.at[1:],
        "says": sentence(verdict),
    }


def spanned(every: Sequence[dict]) -> list[float]:
    """The least range of twentieths that holds all curves."""
    values = np.concatenate([np.ravel(one["seeds"]) for one in every])
    low, high = np.floor(values.min() * 20) / 20, np.ceil(values.max() * 20) / 20
    return [low, high if high > low else low + 0.05]


class Dynamics(Explorer):
    """How alike modalities are through a training, for every setting of a grid: a thin curve a
    seed, the mean thick, and whether it rises and then falls.

    Attributes:
        setting: name of an option -> its value. kind: of `KINDS`. stretched: whether the epochs
            are drawn at their square roots, which gives the first more room.

    Args:
        grid: name of an option -> its values.
        found: by the values of a combination, in the order of the grid: kind -> (epochs (M,),
            curves (seeds, M)), as `similarity.curves` returns them. What is not there cannot be
            chosen.
        missing: by combination, why it is not there.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`; `setting` and `kind`, by
            default the first that is there.

    Raises:
        ValueError: nothing is found, a combination or kind is unknown, or arrays do not fit.
    """

    _esm = source("common.js", "grid.js", "replay.js")
    _css = source("explorer.css")
    setting = traitlets.Dict().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    stretched = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        grid: Mapping[str, Sequence],
        found: Mapping[tuple, Mapping[str, tuple[np.ndarray, np.ndarray]]],
        missing: Mapping[tuple, str] | None = None,
        label: str = "Similarity between modalities through training",
        **traits,
    ):
        missing, every = dict(missing or {}), list(product(*grid.values()))
        strange = [c for c in (*found, *missing) if c not in every]
        strange += [k for kinds in found.values() for k in kinds if k not in KINDS]
        if strange:
            raise ValueError(f"not in the grid, or of no known kind: {strange}")
        if not any(found.values()):
            raise ValueError("no curves were found")
        told_of = {c: {k: told(*v) for k, v in kinds.items()} for c, kinds in found.items()}
        known = [k for k in KINDS if any(k in kinds for kinds in told_of.values())]
        first = next(c for c in every if told_of.get(c))
        data = {
            "options": [
                {"name": name, "values": values, "shown": [_shown(v) for v in values]}
                for name, values in grid.items()
            ],
            "kinds": [
                {"name": k, "shown": KINDS[k], "range": spanned(_of_kind(told_of, k))}
                for k in known
            ],
            "found": [told_of.get(c, {}) for c in every],
            "missing": [missing.get(c, "") for c in every],
            "last": max(one["epochs"][-1] for k in known for one in _of_kind(told_of, k)),
        }
        chosen = {
            "setting": plain(dict(zip(grid, first, strict=True))),
            "kind": next(k for k in known if k in told_of[first]),
        }
        super().__init__(data=plain(data), label=label, **{**chosen, **traits})


def _shown(value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _of_kind(told_of: dict, kind: str) -> list[dict]:
    return [kinds[kind] for kinds in told_of.values() if kind in kinds]
