"""Colours, sizes and the few things that all figures do alike.

The colours are told apart by colour-blind readers (Okabe and Ito); the plate is light, in dark
pages too. No figure is wider than `WIDTH`: what is wider has small print on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.data import EMOTIONS, MODALITIES

WIDTH = 6.0  # inches
EMOTION_COLOURS = dict(zip(EMOTIONS, ("#D55E00", "#E69F00", "#7A7A7A", "#0072B2"), strict=True))
MODALITY_COLOURS = dict(zip(MODALITIES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
SERIES_COLOURS = {
    "text": MODALITY_COLOURS["text"],
    "speech": MODALITY_COLOURS["audio"],
    "phonemes": "#CC79A7",
}
"""Series that keep their colour wherever they stand; others take one of a palette."""
INK, GREY = "#222222", "#777777"
CARRIER = EMOTION_COLOURS["angry"]  # words that carry the emotion, and the true word times
RUN, MEAN, BEST = "#CC79A7", "#7B2D5B", "#0072B2"
MARKERS = "os^Dv"


def new_axes(rows: int = 1, columns: int = 1, **options):
    """A figure in the book's style and its axes; the notebook shows what a cell returns, once."""
    with plt.style.context(Path(__file__).with_name("figures.mplstyle")):
        figure, axes = plt.subplots(rows, columns, layout="constrained", **options)
    plt.close(figure)
    return figure, axes


def new_panels(rows: int, columns: int, height: float, **options):
    """A figure of `WIDTH` by `height` inches, and its axes as an array (rows, columns)."""
    return new_axes(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)


def colours_of(names: Sequence[str]) -> dict:
    """The colour of each series."""
    palette = sns.color_palette("colorblind", len(names))
    return {n: SERIES_COLOURS.get(n, c) for n, c in zip(names, palette, strict=True)}


def legend(figure: Figure, columns: int | None = None, **options) -> None:
    """One legend above the figure, of all that is named in its axes, each name once."""
    named = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
        if axes.get_legend():
            axes.get_legend().remove()
    if named:
        short = sum(len(label) + 6 for label in named) <= 60
        columns = columns or (len(named) if short else 2)
        place = {"loc": "outside upper center", "ncols": columns, "frameon": False, **options}
        figure.legend(named.values(), named.keys(), **place)


def marks(axes, places: Mapping[str, float], vertical: bool = True) -> None:
    """A broken line at each of some named places; they count when the axis is scaled."""
    draw = axes.axvline if vertical else axes.axhline
    for (name, at), dash in zip(places.items(), ("--", ":", "-.", "-"), strict=False):
        draw(at, color=INK, linewidth=1.1, linestyle=dash, zorder=0.9, label=name)
        axes.update_datalim([(at, at)], updatex=vertical, updatey=not vertical)
        axes.autoscale_view(scalex=vertical, scaley=not vertical)


def name_rows(axes, names: Sequence[str], wrap: int = 20) -> None:
    """Names of rows 0, 1, ... beside an axis, the first on top."""
    wrapped = [fill(str(name), wrap, break_on_hyphens=False) if wrap else name for name in names]
    axes.set_yticks(range(len(names)), wrapped)
    axes.set_ylim(len(names) - 0.4, -0.6)


def name_words(axes, words: Sequence[str], carriers: Sequence[int] = (), offset: float = 0) -> None:
    """Words under an axis at 0, 1, ... (+ `offset`); carriers in colour."""
    places = np.arange(len(words)) + offset
    axes.set_xticks(places, words, rotation=35, ha="right", rotation_mode="anchor")
    colour_words(axes.get_xticklabels(), carriers)


def colour_words(labels: Sequence, carriers: Sequence[int]) -> None:
    for i in carriers:
        labels[i].set(color=CARRIER, weight="bold")
