import base64
import io
import re

import numpy as np
import pytest
import soundfile
from matplotlib.colors import to_hex

from mmer_lib.book import figures
from mmer_lib.book.figures import maps
from mmer_lib.data import EMOTIONS, MODALITIES, Word
from tests.book.figures.common import drawn_in_silence, mesh

RNG = np.random.default_rng(0)
WORDS = (Word("what", 0.1, 0.3), Word("a", 0.3, 0.4), Word("day", 0.5, 0.9))
BANK = RNG.normal(size=(80, 16)).astype("f4")
BANK_TIMES = 0.0125 + 0.012 * np.arange(80)
ATTENTION = RNG.dirichlet(np.ones(3), 20)
FRAME_TIMES = np.linspace(0.02, 0.98, 20)
VISION = RNG.uniform(0, 3, (28, 9)).astype("f4")
SOUND = RNG.normal(0, 0.1, 16000).astype("f4")

DRAWN = {
    "timeline": lambda: figures.timeline(
        SOUND, 16000, WORDS, [Word("w", 0.1, 0.2), Word("'Q", 0.2, 0.3)], BANK, BANK_TIMES, VISION,
        np.arange(28) / 30, [f"AU{i:02d}" for i in range(9)], carriers=(2,),
    ),
    "attention_map": lambda: figures.attention_map(
        ATTENTION, FRAME_TIMES, WORDS, BANK, BANK_TIMES, "frames ask words"
    ),
    "gates_by_word": lambda: figures.gates_by_word(
        {"phonemes": np.array([0.2, 0.4, 0.6]), "word": np.array([0.7, 0.1, 0.3])},
        ["what", "a", "day"], carriers=(2,),
    ),
    "gate_distributions": lambda: figures.gate_distributions(
        {"S": RNG.uniform(size=(5, 4)), "I": RNG.uniform(size=30), "M": RNG.uniform(size=9)}, "gate"
    ),
    "curves": lambda: figures.curves({"a": [3, 2, 1.5], "b": [2.5, 2.4]}, "epoch", "loss"),
    "confusion": lambda: figures.confusion(np.arange(16).reshape(4, 4)),
    "scatter_sentiment": lambda: figures.scatter_sentiment(
        np.linspace(-3, 3, 12), np.linspace(-2, 2, 12), EMOTIONS * 3
    ),
    "against_ceilings": lambda: figures.against_ceilings(
        {"text": 0.6, "text + audio": 0.8}, {"muse": 0.7}, "WA"
    ),
    "cosine_distributions": lambda: figures.cosine_distributions(
        {"text-audio": RNG.uniform(-1, 1, 30), "text-vision": RNG.uniform(-1, 1, 30)}
    ),
    "muse": lambda: maps.model_map("muse"),
    "mimic": lambda: maps.model_map("mimic"),
}  # fmt: skip


def axes_of(figure):
    return [a for a in figure.axes if a.axison]


def labelled(axes):
    """An axis has a label, names at its ticks, or shares its scale with one that has a label."""
    shared = axes.get_shared_x_axes().get_siblings(axes)
    across = any(a.get_xlabel() for a in shared)
    up = bool(axes.get_ylabel())
    for axis, done in ((axes.xaxis, across), (axes.yaxis, up)):
        names = [t.get_text() for t in axis.get_ticklabels() if t.get_visible()]
        if not done and not any(any(c.isalpha() for c in n) for n in names):
            return False
    return True


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_labelled_silent_and_leave_nothing_open(name, tmp_path):
    figure = drawn_in_silence(DRAWN[name], tmp_path)
    for axes in axes_of(figure):
        if axes.get_label() != "<colorbar>":
            assert labelled(axes), axes
        else:
            assert axes.get_ylabel()


def test_the_timeline_draws_its_arrays_on_one_time_axis():
    top, middle, bottom = DRAWN["timeline"]().axes
    x, y = top.lines[0].get_data()
    np.testing.assert_array_equal(y, SOUND)
    np.testing.assert_allclose(x, np.arange(16000) / 16000)
    np.testing.assert_array_equal(mesh(middle).reshape(16, 80), BANK.T)
    assert top.get_xlim() == middle.get_xlim() == bottom.get_xlim() == (0, 1)
    texts = {t.get_text(): t for t in top.texts}
    assert set(texts) == {"what", "a", "day"}
    assert texts["day"].get_color() != texts["what"].get_color()
    assert texts["day"].get_position()[0] == pytest.approx(0.7)
    drawn = {line.get_label(): line.get_ydata() for line in bottom.lines
             if line.get_label().startswith("AU")}  # fmt: skip
    assert len(drawn) == 7
    for label, values in drawn.items():
        np.testing.assert_array_equal(values, VISION[:, int(label[2:])])
    spans = VISION.max(0) - VISION.min(0)
    assert {int(k[2:]) for k in drawn} == set(np.argsort(-spans)[:7])


def test_the_attention_map_draws_weights_and_true_word_times():
    figure = DRAWN["attention_map"]()
    top, bottom = figure.axes[:2]
    np.testing.assert_allclose(mesh(bottom).reshape(3, 20), ATTENTION.T)
    np.testing.assert_array_equal(mesh(top).reshape(16, 80), BANK.T)
    assert top.get_title() == "frames ask words"
    assert [t.get_text() for t in bottom.get_yticklabels()] == ["what", "a", "day"]
    assert bottom.yaxis_inverted()
    for i, (box, word) in enumerate(zip(bottom.patches, WORDS, strict=True)):
        assert box.get_x() == word.start and box.get_y() == i - 0.5
        assert box.get_width() == pytest.approx(word.end - word.start)


