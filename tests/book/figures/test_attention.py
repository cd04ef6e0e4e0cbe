import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmer_lib.book.figures import EMOTION_COLOURS, MODALITY_COLOURS
from mmer_lib.book.figures import attention as figures
from mmer_lib.data import EMOTIONS, Word
from tests.book.figures.common import assert_narrow, drawn_in_silence, mesh

RNG = np.random.default_rng(0)
WORDS = (Word("what", 0.1, 0.3), Word("a", 0.3, 0.4), Word("day", 0.5, 0.9))
NAMES = [w.text for w in WORDS]
BANK = RNG.normal(size=(80, 16)).astype("f4")
BANK_TIMES = 0.0125 + 0.012 * np.arange(80)
TIMES = np.linspace(0.02, 0.94, 20)
MAPS = {f"head {h + 1}": RNG.dirichlet(np.ones(3), 20) for h in range(4)}
ROWS = {"first row": (0.2, 0.1, 0.4), "second": (-0.1, -0.3, 0.0)}
OTHER = {"first row": (0.6, 0.5, 0.7), "second": (0.3, 0.2, 0.35)}
BARS = {
    "attribution": {
        "word vector": np.array([1.0, -0.5, 2]),
        "phonemes": np.array([0.5, -1, -1]),
    },
    "weight": {"dummy": np.array([0.5, 1.5, 1])},
}
POINTS = RNG.normal(size=(12, 2))
KINDS = ["text", "voice", "both"] * 4
FRAMES = RNG.normal(size=20)

