"""Figures of the chapters on MIMIC's tables, on MISA, and on CMU-MOSI.

Arrays in, a matplotlib Figure out; nothing here computes a result.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mmer_lib.book.figures import INK, new_axes

WIDTH = 6.0  # inches: what is wider has small print on a phone
SIZE = 9.5  # points, of what stands beside the axes
RUN, MEAN, BEST = "#CC79A7", "#7B2D5B", "#0072B2"
SCORES = {
    "mae": "MAE",
    "corr": "Corr",
    "acc2_has0": "Acc-2, has 0",
    "acc2_non0": "Acc-2, non 0",
}
"""How the axes call a score."""

# ------------------------------------------------------------------------------------ tables


def against_best(
    rows: Sequence[dict], best: Mapping[str, Mapping[str, float]], silent: Mapping[str, float] = {}
) -> Figure:
    """Rows of a table against the best that could be, one panel a score.

    Args:
        rows: as `tables.aggregate` gives them.
        best: score -> label of a row -> the best possible. silent: score -> what one gets who
            always says the same, a dotted line.

    Small dots are runs, large ones their mean; a blue diamond is the best possible, and the line
    between the two is what is missing.
    """
    labels = [textwrap.fill(row["label"], 15, break_on_hyphens=False) for row in rows]
    lines = sum(1 + label.count("\n") for label in labels)
    height = 0.2 * lines + 0.16 * len(rows) + 1.35
    figure, panels = new_axes(1, len(best), figsize=(WIDTH, height), sharey=True)
    panels = np.atleast_1d(panels)
    for axes, (score, ceilings) in zip(panels, best.items(), strict=True):
        for i, row in enumerate(rows):
            values, mean = [run[score] for run in row["runs"]], row[score]["mean"]
            legend = {} if i else {"run": "a run", "mean": "mean of runs", "best": "best possible"}
            axes.plot(values, [i] * len(values), "o", color=RUN, markersize=4, alpha=0.5,
                      label=legend.get("run"))  # fmt: skip
            if mean is not None:
                axes.plot([mean, ceilings[row["label"]]], [i, i], color="#BBBBBB", linewidth=2,
                          zorder=1)  # fmt: skip
                axes.plot(mean, i, "o", color=MEAN, markersize=7, label=legend.get("mean"))
            axes.plot(ceilings[row["label"]], i, "D", color=BEST, markersize=6,
                      label=legend.get("best"))  # fmt: skip
        if score in silent:
            axes.axvline(silent[score], color=INK, linewidth=1, linestyle=":", zorder=0,
                         label="always the same")  # fmt: skip
        axes.set(xlabel=SCORES.get(score, score))
        _grid(axes)
    panels[0].set_yticks(range(len(rows)), labels, fontsize=SIZE)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False)
    return figure


def scores_by_threshold(
    thresholds: np.ndarray, scores: Mapping[str, np.ndarray], xlabel: str, ylabel: str
) -> Figure:
    """Lines: name -> (N,) at thresholds (N,); the dashed line is the threshold 0."""
    figure, axes = new_axes(figsize=(WIDTH, 3.2))
    palette = sns.color_palette("colorblind", len(scores))
    for (name, values), colour, style in zip(
        scores.items(), palette, ("-", "--", "-.", ":"), strict=False
    ):
        axes.plot(thresholds, values, style, color=colour, linewidth=2, label=name)
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _grid(axes)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def run_strips(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Scores of single runs: score (one panel) -> row -> one number a run. Small dots are runs,
    diamonds their mean."""
    rows = list(dict.fromkeys(name for group in groups.values() for name in group))
    size = (WIDTH, 0.5 * len(rows) + 0.9)
    figure, panels = new_axes(1, len(groups), figsize=size, sharey=True)
    panels = np.atleast_1d(panels)
    for axes, (score, group) in zip(panels, groups.items(), strict=True):
        for name, values in group.items():
            i = rows.index(name)
            axes.plot(values, [i] * len(values), "o", color=RUN, markersize=5, alpha=0.6)
            axes.plot(np.mean(values), i, "D", color=MEAN, markersize=7)
        axes.set(xlabel=SCORES.get(score, score))
        axes.locator_params(axis="x", nbins=3)
        _grid(axes)
    labels = [textwrap.fill(row, 14, break_on_hyphens=False) for row in rows]
    panels[0].set_yticks(range(len(rows)), labels, fontsize=SIZE)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _grid(axes) -> None:
    axes.grid(color="#E2E2E2", linewidth=0.6)
    axes.set_axisbelow(True)


# -------------------------------------------------------------------------------------- MISA

