"""Sound, filterbanks and times of words that come as arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from mmer_lib.corpora.files import LOUDEST
from mmer_lib.data import DataError, Findings, Word

_SLOWEST = 1000  # Hz; a rate under it was meant in kHz


def same(array: np.ndarray) -> np.ndarray:
    """A waveform's callable, bound to samples that are there already."""
    return array


def media_of(given: dict[str, list], rate, places: list[str], problems: Findings) -> list[dict]:
    """The fields of every utterance that come from arrays: waveform and rate, frames, words.

    Raises:
        DataError: waveforms with a rate that is none; what else is wrong goes to the problems.
    """
    media: list[dict] = [{} for _ in places]
    if "waveforms" in given:
        if not isinstance(rate, int | float | np.number) or not 0 < rate < math.inf:
            raise DataError(f"{problems.source}: waveforms with rate {rate!r}; give it in Hz")
        if rate < _SLOWEST:
            raise DataError(
                f"{problems.source}: waveforms with rate {rate!r}, under {_SLOWEST}; give it in "
                "Hz, not in kHz"
            )
        for one, wave, place in zip(media, given["waveforms"], places, strict=True):
            wave = _array(wave, (1, 2), "waveforms", place, problems)
            one.update(waveform=partial(same, wave), rate=int(rate))
    if "frames" in given:
        for one, bank, place in zip(media, given["frames"], places, strict=True):
            one["frames"] = _array(bank, (2,), "frames", place, problems)
        bands = Counter(one["frames"].shape[1] for one in media if one["frames"].size)
        for one, place in zip(media, places, strict=True):
            width = one["frames"].shape[1]
            if width and width != bands.most_common(1)[0][0]:
                where = f"{place}: {width}"
                problems.add("frames: not as many bands as most", where, "use one filterbank")
    if "words" in given:
        for one, words, place in zip(media, given["words"], places, strict=True):
            one["words"] = _word_times(words, place, problems)
    return media


def _array(array, axes: Sequence[int], name: str, place: str, problems: Findings) -> np.ndarray:
    """The array as float32; what is wrong with it goes to the problems, and nothing comes back."""
    try:
        array = np.asarray(array)
    except ValueError:  # rows of different lengths
        array = np.zeros(0, object)
    if array.ndim not in axes or not array.size:
        shape = "(T, bands)" if name == "frames" else "(samples,) or (samples, channels)"
        problems.add(f"{name}: wrong shape", f"{place}: {array.shape}", f"expected {shape}")
    elif array.dtype.kind != "f":
        remedy = "expected floats (16-bit samples: divide by 32768)"
        problems.add(f"{name}: wrong type", f"{place}: {array.dtype}", remedy)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
            array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            problems.add(f"{name}: NaN or infinite", place, "mend or leave out these utterances")
        elif name == "waveforms" and np.abs(array).max() > LOUDEST:
            remedy = "scale to [-1, 1] (16-bit samples: divide by 32768)"
            problems.add("waveforms: far too loud", f"{place}: {np.abs(array).max():g}", remedy)
        else:
            return array
    return np.zeros((0, 0), np.float32)


def _word_times(words: Iterable, place: str, problems: Findings) -> tuple[Word, ...]:
    try:
        timed = tuple(Word(str(text), float(start), float(end)) for text, start, end in words)
    except (TypeError, ValueError):
        problems.add("words: not (word, start, end)", place, "give three items a word")
        return ()
    starts = [0.0, *(word.start for word in timed)]
    ordered = all(a <= b for a, b in pairwise(starts))
    if not ordered or not all(word.start <= word.end < math.inf for word in timed):
        problems.add("words: times run backwards", place, "give start <= end in seconds, in order")
    return timed
