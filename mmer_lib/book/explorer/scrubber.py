"""One frame at a time: what is heard in it, and which words it attends to."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import traitlets
from IPython.display import Audio

from mmer_lib.book.explorer import Explorer, plain, source
from mmer_lib.data import Word
from mmer_lib.features.speech import FilterbankConfig, filterbank, frame_times, prepare

PICTURE = FilterbankConfig(bands=64)
"""The filterbank that is drawn: half as fine as MUSE's, on the same frames."""


@dataclass(frozen=True)
class Heard:
    """An utterance of W words, and how T frames attend to them.

    Attributes:
        words: in spoken order, times in seconds.
        samples: (N,) floats in [-1, 1]. rate: in Hz.
        times: (T,) seconds, the middle of each frame; frames lie at an even distance.
        maps: name of a layer -> (heads, 1 + T, W), weights that sum to 1 over the words; row 0 is
            the dummy frame (`probes.look_inside_muse`).
        note: a line on the utterance.
    """

    words: Sequence[Word]
    samples: np.ndarray
    rate: int
    times: np.ndarray
    maps: Mapping[str, np.ndarray]
    note: str = ""


def spoken(times: np.ndarray, words: Sequence[Word]) -> np.ndarray:
    """Which word is spoken at each of some times (T,): its place, where start <= time < end, or
    -1 where there is none; int (T,)."""
    start = np.array([w.start for w in words], float)
    end = np.array([w.end for w in words], float)
    at = np.asarray(times, float)[:, None]
    during = (start <= at) & (at < end)  # (T, W)
    return np.where(during.any(1), during.argmax(1), -1)


def told_of(utterances: Sequence[Heard]) -> dict:
    """What the figure shows, as `plain` JSON. Of every map there is also the mean over its heads;
    the sound is a WAV (16 kHz, 16 bit), the filterbank a PNG, both as data: addresses.

    Raises:
        ValueError: no utterances, layers or heads that differ between them, arrays that do not
            fit, weights that do not sum to 1, frames or words out of order, samples beyond 1.
    """
    if not utterances:
        raise ValueError("no utterances")
    for one in utterances:
        _check(one)
    kinds = [{name: len(a) for name, a in one.maps.items()} for one in utterances]
    heads = next(iter(kinds[0].values()), 0)
    if any(kind != kinds[0] for kind in kinds) or set(kinds[0].values()) != {heads}:
        raise ValueError(f"layers and their heads must be the same everywhere: {kinds}")
    return plain({
        "layers": list(kinds[0]),
        "heads": ["mean", *range(1, heads + 1)],
        "utterances": [_told(one) for one in utterances],
    })  # fmt: skip


def _check(one: Heard) -> None:
    frames, count = len(one.times), len(one.words)
    if not frames or not count:
        raise ValueError(f"{frames} frames and {count} words; at least one of each")
    gaps = np.diff(np.asarray(one.times, float))
    if not (np.all(gaps > 0) and np.allclose(gaps, gaps[:1])):
        raise ValueError("times must rise at an even distance")
    if any(not word.start < word.end for word in one.words):
        raise ValueError("a word that does not end after its start")
    if np.ndim(one.samples) != 1 or np.abs(one.samples).max(initial=0) > 1:
        raise ValueError("samples must be one row of numbers in [-1, 1]")
    if not one.maps:
        raise ValueError("no map of attention")
    for name, weights in one.maps.items():
        shape = np.shape(weights)
        if len(shape) != 3 or not shape[0] or shape[1:] != (1 + frames, count):
            raise ValueError(f"{name} is {shape}, not (heads, {1 + frames}, {count})")
        weights = np.asarray(weights, float)
        if weights.min() < 0 or not np.allclose(weights.sum(2), 1, atol=1e-3):
            raise ValueError(f"{name}: weights must sum to 1 over the words, none below 0")


def _told(one: Heard) -> dict:
    samples = prepare(one.samples, one.rate)
    seconds = len(one.samples) / one.rate
    maps = [np.asarray(a, float) for a in one.maps.values()]
    times = np.asarray(one.times, float)
    return {
        "text": " ".join(word.text for word in one.words),
        "note": one.note,
        "words": [
            {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in one.words
        ],
        "seconds": seconds,
        "times": times.round(4),
        "step": times[1] - times[0] if len(times) > 1 else seconds,
        "spoken": spoken(times, one.words),
        "maps": [np.concatenate([a.mean(0)[None], a]).round(3) for a in maps],
        "picture": _picture(samples),
        "sound": Audio(samples, rate=PICTURE.rate, normalize=False).src_attr(),
    }


def _picture(samples: np.ndarray) -> dict:
    """The filterbank as an image, the lowest band at its foot, from and to which second it goes."""
    bank = filterbank(samples, PICTURE.rate, PICTURE)  # (frames, bands)
    file = io.BytesIO()
    plt.imsave(file, bank.T, cmap="magma", origin="lower", format="png")
    centres, half = frame_times(len(bank), PICTURE), PICTURE.hop / PICTURE.rate / 2
    return {
        "image": f"data:image/png;base64,{b64encode(file.getvalue()).decode()}",
        "from": centres[0] - half,
        "to": centres[-1] + half,
    }


class Scrubber(Explorer):
    """An utterance to slide through: its filterbank, its words, its sound, and the words to which
    the chosen frame attends.

    Attributes:
        utterance: which is shown. layer: place of its map. head: 0 for the mean over heads, else
            the number of a head.
        frame: row of the map: 0 is the dummy frame; what lies beyond the last is the last.

    Args:
        utterances: to choose from.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`, and those above; by default
            the frame in the middle of the first utterance.

    Raises:
        ValueError: see `told_of`.
    """

    _esm = source("common.js", "grid.js", "scrubber.js")
    _css = source("explorer.css")
    utterance = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self, utterances: Sequence[Heard], label: str = "An utterance, frame by frame", **traits
    ):
        data = told_of(utterances)
        first = data["utterances"][traits.get("utterance", 0)]
        middle = {"frame": (1 + len(first["times"])) // 2}
        super().__init__(data=data, label=label, **{**middle, **traits})

    @traitlets.validate("utterance", "layer", "head")
    def _known(self, proposal) -> int:
        kind = f"{proposal.trait.name}s"
        if self.data and not 0 <= proposal.value < len(self.data[kind]):
            raise traitlets.TraitError(f"there are {len(self.data[kind])} {kind}")
        return proposal.value
