import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmer_lib.book.figures import MODALITY_COLOURS, similarity
from mmer_lib.data import MODALITIES
from tests.book.figures.common import drawn_in_silence

RNG = np.random.default_rng(0)
MEANS = {"trained": RNG.uniform(-0.5, -0.4, 50), "random": RNG.uniform(-0.45, -0.34, 50)}
SHARES = {"trained": RNG.uniform(size=(3, 16)), "untrained": RNG.uniform(size=(3, 16))}
PLACES = {f"epoch {e}": RNG.normal(size=(30, 2)) for e in range(3)}
SCORES = RNG.uniform(-3, 3, 30)
LINES = {
    "cosine": {"with": ([0, 1, 2], [0.1, 0.2, 0.3]), "without": ([0, 1], [0.1, 0.4])},
    "rank": {"without": ([0, 1], [9.0, 7.0])},
}
EPOCHS = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
UP = np.array([[0.0, 0.2, 0.4, 0.3, 0.1], [0.0, 0.4, 0.8, 0.5, 0.3]])
SEEDS = {
    "h": {"MIMIC": (EPOCHS, UP, (0.5, 2.0)), "MISA": (EPOCHS, UP[:1] + 0.1, (1.0, 1.0))},
    "i": {"MIMIC": (EPOCHS, UP / 100 - 0.49, (1.0, 1.0))},
}
ALLOWED = {"i": {"MIMIC": (EPOCHS, UP / 100 - 0.49, (1.0, 1.0))}}
HEIGHTS = {"batch size 16": np.array([[0.0, 0.3], [np.nan, 0.05]])}
NOTHING = {"batch size 16": np.full((2, 2), np.nan)}


def heat(heights):
    return similarity.hump_map(heights, ["0.1", "1"], ["0", "5"], ("rate", "weight"), 0.05)


DRAWN = {
    "mean_in_band": lambda: similarity.mean_in_band(MEANS),
    "above_zero": lambda: similarity.above_zero(SHARES),
    "above_zero, one": lambda: similarity.above_zero({"trained": SHARES["trained"]}),
    "places": lambda: similarity.places(PLACES, SCORES),
    "lines": lambda: similarity.lines(LINES, "epoch", {"rank": {"chance": 3.0}}),
    "lines, one panel": lambda: similarity.lines({"cosine": LINES["cosine"]}, "x", yscale="log"),
    "seed_curves": lambda: similarity.seed_curves(SEEDS),
    "seed_curves, one": lambda: similarity.seed_curves(ALLOWED),
    "hump_map": lambda: heat(HEIGHTS),
    "hump_map, nothing": lambda: heat(NOTHING),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    assert figure.get_figwidth() <= 6, "small print on a phone"
    drawn = [a for a in figure.axes if a.axison and a.get_label() != "<colorbar>"]
    for axes in drawn:
        assert any(a.get_xlabel() for a in axes.get_shared_x_axes().get_siblings(axes))
        row = axes.get_subplotspec().rowspan
        beside = [a for a in drawn if a.get_subplotspec().rowspan == row]
        ticks = [t.get_text() for a in beside for t in a.get_yticklabels()]
        assert any(a.get_ylabel() for a in beside) or any(c.isalpha() for t in ticks for c in t)


def test_means_stand_in_the_shaded_band():
    (axes,) = DRAWN["mean_in_band"]().axes
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-1 / 2, -1 / 3))
    assert [t.get_text() for t in axes.get_yticklabels()] == list(MEANS)
    left, right = axes.get_xlim()
    assert left < -1 / 2 and right > -1 / 3


def test_shares_have_one_scale_and_the_colours_of_the_modalities():
    first, second, _ = DRAWN["above_zero"]().axes
    for axes, (name, rows) in zip((first, second), SHARES.items(), strict=True):
        (mesh,) = axes.collections
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(3, 16), rows)
        assert mesh.get_clim() == (0, 1) and axes.get_title(loc="left") == name
        ticks = axes.get_yticklabels()
        assert [t.get_text() for t in ticks] == list(MODALITIES)
        assert [to_hex(t.get_color()).upper() for t in ticks] == [*MODALITY_COLOURS.values()]


