"""The papers' tables: the rows of each, what is reported of them, and the figures as printed.

`sweep.run_table` trains what a table needs, `tables.recorded_table` reads what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mmer_lib.data import MODALITIES, DataError


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: as the paper prints it.
        model: name of our model; None for a system that is not run here.
        changes: on top of a preset, as `training.fit` takes them.
        paper: the paper's figures, such as {"wa": 0.735, "wa_std": 0.004}.
    """

    label: str
    model: str | None = None
    changes: dict = field(default_factory=dict)
    paper: dict = field(default_factory=dict)

    @property
    def configuration(self) -> tuple[str | None, dict]:
        return self.model, self.changes


@dataclass(frozen=True)
class Table:
    """A paper's table.

    Attributes:
        name: what the command line calls it. title: what stands above it.
        rows: in the paper's order. reference: label of the row that the others are compared with.
        scores: what is reported: scores of the test part, measures of the run, or what
            `costs.measures` computes. tested: of which, if reported, differences are tested.
        paper_corpus, paper_note: on what the paper's figures were taken, and how to read them.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    reference: str
    scores: tuple[str, ...] = ("wa", "ua")
    tested: tuple[str, ...] = ("wa", "ua", "mae")
    paper_corpus: str = "IEMOCAP"
    paper_note: str = "The paper has no such table."


class Cell(NamedTuple):
    """One training: a row, a fold and a seed."""

    row: Row
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.row.label}, fold {self.fold}, seed {self.seed}"


def runs_of(table: Table, seeds: Sequence[int], folds: Sequence[int]) -> list[Cell]:
    """The trainings that a table needs, rows in order; rows of one configuration count once."""
    rows: list[Row] = []
    for row in table.rows:
        if row.model and row.configuration not in [r.configuration for r in rows]:
            rows.append(row)
    return [Cell(*cell) for cell in product(rows, folds, seeds)]


def paper_rows(name: str) -> list[dict]:
    """The rows of a file of `data/paper`, such as "muse-1"."""
    packaged = Path(__file__).parents[1] / "paper"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "data" / "paper"
    return pd.read_csv(folder / f"{name}.csv").to_dict("records")


# ----------------------------------------------------------------------------------- MUSE

MUSE = {"fusion": "highway", "text_layers": 1, "cross_layers": 1, "fusion_layers": 2}
"""The multilevel Transformer of MUSE (section 4.2, Table 2)."""

_MULTILEVEL = {
    "MUSE Multilevel Transformer": ("muse", MUSE),
    "Phoneme only": ("muse", {**MUSE, "fusion": "phoneme"}),
    "Word only": ("muse", {**MUSE, "fusion": "word"}),
    "Concatenation": ("muse", {**MUSE, "fusion": "concat"}),
    "Highway network fusion": ("muse", MUSE),
    "w/o Deep Fusion module": ("muse", {**MUSE, "fusion_layers": 0}),
}
_MULTIGRANULAR = {
    "BERT (utterance-only)": ("bert", {}),
    "MUSE Multilevel Transformer": ("muse", MUSE),
    "MUSE Multigranular Fusion Model": ("muse-multigranular", MUSE),
}


_SEEDS = "They are averages over three seeds; over what their ± is taken the paper does not say."


def _rows(name: str, models: dict, figures: Callable = lambda label, printed: printed) -> tuple:
    """The rows of a paper's table; `models`: by label (model, changes) of those that are run here;
    `figures`: the paper's of a label, of a line as it stands there."""
    rows = []
    for printed in paper_rows(name):
        label, _ = printed.pop("method"), printed.pop("group")
        rows.append(Row(label, *models.get(label, (None, {})), figures(label, printed)))
    return tuple(rows)


def _depth_rows() -> tuple[Row, ...]:
    rows = []
    for printed in paper_rows("muse-2"):
        depths = {k: printed.pop(k) for k in ("text_layers", "cross_layers", "fusion_layers")}
        rows.append(Row(" / ".join(map(str, depths.values())), "muse", MUSE | depths, printed))
    return tuple(rows)


_LOSSES = {
    "both": {},
    "L_align alone": {"embedding": 0.0},
    "L_emb_align alone": {"align": 0.0},
    "neither": {"align": 0.0, "embedding": 0.0},
}
_IDEALS = {"diagonal": {}, "forced": {"ideal": "forced"}, "none": {"align": 0.0}}


def _changed_rows(model: str, base: dict, changes: dict[str, dict]) -> tuple[Row, ...]:
    """A model with some changes, by label; the paper has no figures for them."""
    return tuple(Row(label, model, base | own) for label, own in changes.items())


_FUSIONS = {
    "words and phonemes by highway": {"fusion": "highway"},
    "words and phonemes side by side": {"fusion": "concat"},
    "words": {"fusion": "word"},
    "phonemes": {"fusion": "phoneme"},
    "no cross-modal attention": {"cross_layers": 0, "align": 0.0},
}
MUSE_CHANGES = {
    "no alignment loss": {"align": 0.0},
    "no embedding loss": {"embedding": 0.0},
    "pre-net without neighbours": {"prenet_kernel": 1},
}
"""What is changed one at a time in the whole model, by label. The pre-net is the text's."""


