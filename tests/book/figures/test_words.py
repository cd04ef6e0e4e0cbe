import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmer_lib.book.figures import EMOTION_COLOURS, words
from mmer_lib.data import Word
from tests.book.figures.common import drawn_in_silence, mesh

RNG = np.random.default_rng(0)
RESPONSES = np.array([[0.0, 2.0, 1.0, 0.0], [3.0, 0.0, 0.0, 1.5], [0.0, 0.0, 0.1, 0.4]])
GATES = RNG.uniform(size=(3, 10))
CHANGES = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
CHANGES = np.where(CHANGES <= 2, 3.0 - CHANGES, 0.0)
SPOKEN = (Word("what", 0.1, 0.3), Word("a", 0.3, 0.4), Word("day", 0.5, 0.9))
BANK = RNG.normal(size=(80, 16))
UNITS = RNG.uniform(size=(10, 4))

DRAWN = {
    "filter_windows": lambda: words.filter_windows(
        RESPONSES, (2, 2, 3), ("F", "Y", "UH1", "R"), ("one", "two", "three")
    ),
    "by_distance": lambda: words.by_distance(
        np.linspace(0, 1, 60), {"a": np.arange(60.0), "b": np.zeros(60)}, (0, 0.5, 1), "far", "how"
    ),
    "gate_map": lambda: words.gate_map(GATES, 6, ("what", "a", "day"), carriers=(2,)),
    "intervals": lambda: words.intervals(
        {"one": {"x": (0.1, 0.0, 0.3), "y": (0.5, 0.4, 0.6)}, "two": {"y": (0.2, 0.1, 0.3)}}, "gain"
    ),
    "by_length": lambda: words.by_length(
        np.array([2, 5, 5, 7]), {"up": np.arange(4.0), "down": -np.arange(4.0)},
        np.array(["a", "b", "a", "b"]),
    ),
    "reach_map": lambda: words.reach_map(CHANGES, list("abcdef"), 2),
    "before_and_after": lambda: words.before_and_after(
        BANK, 0.0125 + 0.012 * np.arange(80), UNITS, 0.05 + 0.096 * np.arange(10), SPOKEN, (2,)
    ),
    "boxes": lambda: words.boxes(
        {"a": np.arange(9.0), "b": np.ones(4)}, "length", ("#0072B2", "#D55E00")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    assert figure.get_figwidth() <= 6, "small print on a phone"
    for axes in figure.axes:
        shared = axes.get_shared_x_axes().get_siblings(axes)
        assert axes.get_ylabel() or any(t.get_text() for t in axes.get_yticklabels())
        assert axes.get_label() == "<colorbar>" or any(a.get_xlabel() for a in shared)


def test_the_winning_window_of_each_filter_is_boxed():
    axes = DRAWN["filter_windows"]().axes[0]
    best = [round(box.get_x() - 0.04) for box in axes.patches]
    widths = [round(box.get_width() + 0.08) for box in axes.patches]
    assert best == [1, 0, 3]
    assert widths == [2, 2, 1], "a window is cut at the end of the word"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["F", "Y", "UH1", "R"]
    assert np.asarray(mesh(axes)).reshape(3, 4).max(1).tolist() == [1, 1, 1]


def test_a_filter_that_never_answers_is_drawn_as_nothing():
    axes = words.filter_windows(np.zeros((1, 3)), (2,), ("A", "B", "C"), ("none",)).axes[0]
    assert not np.asarray(mesh(axes)).any()


def test_values_are_summed_up_in_their_bin():
    axes = DRAWN["by_distance"]().axes[0]
    line = axes.lines[0]
    assert line.get_xdata().tolist() == [0.25, 0.75]
    assert line.get_ydata().tolist() == [np.median(range(30)), np.median(range(30, 60))]


def test_an_empty_bin_is_left_out():
    axes = words.by_distance(np.full(5, 0.1), {"a": np.ones(5)}, (0, 0.5, 1), "far", "how").axes[0]
    low, high = axes.lines[0].get_ydata()
    assert low == 1 and np.isnan(high)


def test_gates_are_sorted_within_their_half():
    axes = DRAWN["gate_map"]().axes[0]
    drawn = np.asarray(mesh(axes)).reshape(3, 10)
    for part in (slice(0, 6), slice(6, 10)):
        means = drawn[:, part].mean(0)
        assert (np.diff(means) <= 0).all()
        assert sorted(means) == pytest.approx(sorted(GATES[:, part].mean(0)))
    labels = axes.get_yticklabels()
    assert [t.get_text() for t in labels] == ["what", "a", "day"]
    assert labels[2].get_color() == EMOTION_COLOURS["angry"] != labels[0].get_color()
    assert axes.yaxis_inverted()


def test_intervals_stand_where_they_belong():
    axes = DRAWN["intervals"]().axes[0]
    dots = {line.get_label(): line for line in axes.lines if line.get_label() in "xy"}
    assert dots["x"].get_xdata().tolist() == [0.1] and dots["y"].get_xdata().tolist() == [0.5, 0.2]
    rows = np.round(dots["y"].get_ydata())
    assert rows.tolist() == [0, 1] and [t.get_text() for t in axes.get_yticklabels()] == [
        "one",
        "two",
    ]
    bars = [s for c in axes.collections for s in c.get_segments()]
    assert [[x for x, _ in bar] for bar in bars] == [[0, 0.3], [0.4, 0.6], [0.1, 0.3]]


@pytest.mark.parametrize("mark", [0.25, None])
def test_intervals_are_marked_or_not(mark):
    figure = words.intervals({"a": {"": (0.5, 0.4, 0.6)}}, "share", mark)
    lines = [x for x in figure.axes[0].lines if x.get_linestyle() == "--"]
    assert [x.get_xdata()[0] for x in lines] == ([] if mark is None else [mark])
    assert not figure.legends, "one kind needs no legend"


def test_words_stand_near_their_length_in_a_panel_a_name():
    up, down = DRAWN["by_length"]().axes
    for panel, sign in ((up, 1), (down, -1)):
        lines = {line.get_label(): line for line in panel.lines}
        assert lines["a"].get_ydata().tolist() == [0, 2 * sign]
        assert lines["b"].get_ydata().tolist() == [sign, 3 * sign]
        assert np.abs(lines["b"].get_xdata() - [5, 7]).max() < 0.5
    assert (up.get_title(), down.get_title()) == ("up", "down")


def test_what_does_not_change_stays_white_and_the_stairs_stand_at_the_reach():
    axes = DRAWN["reach_map"]().axes[0]
    hidden = np.ma.getmaskarray(mesh(axes)).reshape(6, 6)
    np.testing.assert_array_equal(hidden, CHANGES == 0)
    for line, side in zip(axes.lines, (-1, 1), strict=True):
        for row in range(6):
            x = line.get_xdata()[2 * row]
            assert x == np.clip(row - 2 if side < 0 else row + 3, 0, 6)


def test_filterbank_and_units_share_their_seconds():
    top, bottom = DRAWN["before_and_after"]().axes[:2]
    np.testing.assert_allclose(np.asarray(mesh(top)).reshape(16, 80), BANK.T)
    np.testing.assert_allclose(np.asarray(mesh(bottom)).reshape(4, 10), UNITS.T)
    assert top.get_xlim() == bottom.get_xlim() and bottom.get_xlabel() == "time (s)"
    edges = [line.get_xdata()[0] for line in bottom.lines]
    assert edges == [0.1, 0.3, 0.4, 0.5, 0.9]
    texts = {t.get_text(): t for t in top.texts}
    assert set(texts) == {"what", "a", "day"}
    assert texts["day"].get_color() == EMOTION_COLOURS["angry"]


def test_boxes_keep_their_order_and_colours():
    axes = DRAWN["boxes"]().axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert [to_hex(p.get_facecolor()) for p in axes.patches] == ["#0072b2", "#d55e00"]
    assert axes.get_xlim()[0] == 0 and axes.yaxis_inverted()
