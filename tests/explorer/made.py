"""Small explorers with made-up numbers, and what they must show."""

from itertools import combinations

import numpy as np

from mmer_lib.corpora import MODALITIES
from mmer_lib.explorer.replay import Dynamics
from mmer_lib.explorer.triangle import Triangle

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Explorers</title></head>
<body style="margin: 12px">{}</body></html>"""
GRID = {"learning_rate": (0.001, 0.01), "gate": ("on", "off")}
LOST = (0.01, "off")
TEXTS = ["all is well </script>", "it <b>could</b> be & is not", "yes"]
NOTES = ["happy; audio contradicts", "sad; none contradicts", ""]


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
