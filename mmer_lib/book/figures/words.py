"""Figures about words on their way into MUSE: phonemes, gates, pre-nets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.book.figures import EMOTION_COLOURS, INK, new_axes
from mmer_lib.data import Word

CARRIER = EMOTION_COLOURS["angry"]  # words that carry the emotion, as in every figure
_WIDTH = 5.0  # inches: what is wider has small print on a phone


def filter_windows(
    responses: np.ndarray, kernels: Sequence[int], phonemes: Sequence[str], names: Sequence[str]
) -> Figure:
    """What some filters answer to the windows of one word, the winner of each boxed.

    responses (F, P), one row a filter and one column the phoneme at which a window begins;
    kernels (F,) widths of the windows in phonemes; names (F,) of the filters. A window that
    reaches over the word's end is cut there.
    """
    figure, axes = new_axes(figsize=(_WIDTH, 0.34 * len(responses) + 1.5))
    scaled = responses / np.maximum(responses.max(1, keepdims=True), 1e-9)
    mesh = axes.pcolormesh(scaled, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for row, (answers, kernel) in enumerate(zip(responses, kernels, strict=True)):
        best = int(answers.argmax())
        length = min(kernel, len(phonemes) - best)
        box = plt.Rectangle(
            (best + 0.04, row + 0.08), length - 0.08, 0.84, fill=False, edgecolor=CARRIER, lw=2
        )
        axes.add_patch(box)
    axes.set_xticks(np.arange(len(phonemes)) + 0.5, phonemes)
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.invert_yaxis()
    axes.set(xlabel="phoneme at which the window begins", ylabel="filter")
    figure.colorbar(mesh, ax=axes, label="share of the winner", pad=0.02)
    return figure


def by_distance(
    distances: np.ndarray, series: Mapping[str, np.ndarray], edges: Sequence[float], xlabel: str,
    ylabel: str,
) -> Figure:  # fmt: skip
    """Quartiles of some values in bins of a distance: name -> values (N,) at distances (N,)."""
    figure, axes = new_axes(figsize=(_WIDTH, 3.4))
    edges = np.asarray(edges)
    middles = (edges[:-1] + edges[1:]) / 2
    palette = sns.color_palette("colorblind", len(series))
    for (name, values), colour, style in zip(series.items(), palette, _styles(series), strict=True):
        place = np.digitize(distances, edges[1:-1], right=True)
        bins = [values[place == i] for i in range(len(middles))]
        low, middle, high = np.array(
            [np.percentile(v, [25, 50, 75]) if len(v) else [np.nan] * 3 for v in bins]
        ).T
        axes.plot(middles, middle, style, color=colour, label=name)
        axes.fill_between(middles, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    _legend(figure, axes)
    return figure


def _styles(names: Sequence[str]) -> list[str]:
    """A marker and a line for each name, so that colour is not all that tells them apart."""
    known = ("o-", "s--", "^:", "D-.", "v-", "P--")
    return [known[i % len(known)] for i in range(len(names))]


def _legend(figure: Figure, axes: plt.Axes) -> None:
    """A legend above the figure, in one row if that is not too wide, else in two columns."""
    handles, labels = axes.get_legend_handles_labels()
    wide = sum(len(label) + 6 for label in labels) > 60
    columns = 2 if wide else len(labels)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def gate_map(
    gates: np.ndarray, half: int, words: Sequence[str], carriers: Sequence[int] = ()
) -> Figure:
    """Gate of every number of every word (W, D); the first `half` numbers are the phoneme half.

    Within each half the numbers are sorted by their mean gate, the most open on the left. The
    words of `carriers` are set in colour.
    """
    means = gates.mean(0)
    order = np.concatenate([np.argsort(-means[:half]), half + np.argsort(-means[half:])])
    figure, axes = new_axes(figsize=(_WIDTH, 0.28 * len(words) + 1.7))
    mesh = axes.pcolormesh(gates[:, order], cmap="viridis", vmin=0, vmax=1, rasterized=True)
    axes.axvline(half, color="white", linewidth=3)
    axes.set_yticks(np.arange(len(words)) + 0.5, words)
    for i in carriers:
        axes.get_yticklabels()[i].set(color=CARRIER, weight="bold")
    width = gates.shape[1]
    parts = {"phoneme half": half / 2, "word half": (half + width) / 2}
    axes.set_xticks(list(parts.values()), [f"{name}" for name in parts])
    axes.tick_params(axis="x", length=0)
    axes.invert_yaxis()
    axes.set(xlabel="numbers of the vector, most open first in each half")
    figure.colorbar(mesh, ax=axes, label="gate T(u)", pad=0.02)
    return figure


def intervals(
    rows: Mapping[str, Mapping[str, tuple[float, float, float]]],
    xlabel: str,
    mark: float | None = 0.0,
) -> Figure:
    """Dots with bars: name -> kind -> (mean, low, high), a row a name and a colour a kind, and a
    dashed line at `mark` unless it is None."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    step = 0.7 / len(kinds)
    height = max(0.36, 0.24 * len(kinds) + 0.1)
    figure, axes = new_axes(figsize=(_WIDTH, height * len(rows) + 1.2))
    palette = sns.color_palette("colorblind", len(kinds))
    for k, (kind, colour, style) in enumerate(zip(kinds, palette, _styles(kinds), strict=True)):
        places = [i for i, row in enumerate(rows.values()) if kind in row]
        heights = np.array(places) + (k - (len(kinds) - 1) / 2) * step
        mean, low, high = np.array([row[kind] for row in rows.values() if kind in row]).T
        axes.hlines(heights, low, high, color=colour, linewidth=2.5)
        axes.plot(mean, heights, style[0], color=colour, markersize=7, label=kind)
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=0.9, linestyle="--", zorder=0)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(xlabel)
    if len(kinds) > 1:
        _legend(figure, axes)
    return figure


