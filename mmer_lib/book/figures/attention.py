"""Figures of the chapters on attention, deep fusion and attribution: arrays in, a Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mmer_lib.book.figures import EMOTION_COLOURS, INK, MODALITY_COLOURS, STYLE, new_axes
from mmer_lib.data import Word

CARRIER = EMOTION_COLOURS["angry"]
PHONEMES = "#CC79A7"
WIDTH = 5.8  # inches: narrow enough that letters can be read on a phone
Interval = tuple[float, float, float]  # mean, low, high


def _colours(names: Sequence[str]) -> list:
    """The colour of each series: a modality's own, else one of a palette."""
    palette = sns.color_palette("colorblind", len(names))
    known = {
        "text": MODALITY_COLOURS["text"],
        "speech": MODALITY_COLOURS["audio"],
        "phonemes": PHONEMES,
    }
    return [known.get(n, c) for n, c in zip(names, palette, strict=True)]


def _box_words(axes, words: Sequence[Word]) -> None:
    """A box in row i at the time of word i."""
    for i, word in enumerate(words):
        box = plt.Rectangle((word.start, i - 0.5), word.end - word.start, 1)
        box.set(fill=False, edgecolor=CARRIER, linewidth=1.2)
        axes.add_patch(box)


def _name_words(axes, words: Sequence[Word], carriers: Sequence[int]) -> None:
    """Words over an axis of time, in two rows so that short ones do not collide."""
    for i, word in enumerate(words):
        axes.annotate(
            word.text,
            ((word.start + word.end) / 2, 1.0),
            (0, 15 if i % 2 else 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=CARRIER if i in carriers else INK,
            weight="bold" if i in carriers else "normal",
        )


def _filterbank(axes, filterbank: np.ndarray, times: np.ndarray) -> None:
    bands = np.arange(filterbank.shape[1])
    axes.pcolormesh(times, bands, filterbank.T, cmap="magma", shading="nearest", rasterized=True)
    axes.set(ylabel="mel band", yticks=[0, filterbank.shape[1] - 1])


def attention_panels(
    maps: Mapping[str, np.ndarray],
    times: np.ndarray,
    words: Sequence[Word],
    filterbank: np.ndarray,
    filterbank_times: np.ndarray,
    columns: int = 2,
) -> Figure:
    """Attention maps of one utterance, name -> (T, W), two in a row, each column under the
    filterbank with the same axis of time.

    Rows of a map are words, columns time (s); a box shows when its word was spoken.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(WIDTH, 1.3 + rows * (0.6 + 0.2 * len(words))))
        figure.set_layout_engine("constrained")
        grid = figure.add_gridspec(
            1 + rows, columns, height_ratios=[1.1, *[0.6 + 0.2 * len(words)] * rows]
        )
        tops = [figure.add_subplot(grid[0, column]) for column in range(columns)]
        panels = [figure.add_subplot(grid[1 + i // columns, i % columns]) for i in range(len(maps))]
    plt.close(figure)
    for column, axes in enumerate(tops):
        _filterbank(axes, filterbank, filterbank_times)
        axes.set(xlim=(filterbank_times[0], filterbank_times[-1]))
        if column:
            axes.set(ylabel="", yticklabels=[])
    largest = max(m.max() for m in maps.values())
    for i, (axes, (name, weights)) in enumerate(zip(panels, maps.items(), strict=True)):
        mesh = axes.pcolormesh(
            times, np.arange(len(words)), weights.T, cmap="Blues", vmin=0, vmax=largest,
            shading="nearest", rasterized=True,
        )  # fmt: skip
        _box_words(axes, words)
        axes.set_title(name, fontsize=10)
        axes.set_yticks(range(len(words)), [w.text for w in words] if i % columns == 0 else [])
        axes.set(ylim=(len(words) - 0.5, -0.5), xlim=tops[0].get_xlim())
        axes.set_ylabel("word attended to" if i % columns == 0 else "")
        axes.set_xlabel("time of the frame (s)" if i >= len(maps) - columns else "")
    figure.colorbar(
        mesh, ax=panels, label="attention weight", location="bottom", shrink=0.7, aspect=40
    )
    return figure


def intervals(
    series: Mapping[str, Mapping[str, Interval]],
    xlabel: str,
    marks: Mapping[str, float] | None = None,
    decimals: int = 2,
) -> Figure:
    """Means with their intervals: series -> row -> (mean, low, high), one colour a series; dashed
    lines at the named `marks`. A series named "" stands without a legend."""
    rows = list(dict.fromkeys(row for values in series.values() for row in values))
    height = 0.38 * max(1.3, len(series)) * len(rows) + 1.3
    figure, axes = new_axes(figsize=(WIDTH, height))
    step = 0.62 / len(series)
    for k, ((name, values), colour) in enumerate(
        zip(series.items(), _colours(list(series)), strict=True)
    ):
        at = np.array([rows.index(r) for r in values]) + (k - (len(series) - 1) / 2) * step
        mean, low, high = np.array(list(values.values()), dtype=float).T
        axes.hlines(at, low, high, color=colour, linewidth=2.4)
        axes.plot(mean, at, "os^D"[k % 4], color=colour, markersize=6, label=name)
        for x, y in zip(mean, at, strict=True):
            axes.annotate(
                f"{x + 1e-9:.{decimals}f}",  # 0.7825 as 0.783, as for single precision
                (x, y), (0, 5), textcoords="offset points", ha="center", fontsize=8.5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip
    for (name, x), style in zip((marks or {}).items(), ("--", ":", "-.", "-"), strict=False):
        axes.axvline(x, color="#777777", linewidth=1.1, linestyle=style, zorder=0, label=name)
        axes.update_datalim([(x, 0)], updatey=False)
    axes.autoscale_view(scaley=False)
    axes.set_yticks(range(len(rows)), [fill(r, 18) for r in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.7), xlabel=xlabel)
    if any(series) or marks:
        handles, labels = axes.get_legend_handles_labels()
        pairs = [(h, text) for h, text in zip(handles, labels, strict=True) if text]
        figure.legend(*zip(*pairs, strict=True), loc="outside lower center", ncols=2, frameon=False)
    return figure


def overlap_matrix(matrix: np.ndarray, what: str, label: str) -> Figure:
    """A square of similarities in [0, 1] with its numbers; rows and columns are `what` 1, 2, ..."""
    figure, axes = new_axes(figsize=(4.4, 3.6))
    names = range(1, len(matrix) + 1)
    sns.heatmap(
        matrix, annot=True, fmt=".2f", cmap="Blues", vmin=0, vmax=1, square=True,
        xticklabels=names, yticklabels=names, ax=axes, cbar_kws={"label": label},
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel=what, ylabel=what)
    return figure


def word_bars(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    words: Sequence[str],
    carriers: Sequence[int] = (),
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Panels under each other over the words of one sentence: label of the y axis -> name of a
    part -> (W,). Parts are stacked; a dashed line stands at a panel's mark; carrying words are set
    in colour."""
    figure, all_axes = new_axes(
        len(panels), 1, figsize=(WIDTH, 0.9 + 1.75 * len(panels)), sharex=True, squeeze=False
    )
    at = np.arange(len(words))
    for axes, (label, parts) in zip(all_axes[:, 0], panels.items(), strict=True):
        above, below = np.zeros(len(words)), np.zeros(len(words))
        for (name, values), colour in zip(parts.items(), _colours(list(parts)), strict=True):
            base = np.where(values >= 0, above, below)
            axes.bar(at, values, 0.7, bottom=base, color=colour, label=name)
            above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
        if label in (marks or {}):
            axes.axhline(marks[label], color=INK, linewidth=1, linestyle="--")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylabel(label)
        if len(parts) > 1:
            axes.legend(frameon=False)
    axes.set_xticks(at, words, rotation=35, ha="right", rotation_mode="anchor")
    for i in carriers:
        axes.get_xticklabels()[i].set(color=CARRIER, weight="bold")
    return figure


def dummy_rows(
    rows: Mapping[str, np.ndarray],
    times: np.ndarray,
    energy: np.ndarray,
    words: Sequence[Word],
    carriers: Sequence[int] = (),
) -> Figure:
    """What the dummy frame reads in each attention: name -> (T,), in times an indifferent weight,
    under the energy (T,) of the frames at `times` (s); carrying words are shaded."""
    figure, (top, bottom) = new_axes(
        2, 1, figsize=(WIDTH, 4.6), sharex=True, height_ratios=[1, 1.6]
    )
    top.plot(times, energy, color=INK, linewidth=1.6)
    top.set_ylabel("mean log-mel\nenergy")
    _name_words(top, words, carriers)
    for (name, weights), colour in zip(rows.items(), _colours(list(rows)), strict=True):
        bottom.plot(times, weights, "o-", markersize=3, color=colour, label=name)
    bottom.axhline(1, color="#777777", linewidth=1, linestyle="--")
    for axes in (top, bottom):
        for i in carriers:
            axes.axvspan(words[i].start, words[i].end, color=CARRIER, alpha=0.13, linewidth=0)
    bottom.set(xlabel="time of the frame (s)", ylabel="weight / indifferent", ylim=(0, None))
    figure.legend(
        *bottom.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    return figure


def along_parts(
    series: Mapping[str, Sequence[Interval]],
    parts: Sequence[str],
    ylabel: str,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Lines from part to part of a model: name -> a (mean, low, high) for each part; intervals as
    bars, dashed lines at the named `marks`."""
    figure, axes = new_axes(figsize=(WIDTH, 4.2))
    at = np.arange(len(parts))
    for k, ((name, values), colour) in enumerate(
        zip(series.items(), _colours(list(series)), strict=True)
    ):
        mean, low, high = np.array(values, dtype=float).T
        moved = at + 0.1 * (k - (len(series) - 1) / 2)
        axes.plot(moved, mean, "o-", markersize=4.5, color=colour, label=name)
        axes.vlines(moved, low, high, color=colour, linewidth=1.6)
    for (name, y), style in zip((marks or {}).items(), ("--", ":", "-."), strict=False):
        axes.axhline(y, color="#777777", linewidth=1.1, linestyle=style, zorder=0, label=name)
    axes.set_xticks(at, parts, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_ylabel(ylabel)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
    )
    return figure


def utterance_map(
    points: np.ndarray, emotions: Sequence[str], kinds: Sequence[str], labels: Sequence[str]
) -> Figure:
    """Utterances in two dimensions (N, 2), coloured by emotion, shaped by kind; `labels` of the
    two axes."""
    figure, axes = new_axes(figsize=(WIDTH, 5.4))
    shapes = dict(zip(dict.fromkeys(sorted(kinds)), "o^sXDv", strict=False))
    emotions, kinds = np.array(emotions), np.array(kinds)
    for emotion, colour in EMOTION_COLOURS.items():
        for kind, shape in shapes.items():
            x, y = points[(emotions == emotion) & (kinds == kind)].T
            axes.scatter(x, y, s=24, color=colour, marker=shape, alpha=0.7, linewidths=0)
        axes.scatter([], [], color=colour, marker="o", label=emotion)
    for _ in range(len(shapes) - len(EMOTION_COLOURS)):
        axes.scatter([], [], color="none", label=" ")  # colours in one column, shapes in the other
    for kind, shape in shapes.items():
        axes.scatter([], [], color=INK, marker=shape, label=kind)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return figure


def attribution_in_time(
    frames: np.ndarray,
    times: np.ndarray,
    by_word: np.ndarray,
    words: Sequence[Word],
    filterbank: np.ndarray,
    filterbank_times: np.ndarray,
    carriers: Sequence[int] = (),
) -> Figure:
    """What adds to a class score, on one time axis: frames (T,) at `times`, and each word (W,) as a
    bar over the time in which it was spoken, under the filterbank."""
    figure, (top, middle, bottom) = new_axes(
        3, 1, figsize=(WIDTH, 5.4), sharex=True, height_ratios=[1, 1.2, 1.2]
    )
    _filterbank(top, filterbank, filterbank_times)
    _name_words(top, words, carriers)
    step = np.diff(times).mean() if len(times) > 1 else 0.1
    middle.bar(times, frames, step, color=MODALITY_COLOURS["audio"], linewidth=0)
    for i, (word, value) in enumerate(zip(words, by_word, strict=True)):
        bottom.bar(
            word.start,
            value,
            word.end - word.start,
            align="edge",
            color=MODALITY_COLOURS["text"],
            edgecolor=INK if i in carriers else "white",
            linewidth=2 if i in carriers else 1,
        )
    for axes, label in ((middle, "sound adds"), (bottom, "word adds")):
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylabel(label)
    bottom.set_xlabel("time (s)")
    bottom.set_xlim(filterbank_times[0], filterbank_times[-1])
    return figure
