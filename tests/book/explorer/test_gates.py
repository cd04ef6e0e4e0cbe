from dataclasses import replace

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmer_lib.book.explorer.gates import BINS, distributions, told_of
from tests.book.explorer.made import GATED, HALF, gates

SHARE = st.floats(0, 1, allow_subnormal=False)
STACKS = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9)).flatmap(
    lambda shape: arrays(float, shape, elements=SHARE)
)


@given(STACKS, st.data())
def test_a_distribution_holds_every_number_of_its_half_once(values, data):
    half = data.draw(st.integers(1, values.shape[2] - 1))
    found = distributions(values, half)
    np.testing.assert_allclose(found["shares"].sum(-1), 1)
    assert (found["low"] <= found["mean"] + 1e-12).all()
    assert (found["mean"] <= found["high"] + 1e-12).all()
    for side, part in enumerate((values[..., :half], values[..., half:])):
        np.testing.assert_allclose(found["mean"][:, side], part.mean(2))
        np.testing.assert_array_equal(found["low"][:, side], part.min(2))
        np.testing.assert_array_equal(found["high"][:, side], part.max(2))
        np.testing.assert_allclose(found["open"][:, side], (part > 0.5).mean(2))
        edges = np.arange(1, BINS) / BINS
        below = [(found["shares"][:, side, :, :k]).sum(-1) for k in range(1, BINS)]
        counted = [(part * BINS < edge * BINS).mean(2) for edge in edges]
        np.testing.assert_allclose(below, counted)


def test_a_word_has_the_same_gates_in_every_sentence():
    one, other = gates().data["utterances"]
    for name in ("mean", "low", "high", "open", "shares"):
        same = [np.array(u[name])[:, :, u["words"].index("is")] for u in (one, other)]
        np.testing.assert_array_equal(*same)


def test_the_data_are_those_of_the_gates():
    data = gates().data
    assert (data["layers"], data["sizes"], data["start"]) == (3, [HALF, 4], 0.27)
    for one, told in zip(GATED, data["utterances"], strict=True):
        np.testing.assert_allclose(
            np.array(told["mean"])[:, 0], one.gates[..., :HALF].mean(2), atol=1e-4
        )
        assert told["words"] == list(one.words) and told["text"] == " ".join(one.words)
    assert data["utterances"][0]["known"] == [True, True, False, True]
    assert data["utterances"][1]["known"] == [True, True]
    shares = [np.max(told["shares"]) for told in data["utterances"]]
    assert data["most"] == max(shares)


def test_only_what_there_is_can_be_chosen():
    figure = gates(layer=2, word=3)
    for name, count in (("utterance", 2), ("layer", 3)):
        for bad in (-1, count):
            with pytest.raises(traitlets.TraitError, match=f"there are {count} {name}s"):
                setattr(figure, name, bad)
    with pytest.raises(traitlets.TraitError):
        figure.word = -1
    assert (figure.layer, figure.word) == (2, 3)


FIRST = GATED[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ("a",)}, r"gates \(3, 4, 10\), not .* = \(3, 1, 10\)"),
        ({"words": (), "gates": np.ones((3, 0, 10))}, r"\(3, 0, 10\)"),
        ({"gates": FIRST.gates[:, :, :9]}, r"= \(3, 4, 10\)"),
        ({"gates": FIRST.gates[0]}, r"gates \(4, 10\)"),
        ({"gates": FIRST.gates + 1}, r"must lie in \[0, 1\]"),
        ({"gates": np.full((3, 4, 10), np.nan)}, r"must lie in \[0, 1\]"),
        ({"known": [True]}, r"known \(1,\) of 4 words"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        told_of([GATED[1], replace(FIRST, **change)], HALF)


@pytest.mark.parametrize("half", [0, 10, -1])
def test_both_halves_have_numbers(half):
    with pytest.raises(ValueError, match=f"half is {half} of 10 numbers"):
        told_of(GATED, half)


def test_something_must_be_shown_and_the_mark_lies_on_the_axis():
    with pytest.raises(ValueError, match="no utterances"):
        told_of([], 1)
    with pytest.raises(ValueError, match=r"start is 1.5, not in \[0, 1\]"):
        told_of(GATED, HALF, 1.5)
    assert told_of(GATED, HALF)["start"] is None
