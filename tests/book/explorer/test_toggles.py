from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from mmer_lib.book.explorer.toggles import sentence, told_of
from mmer_lib.experiments.statistics import paired_test
from tests.book.explorer.made import (
    ALONE,
    CLASSES,
    FACTORS,
    NEITHER,
    SCALES,
    UTTERANCES,
    outcomes,
    toggles,
)

EVERY = list(product(*FACTORS.values()))
WHOLE = EVERY[0]


def test_every_combination_has_its_outcome_or_says_why_not():
    data, (there, missing, idle) = toggles().data, outcomes()
    for values, at, why, without in zip(
        EVERY, data["at"], data["missing"], data["idle"], strict=True
    ):
        assert (at == -1) == (values in missing)
        assert data["reasons"][why] == missing.get(values, "")
        assert {k: data["reasons"][v] for k, v in without.items()} == idle.get(values, {})
        if at >= 0:
            shown = data["outcomes"][at]
            assert shown["scores"] == pytest.approx(list(there[values].scores.values()), rel=1e-5)
            np.testing.assert_array_equal(shown["confusion"], there[values].confusion)
            for one, seen in zip(there[values].seen, shown["seen"], strict=True):
                np.testing.assert_allclose(seen["values"][0], one.values[0], atol=6e-5)
                if one.attention is None:
                    assert seen["attention"] is None and seen["says"] == "No frame reads a word."
                else:
                    np.testing.assert_allclose(seen["attention"], one.attention, atol=5e-4)
    assert data["reasons"] == ["", NEITHER, ALONE]


def test_what_is_one_outcome_stands_in_the_page_once():
    data = toggles().data
    assert len(data["outcomes"]) == 4 == len(set(data["at"]) - {-1})
    assert (
        data["at"][EVERY.index((True, False, "sum"))]
        == data["at"][EVERY.index((True, False, "highway"))]
    )


def test_it_opens_on_the_whole_model_and_all_scores_fit_its_axis():
    figure, (there, _, _) = toggles(), outcomes()
    assert figure.setting == dict(zip(FACTORS, WHOLE, strict=True)) and figure.utterance == 0
    scores = [s for o in there.values() for s in o.scores.values()]
    low, high = figure.data["range"]
    assert low <= min(scores) < low + 0.05 and high - 0.05 < max(scores) <= high
    mean = np.mean(list(there[WHOLE].scores.values()))
    assert figure.data["whole"] == pytest.approx(mean, rel=1e-5)


def test_the_sentence_pairs_runs_with_those_of_the_whole():
    there, _, _ = outcomes()
    whole, less = there[WHOLE], there[(False, True, "highway")]
    a, b = (np.array([o.scores[(0, s)] for s in range(2)]) for o in (less, whole))
    gap, p = paired_test(a, b)
    text = sentence(less, whole, "WA").replace("\u2212", "-")
    assert text.startswith(f"WA {a.mean():.3f} \u00b1 {a.std(ddof=1):.3f} over 2 runs.")
    assert f"run by run: {gap:+.3f} on average, from {(a - b).min():+.3f} to" in text
    assert f"(p {p:.2f} by sign flips of 2 pairs" in text
    assert "Against" not in sentence(whole, whole, "WA")
    one = replace(less, scores={(0, 0): 0.5})
    assert sentence(one, whole, "WA").startswith("WA 0.500 over one run. Against all parts, run")
    assert "p 0" not in sentence(one, whole, "WA")
    other = replace(less, scores={(9, 9): 0.5})
    assert sentence(other, whole, "WA") == "WA 0.500 over one run."


def made(change, **other):
    there, missing, idle = outcomes()
    given = {"there": there, "missing": missing, "idle": idle, **other}
    change(given["there"])
    return told_of(
        FACTORS, given["there"], given["missing"], given["idle"], UTTERANCES, CLASSES, SCALES, "WA"
    )


def with_reading(**fields):
    def change(there):
        first = there[WHOLE]
        there[WHOLE] = replace(first, seen=[replace(first.seen[0], **fields), *first.seen[1:]])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda there: there.pop(WHOLE), "the whole model"),
        (lambda there: there.update({("x",): there[WHOLE]}), "no combination of the factors"),
        (lambda there: there.update({WHOLE: replace(there[WHOLE], scores={})}), "without scores"),
        (lambda there: there.update({WHOLE: replace(there[WHOLE], confusion=np.ones((2, 3)))}),
         "no 3 x 3 confusion"),
        (lambda there: there.update({WHOLE: replace(there[WHOLE], seen=[])}), "0 readings of 2"),
        (with_reading(values=[np.ones(4)]), r"\[4\] values on scales of \[3\]"),
        (with_reading(attention=np.ones((6, 2))), r"attention \(6, 2\), not \(6, 3\)"),
        (with_reading(gates=np.ones((2, 5))), r"gates \(2, 5\), not \(2, 3\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        made(change)
