"""The scores against the formulas as the field states them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from mmer_lib.data import DataError
from mmer_lib.training.metrics import emotion_scores, legacy_scores, sentiment_scores

# thirds too, so that scores as raters give them occur, and halves, where rounding has to choose
SCORES = st.sampled_from([k / 6 for k in range(-20, 21)])


def scores(prediction, truth):
    return sentiment_scores(torch.tensor(prediction), torch.tensor(truth))


def naive(prediction, truth):
    """The formulas as the field states them, with numpy and scikit-learn."""
    p, y = np.float64(np.float32(prediction)), np.float64(np.float32(truth))
    some = y != 0
    expected = {"mae": np.abs(p - y).mean(), "corr": np.nan}
    if p.min() < p.max() and y.min() < y.max():
        expected["corr"] = np.corrcoef(p, y)[0, 1]
    expected["acc2_has0"] = accuracy_score(y >= 0, p >= 0)
    expected["f1_has0"] = f1_score(y >= 0, p >= 0, average="weighted")
    expected["acc2_non0"] = expected["f1_non0"] = np.nan
    if some.any():
        expected["acc2_non0"] = accuracy_score(y[some] > 0, p[some] > 0)
        expected["f1_non0"] = f1_score(y[some] > 0, p[some] > 0, average="weighted")
    for name, bound in (("acc5", 2), ("acc7", 3)):
        rounded = [[round(min(max(x, -bound), bound)) for x in v.tolist()] for v in (p, y)]
        expected[name] = accuracy_score(*rounded)
    return expected


def naive_legacy(p, y):
    """F1 with prediction and truth exchanged, as some programs compute it."""
    some = y != 0
    expected = {"acc2_pos": accuracy_score(y > 0, p > 0), "f1_non0_legacy": np.nan}
    expected["f1_has0_legacy"] = f1_score(p >= 0, y >= 0, average="weighted")
    if some.any():
        expected["f1_non0_legacy"] = f1_score(p[some] > 0, y[some] > 0, average="weighted")
    return expected


# -------------------------------------------------------------------------------- sentiment


@given(pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_score_agrees_with_its_formula(pairs):
    p, y = (np.float32(column) for column in zip(*pairs, strict=True))
    prediction, truth = torch.from_numpy(p), torch.from_numpy(y)
    for found, expected in (
        (sentiment_scores(prediction, truth), naive(p, y)),
        (legacy_scores(prediction, truth), naive_legacy(p, y)),
    ):
        assert set(found) == set(expected)
        assert all(type(v) is float for v in found.values())
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


def test_a_case_by_hand():
    truth = [-3.0, -1.0, 0.0, 1.0, 2.0]
    prediction = [-2.0, 0.5, -0.4, 1.4, 3.5]
    s = scores(prediction, truth)
    assert s["mae"] == pytest.approx((1 + 1.5 + 0.4 + 0.4 + 1.5) / 5)
    # centred: truth -2.8 -.8 .2 1.2 2.2; prediction -2.6 -.1 -1 .8 2.9
    top = 2.8 * 2.6 + 0.8 * 0.1 - 0.2 * 1.0 + 1.2 * 0.8 + 2.2 * 2.9
    bottom = math.sqrt((7.84 + 0.64 + 0.04 + 1.44 + 4.84) * (6.76 + 0.01 + 1 + 0.64 + 8.41))
    assert s["corr"] == pytest.approx(top / bottom, abs=1e-6)
    assert s["acc2_has0"] == pytest.approx(3 / 5)  # -1 and 0 are on the wrong side
    # has0: negative: 1 hit, 1 false, 1 missed -> 1/2; positive: 2 hit, 1 false, 1 missed -> 2/3
    assert s["f1_has0"] == pytest.approx((2 * 0.5 + 3 * 2 / 3) / 5)
    assert s["acc2_non0"] == pytest.approx(3 / 4)
    # non0: negative: 1 hit, 1 missed -> 2/3; positive: 2 hit, 1 false -> 4/5
    assert s["f1_non0"] == pytest.approx((2 * 2 / 3 + 2 * 4 / 5) / 4)
    assert s["acc7"] == pytest.approx(2 / 5)  # -.4 is 0 and 1.4 is 1; 3.5 is 3
    assert s["acc5"] == pytest.approx(4 / 5)  # only .5 against -1 is wrong


@pytest.mark.parametrize(
    ("prediction", "truth", "name", "expected"),
    [
        ([0.0, 0.0], [1.0, -1.0], "acc2_has0", 0.5),  # 0 is not negative
        ([0.0, 0.0], [1.0, -1.0], "acc2_non0", 0.5),  # but not positive either
        ([1.0, -1.0], [1e-6, 0.0], "acc2_non0", 1.0),  # a tiny truth is not 0
        ([0.5, 2.5, -1.5], [0.0, 2.0, -2.0], "acc7", 1.0),  # halves go to the even
        ([9.0, -9.0], [3.0, -3.0], "acc7", 1.0),  # clipped before it is rounded
        ([3.0, -2.6], [2.0, -2.0], "acc5", 1.0),
        ([3.0, -2.6], [2.0, -2.0], "acc7", 0.0),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0], "corr", math.nan),  # a constant has none
        ([6.0, 7.0, 8.5], [-2.0, 0.0, 3.0], "corr", 1.0),  # of scale and shift it knows nothing
        ([0.5, -0.5], [0.0, 0.0], "acc2_non0", math.nan),  # all neutral
        ([0.5, -0.5], [0.0, 0.0], "f1_non0", math.nan),
    ],
)
@pytest.mark.filterwarnings("error")
def test_conventions(prediction, truth, name, expected):
    assert scores(prediction, truth)[name] == pytest.approx(expected, nan_ok=True, abs=1e-6)


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        (torch.tensor([0.0, math.nan]), torch.zeros(2)),
        (torch.zeros(2), torch.tensor([0.0, math.inf])),
        (torch.zeros(3, 1), torch.zeros(3)),
    ],
)
def test_what_is_not_finite_or_of_another_shape_is_refused(prediction, truth):
    with pytest.raises(DataError):
        sentiment_scores(prediction, truth)
    with pytest.raises(DataError):
        emotion_scores(truth[:, None] * math.nan, truth.long())


# ---------------------------------------------------------------------------------- emotion


@given(truth=st.lists(st.integers(0, 3), min_size=1, max_size=30), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
def test_weighted_and_unweighted_accuracy_are_scikit_learns(truth, seed):
    """Of logits and of their probabilities alike."""
    logits = torch.rand(len(truth), 4, generator=torch.Generator().manual_seed(seed))
    found = emotion_scores(logits.softmax(1), torch.tensor(truth))
    assert found == emotion_scores(logits, torch.tensor(truth))
    chosen = logits.argmax(1).numpy()
    assert set(found) == {"wa", "ua"} and all(type(v) is float for v in found.values())
    assert found["wa"] == pytest.approx(accuracy_score(truth, chosen), abs=1e-6)
    assert found["ua"] == pytest.approx(balanced_accuracy_score(truth, chosen), abs=1e-6)


@pytest.mark.parametrize(
    ("truth", "chosen", "wa", "ua"),
    [
        ([0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1], 5 / 6, (1 + 0.5) / 2),
        ([0, 0, 1, 1], [0, 0, 1, 3], 0.75, 0.75),  # a class that does not occur does not count
    ],
)
def test_unweighted_accuracy_counts_every_class_alike(truth, chosen, wa, ua):
    found = emotion_scores(torch.eye(4)[chosen], torch.tensor(truth))
    assert found == pytest.approx({"wa": wa, "ua": ua})
