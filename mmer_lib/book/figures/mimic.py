"""Figures of the chapters on MIMIC's encoders, products and gate: arrays in, a Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmer_lib.book.figures import EMOTION_COLOURS, INK, new_axes

CARRIER = EMOTION_COLOURS["angry"]  # words that carry the emotion, as in every figure
WIDTH = 5.8  # inches: narrow enough that letters can be read on a phone
Interval = tuple[float, float, float]
"""A mean, and the lower and upper end of its interval."""
_MARKERS = "osD^v"


def _colour_carriers(labels: Sequence, carriers: Sequence[int]) -> None:
    for i in carriers:
        labels[i].set(color=CARRIER, weight="bold")


def read_words(
    weights: Mapping[str, np.ndarray], words: Sequence[str], carriers: Sequence[int] = ()
) -> Figure:
    """How often each head reads each word of a sentence: modality -> (H, L), in times an
    indifferent reader; a panel a modality, a row a head. The words of `carriers` are set in
    colour."""
    figure, panels = new_axes(
        len(weights), 1, figsize=(WIDTH, 1.15 * len(weights) + 1.1), sharex=True, squeeze=False
    )
    panels, highest = panels[:, 0], max(w.max() for w in weights.values())
    for axes, (name, values) in zip(panels, weights.items(), strict=True):
        mesh = axes.pcolormesh(
            values, cmap="Blues", vmin=0, vmax=highest, edgecolors="white", linewidth=0.8
        )
        axes.set_yticks(np.arange(len(values)) + 0.5, range(1, len(values) + 1))
        axes.set(ylim=(len(values), 0), ylabel="head")
        axes.set_title(name, loc="left")
    panels[-1].set_xticks(
        np.arange(len(words)) + 0.5, words, rotation=35, ha="right", rotation_mode="anchor"
    )
    _colour_carriers(panels[-1].get_xticklabels(), carriers)
    figure.colorbar(mesh, ax=list(panels), label="times an indifferent reader", pad=0.02)
    return figure


def reach_halves(maps: Mapping[str, np.ndarray], words: Sequence[str]) -> Figure:
    """How far each position (columns) changes when one word (rows) is silenced: name of a
    direction -> (L, L), a panel each on one scale; where nothing changes the cell stays white."""
    figure, panels = new_axes(
        1, len(maps), figsize=(WIDTH, 0.2 * len(words) + 2.4), sharey=True, squeeze=False
    )
    highest = max(m.max() for m in maps.values())
    for axes, (name, changes) in zip(panels[0], maps.items(), strict=True):
        shown = np.ma.masked_equal(changes, 0)
        mesh = axes.pcolormesh(shown, cmap="viridis_r", vmin=0, vmax=highest)
        axes.set_xticks(np.arange(len(words)) + 0.5, words, rotation=90)
        axes.set_title(name, loc="left")
        axes.set_xlabel("state that changes")
    panels[0, 0].set_yticks(np.arange(len(words)) + 0.5, words)
    panels[0, 0].set(ylim=(len(words), 0), ylabel="word silenced")
    figure.colorbar(
        mesh, ax=list(panels[0]), label="change (norm)", location="bottom", shrink=0.7, aspect=40
    )
    return figure


def series_in_rows(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    best: Mapping[str, float] | None = None,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Means with their intervals, a panel a quantity: label of the x axis -> row -> series ->
    (mean, low, high); a colour and a marker a series.

    Args:
        best: by row, the best possible, drawn as a short dark line in that row of every panel.
        marks: dashed lines through every panel, name -> where.
    """
    series = list(dict.fromkeys(s for rows in panels.values() for r in rows.values() for s in r))
    counts = [len(rows) for rows in panels.values()]
    height = (0.16 * len(series) + 0.28) * sum(counts) + 0.6 * len(panels) + 0.7
    figure, drawn = new_axes(
        len(panels), 1, figsize=(WIDTH, height), squeeze=False, height_ratios=counts
    )
    palette = dict(zip(series, sns.color_palette("colorblind", len(series)), strict=True))
    for axes, (label, rows) in zip(drawn[:, 0], panels.items(), strict=True):
        for i, (row, values) in enumerate(rows.items()):
            for k, name in enumerate(series):
                if name in values:
                    mean, low, high = values[name]
                    y = i + (k - (len(series) - 1) / 2) * 0.62 / len(series)
                    axes.hlines(y, low, high, color=palette[name], linewidth=2.2)
                    axes.plot(mean, y, _MARKERS[k % 5], color=palette[name], markersize=6)
            if row in (best or {}):
                axes.vlines(best[row], i - 0.42, i + 0.42, color=INK, linewidth=3, zorder=1.5)
        for (_, x), style in zip((marks or {}).items(), ("--", ":", "-."), strict=False):
            axes.axvline(x, color="#777777", linewidth=1.2, linestyle=style, zorder=0)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(ylim=(len(rows) - 0.45, -0.55), xlabel=label)
        axes.grid(axis="x", color="#E2E2E2", linewidth=0.6)
        axes.set_axisbelow(True)
    handles = {
        name: plt.Line2D([], [], color=palette[name], marker=_MARKERS[k % 5], linewidth=2.2)
        for k, name in enumerate(series)
        if name
    }
    if best:
        handles["best possible"] = plt.Line2D([], [], color=INK, linewidth=3)
    for name, style in zip(marks or {}, ("--", ":", "-."), strict=False):
        handles[name] = plt.Line2D([], [], color="#777777", linewidth=1.2, linestyle=style)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=3,
            frameon=False,
        )  # fmt: skip
    return figure


