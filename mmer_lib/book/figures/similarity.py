"""Figures of the chapters on MIMIC's decoupling, its contrastive space, and similarity through
training.

Arrays in, a matplotlib Figure out; nothing here computes a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from mmer_lib.book.figures import INK, MODALITY_COLOURS, new_axes
from mmer_lib.data import MODALITIES

WIDTH = 6.0  # inches: what is wider has small print on a phone
BAND = (-1 / 2, -1 / 3)
"""What the mean cosine of three vectors that sum to zero cannot leave."""
DASHES = ("-", (0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))

Curves = tuple[np.ndarray, np.ndarray, tuple[float, float]]
"""Epochs (M,), one curve a run (N, M), the interval of the epoch of the mean's highest point."""


# -------------------------------------------------------------------------------- decoupling


def mean_in_band(values: Mapping[str, np.ndarray]) -> Figure:
    """Mean cosine of the individual parts, one value an utterance: name -> (N,); the band that it
    cannot leave is shaded. A line reaches from the smallest to the largest."""
    figure, axes = new_axes(figsize=(WIDTH, 0.75 * len(values) + 1.2))
    axes.axvspan(*BAND, color="#BFE3D6", zorder=0)
    for i, found in enumerate(values.values()):
        drawn = axes.violinplot([found], [i], orientation="horizontal", widths=0.7)
        for part in drawn.pop("bodies"):
            part.set(facecolor="#56708A", alpha=0.75)
        for line in drawn.values():
            line.set(color=INK, linewidth=1)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_xticks([-1 / 2, -0.45, -0.4, -1 / 3], ["-1/2", "-0.45", "-0.40", "-1/3"])
    axes.set(xlim=(-0.52, -0.31), ylim=(len(values) - 0.5, -0.5))
    axes.set_xlabel("mean of the three cosines of an utterance")
    return figure


def above_zero(shares: Mapping[str, np.ndarray]) -> Figure:
    """Which of the K numbers of a bottleneck are above zero: one panel a name -> (3, K), the share
    of the utterances, a row for each of `MODALITIES`."""
    size = (WIDTH, 1.35 * len(shares) + 0.7)
    figure, panels = new_axes(len(shares), 1, figsize=size, sharex=True)
    panels = np.atleast_1d(panels)
    for axes, (name, rows) in zip(panels, shares.items(), strict=True):
        mesh = axes.pcolormesh(
            rows, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5
        )
        axes.set_yticks(np.arange(len(MODALITIES)) + 0.5, MODALITIES)
        for tick, m in zip(axes.get_yticklabels(), MODALITIES, strict=True):
            tick.set(color=MODALITY_COLOURS[m], weight="bold")
        axes.invert_yaxis()
        axes.set_title(name, loc="left")
    panels[-1].set_xticks(np.arange(rows.shape[1]) + 0.5, range(1, rows.shape[1] + 1))
    panels[-1].set_xlabel("number of the bottleneck")
    figure.colorbar(mesh, ax=list(panels), label="share above zero", pad=0.01, aspect=25)
    return figure


# ------------------------------------------------------------------------- contrastive space


def places(
    panels: Mapping[str, np.ndarray], scores: np.ndarray, columns: int = 2, largest: float = 3
) -> Figure:
    """Points in the plane, one panel a name -> (N, 2), all to one scale and coloured by a score
    (N,) between -largest and largest."""
    rows = -(-len(panels) // columns)
    figure, grid = new_axes(
        rows, columns, figsize=(WIDTH, 2.75 * rows + 0.6), sharex=True, sharey=True, squeeze=False
    )
    order = np.argsort(np.abs(scores), kind="stable")  # strong ones on top
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(grid.flat, panels.items(), strict=False):
        drawn = axes.scatter(
            *points[order].T, c=scores[order], cmap="coolwarm_r", vmin=-largest, vmax=largest, s=20,
            edgecolors="#555555", linewidths=0.35,
        )  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, loc="left")
        for side in axes.spines.values():
            side.set(visible=True, color="#BBBBBB")
    for axes in grid[-1]:
        axes.set_xlabel("first coordinate")
    for axes in grid[:, 0]:
        axes.set_ylabel("second coordinate")
    figure.colorbar(
        drawn, ax=grid, label="sentiment", location="bottom", shrink=0.6, aspect=35, pad=0.02
    )
    return figure


def lines(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    xlabel: str,
    marks: Mapping[str, Mapping[str, float]] = {},
    **axis,
) -> Figure:
    """Lines, one panel a quantity -> one line a name -> (x, y). One name has one colour and dash in
    all panels. `marks` are dotted levels: quantity -> name -> height. `axis` goes to all axes."""
    names = list(dict.fromkeys(name for each in panels.values() for name in each))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    size = (WIDTH, 2.0 * len(panels) + 0.9 if len(panels) > 1 else 3.6)
    figure, grid = new_axes(len(panels), 1, figsize=size, sharex=True)
    shown = {}
    for axes, (quantity, each) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        for i, name in enumerate(names):
            if name in each:
                (shown[name],) = axes.plot(
                    *each[name], color=colours[name], linestyle=DASHES[i % len(DASHES)], linewidth=2
                )
        for name, y in marks.get(quantity, {}).items():
            shown[name] = axes.axhline(y, color=INK, linewidth=1.2, linestyle=":", zorder=0)
        axes.set(ylabel=quantity, **axis)
        axes.grid(color="#E2E2E2", linewidth=0.6)
    axes.set_xlabel(xlabel)
    columns = 4 if max(map(len, shown)) < 9 else 3 if max(map(len, shown)) < 17 else 2
    figure.legend(
        shown.values(), shown.keys(), loc="outside upper center", frameon=False, ncols=columns
    )
    return figure


