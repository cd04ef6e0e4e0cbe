import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from mmer_lib.data import DataError
from mmer_lib.training.metrics import emotion_scores, legacy_scores, sentiment_scores

NAMES = {"mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc5", "acc7"}
# thirds too, so that scores as raters give them occur, and halves, where rounding has to choose
SCORES = st.sampled_from([k / 6 for k in range(-20, 21)])


def scores(prediction, truth, dtype=torch.float32):
    return sentiment_scores(torch.tensor(prediction, dtype=dtype), torch.tensor(truth, dtype=dtype))


def naive(prediction, truth):
    """The formulas as the field states them, with numpy and scikit-learn."""
    p, y = np.float64(np.float32(prediction)), np.float64(np.float32(truth))
    some = y != 0
    with np.errstate(invalid="ignore"):
        found = {"mae": np.abs(p - y).mean()}
        found["corr"] = np.nan
        if p.min() < p.max() and y.min() < y.max():
            found["corr"] = np.corrcoef(p, y)[0, 1]
    found["acc2_has0"] = accuracy_score(y >= 0, p >= 0)
    found["f1_has0"] = f1_score(y >= 0, p >= 0, average="weighted")
    found["acc2_non0"] = found["f1_non0"] = np.nan
    if some.any():
        found["acc2_non0"] = accuracy_score(y[some] > 0, p[some] > 0)
        found["f1_non0"] = f1_score(y[some] > 0, p[some] > 0, average="weighted")
    for name, bound in (("acc5", 2), ("acc7", 3)):
        rounded = [[round(min(max(x, -bound), bound)) for x in v.tolist()] for v in (p, y)]
        found[name] = accuracy_score(*rounded)
    return found


# -------------------------------------------------------------------------------- sentiment


