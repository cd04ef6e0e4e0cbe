import numpy as np
import pytest

from mmer_lib.book.figures import misa
from tests.book.figures.common import drawn_in_silence

RNG = np.random.default_rng(0)
ROWS = [
    {
        "label": "All of them together",
        "runs": [{"mae": 0.5, "corr": 0.8}, {"mae": 0.7, "corr": 0.6}],
        "mae": {"mean": 0.6},
        "corr": {"mean": 0.7},
    },
    {"label": "w/o one", "runs": [], "mae": {"mean": None}, "corr": {"mean": None}},
]
BEST = {
    "mae": {"All of them together": 0.2, "w/o one": 0.4},
    "corr": {"All of them together": 0.9, "w/o one": 0.8},
}
BORDERS = np.linspace(-1, 1, 5)
STRIPS = {"mae": {"a": [1.0, 1.2], "b": [0.8]}, "acc2_non0": {"b": [0.7], "a": [0.6, 0.8]}}
PAIRS = {"alike": (RNG.random(50), RNG.random(50)), "not": (RNG.random(50), RNG.random(50) / 2)}
READ = {"S": {"emotion": 0.75, "text shows": 0.25}, "i text": {"emotion": 0.3, "text shows": 1.0}}
CHANCE, CEILING = {"emotion": 0.25, "text shows": 0.25}, {"emotion": 0.9, "text shows": 1.0}
LETTERS = np.array([2, 3, 9, 5])
SECONDS = {"beside": np.array([0.3, 0.1, 0.2, 0.2]), "before": np.array([0.1, 0.2, 0.6, 0.3])}

DRAWN = {
    "against_best": lambda: misa.against_best(ROWS, BEST, {"mae": 1.2}),
    "scores_by_threshold": lambda: misa.scores_by_threshold(
        BORDERS, {"one": BORDERS**2, "other": BORDERS}, "border", "accuracy"
    ),
    "run_strips": lambda: misa.run_strips(STRIPS),
    "misa_map": misa.misa_map,
    "pair_histograms": lambda: misa.pair_histograms(PAIRS, ["0.01", "0.40"], ("x", "y")),
    "readout_map": lambda: misa.readout_map(READ, CHANCE, CEILING),
    "length_and_duration": lambda: misa.length_and_duration(LETTERS, SECONDS, ["r 0", "r 1"]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    if name == "misa_map":
        return  # has no axes; it scrolls on a phone
    assert figure.get_figwidth() <= 6, "small print on a phone"
    for axes in figure.axes:
        shared = axes.get_shared_x_axes().get_siblings(axes)
        across = axes.get_label() == "<colorbar>" or any(a.get_xlabel() for a in shared)
        beside = axes.get_shared_y_axes().get_siblings(axes)
        ticks = [t.get_text() for a in beside for t in a.get_yticklabels()]
        named = any(a.get_ylabel() for a in beside)
        assert across and (named or any(c.isalpha() for t in ticks for c in t))


def lines(axes, marker):
    return [line for line in axes.lines if line.get_marker() == marker]


def test_a_row_without_runs_has_its_ceiling_alone():
    figure = DRAWN["against_best"]()
    errors, correlations = figure.axes
    runs = [line for line in lines(errors, "o") if line.get_markersize() == 4]
    assert [list(line.get_xdata()) for line in runs] == [[0.5, 0.7], []]
    assert [line.get_xdata()[0] for line in lines(errors, "D")] == [0.2, 0.4]
    assert [line.get_xdata()[0] for line in lines(correlations, "D")] == [0.9, 0.8]
    missing = [tuple(line.get_xdata()) for line in errors.lines if line.get_color() == "#BBBBBB"]
    assert missing == [(0.6, 0.2)]
    assert any(set(line.get_xdata()) == {1.2} for line in errors.lines)
    assert not any(line.get_linestyle() == ":" for line in correlations.lines)
    (legend,) = figure.legends
    told = [t.get_text() for t in legend.get_texts()]
    assert told == ["a run", "mean of runs", "best possible", "always the same"]
    assert errors.yaxis_inverted()


def test_runs_keep_to_their_row_in_every_panel():
    errors, accuracies = DRAWN["run_strips"]().axes
    for axes, group in ((errors, STRIPS["mae"]), (accuracies, STRIPS["acc2_non0"])):
        means = {line.get_ydata()[0]: line.get_xdata()[0] for line in lines(axes, "D")}
        assert means == pytest.approx({i: np.mean(group[name]) for i, name in enumerate("ab")})
    assert errors.get_xlabel() == "MAE" and accuracies.get_xlabel() == "Acc-2, non 0"


def test_thresholds_are_drawn_as_given_with_a_line_at_zero():
    (axes,) = DRAWN["scores_by_threshold"]().axes
    one, other, border = axes.lines
    np.testing.assert_array_equal(one.get_ydata(), BORDERS**2)
    np.testing.assert_array_equal(other.get_xdata(), BORDERS)
    assert set(border.get_xdata()) == {0}
    assert one.get_linestyle() != other.get_linestyle()


def test_arrows_of_the_map_begin_and_end_at_its_boxes():
    def touches(point, box):
        x, y, wide, high = misa._BOXES[box][:4]
        inside = abs(point[0] - x) <= wide + 0.01 and abs(point[1] - y) <= high + 0.01
        edge = abs(abs(point[0] - x) - wide) < 0.01 or abs(abs(point[1] - y) - high) < 0.01
        return inside and edge

    for (a, b), (tail, head) in (misa._ARROWS | misa._PULLS).items():
        assert touches(tail, a) and touches(head, b), (a, b)


def test_histograms_say_what_was_found():
    first, second = DRAWN["pair_histograms"]().axes
    assert first.get_title() == "alike: 0.01"
    assert second.get_title() == "not: 0.40"


def test_a_reading_is_coloured_by_its_way_from_chance_to_the_ceiling():
    figure = DRAWN["readout_map"]()
    axes = figure.axes[0]
    (mesh,) = axes.collections
    shares = np.asarray(mesh.get_array()).reshape(4, 2)
    np.testing.assert_allclose(shares, [[0.5 / 0.65, 0], [0.05 / 0.65, 1], [0, 0], [1, 1]])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["S", "i text", "chance", "ceiling"]
    assert [t.get_text() for t in axes.texts][:2] == ["0.75", "0.25"]
    assert axes.yaxis_inverted()


def test_words_stand_near_their_length_at_their_duration():
    beside, before = DRAWN["length_and_duration"]().axes
    for axes, (name, seconds) in zip((beside, before), SECONDS.items(), strict=True):
        (points,) = axes.lines
        np.testing.assert_array_equal(points.get_ydata(), seconds)
        assert np.abs(points.get_xdata() - LETTERS).max() <= 0.3
        assert axes.get_yscale() == "log" and axes.get_title().startswith(name)
