"""Every figure: drawn on small arrays of true shapes, in silence, and with the data that it got."""

import base64
import io
import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mmer_lib.book import figures
from mmer_lib.data import Utterance, Word

RNG = np.random.default_rng(0)
WORDS = (Word("what", 0.1, 0.3), Word("a", 0.3, 0.4), Word("day", 0.5, 0.9))
NAMES = [w.text for w in WORDS]
BANK, BANK_TIMES = RNG.normal(size=(80, 16)), 0.0125 + 0.012 * np.arange(80)
TIMES = np.linspace(0.02, 0.94, 20)
MAPS = {f"head {h + 1}": RNG.dirichlet(np.ones(3), 20) for h in range(3)}
FRAMES, SOUND = RNG.normal(size=20), RNG.normal(0, 0.1, 16000)
VISION = RNG.uniform(0, 3, (28, 9))
PLANTED = SimpleNamespace(phonemes=[Word("w", 0.1, 0.2), Word("'Q", 0.2, 0.3)], carriers=(2,))
ONE = Utterance("", "", "", "what a day", waveform=lambda: SOUND, rate=16000, words=WORDS)
ONE = replace(ONE, vision=VISION, vision_times=np.arange(28) / 30, planted=PLANTED)
ROWS = {
    "text": {"before": (0.5, 0.4, 0.6), "after": (0.7, 0.6, 0.75)},
    "audio": {"after": (0.2, 0.1, 0.4)},
}
TABLE = [
    {
        "label": name,
        "runs": [{"wa": 0.6}, {"wa": 0.62 + shift}, {"wa": None}],
        "wa": {"mean": 0.61 + shift / 2, "std": 0.01, "paper": paper, "paper_std": None},
    }
    for name, shift, paper in (("the full model", 0.1, 0.8), ("without words", 0.0, None))
]
RUNS = {"MAE": {"MIMIC": [0.5, 0.7], "text alone": [0.8]}, "Corr": {"MIMIC": [0.3, 0.2]}}
SQUARE = np.array([[0.125, 0.25], [0.5, 1.0]])
REACH = {"forward": np.triu(np.ones((3, 3))), "backward": np.tril(2 * np.ones((3, 3)))}
CUBES = {"whole": RNG.uniform(0.1, 1, (4, 4, 4)), "pooled": RNG.uniform(0.1, 2, (2, 2, 2))}
CUBES["whole"][:2] = 0
GATES = RNG.uniform(0, 1, (6, 5))
SENTIMENT, GUESSES = np.linspace(-3, 3, 12), np.linspace(-2, 2, 12)
PLACES = {name: RNG.normal(size=(12, 2)) for name in ("before", "after", "last")}
EPOCHS = np.array([0, 0.5, 1, 2, 3])
SEEDS = RNG.uniform(0, 1, (3, 5))
LENGTHS = RNG.integers(2, 6, 12)
HUMPS = np.array([[0.01, np.nan], [0.2, 0.06]])


def meshes(figure):
    """The arrays of all heat maps."""
    return [
        c.get_array()
        for axes in figure.axes
        for c in axes.collections
        if type(c).__name__ == "QuadMesh" and axes.get_label() != "<colorbar>"
    ]


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def line_values(figure):
    """The y values of all lines, and the x values of those that lie in rows."""
    drawn = [line for axes in figure.axes for line in axes.lines]
    return [
        tuple(np.round(np.asarray(d, float), 6))
        for line in drawn
        for d in line.get_data(orig=False)
    ]


def bars(figure):
    patches = [p for axes in figure.axes for p in axes.patches if hasattr(p, "get_height")]
    return [(p.get_width(), p.get_height()) for p in patches]


def points(figure):
    offsets = [c.get_offsets() for axes in figure.axes for c in axes.collections]
    return np.concatenate([np.asarray(o).reshape(-1, 2) for o in offsets])


def shows_mesh(*arrays):
    def check(figure):
        for found, wanted in zip(meshes(figure), arrays, strict=True):
            np.testing.assert_allclose(np.ma.filled(found, 0).reshape(wanted.shape), wanted)

    return check


def shows_lines(*values):
    def check(figure):
        found = line_values(figure)
        for wanted in values:
            assert tuple(np.round(np.asarray(wanted, float), 6)) in found

    return check


def shows_texts(*wanted):
    return lambda figure: [texts(figure).index(text) for text in wanted]


def shows_points(*pairs):
    def check(figure):
        found = points(figure)
        for x, y in pairs:
            assert np.isclose(found, (x, y), atol=1e-6).all(1).any()

    return check


