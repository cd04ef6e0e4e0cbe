"""Figures of the book: arrays in, a matplotlib Figure out. Nothing here computes a result.

Every figure is drawn in the style of `figures.mplstyle`, in colours that colour-blind readers
tell apart (Okabe and Ito), on a light plate that stands in dark pages too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.data import EMOTIONS, MODALITIES, Word

STYLE = Path(__file__).parents[1] / "figures.mplstyle"
EMOTION_COLOURS = dict(zip(EMOTIONS, ("#D55E00", "#E69F00", "#7A7A7A", "#0072B2"), strict=True))
MODALITY_COLOURS = dict(zip(MODALITIES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
INK = "#222222"


def new_axes(rows: int = 1, columns: int = 1, **options):
    """A figure in the book's style and its axes; the notebook shows what a cell returns, once."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(rows, columns, layout="constrained", **options)
    plt.close(figure)
    return figure, axes


def player(samples: np.ndarray, rate: int, label: str):
    """An audio player with a caption, as HTML that holds the sound: samples (N,) in [-1, 1]."""
    from html import escape

    from IPython.display import HTML, Audio

    sound = Audio(samples, rate=rate, normalize=False)._repr_html_().strip()
    sound = sound.replace("<audio ", f'<audio aria-label="{escape(label)}" preload="metadata" ')
    caption = f"<figcaption>{escape(label)}</figcaption>"
    return HTML(f'<figure class="player">{sound}{caption}</figure>')