def test_gates_by_word_are_bars_of_their_height():
    (axes,) = DRAWN["gates_by_word"]().axes
    heights = [[bar.get_height() for bar in group] for group in axes.containers]
    assert heights == [[0.2, 0.4, 0.6], [0.7, 0.1, 0.3]]
    assert [g.get_label() for g in axes.containers] == ["phonemes", "word"]
    centres = [[b.get_x() + b.get_width() / 2 for b in g] for g in axes.containers]
    np.testing.assert_allclose(np.mean(centres, axis=0), [0, 1, 2])
    labels = axes.get_xticklabels()
    assert [t.get_text() for t in labels] == ["what", "a", "day"]
    assert labels[2].get_color() == figures.EMOTION_COLOURS["angry"] != labels[0].get_color()


def test_gate_distributions_keep_their_names_in_order():
    (axes,) = DRAWN["gate_distributions"]().axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["S", "I", "M"]
    assert axes.get_ylim() == (0, 1) and axes.get_ylabel() == "gate"


def test_curves_begin_at_step_one():
    (axes,) = DRAWN["curves"]().axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {"a": [[1, 3], [2, 2], [3, 1.5]], "b": [[1, 2.5], [2, 2.4]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_confusion_shows_counts_and_shares_of_the_true_class():
    counts = np.array([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    axes = figures.confusion(counts).axes[0]
    assert [int(t.get_text()) for t in axes.texts] == counts.ravel().tolist()
    shares = np.array([[0.75, 0.25, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0.25] * 4])
    np.testing.assert_allclose(mesh(axes).reshape(4, 4), shares)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [t.get_text() for t in axes.get_yticklabels()] == list(EMOTIONS)


def test_scatter_puts_each_point_where_it_belongs():
    truth, predicted = np.linspace(-3, 3, 12), np.linspace(-2, 2, 12)
    axes = DRAWN["scatter_sentiment"]().axes[0]
    groups = {c.get_label(): c for c in axes.collections}
    assert set(groups) == set(EMOTIONS)
    for k, emotion in enumerate(EMOTIONS):
        x, y = groups[emotion].get_offsets().data.T
        np.testing.assert_allclose(y, predicted[k::4])
        assert np.abs(x - truth[k::4]).max() <= 0.04
        assert to_hex(groups[emotion].get_facecolor()[0]) == (
            figures.EMOTION_COLOURS[emotion].lower()
        )


def test_ceilings_are_bars_and_scores_are_lines():
    (axes,) = DRAWN["against_ceilings"]().axes
    assert [b.get_width() for b in axes.patches] == [0.6, 0.8]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["text", "text + audio"]
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0.7, 0.7] and line.get_label() == "muse: 0.700"
    assert axes.get_xlabel() == "WA" and axes.yaxis_inverted()
    worse = figures.against_ceilings({"a": 1.0, "b": 2.0}, {"m": 3.0}, "MAE", lower_is_better=True)
    assert worse.axes[0].get_xlabel() == "MAE (lower is better)"
    assert worse.axes[0].get_xlim()[1] > 3


@pytest.mark.parametrize(("ceilings", "scores"), [({"a": 0.5, "b": 0.6}, {}), ({"a": 0.5}, {})])
def test_ceilings_without_scores(ceilings, scores):
    figure = figures.against_ceilings(ceilings, scores, "WA")
    assert len(figure.axes[0].patches) == len(ceilings)


def test_cosines_keep_their_names_in_order():
    (axes,) = DRAWN["cosine_distributions"]().axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["text-audio", "text-vision"]
    assert axes.get_xlabel() == "cosine" and axes.get_xlim() == (-1.02, 1.02)


def test_colours_are_one_for_each_class_and_modality():
    assert tuple(figures.EMOTION_COLOURS) == EMOTIONS
    assert tuple(figures.MODALITY_COLOURS) == MODALITIES
    for colours in (figures.EMOTION_COLOURS, figures.MODALITY_COLOURS):
        assert len(set(colours.values())) == len(colours)


def test_a_player_holds_its_sound_and_says_what_it_is():
    html = figures.player(SOUND, 16000, 'angry <"loud">').data
    assert 'aria-label="angry &lt;&quot;loud&quot;&gt;"' in html and '<"loud">' not in html
    assert "<figcaption>angry" in html and html.count("<audio ") == 1
    content = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", html)[1])
    samples, rate = soundfile.read(io.BytesIO(content))
    assert rate == 16000
    np.testing.assert_allclose(samples, SOUND, atol=1e-3)


# --------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize(("name", "count"), [("muse", 13), ("mimic", 13)])
def test_a_map_shows_every_box_inside_the_picture(name, count):
    (axes,) = maps.model_map(name).axes
    boxes = [p for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    assert len(boxes) == len(axes.texts) == count
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    spans = [(b.get_x(), b.get_y(), b.get_width(), b.get_height()) for b in boxes]
    for i, (x, y, w, h) in enumerate(spans):
        assert left <= x and x + w <= right and low <= y and y + h <= high
        for u, v, s, t in spans[:i]:
            assert x >= u + s or u >= x + w or y >= v + t or v >= y + h, "boxes overlap"


@pytest.mark.parametrize("name", ["MUSE", "MIMIC"])
def test_every_part_of_a_map_is_connected(name):
    boxes = getattr(maps, f"_{name}_BOXES")
    arrows = getattr(maps, f"_{name}_ARROWS")
    assert {n for pair in arrows for n in pair} == set(boxes)
    sinks = set(boxes) - {a for a, _ in arrows}
    assert len(sinks) == 1
    for a, b in arrows:
        assert boxes[a][0] <= boxes[b][0], "an arrow runs backwards"


def test_an_unknown_map_is_refused():
    with pytest.raises(KeyError):
        maps.model_map("bert")
