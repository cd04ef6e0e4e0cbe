"""What explorers hold: the numbers that they were given, as plain JSON in a page that needs nothing
else."""

import io
import json
import re
from base64 import b64decode
from itertools import product

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmer_lib.book.explorer import plain, round_range
from mmer_lib.book.explorer.dynamics import Dynamics, sentence
from mmer_lib.book.explorer.gates import BINS, distributions
from mmer_lib.book.explorer.toggles import sentence as toggle_sentence
from mmer_lib.book.explorer.triangle import Triangle, plane
from mmer_lib.data import MODALITIES
from mmer_lib.experiments.statistics import paired_test
from mmer_lib.probes.similarity import judge
from tests.book.explorer import samples
from tests.book.explorer.samples import (
    GATED,
    GRID,
    HALF,
    HEARD,
    LOST,
    MODEL,
    TEXTS,
    dynamics,
    evaluations,
    found,
    gates,
    readings,
    scrubber,
    toggles,
    training,
    training_replay,
    triangle,
    vectors,
    whole,
)

MAKERS = (triangle, dynamics, scrubber, gates, toggles, training_replay)
STATE = re.compile(r'<script type="application/json" id="([^"]+)-state">(.*?)</script>', re.DOTALL)


@pytest.mark.parametrize("make", MAKERS)
def test_a_page_holds_all_that_it_shows(make):
    figure = make(caption="<!-- <script> </script>", label="Angles < lengths")
    page = figure.html()
    name, text = STATE.search(page).groups()
    assert json.loads(text) == json.loads(json.dumps(figure.state()))
    assert page.count("</script>") == 2 and "<" not in text, "no text ends the script early"
    widget, _ = figure._repr_mimebundle_()
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id
    assert widget["text/html"].startswith("<noscript>")
    assert page.startswith("<noscript><p>This figure needs JavaScript: Angles &lt; lengths</p>")
    assert name not in figure.html(), "two of them share no id"
    quiet = re.sub(r"data:(audio/wav|image/png);base64,[\w+/=]+", "", page)
    quiet = re.sub(r"^\s*//.*", "", quiet, flags=re.M)
    assert set(re.findall(r"\w*:?//[^\s\"'`)]+", quiet)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href)=|@import|\bimport[ ({]|fetch\(|url\(", page)


def test_plain_makes_json_of_arrays_and_rounds():
    value = {"a": np.float32(1 / 3), "b": (np.arange(2), np.array([[1e-9, 2.0]])), "c": None}
    assert plain(value) == {"a": 0.333333, "b": [[0, 1], [[1e-9, 2.0]]], "c": None}


@pytest.mark.parametrize(("values", "expected"), [([0.11, 0.32], [0.1, 0.35]), ([0, 0], [0, 0.05])])
def test_an_axis_holds_its_values(values, expected):
    assert round_range(values) == pytest.approx(expected)


# ------------------------------------------------------------------------------ the triangle

NUMBERS = st.floats(-100, 100, allow_subnormal=False)
POINTS = st.integers(2, 9).flatmap(lambda d: arrays(float, (3, d), elements=NUMBERS))


@given(POINTS)
def test_the_triangle_keeps_every_length_and_angle(h):
    (corners,), (offset,) = plane(h[None])
    parts, close = h - h.mean(0), {"rtol": 0, "atol": 1e-9 * (1 + np.abs(h).max() ** 2)}
    rebuilt = whole(corners, offset)
    np.testing.assert_allclose(corners @ corners.T, parts @ parts.T, **close)
    np.testing.assert_allclose(rebuilt @ rebuilt.T, h @ h.T, **close)
    np.testing.assert_allclose(corners.sum(0), 0, **close)
    slack = 1e-9 * (1 + np.abs(h).max())
    assert abs(corners[0, 0]) < slack and corners[0, 1] > -slack and corners[1, 0] > -slack


def test_the_triangles_data_give_the_cosines_of_the_vectors():
    h, data = vectors(), triangle().data
    for n in range(len(TEXTS)):
        shown = readings(whole(data["corners"][n], np.array(data["offsets"][n])))
        for name, values in readings(np.stack([h[m][n] for m in MODALITIES])).items():
            assert shown[name] == pytest.approx(values, abs=1e-5)
    turned = Triangle({m: h[m] for m in reversed(h)}, TEXTS, TEXTS)
    assert turned.data["corners"] == data["corners"]


# ------------------------------------------------------------------------- the other explorers


def test_every_setting_carries_its_curves_and_its_verdict():
    data, have = dynamics().data, found()
    combinations = list(product(*GRID.values()))
    for combination, shown in zip(combinations, data["found"], strict=True):
        assert shown.keys() == have.get(combination, {}).keys()
        for kind, one in shown.items():
            epochs, curves = have[combination][kind]
            np.testing.assert_allclose(one["seeds"], curves, atol=6e-4)
            np.testing.assert_allclose(one["mean"], curves.mean(0), atol=6e-5)
            assert one["says"] == sentence(judge(epochs, curves))
    assert data["missing"][combinations.index(LOST)] == "diverged"
    late = Dynamics(GRID, {(0.01, "off"): {"i": samples.curves_of((0.01, "off"), "i")}})
    assert (late.setting, late.kind) == ({"learning_rate": 0.01, "gate": "off"}, "i")


def test_the_sound_the_picture_and_the_maps_are_the_utterances():
    for one, data in zip(HEARD, scrubber().data["utterances"], strict=True):
        for shown, weights in zip(data["maps"], one.maps.values(), strict=True):
            np.testing.assert_allclose(shown[1:], weights, atol=5.1e-4)
            np.testing.assert_allclose(shown[0], weights.mean(0), atol=5.1e-4)
        sound = io.BytesIO(b64decode(data["sound"].split(";base64,")[1]))
        heard, rate = soundfile.read(sound)
        assert rate == 16000
        np.testing.assert_allclose(heard, one.samples, atol=1 / 16000)
        assert data["picture"]["from"] < one.times[0] < one.times[-1] < data["picture"]["to"]
        for time, at in zip(one.times, data["spoken"], strict=True):
            inside = [i for i, w in enumerate(one.words) if w.start <= time < w.end]
            assert inside == ([at] if at >= 0 else [])


STACKS = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(0, 1, allow_subnormal=False))
)


@given(STACKS, st.data())
def test_a_distribution_holds_every_gate_of_its_half_once(values, data):
    half = data.draw(st.integers(1, values.shape[2] - 1))
    shown = distributions(values, half)
    for side, part in enumerate((values[..., :half], values[..., half:])):
        np.testing.assert_allclose(shown["mean"][:, side], part.mean(2))
        np.testing.assert_array_equal(shown["low"][:, side], part.min(2))
        np.testing.assert_array_equal(shown["high"][:, side], part.max(2))
        np.testing.assert_allclose(shown["open"][:, side], (part > 0.5).mean(2))
        for k in range(1, BINS + 1):
            below = (part * BINS < k).mean(2) if k < BINS else 1
            np.testing.assert_allclose(shown["shares"][:, side, :, :k].sum(-1), below)


def test_the_gates_are_those_of_the_words():
    data = gates().data
    assert (data["layers"], data["sizes"], data["start"]) == (3, [HALF, 4], 0.27)
    for one, shown in zip(GATED, data["utterances"], strict=True):
        mean = one.gates[..., :HALF].mean(2)
        np.testing.assert_allclose(np.array(shown["mean"])[:, 0], mean, atol=1e-4)
        assert shown["words"] == list(one.words)
        assert shown["known"] == one.known


def test_every_combination_has_its_evaluation_or_says_why_not():
    data, measured = toggles().data, evaluations()
    for place, values in enumerate(product(*samples.FACTORS.values())):
        at = data["at"][place]
        assert (at == -1) == (values not in measured)
        assert data["missing"][place] == MODEL.why_not(values)
        assert data["idle"][place] == (MODEL.idle(values) if at >= 0 else {})
        if at >= 0:
            shown = data["outcomes"][at]
            scores = list(measured[values].scores.values())
            assert shown["scores"] == pytest.approx(scores, rel=1e-5)
            np.testing.assert_array_equal(shown["confusion"], measured[values].confusion)
    assert len(data["outcomes"]) == 4, "one evaluation stands in the page once"


def test_a_score_is_paired_with_that_of_the_whole_run_by_run():
    measured = evaluations()
    all_parts = measured[(True, True, "highway")]
    less = measured[(False, True, "highway")]
    a, b = (np.array([o.scores[(0, s)] for s in range(2)]) for o in (less, all_parts))
    gap, p = paired_test(a, b)
    text = toggle_sentence(less, all_parts, "WA, higher is better").replace("\u2212", "-")
    assert text.startswith(f"WA {a.mean():.3f} \u00b1 {a.std(ddof=1):.3f} over 2 runs.")
    assert f"run by run: {gap:+.3f} on average" in text and f"(p {p:.2f} by sign flips" in text
    assert "Against" not in toggle_sentence(all_parts, all_parts, "WA")


def test_a_replay_holds_its_trainings():
    for one in training_replay().data["trainings"]:
        given_ = training(one["name"])
        assert one["mae"] == pytest.approx(list(given_["mae"]), rel=1e-5)
        for view, embedding in given_["views"].items():
            np.testing.assert_array_equal(one["views"][view]["points"], embedding["points"])
        for name, values in given_["similarity"].items():
            assert one["similarity"][name] == pytest.approx(list(values), abs=1e-6)
