"""One training, replayed epoch by epoch: where utterances lie, how alike modalities are, how far
the gates are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
"""Whose similarity between modalities stands beside an embedding."""
SHOWN = ("mae", "best", "similarity", "gates", "views")
"""What a page needs of a recorded training."""


class TrainingReplay(Explorer):
    """A slider over the epochs of a training, which can play by itself; epoch 0 is before training.

    Args:
        utterances: text and sentiment of those that are drawn.
        trainings: by the name that the reader chooses; each as `replay.recorded_training` gives it.
        traits: of `Explorer`, and what is shown; by default the first of each.
    """

    _esm = source("common.js", "training_replay.js")
    label = traitlets.Unicode("A training of MIMIC, epoch by epoch").tag(sync=True)
    training = traitlets.Unicode().tag(sync=True)
    view = traitlets.Unicode("h").tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)

    def __init__(
        self, utterances: Sequence[tuple[str, float]], trainings: Mapping[str, dict], **traits
    ):
        cosines: dict[str, list] = {kind: [] for kind in COMPARED.values()}
        gates = []
        for one in trainings.values():
            for kind, values in cosines.items():
                values += [v for k, v in one["similarity"].items() if k.startswith(f"{kind} ")]
            for mean, sd in one["gates"].values():
                gates += [np.subtract(mean, sd), np.add(mean, sd)]
        data = {
            "utterances": [{"text": text, "sentiment": s} for text, s in utterances],
            "trainings": [
                {"name": name, **{key: one[key] for key in SHOWN}}
                for name, one in trainings.items()
            ],
            "views": [
                {"name": name, "shown": shown, "compared": COMPARED[name]}
                for name, shown in VIEWS.items()
            ],
            "ranges": {kind: round_range(np.concatenate(v)) for kind, v in cosines.items()},
            "gates": round_range(np.concatenate(gates)),
        }
        super().__init__(data, **{"training": next(iter(trainings)), **traits})