DRAWN = {
    "attention_panels": lambda: figures.attention_panels(MAPS, TIMES, WORDS, BANK, BANK_TIMES),
    "attention_panels, three": lambda: figures.attention_panels(
        dict(list(MAPS.items())[:3]), TIMES, WORDS, BANK, BANK_TIMES
    ),
    "intervals": lambda: figures.intervals({"": ROWS}, "score", {"chance": 0.25}),
    "intervals of two": lambda: figures.intervals({"text": ROWS, "speech": OTHER}, "score"),
    "overlap_matrix": lambda: figures.overlap_matrix(
        np.array([[1, 0.5], [0.5, 1]]), "head", "shared weight"
    ),
    "word_bars": lambda: figures.word_bars(BARS, NAMES, (2,), {"weight": 1.0}),
    "dummy_rows": lambda: figures.dummy_rows(
        {"self_0": RNG.uniform(0, 2, 20), "deep_0": RNG.uniform(0, 2, 20)},
        TIMES, RNG.normal(size=20), WORDS, (2,),
    ),
    "along_parts": lambda: figures.along_parts(
        {"dummy": list(ROWS.values()), "frames": list(OTHER.values())},
        ["input", "words"], "accuracy", {"MUSE": 0.5},
    ),
    "utterance_map": lambda: figures.utterance_map(
        POINTS, EMOTIONS * 3, KINDS, ["component 1", "component 2"]
    ),
    "attribution_in_time": lambda: figures.attribution_in_time(
        FRAMES, TIMES, np.array([1.0, -2, 3]), WORDS, BANK, BANK_TIMES, (2,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    last = [a for a in figure.axes if a.axison and a.get_label() != "<colorbar>"][-1]
    named = any(c.isalpha() for t in last.get_xticklabels() for c in t.get_text())
    assert last.get_xlabel() or named


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_narrow_enough_for_letters_on_a_phone(name):
    assert_narrow(DRAWN[name]())


def heights(axes):
    return [[bar.get_height() for bar in group] for group in axes.containers]


def test_each_panel_draws_its_map_and_the_true_times():
    figure = DRAWN["attention_panels"]()
    left, right, *panels = [a for a in figure.axes if a.get_label() != "<colorbar>"]
    for top in (left, right):
        np.testing.assert_array_equal(mesh(top).reshape(16, 80), BANK.T)
    assert [p.get_title() for p in panels] == list(MAPS)
    for axes, weights in zip(panels, MAPS.values(), strict=True):
        np.testing.assert_allclose(mesh(axes).reshape(3, 20), weights.T)
        assert axes.yaxis_inverted() and axes.get_xlim() == left.get_xlim() == right.get_xlim()
        for i, (box, word) in enumerate(zip(axes.patches, WORDS, strict=True)):
            assert box.get_x() == word.start and box.get_y() == i - 0.5
            assert box.get_width() == pytest.approx(word.end - word.start)
    limits = {p.collections[0].get_clim() for p in panels}
    assert limits == {(0, max(m.max() for m in MAPS.values()))}, "one scale for all"
    assert [t.get_text() for t in panels[0].get_yticklabels()] == NAMES
    assert [t.get_text() for t in panels[1].get_yticklabels()] == [""] * 3


def test_intervals_stand_in_their_rows():
    (axes,) = DRAWN["intervals"]().axes
    assert [t.get_text() for t in axes.get_yticklabels()] == list(ROWS)
    assert axes.yaxis_inverted() and axes.get_xlabel() == "score"
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots.get_xdata(), [0.2, -0.1])
    np.testing.assert_allclose(dots.get_ydata(), [0, 1])
    (spans,) = [c for c in axes.collections if hasattr(c, "get_segments")]
    np.testing.assert_allclose([s[:, 0] for s in spans.get_segments()], [[0.1, 0.4], [-0.3, 0]])
    mark = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert list(mark.get_xdata()) == [0.25, 0.25]
    assert [t.get_text() for t in axes.texts] == ["0.20", "-0.10"]
    assert axes.get_figure().legends[0].get_texts()[0].get_text() == "chance"


def _marked(axes, marker):
    """The one line whose points have this marker."""
    (line,) = [line for line in axes.lines if line.get_marker() == marker]
    return line


def test_a_mark_at_the_edge_of_the_data_keeps_off_the_frame():
    (axes,) = figures.intervals({"": {"a": (0.2, 0.017, 0.36)}}, "fall", {"no effect": 0.0}).axes
    assert axes.get_xlim()[0] < -0.005


def test_two_series_stand_side_by_side_in_their_colours():
    (axes,) = DRAWN["intervals of two"]().axes
    text, speech = (_marked(axes, marker) for marker in "os")
    np.testing.assert_allclose(text.get_xdata(), [0.2, -0.1])
    np.testing.assert_allclose(speech.get_xdata(), [0.6, 0.3])
    assert (text.get_ydata() < speech.get_ydata()).all()
    assert to_hex(text.get_color()) == MODALITY_COLOURS["text"].lower()
    assert to_hex(speech.get_color()) == MODALITY_COLOURS["audio"].lower()


def test_a_series_may_lack_a_row():
    (axes,) = figures.intervals({"a": ROWS, "b": {"third": (1, 0, 2)}}, "score").axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["first row", "second", "third"]
    only = _marked(axes, "s")
    assert round(float(only.get_ydata()[0])) == 2


def test_overlaps_are_written_in_their_cells():
    axes = DRAWN["overlap_matrix"]().axes[0]
    assert [t.get_text() for t in axes.texts] == ["1.00", "0.50", "0.50", "1.00"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2"]
    assert axes.get_xlabel() == axes.get_ylabel() == "head"


def test_bars_of_a_word_are_stacked_away_from_zero():
    top, bottom = DRAWN["word_bars"]().axes
    assert top.get_ylabel() == "attribution" and bottom.get_ylabel() == "weight"
    assert heights(top) == [[1, -0.5, 2], [0.5, -1, -1]]
    starts = [[bar.get_y() for bar in group] for group in top.containers]
    assert starts == [[0, 0, 0], [1, -0.5, 0]]
    assert heights(bottom) == [[0.5, 1.5, 1]]
    assert any(list(line.get_ydata()) == [1, 1] for line in bottom.lines)
    labels = bottom.get_xticklabels()
    assert [t.get_text() for t in labels] == NAMES
    assert labels[2].get_color() == EMOTION_COLOURS["angry"] != labels[0].get_color()


def test_dummy_rows_are_lines_over_the_time_of_the_frames():
    top, bottom = DRAWN["dummy_rows"]().axes
    np.testing.assert_array_equal(top.lines[0].get_xdata(), TIMES)
    assert [line.get_label() for line in bottom.lines[:2]] == ["self_0", "deep_0"]
    texts = {t.get_text(): t for t in top.texts}
    assert set(texts) == set(NAMES)
    assert texts["day"].get_color() != texts["what"].get_color()
    (shade,) = bottom.patches
    assert (shade.get_x(), shade.get_width()) == (0.5, pytest.approx(0.4))


def test_lines_go_from_part_to_part():
    (axes,) = DRAWN["along_parts"]().axes
    dummy, frames, mark = axes.lines
    np.testing.assert_allclose(dummy.get_ydata(), [0.2, -0.1])
    np.testing.assert_allclose(frames.get_ydata(), [0.6, 0.3])
    assert list(mark.get_ydata()) == [0.5, 0.5] and mark.get_label() == "MUSE"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["input", "words"]
    spans = axes.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in spans], [[0.1, 0.4], [-0.3, 0.0]])


def test_every_utterance_is_on_the_map_in_its_colour():
    (axes,) = DRAWN["utterance_map"]().axes
    drawn = [c for c in axes.collections if len(c.get_offsets())]
    found = {}
    for c in drawn:
        for point in c.get_offsets():
            found[tuple(np.round(np.asarray(point), 9))] = to_hex(c.get_facecolor()[0])
    assert len(found) == 12
    for point, emotion in zip(POINTS, EMOTIONS * 3, strict=True):
        assert found[tuple(np.round(point, 9))] == EMOTION_COLOURS[emotion].lower()
    shapes = {c.get_paths()[0].vertices.tobytes() for c in drawn}
    assert len(shapes) == 3
    named = [t.get_text() for t in axes.get_figure().legends[0].get_texts()]
    assert set(named) == {*EMOTIONS, *KINDS}


def test_attribution_stands_where_it_is_heard():
    top, middle, bottom = DRAWN["attribution_in_time"]().axes
    np.testing.assert_array_equal(mesh(top).reshape(16, 80), BANK.T)
    assert heights(middle) == [FRAMES.tolist()]
    centres = [b.get_x() + b.get_width() / 2 for b in middle.containers[0]]
    np.testing.assert_allclose(centres, TIMES)
    bars = [group[0] for group in bottom.containers]
    assert [b.get_height() for b in bars] == [1, -2, 3]
    assert [b.get_x() for b in bars] == [w.start for w in WORDS]
    np.testing.assert_allclose([b.get_width() for b in bars], [w.end - w.start for w in WORDS])
    assert bars[2].get_edgecolor() != bars[0].get_edgecolor() == bars[1].get_edgecolor()
