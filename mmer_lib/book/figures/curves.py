"""Lines: losses over epochs, scores over thresholds, similarity through training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmer_lib.book.figures.scores import Interval
from mmer_lib.book.figures.style import (
    CARRIER,
    DASHES,
    GREY,
    INK,
    MARKERS,
    WIDTH,
    colours_of,
    grid,
    legend,
    marks,
    name_words,
    new_axes,
    new_panels,
)

BAND = (-1 / 2, -1 / 3)
"""What the mean cosine of three vectors that sum to zero cannot leave."""
SHADE = "#BFE3D6"  # of that band

Curves = tuple[np.ndarray, np.ndarray, tuple[float, float]]
"""Epochs (M,), one curve a run (N, M), the interval of the epoch of the mean's highest point."""


def lines(
    panels: Mapping[str, Mapping[str, Sequence]],
    xlabel: str,
    places: Mapping[str, Mapping[str, float]] = {},
    markers: bool = False,
    **axis,
) -> Figure:
    """Lines, panels under each other: label of the y axis -> name -> (x, y), or (x, y, low, high)
    with a band, or a list of values at steps 1, 2, ... One name has one colour and dash in all
    panels.

    Args:
        places: dotted levels, panel -> name -> height. markers: whether each point has one.
        axis: properties of all axes, such as `yscale`.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours, single = colours_of(names), len(panels) == 1
    figure, drawn = new_panels(
        len(panels), 1, 3.5 if single else 2 * len(panels) + 0.9, sharex=True
    )
    for axes, (label, panel) in zip(drawn[:, 0], panels.items(), strict=True):
        for name, values in panel.items():
            x, y, *band = values if isinstance(values, tuple) else _by_step(values)
            k = names.index(name)
            look = {"color": colours[name], "linestyle": DASHES[k % len(DASHES)], "linewidth": 2}
            marker = MARKERS[k % len(MARKERS)] if markers else None
            axes.plot(x, y, marker=marker, markersize=4, label=name, **look)
            if band:
                axes.fill_between(x, *band, color=colours[name], alpha=0.15, linewidth=0)
        for name, y in places.get(label, {}).items():
            axes.axhline(y, color=INK, linewidth=1.2, linestyle=":", zorder=0, label=name)
        axes.set(ylabel=label, **axis)
        grid(axes)
    axes.set_xlabel(xlabel)
    legend(figure)
    return figure


def _by_step(values: Sequence[float]) -> tuple[np.ndarray, Sequence[float]]:
    return np.arange(1, len(values) + 1), values


def loss_curves(histories: Mapping[str, Sequence[dict]], parts: Mapping[str, str]) -> Figure:
    """Losses epoch by epoch, one panel a part: its key in a history -> its name. A run without
    that part is left out of the panel. Dashes let a curve be seen under another."""
    panels = {
        title: {n: [epoch[key] for epoch in h] for n, h in histories.items() if key in h[0]}
        for key, title in parts.items()
    }
    return lines(panels, "epoch", markers=True, ylim=(0, None))


def usage(shares: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """How often each entry of a cube is on: name -> (E,) shares of the utterances, drawn from the
    most to the least used, over the share of the entries."""
    sorted_shares = {
        name: ((np.arange(len(v)) + 0.5) / len(v), np.sort(v)[::-1]) for name, v in shares.items()
    }
    xlabel = "share of the entries, most used first"
    return lines({ylabel: sorted_shares}, xlabel, xlim=(0, 1), ylim=(0, None))


def by_distance(
    distances: np.ndarray,
    series: Mapping[str, np.ndarray],
    edges: Sequence[float],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Quartiles of some values in bins of a distance: name -> values (N,) at distances (N,)."""
    edges = np.asarray(edges)
    place = np.digitize(distances, edges[1:-1], right=True)
    bands = {}
    for name, values in series.items():
        bins = [values[place == i] for i in range(len(edges) - 1)]
        quartiles = [np.percentile(v, [25, 50, 75]) if len(v) else [np.nan] * 3 for v in bins]
        low, middle, high = np.array(quartiles).T
        bands[name] = (edges[:-1] + edges[1:]) / 2, middle, low, high
    return lines({ylabel: bands}, xlabel, markers=True, ylim=(0, None))


