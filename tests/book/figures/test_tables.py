import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmer_lib.book.figures import tables
from mmer_lib.data import Word
from tests.book.figures.common import drawn_in_silence

RNG = np.random.default_rng(0)
WORDS = (Word("what", 0.1, 0.3), Word("a", 0.3, 0.4), Word("day", 0.5, 0.9))
TIMES = np.linspace(0.05, 0.95, 10)
MAPS = {"even": np.full((10, 3), 1 / 3), "sharp": np.eye(3)[RNG.integers(3, size=10)]}
GROUPS = {
    "first": {"a": (0.5, 0.4, 0.6), "b": (0.7, 0.6, 0.75)},
    "second": {"b": (0.2, 0.1, 0.4), "c": (0.3, 0.3, 0.3)},
}
GLOBAL, LOCAL = np.array([1.0, -2.0, 0.5, 0.0]), np.array([2.0, 1.0, -1.5, 4.0])
ROLES = ["carries", "contradicts", "neutral", "carries"]
HISTORIES = {
    "one": [{"loss_task": 2.0, "loss_align": 1.0}, {"loss_task": 1.0, "loss_align": 0.5}],
    "two": [{"loss_task": 3.0}, {"loss_task": 2.5}],
}
NOTHING = {"mean": None, "std": None, "paper": 0.7, "paper_std": 0.01}
ROWS = [
    {"label": "Somebody else et al.", "runs": [], "wa": NOTHING},
    {
        "label": "ours",
        "runs": [{"wa": 0.6}, {"wa": 0.8}],
        "wa": {"mean": 0.7, "std": 0.1, "paper": 0.75, "paper_std": None},
    },
    {
        "label": "one run",
        "runs": [{"wa": 0.5}],
        "wa": {"mean": 0.5, "std": None, "paper": None, "paper_std": None},
    },
]
DIFFERENCES = {"one": {"x": [0.1, -0.2, 0.4], "y": [0.0]}, "two": {"z": [-0.1, -0.3]}}

DRAWN = {
    "dots": lambda: tables.dots(GROUPS, "WA", {"ceiling": 0.65}),
    "dots of one series": lambda: tables.dots({"x": {"WA": (0.5, 0.4, 0.6)}}, "WA"),
    "branch_margins": lambda: tables.branch_margins(GLOBAL, LOCAL, ROLES, ("global", "local")),
    "ideal_maps": lambda: tables.ideal_maps(MAPS, TIMES, WORDS),
    "loss_curves": lambda: tables.loss_curves(
        HISTORIES, {"loss_task": "L_SER", "loss_align": "L_align"}
    ),
    "ours_and_paper": lambda: tables.ours_and_paper(ROWS, "wa", "demo", "IEMOCAP"),
    "difference_dots": lambda: tables.difference_dots(DIFFERENCES, "difference in WA"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    assert figure.get_figwidth() <= 6, "small print on a phone"
    for axes in figure.axes:
        shared = axes.get_shared_x_axes().get_siblings(axes)
        across = axes.get_label() == "<colorbar>" or any(a.get_xlabel() for a in shared)
        beside = axes.get_shared_y_axes().get_siblings(axes)
        ticks = [t.get_text() for a in beside for t in a.get_yticklabels()]
        assert across and (axes.get_ylabel() or any(c.isalpha() for t in ticks for c in t))


def lines(axes, marker):
    return [line for line in axes.lines if line.get_marker() == marker]


def test_dots_stand_at_their_means_with_their_intervals():
    figure = DRAWN["dots"]()
    (axes,) = figure.axes
    means = lines(axes, "o")
    assert [line.get_xdata()[0] for line in means] == [0.5, 0.7, 0.2, 0.3]
    assert [round(float(line.get_ydata()[0])) for line in means] == [0, 0, 1, 1]
    spans = [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2]
    assert spans == [(0.4, 0.6), (0.6, 0.75), (0.1, 0.4), (0.3, 0.3)]
    assert means[1].get_color() == means[2].get_color() != means[0].get_color()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["a", "b", "c", "ceiling"]
    assert any(set(line.get_xdata()) == {0.65} for line in axes.lines)


def test_one_series_needs_no_legend():
    assert not DRAWN["dots of one series"]().legends


def test_margins_stand_on_the_side_of_their_answer():
    (axes,) = DRAWN["branch_margins"]().axes
    found = {c.get_label(): c for c in axes.collections}
    assert list(found) == ["carries", "neutral", "contradicts"]
    np.testing.assert_array_equal(found["carries"].get_offsets(), [[1, 2], [0, 4]])
    for role, points in found.items():
        colour = to_hex(points.get_facecolor()[0])
        assert colour == tables.ROLE_COLOURS[role].lower()
    (border,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(border.get_xdata(), -np.asarray(border.get_ydata()))
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    assert left < GLOBAL.min() and GLOBAL.max() < right
    assert low < LOCAL.min() and LOCAL.max() < high


def test_ideals_have_one_scale_and_the_true_boxes():
    first, second, _ = DRAWN["ideal_maps"]().axes
    for axes, (name, weights) in zip((first, second), MAPS.items(), strict=True):
        (mesh,) = [c for c in axes.collections if type(c).__name__ == "QuadMesh"]
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(3, 10), weights.T)
        assert mesh.get_clim() == (0, 1) and axes.get_title() == name
        for i, (box, word) in enumerate(zip(axes.lines, WORDS, strict=True)):
            assert {*box.get_xdata()} == {word.start, word.end}
            assert {*box.get_ydata()} == {i - 0.5, i + 0.5}
        assert axes.yaxis_inverted()


def test_losses_begin_at_epoch_one_and_lack_what_a_run_lacks():
    figure = DRAWN["loss_curves"]()
    task, align = figure.axes
    assert [line.get_xydata().tolist() for line in task.lines] == [
        [[1, 2], [2, 1]], [[1, 3], [2, 2.5]],
    ]  # fmt: skip
    (only,) = align.lines
    assert list(only.get_ydata()) == [1.0, 0.5]
    assert only.get_color() == task.lines[0].get_color()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["one", "two"]


def test_ours_and_the_papers_figures_keep_to_their_panels():
    ours, paper = DRAWN["ours_and_paper"]().axes
    runs = [line for line in lines(ours, "o") if line.get_markersize() == 4]
    assert [list(line.get_xdata()) for line in runs] == [[], [0.6, 0.8], [0.5]]
    means = [line for line in lines(ours, "o") if line.get_markersize() == 7]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in means] == [(0.7, 1), (0.5, 2)]
    printed = lines(paper, "o")
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in printed] == [(0.7, 0), (0.75, 1)]
    spans = [line.get_xdata() for line in paper.lines if line.get_marker() != "o"]
    np.testing.assert_allclose(spans, [[0.69, 0.71], [0.75, 0.75]])
    assert "demo" in ours.get_xlabel() and "IEMOCAP" in paper.get_xlabel()
    assert ours.get_yticklabels()[0].get_text() == "Somebody else et\nal."


def test_differences_stand_beside_the_line_of_the_reference():
    one, two = DRAWN["difference_dots"]().axes
    assert [list(line.get_xdata()) for line in lines(one, "o")] == [[0.1, -0.2, 0.4], [0.0]]
    means = [line.get_xdata()[0] for line in lines(one, "D")]
    assert means == pytest.approx([0.1, 0.0])
    assert [t.get_text() for t in two.get_yticklabels()] == ["z"]
    assert one.get_title() == "one" and one.get_xlim() == two.get_xlim()
