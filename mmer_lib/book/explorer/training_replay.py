"""One training, replayed epoch by epoch: where utterances lie, how alike modalities are, how far
the gates are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, plain, source

VIEWS = {
    "h": "h, as encoded",
    "i": "i, what each has alone",
    "S": "S, what they share",
    "F": "F, fused and gated",
}
"""What can be embedded, as the reader is offered it."""
COMPARED = {"h": "h", "i": "i", "S": "h", "F": "h"}
"""Whose similarity between modalities stands beside an embedding: its own, where there are
modalities to compare, else that of h."""


@dataclass(frozen=True)
class View:
    """Vectors of U utterances in one plane for all E moments (before training, after each epoch).

    Attributes:
        marks: names of the vectors of an utterance: modalities, or one empty name.
        points: (E, U, marks, 2) whole numbers. unit: length in the space of one of their steps.
        share: (E,) of the vectors' variance at a moment, what lies in the plane.
    """

    marks: Sequence[str]
    points: np.ndarray
    unit: float
    share: np.ndarray


@dataclass(frozen=True)
class Training:
    """What is shown of a training with E - 1 epochs.

    Attributes:
        mae: (E,) error on the development part. best: the epoch whose weights are kept.
        similarity: as `trace.Trace` records it: "epoch" and, by kind and pair, cosines, (M,) each;
            every whole epoch is among the moments.
        gates: by part, the mean over utterances of the mean gate, and its standard deviation,
            (E,) each.
        views: by name, of `VIEWS`.
    """

    mae: np.ndarray
    best: int
    similarity: Mapping[str, Sequence[float]]
    gates: Mapping[str, tuple[np.ndarray, np.ndarray]]
    views: Mapping[str, View]


class TrainingReplay(Explorer):
    """A slider over the epochs of a training, which can play by itself.

    Attributes:
        training, view: names of what is shown. epoch: 0 is before training. utterance: the one
            that is followed.

    Args:
        utterances: text and sentiment of those that are drawn.
        trainings: by the name that the reader chooses; all with the same views, kinds and parts.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`, and the attributes; by
            default the first of each.

    Raises:
        ValueError: nothing to show; trainings that differ in what they hold; arrays that do not
            fit each other; numbers that are not finite; shares outside of 0 to 1; a moment of an
            epoch that the similarity lacks.
    """

    _esm = source("common.js", "grid.js", "training_replay.js")
    _css = source("explorer.css")
    training = traitlets.Unicode().tag(sync=True)
    view = traitlets.Unicode().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        utterances: Sequence[tuple[str, float]],
        trainings: Mapping[str, Training],
        label: str = "A training of MIMIC, epoch by epoch",
        **traits,
    ):
        if not utterances or not trainings:
            raise ValueError("nothing to show: no utterances, or no training")
        told = [_told(name, one, len(utterances)) for name, one in trainings.items()]
        for key in ("views", "similarity", "gates"):
            if len({tuple(one[key]) for one in told}) > 1:
                raise ValueError(f"the trainings differ in their {key}")
        first = told[0]
        data = {
            "utterances": [{"text": t, "sentiment": float(s)} for t, s in utterances],
            "trainings": told,
            "views": [
                {"name": name, "shown": VIEWS[name], "compared": COMPARED[name]}
                for name in first["views"]
            ],
            "ranges": {
                kind: _range([one["similarity"][kind] for one in told])
                for kind in first["similarity"]
            },
            "gates": _range([
                np.add(gate["mean"], sign * np.array(gate["sd"]))
                for one in told for gate in one["gates"].values() for sign in (-1, 1)
            ]),
        }  # fmt: skip
        chosen = {"training": first["name"], "view": next(iter(first["views"]))}
        super().__init__(data=plain(data), label=label, **{**chosen, **traits})

    @traitlets.validate("training", "view", "epoch", "utterance")
    def _known(self, proposal):
        name, value = proposal.trait.name, proposal.value
        if self.data:
            trainings = {one["name"]: len(one["mae"]) for one in self.data["trainings"]}
            known = {
                "training": list(trainings),
                "view": [one["name"] for one in self.data["views"]],
                "epoch": range(max(trainings.values())),
                "utterance": range(len(self.data["utterances"])),
            }[name]
            if value not in known:
                raise traitlets.TraitError(f"{name} is {value!r}; known: {known}")
        return value


def _told(name: str, one: Training, utterances: int) -> dict:
    """A training as the page holds it, checked."""
    mae = np.asarray(one.mae, float)
    moments = len(mae)
    if mae.ndim != 1 or moments < 2:
        raise ValueError(f"{name}: mae is {mae.shape}; (E,) with at least one epoch is needed")
    if not 1 <= one.best < moments:
        raise ValueError(f"{name}: the best epoch is {one.best}, of {moments - 1}")
    views = {}
    for view, v in one.views.items():
        points, share = np.asarray(v.points), np.asarray(v.share, float)
        wanted = (moments, utterances, len(v.marks), 2)
        if view not in VIEWS or points.shape != wanted or share.shape != (moments,):
            raise ValueError(
                f"{name}, {view}: points {points.shape} and share {share.shape}; "
                f"{wanted} and {(moments,)} are needed, and a view of {', '.join(VIEWS)}"
            )
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"{name}, {view}: a share of the variance is not in 0 to 1")
        views[view] = {
            "marks": list(v.marks),
            "points": points.reshape(moments, -1),
            "unit": v.unit,
            "share": share,
        }
    if not views:
        raise ValueError(f"{name}: no views")
    gates = {part: {"mean": mean, "sd": sd} for part, (mean, sd) in one.gates.items()}
    for part, gate in gates.items():
        if any(np.shape(values) != (moments,) for values in gate.values()):
            raise ValueError(f"{name}: gates of {part} do not fit {moments} moments")
    return {
        "name": name, "mae": mae, "best": one.best, "views": views, "gates": gates,
        **_similarity(name, one.similarity, moments),
    }  # fmt: skip


def _similarity(name: str, trace: Mapping[str, Sequence[float]], moments: int) -> dict:
    """{"moments": (M,) epochs, "whole": (E,) where the whole epochs stand among them,
    "similarity": kind -> pair -> (M,)}."""
    epochs = np.asarray(trace["epoch"], float)
    whole = [int(np.abs(epochs - e).argmin()) for e in range(moments)]
    if (np.diff(epochs) <= 0).any() or np.abs(epochs[whole] - np.arange(moments)).max() > 1e-6:
        raise ValueError(f"{name}: the similarity's epochs lack one of 0 to {moments - 1}")
    found: dict[str, dict] = {}
    for key, values in trace.items():
        kind, _, pair = key.partition(" ")
        if pair and kind in COMPARED.values():
            if np.shape(values) != epochs.shape:
                raise ValueError(f"{name}: {key} does not fit {len(epochs)} moments")
            found.setdefault(kind, {})[pair] = values
    missing = {COMPARED[v] for v in VIEWS} - found.keys()
    if missing:
        raise ValueError(f"{name}: no similarity of {', '.join(sorted(missing))}")
    return {"moments": epochs, "whole": whole, "similarity": found}


def _range(every: Sequence) -> list[float]:
    """The least range of twentieths that holds all values."""
    flat = [list(v.values()) if isinstance(v, dict) else v for v in every]
    values = np.concatenate([np.ravel(v) for v in flat])
    low, high = np.floor(values.min() * 20) / 20, np.ceil(values.max() * 20) / 20
    return [low, high if high > low else low + 0.05]
