"""Models and systems as boxes and arrows."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mmer_lib.book.figures.style import INK, new_axes

FILLS = {
    "in": "#EEEEEE",
    "text": "#BBD9EE",
    "audio": "#F6C9A8",
    "vision": "#B5E2D0",
    "both": "#E4CFE6",
    "each": "#DDE7F0",
    "one": "#F6DDB0",
    "loss": "#FFFFFF",
}
"""Colour of a box by its kind."""

# A box: name: (x, y, text, kind). B utterances of W words of P phonemes, S sub-words, T frames; D
# is the width of the model.
MUSE_BOXES = {
    "phonemes": (0, 3, "phonemes\n(B, W, P)", "in"),
    "words": (0, 2, "words\n(B, W, 50)", "in"),
    "frames": (0, 0.5, "filterbank\n(B, T, 128)", "in"),
    "cnn": (1, 3, "phoneme CNN\nmax over P", "text"),
    "glove": (1, 2, "GloVe", "text"),
    "highway": (2, 2.5, "highway\nx 2", "text"),
    "convs": (3, 2.5, "3 convolutions\n+ projection", "text"),
    "encoder": (4, 2.5, "text encoder\nx 1", "text"),
    "dummy": (1, 0.5, "dummy frame\nin front", "audio"),
    "fc": (2, 0.5, "2 dense layers\n(B, 1+T, D)", "audio"),
    "cross": (4, 0.5, "cross-modal\nattention x 1", "both"),
    "deep": (5, 0.5, "deep fusion\nx 2", "both"),
    "class": (6, 0.5, "classifier on\ndummy output\n(B, 4)", "in"),
}
MUSE_ARROWS = (
    "phonemes>cnn words>glove cnn>highway glove>highway highway>convs convs>encoder encoder>cross "
    "frames>dummy dummy>fc fc>cross cross>deep deep>class"
)
MULTIGRANULAR_BOXES = {
    **MUSE_BOXES,
    "text": (4, 4, "sentence\n(B, S)", "in"),
    "bert": (5, 4, "BERT, [CLS]\n(B, 384)", "text"),
    "global": (6, 4, "projection\n(B, K)", "text"),
    "local": (6, 0.5, "projection\n(B, K)", "both"),
    "both": (6, 2.25, "side by side\n(B, 2 K)", "both"),
    "class": (7, 2.25, "classifier\n(B, 4)", "in"),
}
MULTIGRANULAR_ARROWS = MUSE_ARROWS.replace(
    "deep>class", "text>bert bert>global deep>local global>both local>both both>class"
)
MIMIC_BOXES = {
    "t": (0, 3, "text\n(B, W, 50)", "in"),
    "a": (0, 2, "audio\n(B, W, 132)", "in"),
    "v": (0, 1, "vision\n(B, W, 17)", "in"),
    "et": (1, 3, "Bi-LSTM\n+ attention", "text"),
    "ea": (1, 2, "Bi-LSTM\n+ attention", "audio"),
    "ev": (1, 1, "Bi-LSTM\n+ attention", "vision"),
    "h": (2, 2, "align, mean\nh: 3 x (B, 64)", "both"),
    "S": (4, 3, "S: mean\nof the h", "both"),
    "i": (3, 1, "i = h - S", "both"),
    "M": (4, 2, "M: outer\nproduct of h", "both"),
    "I": (4, 1, "I: outer\nproduct of i", "both"),
    "gate": (5, 2, "gate on\n[S, I, M]", "both"),
    "head": (6, 2, "3-layer MLP\n(B,)", "in"),
}
MIMIC_ARROWS = "t>et a>ea v>ev et>h ea>h ev>h h>S h>i h>M i>I S>gate M>gate I>gate gate>head"
MISA_BOXES = {
    "x": (0, 1, "text, audio,\nvision", "in"),
    "h": (1.05, 1, "encoder,\nprojection\n$h_m$", "each"),
    "s": (2.15, 2, "shared\nencoder\n$s_m$", "one"),
    "i": (2.15, 0, "private\nencoders\n$i_m$", "each"),
    "similarity": (2.15, 3, "similarity:\nthe $s_m$ alike", "loss"),
    "difference": (2.15, 1, "difference:\n$s_m$, $i_m$ apart", "loss"),
    "reconstruction": (3.2, 1, "reconstruction:\n$h_m$ again", "loss"),
    "six": (4.25, 1, "six vectors,\nTransformer\nlayer", "one"),
    "y": (5.3, 1, "2 layers,\nsentiment", "in"),
}
MISA_ARROWS = (
    "x>h h>s h>i s>six i>six six>y s>similarity s>difference i>difference s>reconstruction "
    "i>reconstruction"
)
MODELS = {  # its boxes and arrows, the size of the figure and that of a box
    "muse": (MUSE_BOXES, MUSE_ARROWS, (9.03, 3.4), (0.86, 0.66)),
    "muse-multigranular": (MULTIGRANULAR_BOXES, MULTIGRANULAR_ARROWS, (10.32, 4), (0.86, 0.66)),
    "mimic": (MIMIC_BOXES, MIMIC_ARROWS, (9.03, 3.4), (0.86, 0.66)),
    "misa": (MISA_BOXES, MISA_ARROWS, (8.2, 3.6), (0.9, 0.84)),
}

IDEAS = ("step by step", "products", "factors", "attention", "pretrained")
YEARS = (2016, 2017, 2018, 2019, 2020, 2021, 2025)
SYSTEMS = {  # name: (column of its idea, year, kind: three modalities, or two)
    "MV-LSTM": (0, 2016, "each"),
    "MFN": (0, 2018, "each"),
    "RAVEN": (0, 2019, "each"),
    "TFN": (1, 2017, "each"),
    "LMF": (0.76, 2018, "each"),
    "ICCN": (1.24, 2020, "each"),
    "MFM": (2, 2019, "each"),
    "MISA": (2, 2020, "each"),
    "MIMIC": (2, 2025, "each"),
    "MulT": (3.25, 2019, "each"),
    "Yoon": (2.75, 2018, "one"),
    "Xu": (2.75, 2019, "one"),
    "SSL": (4, 2020, "one"),
    "Li": (2.75, 2021, "one"),
    "MUSE": (3.25, 2025, "one"),
}
TAKEN_UP = (
    "MV-LSTM>MFN MFN>MFM TFN>LMF TFN>ICCN TFN>MIMIC MFM>MISA MISA>MIMIC Yoon>Xu Xu>Li MulT>MUSE "
    "SSL>MUSE"
)


def draw_diagram(
    axes,
    boxes: Mapping[str, tuple[float, float, str, str]],
    arrows: str,
    size: tuple[float, float],
    fontsize: float = 9,
) -> None:
    """Boxes of a size (width, height) with their texts, and arrows "from>to" between their edges;
    boxes of the kind "loss" are dashed, arrows to them dotted."""
    patches, (width, height) = {}, size
    for name, (x, y, text, kind) in boxes.items():
        tall = 0.6 * height if kind == "loss" else height
        look = {"facecolor": FILLS[kind], "edgecolor": "#666666", "linewidth": 0.9}
        look |= {"boxstyle": "round,pad=0,rounding_size=0.07"}
        look |= {"linestyle": "--" if kind == "loss" else "-"}
        box = FancyBboxPatch((x - width / 2, y - tall / 2), width, tall, **look)
        patches[name] = axes.add_patch(box)
        axes.text(x, y, text, ha="center", va="center", fontsize=fontsize, color=INK)
    for tail, head in (arrow.split(">") for arrow in arrows.split()):
        look = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 0.9, "shrinkA": 0}
        look |= {"shrinkB": 0, "linestyle": ":" if boxes[head][3] == "loss" else "-"}
        look |= {"patchA": patches[tail], "patchB": patches[head]}
        axes.annotate("", boxes[head][:2], boxes[tail][:2], arrowprops=look)
    xs, ys = zip(*(box[:2] for box in boxes.values()), strict=True)
    axes.set_xlim(min(xs) - 0.6 * width, max(xs) + 0.6 * width)
    axes.set_ylim(min(ys) - 0.65 * height, max(ys) + 0.65 * height)


def model_map(name: str) -> Figure:
    """The parts of "muse", "muse-multigranular", "mimic" or "misa" as boxes, with the shapes that
    flow between them. In MISA blue ones stand for three, one a modality, yellow ones are one for
    all."""
    boxes, arrows, figsize, size = MODELS[name]
    figure, axes = new_axes(figsize=figsize)
    draw_diagram(axes, boxes, arrows, size)
    axes.axis("off")
    return figure


def field_map() -> Figure:
    """The systems by the idea that they are known for (columns) and their year (rows, downwards);
    blue ones read text, audio and vision, yellow ones speech and text. An arrow leads to one that
    takes up a part of another."""
    figure, axes = new_axes(figsize=(7.6, 4.4))
    boxes = {n: (x, YEARS.index(year), n, kind) for n, (x, year, kind) in SYSTEMS.items()}
    draw_diagram(axes, boxes, TAKEN_UP, (0.42, 0.48), fontsize=9.5)
    axes.set(xlim=(-0.5, 4.3), ylim=(len(YEARS) - 0.5, -0.5))
    axes.set_xticks(range(len(IDEAS)), IDEAS)
    axes.set_yticks(range(len(YEARS)), YEARS)
    axes.tick_params(length=0, bottom=False, labelbottom=False, labeltop=True)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure
