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

from mmer_lib.book.explorer import Explorer, source
from mmer_lib.data import Word
from mmer_lib.features.speech import FilterbankConfig, filterbank, frame_times, prepare
from mmer_lib.probes.attention import spoken_word

PICTURE = FilterbankConfig(bands=64)
"""The filterbank that is drawn: half as fine as MUSE's, on the same frames."""


@dataclass(frozen=True)
class AttendedUtterance:
    """An utterance of W words, and how T frames attend to them: name of a layer ->
    (heads, 1 + T, W), weights that sum to 1 over the words; row 0 is the dummy frame."""

    words: Sequence[Word]
    samples: np.ndarray  # (N,) in [-1, 1]
    rate: int
    times: np.ndarray  # (T,) seconds, the middle of each frame, at an even distance
    maps: Mapping[str, np.ndarray]
    note: str = ""  # a line on the utterance


def utterance_data(one: AttendedUtterance) -> dict:
    """What the page shows of an utterance. Of every map there is also the mean over its heads; the
    sound is a WAV (16 kHz, 16 bit), the filterbank a PNG, both as data: addresses."""
    samples = prepare(one.samples, one.rate)
    seconds, times = len(one.samples) / one.rate, np.asarray(one.times, float)
    maps = [np.asarray(weights, float) for weights in one.maps.values()]
    bank = filterbank(samples, PICTURE.rate, PICTURE)  # (frames, bands)
    file = io.BytesIO()
    plt.imsave(file, bank.T, cmap="magma", origin="lower", format="png")
    centres, half = frame_times(len(bank), PICTURE), PICTURE.hop / PICTURE.rate / 2
    return {
        "text": " ".join(word.text for word in one.words),
        "note": one.note,
        "words": [
            {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in one.words
        ],
        "seconds": seconds,
        "times": times.round(4),
        "step": times[1] - times[0] if len(times) > 1 else seconds,
        "spoken": spoken_word(one.words, times),
        "maps": [np.concatenate([a.mean(0)[None], a]).round(3) for a in maps],
        "picture": {
            "image": f"data:image/png;base64,{b64encode(file.getvalue()).decode()}",
            "from": centres[0] - half,
            "to": centres[-1] + half,
        },
        "sound": Audio(samples, rate=PICTURE.rate, normalize=False).src_attr(),
    }


class Scrubber(Explorer):
    """An utterance to slide through: its filterbank, its words, its sound, and the words to which
    the chosen frame attends.

    Args:
        utterances: to choose from, all with the same layers and heads.
        traits: of `Explorer`; places of the `utterance` and its `layer` that are shown; `head`: 0
            for the mean over heads; `frame`: 0 for the dummy frame, by default that in the middle.
    """

    _esm = source("common.js", "scrubber.js")
    label = traitlets.Unicode("An utterance, frame by frame").tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, utterances: Sequence[AttendedUtterance], **traits):
        maps = utterances[0].maps
        heads = len(next(iter(maps.values())))
        data = {
            "layers": list(maps),
            "heads": ["mean", *range(1, heads + 1)],
            "utterances": [utterance_data(one) for one in utterances],
        }
        first = utterances[traits.get("utterance", 0)]
        middle = {"frame": (1 + len(first.times)) // 2}
        super().__init__(data, **{**middle, **traits})
