"""Words by themselves: a vocabulary as MUSE reads it, and how far its words lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from mmer_lib.data import Batch, pad
from mmer_lib.features.batches import Examples
from mmer_lib.models.layers import record
from mmer_lib.models.muse import PhonemeCNN


@dataclass(frozen=True)
class Lexicon:
    """The V different words of some utterances, in alphabetical order, as a model reads them.

    Attributes:
        words: (V,) strings.
        phonemes: (V, P) symbol numbers, 0 = padding. vectors: (V, D) word vectors.
        known: (V,) bool, False where the vector is zeros for want of a better.
    """

    words: np.ndarray
    phonemes: Tensor
    vectors: Tensor
    known: Tensor

    def rows(self, words: Sequence[str]) -> np.ndarray:
        """Positions of some words. Raises KeyError for one that is not there."""
        at = {word: i for i, word in enumerate(self.words)}
        return np.array([at[word] for word in words], dtype=int)

    def batch(self) -> Batch:
        """All words as one long "utterance" without sound, for the parts that read each word by
        itself (`WordFusion` and what is in it)."""
        return Batch(
            index=torch.zeros(1, dtype=torch.long),
            words=self.vectors[None],
            known=self.known[None],
            word_mask=torch.zeros(1, len(self.words), dtype=torch.bool),
            phonemes=self.phonemes[None],
        )


def lexicon_of(examples: Examples) -> Lexicon:
    """Every word of some utterances once, with the features of where it first stands."""
    features, first = examples.features, {}
    for row in examples.rows:
        for i, word in enumerate(examples.corpus.utterances[row].words):
            first.setdefault(word.text, (row, i))
    words = sorted(first)
    at = [first[word] for word in words]
    phonemes, _ = pad([features.phonemes[row][i] for row, i in at])
    return Lexicon(
        np.array(words),
        phonemes,
        torch.tensor(np.stack([features.words[row][i] for row, i in at])),
        torch.tensor([bool(features.known[row][i]) for row, i in at]),
    )


@torch.inference_mode()
def phoneme_windows(cnn: PhonemeCNN, phonemes: Tensor) -> list[np.ndarray]:
    """What every filter answers to every window of words (V, P), before the largest is taken: for
    each kernel an array (V, filters, P) of ReLU'd responses; entry p is the window that begins at
    phoneme p, and 0 where no phoneme begins."""
    convolutions = {str(i): layer for i, layer in enumerate(cnn.convolutions)}
    with record(convolutions) as seen:
        cnn(phonemes[None])
    real = (phonemes > 0).unsqueeze(1)  # (V, 1, P)
    return [(F.relu(seen[name]) * real.cpu()).numpy() for name in convolutions]


def sound_distances(phonemes: Tensor) -> np.ndarray:
    """Share of phonemes in which two words differ, from 0 to 1: (V, P), 0 = padding -> (V, V);
    the edit distance (Levenshtein) over the length of the longer word."""
    from nltk import edit_distance

    words = [[p for p in row if p] for row in phonemes.tolist()]
    found = np.zeros((len(words), len(words)))
    for i, a in enumerate(words):
        for j, b in enumerate(words[:i]):
            found[i, j] = found[j, i] = edit_distance(a, b) / max(len(a), len(b), 1)
    return found


def cosine_matrix(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Cosine of every vector of a (N, D) with every one of b (M, D), by default a: (N, M)."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, a if b is None else b))
    return a @ b.T


def matrix_correlations(
    a: np.ndarray, b: np.ndarray, draws: int = 300, seed: int = 0
) -> np.ndarray:
    """Whether things that are far apart in one way lie far apart in another: Spearman's
    correlation over all pairs of a and b (N, N), symmetric distances, ranked among all. (1 +
    draws,): first of the N things, then of N drawn with replacement, without pairs of the same."""
    pairs = np.triu_indices(len(a), 1)
    ranks = [squareform(rankdata(distances[pairs])) for distances in (a, b)]
    rng = np.random.default_rng(seed)
    drawn = [np.arange(len(a)), *(rng.integers(len(a), size=len(a)) for _ in range(draws))]
    found = []
    for rows in drawn:
        first, second = rows[pairs[0]], rows[pairs[1]]
        kept = first != second
        x, y = (rank[first[kept], second[kept]] for rank in ranks)
        found.append(np.corrcoef(x, y)[0, 1])
    return np.array(found)
