"""Maps of the models: their parts as boxes, with the shapes that flow between them."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mmer_lib.book.figures import INK, new_axes

_MUSE_BOXES = {  # name: (x, y, text, fill); D is the width of the model
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
_MUSE_ARROWS = [
    ("phonemes", "cnn"),
    ("words", "glove"),
    ("cnn", "highway"),
    ("glove", "highway"),
    ("highway", "convs"),
    ("convs", "encoder"),
    ("encoder", "cross"),
    ("frames", "dummy"),
    ("dummy", "fc"),
    ("fc", "cross"),
    ("cross", "deep"),
    ("deep", "class"),
]
_MULTIGRANULAR_BOXES = {
    **{name: box for name, box in _MUSE_BOXES.items() if name != "class"},
    "text": (4, 4, "sentence\n(B, S)", "in"),
    "bert": (5, 4, "BERT, [CLS]\n(B, 384)", "text"),
    "global": (6, 4, "projection\n(B, K)", "text"),
    "local": (6, 0.5, "projection\n(B, K)", "both"),
    "both": (6, 2.25, "side by side\n(B, 2 K)", "both"),
    "class": (7, 2.25, "classifier\n(B, 4)", "in"),
}
_MULTIGRANULAR_ARROWS = [
    *[arrow for arrow in _MUSE_ARROWS if "class" not in arrow],
    ("text", "bert"),
    ("bert", "global"),
    ("deep", "local"),
    ("global", "both"),
    ("local", "both"),
    ("both", "class"),
]
_MIMIC_BOXES = {  # name: (x, y, text, fill)
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
_MIMIC_ARROWS = [
    ("t", "et"),
    ("a", "ea"),
    ("v", "ev"),
    ("et", "h"),
    ("ea", "h"),
    ("ev", "h"),
    ("h", "S"),
    ("h", "i"),
    ("h", "M"),
    ("i", "I"),
    ("S", "gate"),
    ("M", "gate"),
    ("I", "gate"),
    ("gate", "head"),
]
_MAPS = {
    "muse": (_MUSE_BOXES, _MUSE_ARROWS),
    "muse-multigranular": (_MULTIGRANULAR_BOXES, _MULTIGRANULAR_ARROWS),
    "mimic": (_MIMIC_BOXES, _MIMIC_ARROWS),
}
_FILLS = {
    "in": "#EEEEEE",
    "text": "#BBD9EE",
    "audio": "#F6C9A8",
    "vision": "#B5E2D0",
    "both": "#E4CFE6",
}


def model_map(name: str) -> Figure:
    """The parts of "muse", "muse-multigranular" or "mimic" as boxes, with the shapes that flow
    between them."""
    boxes, arrows = _MAPS[name]
    columns = 1 + max(x for x, *_ in boxes.values())
    figure, axes = new_axes(figsize=(1.29 * columns, 3.4 if columns < 8 else 4))
    half_x, half_y = 0.43, 0.33
    for x, y, text, kind in boxes.values():
        axes.add_patch(
            FancyBboxPatch(
                (x - half_x, y - half_y),
                2 * half_x,
                2 * half_y,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=_FILLS[kind],
                edgecolor="#666666",
                linewidth=0.8,
            )
        )
        axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK)
    for a, b in arrows:
        (ax, ay), (bx, by) = boxes[a][:2], boxes[b][:2]
        vertical = ax == bx
        down = half_y if ay > by else -half_y
        aside = max(-0.18, min(0.36 * (ay - by), 0.18))  # so that arrow heads do not collide
        start = (ax, ay - down) if vertical else (ax + half_x, ay)
        end = (bx, by + down) if vertical else (bx - half_x, by + aside)
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=10,
                color="#555555",
                linewidth=0.9,
                shrinkA=0,
                shrinkB=0,
            )
        )
    xs, ys = ([b[i] for b in boxes.values()] for i in (0, 1))
    axes.set(xlim=(min(xs) - 0.5, max(xs) + 0.5), ylim=(min(ys) - 0.45, max(ys) + 0.45))
    axes.axis("off")
    return figure
