"""One training, replayed epoch by epoch: where utterances lie, how alike modalities are, how far
the gates are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, round_range, source

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
class Embedding:
    """Vectors of U utterances in one plane for all E moments (before training, after each epoch).

    Attributes:
        marks: names of the vectors of an utterance: modalities, or one empty name.
        points: (E, U, marks, 2) whole numbers. unit: length in the space of one of their steps.
        share: (E,) of the vectors' variance at a moment, what lies in the plane.
    """

    marks: Sequence[str]
    points: np.ndarray
    unit: float
    share: Sequence[float]


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

    mae: Sequence[float]
    best: int
    similarity: Mapping[str, Sequence[float]]
    gates: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    views: Mapping[str, Embedding]


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
    """

    _esm = source("common.js", "training_replay.js")
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
        rows = [_training_data(name, one) for name, one in trainings.items()]
        first = rows[0]
        gates = [
            np.add(gate["mean"], sign * np.array(gate["sd"]))
            for row in rows
            for gate in row["gates"].values()
            for sign in (-1, 1)
        ]
        data = {
            "utterances": [{"text": text, "sentiment": float(s)} for text, s in utterances],
            "trainings": rows,
            "views": [
                {"name": name, "shown": VIEWS[name], "compared": COMPARED[name]}
                for name in first["views"]
            ],
            "ranges": {
                kind: round_range(
                    np.concatenate([v for row in rows for v in row["similarity"][kind].values()])
                )
                for kind in first["similarity"]
            },
            "gates": round_range(np.concatenate(gates)),
        }
        chosen = {"training": first["name"], "view": next(iter(first["views"]))}
        super().__init__(data, label=label, **{**chosen, **traits})

    def choices(self) -> dict:
        """By the name of a trait, the values that it can have."""
        return {
            "training": [one["name"] for one in self.data["trainings"]],
            "view": [one["name"] for one in self.data["views"]],
            "epoch": range(max(len(one["mae"]) for one in self.data["trainings"])),
            "utterance": range(len(self.data["utterances"])),
        }


def _training_data(name: str, one: Training) -> dict:
    """A training as the page holds it: "moments" (M,) epochs, "whole" (E,) where the whole epochs
    stand among them, "similarity" kind -> pair -> (M,), and the rest as in `Training`."""
    epochs = np.asarray(one.similarity["epoch"], float)
    similarity: dict[str, dict] = {}
    for key, values in one.similarity.items():
        kind, _, pair = key.partition(" ")
        if pair and kind in COMPARED.values():
            similarity.setdefault(kind, {})[pair] = values
    views = {
        view: {
            "marks": list(v.marks),
            "points": np.reshape(v.points, (len(one.mae), -1)),
            "unit": v.unit,
            "share": v.share,
        }
        for view, v in one.views.items()
    }
    return {
        "name": name,
        "mae": one.mae,
        "best": one.best,
        "views": views,
        "gates": {part: {"mean": mean, "sd": sd} for part, (mean, sd) in one.gates.items()},
        "moments": epochs,
        "whole": [int(np.abs(epochs - epoch).argmin()) for epoch in range(len(one.mae))],
        "similarity": similarity,
    }
