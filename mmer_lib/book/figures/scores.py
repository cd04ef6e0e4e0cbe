"""Scores and other means: intervals, single runs, bars, the papers' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.book.figures.style import (
    BEST,
    INK,
    MARKERS,
    MEAN,
    RUN,
    WIDTH,
    colours_of,
    grid,
    legend,
    marks,
    name_rows,
    name_words,
    new_axes,
    new_panels,
)

Interval = tuple[float, float, float]
"""A mean, and the lower and upper end of its interval."""


def by_row(series: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Interval]]:
    """series -> row -> value, turned: row -> series -> value, as `intervals` takes it."""
    rows = dict.fromkeys(row for values in series.values() for row in values)
    return {row: {s: values[row] for s, values in series.items() if row in values} for row in rows}


def intervals(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    places: Mapping[str, float] = {},
    best: Mapping[str, float] = {},
    decimals: int | None = None,
) -> Figure:
    """Means with their intervals, panels under each other: label of the x axis -> row -> series ->
    (mean, low, high); a colour and a marker a series.

    Args:
        places: broken lines through every panel, name -> where.
        best: by row, the best possible, a short dark line in that row of every panel.
        decimals: writes each mean over its marker.
    """
    series = list(
        dict.fromkeys(s for rows in panels.values() for row in rows.values() for s in row)
    )
    counts = [len(rows) for rows in panels.values()]
    height = (0.18 * len(series) + 0.28) * sum(counts) + 0.6 * len(panels) + 0.8
    figure, drawn = new_panels(len(panels), 1, height, height_ratios=counts)
    colours = colours_of(series)
    for axes, (label, rows) in zip(drawn[:, 0], panels.items(), strict=True):
        for k, name in enumerate(series):
            shift = (k - (len(series) - 1) / 2) * 0.64 / len(series)
            at = shift + np.array([i for i, row in enumerate(rows.values()) if name in row])
            mean, low, high = np.array([row[name] for row in rows.values() if name in row]).T
            axes.hlines(at, low, high, color=colours[name], linewidth=2.3)
            marker = MARKERS[k % len(MARKERS)]
            axes.plot(mean, at, marker, color=colours[name], markersize=6, label=name or None)
            for x, y in zip(mean, at, strict=True) if decimals is not None else ():
                text = f"{x + 1e-9:.{decimals}f}"  # 0.7825 as 0.783, as for single precision
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
                where = {"textcoords": "offset points", "ha": "center", "fontsize": 8.5}
                axes.annotate(text, (x, y), (0, 6), bbox=box, **where)
        for i, row in enumerate(rows):
            if row in best:
                look = {"color": INK, "linewidth": 3, "label": "best possible"}
                axes.vlines(best[row], i - 0.42, i + 0.42, **look)
        marks(axes, places)
        name_rows(axes, list(rows))
        grid(axes, axis="x")
        axes.set_xlabel(label)
    legend(figure)
    return figure


# ------------------------------------------------------------------------------ single runs


def runs_by_row(rows: Sequence[dict], score: str) -> dict[str, list[float]]:
    """Label of a row of a table -> the score of each of its runs that has one."""
    return {
        row["label"]: [run[score] for run in row["runs"] if run[score] is not None] for row in rows
    }


def run_dots(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    places: Mapping[str, float] = {},
    mean: str = "D",
) -> Figure:
    """Scores of single runs, panels beside each other: label of the x axis -> row -> one number a
    run. Small dots are runs, large ones (diamonds, or another marker) their mean; broken lines
    stand at the named places."""
    rows = list(dict.fromkeys(row for group in panels.values() for row in group))
    figure, drawn = new_panels(1, len(panels), 0.42 * len(rows) + 1.3, sharey=True)
    for axes, (label, group) in zip(drawn[0], panels.items(), strict=True):
        _draw_runs(axes, {rows.index(row): values for row, values in group.items()}, mean)
        marks(axes, places)
        axes.set_xlabel(label)
        grid(axes)
        if len(panels) > 1:
            axes.locator_params(axis="x", nbins=4)
    name_rows(drawn[0, 0], rows, 15 if len(panels) > 1 else 20)
    if places:
        legend(figure, drawn[0, 0], names=places)
    return figure


def _draw_runs(axes, values: Mapping[int, Sequence[float]], mean: str = "D") -> None:
    """By height: one number a run."""
    for y, runs in values.items():
        axes.plot(runs, [y] * len(runs), "o", color=RUN, markersize=4.5, alpha=0.6, label="a run")
        if len(runs):
            look = {"color": MEAN, "markersize": 7, "label": "mean of runs", "zorder": 3}
            axes.plot(np.mean(runs), y, mean, **look)


def against_best(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    best: Mapping[str, Mapping[str, float]],
    silent: Mapping[str, float] = {},
) -> Figure:
    """Runs against the best that could be: panel -> row -> one number a run; panel -> row -> the
    best possible.

    Small dots are runs, large ones their mean; a blue diamond is the best possible, and the grey
    line between the two is what is missing. silent: panel -> what one gets who always says the
    same, a broken line.
    """
    figure = run_dots(panels, mean="o")
    for axes, (label, rows) in zip(figure.axes, panels.items(), strict=True):
        for i, (row, runs) in enumerate(rows.items()):
            if len(runs):
                axes.plot([np.mean(runs), best[label][row]], [i, i], color="#BBBBBB", linewidth=2)
            axes.plot(best[label][row], i, "D", color=BEST, markersize=6, label="best possible")
        marks(axes, {"always the same": silent[label]} if label in silent else {})
    legend(figure, figure.axes[0], columns=2)
    return figure


def difference_dots(groups: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str) -> Figure:
    """Differences of paired runs, panels under each other: title -> row -> one number a pair. Small
    dots are pairs, diamonds their mean; the line at 0 is the row that they are compared with."""
    counts = [len(rows) for rows in groups.values()]
    height = 0.45 * sum(counts) + 0.6 * len(groups) + 0.5
    ratios = [count + 0.3 for count in counts]
    figure, panels = new_panels(len(groups), 1, height, sharex=True, height_ratios=ratios)
    for axes, (title, rows) in zip(panels[:, 0], groups.items(), strict=True):
        _draw_runs(axes, dict(enumerate(rows.values())))
        axes.axvline(0, color=INK, linewidth=1, zorder=0)
        name_rows(axes, list(rows), 0)
        axes.set_title(title)
        grid(axes, axis="x")
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(xlabel)
    return figure


def ours_and_paper(rows: Sequence[dict], score: str, ours: str, paper: str) -> Figure:
    """A table as dots, our figures and the paper's in panels of their own.

    Args:
        rows: as `tables.aggregate` gives them. score: "wa" or "ua".
        ours, paper: what the panels show, for their axes: the corpus.

    Left, each run is a small dot; large dots are means, lines reach one standard deviation to
    both sides. Right, the figures and the ± that the paper prints.
    """
    figure, drawn = new_panels(1, 2, 0.42 * len(rows) + 1.1, sharey=True)
    left, right = drawn[0]
    _draw_runs(left, dict(enumerate(runs_by_row(rows, score).values())), "o")
    for axes, mean, spread, colour in (
        (left, "mean", "std", MEAN),
        (right, "paper", "paper_std", INK),
    ):
        cells = [(i, row[score]) for i, row in enumerate(rows) if row[score][mean] is not None]
        at, found = [i for i, _ in cells], [cell[mean] for _, cell in cells]
        reach = [cell[spread] or 0 for _, cell in cells]
        axes.errorbar(found, at, xerr=reach, fmt="o", color=colour, linewidth=2, markersize=7)
    name_rows(left, [row["label"] for row in rows], 17)
    left.set(title="ours", xlabel=f"{score.upper()}, {ours}")
    right.set(title="the paper", xlabel=f"{score.upper()}, {paper}")
    for axes in (left, right):
        grid(axes)
        axes.locator_params(axis="x", nbins=4)
    return figure


# ------------------------------------------------------------------------------------- bars


def against_ceilings(
    ceilings: Mapping[str, float],
    scores: Mapping[str, float],
    label: str,
    lower_is_better: bool = False,
) -> Figure:
    """Bars for the best possible observers (grey) and lines for measured scores (colour)."""
    figure, axes = new_axes(figsize=(8, 0.42 * len(ceilings) + 1.4))
    bars = axes.barh(list(ceilings), ceilings.values(), color="#BBBBBB")
    axes.bar_label(bars, fmt=" %.3f", fontsize=9)
    palette = sns.color_palette("colorblind", len(scores))
    for (name, value), colour in zip(scores.items(), palette, strict=True):
        axes.axvline(value, color=colour, linewidth=2, label=f"{name}: {value:.3f}")
    axes.invert_yaxis()
    axes.set_xlim(0, max([*ceilings.values(), *scores.values()]) * 1.12)
    axes.set_xlabel(label + (" (lower is better)" if lower_is_better else ""))
    legend(figure)
    return figure


def word_bars(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    words: Sequence[str],
    carriers: Sequence[int] = (),
    places: Mapping[str, float] = {},
) -> Figure:
    """Panels under each other over the words of one sentence: label of the y axis -> name of a
    part -> (W,). Parts are stacked; a broken line stands at a panel's place; carrying words are set
    in colour."""
    figure, drawn = new_panels(len(panels), 1, 0.9 + 1.75 * len(panels), sharex=True)
    for axes, (label, parts) in zip(drawn[:, 0], panels.items(), strict=True):
        look = {"color": colours_of(list(parts)), "width": 0.7, "legend": len(parts) > 1}
        pd.DataFrame(parts).plot.bar(stacked=True, ax=axes, **look)
        if label in places:
            axes.axhline(places[label], color=INK, linewidth=1, linestyle="--")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylabel(label)
    name_words(axes, words, carriers)
    return figure


def stacked_shares(rows: Mapping[str, Mapping[str, float]], xlabel: str) -> Figure:
    """Shares that sum to one: row -> kind -> share, as one bar a row with its percentages."""
    frame = pd.DataFrame(rows).T.fillna(0)
    figure, axes = new_axes(figsize=(WIDTH, 0.42 * len(rows) + 1.3))
    colours = (BEST, "#E69F00", "#BBBBBB", "#009E73")
    frame.plot.barh(stacked=True, ax=axes, color=colours, width=0.7, legend=False)
    for bars, values in zip(axes.containers, frame.T.to_numpy(), strict=True):
        texts = [f"{value:.0%}" if value >= 0.06 else "" for value in values]
        ink = "white" if bars is axes.containers[0] else INK
        axes.bar_label(bars, texts, label_type="center", fontsize=9, color=ink)
    name_rows(axes, list(rows), 0)
    axes.set(xlim=(0, 1), xlabel=xlabel)
    legend(figure, columns=2)
    return figure
