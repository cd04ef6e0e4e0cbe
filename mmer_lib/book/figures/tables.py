"""Figures of the chapters that compare models: intervals, branches, losses, the papers' tables.

Arrays in, a matplotlib Figure out; nothing here computes a result.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.book.figures import INK, new_axes
from mmer_lib.data import Word

Interval = tuple[float, float, float]
"""A mean, and the lower and upper end of its interval."""

ROLE_COLOURS = {"carries": "#0072B2", "neutral": "#7A7A7A", "contradicts": "#D55E00"}
SIZE = 9.5  # points, of what stands beside the axes


def dots(
    groups: Mapping[str, Mapping[str, Interval]], xlabel: str, marks: Mapping[str, float] = {}
) -> Figure:
    """Means with their intervals: group (one line of the figure) -> series (one colour) -> mean,
    lower and upper end. `marks` are dashed lines: name -> where."""
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    height = 0.3 * len(series) + 0.25 if len(series) > 1 else 0.45
    extra = 1.1 if len(series) == 1 and not marks else 1.5
    figure, axes = new_axes(figsize=(6, height * len(groups) + extra))
    colours = dict(zip(series, sns.color_palette("colorblind", len(series)), strict=True))
    for i, group in enumerate(groups.values()):
        for k, name in enumerate(series):
            if name in group:
                mean, low, high = group[name]
                y = i + (k - (len(series) - 1) / 2) * 0.68 / len(series)
                axes.plot([low, high], [y, y], color=colours[name], linewidth=2)
                label = name if len(series) > 1 and i == _first(groups, name) else None
                axes.plot(mean, y, "o", color=colours[name], markersize=6, label=label)
    for (name, x), style in zip(marks.items(), ("--", ":", "-."), strict=False):
        axes.axvline(x, color=INK, linewidth=1, linestyle=style, zorder=0, label=name)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=SIZE)
    axes.set(xlabel=xlabel, ylim=(len(groups) - 0.5, -0.5))
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(series) > 1 or marks:
        figure.legend(loc="outside upper center", frameon=False, ncols=2)
    return figure


def _first(groups: Mapping[str, Mapping[str, Interval]], name: str) -> int:
    """The line in which a series occurs first."""
    return next(i for i, group in enumerate(groups.values()) if name in group)


def branch_margins(first: np.ndarray, second: np.ndarray, roles: Sequence[str], names) -> Figure:
    """What two branches add to the margin of the true class, (N,) each, coloured by a role.

    On one side of the dashed line the two together are positive: the answer is right.
    """
    figure, axes = new_axes(figsize=(6, 5.4))
    for role, colour in ROLE_COLOURS.items():
        chosen = np.array([r == role for r in roles])
        axes.scatter(
            first[chosen], second[chosen], s=16, color=colour, alpha=0.7, linewidths=0, label=role
        )
    low, high = min(first.min(), second.min()) - 0.5, max(first.max(), second.max()) + 0.5
    axes.plot([low, high], [-low, -high], color=INK, linewidth=1, linestyle="--")
    for line in (axes.axhline, axes.axvline):
        line(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    right, wrong = {"ha": "right", "va": "top"}, {"ha": "left", "va": "bottom"}
    axes.text(0.98, 0.98, "right", transform=axes.transAxes, color="#555555", **right)
    axes.text(0.02, 0.02, "wrong", transform=axes.transAxes, color="#555555", **wrong)
    axes.set(xlabel=f"{names[0]} (logits)", ylabel=f"{names[1]} (logits)")
    axes.set(xlim=(first.min() - 0.5, first.max() + 0.5))
    axes.set(ylim=(second.min() - 0.5, second.max() + 0.5))
    figure.legend(title="the text", loc="outside upper center", frameon=False, ncols=3)
    return figure


def ideal_maps(maps: Mapping[str, np.ndarray], times: np.ndarray, words: Sequence[Word]) -> Figure:
    """Attention of frames over words, one panel a name -> (T, W), under one another; boxes show
    when each word was spoken. Weights of all panels have one scale."""
    figure, panels = new_axes(len(maps), 1, figsize=(6, 2.5 * len(maps) + 0.5), sharex=True)
    panels = np.atleast_1d(panels)
    highest = max(float(weights.max()) for weights in maps.values())
    for axes, (name, weights) in zip(panels, maps.items(), strict=True):
        mesh = axes.pcolormesh(
            times, np.arange(len(words)), weights.T, cmap="Blues", vmin=0, vmax=highest,
            shading="nearest", rasterized=True,
        )  # fmt: skip
        for i, word in enumerate(words):
            x, y = (word.start, word.end), (i - 0.5, i + 0.5)
            axes.plot(
                [x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]],
                color="#D55E00", linewidth=1.4,
            )  # fmt: skip
        axes.set_yticks(range(len(words)), [word.text for word in words], fontsize=SIZE)
        axes.set(ylim=(len(words) - 0.5, -0.5), title=name, ylabel="word")
    panels[-1].set_xlabel("time of the frame (s)")
    figure.colorbar(mesh, ax=list(panels), label="weight", pad=0.01, aspect=30)
    return figure


def loss_curves(histories: Mapping[str, Sequence[dict]], parts: Mapping[str, str]) -> Figure:
    """Losses epoch by epoch, one panel a part: its key in a history -> its name. A run without
    that part is left out of the panel. Dashes let a curve be seen under another."""
    figure, panels = new_axes(len(parts), 1, figsize=(6, 2.1 * len(parts) + 0.8), sharex=True)
    panels, lines = np.atleast_1d(panels), {}
    colours = sns.color_palette("colorblind", len(histories))
    dashes = ("-", (0, (5, 3)), (0, (2, 2)), (0, (6, 2, 1, 2)))
    for axes, (key, title) in zip(panels, parts.items(), strict=True):
        for i, (name, history) in enumerate(histories.items()):
            if key in history[0]:
                epochs = np.arange(1, len(history) + 1)
                values = [epoch[key] for epoch in history]
                (lines[name],) = axes.plot(
                    epochs, values, marker="os^D"[i % 4], markersize=4, color=colours[i],
                    linestyle=dashes[i % 4], linewidth=2,
                )  # fmt: skip
        axes.set(ylabel=title, ylim=(0, None))
    panels[-1].set_xlabel("epoch")
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", frameon=False, ncols=2)
    return figure


def ours_and_paper(rows: Sequence[dict], score: str, ours: str, paper: str) -> Figure:
    """A table as dots, our figures and the paper's in panels of their own.

    Args:
        rows: as `tables.aggregate` gives them. score: "wa" or "ua".
        ours, paper: what the panels show, for their axes: the corpus.

    Left, each run is a small dot; large dots are means, lines reach one standard deviation to
    both sides. Right, the figures and the ± that the paper prints.
    """
    labels = [textwrap.fill(row["label"], 17, break_on_hyphens=False) for row in rows]
    height = 0.2 * sum(1 + label.count("\n") for label in labels) + 0.14 * len(rows) + 1.1
    figure, (left, right) = new_axes(1, 2, figsize=(6, height), sharey=True)
    for i, row in enumerate(rows):
        cell = row[score]
        values = [run[score] for run in row["runs"]]
        left.plot(values, [i] * len(values), "o", color="#CC79A7", markersize=4, alpha=0.5)
        _spread(left, i, cell["mean"], cell["std"], "#7B2D5B")
        _spread(right, i, cell["paper"], cell["paper_std"], INK)
    left.set_yticks(range(len(rows)), labels, fontsize=SIZE)
    left.set(ylim=(len(rows) - 0.5, -0.5), title="ours", xlabel=f"{score.upper()}, {ours}")
    right.set(title="the paper", xlabel=f"{score.upper()}, {paper}")
    for axes in (left, right):
        axes.grid(color="#E2E2E2", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.locator_params(axis="x", nbins=4)
    return figure


def _spread(axes, y: int, mean: float | None, std: float | None, colour: str) -> None:
    if mean is not None:
        reach = std or 0.0
        axes.plot([mean - reach, mean + reach], [y, y], color=colour, linewidth=2)
        axes.plot(mean, y, "o", color=colour, markersize=7)


def difference_dots(groups: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str) -> Figure:
    """Differences of paired runs: group (one panel) -> row -> one number a pair. Small dots are
    pairs, large ones their mean; the line at 0 is the row that they are compared with."""
    counts = [len(rows) for rows in groups.values()]
    figure, panels = new_axes(
        len(groups), 1, figsize=(6, 0.45 * sum(counts) + 0.6 * len(groups) + 0.5), sharex=True,
        height_ratios=[count + 0.3 for count in counts],
    )  # fmt: skip
    panels = np.atleast_1d(panels)
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        for i, values in enumerate(rows.values()):
            axes.plot(values, [i] * len(values), "o", color="#CC79A7", markersize=5, alpha=0.6)
            axes.plot(np.mean(values), i, "D", color="#7B2D5B", markersize=7)
        axes.axvline(0, color=INK, linewidth=1, zorder=0)
        axes.set_yticks(range(len(rows)), list(rows), fontsize=SIZE)
        axes.set(ylim=(len(rows) - 0.5, -0.5), title=name)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[-1].locator_params(axis="x", nbins=6)
    panels[-1].set_xlabel(xlabel)
    return figure