CALLS = {  # function: (arguments, what its figure must show)
    "timeline": (
        (ONE, BANK, BANK_TIMES, [f"AU{i:02d}" for i in range(9)]),
        shows_lines(SOUND, VISION[:, np.ptp(VISION, axis=0).argmax()]),
    ),
    "attention_maps": (
        (MAPS, TIMES, WORDS, BANK, BANK_TIMES),
        shows_mesh(BANK.T, BANK.T, *(weights.T for weights in MAPS.values())),
    ),
    "attention_maps, alone": (({"": MAPS["head 1"]}, TIMES, WORDS), shows_mesh(MAPS["head 1"].T)),
    "before_and_after": (
        (BANK, BANK_TIMES, RNG.uniform(size=(20, 5)), TIMES, WORDS, (2,)),
        shows_texts("what", "a", "day"),
    ),
    "dummy_rows": (({"self_0": TIMES}, TIMES, FRAMES, WORDS, (2,)), shows_lines(FRAMES, TIMES)),
    "attribution_in_time": (
        (FRAMES, TIMES, np.array([1.0, -2, 3]), WORDS, BANK, BANK_TIMES, (2,)),
        lambda f: [bars(f).index((pytest.approx(w), h)) for w, h in ((0.2, 1), (0.1, -2))],
    ),
    "heat_map": (
        ({"text": SQUARE, "audio": SQUARE / 2}, (1, 2), ("what", "day"), ("head", "", "times")),
        shows_mesh(SQUARE, SQUARE / 2),
    ),
    "heat_map, numbers": (
        ({"": SQUARE}, ("S", "I"), ("S", "I"), ("gates of", "read from", "change"), ".3f"),
        shows_texts("0.125", "0.250", "0.500", "1.000"),
    ),
    "confusion": ((np.diag([5, 7, 4, 9]),), shows_mesh(np.eye(4))),
    "readout_map": (
        (
            {"h": {"emotion": 0.5, "voice": 1.0}},
            {"emotion": 0.25, "voice": 0.5},
            {"emotion": 0.75, "voice": 1.0},
        ),
        shows_mesh(np.array([[0.5, 1], [0, 0], [1, 1]])),
    ),
    "rate_map": (
        ({"MULT": [0.7, 0.5], "MFN": [0.6, 0.6]}, [1e-4, 1e-3], "MAE", True),
        shows_texts("0.700", "0.500", "0.600"),
    ),
    "hump_map": (
        ({"MIMIC": HUMPS}, ("1e-4", "1e-3"), ("0", "0.1"), ("rate", "weight"), 0.05),
        shows_texts("0.01", "-", "0.20", "0.06"),
    ),
    "filter_windows": (
        (np.array([[1.0, 2, 0], [4, 1, 1]]), (3, 5), ("k", "@", "t"), ("a", "b")),
        shows_mesh(np.array([[0.5, 1, 0], [1, 0.25, 0.25]])),
    ),
    "reach_map": ((REACH, NAMES, ("silenced", "state", "change")), shows_mesh(*REACH.values())),
    "gate_map": (
        ({"S": GATES, "I": 1 - GATES}, "utterance"),
        shows_mesh(*(g[:, np.argsort(-g.mean(0))] for g in (GATES, 1 - GATES))),
    ),
    "gate_map, words": (
        ({"phonemes": GATES[:3]}, "", NAMES, (2,)),
        lambda f: np.testing.assert_allclose(np.sort(meshes(f)[0]), np.sort(GATES[:3])),
    ),
    "cube_slices": (
        (CUBES, "text", "audio", 3),
        shows_mesh(*(cube[:, :, k] for cube in CUBES.values() for k in range(len(cube)))),
    ),
    "intervals": (
        ({"length": ROWS, "cosine": ROWS}, {"guessing": 0.25}, {"text": 0.3}, 2),
        shows_lines([0.5], [0.7, 0.2], [0.25, 0.25]),
    ),
    "intervals, one": (({"MAE": {"x": {"": (1.0, 0.8, 1.1)}}},), shows_lines([1.0])),
    "run_dots": (
        (RUNS, {"MAE": {"chance": 1.1}}),
        shows_lines([0.5, 0.7], [0.6], [0.8], [0.3, 0.2], [1.1, 1.1]),
    ),
    "run_dots, with the best": (
        (RUNS, {}, {"MAE": {"MIMIC": 0.45, "text alone": 0.4}, "Corr": {"MIMIC": 0.9}}),
        shows_lines([0.45], [0.6, 0.45], [0.9]),
    ),
    "difference_dots": (
        ({"a": {"x": [0.1, -0.3]}, "b": {"y": [0.2]}}, "less"),
        shows_lines([0.1, -0.3], [-0.1], [0.2]),
    ),
    "ours_and_paper": (
        (TABLE, "wa", "demo", "IEMOCAP"),
        shows_lines([0.6, 0.72], [0.66, 0.61], [0.8]),
    ),
    "against_ceilings": (
        ({"text": 0.6, "both": 0.8}, {"MUSE": 0.7}, "WA"),
        shows_lines([0.7, 0.7]),
    ),
    "against_ceilings, no scores": (({"text": 1.0}, {}, "MAE", True), shows_texts(" 1.000")),
    "word_bars": (
        (
            {"adds": {"words": np.array([1, -0.5, 2]), "phonemes": np.array([0.5, -1, -1])}},
            NAMES,
            (2,),
            {"adds": 1.0},
        ),
        lambda f: np.testing.assert_allclose([h for _, h in bars(f)], [1, -0.5, 2, 0.5, -1, -1]),
    ),
    "lines": (
        (
            {"error": {"a": (EPOCHS, SEEDS[0]), "b": [3, 2]}, "band": {"a": (EPOCHS, *SEEDS)}},
            "epoch",
            {"error": {"chance": 0.5}},
        ),
        shows_lines(SEEDS[0], [1, 2], [3, 2], [0.5, 0.5]),
    ),
    "lines, between named parts": (
        ({"WA": {"dummy": (["input", "words"], [0.2, 0.6], [0.1, 0.5], [0.4, 0.7])}}, ""),
        shows_lines([0.2, 0.6]),
    ),
    "seed_curves": (
        (
            {"h": {"MIMIC": (EPOCHS, SEEDS, (0.5, 2)), "MISA": (EPOCHS, SEEDS[:1], (1, 1))}}
            | {"i": {"MIMIC": (EPOCHS, SEEDS / 20 - 0.45, (0.5, 2))}},
        ),
        shows_lines(*SEEDS, SEEDS.mean(0)),
    ),
    "placed_by_sentiment": ((PLACES, SENTIMENT), shows_points(*PLACES["last"])),
    "by_length": (
        (LENGTHS, {"1": GUESSES, "2": SENTIMENT}, ("phonemes", "gate"), ["a", "b"] * 6),
        lambda f: np.testing.assert_allclose(
            np.sort(points(f)[:, 1]), np.sort([*GUESSES, *SENTIMENT])
        ),
    ),
    "field_map": ((), shows_texts("MUSE", "MIMIC")),
    **{
        f"model_map, {name}": ((name,), lambda f: None)
        for name in ("muse", "muse-multigranular", "mimic", "misa")
    },
}


