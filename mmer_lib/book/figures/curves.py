"""Lines: losses over epochs, scores over thresholds, similarity through training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mmer_lib.book.figures import style

DASHES = ("-", (0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))
BAND = (-1 / 2, -1 / 3)
"""What the mean cosine of three vectors that sum to zero cannot leave."""

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
    with a band, or a list of values at steps 1, 2, ...; x can be names. One name has one colour and
    dash in all panels.

    Args:
        places: broken lines, panel -> name -> height. markers: whether each point has one.
        axis: properties of all axes, such as `yscale`.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours, height = style.colours_of(names), 2 * len(panels) + 0.9
    figure, drawn = style.new_panels(len(panels), 1, max(height, 3.5), sharex=True)
    for axes, (label, panel) in zip(drawn[:, 0], panels.items(), strict=True):
        for name, values in panel.items():
            x, y, *band = (
                values if isinstance(values, tuple) else (range(1, len(values) + 1), values)
            )
            k = names.index(name)
            look = {"color": colours[name], "linestyle": DASHES[k % len(DASHES)], "linewidth": 2}
            marker = style.MARKERS[k % len(style.MARKERS)] if markers else None
            axes.plot(x, y, marker=marker, markersize=4, label=name, **look)
            if band:
                axes.fill_between(x, *band, color=colours[name], alpha=0.15, linewidth=0)
        style.marks(axes, places.get(label, {}), vertical=False)
        axes.set(ylabel=label, **axis)
    axes.set_xlabel(xlabel)
    if isinstance(x[0], str):
        style.name_words(axes, x)
    style.legend(figure)
    return figure


def seed_curves(panels: Mapping[str, Mapping[str, Curves]]) -> Figure:
    """Curves through a training: row -> column -> `Curves`, thin each, their mean thick, with its
    highest point and the interval of its epoch. Epochs are drawn at their square roots, which gives
    the first more room; the dashed line stands at its end. Where the values lie around it, `BAND`
    is shaded."""
    columns = list(dict.fromkeys(name for row in panels.values() for name in row))
    height = 2.1 * len(panels) + 0.6
    figure, drawn = style.new_panels(len(panels), len(columns), height, sharex=True)
    for across, (row, cells) in zip(drawn, panels.items(), strict=True):
        for axes, name in zip(across, columns, strict=True):
            axes.set_xscale("function", functions=(_root, np.square))
            axes.axvline(1, color=style.GREY, linewidth=0.9, linestyle="--", zorder=0.9)
            if name in cells:
                _draw_seeds(axes, *cells[name])
            else:
                look = {"transform": axes.transAxes, "ha": "center", "color": style.GREY}
                axes.text(0.5, 0.5, "none", **look)
                axes.set_yticks([])
        there = [axes for axes, name in zip(across, columns, strict=True) if name in cells]
        lows, highs = zip(*(axes.get_ylim() for axes in there), strict=True)
        if max(lows) < min(highs):  # one range where they overlap
            for axes in there:
                axes.set_ylim(min(lows), max(highs))
        across[0].set_ylabel(row)
    for axes, name in zip(drawn[0], columns, strict=True):
        axes.set_title(name)
    last = max(curves[0][-1] for cells in panels.values() for curves in cells.values())
    for axes in drawn[-1]:
        axes.set_xticks([t for t in (0, 1, 3, 7, 13, 20, 30, 50, 100, 200) if t <= last])
        axes.set_xlim(0, last)
        axes.set_xlabel("epoch (root)" if len(columns) > 3 else "epoch, at its square root")
    return figure


def _root(x):
    return np.sqrt(np.maximum(x, 0))


def _draw_seeds(axes, epochs: np.ndarray, curves: np.ndarray, around: tuple) -> None:
    mean = curves.mean(0)
    top = int(mean.argmax())
    axes.plot(epochs, curves.T, color="#5B7EA4", linewidth=0.7, alpha=0.65)
    axes.plot(epochs, mean, color=style.INK, linewidth=2.2)
    axes.plot(around, [mean[top]] * 2, color=style.CARRIER, linewidth=3, alpha=0.75, zorder=4)
    axes.plot(epochs[top], mean[top], "o", color=style.CARRIER, markersize=7, zorder=5)
    low, high = axes.get_ylim()
    if low < BAND[1] and high > BAND[0] and high < 0:
        axes.axhspan(*BAND, color="#BFE3D6", zorder=0)
        axes.set_ylim(BAND[0] - 0.02, BAND[1] + 0.02)