@given(pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_score_agrees_with_its_formula(pairs):
    prediction, truth = zip(*pairs, strict=True)
    found, expected = scores(prediction, truth), naive(prediction, truth)
    assert set(found) == set(expected) == NAMES
    assert all(type(v) is float for v in found.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@given(pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_legacy_scores_are_the_formulas_with_their_arguments_exchanged(pairs):
    p, y = (np.float32(column) for column in zip(*pairs, strict=True))
    found = legacy_scores(torch.from_numpy(p), torch.from_numpy(y))
    some, expected = y != 0, {"acc2_pos": accuracy_score(y > 0, p > 0)}
    expected["f1_has0_legacy"] = f1_score(p >= 0, y >= 0, average="weighted")
    expected["f1_non0_legacy"] = np.nan
    if some.any():
        expected["f1_non0_legacy"] = f1_score(p[some] > 0, y[some] > 0, average="weighted")
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


def test_a_legacy_case_by_hand():
    """Truth 1, 1, 1, -1 and prediction 1, -1, -1, -1: both classes are hit once."""
    truth, prediction = torch.tensor([1.0, 1, 1, -1]), torch.tensor([1.0, -1, -1, -1])
    right, swapped = sentiment_scores(prediction, truth), legacy_scores(prediction, truth)
    # positive: 1 hit, 2 missed -> 2/4; negative: 1 hit, 2 false -> 2/4, both ways round
    assert right["f1_non0"] == pytest.approx(swapped["f1_non0_legacy"]) == pytest.approx(0.5)
    truth = torch.tensor([1.0, 1, 1, 1, -1, 0])
    prediction = torch.tensor([1.0, 1, 1, -1, 1, 1])
    # non0, positive: 3 hit, 1 missed, 1 false -> 6/8; negative: none hit -> 0
    assert sentiment_scores(prediction, truth)["f1_non0"] == pytest.approx(4 * 0.75 / 5)
    assert legacy_scores(prediction, truth)["f1_non0_legacy"] == pytest.approx(4 * 0.75 / 5)
    assert legacy_scores(prediction, truth)["acc2_pos"] == pytest.approx(3 / 6)
    assert legacy_scores(prediction, truth)["f1_has0_legacy"] == pytest.approx(5 * 8 / 10 / 6)


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


def test_the_three_ways_to_two_classes_differ_on_a_biased_predictor():
    truth = [0.0] * 4 + [-1.0] * 6 + [1.0] * 6
    prediction = [0.4] * 3 + [-0.1] + [-0.5] * 2 + [0.3] * 4 + [0.8] * 6
    s = scores(prediction, truth)
    p, y = np.array(prediction), np.array(truth)
    over_all = float(((p > 0) == (y > 0)).mean())
    assert s["acc2_has0"] == pytest.approx((3 + 2 + 6) / 16)
    assert s["acc2_non0"] == pytest.approx((2 + 6) / 12)
    assert len({round(v, 3) for v in (s["acc2_has0"], s["acc2_non0"], over_all)}) == 3


def test_a_prediction_of_zero_is_not_negative_but_not_positive_either():
    s = scores([0.0, 0.0], [1.0, -1.0])
    assert s["acc2_has0"] == 0.5 and s["acc2_non0"] == 0.5
    s = scores([0.0, 1.0], [1.0, 1.0])
    assert s["acc2_has0"] == 1.0 and s["acc2_non0"] == 0.5


def test_a_tiny_truth_is_not_zero():
    assert scores([1.0, -1.0], [1e-6, 0.0])["acc2_non0"] == 1.0


@pytest.mark.parametrize("name", ["has0", "non0"])
def test_f1_is_weighted_by_the_truth_and_not_by_the_prediction(name):
    truth, prediction = [-1.0] * 5 + [1.0] * 3, [-1.0] * 2 + [1.0] * 6
    right = f1_score(np.array(truth) > 0, np.array(prediction) > 0, average="weighted")
    swapped = f1_score(np.array(prediction) > 0, np.array(truth) > 0, average="weighted")
    assert abs(right - swapped) > 0.01
    found = scores(prediction, truth)[f"f1_{name}"]
    assert found == pytest.approx(right) and found != pytest.approx(swapped)


@pytest.mark.parametrize(
    "value, rounded",
    [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (0.51, 1), (2.51, 3)],
)
def test_halves_are_rounded_to_the_even(value, rounded):
    assert scores([value], [float(rounded)])["acc7"] == 1.0
    assert scores([float(rounded)], [value])["acc7"] == 1.0


@pytest.mark.parametrize(
    "prediction, truth, acc5, acc7",
    [
        (9.0, 3.0, 1, 1),
        (-9.0, -3.0, 1, 1),
        (3.0, 2.0, 1, 0),
        (-2.6, -2.0, 1, 0),
        (1.4, 2.0, 0, 0),
    ],
)
def test_scores_are_clipped_before_they_are_rounded(prediction, truth, acc5, acc7):
    s = scores([prediction], [truth])
    assert (s["acc5"], s["acc7"]) == (acc5, acc7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "prediction, truth",
    [
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]),
        ([0.0, 1.0], [2.0, 2.0]),
        ([0.1] * 7, [float(k) for k in range(-3, 4)]),
        ([1.0], [1.0]),
    ],
)
def test_a_constant_has_no_correlation(prediction, truth):
    s = scores(prediction, truth)
    assert math.isnan(s["corr"])
    assert all(math.isfinite(v) for k, v in s.items() if k != "corr")


@pytest.mark.parametrize("slope, corr", [(0.5, 1.0), (-2.0, -1.0)])
def test_correlation_knows_neither_scale_nor_shift(slope, corr):
    truth = [-2.0, 0.0, 1.0, 3.0]
    assert scores([slope * y + 7 for y in truth], truth)["corr"] == pytest.approx(corr, abs=1e-6)


def test_only_neutral_truth_leaves_the_scores_without_it_undefined():
    s = scores([0.5, -0.5], [0.0, 0.0])
    assert math.isnan(s["acc2_non0"]) and math.isnan(s["f1_non0"])
    assert s["acc2_has0"] == 0.5


def test_a_perfect_prediction():
    truth = [-3.0, -1.2, 0.0, 0.4, 2.6]
    s = scores(truth, truth)
    assert s.pop("mae") == 0 and all(v == pytest.approx(1) for v in s.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("side", ["prediction", "truth"])
def test_what_is_not_finite_is_refused_by_name(bad, side):
    values = {"prediction": torch.zeros(3), "truth": torch.zeros(3)}
    values[side][1] = bad
    with pytest.raises(DataError, match=f"'{side}'.*not finite"):
        sentiment_scores(**values)


@pytest.mark.parametrize("shapes", [(3, 4), ((3, 1), 3), (0, 0)])
def test_shapes_that_differ_and_nothing_at_all_are_refused(shapes):
    with pytest.raises(DataError):
        sentiment_scores(*(torch.zeros(s) for s in shapes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_will_do(dtype):
    assert scores([-1.0, 0.5, 2.0], [-1.0, 1.0, 2.0], dtype)["mae"] == pytest.approx(1 / 6)


# ---------------------------------------------------------------------------------- emotion


@given(truth=st.lists(st.integers(0, 3), min_size=1, max_size=30), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
def test_weighted_and_unweighted_accuracy_are_scikit_learns(truth, seed):
    probabilities = torch.rand(len(truth), 4, generator=torch.Generator().manual_seed(seed))
    probabilities = probabilities / probabilities.sum(1, keepdim=True)
    found = emotion_scores(probabilities, torch.tensor(truth))
    chosen = probabilities.argmax(1).numpy()
    assert set(found) == {"wa", "ua"} and all(type(v) is float for v in found.values())
    assert found["wa"] == pytest.approx(accuracy_score(truth, chosen), abs=1e-6)
    assert found["ua"] == pytest.approx(balanced_accuracy_score(truth, chosen), abs=1e-6)


def test_unweighted_accuracy_counts_every_class_alike():
    truth, chosen = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 0, 0, 1])
    found = emotion_scores(torch.eye(4)[chosen], truth)
    assert found["wa"] == pytest.approx(5 / 6) and found["ua"] == pytest.approx((1 + 0.5) / 2)


def test_a_class_that_does_not_occur_does_not_count():
    truth, chosen = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 3])
    assert emotion_scores(torch.eye(4)[chosen], truth)["ua"] == pytest.approx(0.75)


def test_logits_score_as_their_probabilities_do():
    logits = 10 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.arange(50) % 4
    assert emotion_scores(logits, truth) == emotion_scores(logits.softmax(1), truth)
