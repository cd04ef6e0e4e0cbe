"""Scores and other means: intervals, single runs, bars, the papers' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmer_lib.book.figures import style

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
    figure, drawn = style.new_panels(len(panels), 1, height, height_ratios=counts)
    colours = style.colours_of(series)
    for axes, (label, rows) in zip(drawn[:, 0], panels.items(), strict=True):
        for k, name in enumerate(series):
            shift = (k - (len(series) - 1) / 2) * 0.64 / len(series)
            at = shift + np.array([i for i, row in enumerate(rows.values()) if name in row])
            mean, low, high = np.array([row[name] for row in rows.values() if name in row]).T
            axes.hlines(at, low, high, color=colours[name], linewidth=2.3)
            marker = style.MARKERS[k % len(style.MARKERS)]
            axes.plot(mean, at, marker, color=colours[name], markersize=6, label=name or None)
            for x, y in zip(mean, at, strict=True) if decimals is not None else ():
                text = f"{x + 1e-9:.{decimals}f}"  # 0.7825 as 0.783, as for single precision
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
                where = {"textcoords": "offset points", "ha": "center", "fontsize": 8.5}
                axes.annotate(text, (x, y), (0, 6), bbox=box, **where)
        for i, row in enumerate(rows):
            if row in best:
                look = {"color": style.INK, "linewidth": 3, "label": "best possible"}
                axes.vlines(best[row], i - 0.42, i + 0.42, **look)
        style.marks(axes, places)
        style.name_rows(axes, list(rows))
        axes.set_xlabel(label)
    style.legend(figure)
    return figure


# ------------------------------------------------------------------------------ single runs


def runs_by_row(rows: Sequence[dict], score: str) -> dict[str, list[float]]:
    """Label of a row of a table -> the score of each of its runs that has one."""
    return {
        row["label"]: [run[score] for run in row["runs"] if run[score] is not None] for row in rows
    }


def draw_runs(
    axes, rows: Mapping[int, Sequence[float]], best: Mapping[int, float] = {}, mean: str = "D"
) -> None:
    """By height: one number a run, and the best possible."""
    for y, runs in rows.items():
        if y in best and len(runs):
            axes.plot([np.mean(runs), best[y]], [y, y], color="#BBBBBB", linewidth=2)
        look = {"color": style.RUN, "markersize": 4.5, "alpha": 0.6}
        axes.plot(runs, [y] * len(runs), "o", label="a run", **look)
        if len(runs):
            look = {"color": style.MEAN, "markersize": 7, "zorder": 3}
            axes.plot(np.mean(runs), y, mean, label="mean of runs", **look)
        if y in best:
            axes.plot(best[y], y, "D", color=style.BEST, markersize=6, label="best possible")


def run_dots(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    places: Mapping[str, Mapping[str, float]] = {},
    best: Mapping[str, Mapping[str, float]] = {},
) -> Figure:
    """Scores of single runs, panels beside each other: label of the x axis -> row -> one number a
    run. Small dots are runs, large ones (diamonds) their mean.

    Args:
        places: broken lines, panel -> name -> where.
        best: panel -> row -> the best possible, a blue diamond; means are round then, and the grey
            line between the two is what is missing.
    """
    rows = list(dict.fromkeys(row for group in panels.values() for row in group))
    figure, drawn = style.new_panels(1, len(panels), 0.42 * len(rows) + 1.3, sharey=True)
    for axes, (label, group) in zip(drawn[0], panels.items(), strict=True):
        at = {rows.index(row): values for row, values in group.items()}
        bests = {rows.index(row): value for row, value in best.get(label, {}).items()}
        draw_runs(axes, at, bests, "o" if best else "D")
        style.marks(axes, places.get(label, {}))
        axes.set_xlabel(label)
        if len(panels) > 1:
            axes.locator_params(axis="x", nbins=4)
    style.name_rows(drawn[0, 0], rows, 15 if len(panels) > 1 else 20)
    style.legend(figure, columns=2 if best else None)
    return figure


def difference_dots(groups: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str) -> Figure:
    """Differences of paired runs, panels under each other: title -> row -> one number a pair. Small
    dots are pairs, diamonds their mean; the line at 0 is the row that they are compared with."""
    counts = [len(rows) for rows in groups.values()]
    height = 0.45 * sum(counts) + 0.6 * len(groups) + 0.5
    ratios = [count + 0.3 for count in counts]
    figure, panels = style.new_panels(len(groups), 1, height, sharex=True, height_ratios=ratios)
    for axes, (title, rows) in zip(panels[:, 0], groups.items(), strict=True):
        draw_runs(axes, dict(enumerate(rows.values())))
        axes.axvline(0, color=style.INK, linewidth=1, zorder=0.9)
        style.name_rows(axes, list(rows), 0)
        axes.set_title(title)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(xlabel)
    return figure


def ours_and_paper(rows: Sequence[dict], score: str, ours: str, paper: str) -> Figure:
    """A table as dots, our figures (left) and the paper's (right) in panels of their own: rows as
    `tables.aggregate` gives them, score "wa" or "ua", and the corpus of each panel.

    Each run is a small dot; large dots are means, lines reach one standard deviation, or the ± that
    the paper prints, to both sides.
    """
    figure, drawn = style.new_panels(1, 2, 0.42 * len(rows) + 1.1, sharey=True)
    draw_runs(drawn[0, 0], dict(enumerate(runs_by_row(rows, score).values())), mean="o")
    table = pd.DataFrame([row[score] for row in rows], dtype=float)
    for axes, title, corpus, mean, spread, colour in (
        (drawn[0, 0], "ours", ours, "mean", "std", style.MEAN),
        (drawn[0, 1], "the paper", paper, "paper", "paper_std", style.INK),
    ):
        shown = table.dropna(subset=[mean])
        look = {"xerr": shown[spread].fillna(0), "linewidth": 2, "markersize": 7}
        axes.errorbar(shown[mean], shown.index, fmt="o", color=colour, **look)
        axes.set(title=title, xlabel=f"{score.upper()}, {corpus}")
        axes.locator_params(axis="x", nbins=4)
    style.name_rows(drawn[0, 0], [row["label"] for row in rows], 17)
    return figure


# ------------------------------------------------------------------------------------- bars


def against_ceilings(
    ceilings: Mapping[str, float],
    scores: Mapping[str, float],
    label: str,
    lower_is_better: bool = False,
) -> Figure:
    """Bars for the best possible observers (grey) and lines for measured scores (colour)."""
    figure, axes = style.new_axes(figsize=(8, 0.42 * len(ceilings) + 1.4))
    bars = axes.barh(list(ceilings), ceilings.values(), color="#BBBBBB")
    axes.bar_label(bars, fmt=" %.3f", fontsize=9)
    for name, colour in style.colours_of(list(scores)).items():
        look = {"color": colour, "linewidth": 2, "label": f"{name}: {scores[name]:.3f}"}
        axes.axvline(scores[name], **look)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*ceilings.values(), *scores.values()]) * 1.12)
    axes.set_xlabel(label + (" (lower is better)" if lower_is_better else ""))
    style.legend(figure)
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
    figure, drawn = style.new_panels(len(panels), 1, 0.9 + 1.75 * len(panels), sharex=True)
    for axes, (label, parts) in zip(drawn[:, 0], panels.items(), strict=True):
        look = {"color": style.colours_of(list(parts)), "width": 0.7, "legend": len(parts) > 1}
        pd.DataFrame(parts).plot.bar(stacked=True, ax=axes, **look)
        if label in places:
            axes.axhline(places[label], color=style.INK, linewidth=1, linestyle="--")
        axes.axhline(0, color=style.INK, linewidth=0.8)
        axes.set_ylabel(label)
    style.name_words(axes, words, carriers)
    return figure
