import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmer_lib.book.figures import mimic as figures
from tests.book.figures.common import assert_narrow, drawn_in_silence, mesh

RNG = np.random.default_rng(0)
WORDS = ["what", "a", "day"]
READ = {"text": RNG.uniform(0, 3, (4, 3)), "audio": RNG.uniform(0, 1, (4, 3))}
HALVES = {"forward": np.triu(np.ones((3, 3))), "backward": np.tril(2 * np.ones((3, 3)))}
ROWS = {
    "text": {"before": (0.5, 0.4, 0.6), "after": (0.7, 0.6, 0.75)},
    "audio": {"after": (0.2, 0.1, 0.4)},
}
CUBES = {"whole": RNG.uniform(0, 1, (4, 4, 4)), "pooled": RNG.uniform(0, 2, (2, 2, 2))}
CUBES["whole"][:2] = 0
SHARES = {"M": np.array([0.1, 0.5, 0.3]), "I": np.array([0.0, 0.9, 0.2, 0.4])}
GATES = {p: RNG.uniform(0, 1, (6, 5)) for p in "SIM"}
SPLIT = {"S": {"scale": 0.6, "level": 0.03, "rest": 0.37}, "I": {"scale": 0.2, "rest": 0.8}}
SQUARE = np.array([[0.1, 0.2], [0.3, 0.4]])

DRAWN = {
    "read_words": lambda: figures.read_words(READ, WORDS, (2,)),
    "reach_halves": lambda: figures.reach_halves(HALVES, WORDS),
    "series_in_rows": lambda: figures.series_in_rows(
        {"length": ROWS, "cosine": ROWS}, {"text": 0.3}, {"guessing": 0.25}
    ),
    "series_in_rows, one": lambda: figures.series_in_rows({"MAE": {"x": {"": (1.0, 0.8, 1.1)}}}),
    "cube_slices": lambda: figures.cube_slices(CUBES, "text", "audio", across=3),
    "usage": lambda: figures.usage(SHARES, "share of the utterances"),
    "gate_by_utterance": lambda: figures.gate_by_utterance(GATES, "utterance"),
    "stacked_shares": lambda: figures.stacked_shares(SPLIT, "share"),
    "numbered_square": lambda: figures.numbered_square(
        SQUARE, ("S", "I"), ("S", "I"), ("gates of", "read from", "change")
    ),
}


def panels(figure):
    return [a for a in figure.axes if a.get_label() != "<colorbar>" and a.axison]


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    last = panels(figure)[-1]
    named = any(c.isalpha() for t in last.get_xticklabels() for c in t.get_text())
    assert last.get_xlabel() or named


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_narrow_enough_for_letters_on_a_phone(name):
    assert_narrow(DRAWN[name]())


def test_words_that_are_read_share_one_scale_and_carriers_are_coloured():
    upper, lower = panels(DRAWN["read_words"]())
    np.testing.assert_allclose(mesh(upper), READ["text"])
    np.testing.assert_allclose(mesh(lower), READ["audio"])
    assert {a.collections[0].get_clim() for a in (upper, lower)} == {(0, READ["text"].max())}
    assert upper.yaxis_inverted() and [a.get_title("left") for a in (upper, lower)] == list(READ)
    labels = lower.get_xticklabels()
    assert [t.get_text() for t in labels] == WORDS
    assert [t.get_color() == figures.CARRIER for t in labels] == [False, False, True]


def test_where_nothing_changes_the_cell_stays_white():
    left, right = panels(DRAWN["reach_halves"]())
    for axes, changes in zip((left, right), HALVES.values(), strict=True):
        np.testing.assert_array_equal(np.ma.getmaskarray(mesh(axes)), changes == 0)
        assert axes.yaxis_inverted() and axes.collections[0].get_clim() == (0, 2)
    assert [t.get_text() for t in left.get_yticklabels()] == WORDS


