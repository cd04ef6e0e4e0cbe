import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.probes.similarity import LEAST, curves, hump, judge

EPOCHS = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
UP_AND_DOWN = np.array([0.0, 0.4, 0.6, 0.5, 0.3])


def result(rows, kind="h", epochs=EPOCHS):
    """A recorded run with two pairs, whose mean is the curve."""
    pairs = {f"{kind} a-b": list(rows - 0.1), f"{kind} a-c": list(rows + 0.1)}
    trace = {"step": list(range(len(rows))), "epoch": list(epochs), **pairs}
    return {"command": "mmer train x", "trace": trace}


def test_curves_are_the_means_over_pairs_of_one_kind_as_long_as_the_shortest():
    epochs, found = curves([result(UP_AND_DOWN), result(UP_AND_DOWN[:4], epochs=EPOCHS[:4])], "h")
    np.testing.assert_allclose(epochs, EPOCHS[:4])
    np.testing.assert_allclose(found, [UP_AND_DOWN[:4]] * 2)
    both = result(UP_AND_DOWN, "i")
    both["trace"] |= result(1 - UP_AND_DOWN, "i_low")["trace"]
    np.testing.assert_allclose(curves([both], "i")[1][0], UP_AND_DOWN)
    np.testing.assert_allclose(curves([both], "i_low")[1][0], 1 - UP_AND_DOWN)
    with pytest.raises(ValueError, match="too many values"):  # traced at other moments
        curves([result(UP_AND_DOWN), result(UP_AND_DOWN, epochs=EPOCHS * 2)], "h")


@pytest.mark.parametrize(
    "curve, height, at, dip",
    [
        (UP_AND_DOWN, 0.3, 1.0, 0.0),
        (1 - UP_AND_DOWN, 0.0, 0.0, 0.3),
        (np.array([0.0, 0.1, 0.2, 0.3, 0.4]), 0.0, 3.0, 0.0),
        (np.zeros(5), 0.0, 0.0, 0.0),
        (np.array([0.2, 0.6, 0.1, 0.3, 0.5]), 0.1, 0.5, 0.1),
    ],
)
def test_a_hump_is_the_smaller_of_rise_and_fall(curve, height, at, dip):
    found = hump(EPOCHS, curve)
    assert (found.height, found.at, found.dip) == pytest.approx((height, at, dip))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.floats(-2, 2), st.floats(0.1, 3))
def test_a_hump_moves_with_scale_and_not_with_level(values, level, scale):
    curve = np.array(values)
    epochs = np.arange(len(curve), dtype=float)
    one, other = hump(epochs, curve), hump(epochs, scale * curve + level)
    assert other.height == pytest.approx(scale * one.height, abs=1e-9)
    upside = hump(epochs, -curve)
    assert upside.height == pytest.approx(one.dip) and upside.dip == pytest.approx(one.height)
    assert 0 <= one.height <= np.ptp(curve)


def test_the_verdict_follows_from_all_runs():
    rng = np.random.default_rng(0)
    noisy = UP_AND_DOWN + rng.normal(0, 0.01, (10, 5))
    yes = judge(EPOCHS, noisy)
    assert yes.text == "rises, then falls" and yes.runs == yes.humps == 10
    assert yes.height[1] < yes.height[0] < yes.height[2] and yes.at[0] == 1.0
    no = judge(EPOCHS, 1 - noisy)
    assert no.text == "does not rise and fall" and no.humps == 0 and no.dip[1] > LEAST
    flat = judge(EPOCHS, rng.normal(0, 0.005, (10, 5)))
    assert flat.text == "does not rise and fall" and flat.height[2] < LEAST
    split = judge(EPOCHS, np.concatenate([noisy[:5] / 3, np.zeros((5, 5))]))
    assert split.text == "open" and split.humps == 5
    early, late = np.array([0, 1, 0, 0, 0.0]), np.array([0, 0, 0, 1, 0.0])
    mean = judge(EPOCHS, np.stack([early, late]))
    assert mean.humps == 2 and mean.height[0] == pytest.approx(0.5)
