"""Small explorers with made-up numbers, and what they must show."""

from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np

from mmer_lib.book.explorer.dynamics import Dynamics
from mmer_lib.book.explorer.gates import GatedUtterance, Gates
from mmer_lib.book.explorer.scrubber import AttendedUtterance, Scrubber
from mmer_lib.book.explorer.toggles import Evaluation, Toggles, toggle_data
from mmer_lib.book.explorer.training_replay import TrainingReplay
from mmer_lib.book.explorer.triangle import Triangle
from mmer_lib.data import MODALITIES, Word

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Explorers</title></head>
<body style="margin: 12px">{}</body></html>"""
GRID = {"learning_rate": (0.001, 0.01), "gate": ("on", "off")}
LOST = (0.01, "off")
TEXTS = ["all is well </script>", "it <b>could</b> be & is not", "yes"]
NOTES = ["happy; audio contradicts", "sad; none contradicts", ""]

FACTORS = {"words": (True, False), "sound": (True, False), "joined by": ("highway", "sum")}
CLASSES = ("angry", "happy", "sad")
ALL = [("all", 0.1, 0.4), ("is", 0.4, 0.6), ("<b>well", 0.7, 1.1)]
EXAMPLES = (
    {"words": ALL, "seconds": 1.4, "truth": 1, "note": "happy; voice"},
    {"words": [("no", 0.0, 0.5)], "seconds": 0.5, "truth": 2, "note": ""},
)
NEITHER, ALONE = "nothing is read", "nothing to join"
MODEL = SimpleNamespace(  # nothing is read without words and sound; one alone is not joined
    FACTORS=FACTORS,
    WHOLE=(True, True, "highway"),
    SCORE=("wa", "WA, higher is better"),
    UNRECORDED="not recorded",
    why_not=lambda values: "" if any(values[:2]) else NEITHER,
    idle=lambda values: {} if all(values[:2]) else {"joined by": ALONE},
    bars=lambda classes: {"p": ("probability", classes, 0, 1)},
)


def vectors(n=3, width=8, seed=0):
    rng = np.random.default_rng(seed)
    return {m: rng.normal(size=(n, width)) + 0.4 for m in MODALITIES}


def triangle(**traits):
    return Triangle(vectors(), TEXTS, NOTES, provenance="Made up.", **traits)


def curves_of(combination, kind, seeds=3):
    """Epochs (8,) and curves (seeds, 8): a hump at the slow rate, none at the fast one."""
    epochs = np.array([0, 0.25, 0.5, 1, 2, 3, 4, 5.0])
    up, down = 1 - np.exp(-epochs), (epochs / 5) ** 2
    curve = 0.6 * up - (0.5 if combination[0] == 0.001 else 0) * down - 0.3 * (kind == "i")
    rng = np.random.default_rng(len(str(combination)) + len(kind))
    return epochs, curve + rng.normal(0, 0.02, (seeds, 1)) * up


def found():
    """Everything but `LOST`; "i_low" with the gate on only."""
    have = {}
    for combination in ((0.001, "on"), (0.001, "off"), (0.01, "on")):
        kinds = ["h", "i", *(["i_low"] if combination[1] == "on" else [])]
        have[combination] = {kind: curves_of(combination, kind) for kind in kinds}
    return have


def dynamics(**traits):
    return Dynamics(GRID, found(), {LOST: "diverged"}, provenance="CPU, seeds 0 to 2.", **traits)


def evaluation(values):
    """Better with more parts; three runs, but two without words."""
    words, sound, joined = values
    rng = np.random.default_rng(10 * words + 5 * sound + (joined == "sum"))
    mean = 0.5 + 0.2 * words + 0.1 * sound + 0.02 * (joined == "highway")
    scores = {(0, seed): mean + 0.01 * rng.normal() for seed in range(3 if words else 2)}
    seen = []
    for u in EXAMPLES:
        n, frames = len(u["words"]), 6
        one = {"p": rng.dirichlet(np.ones(3)), "attention": None, "times": [], "gates": None}
        if words:
            one["attention"] = rng.dirichlet(np.ones(n), frames)
            one["times"] = (np.arange(frames) + 0.5) * u["seconds"] / frames
        if words and sound and joined == "highway":
            one["gates"] = rng.uniform(0, 1, (2, n))
        seen.append(one)
    return Evaluation(scores, rng.integers(1, 50, (3, 3)), seen)


def evaluations():
    """By combination; where there is nothing to join, two are one."""
    there = {v: evaluation(v) for v in product(*FACTORS.values()) if not MODEL.why_not(v)}
    for values in there:
        if MODEL.idle(values):
            there[values] = there[(*values[:2], "highway")]
    return there


def toggles(**traits):
    data = toggle_data(MODEL, evaluations(), EXAMPLES, CLASSES)
    return Toggles(data, **{"provenance": "Made up.", **traits})


def heard(texts, frames, rate=16000, note="", seed=0):
    """A hum for each word after a pause of 0.1 s, frames of 96 ms, two layers of three heads."""
    rng = np.random.default_rng(seed)
    words, at = [], 0.1
    for text in texts:
        words.append(Word(text, round(at, 3), round(at + 0.05 * len(text), 3)))
        at = words[-1].end + (0.06 if len(words) == 2 else 0)  # a pause after the second
    t = np.arange(round(frames * 0.096 * rate)) / rate
    voiced = np.any([(w.start <= t) & (t < w.end) for w in words], 0)
    samples = 0.3 * np.sin(2 * np.pi * 220 * t) * voiced
    weights = rng.dirichlet(np.ones(len(words)), (2, 3, 1 + frames))
    maps = {"layer 1": weights[0], "layer 2": weights[1]}
    times = 0.0545 + 0.096 * np.arange(frames)
    return AttendedUtterance(words, samples.astype(np.float32), rate, times, maps, note)


HEARD = (
    heard(("this", "is", "<b>really", "well"), 11, note="happy & loud"),
    heard(("no",), 4, seed=1),
)


def scrubber(**traits):
    return Scrubber(HEARD, **{"provenance": "Made up.", **traits})


HALF = 6


def gated(words, known, note=""):
    """Three layers of ten gates that a word alone decides."""
    of = {w: np.random.default_rng(list(w.encode())).uniform(0, 1, (3, 10)) for w in words}
    return GatedUtterance(words, np.stack([of[w] for w in words], 1), known, note)


GATED = (
    gated(("this", "is", "<b>xyzzy", "is"), [True, True, False, True], "happy & loud"),
    gated(("is", "it"), [True, True]),
)


def gates(**traits):
    return Gates(GATED, HALF, 0.27, **{"provenance": "Made up.", **traits})


PAIRS = ("text-audio", "text-vision", "audio-vision")
SAID = (("all is </script> well", 2.4), ("no & no", -1.2), ("it <b>is", 0.1), ("so", -2.9))
LASTS = {"with it": 4, "without": 3}


def training(name):
    """A made-up training: all numbers differ, and the first epoch has a moment within."""
    last = LASTS[name]
    rng = np.random.default_rng(last)
    moments = np.array([0, 0.5, *range(1, last + 1)])
    names = [f"{kind} {pair}" for kind in ("h", "i", "i_low") for pair in PAIRS]
    similarity = {name: rng.uniform(-0.5, 0.8, len(moments)).round(4) for name in names}
    views = {}
    for view in ("h", "i", "S", "F"):
        marks = MODALITIES if view in "hi" else ("",)
        points = rng.integers(-500, 500, (last + 1, len(SAID) * len(marks) * 2))
        share = rng.uniform(0, 1, last + 1).round(4)
        views[view] = {"marks": marks, "points": points, "unit": 0.02, "share": share}
    gates = {p: (rng.uniform(0.3, 0.6, last + 1), rng.uniform(0, 0.1, last + 1)) for p in "SIM"}
    mae, trace = rng.uniform(0.4, 1, last + 1), {"epoch": moments, **similarity}
    return {"mae": mae, "best": 2, "similarity": trace, "gates": gates, "views": views}


def training_replay(**traits):
    trainings = {name: training(name) for name in LASTS}
    return TrainingReplay(SAID, trainings, **{"provenance": "Made up.", **traits})


def as_shown(value, digits):
    """A number as the scripts write it: halves away from zero, a real minus sign."""
    text = str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    return (text.replace("-", "") if float(text) == 0 else text).replace("-", "\u2212")


def whole(corners, offset):
    """Three vectors in space: corners (3, 2) in a plane whose zero is at `offset` (3,)."""
    return np.column_stack([np.asarray(corners) + offset[:2], np.full(3, offset[2])])


def cosines(points):
    """The three pairwise cosines of (3, D), then their mean."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = [float(unit[a] @ unit[b]) for a, b in combinations(range(3), 2)]
    return [*found, float(np.mean(found))]


def readings(points):
    """What the tables of a triangle hold for three h (3, D)."""
    shared = points.mean(0)
    parts = points - shared
    lengths = [float(np.linalg.norm(v)) for v in (*parts, shared)]
    return {"lengths": lengths, "i": cosines(parts), "h": cosines(points)}
