"""Single utterances and words as points, and how values are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.book.figures.curves import BAND, SHADE
from mmer_lib.book.figures.style import (
    BEST,
    EMOTION_COLOURS,
    GREY,
    INK,
    MARKERS,
    MEAN,
    ROLE_COLOURS,
    WIDTH,
    colours_of,
    grid,
    jitter,
    legend,
    new_axes,
    new_panels,
)


def draw_points(
    axes, x: np.ndarray, y: np.ndarray, kinds: Sequence[str], colours: Mapping, markers: str = "o"
) -> None:
    """Points (N,), (N,), each kind in its colour; several `markers` take turns."""
    for k, (kind, colour) in enumerate(colours.items()):
        chosen = np.array([one == kind for one in kinds])
        look = {"color": colour, "s": 18, "alpha": 0.7, "linewidths": 0}
        axes.scatter(x[chosen], y[chosen], marker=markers[k % len(markers)], label=kind, **look)


def scatter_sentiment(truth: np.ndarray, predicted: np.ndarray, emotions: Sequence[str]) -> Figure:
    """Predicted against true sentiment (N,), coloured by emotion."""
    figure, axes = new_axes(figsize=(5.4, 4.4))
    draw_points(axes, truth + jitter(len(truth), 0.04), predicted, emotions, EMOTION_COLOURS)
    axes.plot([-3, 3], [-3, 3], color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel="true sentiment", ylabel="predicted sentiment", xlim=(-3.1, 3.1))
    axes.legend(markerscale=1.4)
    return figure


def branch_margins(
    first: np.ndarray, second: np.ndarray, roles: Sequence[str], names: tuple[str, str]
) -> Figure:
    """What two branches add to the margin of the true class, (N,) each, coloured by a role.

    On one side of the dashed line the two together are positive: the answer is right.
    """
    figure, axes = new_axes(figsize=(WIDTH, 5.4))
    draw_points(axes, first, second, roles, ROLE_COLOURS)
    limits = axes.get_xlim(), axes.get_ylim()
    ends = np.array([min(map(min, limits)), max(map(max, limits))])
    axes.plot(ends, -ends, color=INK, linewidth=1, linestyle="--")
    axes.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.text(0.98, 0.98, "right", transform=axes.transAxes, color=GREY, ha="right", va="top")
    axes.text(0.02, 0.02, "wrong", transform=axes.transAxes, color=GREY)
    axes.set(xlabel=f"{names[0]} (logits)", ylabel=f"{names[1]} (logits)")
    axes.set(xlim=limits[0], ylim=limits[1])
    legend(figure, columns=3, title="the text")
    return figure


def utterance_map(
    points: np.ndarray, emotions: Sequence[str], kinds: Sequence[str], labels: Sequence[str]
) -> Figure:
    """Utterances in two dimensions (N, 2), coloured by emotion, shaped by kind; `labels` of the
    two axes."""
    figure, axes = new_axes(figsize=(WIDTH, 5.4))
    shapes = dict(zip(sorted(set(kinds)), "o^sXDv", strict=False))
    for kind, shape in shapes.items():
        chosen = np.array(kinds) == kind
        shown = np.array(emotions)[chosen]
        draw_points(axes, *points[chosen].T, shown, EMOTION_COLOURS, shape)
        axes.scatter([], [], color=INK, marker=shape, label=kind)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    legend(figure, columns=4)
    return figure


def placed_by_sentiment(panels: Mapping[str, np.ndarray], scores: np.ndarray) -> Figure:
    """Points in the plane, one panel a name -> (N, 2), all to one scale and coloured by sentiment
    (N,)."""
    rows = -(-len(panels) // 2)
    figure, drawn = new_panels(rows, 2, 2.75 * rows + 0.6, sharex=True, sharey=True)
    order = np.argsort(np.abs(scores), kind="stable")  # strong ones on top
    look = {"cmap": "coolwarm_r", "vmin": -3, "vmax": 3, "s": 20}
    for axes in drawn.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(drawn.flat, panels.items(), strict=False):
        found = axes.scatter(
            *points[order].T, c=scores[order], edgecolors="#555555", linewidths=0.35, **look
        )
        axes.set(xticks=[], yticks=[], title=name)
        axes.spines[:].set(visible=True, color="#BBBBBB")
    for axes in drawn[-1]:
        axes.set_xlabel("first coordinate")
    for axes in drawn[:, 0]:
        axes.set_ylabel("second coordinate")
    where = {"location": "bottom", "shrink": 0.6, "aspect": 35, "pad": 0.02}
    figure.colorbar(found, ax=drawn, label="sentiment", **where)
    return figure


def by_length(
    lengths: np.ndarray,
    panels: Mapping[str, np.ndarray],
    labels: tuple[str, str],
    kinds: Sequence[str] = (),
    **axis,
) -> Figure:
    """Values of words (V,) against their length (V,): title -> values, a panel each beside each
    other, and a colour a kind (V,), if any. Points are a little apart, so that words of one length
    can be seen. labels: of both axes. axis: properties of all axes, such as `yscale`."""
    figure, drawn = new_panels(1, len(panels), 3.4, sharey=True)
    kinds = kinds if len(kinds) else [""] * len(lengths)
    colours = colours_of(list(dict.fromkeys(kinds)))
    for axes, (title, y) in zip(drawn[0], panels.items(), strict=True):
        draw_points(axes, lengths + jitter(len(lengths), 0.3), y, kinds, colours, MARKERS)
        axes.set(title=title, xlabel=labels[0], **axis)
        grid(axes)
    drawn[0, 0].set_ylabel(labels[1])
    legend(figure)
    return figure


def cost_map(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str) -> Figure:
    """What systems reach against what they cost: name -> (cost, on a logarithmic axis; score)."""
    figure, axes = new_axes(figsize=(WIDTH, 4.2))
    for name, (x, y) in points.items():
        axes.plot(x, y, "o", color=MEAN, markersize=6)
        axes.annotate(name, (x, y), (6, 4), textcoords="offset points", fontsize=9, color=INK)
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.margins(x=0.16, y=0.1)
    grid(axes)
    return figure


# -------------------------------------------------------------------------- distributions


def violins(
    values: Mapping[str, np.ndarray], xlabel: str, colours: Sequence[str] = (), **axis
) -> Figure:
    """How values are spread, a row a name, dashed lines at the quartiles: name -> any number of
    values. axis: properties of the axes."""
    figure, axes = new_axes(figsize=(WIDTH, 0.75 * len(values) + 1.2))
    flat = {name: np.ravel(one) for name, one in values.items()}
    palette = list(colours) or ["#8FA0B0"] * len(flat)
    sns.violinplot(flat, palette=palette, orient="h", cut=0, inner="quartile", ax=axes)
    axes.set(xlabel=xlabel, **axis)
    return figure


def mean_in_band(values: Mapping[str, np.ndarray]) -> Figure:
    """Mean cosine of the individual parts, one value an utterance: name -> (N,); the band that it
    cannot leave is shaded."""
    ticks = {
        "xticks": [-1 / 2, -0.45, -0.4, -1 / 3],
        "xticklabels": ["-1/2", "-0.45", "-0.40", "-1/3"],
    }
    label = "mean of the three cosines of an utterance"
    figure = violins(values, label, xlim=(-0.52, -0.31), **ticks)
    figure.axes[0].axvspan(*BAND, color=SHADE, zorder=0)
    return figure


def boxes(values: Mapping[str, np.ndarray], xlabel: str, colours: Sequence[str]) -> Figure:
    """Quartiles of some values, one row a name, whiskers at 5% and 95%: name -> values (N,)."""
    figure, axes = new_axes(figsize=(5, 0.42 * len(values) + 1.1))
    look = {"orientation": "horizontal", "widths": 0.6, "patch_artist": True, "whis": (5, 95)}
    look |= {"showfliers": False, "medianprops": {"color": INK}, "tick_labels": list(values)}
    drawn = axes.boxplot(list(values.values()), **look)
    for box, colour in zip(drawn["boxes"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.45)
    axes.invert_yaxis()
    axes.set(xlabel=xlabel, xlim=(0, None))
    return figure


def pair_histograms(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], titles: Sequence[str], names: Sequence[str]
) -> Figure:
    """Two samples (N,) in [0, 1] a panel, under the name of the pair and its title; the samples are
    called `names`."""
    figure, drawn = new_panels(len(pairs), 1, 1.5 * len(pairs) + 0.9, sharex=True)
    palette = dict(zip(names, (BEST, "#D55E00"), strict=True))
    look = {"bins": np.linspace(0, 1, 41), "stat": "density", "element": "step", "alpha": 0.35}
    for axes, (name, pair), title in zip(drawn[:, 0], pairs.items(), titles, strict=True):
        for values, label in zip(pair, names, strict=True):
            sns.histplot(values, color=palette[label], label=label, ax=axes, **look)
        axes.set(title=f"{name}: {title}", ylabel="density")
    axes.set(xlabel="value of one coordinate", xlim=(0, 1))
    legend(figure, columns=2)
    return figure
