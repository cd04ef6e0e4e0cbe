"""The best that anyone could do on the demo corpus with some of its modalities.

The recipe says how often each modality carries, hides or contradicts the emotion; enumerating
all that it can give yields the exact Bayes decision, and its expected scores, for an observer
who sees any subset of the modalities.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer_lib.data import EMOTIONS, MODALITIES, DataError, Utterance


@dataclass(frozen=True)
class Observer:
    """The best possible reader of some modalities: it sees without error what each of them shows
    and how strongly, knows the recipe, and decides by Bayes' rule. No model that is given only
    those modalities can be better on average (it may be on a finite test part, by luck).

    "Audio" means the tone of voice: a listener who also understands the words has text + audio.

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


def _outcomes(recipe: dict):
    """Every (emotion, what the three modalities show, strength, sentiment) with its probability."""
    for emotion, (pattern, p), (strength, q) in itertools.product(
        EMOTIONS, recipe["patterns"].items(), recipe["strengths"].items()
    ):
        others = [e for e in EMOTIONS if e not in (emotion, "neutral")]
        choices = [{"c": [emotion], "n": ["neutral"], "x": others}[role] for role in pattern]
        combinations = list(itertools.product(*choices))
        for shown in combinations:
            for noise, r in recipe["sentiment_noise"].items():
                y = round(recipe["sentiment"][emotion][strength] + noise, 2)
                yield emotion, shown, strength, y, p * q * r / len(EMOTIONS) / len(combinations)


def observer(recipe: dict, modalities: Sequence[str]) -> Observer:
    """The `Observer` of some modalities, by enumerating all that the recipe can give."""
    for m in modalities:
        if m not in MODALITIES:
            raise DataError(f"unknown modality {m!r}; known: {', '.join(MODALITIES)}")
    modalities = tuple(m for m in MODALITIES if m in modalities)
    columns = [MODALITIES.index(m) for m in modalities]
    seen: dict[tuple, Counter] = defaultdict(Counter)
    for emotion, shown, strength, y, p in _outcomes(recipe):
        seen[_sight(tuple(shown[c] for c in columns), strength)][emotion, y] += p
    decisions = {sight: _decide(posterior) for sight, posterior in seen.items()}
    return Observer(modalities, decisions, _expected(seen, decisions))


_CLASSES = {  # the field's derived classes of a sentiment (see metrics.py)
    "acc2_has0": lambda y: y >= 0,
    "acc2_non0": lambda y: None if y == 0 else y > 0,
    "acc7": lambda y: round(max(-3.0, min(3.0, y))),
}


def _decide(posterior: Counter) -> dict:
    emotions, decision = Counter(), {}
    for (emotion, _), p in posterior.items():
        emotions[emotion] += p
    decision["emotion"] = emotions.most_common(1)[0][0]
    values = np.array(sorted({y for _, y in posterior}))
    weights = np.array([sum(p for (_, y), p in posterior.items() if y == v) for v in values])
    decision["mean"] = float(weights @ values / weights.sum())
    middle = np.searchsorted(np.cumsum(weights), weights.sum() / 2)
    decision["median"] = float(values[min(middle, len(values) - 1)])
    for name, classify in _CLASSES.items():
        votes = Counter()
        for v, w in zip(values, weights, strict=True):
            votes[classify(v)] += w
        votes.pop(None, None)
        decision[name] = votes.most_common(1)[0][0] if votes else None
    return decision


def _expected(seen: dict, decisions: dict) -> dict[str, float]:
    outcomes = [(e, y, p, decisions[sight]) for sight, c in seen.items() for (e, y), p in c.items()]
    p = np.array([o[2] for o in outcomes])
    y = np.array([o[1] for o in outcomes])
    mean = np.array([o[3]["mean"] for o in outcomes])
    emotion = np.array([o[0] for o in outcomes])
    right = emotion == [o[3]["emotion"] for o in outcomes]
    recalls = [p[right & (emotion == e)].sum() / p[emotion == e].sum() for e in EMOTIONS]
    scores = {"wa": float(p[right].sum()), "ua": float(np.mean(recalls))}
    scores["mae"] = float(p @ np.abs(y - [o[3]["median"] for o in outcomes]))
    # the largest correlation that any function of the sight can have with y
    explained = p @ (mean - p @ mean) ** 2 / (p @ (y - p @ y) ** 2)
    scores["corr"] = float(math.sqrt(explained))
    for name, classify in _CLASSES.items():
        truth = [classify(v) for v in y]
        counted = np.array([t is not None for t in truth])
        hit = np.array([t == o[3][name] for t, o in zip(truth, outcomes, strict=True)])
        scores[name] = float(p[counted & hit].sum() / p[counted].sum())
    return scores