_FILLS = {"each": "#DDE7F0", "one": "#F6DDB0", "loss": "#FFFFFF", "end": "#EEEEEE"}
_BOXES = {  # name: (x, y, half the width, half the height, text, kind)
    "x": (0, 1, 0.42, 0.42, "text, audio,\nvision", "end"),
    "h": (1.05, 1, 0.42, 0.42, "encoder,\nprojection\n$h_m$", "each"),
    "s": (2.15, 2, 0.45, 0.42, "shared\nencoder\n$s_m$", "one"),
    "i": (2.15, 0, 0.45, 0.42, "private\nencoders\n$i_m$", "each"),
    "similarity": (2.15, 2.95, 0.62, 0.24, "similarity:\nthe $s_m$ alike", "loss"),
    "difference": (2.15, 1, 0.45, 0.24, "difference:\n$s_m$, $i_m$ apart", "loss"),
    "reconstruction": (3.15, 1, 0.45, 0.24, "reconstruction:\n$h_m$ again", "loss"),
    "six": (4.25, 1, 0.42, 0.42, "six vectors,\nTransformer\nlayer", "one"),
    "y": (5.3, 1, 0.42, 0.42, "2 layers,\nsentiment", "end"),
}
_ARROWS = {  # from, to: (x, y) of the tail and of the head
    ("x", "h"): ((0.42, 1), (0.63, 1)),
    ("h", "s"): ((1.47, 1.15), (1.7, 1.8)),
    ("h", "i"): ((1.47, 0.85), (1.7, 0.2)),
    ("s", "six"): ((2.6, 2.1), (3.83, 1.25)),
    ("i", "six"): ((2.6, -0.1), (3.83, 0.75)),
    ("six", "y"): ((4.67, 1), (4.88, 1)),
}
_PULLS = {
    ("s", "similarity"): ((2.15, 2.42), (2.15, 2.71)),
    ("s", "difference"): ((2.15, 1.58), (2.15, 1.24)),
    ("i", "difference"): ((2.15, 0.42), (2.15, 0.76)),
    ("s", "reconstruction"): ((2.6, 1.7), (2.85, 1.24)),
    ("i", "reconstruction"): ((2.6, 0.3), (2.85, 0.76)),
}


def misa_map() -> Figure:
    """The parts of MISA as boxes: blue ones stand for three, one a modality, yellow ones are one
    for all; dashed boxes are losses, dotted arrows lead to them."""
    figure, axes = new_axes(figsize=(8.2, 3.6))
    for x, y, wide, high, text, kind in _BOXES.values():
        style = "round,pad=0,rounding_size=0.08"
        box = FancyBboxPatch((x - wide, y - high), 2 * wide, 2 * high, boxstyle=style)
        dashes = "--" if kind == "loss" else "-"
        box.set(facecolor=_FILLS[kind], edgecolor="#666666", linewidth=0.9, linestyle=dashes)
        axes.add_patch(box)
        axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK)
    look = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 0, "shrinkB": 0}
    for arrows, style in ((_ARROWS, "-"), (_PULLS, ":")):
        for tail, head in arrows.values():
            arrow = FancyArrowPatch(tail, head, color="#555555", linestyle=style, **look)
            axes.add_patch(arrow)
    axes.set(xlim=(-0.5, 5.8), ylim=(-0.5, 3.25))
    axes.axis("off")
    return figure


def pair_histograms(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], titles: Sequence[str], names: Sequence[str]
) -> Figure:
    """Two samples (N,) in [0, 1] a panel, under the name of the pair and what `titles` tell; the
    samples are called `names`."""
    size = (WIDTH, 1.5 * len(pairs) + 0.9)
    figure, panels = new_axes(len(pairs), 1, figsize=size, sharex=True)
    bins = np.linspace(0, 1, 41)
    for axes, (name, pair), title in zip(np.atleast_1d(panels), pairs.items(), titles, strict=True):
        for values, label, colour in zip(pair, names, (BEST, "#D55E00"), strict=True):
            axes.hist(values, bins, density=True, color=colour, alpha=0.35, label=label)
            axes.hist(values, bins, density=True, color=colour, histtype="step", linewidth=1.3)
        axes.set(title=f"{name}: {title}", ylabel="density")
    axes.set(xlabel="value of one coordinate", xlim=(0, 1))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def readout_map(
    values: Mapping[str, Mapping[str, float]],
    chance: Mapping[str, float],
    ceiling: Mapping[str, float],
) -> Figure:
    """How well every factor is read out of every representation: representation -> factor ->
    mean recall, a row each; below them the rows of chance and of the ceiling.

    The numbers are recalls; the colour is the share of the way from chance to the ceiling.
    """
    factors = list(chance)
    rows = {**values, "chance": chance, "ceiling": ceiling}
    recalls = np.array([[row[f] for f in factors] for row in rows.values()])
    low, high = (np.array([x[f] for f in factors]) for x in (chance, ceiling))
    share = np.clip((recalls - low) / (high - low), 0, 1)
    figure, axes = new_axes(figsize=(WIDTH, 0.32 * len(rows) + 1.2))
    mesh = axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for (i, j), recall in np.ndenumerate(recalls):
        colour = "white" if share[i, j] > 0.6 else INK
        axes.text(j + 0.5, i + 0.5, f"{recall:.2f}", ha="center", va="center", fontsize=9,
                  color=colour)  # fmt: skip
    axes.axhline(len(values), color=INK, linewidth=1.5)
    axes.set_xticks(np.arange(len(factors)) + 0.5, [f.replace(" ", "\n") for f in factors])
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(rows), fontsize=SIZE)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set(xlabel="factor that is read")
    figure.colorbar(mesh, ax=axes, label="from chance to ceiling", pad=0.02, aspect=30)
    return figure


# -------------------------------------------------------------------------------------- MOSI


def length_and_duration(
    letters: np.ndarray, durations: Mapping[str, np.ndarray], titles: Sequence[str]
) -> Figure:
    """Letters of words (N,) against how long they last: what durations -> (N,) seconds, one panel
    each, on a logarithmic axis. Points are a little apart, so that words of one length can be
    seen."""
    aside = np.random.default_rng(0).uniform(-0.3, 0.3, len(letters))
    size = (WIDTH, 3.2)
    figure, panels = new_axes(1, len(durations), figsize=size, sharey=True)
    for axes, (name, seconds), title in zip(
        np.atleast_1d(panels), durations.items(), titles, strict=True
    ):
        axes.plot(letters + aside, seconds, "o", color=BEST, markersize=3, alpha=0.35)
        axes.set(yscale="log", xlabel="letters of the word", title=f"{name}\n{title}")
        _grid(axes)
    np.atleast_1d(panels)[0].set_ylabel("seconds")
    return figure