def cube_slices(
    cubes: Mapping[str, np.ndarray], rows: str, columns: str, across: int = 8
) -> Figure:
    """Cubes cut into numbered slices, one square each, on one scale: a short name -> (K, K, K),
    whose axes are `rows` and `columns` of a square, and the squares; `across` squares a line. Zeros
    stay white."""
    counts = [-(-cube.shape[2] // across) for cube in cubes.values()]
    figure, grid = new_axes(
        sum(counts), across, figsize=(WIDTH, 0.78 * sum(counts) + 0.4 * len(cubes) + 0.6),
        squeeze=False,
    )  # fmt: skip
    highest, line = max(cube.max() for cube in cubes.values()), 0
    for (name, cube), count in zip(cubes.items(), counts, strict=True):
        panels = grid[line : line + count].ravel()
        for k, axes in enumerate(panels):
            if k >= cube.shape[2]:
                axes.axis("off")
                continue
            shown = np.ma.masked_equal(cube[:, :, k], 0)
            mesh = axes.pcolormesh(shown, cmap="viridis_r", vmin=0, vmax=highest, rasterized=True)
            axes.set(aspect="equal", xticks=[], yticks=[], ylim=(len(cube), 0))
            axes.set_xlabel(str(k + 1), fontsize=8, labelpad=2)
            for side in axes.spines.values():
                side.set(visible=True, color="#999999", linewidth=0.6)
        panels[0].set_title(name, loc="left", fontsize=10)
        line += count
    figure.colorbar(mesh, ax=grid.ravel().tolist(), label="product", pad=0.02, aspect=30)
    figure.supxlabel(f"each square: {rows} down, {columns} across", fontsize=10)
    return figure


def usage(shares: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """How often each entry of a cube is on: name -> (E,) shares of the utterances, drawn from the
    most to the least used, over the share of the entries."""
    figure, axes = new_axes(figsize=(WIDTH, 3.4))
    styles = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
    palette = sns.color_palette("colorblind", len(shares))
    for (name, values), style, colour in zip(shares.items(), styles, palette, strict=False):
        at = (np.arange(len(values)) + 0.5) / len(values)
        axes.plot(at, np.sort(values)[::-1], linestyle=style, color=colour, linewidth=2, label=name)
    axes.set(xlabel="share of the entries, most used first", ylabel=ylabel)
    axes.set(xlim=(0, 1), ylim=(0, None))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
    )
    return figure


def gate_by_utterance(gates: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """Every gate of every utterance: part -> (N, D), utterances in the order given. Within a part
    the dimensions are sorted by their mean, the most open on the left."""
    figure, panels = new_axes(1, len(gates), figsize=(WIDTH, 3.6), sharey=True, squeeze=False)
    for axes, (name, values) in zip(panels[0], gates.items(), strict=True):
        order = np.argsort(-values.mean(0))
        mesh = axes.pcolormesh(values[:, order], cmap="viridis", vmin=0, vmax=1, rasterized=True)
        axes.set_title(name, loc="left")
        axes.set_xlabel("dimension")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    panels[0, 0].set(ylabel=ylabel, ylim=(len(values), 0))
    figure.colorbar(mesh, ax=list(panels[0]), label="gate", pad=0.02)
    return figure


def stacked_shares(rows: Mapping[str, Mapping[str, float]], xlabel: str) -> Figure:
    """Shares that sum to one: row -> kind -> share, as one bar a row with its percentages."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    figure, axes = new_axes(figsize=(WIDTH, 0.42 * len(rows) + 1.3))
    colours = ("#0072B2", "#E69F00", "#BBBBBB", "#009E73")
    begun = np.zeros(len(rows))
    for kind, colour in zip(kinds, colours, strict=False):
        values = np.array([row.get(kind, 0.0) for row in rows.values()])
        axes.barh(range(len(rows)), values, 0.7, left=begun, color=colour, label=kind)
        for y, (start, value) in enumerate(zip(begun, values, strict=True)):
            if value >= 0.06:
                dark = colour == "#0072B2"
                axes.text(
                    start + value / 2, y, f"{value:.0%}", ha="center", va="center", fontsize=9,
                    color="white" if dark else INK,
                )  # fmt: skip
        begun = begun + values
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1), xlabel=xlabel)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
    )
    return figure


def numbered_square(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str, str]
) -> Figure:
    """A matrix with its numbers; `labels` of the y axis, the x axis and the colours."""
    figure, axes = new_axes(figsize=(4.4, 3.4))
    sns.heatmap(
        values, annot=True, fmt=".3f", cmap="Blues", vmin=0, square=True, xticklabels=columns,
        yticklabels=rows, ax=axes, cbar_kws={"label": labels[2]},
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)
    axes.set(ylabel=labels[0], xlabel=labels[1])
    return figure
