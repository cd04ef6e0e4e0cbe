"""Heat maps: matrices as coloured cells, with or without their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from mmer_lib.book.figures import style
from mmer_lib.data import EMOTIONS

Labels = tuple[str, str, str]
"""Of the rows, the columns and the colours."""


def draw_cells(axes, values, **look):
    """A seaborn heat map without a scale of its own, all names upright; NaN stays white."""
    look = {"cmap": "Blues", "linewidths": 1, "cbar": False, "annot_kws": {"size": 9}, **look}
    sns.heatmap(values, ax=axes, **look)
    axes.grid(False)
    axes.tick_params(length=0, rotation=0)
    drawn = axes.collections[0]
    colours = drawn.to_rgba(drawn.get_array())[..., :3]
    for text in axes.texts:  # what seaborn writes in white begins too light to be read
        column, row = map(int, text.get_position())
        dark = colours[row, column] @ (0.30, 0.59, 0.11) < 0.5
        text.set_color("white" if dark else style.INK)
    return drawn


def numbered(
    shares: pd.DataFrame, numbers: pd.DataFrame, format: str, labels: Labels, low=0, high=1, **size
) -> Figure:
    """Numbers in cells that are coloured by shares; one of the `labels` that is empty is left
    out."""
    size = size or {"figsize": (style.WIDTH, 0.33 * len(shares) + 1.2)}
    figure, axes = style.new_axes(**size)
    drawn = draw_cells(axes, shares, annot=numbers, fmt=format, vmin=low, vmax=high)
    axes.set(ylabel=labels[0], xlabel=labels[1])
    if labels[2]:
        figure.colorbar(drawn, ax=axes, label=labels[2], pad=0.02, aspect=30)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str] = EMOTIONS) -> Figure:
    """Counts (true class, predicted class), coloured by share of the true class."""
    counts = pd.DataFrame(matrix, labels, labels)
    shares = counts.div(counts.sum(axis=1).clip(1), axis=0)
    names = ("true", "predicted", "share of the true class")
    figure = numbered(shares, counts, "d", names, figsize=(4.6, 3.8))
    figure.axes[0].set_aspect("equal")
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
    recalls = pd.DataFrame({**values, "chance": chance, "ceiling": ceiling}).T
    recalls.columns = [factor.replace(" ", "\n") for factor in recalls.columns]
    low, high = recalls.loc["chance"], recalls.loc["ceiling"]
    shares = ((recalls - low) / (high - low)).clip(0, 1)
    names = ("", "factor that is read", "from chance to ceiling")
    figure = numbered(shares, recalls, ".2f", names)
    figure.axes[0].axhline(len(values), color=style.INK, linewidth=1.5)
    return figure


def rate_map(
    development: Mapping[str, Sequence[float]],
    rates: Sequence[float],
    label: str,
    lower_is_better: bool,
) -> Figure:
    """Scores of the development part by system and rate, (rates,) each; the best of a row is set
    in bold. Darker is better, within a row."""
    values = pd.DataFrame(development, [f"{rate:g}" for rate in rates]).T
    ranks = -values if lower_is_better else values
    ranks = ranks.sub(ranks.min(axis=1), axis=0)
    shares = ranks.div(ranks.max(axis=1), axis=0).fillna(0)  # 0 / 0 where all are alike
    names = ("", f"learning rate; in the cells: {label}", "")
    figure = numbered(shares, values, ".3f", names, low=-0.2, high=1.6)
    for text, share in zip(figure.axes[0].texts, shares.to_numpy().flat, strict=True):
        text.set_weight("bold" if share == 1 else "normal")
    return figure


def panels_of_cells(
    panels: Mapping[str, np.ndarray],
    rows: Sequence | int,
    columns: Sequence | int,
    labels: Labels,
    size: tuple[float, float],
    under: bool = False,
    bar: Mapping = {},
    **look,
) -> Figure:
    """Matrices as cells on one scale, beside each other or `under` each other: title -> (R, C),
    NaN where nothing is known. rows, columns: their names, or how many from one number to the next.
    bar: options of the colours' scale."""
    shape = (len(panels), 1) if under else (1, len(panels))
    figure, grid = style.new_axes(
        *shape, figsize=size, sharex=under, sharey=not under, squeeze=False
    )
    if "norm" not in look:
        look = {"vmin": 0, "vmax": max(map(np.nanmax, panels.values())), **look}
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=True):
        drawn = draw_cells(axes, values, yticklabels=rows, xticklabels=columns, **look)
        axes.set_title(title)
    for axes in grid[:, 0]:
        axes.set_ylabel(labels[0])
    for axes in grid[-1]:
        axes.set_xlabel(labels[1])
    figure.colorbar(drawn, ax=list(grid.flat), label=labels[2], **{"pad": 0.02, **bar})
    return figure


