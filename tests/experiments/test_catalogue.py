"""The tables stand as the papers print them, and every row can be trained."""

from dataclasses import asdict

import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import (
    GRID,
    MUSE,
    PAIRS,
    TABLES,
    paper_rows,
    runs_of,
    table_for,
)
from mmer_lib.experiments.tables import fields_of
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import check_settings

PRINTED = {
    "muse-1": [
        ("S. Yoon et al. [13]", 0.682, 0.012, 0.688, 0.014),
        ("H. Xu et al. [14]", 0.685, 0.007, 0.691, 0.008),
        ("H. Li et al. [3]", 0.716, 0.004, 0.725, 0.005),
        ("MUSE Multilevel Transformer", 0.735, 0.004, 0.747, 0.003),
        ("Phoneme only", 0.680, 0.003, 0.695, 0.005),
        ("Word only", 0.715, 0.002, 0.726, 0.002),
        ("Concatenation", 0.732, 0.004, 0.741, 0.004),
        ("Highway network fusion", 0.735, 0.003, 0.747, 0.002),
        ("w/o Deep Fusion module", 0.727, 0.010, 0.738, 0.007),
    ],
    "muse-3": [
        ("BERT (utterance-only)", 0.693, 0.004, 0.695, 0.001),
        ("MUSE Multilevel Transformer", 0.735, 0.003, 0.747, 0.002),
        ("MUSE Multigranular Fusion Model", 0.752, 0.003, 0.756, 0.006),
    ],
}
"""Tables 1 and 3 of MUSE, typed from the paper once more."""


@pytest.mark.parametrize("name", PRINTED)
def test_tables_1_and_3_of_muse_are_the_papers(name):
    rows = paper_rows(name)
    keys = ("method", "wa", "wa_std", "ua", "ua_std")
    assert [tuple(row[k] for k in keys) for row in rows] == PRINTED[name]
    for row, printed in zip(TABLES[name].rows, rows, strict=True):
        assert row.paper == {k: printed[k] for k in keys[1:]}
        assert (row.model is None) == (printed["group"] == "baseline")


def test_table_2_of_muse_has_depths_and_no_spread():
    rows = [tuple(r.values()) for r in paper_rows("muse-2")]
    assert rows == [
        (3, 3, 1, 0.723, 0.734),
        (2, 2, 1, 0.730, 0.739),
        (1, 1, 1, 0.731, 0.743),
        (1, 1, 2, 0.735, 0.747),
        (1, 1, 3, 0.726, 0.734),
        (2, 2, 2, 0.736, 0.744),
        (2, 2, 3, 0.725, 0.733),
    ]
    for row in TABLES["muse-2"].rows:
        depths = [row.changes[f"{part}_layers"] for part in ("text", "cross", "fusion")]
        assert " / ".join(map(str, depths)) == row.label


def test_the_papers_figures_of_mimic_stand_beside_the_right_rows():
    mosei = {row.label: row.paper for row in TABLES["mimic-1"].rows}
    mosi = {row.label: row.paper for row in table_for("mimic-1", "mosi").rows}
    assert mosei["w/o Text"] == {"mae": 0.823, "acc2_has0": 0.677, "acc2_non0": 0.677}
    assert mosi["w/o Visual"] == {"mae": 0.88, "acc2_has0": 0.806, "acc2_non0": 0.806}
    assert mosi["text alone"] == {} and TABLES["mimic-1"].paper_corpus == "MOSEI"
    assert table_for("mimic-1", "mosi").paper_corpus == "MOSI"
    misa, mimic = (row.paper for row in TABLES["mimic-2"].rows)
    assert misa == {"i text-audio": 0.289, "i audio-vision": 0.288, "i text-vision": 0.303}
    assert mimic["i text-audio"] == mimic["i_low text-audio"] == 0.043
    assert set(TABLES["mimic-2"].scores) == {
        f"{kind} {pair}" for kind in ("i", "i_low") for pair in PAIRS.values()
    }
    efficiency = {row.label: row.paper for row in TABLES["mimic-3"].rows}
    assert efficiency["MISA"]["mflops"] == efficiency["MISA"]["mflops_counted"] == 5
    assert efficiency["MIMIC"]["params_m"] == 0.3 and len(paper_rows("mimic-3")) == 2


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_every_row_is_a_configuration_that_can_be_trained(name, preset):
    table = TABLES[name]
    assert table.name == name and set(table.tested) <= set(table.scores)
    assert sum(row.label == table.reference for row in table.rows) == 1
    for row in table.rows:
        if row.model:
            options, settings = fields_of(row, preset)
            check_settings(settings)
            config = model_class(row.model).config_class(**options)
            made = {**asdict(config), **asdict(settings)}
            assert all(made[k] == v for k, v in row.changes.items())


def test_the_rows_are_the_papers_ablations():
    one = {row.label: row.changes for row in TABLES["muse-1"].rows if row.model}
    assert {label: changes["fusion"] for label, changes in one.items()} == {
        "MUSE Multilevel Transformer": "highway",
        "Phoneme only": "phoneme",
        "Word only": "word",
        "Concatenation": "concat",
        "Highway network fusion": "highway",
        "w/o Deep Fusion module": "highway",
    }
    assert one["w/o Deep Fusion module"] == {**MUSE, "fusion_layers": 0}
    models = [row.model for row in TABLES["muse-3"].rows]
    assert models == ["bert", "muse", "muse-multigranular"]
    for row in TABLES["mimic-parts"].rows:
        assert len(row.changes.keys() - {"difference"}) == (row.label != "MIMIC"), row.label


def test_the_same_configuration_is_the_same_runs_in_all_three_tables():
    cells = {f"muse-{i}": runs_of(TABLES[f"muse-{i}"], (0, 1, 2), range(5)) for i in (1, 2, 3)}
    assert {t: len(c) for t, c in cells.items()} == {"muse-1": 75, "muse-2": 105, "muse-3": 45}
    shared = [{str((c.row.configuration, c.fold, c.seed)) for c in cs} for cs in cells.values()]
    assert len(set.intersection(*shared)) == 15


def test_rows_of_a_table_are_different_trainings():
    for name in ("muse-losses", "muse-ideals", "muse-toggles", "mimic-toggles", "mimic-dynamics"):
        rows = TABLES[name].rows
        assert len(runs_of(TABLES[name], (0,), (0,))) == len(rows) and not any(
            row.paper for row in rows
        )
    rows = TABLES["mimic-dynamics"].rows
    assert len({tuple(row.changes[k] for k in GRID) for row in rows}) == 4 * 3 * 3
    assert all(row.changes["max_epochs"] == row.changes["patience"] for row in rows)


def test_an_unknown_table_is_refused_and_the_known_ones_named():
    with pytest.raises(DataError, match=r"unknown table 'mimic-9'; known: .*mimic-3"):
        table_for("mimic-9", "demo")
    with pytest.raises(DataError, match=r"'muse-9'; known: .*muse-1, muse-2, muse-3"):
        paper_rows("muse-9")