def test_places_share_their_coordinates_and_the_colours_of_the_scores():
    *panels, empty, _ = DRAWN["places"]().axes
    assert not empty.axison
    for axes, (name, points) in zip(panels, PLACES.items(), strict=True):
        (drawn,) = axes.collections
        order = np.argsort(np.abs(SCORES), kind="stable")
        np.testing.assert_allclose(drawn.get_offsets(), points[order])
        np.testing.assert_allclose(drawn.get_array(), SCORES[order])
        assert drawn.get_clim() == (-3, 3) and axes.get_title(loc="left") == name
        assert axes.get_xlim() == panels[0].get_xlim()


def test_a_name_has_one_colour_and_a_mark_its_height():
    figure = DRAWN["lines"]()
    cosine, rank = figure.axes
    assert [line.get_label() for line in figure.legends[0].get_lines()]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["with", "without", "chance"]
    assert cosine.lines[1].get_color() == rank.lines[0].get_color() != cosine.lines[0].get_color()
    assert cosine.lines[1].get_linestyle() == rank.lines[0].get_linestyle()
    np.testing.assert_allclose(cosine.lines[0].get_xydata(), np.array(LINES["cosine"]["with"]).T)
    assert list(rank.lines[-1].get_ydata()) == [3, 3]
    (only,) = DRAWN["lines, one panel"]().axes
    assert only.get_yscale() == "log"


def test_every_seed_is_thin_and_the_mean_thick_with_its_highest_point():
    figure = DRAWN["seed_curves"]()
    h_mimic, h_misa, _i_mimic, i_misa = figure.axes
    thin = [line.get_ydata() for line in h_mimic.lines if line.get_linewidth() == 0.7]
    np.testing.assert_allclose(thin, UP)
    (mean,) = [line for line in h_mimic.lines if line.get_linewidth() == 2.2]
    np.testing.assert_allclose(mean.get_xydata(), np.column_stack([EPOCHS, UP.mean(0)]))
    (top,) = [line for line in h_mimic.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(top.get_xydata(), [[1.0, 0.6]])
    (around,) = [line for line in h_mimic.lines if line.get_linewidth() == 3]
    np.testing.assert_allclose(around.get_xydata(), [[0.5, 0.6], [2.0, 0.6]])
    assert [a.get_title(loc="left") for a in (h_mimic, h_misa)] == ["MIMIC", "MISA"]
    assert [t.get_text() for t in i_misa.texts] == ["none"]
    assert not i_misa.lines[1:]


def test_the_band_is_shaded_only_around_what_lies_in_it():
    (axes,) = DRAWN["seed_curves, one"]().axes
    assert len(axes.patches) == 1
    low, high = axes.get_ylim()
    assert low < -1 / 2 and high > -1 / 3
    assert all(not a.patches for a in similarity.seed_curves({"h": SEEDS["h"]}).axes)


def test_a_row_has_one_range_where_its_values_overlap():
    far = {"MIMIC": SEEDS["i"]["MIMIC"], "MISA": (EPOCHS, UP / 100 + 0.9, (1.0, 1.0))}
    near, apart = np.array_split(similarity.seed_curves({"h": SEEDS["h"], "i": far}).axes, 2)
    assert near[0].get_ylim() == near[1].get_ylim()
    assert apart[0].get_ylim()[1] < 0 < 0.8 < apart[1].get_ylim()[0]
    assert apart[0].patches and not apart[1].patches


def test_heights_are_written_and_what_is_missing_is_a_dash():
    axes, _ = DRAWN["hump_map"]().axes
    assert [t.get_text() for t in axes.texts] == ["0.00", "0.30", "-", "0.05"]
    assert axes.yaxis_inverted()
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("rate", "weight")
    (mesh,) = axes.collections
    assert mesh.norm(0.05) == pytest.approx(0.5)
    empty, _ = DRAWN["hump_map, nothing"]().axes
    assert {t.get_text() for t in empty.texts} == {"-"}