def heat_map(
    panels: Mapping[str, np.ndarray],
    rows: Sequence,
    columns: Sequence,
    labels: Labels = ("", "", ""),
    numbers: str = "",
    high: float | None = None,
    carriers: Sequence[int] = (),
) -> Figure:
    """Matrices as heat maps under each other, title -> (R, C), on one scale from 0 to `high`
    (default: their largest value). `rows`, `columns`: names of the R and the C, those of `carriers`
    in colour. `numbers`: a format such as ".2f" to write the values into the cells."""
    height = (0.3 * len(rows) + 0.35) * len(panels) + 1.5
    size = (style.WIDTH, height) if len(rows) != len(columns) or len(rows) > 6 else (4.4, 3.5)
    look = {"annot": bool(numbers), "fmt": numbers, **({} if high is None else {"vmax": high})}
    figure = panels_of_cells(panels, list(rows), list(columns), labels, size, under=True, **look)
    if any(isinstance(c, str) and len(c) > 1 for c in columns) and len(columns) > 4:
        style.name_words(figure.axes[len(panels) - 1], columns, carriers, 0.5)
    return figure


def hump_map(
    panels: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    least: float,
) -> Figure:
    """Heights over a grid: one panel a name -> (rows, columns), NaN where nothing is known. Colours
    part at `least`: green at and above it, brown below. names: of the rows, of the columns."""
    top = max(4 * least, *map(np.nanmax, panels.values()))
    look = {"cmap": "BrBG", "norm": TwoSlopeNorm(least, -1.5 * least, top)}
    look |= {"annot": True, "fmt": ".2f", "bar": {"aspect": 20}}
    size = (style.WIDTH, 0.42 * len(rows) + 1.6)
    labels = (*names, "height of the hump")
    figure = panels_of_cells(panels, rows, columns, labels, size, **look)
    for axes, heights in zip(figure.axes, panels.values(), strict=False):
        axes.set_facecolor("#EEEEEE")
        for row, column in np.argwhere(np.isnan(heights)):
            axes.text(column + 0.5, row + 0.5, "-", ha="center", va="center", fontsize=9)
    figure.axes[-1].set_ylim(0, top)
    return figure


def reach_map(
    panels: Mapping[str, np.ndarray], words: Sequence[str], labels: Labels, reach: int | None = None
) -> Figure:
    """How much each position (columns) changes when one word (rows) is taken away: name -> (W, W),
    a panel each on one scale; cells without any change stay white. reach: stairs so many words to
    each side."""
    panels = {name: np.where(changes, changes, np.nan) for name, changes in panels.items()}
    count, steps = len(words), np.arange(len(words) + 1)
    look = {"cmap": "viridis_r", "linewidths": 0}
    look |= {"bar": {"location": "bottom", "shrink": 0.7, "aspect": 40}}
    size = (style.WIDTH, 0.24 * count + 2.2)
    figure = panels_of_cells(panels, words, words, labels, size, **look)
    for axes in figure.axes[: len(panels)]:
        axes.tick_params(axis="x", labelrotation=90)
        for edge in () if reach is None else (steps[:-1] + reach + 1, steps[:-1] - reach):
            x = np.repeat(np.clip(edge, 0, count), 2)
            axes.plot(x, np.repeat(steps, 2)[1:-1], color=style.CARRIER, linewidth=2)
    return figure