def by_length(lengths: np.ndarray, values: Mapping[str, np.ndarray], kinds: np.ndarray) -> Figure:
    """Values of words (V,) against their length in phonemes (V,), a panel a name and a colour a
    kind (V,)."""
    figure, axes = new_axes(
        len(values), 1, figsize=(_WIDTH, 2.2 * len(values) + 0.8), sharex=True, squeeze=False
    )
    names = list(dict.fromkeys(kinds.tolist()))
    palette = sns.color_palette("colorblind", len(names))
    aside = np.random.default_rng(0).uniform(-0.25, 0.25, len(lengths))  # words of one length
    for panel, (title, y) in zip(axes[:, 0], values.items(), strict=True):
        for name, colour, style in zip(names, palette, _styles(names), strict=True):
            chosen = kinds == name
            panel.plot(
                (lengths + aside)[chosen],
                y[chosen],
                style[0],
                color=colour,
                markersize=4.5,
                alpha=0.8,
                label=name,
            )
        panel.set(ylabel="mean gate T(u)", title=title)
    axes[-1, 0].set_xlabel("phonemes of the word")
    _legend(figure, axes[0, 0])
    return figure


def reach_map(changes: np.ndarray, words: Sequence[str], reach: int) -> Figure:
    """How much each position (columns) changes when one word (rows) is taken away: (W, W).

    The stairs mark `reach` words to each side; cells without any change stay white.
    """
    figure, axes = new_axes(figsize=(_WIDTH, 0.26 * len(words) + 2.3))
    shown = np.ma.masked_equal(changes / np.maximum(changes.max(1, keepdims=True), 1e-9), 0)
    mesh = axes.pcolormesh(shown, cmap="viridis_r", vmin=0, vmax=1)
    count = len(words)
    for side in (-1, 1):
        steps = np.arange(count + 1)
        edge = np.arange(count) + (reach + 1 if side > 0 else -reach)
        x, y = np.repeat(np.clip(edge, 0, count), 2), np.repeat(steps, 2)[1:-1]
        axes.plot(x, y, color=CARRIER, linewidth=2)
    axes.set_xticks(np.arange(count) + 0.5, words, rotation=90)
    axes.set_yticks(np.arange(count) + 0.5, words)
    axes.invert_yaxis()
    axes.set(xlabel="word whose vector changes", ylabel="word taken away")
    figure.colorbar(mesh, ax=axes, label="change, share of the row's largest", pad=0.02)
    return figure


def before_and_after(
    filterbank: np.ndarray,
    filterbank_times: np.ndarray,
    activations: np.ndarray,
    activation_times: np.ndarray,
    words: Sequence[Word],
    carriers: Sequence[int] = (),
) -> Figure:
    """The filterbank (T, bands) above what a layer makes of it (T', D), on one axis of seconds.

    White lines stand where a word begins or ends; the words of `carriers` are set in colour.
    """
    figure, (top, bottom) = new_axes(2, 1, figsize=(_WIDTH, 5.2), sharex=True)
    for axes, values, times, label, colours in (
        (top, filterbank, filterbank_times, "mel band", "magma"),
        (bottom, activations, activation_times, "unit of the pre-net", "viridis"),
    ):
        mesh = axes.pcolormesh(
            times,
            np.arange(values.shape[1]),
            values.T,
            cmap=colours,
            shading="nearest",
            rasterized=True,
        )
        for edge in sorted({t for w in words for t in (w.start, w.end)}):
            axes.axvline(edge, color="white", linewidth=0.8, alpha=0.8)
        axes.set_ylabel(label)
        figure.colorbar(
            mesh, ax=axes, pad=0.02, label="log energy" if axes is top else "activation"
        )
    for i, word in enumerate(words):  # in three rows, so that short words do not collide
        top.annotate(
            word.text,
            ((word.start + word.end) / 2, 1.0),
            (0, 3 + 12 * (i % 3)),
            xycoords=top.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=9,
            color=CARRIER if i in carriers else INK,
            weight="bold" if i in carriers else "normal",
            ha="center",
            va="bottom",
        )
    bottom.set(xlabel="time (s)")
    return figure


def boxes(values: Mapping[str, np.ndarray], ylabel: str, colours: Sequence[str]) -> Figure:
    """Quartiles of some values, one row a name, whiskers at 5% and 95%: name -> values (N,)."""
    figure, axes = new_axes(figsize=(_WIDTH, 0.42 * len(values) + 1.1))
    drawn = axes.boxplot(
        list(values.values()),
        orientation="horizontal",
        tick_labels=list(values),
        widths=0.6,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        medianprops={"color": INK},
    )
    for box, colour in zip(drawn["boxes"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.45)
    axes.invert_yaxis()
    axes.set(xlabel=ylabel, xlim=(0, None))
    return figure
