import numpy as np
import pytest

from mmer_lib.book.explorer.replay import Dynamics, sentence, told
from mmer_lib.probes.similarity import Verdict, judge
from tests.book.explorer.made import GRID, LOST, curves_of, dynamics, found


def test_every_setting_carries_its_curves_and_its_verdict():
    data, have = dynamics().data, found()
    order = [(rate, gate) for rate in GRID["learning_rate"] for gate in GRID["gate"]]
    for combination, shown in zip(order, data["found"], strict=True):
        assert shown.keys() == have.get(combination, {}).keys()
        for kind, one in shown.items():
            epochs, curves = have[combination][kind]
            verdict = judge(epochs, curves)
            np.testing.assert_allclose(one["epochs"], epochs)
            np.testing.assert_allclose(one["seeds"], curves, atol=6e-4)
            np.testing.assert_allclose(one["mean"], curves.mean(0), atol=6e-5)
            assert one["peak"] == pytest.approx([verdict.at[0], curves.mean(0).max()], rel=1e-5)
            assert one["around"] == pytest.approx(list(verdict.at[1:]), rel=1e-5)
            assert one["says"] == sentence(verdict)
    assert data["missing"][order.index(LOST)] == "diverged"
    assert data["last"] == 5


def test_the_sentence_has_the_numbers_of_the_verdict():
    verdict = Verdict(10, 9, (0.213, 0.18, 0.245), (2.31, 1.9, 2.75), (0.0, 0.0, 0.0))
    assert sentence(verdict) == (
        "Over 10 seeds: rises, then falls. The hump of their mean is 0.213 high (95% interval "
        "0.180 to 0.245), with its highest point at epoch 2.3 (1.9 to 2.8). Seeds with a hump of "
        "at least 0.05: 9 of 10."
    )
    one = Verdict(1, 1, (0.2, 0.2, 0.2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    assert "no interval" in sentence(one) and "95%" not in sentence(one)


def test_the_range_is_shared_by_all_settings_of_a_kind():
    data = dynamics().data
    for kind in data["kinds"]:
        values = [v for s in data["found"] if kind["name"] in s for v in s[kind["name"]]["seeds"]]
        low, high = kind["range"]
        assert low <= np.min(values) < low + 0.05 and high - 0.05 < np.max(values) <= high


def test_a_flat_curve_has_a_range_to_be_drawn_in():
    flat = {("on",): {"h": (np.arange(3.0), np.zeros((2, 3)))}}
    assert Dynamics({"gate": ["on"]}, flat).data["kinds"][0]["range"] == [0.0, 0.05]


def test_it_opens_on_what_is_there():
    assert dynamics().setting == {"learning_rate": 0.001, "gate": "on"}
    assert dynamics().kind == "h"
    late = Dynamics(GRID, {(0.01, "off"): {"i": curves_of((0.01, "off"), "i")}})
    assert (late.setting, late.kind) == ({"learning_rate": 0.01, "gate": "off"}, "i")
    asked = dynamics(kind="i", setting={"learning_rate": 0.01, "gate": "on"})
    assert asked.kind == "i" and asked.setting["learning_rate"] == 0.01


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"not in the grid.*\[\(5, 'on'\)\]"):
        Dynamics(GRID, {**found(), (5, "on"): {}})
    with pytest.raises(ValueError, match="not in the grid"):
        Dynamics(GRID, found(), {("on", 0.001): "swapped"})
    with pytest.raises(ValueError, match=r"no known kind: \['s'\]"):
        Dynamics(GRID, {(0.01, "on"): {"s": curves_of((0.01, "on"), "h")}})
    with pytest.raises(ValueError, match="no curves were found"):
        Dynamics(GRID, {})
    with pytest.raises(ValueError, match=r"epochs \(3,\) do not fit curves \(2, 4\)"):
        told(np.arange(3.0), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="do not fit"):
        told(np.arange(3.0), np.zeros(3))


def test_a_curve_that_is_not_finite_is_refused_with_its_place():
    epochs, curves = curves_of((0.001, "on"), "h")
    curves[1, 2] = np.nan
    with pytest.raises(ValueError, match="is nan; an explorer shows finite numbers only"):
        Dynamics(GRID, {(0.001, "on"): {"h": (epochs, curves)}})
