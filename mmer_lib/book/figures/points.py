"""Single utterances and words as points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mmer_lib.book.figures import style


def placed_by_sentiment(panels: Mapping[str, np.ndarray], scores: np.ndarray) -> Figure:
    """Points in the plane, one panel a name -> (N, 2), all to one scale and coloured by sentiment
    (N,)."""
    rows = -(-len(panels) // 2)
    figure, drawn = style.new_panels(rows, 2, 2.75 * rows + 0.6, sharex=True, sharey=True)
    order = np.argsort(np.abs(scores), kind="stable")  # strong ones on top
    look = {"cmap": "coolwarm_r", "vmin": -3, "vmax": 3, "s": 20}
    look |= {"c": scores[order], "edgecolors": "#555555", "linewidths": 0.35}
    for axes in drawn.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, points) in zip(drawn.flat, panels.items(), strict=False):
        found = axes.scatter(*points[order].T, **look)
        axes.set(xticks=[], yticks=[], title=name)
        axes.set(xlabel="first coordinate", ylabel="second coordinate")
        axes.label_outer()
        axes.spines[:].set(visible=True, color="#BBBBBB")
    where = {"location": "bottom", "shrink": 0.6, "aspect": 35, "pad": 0.02}
    figure.colorbar(found, ax=drawn, label="sentiment", **where)
    return figure


def by_length(
    lengths: np.ndarray,
    panels: Mapping[str, np.ndarray],
    labels: tuple[str, str],
    kinds: Sequence[str] | None = None,
    **axis,
) -> Figure:
    """Values of words (V,) against their length (V,): title -> values, a panel each beside each
    other, and a colour a kind (V,), if any. Points are a little apart, so that words of one length
    can be seen. labels: of both axes. axis: properties of all axes, such as `yscale`."""
    figure, drawn = style.new_panels(1, len(panels), 3.4, sharey=True)
    apart = np.random.default_rng(0).uniform(-0.3, 0.3, len(lengths))
    look = {} if kinds is None else {"hue": kinds, "style": kinds, "palette": "colorblind"}
    for axes, (title, y) in zip(drawn[0], panels.items(), strict=True):
        sns.scatterplot(x=lengths + apart, y=y, ax=axes, s=22, alpha=0.7, linewidth=0, **look)
        axes.set(title=title, xlabel=labels[0], **axis)
    drawn[0, 0].set_ylabel(labels[1])
    style.legend(figure)
    return figure
