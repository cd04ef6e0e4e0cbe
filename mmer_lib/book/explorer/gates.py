"""How far each layer of a highway network opens, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, source

BINS = 20
"""Bars between 0 and 1 of a distribution."""


@dataclass(frozen=True)
class GatedUtterance:
    """An utterance of W words in a highway network of L layers."""

    words: Sequence[str]
    gates: np.ndarray  # (L, W, D) in [0, 1], the numbers of the sound first
    known: Sequence[bool]  # (W,) False where a word has no vector
    note: str = ""  # a line on the utterance


def distributions(gates: np.ndarray, half: int) -> dict[str, np.ndarray]:
    """Gates (L, W, D) by layer and half, the sound's `half` numbers and the rest: "mean", "low",
    "high" and "open" (the share above 1/2), each (L, 2, W), and "shares" (L, 2, W, BINS): of the
    numbers in each bar; the last takes 1 too."""
    gates = np.asarray(gates, float)
    sides = [gates[..., :half], gates[..., half:]]
    bins = [np.minimum((side * BINS).astype(int), BINS - 1) for side in sides]
    by_side = {
        "mean": [side.mean(-1) for side in sides],
        "low": [side.min(-1) for side in sides],
        "high": [side.max(-1) for side in sides],
        "open": [(side > 1 / 2).mean(-1) for side in sides],
        "shares": [np.stack([(b == k).mean(-1) for k in range(BINS)], -1) for b in bins],
    }
    return {name: np.stack(values, 1) for name, values in by_side.items()}


class Gates(Explorer):
    """The gates of a highway network for the words of an utterance: the mean of each half in each
    layer, and for one word in one layer all of its numbers, as a distribution.

    Args:
        utterances: to choose from, all of as many layers and numbers.
        half: how many of the D numbers come from the sound. start: how far the bias alone opens a
            gate before training, to be marked.
        traits: of `Explorer`, and places of what is shown; a word beyond the last is the last.
    """

    _esm = source("common.js", "gates.js")
    label = traitlets.Unicode("Highway gates by word and layer").tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    word = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, utterances: Sequence[GatedUtterance], half: int, start: float, **traits):
        layers, _, width = np.shape(utterances[0].gates)
        rows = [
            {
                "text": " ".join(one.words),
                "note": one.note,
                "words": list(one.words),
                "known": list(map(bool, one.known)),
                **{name: v.round(4) for name, v in distributions(one.gates, half).items()},
            }
            for one in utterances
        ]
        data = {
            "layers": layers,
            "sizes": [half, width - half],
            "start": start,
            "most": max(row["shares"].max() for row in rows),
            "utterances": rows,
        }
        super().__init__(data, **traits)