@pytest.mark.parametrize("call", CALLS)
def test_a_figure_shows_its_data_in_silence(call, tmp_path):
    arguments, check = CALLS[call]
    style = dict(plt.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = getattr(figures, call.split(",")[0])(*arguments)
        figure.savefig(tmp_path / "figure.png", dpi=50)
    assert isinstance(figure, Figure) and plt.get_fignums() == []
    assert dict(plt.rcParams) == style, "the style leaks into other figures"
    check(figure)
    last = [a for a in figure.axes if a.axison and a.get_label() != "<colorbar>"]
    if last:
        names = [t.get_text() for t in last[-1].get_xticklabels()]
        assert last[-1].get_xlabel() or any(c.isalpha() for name in names for c in name)


def test_every_figure_is_tried():
    drawn = {call.split(",")[0] for call in CALLS}
    helpers = {"by_row", "runs_by_row", "player", "new_axes"}
    assert drawn | helpers == {n for n in figures.__all__ if not n.isupper()}


def test_series_are_turned_into_rows():
    series = {"a": {"x": 1, "y": 2}, "b": {"y": 3}}
    assert figures.by_row(series) == {"x": {"a": 1}, "y": {"a": 2, "b": 3}}


def test_carrying_words_and_modalities_keep_their_colours():
    figure = figures.word_bars({"a": {"text": np.ones(3)}}, NAMES, (2,))
    colours = [t.get_color() for t in figure.axes[0].get_xticklabels()]
    assert colours[2] == figures.EMOTION_COLOURS["angry"] != colours[0]
    text = to_hex(figure.axes[0].patches[0].get_facecolor())
    assert text == figures.MODALITY_COLOURS["text"].lower()


def test_a_player_holds_its_sound_and_says_what_it_is():
    html = figures.player(SOUND, 16000, 'angry <"loud">').data
    assert 'aria-label="angry &lt;&quot;loud&quot;&gt;"' in html and '<"loud">' not in html
    content = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", html)[1])
    samples, rate = soundfile.read(io.BytesIO(content))
    assert rate == 16000
    np.testing.assert_allclose(samples, SOUND, atol=1e-3)