# ------------------------------------------------------------------- similarity in training


def seed_curves(panels: Mapping[str, Mapping[str, Curves]]) -> Figure:
    """Curves through a training: row -> column -> `Curves`, thin each, their mean thick, with its
    highest point and the interval of its epoch. Epochs are drawn at their square roots, which gives
    the first more room; the dashed line stands at its end. Where the values lie around it, `BAND`
    is shaded."""
    columns = list(dict.fromkeys(name for row in panels.values() for name in row))
    size = (WIDTH, 2.1 * len(panels) + 0.6)
    figure, grid = new_axes(len(panels), len(columns), figsize=size, sharex=True, squeeze=False)
    for across, (row, each) in zip(grid, panels.items(), strict=True):
        for axes, name in zip(across, columns, strict=True):
            axes.set_xscale("function", functions=(_root, np.square))
            axes.axvline(1, color="#999999", linewidth=0.9, linestyle="--", zorder=0)
            if name not in each:
                _nothing(axes)
                continue
            _draw_seeds(axes, *each[name])
            axes.grid(axis="y", color="#E2E2E2", linewidth=0.6)
            _shade(axes)
        _same_height([axes for axes, name in zip(across, columns, strict=True) if name in each])
        across[0].set_ylabel(row)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, loc="left")
    last = max(curves[0][-1] for each in panels.values() for curves in each.values())
    for axes in grid[-1]:
        axes.set_xlabel("epoch, at its square root")
        axes.set_xticks([t for t in (0, 1, 3, 7, 13, 20, 30, 50, 100, 200) if t <= last])
        axes.set_xlim(0, last)
    return figure


def _root(x):
    return np.sqrt(np.maximum(x, 0))


def _draw_seeds(axes, epochs: np.ndarray, curves: np.ndarray, around: tuple) -> None:
    for curve in curves:
        axes.plot(epochs, curve, color="#5B7EA4", linewidth=0.7, alpha=0.65)
    mean = curves.mean(0)
    axes.plot(epochs, mean, color=INK, linewidth=2.2)
    top = int(mean.argmax())
    axes.plot(around, [mean[top]] * 2, color="#D55E00", linewidth=3, alpha=0.75, zorder=4)
    axes.plot(epochs[top], mean[top], "o", color="#D55E00", markersize=7, zorder=5)


def _nothing(axes) -> None:
    axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="#666666")
    axes.set_yticks([])


def _shade(axes) -> None:
    low, high = axes.get_ylim()
    if low < BAND[1] and high > BAND[0] and high < 0:
        axes.axhspan(*BAND, color="#BFE3D6", zorder=0)
        axes.set_ylim(BAND[0] - 0.02, BAND[1] + 0.02)


def _same_height(across) -> None:
    """One range for all, where they overlap; else each keeps its own."""
    lows, highs = zip(*(axes.get_ylim() for axes in across), strict=True)
    if max(lows) < min(highs):
        for axes in across:
            axes.set_ylim(min(lows), max(highs))


def hump_map(
    panels: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    least: float,
) -> Figure:
    """Heights over a grid: one panel a name -> (rows, columns), NaN where nothing is known. Colours
    part at `least`: green at and above it, brown below. names: of the rows, of the columns."""
    size = (WIDTH, 0.42 * len(rows) + 1.6)
    figure, grid = new_axes(1, len(panels), figsize=size, sharey=True, squeeze=False)
    top = max([4 * least, *(float(np.nanmax(v)) for v in panels.values() if np.isfinite(v).any())])
    norm = TwoSlopeNorm(least, -1.5 * least, top)
    for axes, (name, heights) in zip(grid[0], panels.items(), strict=True):
        axes.set_facecolor("#EEEEEE")
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(heights), cmap="BrBG", norm=norm, edgecolors="white", linewidth=2
        )
        for (i, j), value in np.ndenumerate(heights):
            known = np.isfinite(value)
            dark = known and norm(value) > 0.83
            axes.text(
                j + 0.5, i + 0.5, f"{value:.2f}" if known else "-", ha="center", va="center",
                color="white" if dark else INK, fontsize=9,
            )  # fmt: skip
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.tick_params(length=0)
        axes.set_xlabel(names[1])
        axes.set_title(name, loc="left")
    grid[0, 0].invert_yaxis()
    grid[0, 0].set_ylabel(names[0])
    bar = figure.colorbar(mesh, ax=list(grid[0]), label="height of the hump", pad=0.02, aspect=20)
    bar.ax.set_ylim(0, top)
    return figure