def along_parts(
    series: Mapping[str, Sequence[Interval]],
    parts: Sequence[str],
    ylabel: str,
    places: Mapping[str, float] = {},
) -> Figure:
    """Lines from part to part of a model: name -> a (mean, low, high) for each part; intervals as
    bars, broken lines at the named places."""
    figure, axes = new_axes(figsize=(WIDTH, 4.2))
    colours = colours_of(list(series))
    for k, (name, values) in enumerate(series.items()):
        mean, low, high = np.array(values, dtype=float).T
        at = np.arange(len(parts)) + 0.1 * (k - (len(series) - 1) / 2)
        axes.plot(at, mean, "o-", markersize=4.5, color=colours[name], label=name)
        axes.vlines(at, low, high, color=colours[name], linewidth=1.6)
    marks(axes, places, vertical=False)
    name_words(axes, parts)
    axes.set_ylabel(ylabel)
    legend(figure, columns=2)
    return figure


# ------------------------------------------------------------------- similarity in training


def seed_curves(panels: Mapping[str, Mapping[str, Curves]]) -> Figure:
    """Curves through a training: row -> column -> `Curves`, thin each, their mean thick, with its
    highest point and the interval of its epoch. Epochs are drawn at their square roots, which gives
    the first more room; the dashed line stands at its end. Where the values lie around it, `BAND`
    is shaded."""
    columns = list(dict.fromkeys(name for row in panels.values() for name in row))
    size = 2.1 * len(panels) + 0.6
    figure, drawn = new_panels(len(panels), len(columns), size, sharex=True)
    for across, (row, cells) in zip(drawn, panels.items(), strict=True):
        for axes, name in zip(across, columns, strict=True):
            axes.set_xscale("function", functions=(_root, np.square))
            axes.axvline(1, color=GREY, linewidth=0.9, linestyle="--", zorder=0)
            if name in cells:
                _draw_seeds(axes, *cells[name])
            else:
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
                axes.set_yticks([])
        _share_range([axes for axes, name in zip(across, columns, strict=True) if name in cells])
        across[0].set_ylabel(row)
    for axes, name in zip(drawn[0], columns, strict=True):
        axes.set_title(name)
    last = max(curves[0][-1] for cells in panels.values() for curves in cells.values())
    for axes in drawn[-1]:
        axes.set_xlabel("epoch, at its square root")
        axes.set_xticks([t for t in (0, 1, 3, 7, 13, 20, 30, 50, 100, 200) if t <= last])
        axes.set_xlim(0, last)
    return figure


def _root(x):
    return np.sqrt(np.maximum(x, 0))


def _draw_seeds(axes, epochs: np.ndarray, curves: np.ndarray, around: tuple) -> None:
    mean = curves.mean(0)
    top = int(mean.argmax())
    axes.plot(epochs, curves.T, color="#5B7EA4", linewidth=0.7, alpha=0.65)
    axes.plot(epochs, mean, color=INK, linewidth=2.2)
    axes.plot(around, [mean[top]] * 2, color=CARRIER, linewidth=3, alpha=0.75, zorder=4)
    axes.plot(epochs[top], mean[top], "o", color=CARRIER, markersize=7, zorder=5)
    grid(axes, axis="y")
    low, high = axes.get_ylim()
    if low < BAND[1] and high > BAND[0] and high < 0:
        axes.axhspan(*BAND, color=SHADE, zorder=0)
        axes.set_ylim(BAND[0] - 0.02, BAND[1] + 0.02)


def _share_range(across) -> None:
    """One range for all, where they overlap; else each keeps its own."""
    lows, highs = zip(*(axes.get_ylim() for axes in across), strict=True)
    if max(lows) < min(highs):
        for axes in across:
            axes.set_ylim(min(lows), max(highs))
