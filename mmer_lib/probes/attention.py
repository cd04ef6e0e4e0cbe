"""Measures of attention maps: where the weight lies, how far from the spoken word, how spread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mmer_lib.data import Word


def spoken_word(words: tuple[Word, ...], times: np.ndarray) -> np.ndarray:
    """For each time (T,) in seconds the position of the word then spoken, -1 in a pause."""
    at = np.full(len(times), -1)
    for i, word in enumerate(words):
        at[(times >= word.start) & (times < word.end)] = i
    return at


def attention_on_spoken_word(attention: np.ndarray, spoken: np.ndarray) -> tuple[float, float]:
    """Mean weight of attention (T, W) of speech frames on the word being spoken (T,), from
    `spoken_word`; and the weight 1 / W of an indifferent reader."""
    real = spoken >= 0
    hits = attention[real, spoken[real]]
    return float(hits.mean()), 1 / attention.shape[1]


def distance_to_words(words: tuple[Word, ...], times: np.ndarray) -> np.ndarray:
    """Seconds from each time (T,) to each word (T, W); 0 while the word is being spoken."""
    start, end = np.array([(w.start, w.end) for w in words]).T
    return np.maximum(np.maximum(start - times[:, None], times[:, None] - end), 0.0)


def alignment_error(
    attention: np.ndarray, words: tuple[Word, ...], times: np.ndarray
) -> tuple[float, float]:
    """Milliseconds from a frame to the words that it attends to: attention (T, W), times (T,) in
    seconds; the mean over the frames during which a word is spoken (0: all weight on that word).
    And the same of an indifferent reader, who spreads his weight evenly."""
    spoken = spoken_word(words, times) >= 0
    distance = distance_to_words(words, times)[spoken]
    expected = (attention[spoken] * distance).sum(-1)
    return float(1000 * expected.mean()), float(1000 * distance.mean())


def entropy(attention: np.ndarray) -> np.ndarray:
    """Entropy of each row of (..., W) as a share of the largest, log W: 1 is indifferent, 0 looks
    at one word. A row over one word alone gives 0."""
    safe = np.clip(attention, 1e-12, None)
    return -(attention * np.log(safe)).sum(-1) / np.log(max(attention.shape[-1], 2))


def preference(weights: np.ndarray, chosen: np.ndarray) -> float:
    """The mean weight at the positions or in the mask `chosen` over the mean of all weights (L,).
    1 is indifferent; NaN where nothing is chosen."""
    picked = weights[chosen]
    return float(picked.mean() / weights.mean()) if picked.size else float("nan")


@torch.inference_mode()
def influence(layer: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    """How far each position of x (1, L, inputs) reaches: (L, L), entry [i, j] is the norm of the
    change of output j of a layer, which gives (1, L, D), when input i is set to zeros."""
    whole, rows = layer(x), []
    for i in range(x.shape[1]):
        without = x.clone()
        without[:, i] = 0
        rows.append((layer(without) - whole)[0].norm(dim=-1))
    return torch.stack(rows).float().cpu().numpy()
