"""Pictures over the time of one utterance: sound, words, attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import HTML, Audio
from matplotlib.figure import Figure

from mmer_lib.book.figures import style
from mmer_lib.data import Utterance, Word


def player(samples: np.ndarray, rate: int, label: str) -> HTML:
    """An audio player with a caption, as HTML that holds the sound: samples (N,) in [-1, 1]."""
    sound = Audio(samples, rate=rate, normalize=False)._repr_html_().strip()
    sound = sound.replace("<audio ", f'<audio aria-label="{escape(label)}" preload="metadata" ')
    caption = f"<figcaption>{escape(label)}</figcaption>"
    return HTML(f'<figure class="player">{sound}{caption}</figure>')


def new_times(
    size: tuple[float, float],
    heights: Sequence[float],
    words: Sequence[Word],
    carriers: Sequence[int],
    rows: int = 2,
):
    """A figure of panels under each other on one axis of seconds, and its axes. Words stand over
    the first, in several rows so that short ones do not collide; carriers are in colour."""
    figure, panels = style.new_axes(
        len(heights), 1, figsize=size, sharex=True, height_ratios=heights
    )
    for i, word in enumerate(words):
        text = panels[0].annotate(
            word.text,
            ((word.start + word.end) / 2, 1.0),
            (0, 3 + 12 * (i % rows)),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=style.INK,
        )
        if i in carriers:
            text.set(color=style.CARRIER, weight="bold")
    panels[-1].set_xlabel("time (s)")
    return figure, panels


def draw_in_time(axes, values: np.ndarray, times: np.ndarray, label: str, colours: str, **options):
    """Values (T, D) at times (T,), time to the right."""
    rows = np.arange(values.shape[1])
    look = {"cmap": colours, "shading": "nearest", "rasterized": True, **options}
    drawn = axes.pcolormesh(times, rows, values.T, **look)
    axes.set_ylabel(label)
    return drawn


def draw_filterbank(axes, filterbank: np.ndarray, times: np.ndarray):
    """The filterbank (T, bands) at times (T,)."""
    axes.set_yticks([0, filterbank.shape[1] - 1])
    return draw_in_time(axes, filterbank, times, "mel band", "magma")


def timeline(
    one: Utterance, filterbank: np.ndarray, frame_times: np.ndarray, unit_names: Sequence[str]
) -> Figure:
    """One utterance of the demo corpus on one time axis: waveform with words, those that carry the
    emotion in colour; filterbank (T, bands) with phonemes; the seven units of the face that move
    most."""
    words, carriers, samples = one.words, one.planted.carriers, one.waveform()
    figure, (top, middle, bottom) = new_times((8, 7.2), (1, 1.5, 1.5), words, carriers)
    top.plot(np.arange(len(samples)) / one.rate, samples, color=style.GREY, linewidth=0.5)
    for i, word in enumerate(words):
        colour = style.CARRIER if i in carriers else style.INK
        top.axvspan(word.start, word.end, color=colour, alpha=0.10, linewidth=0)
    top.set_ylabel("amplitude")

    draw_filterbank(middle, filterbank, frame_times)
    for phoneme in one.planted.phonemes:
        place = (phoneme.start + phoneme.end) / 2, filterbank.shape[1] * 1.02
        middle.axvline(phoneme.start, color="white", linewidth=0.4, alpha=0.7)
        middle.text(*place, phoneme.text.strip("',%;"), ha="center", fontsize=7)

    shown = np.argsort(-np.ptp(one.vision, axis=0))[:7]
    for unit, colour in zip(shown, sns.color_palette("colorblind", len(shown)), strict=True):
        look = {"color": colour, "markersize": 2.5, "linewidth": 1.2, "label": unit_names[unit]}
        bottom.plot(one.vision_times, one.vision[:, unit], ".-", **look)
    bottom.set(ylabel="intensity (0-5)", ylim=(0, None), xlim=(0, len(samples) / one.rate))
    bottom.legend(ncols=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=8)
    return figure


def attention_maps(
    maps: Mapping[str, np.ndarray],
    times: np.ndarray,
    words: Sequence[Word],
    filterbank: np.ndarray | None = None,
    filterbank_times: np.ndarray | None = None,
    columns: int = 2,
) -> Figure:
    """Attention of frames at times (T,) over words: name -> (T, W), `columns` maps in a row, on one
    scale; each column under the filterbank (T', bands), if there is one, on the same axis of time.

    Rows of a map are words from first to last; a box shows when its word was spoken.
    """
    columns = min(columns, len(maps))
    rows, sound = -(-len(maps) // columns), int(filterbank is not None)
    heights = [1.1] * sound + [0.6 + 0.2 * len(words)] * rows
    shape = {"sharex": True, "sharey": "row", "height_ratios": heights}
    figure, grid = style.new_panels(len(heights), columns, sum(heights) + 0.5, **shape)
    for axes in grid[:sound].flat:
        draw_filterbank(axes, filterbank, filterbank_times)
    panels, high = list(grid[sound:].flat), max(weights.max() for weights in maps.values())
    for axes, (name, weights) in zip(panels, maps.items(), strict=False):
        label = "word attended to"
        drawn = draw_in_time(axes, weights, times, label, "Blues", vmin=0, vmax=high)
        for row, word in enumerate(words):
            box = plt.Rectangle((word.start, row - 0.5), word.end - word.start, 1)
            box.set(fill=False, edgecolor=style.CARRIER, linewidth=1.3)
            axes.add_patch(box)
        axes.set_title(name, fontsize=10)
        axes.set_yticks(range(len(words)), [w.text for w in words])
        axes.set(ylim=(len(words) - 0.5, -0.5), xlabel="time of the frame (s)")
    for axes in grid.flat:
        axes.label_outer()
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
    for axes in panels[len(maps) - columns : len(maps)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("time of the frame (s)")
    where = {"location": "bottom", "shrink": 0.7, "aspect": 40}
    figure.colorbar(drawn, ax=panels, label="attention weight", **where)
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
    figure, (top, bottom) = new_times((5, 5.2), (1, 1), words, carriers, rows=3)
    above = draw_in_time(top, filterbank, filterbank_times, "mel band", "magma")
    below = draw_in_time(bottom, activations, activation_times, "unit of the pre-net", "viridis")
    figure.colorbar(above, ax=top, pad=0.02, label="log energy")
    figure.colorbar(below, ax=bottom, pad=0.02, label="activation")
    for axes in (top, bottom):
        for edge in {t for w in words for t in (w.start, w.end)}:
            axes.axvline(edge, color="white", linewidth=0.8, alpha=0.8)
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
    figure, (top, bottom) = new_times((style.WIDTH, 4.6), (1, 1.6), words, carriers)
    top.plot(times, energy, color=style.INK, linewidth=1.6)
    top.set_ylabel("mean log-mel\nenergy")
    for name, colour in style.colours_of(list(rows)).items():
        bottom.plot(times, rows[name], "o-", markersize=3, color=colour, label=name)
    bottom.axhline(1, color=style.GREY, linewidth=1, linestyle="--")
    for axes in (top, bottom):
        for i in carriers:
            look = {"color": style.CARRIER, "alpha": 0.13, "linewidth": 0}
            axes.axvspan(words[i].start, words[i].end, **look)
    bottom.set(xlabel="time of the frame (s)", ylabel="weight / indifferent", ylim=(0, None))
    style.legend(figure, columns=3)
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
    figure, (top, middle, bottom) = new_times((style.WIDTH, 5.4), (1, 1.2, 1.2), words, carriers)
    draw_filterbank(top, filterbank, filterbank_times)
    step = np.diff(times).mean() if len(times) > 1 else 0.1
    middle.bar(times, frames, step, color=style.MODALITY_COLOURS["audio"], linewidth=0)
    starts, ends = np.transpose([(word.start, word.end) for word in words])
    look = {"color": style.MODALITY_COLOURS["text"], "edgecolor": "white", "align": "edge"}
    bars = bottom.bar(starts, by_word, ends - starts, **look)
    for i in carriers:
        bars[i].set(edgecolor=style.INK, linewidth=2)
    for axes, label in ((middle, "sound adds"), (bottom, "word adds")):
        axes.axhline(0, color=style.INK, linewidth=0.8)
        axes.set_ylabel(label)
    bottom.set_xlim(filterbank_times[0], filterbank_times[-1])
    return figure