def test_each_series_has_a_place_a_colour_and_a_marker_in_its_row():
    figure = DRAWN["series_in_rows"]()
    upper, lower = panels(figure)
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("length", "cosine")
    assert [t.get_text() for t in upper.get_yticklabels()] == list(ROWS)
    dots = [line for line in upper.lines if line.get_marker() in "os"]
    assert [line.get_xdata()[0] for line in dots] == [0.5, 0.7, 0.2]
    assert [line.get_marker() for line in dots] == ["o", "s", "s"]
    assert dots[1].get_color() == dots[2].get_color() != dots[0].get_color()
    at = [line.get_ydata()[0] for line in dots]
    assert at[0] < 0 < at[1] and at[2] == pytest.approx(1 + at[1])
    spans = [c.get_segments()[0] for c in upper.collections]
    ends = [(s[0, 0], s[1, 0]) for s in spans if s[0, 1] == s[1, 1]]
    assert ends == [(0.4, 0.6), (0.6, 0.75), (0.1, 0.4)]
    (best,) = [s for s in spans if s[0, 0] == s[1, 0]]
    assert best[0, 0] == 0.3 and best[:, 1].min() > -0.5 and best[:, 1].max() < 0.5
    assert any(line.get_linestyle() == "--" and line.get_xdata()[0] == 0.25 for line in lower.lines)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "before", "after", "best possible", "guessing",
    ]  # fmt: skip


def test_a_series_without_a_name_has_no_legend():
    assert DRAWN["series_in_rows, one"]().legends == []


def test_every_slice_of_a_cube_has_its_square_and_zeros_stay_white():
    squares = panels(DRAWN["cube_slices"]())
    assert len(squares) == 4 + 2
    for k in range(4):
        np.testing.assert_allclose(mesh(squares[k])[2:], CUBES["whole"][2:, :, k])
        assert np.ma.getmaskarray(mesh(squares[k]))[:2].all()
        assert squares[k].get_xlabel() == str(k + 1)
    np.testing.assert_allclose(mesh(squares[5]), CUBES["pooled"][:, :, 1])
    assert len({a.collections[0].get_clim() for a in squares}) == 1
    assert [squares[i].get_title("left") for i in (0, 4)] == ["whole", "pooled"]


def test_usage_falls_from_the_most_used_entry():
    (axes,) = panels(DRAWN["usage"]())
    first, second = axes.lines
    np.testing.assert_allclose(first.get_ydata(), [0.5, 0.3, 0.1])
    np.testing.assert_allclose(first.get_xdata(), [1 / 6, 1 / 2, 5 / 6])
    np.testing.assert_allclose(second.get_ydata(), [0.9, 0.4, 0.2, 0])


def test_gates_keep_the_utterances_in_order_and_sort_the_dimensions():
    found = panels(DRAWN["gate_by_utterance"]())
    assert [a.get_title("left") for a in found] == list("SIM")
    for axes, gates in zip(found, GATES.values(), strict=True):
        np.testing.assert_allclose(mesh(axes), gates[:, np.argsort(-gates.mean(0))])
        assert axes.collections[0].get_clim() == (0, 1) and axes.yaxis_inverted()


def test_shares_stand_one_behind_the_other():
    figure = DRAWN["stacked_shares"]()
    (axes,) = panels(figure)
    widths = [[bar.get_width() for bar in group] for group in axes.containers]
    np.testing.assert_allclose(widths, [[0.6, 0.2], [0.03, 0], [0.37, 0.8]])
    begun = [[bar.get_x() for bar in group] for group in axes.containers]
    np.testing.assert_allclose(begun, [[0, 0], [0.6, 0.2], [0.63, 0.2]])
    assert [t.get_text() for t in axes.texts] == ["60%", "20%", "37%", "80%"]
    colours = {to_hex(group[0].get_facecolor()) for group in axes.containers}
    assert len(colours) == 3


def test_a_square_shows_its_numbers():
    (axes,) = panels(DRAWN["numbered_square"]())
    assert [t.get_text() for t in axes.texts] == ["0.100", "0.200", "0.300", "0.400"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("gates of", "read from")
