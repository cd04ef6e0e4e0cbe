"""Heat maps: matrices as coloured cells, with or without their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from mmer_lib.book.figures.style import (
    CARRIER,
    GREY,
    INK,
    SMALL,
    WIDTH,
    colour_words,
    name_words,
    new_axes,
    new_panels,
)
from mmer_lib.data import EMOTIONS


def draw_cells(
    axes,
    values: np.ndarray,
    rows: Sequence = (),
    columns: Sequence = (),
    texts: np.ndarray | None = None,
    **mesh,
):
    """Cells of (R, C) values, the first row on top; names of rows and columns, if any, at them.

    texts: (R, C) strings in the cells, white on dark ones.
    """
    mesh = {"cmap": "Blues", "edgecolors": "white", "linewidth": 1, **mesh}
    drawn = axes.pcolormesh(values, **mesh)
    if len(rows):
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=SMALL)
    if len(columns):
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_ylim(len(values), 0)
    axes.tick_params(length=0)
    if texts is not None:
        rgba = drawn.to_rgba(values)
        dark = (rgba[..., :3] @ (0.30, 0.59, 0.11) < 0.5) & (rgba[..., 3] > 0)
        for (i, j), text in np.ndenumerate(texts):
            colour = "white" if dark[i, j] else INK
            place = {"ha": "center", "va": "center", "fontsize": 9}
            axes.text(j + 0.5, i + 0.5, text, color=colour, **place)
    return drawn


def heat_map(
    panels: Mapping[str, np.ndarray],
    rows: Sequence,
    columns: Sequence,
    labels: tuple[str, str, str] = ("", "", ""),
    numbers: str = "",
    high: float | None = None,
    carriers: Sequence[int] = (),
) -> Figure:
    """Matrices as heat maps on one scale from 0 to `high` (default: their largest value).

    Args:
        panels: title -> (R, C), under each other.
        rows, columns: names of the R and the C.
        labels: of the rows, the columns and the colours. numbers: a format such as ".2f" to write
            the values into the cells.
        carriers: columns that are set in colour.
    """
    height = (0.3 * len(rows) + 0.35) * len(panels) + 1.5
    size = (WIDTH, height) if len(rows) != len(columns) or len(rows) > 6 else (4.4, 3.5)
    figure, grid = new_axes(len(panels), 1, figsize=size, sharex=True, squeeze=False)
    high = max(np.max(values) for values in panels.values()) if high is None else high
    for axes, (title, values) in zip(grid[:, 0], panels.items(), strict=True):
        texts = np.vectorize(lambda v: format(v, numbers))(values) if numbers else None
        drawn = draw_cells(axes, values, rows, columns, texts, vmin=0, vmax=high)
        axes.set(title=title, ylabel=labels[0])
    axes.set_xlabel(labels[1])
    if any(isinstance(c, str) and len(c) > 1 for c in columns) and len(columns) > 4:
        name_words(axes, columns, carriers, 0.5)
    figure.colorbar(drawn, ax=list(grid.flat), label=labels[2], pad=0.02)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str] = EMOTIONS) -> Figure:
    """Counts (true class, predicted class), coloured by share of the true class."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = new_axes(figsize=(4.6, 3.8))
    drawn = draw_cells(axes, shares, labels, labels, matrix.astype(str), vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", aspect="equal")
    figure.colorbar(drawn, ax=axes, label="share of the true class")
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
    shares = np.clip((recalls - low) / (high - low), 0, 1)
    figure, axes = new_axes(figsize=(WIDTH, 0.32 * len(rows) + 1.2))
    names = [f.replace(" ", "\n") for f in factors]
    texts = np.vectorize("{:.2f}".format)(recalls)
    drawn = draw_cells(axes, shares, list(rows), names, texts, vmin=0, vmax=1)
    axes.axhline(len(values), color=INK, linewidth=1.5)
    axes.set(xlabel="factor that is read")
    figure.colorbar(drawn, ax=axes, label="from chance to ceiling", pad=0.02, aspect=30)
    return figure


def rate_map(
    development: Mapping[str, Sequence[float]],
    rates: Sequence[float],
    label: str,
    lower_is_better: bool,
) -> Figure:
    """Scores of the development part by system and rate, (rates,) each; the best of a row is set
    in bold. Darker is better, within a row."""
    values = np.array(list(development.values()))
    good = -values if lower_is_better else values
    span = np.ptp(good, axis=1, keepdims=True)
    share = (good - good.min(1, keepdims=True)) / np.where(span, span, 1)
    figure, axes = new_axes(figsize=(WIDTH, 0.34 * len(values) + 1.1))
    texts = np.vectorize("{:.3f}".format)(values)
    names = [f"{rate:g}" for rate in rates]
    draw_cells(axes, share, list(development), names, texts, vmin=-0.2, vmax=1.6)
    for text, best in zip(axes.texts, (share == 1).flat, strict=True):
        text.set_weight("bold" if best else "normal")
    axes.set_xlabel(f"learning rate; in the cells: {label}")
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
    figure, grid = new_panels(1, len(panels), 0.42 * len(rows) + 1.6, sharey=True)
    known = np.concatenate([v[np.isfinite(v)] for v in panels.values()])
    top = max([4 * least, *known])
    norm = TwoSlopeNorm(least, -1.5 * least, top)
    for axes, (name, heights) in zip(grid[0], panels.items(), strict=True):
        axes.set_facecolor("#EEEEEE")
        texts = np.vectorize(lambda v: f"{v:.2f}" if np.isfinite(v) else "-")(heights)
        masked = np.ma.masked_invalid(heights)
        drawn = draw_cells(axes, masked, rows, columns, texts, cmap="BrBG", norm=norm)
        axes.set(xlabel=names[1], title=name)
    grid[0, 0].set_ylabel(names[0])
    bar = figure.colorbar(drawn, ax=list(grid[0]), label="height of the hump", aspect=20)
    bar.ax.set_ylim(0, top)
    return figure


# ---------------------------------------------------------------------------- words, gates


def filter_windows(
    responses: np.ndarray, kernels: Sequence[int], phonemes: Sequence[str], names: Sequence[str]
) -> Figure:
    """What some filters answer to the windows of one word, the winner of each boxed.

    responses (F, P), one row a filter and one column the phoneme at which a window begins;
    kernels (F,) widths of the windows in phonemes; names (F,) of the filters. A window that
    reaches over the word's end is cut there.
    """
    shares = responses / np.maximum(responses.max(1, keepdims=True), 1e-9)
    figure, axes = new_axes(figsize=(5, 0.34 * len(responses) + 1.5))
    drawn = draw_cells(axes, shares, names, phonemes, vmin=0, vmax=1)
    for row, (answers, kernel) in enumerate(zip(responses, kernels, strict=True)):
        best = int(answers.argmax())
        length = min(kernel, len(phonemes) - best)
        box = plt.Rectangle((best + 0.04, row + 0.08), length - 0.08, 0.84)
        box.set(fill=False, edgecolor=CARRIER, linewidth=2)
        axes.add_patch(box)
    axes.set(xlabel="phoneme at which the window begins", ylabel="filter")
    figure.colorbar(drawn, ax=axes, label="share of the winner", pad=0.02)
    return figure


def reach_map(
    panels: Mapping[str, np.ndarray],
    words: Sequence[str],
    labels: tuple[str, str, str],
    reach: int | None = None,
) -> Figure:
    """How much each position (columns) changes when one word (rows) is taken away: name -> (W, W),
    a panel each on one scale; cells without any change stay white.

    labels: of the rows, the columns and the colours. reach: stairs so many words to each side.
    """
    panels = {name: np.ma.masked_equal(changes, 0) for name, changes in panels.items()}
    count, steps = len(words), np.arange(len(words) + 1)
    figure, grid = new_panels(1, len(panels), 0.24 * count + 2.2, sharey=True)
    high = max(changes.max() for changes in panels.values())
    for axes, (name, changes) in zip(grid[0], panels.items(), strict=True):
        look = {"cmap": "viridis_r", "vmin": 0, "vmax": high, "linewidth": 0}
        drawn = draw_cells(axes, changes, words, words, edgecolors="none", **look)
        axes.tick_params(axis="x", labelrotation=90)
        axes.set(title=name, xlabel=labels[1])
        for edge in () if reach is None else (steps[:-1] + reach + 1, steps[:-1] - reach):
            x = np.repeat(np.clip(edge, 0, count), 2)
            axes.plot(x, np.repeat(steps, 2)[1:-1], color=CARRIER, linewidth=2)
    grid[0, 0].set_ylabel(labels[0])
    figure.colorbar(
        drawn, ax=list(grid[0]), label=labels[2], location="bottom", shrink=0.7, aspect=40
    )
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
    height = 0.28 * len(words) + 1.7 if words else 3.6
    figure, grid = new_panels(1, len(gates), height, sharey=True)
    for axes, (name, values) in zip(grid[0], gates.items(), strict=True):
        look = {"cmap": "viridis", "vmin": 0, "vmax": 1, "linewidth": 0, "rasterized": True}
        columns = np.argsort(-values.mean(0))
        drawn = draw_cells(axes, values[:, columns], words, edgecolors="none", **look)
        axes.set(title=name, xlabel="dimension")
        axes.locator_params(axis="x", nbins=3, integer=True)
    grid[0, 0].set_ylabel(ylabel)
    colour_words(grid[0, 0].get_yticklabels(), carriers)
    figure.colorbar(drawn, ax=list(grid[0]), label="gate", pad=0.02)
    return figure


def cube_slices(
    cubes: Mapping[str, np.ndarray], rows: str, columns: str, across: int = 8
) -> Figure:
    """Cubes cut into numbered slices, one square each, on one scale: a short name -> (K, K, K),
    whose axes are `rows` and `columns` of a square, and the squares; `across` squares a line. Zeros
    stay white."""
    counts = [-(-cube.shape[2] // across) for cube in cubes.values()]
    figure, grid = new_panels(sum(counts), across, 0.78 * sum(counts) + 0.4 * len(cubes) + 0.6)
    high, line = max(cube.max() for cube in cubes.values()), 0
    for (name, cube), count in zip(cubes.items(), counts, strict=True):
        squares = grid[line : line + count].ravel()
        line += count
        squares[0].set_title(name, fontsize=10)
        for axes in squares[cube.shape[2] :]:
            axes.axis("off")
        for k, axes in enumerate(squares[: cube.shape[2]]):
            masked = np.ma.masked_equal(cube[:, :, k], 0)
            look = {"cmap": "viridis_r", "vmin": 0, "vmax": high, "linewidth": 0}
            drawn = draw_cells(axes, masked, edgecolors="none", rasterized=True, **look)
            axes.set(aspect="equal", xticks=[], yticks=[])
            axes.set_xlabel(str(k + 1), fontsize=8, labelpad=2)
            axes.spines[:].set(visible=True, color=GREY, linewidth=0.6)
    figure.colorbar(drawn, ax=grid.ravel().tolist(), label="product", pad=0.02, aspect=30)
    figure.supxlabel(f"each square: {rows} down, {columns} across", fontsize=10)
    return figure
