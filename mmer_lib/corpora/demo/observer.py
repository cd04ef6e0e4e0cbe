"""The best that anyone could do on the demo corpus with some of its modalities: the exact Bayes
decision, and its expected scores, by enumerating all that the recipe can give."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer_lib.data import EMOTIONS, MODALITIES, DataError, Utterance, few


@dataclass(frozen=True)
class Observer:
    """The best possible reader of some modalities: it sees without error what each of them shows
    and how strongly, knows the recipe, and decides by Bayes' rule. "Audio" means the tone of voice:
    a listener who also understands the words has text + audio.

    Attributes:
        modalities: what it sees.
        decisions: for each possible sight, the best emotion, the median and the mean of the
            sentiment, and the best decision on each derived class.
        expected: its expected scores on the recipe: WA, UA, MAE, Corr, Acc-2 (both), Acc-7.
    """

    modalities: tuple[str, ...]
    decisions: dict
    expected: dict[str, float]

    def sight(self, u: Utterance) -> tuple:
        shown = tuple(u.planted.shows[m] for m in self.modalities)
        return _sight(shown, u.planted.strength)

    def emotions(self, utterances: Iterable[Utterance]) -> list[str]:
        """Its decision on each utterance."""
        return [self.decisions[self.sight(u)]["emotion"] for u in utterances]

    def sentiments(self, utterances: Iterable[Utterance]) -> np.ndarray:
        """Its sentiment (posterior median, the best for MAE) on each utterance."""
        return np.array([self.decisions[self.sight(u)]["median"] for u in utterances])


def _sight(shown: tuple[str, ...], strength: int) -> tuple:
    """The strength shows only where at least one modality shows an emotion."""
    return (*shown, strength if any(s != "neutral" for s in shown) else None)


def observer(recipe: dict, modalities: Sequence[str]) -> Observer:
    """The `Observer` of some modalities, by enumerating all that the recipe can give."""
    if unknown := set(modalities) - set(MODALITIES):
        raise DataError(f"unknown modality {few(unknown)}; known: {', '.join(MODALITIES)}")
    modalities = tuple(m for m in MODALITIES if m in modalities)
    seen: dict[tuple, Counter] = defaultdict(Counter)
    for emotion, (pattern, p), (strength, q) in itertools.product(
        EMOTIONS, recipe["patterns"].items(), recipe["strengths"].items()
    ):
        others = [e for e in EMOTIONS if e not in (emotion, "neutral")]
        choices = [{"c": [emotion], "n": ["neutral"], "x": others}[role] for role in pattern]
        combinations = list(itertools.product(*choices))
        for shown in combinations:
            sight = _sight(tuple(shown[MODALITIES.index(m)] for m in modalities), strength)
            for noise, r in recipe["sentiment_noise"].items():
                y = round(recipe["sentiment"][emotion][strength] + noise, 2)
                seen[sight][emotion, y] += p * q * r / len(EMOTIONS) / len(combinations)
    decisions = {sight: _decide(posterior) for sight, posterior in seen.items()}
    return Observer(modalities, decisions, _expected(seen, decisions))


_CLASSES = {  # the field's derived classes of a sentiment (see metrics.py)
    "acc2_has0": lambda y: y >= 0,
    "acc2_non0": lambda y: None if y == 0 else y > 0,
    "acc7": lambda y: round(max(-3.0, min(3.0, y))),
}


def _decide(posterior: Counter) -> dict:
    emotions, sentiments = Counter(), Counter()
    for (emotion, y), p in posterior.items():
        emotions[emotion] += p
        sentiments[y] += p
    values = np.array(sorted(sentiments))
    weights = np.array([sentiments[y] for y in values])
    middle = np.searchsorted(np.cumsum(weights), weights.sum() / 2)
    decision = {
        "emotion": emotions.most_common(1)[0][0],
        "mean": float(weights @ values / weights.sum()),
        "median": float(values[min(middle, len(values) - 1)]),
    }
    for name, classify in _CLASSES.items():
        votes = Counter()
        for v, w in zip(values, weights, strict=True):
            votes[classify(v)] += w
        votes.pop(None, None)
        decision[name] = votes.most_common(1)[0][0] if votes else None
    return decision


def _expected(seen: dict, decisions: dict) -> dict[str, float]:
    rows = [(e, y, p, decisions[sight]) for sight, c in seen.items() for (e, y), p in c.items()]
    emotion, y, p, decided = zip(*rows, strict=True)
    emotion, y, p = np.array(emotion), np.array(y), np.array(p)
    mean = np.array([d["mean"] for d in decided])
    right = emotion == [d["emotion"] for d in decided]
    recalls = [p[right & (emotion == e)].sum() / p[emotion == e].sum() for e in EMOTIONS]
    # the largest correlation that any function of the sight can have with y
    explained = p @ (mean - p @ mean) ** 2 / (p @ (y - p @ y) ** 2)
    scores = {
        "wa": float(p[right].sum()),
        "ua": float(np.mean(recalls)),
        "mae": float(p @ np.abs(y - [d["median"] for d in decided])),
        "corr": math.sqrt(explained),
    }
    for name, classify in _CLASSES.items():
        truth = [classify(v) for v in y]
        counted = np.array([t is not None for t in truth])
        hit = np.array([t == d[name] for t, d in zip(truth, decided, strict=True)])
        scores[name] = float(p[counted & hit].sum() / p[counted].sum())
    return scores
