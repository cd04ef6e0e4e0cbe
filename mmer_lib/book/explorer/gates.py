"""How far each layer of a highway network opens, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, plain, source

BINS = 20
"""Bars between 0 and 1 of a distribution."""


@dataclass(frozen=True)
class Gated:
    """An utterance of W words in a highway network of L layers.

    Attributes:
        words: (W,) texts.
        gates: (L, W, D) in [0, 1], the numbers of the sound first (`probes.look_inside_muse`).
        known: (W,) bool, False where a word has no vector; None where that is not known.
        note: a line on the utterance.
    """

    words: Sequence[str]
    gates: np.ndarray
    known: np.ndarray | None = None
    note: str = ""


def distributions(gates: np.ndarray, half: int) -> dict[str, np.ndarray]:
    """Gates (L, W, D) by layer and half, the sound's `half` numbers and the rest: "mean", "low",
    "high" and "open" (the share above 1/2), each (L, 2, W), and "shares" (L, 2, W, BINS): of the
    numbers in each bar; the last takes 1 too."""
    gates = np.asarray(gates, float)
    sides = [gates[..., :half], gates[..., half:]]
    bins = [np.minimum((side * BINS).astype(int), BINS - 1) for side in sides]
    shares = [np.stack([(b == k).mean(-1) for k in range(BINS)], -1) for b in bins]
    found = {
        "mean": [side.mean(-1) for side in sides],
        "low": [side.min(-1) for side in sides],
        "high": [side.max(-1) for side in sides],
        "open": [(side > 1 / 2).mean(-1) for side in sides],
        "shares": shares,
    }
    return {name: np.stack(values, 1) for name, values in found.items()}


def told_of(utterances: Sequence[Gated], half: int, start: float | None = None) -> dict:
    """What the figure shows, as `plain` JSON.

    Args:
        half: how many of the D numbers come from the sound. start: how far the bias alone opens a
            gate before training, to be marked.

    Raises:
        ValueError: no utterances, another number of layers or of numbers than in the first, gates
            or `start` outside of [0, 1], arrays that do not fit, a half that is empty.
    """
    if not utterances:
        raise ValueError("no utterances")
    layers, _, width = (*np.shape(utterances[0].gates), 0, 0, 0)[:3]
    for one in utterances:
        _check(one, layers, width)
    if not 0 < half < width:
        raise ValueError(f"half is {half} of {width} numbers; each half needs one at least")
    if start is not None and not 0 <= start <= 1:
        raise ValueError(f"start is {start}, not in [0, 1]")
    told = [_told(one, half) for one in utterances]
    return plain({
        "layers": layers,
        "sizes": [half, width - half],
        "start": start,
        "most": max(np.max(one["shares"]) for one in told),
        "utterances": told,
    })  # fmt: skip


def _check(one: Gated, layers: int, width: int) -> None:
    wanted, shape = (layers, len(one.words), width), np.shape(one.gates)
    if shape != wanted or 0 in wanted:
        raise ValueError(f"gates {shape}, not (layers, words, numbers) = {wanted}")
    gates = np.asarray(one.gates, float)
    if not ((gates >= 0) & (gates <= 1)).all():
        raise ValueError("gates must lie in [0, 1]")
    if one.known is not None and np.shape(one.known) != (len(one.words),):
        raise ValueError(f"known {np.shape(one.known)} of {len(one.words)} words")


def _told(one: Gated, half: int) -> dict:
    known = np.ones(len(one.words), bool) if one.known is None else np.asarray(one.known, bool)
    found = distributions(one.gates, half)
    return {
        "text": " ".join(one.words),
        "note": one.note,
        "words": list(one.words),
        "known": known,
        **{name: values.round(4) for name, values in found.items()},
    }


class Gates(Explorer):
    """The gates of a highway network for the words of an utterance: the mean of each half in each
    layer, and for one word in one layer all of its numbers, as a distribution.

    Attributes:
        utterance, layer, word: places of what is shown; a word beyond the last is the last.

    Args:
        utterances, half, start: see `told_of`.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`, and those above.

    Raises:
        ValueError: see `told_of`.
    """

    _esm = source("common.js", "grid.js", "gates.js")
    _css = source("explorer.css")
    utterance = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    word = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self,
        utterances: Sequence[Gated],
        half: int,
        start: float | None = None,
        label: str = "Highway gates by word and layer",
        **traits,
    ):
        super().__init__(data=told_of(utterances, half, start), label=label, **traits)

    @traitlets.validate("utterance", "layer")
    def _known(self, proposal) -> int:
        if self.data:
            counts = {"utterance": len(self.data["utterances"]), "layer": self.data["layers"]}
            count = counts[proposal.trait.name]
            if not 0 <= proposal.value < count:
                raise traitlets.TraitError(f"there are {count} {proposal.trait.name}s")
        return proposal.value