def _toggle_rows() -> tuple[Row, ...]:
    """Every combination of MUSE's parts that has a meaning: without cross-modal attention no word
    is read, and without deep fusion beside it no frame either. Then each of `MUSE_CHANGES`."""
    rows = []
    for model, fusion, deep in product(("muse", "muse-multigranular"), _FUSIONS, (2, 0)):
        if deep or fusion != "no cross-modal attention":
            label = fusion + ", deep fusion" * bool(deep) + ", BERT" * (model != "muse")
            changes = {**MUSE, **_FUSIONS[fusion], "fusion_layers": deep}
            rows.append(Row(label, model, changes))
    one = {f"all parts, {name}": changes for name, changes in MUSE_CHANGES.items()}
    return (*rows, *_changed_rows("muse-multigranular", MUSE, one))


# ---------------------------------------------------------------------------------- MIMIC

_SUBSETS = {
    "All Modalities (T+V+A)": ("mimic", {}),
    "w/o Visual": ("mimic", {"modalities": ("text", "audio")}),
    "w/o Audio": ("mimic", {"modalities": ("text", "vision")}),
    "w/o Text": ("mimic", {"modalities": ("audio", "vision")}),
}
_BOTH = {"MISA": ("misa", {}), "MIMIC": ("mimic", {})}
_SINGLE = {f"{m} alone": {"modalities": (m,), "parts": ("S", "M")} for m in MODALITIES}
_SENTIMENT = ("mae", "corr", "acc2_has0", "acc2_non0")
_ORTHOGONAL = {"decoupling": "orthogonal", "difference": 0.3}
_PARTS = {
    "MIMIC": {},
    "w/o S": {"parts": ("I", "M")},
    "w/o I": {"parts": ("S", "M")},
    "w/o M": {"parts": ("S", "I")},
    "w/o gate": {"gate": False},
    "w/o contrastive loss": {"contrastive": 0.0},
    "orthogonal decoupling": _ORTHOGONAL,
    "no decoupling": {"decoupling": "none"},
    "decoupled by frame": {"level": "frame"},
}
GRID = {
    "learning_rate": (1e-4, 5e-4, 2e-3, 8e-3),
    "contrastive": (0.0, 0.1, 1.0),
    "batch_size": (16, 64, 256),
}
"""The values that `mimic-dynamics` goes through."""

PAIRS = {"audio_text": "text-audio", "audio_visual": "audio-vision", "text_visual": "text-vision"}
"""Columns of MIMIC's Table 2, and the names of the measures."""


def _modalities(corpus: str) -> Table:
    """Table 1, with the figures on one of its corpora; then each modality by itself."""

    def figures(_label: str, printed: dict) -> dict:
        share = round(printed[f"{corpus}_acc2"] / 100, 5)
        found = {"mae": printed[f"{corpus}_mae"], "acc2_has0": share, "acc2_non0": share}
        corr = printed[f"{corpus}_corr"]  # of the whole alone, in section 4.2
        return found if pd.isna(corr) else found | {"corr": corr}

    return Table(
        "mimic-1",
        "MIMIC, Table 1: with fewer modalities.",
        _rows("mimic-1", _SUBSETS, figures) + _changed_rows("mimic", {}, _SINGLE),
        "All Modalities (T+V+A)",
        _SENTIMENT,
        paper_corpus=corpus.upper(),
        paper_note="Of which Acc-2 it speaks the paper does not say: its figure stands beside "
        "both. It prints no single modalities.",
    )


def _similarities(label: str, printed: dict) -> dict:
    """Hundredths, which stand beside both readings of what is individual in MIMIC."""
    kinds = ("i", "i_low") if label == "MIMIC" else ("i",)
    return {f"{k} {PAIRS[c]}": round(printed[c] / 100, 5) for k in kinds for c in PAIRS}


def _grid_rows() -> tuple[Row, ...]:
    """A training of the same length for every combination, at a constant rate, as in the paper."""
    fixed = {"warmup": 0.0, "weight_decay": 0.0, "clip": 0.0, "max_epochs": 30, "patience": 30}
    grid = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    labels = [", ".join(f"{name} {value:g}" for name, value in own.items()) for own in grid]
    return _changed_rows("mimic", fixed, dict(zip(labels, grid, strict=True)))


