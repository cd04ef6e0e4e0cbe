"""The best possible observers, against hand-written loops, random rivals and the full plan."""

import itertools

import numpy as np
import pytest

from mmer_lib.corpora.demo import demo
from mmer_lib.corpora.demo.observer import observer
from mmer_lib.data import EMOTIONS, MODALITIES, DataError, Utterance

RECIPE = demo.read_recipe()
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
OBSERVERS = {s: observer(RECIPE, s) for s in SUBSETS}


def worlds(recipe):
    """All that can happen: (emotion, what text, voice and face show, strength, sentiment, p)."""
    found = []
    for emotion in EMOTIONS:
        wrong = [e for e in ("angry", "happy", "sad") if e != emotion]
        for pattern, p in recipe["patterns"].items():
            shown = [([], 1.0)]
            for role in pattern:
                options = {"c": [emotion], "n": ["neutral"], "x": wrong}[role]
                shown = [([*s, o], q / len(options)) for s, q in shown for o in options]
            for strength, q in recipe["strengths"].items():
                for noise, r in recipe["sentiment_noise"].items():
                    y = round(recipe["sentiment"][emotion][strength] + noise, 1)
                    for shows, t in shown:
                        found.append((emotion, tuple(shows), strength, y, p * q * r * t / 4))
    return found


WORLDS = worlds(RECIPE)
Y = np.array([w[3] for w in WORLDS])
P = np.array([w[4] for w in WORLDS])
TRUTH = np.array([EMOTIONS.index(w[0]) for w in WORLDS])


def seen_by(modalities, shows, strength):
    """What an observer sees of a world; the strength only where something is shown."""
    part = tuple(s for m, s in zip(MODALITIES, shows, strict=True) if m in modalities)
    return part, strength if set(part) != {"neutral"} else 0


def sights(modalities):
    """(number of the sight of every world, how many there are)."""
    keys = [seen_by(modalities, w[1], w[2]) for w in WORLDS]
    number = {k: i for i, k in enumerate(dict.fromkeys(keys))}
    return np.array([number[k] for k in keys]), len(number)


def weighted_median(values, weights):
    """Smallest value with at least half of the weight at or below it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= weights.sum() / 2 - 1e-12
    return values[order][reached.argmax()]


@pytest.mark.parametrize("modalities", SUBSETS)
def test_all_scores_by_hand(modalities):
    cell, n = sights(modalities)
    wa, mae, mean = 0.0, 0.0, np.zeros(len(P))
    hits = {"acc2_has0": 0.0, "acc2_non0": 0.0, "acc7": 0.0}
    for k in range(n):
        here = cell == k
        wa += max(P[here & (TRUTH == e)].sum() for e in range(len(EMOTIONS)))
        mae += P[here] @ np.abs(Y[here] - weighted_median(Y[here], P[here]))
        mean[here] = P[here] @ Y[here] / P[here].sum()
        positive, negative = P[here & (Y > 0)].sum(), P[here & (Y < 0)].sum()
        zero = P[here & (Y == 0)].sum()
        hits["acc2_has0"] += max(positive + zero, negative)
        hits["acc2_non0"] += max(positive, negative)
        hits["acc7"] += max(P[here & (np.round(Y) == c)].sum() for c in range(-3, 4))
    hits["acc2_non0"] /= P[Y != 0].sum()
    centre = P @ Y
    corr = np.sqrt(P @ (mean - centre) ** 2 / (P @ (Y - centre) ** 2))
    expected = OBSERVERS[modalities].expected
    assert expected["wa"] == pytest.approx(wa, abs=1e-12)
    assert expected["mae"] == pytest.approx(mae, abs=1e-9)
    assert expected["corr"] == pytest.approx(corr, abs=1e-9)
    for name, value in hits.items():
        assert expected[name] == pytest.approx(value, abs=1e-9), name


# --------------------------------------------------------------------------- on the full plan


def planned_utterance(item):
    roles = dict(zip(MODALITIES, item["pattern"], strict=True))
    planted = demo.Planted(roles, item["shows"], item["strength"], (), item["topic"], ())
    who = {"id": item["id"], "speaker": item["speaker"], "session": item["session"]}
    labels = {"emotion": item["emotion"], "sentiment": item["sentiment"]}
    return Utterance(**who, text=" ".join(item["words"]), **labels, planted=planted)


UTTERANCES = [planned_utterance(item) for item in demo.plan(RECIPE)]
SENTIMENT = np.array([u.sentiment for u in UTTERANCES])


@pytest.mark.parametrize("modalities", SUBSETS)
def test_expected_scores_come_true_on_the_full_plan(modalities):
    one, n = OBSERVERS[modalities], len(UTTERANCES)
    right = np.array(one.emotions(UTTERANCES)) == [u.emotion for u in UTTERANCES]
    errors = np.abs(one.sentiments(UTTERANCES) - SENTIMENT)
    decisions = [one.decisions[one.sight(u)] for u in UTTERANCES]
    expected = one.expected
    for name, hits in (("wa", right), ("mae", errors), ("ua", right)):
        error = hits.std() / np.sqrt(n)
        assert abs(hits.mean() - expected[name]) < 3 * error, name  # classes are balanced
    r = np.corrcoef([d["mean"] for d in decisions], SENTIMENT)[0, 1]
    assert abs(r - expected["corr"]) < 3 * (1 - r**2) / np.sqrt(n) + 1e-3
    seven = np.array([d["acc7"] for d in decisions]) == np.round(np.clip(SENTIMENT, -3, 3))
    assert abs(seven.mean() - expected["acc7"]) < 3 * seven.std() / np.sqrt(n)
    signed = SENTIMENT != 0
    two = np.array([d["acc2_non0"] for d in decisions])[signed] == (SENTIMENT > 0)[signed]
    assert abs(two.mean() - expected["acc2_non0"]) < 3 * two.std() / np.sqrt(signed.sum())


def test_without_contradiction_a_full_carrier_is_never_wrong():
    recipe = {**RECIPE, "patterns": {"ccc": 1.0}}
    for modality in MODALITIES:
        assert observer(recipe, (modality,)).expected["wa"] == pytest.approx(1)


@pytest.mark.parametrize("modalities", [("text", "video"), "text"])
def test_an_unknown_modality_is_refused(modalities):
    with pytest.raises(DataError, match=r"unknown modality .*known: text, audio, vision"):
        observer(RECIPE, modalities)