def timeline(
    samples: np.ndarray,
    rate: int,
    words: Sequence[Word],
    phonemes: Sequence[Word],
    filterbank: np.ndarray,
    frame_times: np.ndarray,
    vision: np.ndarray,
    vision_times: np.ndarray,
    unit_names: Sequence[str],
    carriers: Sequence[int] = (),
) -> Figure:
    """One utterance on one time axis: waveform with words, filterbank with phonemes, face.

    samples (N,), filterbank (T, bands) at frame_times (T,), vision (F, A) at vision_times (F,).
    The words of `carriers` are set in colour.
    """
    figure, (top, middle, bottom) = new_axes(
        3, 1, figsize=(8, 7.2), sharex=True, height_ratios=[1, 1.5, 1.5]
    )
    seconds = np.arange(len(samples)) / rate
    top.plot(seconds, samples, color="#777777", linewidth=0.5)
    loudest = np.abs(samples).max()
    for i, word in enumerate(words):
        colour = EMOTION_COLOURS["angry"] if i in carriers else INK
        top.axvspan(word.start, word.end, color=colour, alpha=0.10, linewidth=0)
        top.text(
            (word.start + word.end) / 2,
            loudest * (1.12 if i % 2 else 1.42),
            word.text,
            ha="center",
            color=colour,
            weight="bold" if i in carriers else "normal",
            fontsize=9,
        )
    top.set(ylabel="amplitude", ylim=(-1.1 * loudest, 1.75 * loudest))

    middle.pcolormesh(
        frame_times,
        np.arange(filterbank.shape[1]),
        filterbank.T,
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    for p in phonemes:
        middle.axvline(p.start, color="white", linewidth=0.4, alpha=0.7)
        middle.text(
            (p.start + p.end) / 2,
            filterbank.shape[1] * 1.02,
            p.text.strip("',%;"),
            ha="center",
            fontsize=7,
        )
    middle.set_ylabel("mel band")

    shown = np.argsort(-vision.max(0) + vision.min(0))[:7]
    palette = sns.color_palette("colorblind", len(shown))
    for unit, colour in zip(shown, palette, strict=True):
        bottom.plot(vision_times, vision[:, unit], ".", color=colour, markersize=2.5)
        bottom.plot(
            vision_times, vision[:, unit], color=colour, linewidth=1.2, label=unit_names[unit]
        )
    bottom.set(xlabel="time (s)", ylabel="intensity (0-5)", ylim=(0, None))
    bottom.set_xlim(0, len(samples) / rate)
    bottom.legend(ncols=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=8)
    return figure


def attention_map(
    attention: np.ndarray,
    frame_times: np.ndarray,
    words: Sequence[Word],
    filterbank: np.ndarray,
    filterbank_times: np.ndarray,
    title: str = "",
) -> Figure:
    """Attention of frames over words (T, W) under the filterbank, with the true word times boxed.

    Rows are words from first to last, columns are time; a box shows when its word was spoken.
    """
    figure, (top, bottom) = new_axes(2, 1, figsize=(8, 5.6), sharex=True, height_ratios=[1, 2.2])
    top.pcolormesh(
        filterbank_times,
        np.arange(filterbank.shape[1]),
        filterbank.T,
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    top.set_ylabel("mel band")
    mesh = bottom.pcolormesh(
        frame_times,
        np.arange(len(words)),
        attention.T,
        cmap="Blues",
        vmin=0,
        shading="nearest",
        rasterized=True,
    )
    for i, word in enumerate(words):
        box = plt.Rectangle(
            (word.start, i - 0.5),
            word.end - word.start,
            1,
            fill=False,
            edgecolor="#D55E00",
            linewidth=1.4,
        )
        bottom.add_patch(box)
    bottom.set_yticks(range(len(words)), [w.text for w in words])
    bottom.invert_yaxis()
    bottom.set(xlabel="time of the frame (s)", ylabel="word attended to")
    figure.colorbar(mesh, ax=bottom, label="attention weight", pad=0.01)
    top.set_title(title)
    return figure


def gates_by_word(
    gates: dict[str, np.ndarray], words: Sequence[str], carriers: Sequence[int] = ()
) -> Figure:
    """Mean gate of each word: name of a part -> (W,). Carrying words are set in colour."""
    figure, axes = new_axes(figsize=(8, 3.2))
    positions = np.arange(len(words))
    width = 0.8 / len(gates)
    palette = sns.color_palette("colorblind", len(gates))
    for k, (name, values) in enumerate(gates.items()):
        axes.bar(
            positions + (k - (len(gates) - 1) / 2) * width,
            values,
            width,
            label=name,
            color=palette[k],
        )
    axes.set_xticks(positions, words, rotation=30, ha="right")
    for i in carriers:
        axes.get_xticklabels()[i].set(color=EMOTION_COLOURS["angry"], weight="bold")
    axes.set(ylabel="mean gate T(u)", ylim=(0, None))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=len(gates))
    return figure


def gate_distributions(
    gates: dict[str, np.ndarray], ylabel: str, colours: Sequence[str] = ()
) -> Figure:
    """Distribution of gate values: name -> any number of values in [0, 1]; one colour for all, or
    `colours`, one a name. The default is none of a modality's."""
    figure, axes = new_axes(figsize=(7, 3.4))
    names = list(gates)
    data = {
        "part": np.repeat(names, [g.size for g in gates.values()]),
        "gate": np.concatenate([g.ravel() for g in gates.values()]),
    }
    sns.violinplot(
        data,
        x="part",
        y="gate",
        hue="part",
        order=names,
        hue_order=names,
        palette=list(colours) or ["#C3A6CE"] * len(names),
        cut=0,
        inner="quartile",
        legend=False,
        ax=axes,
    )
    axes.set(xlabel="", ylabel=ylabel, ylim=(0, 1))
    return figure


def curves(series: dict[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Lines over steps 1, 2, ...: name -> values."""
    figure, axes = new_axes(figsize=(7, 3.4))
    for (name, values), colour in zip(
        series.items(), sns.color_palette("colorblind", len(series)), strict=True
    ):
        axes.plot(
            np.arange(1, len(values) + 1), values, "o-", markersize=3, label=name, color=colour
        )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str] = EMOTIONS) -> Figure:
    """Counts (true class, predicted class), coloured by share of the true class."""
    figure, axes = new_axes(figsize=(4.6, 3.8))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    sns.heatmap(
        shares,
        annot=matrix,
        fmt="d",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        xticklabels=labels,
        yticklabels=labels,
        ax=axes,
        cbar_kws={"label": "share of the true class"},
    )
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(axis="y", labelrotation=0)
    return figure


def scatter_sentiment(truth: np.ndarray, predicted: np.ndarray, emotions: Sequence[str]) -> Figure:
    """Predicted against true sentiment (N,), coloured by emotion."""
    figure, axes = new_axes(figsize=(5.4, 4.4))
    jitter = np.random.default_rng(0).uniform(-0.04, 0.04, len(truth))
    for emotion, colour in EMOTION_COLOURS.items():
        chosen = np.array([e == emotion for e in emotions])
        axes.scatter(
            truth[chosen] + jitter[chosen],
            predicted[chosen],
            s=12,
            color=colour,
            label=emotion,
            alpha=0.7,
            linewidths=0,
        )
    axes.plot([-3, 3], [-3, 3], color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel="true sentiment", ylabel="predicted sentiment", xlim=(-3.1, 3.1))
    axes.legend(markerscale=1.6)
    return figure


def against_ceilings(
    ceilings: dict[str, float], scores: dict[str, float], label: str, lower_is_better: bool = False
) -> Figure:
    """Bars for the best possible observers (grey) and lines for measured scores (colour)."""
    figure, axes = new_axes(figsize=(8, 0.42 * len(ceilings) + 1.4))
    names = list(ceilings)
    axes.barh(names, ceilings.values(), color="#BBBBBB")
    for i, value in enumerate(ceilings.values()):
        axes.text(value, i, f" {value:.3f}", va="center", fontsize=9)
    for (name, value), colour in zip(
        scores.items(), sns.color_palette("colorblind", len(scores)), strict=True
    ):
        axes.axvline(value, color=colour, linewidth=2, label=f"{name}: {value:.3f}")
    axes.invert_yaxis()
    axes.set_xlim(0, max([*ceilings.values(), *scores.values()]) * 1.12)
    axes.set_xlabel(label + (" (lower is better)" if lower_is_better else ""))
    if scores:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=len(scores))
    return figure


def cosine_distributions(cosines: dict[str, np.ndarray]) -> Figure:
    """Distribution of a cosine over utterances, one row a name, with 0 and -1/2 marked."""
    figure, axes = new_axes(figsize=(7.5, 0.5 * len(cosines) + 1.4))
    axes.boxplot(
        list(cosines.values()),
        orientation="horizontal",
        tick_labels=list(cosines),
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": "#9ecae1"},
        medianprops={"color": INK},
        flierprops={"markersize": 1.5},
    )
    axes.invert_yaxis()
    for x, style in ((0, "-"), (-0.5, "--")):
        axes.axvline(x, color=INK, linewidth=0.8, linestyle=style, zorder=0)
    axes.set(xlabel="cosine", xlim=(-1.02, 1.02))
    return figure