def _mimic_toggle_rows() -> tuple[Row, ...]:
    """Every combination of MIMIC's parts that has a meaning, with all three modalities; with fewer,
    those of the gate and the contrastive loss. Decoupling differs where I is fused; orthogonal
    decoupling needs S too; one modality alone has no I."""
    cases = []  # (modalities, parts, decoupling)
    for n in (3, 2, 1):
        for parts in combinations(("S", "I", "M"), n):
            kinds = ["instance", *["orthogonal"] * ({"S", "I"} <= set(parts))]
            kinds += ["none"] * ("I" in parts)
            cases += [(MODALITIES, parts, kind) for kind in kinds]
    cases += [(pair, ("S", "I", "M"), "instance") for pair in combinations(MODALITIES, 2)]
    cases += [((m,), ("S", "M"), "instance") for m in MODALITIES]
    rows = []
    for (modalities, parts, kind), gate, contrastive in product(cases, *[(True, False)] * 2):
        label = f"{', '.join(modalities)}; {', '.join(parts)}; {kind}"
        label += ", gate" * gate + ", contrastive" * contrastive
        changes = {"modalities": modalities, "parts": parts, "decoupling": kind, "gate": gate}
        changes |= {} if contrastive else {"contrastive": 0.0}
        changes |= _ORTHOGONAL if kind == "orthogonal" else {}
        rows.append(Row(label, "mimic", changes))
    return tuple(rows)


# ----------------------------------------------------------------------------- all of them

_ALL = (
    Table(
        "muse-1",
        "MUSE, Table 1: the multilevel Transformer and its parts.",
        _rows("muse-1", _MULTILEVEL),
        "MUSE Multilevel Transformer",
        paper_note=_SEEDS,
    ),
    Table(
        "muse-2",
        "MUSE, Table 2: layers of text encoder / cross-modal / deep fusion.",
        _depth_rows(),
        "1 / 1 / 2",
        paper_note="They are averages over three seeds, printed without a ±.",
    ),
    Table(
        "muse-3",
        "MUSE, Table 3: the multigranular model and its components.",
        _rows("muse-3", _MULTIGRANULAR),
        "MUSE Multigranular Fusion Model",
        paper_note=_SEEDS,
    ),
    Table(
        "muse-losses",
        "MUSE, sections 3.1.6 and 3.2.3: the extra losses of the multigranular model.",
        _changed_rows("muse-multigranular", MUSE, _LOSSES),
        "neither",
    ),
    Table(
        "muse-ideals",
        "MUSE, section 3.1.6: the ideal of L_align in the multilevel Transformer.",
        _changed_rows("muse", MUSE, _IDEALS),
        "none",
    ),
    Table(
        "muse-toggles",
        "MUSE: every combination of its parts; its losses and its text pre-net.",
        _toggle_rows(),
        "words and phonemes by highway, deep fusion, BERT",
    ),
    _modalities("mosei"),
    Table(
        "mimic-2",
        "MIMIC, Table 2: mean cosine between what modalities have alone.",
        _rows("mimic-2", _BOTH, _similarities),
        "MIMIC",
        tuple(f"{kind} {pair}" for kind in ("i", "i_low") for pair in PAIRS.values()),
        (),
        "MOSEI",
        "i: before the bottleneck, i_low: after it; which of the two it means the paper does not "
        "say, so its figures stand beside both. MISA has no bottleneck.",
    ),
    Table(
        "mimic-3",
        "MIMIC, Table 3: efficiency.",
        _rows("mimic-3", _BOTH, lambda _, own: {**own, "mflops_counted": own["mflops"]}),
        "MIMIC",
        ("params_m", "mflops_counted", "mflops", "convergence_epochs"),
        ("convergence_epochs",),
        "MOSEI",
        "FLOPs of one utterance of 50 words, in millions: as the standard counters count them, "
        "blind to recurrent layers, and all; which it means the paper does not say. Converged: the "
        "first epoch within 2% of the best development score.",
    ),
    Table(
        "mimic-parts",
        "MIMIC, section 4.3: what is fused, and how it is decoupled.",
        _changed_rows("mimic", {}, _PARTS),
        "MIMIC",
        _SENTIMENT,
        paper_note="The paper reports such a comparison in words, without figures.",
    ),
    Table(
        "mimic-toggles",
        "MIMIC: combinations of its modalities and parts.",
        _mimic_toggle_rows(),
        "text, audio, vision; S, I, M; instance, gate, contrastive",
        ("mae", "corr"),
    ),
    Table(
        "mimic-dynamics",
        "MIMIC, section 4.3: training at other rates, weights and batch sizes.",
        _grid_rows(),
        "learning_rate 0.0005, contrastive 0.1, batch_size 64",
        ("mae", "corr"),
    ),
)
TABLES = {table.name: table for table in _ALL}
"""The tables by name: the three of each paper, and some on what it says without a table.

MUSE's paper prints one model twice in Table 1 (rows that differ in their ± alone), and again in
Tables 2 (1 / 1 / 2) and 3: here these are the same runs, trained once."""


def table_for(name: str, corpus: str) -> Table:
    """A table with the paper's figures for a corpus, where the paper has several."""
    if name not in TABLES:
        raise DataError(f"unknown table {name!r}; known: {', '.join(TABLES)}")
    return _modalities("mosi") if (name, corpus) == ("mimic-1", "mosi") else TABLES[name]