def gate_map(
    gates: Mapping[str, np.ndarray],
    ylabel: str = "",
    words: Sequence[str] = (),
    carriers: Sequence[int] = (),
) -> Figure:
    """Every gate of some words or utterances: part -> (N, D), a panel each; within it the
    dimensions are sorted by their mean, the most open on the left. Rows are named by `words`, if
    any, those of `carriers` in colour."""
    panels = {name: values[:, np.argsort(-values.mean(0))] for name, values in gates.items()}
    look = {"cmap": "viridis", "vmax": 1, "linewidths": 0, "rasterized": True}
    size = (style.WIDTH, 0.28 * len(words) + 1.7 if words else 3.6)
    labels = (ylabel, "dimension", "gate")
    figure = panels_of_cells(panels, words or 50, 25, labels, size, **look)
    style.colour_words(figure.axes[0].get_yticklabels(), carriers)
    return figure


def filter_windows(
    responses: np.ndarray, kernels: Sequence[int], phonemes: Sequence[str], names: Sequence[str]
) -> Figure:
    """What some filters answer to the windows of one word, the winner of each boxed.

    responses (F, P), one row a filter and one column the phoneme at which a window begins;
    kernels (F,) widths of the windows in phonemes; names (F,) of the filters. A window that
    reaches over the word's end is cut there.
    """
    shares = responses / np.maximum(responses.max(1, keepdims=True), 1e-9)
    labels = ("filter", "phoneme at which the window begins", "share of the winner")
    size = (5, 0.34 * len(responses) + 1.5)
    figure = panels_of_cells({"": shares}, names, phonemes, labels, size, vmax=1)
    for row, (best, kernel) in enumerate(zip(responses.argmax(1), kernels, strict=True)):
        length = min(kernel, len(phonemes) - best)
        box = plt.Rectangle((best + 0.04, row + 0.08), length - 0.08, 0.84)
        box.set(fill=False, edgecolor=style.CARRIER, linewidth=2)
        figure.axes[0].add_patch(box)
    return figure


def cube_slices(
    cubes: Mapping[str, np.ndarray], rows: str, columns: str, across: int = 8
) -> Figure:
    """Cubes cut into numbered slices, one square each, on one scale: a short name -> (K, K, K),
    whose axes are `rows` and `columns` of a square, and the squares; `across` squares a line. Zeros
    stay white."""
    counts = [-(-cube.shape[2] // across) for cube in cubes.values()]
    height = 0.78 * sum(counts) + 0.4 * len(cubes) + 0.6
    figure, grid = style.new_panels(sum(counts), across, height)
    high, line = max(cube.max() for cube in cubes.values()), 0
    for (name, cube), count in zip(cubes.items(), counts, strict=True):
        squares = grid[line : line + count].ravel()
        line += count
        squares[0].set_title(name, fontsize=10)
        for axes in squares[cube.shape[2] :]:
            axes.axis("off")
        for k, axes in enumerate(squares[: cube.shape[2]]):
            masked = np.ma.masked_equal(cube[:, :, k], 0)
            drawn = axes.pcolormesh(masked, cmap="viridis_r", vmin=0, vmax=high, rasterized=True)
            axes.set(aspect="equal", xticks=[], yticks=[], ylim=(len(cube), 0))
            axes.set_xlabel(str(k + 1), fontsize=8, labelpad=2)
            axes.spines[:].set(visible=True, color=style.GREY, linewidth=0.6)
    figure.colorbar(drawn, ax=grid.ravel().tolist(), label="product", pad=0.02, aspect=30)
    figure.supxlabel(f"each square: {rows} down, {columns} across", fontsize=10)
    return figure
