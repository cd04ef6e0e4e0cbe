"""Figures of the chapter that sets all systems beside each other.

Arrays in, a matplotlib Figure out; nothing here computes a result.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mmer_lib.book.figures import INK, new_axes

SIZE = 9.5  # points, of what stands beside the axes
RUN, MEAN = "#CC79A7", "#7B2D5B"
_MARKS = ("--", ":", "-.")

_IDEAS = ("step by step", "products", "factors", "attention", "pretrained")
_YEARS = (2016, 2017, 2018, 2019, 2020, 2021, 2025)
_FILLS = {"three": "#DDE7F0", "two": "#F6DDB0"}
_SYSTEMS = {  # name: (column of its idea, year, what it reads)
    "MV-LSTM": (0, 2016, "three"),
    "MFN": (0, 2018, "three"),
    "RAVEN": (0, 2019, "three"),
    "TFN": (1, 2017, "three"),
    "LMF": (0.76, 2018, "three"),
    "ICCN": (1.24, 2020, "three"),
    "MFM": (2, 2019, "three"),
    "MISA": (2, 2020, "three"),
    "MIMIC": (2, 2025, "three"),
    "MulT": (3.25, 2019, "three"),
    "Yoon": (2.75, 2018, "two"),
    "Xu": (2.75, 2019, "two"),
    "SSL": (4, 2020, "two"),
    "Li": (2.75, 2021, "two"),
    "MUSE": (3.25, 2025, "two"),
}
_TAKEN_UP = (
    ("MV-LSTM", "MFN"), ("MFN", "MFM"), ("TFN", "LMF"), ("TFN", "ICCN"), ("TFN", "MIMIC"),
    ("MFM", "MISA"), ("MISA", "MIMIC"), ("Yoon", "Xu"), ("Xu", "Li"), ("MulT", "MUSE"),
    ("SSL", "MUSE"),
)  # fmt: skip


def field_map() -> Figure:
    """The systems by the idea that they are known for (columns) and their year (rows, downwards);
    blue ones read text, audio and vision, yellow ones speech and text. An arrow leads to one that
    takes up a part of another."""
    figure, axes = new_axes(figsize=(7.6, 4.4))
    places = {n: (x, _YEARS.index(year)) for n, (x, year, _) in _SYSTEMS.items()}
    for name, (x, y) in places.items():
        box = FancyBboxPatch(
            (x - 0.21, y - 0.24), 0.42, 0.48, boxstyle="round,pad=0,rounding_size=0.06"
        )
        box.set(facecolor=_FILLS[_SYSTEMS[name][2]], edgecolor="#666666", linewidth=0.9)
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=SIZE, color=INK)
    for earlier, later in _TAKEN_UP:
        (x0, y0), (x1, y1) = places[earlier], places[later]
        arrow = FancyArrowPatch(
            (x0, y0 + 0.25), (x1, y1 - 0.25), arrowstyle="-|>", mutation_scale=9, shrinkA=0,
            shrinkB=0, color="#555555",
        )  # fmt: skip
        axes.add_patch(arrow)
    axes.set(xlim=(-0.5, 4.3), ylim=(len(_YEARS) - 0.5, -0.5))
    axes.set_xticks(range(len(_IDEAS)), _IDEAS)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(_YEARS)), _YEARS)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def compared(rows: Sequence[dict], score: str, xlabel: str, marks: Mapping[str, float]) -> Figure:
    """Systems as dots: small ones are runs, large ones their mean. `rows` as `tables.aggregate`
    gives them; `marks` are lines: name -> where."""
    labels = [textwrap.fill(row["label"], 20, break_on_hyphens=False) for row in rows]
    figure, axes = new_axes(figsize=(6, 0.36 * len(rows) + 1.5))
    for i, row in enumerate(rows):
        values = [run[score] for run in row["runs"] if run[score] is not None]
        axes.plot(values, [i] * len(values), "o", color=RUN, markersize=4.5, alpha=0.6)
        axes.plot(np.mean(values), i, "D", color=MEAN, markersize=6.5)
    for (name, x), style in zip(marks.items(), _MARKS, strict=False):
        axes.axvline(x, color=INK, linewidth=1.2, linestyle=style, zorder=0, label=name)
    axes.set_yticks(range(len(rows)), labels, fontsize=SIZE)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    axes.grid(color="#E2E2E2", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", frameon=False, ncols=len(marks))
    return figure


def cost_map(points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str) -> Figure:
    """What systems reach against what they cost: name -> (cost, on a logarithmic axis; score)."""
    figure, axes = new_axes(figsize=(6, 4.2))
    for name, (x, y) in points.items():
        axes.plot(x, y, "o", color=MEAN, markersize=6)
        axes.annotate(name, (x, y), (6, 4), textcoords="offset points", fontsize=9, color=INK)
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.margins(x=0.16, y=0.1)
    axes.grid(color="#E2E2E2", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def rate_map(development: Mapping[str, Sequence[float]], rates: Sequence[float], label: str,
             lower_is_better: bool) -> Figure:  # fmt: skip
    """Scores of the development part by system and rate, (rates,) each; the best of a row is set
    in bold. Darker is better, within a row."""
    values = np.array(list(development.values()))
    good = -values if lower_is_better else values
    span = np.ptp(good, axis=1, keepdims=True)
    share = (good - good.min(1, keepdims=True)) / np.where(span, span, 1)
    figure, axes = new_axes(figsize=(6, 0.34 * len(values) + 1.1))
    axes.pcolormesh(share, cmap="Blues", vmin=-0.2, vmax=1.6, edgecolors="white", linewidth=1.5)
    for (i, j), value in np.ndenumerate(values):
        weight = "bold" if share[i, j] == 1 else "normal"
        axes.text(j + 0.5, i + 0.5, f"{value:.3f}", ha="center", va="center", fontsize=9,
                  color=INK, weight=weight)  # fmt: skip
    axes.set_yticks(np.arange(len(values)) + 0.5, list(development), fontsize=SIZE)
    axes.set_xticks(np.arange(len(rates)) + 0.5, [f"{rate:g}" for rate in rates])
    axes.set(ylim=(len(values), 0), xlabel=f"learning rate; in the cells: {label}")
    axes.tick_params(length=0)
    return figure
