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
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import preset_with

DEPTHS = ("text_layers", "cross_layers", "fusion_layers")


def test_the_papers_figures_of_muse_stand_beside_the_right_rows():
    for name, baselines in (("muse-1", 3), ("muse-3", 0)):
        for row, printed in zip(TABLES[name].rows, paper_rows(name), strict=True):
            assert row.label == printed["method"]
            assert row.paper == {k: printed[k] for k in ("wa", "wa_std", "ua", "ua_std")}
            assert (row.model is None) == (printed["group"] == "baseline")
        assert sum(row.model is None for row in TABLES[name].rows) == baselines
    best = TABLES["muse-3"].rows[-1]
    assert best.paper == {"wa": 0.752, "wa_std": 0.003, "ua": 0.756, "ua_std": 0.006}
    depths = {row.label: row for row in TABLES["muse-2"].rows}
    assert next(iter(depths)) == "3 / 3 / 1" and len(depths) == 7
    assert depths["1 / 1 / 2"].paper == {"wa": 0.735, "ua": 0.747}
    assert depths["2 / 2 / 3"].changes == {**MUSE, **dict(zip(DEPTHS, (2, 2, 3), strict=True))}


def test_the_papers_figures_of_mimic_stand_beside_the_right_rows():
    mosei = {row.label: row.paper for row in TABLES["mimic-1"].rows}
    mosi = {row.label: row.paper for row in table_for("mimic-1", "mosi").rows}
    assert mosei["w/o Text"] == {"mae": 0.823, "acc2_has0": 0.677, "acc2_non0": 0.677}
    assert mosi["w/o Visual"] == {"mae": 0.88, "acc2_has0": 0.806, "acc2_non0": 0.806}
    full = "All Modalities (T+V+A)"
    assert (mosei[full]["corr"], mosi[full]["corr"]) == (0.764, 0.756)  # of section 4.2
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
    assert table.name == name
    assert sum(row.label == table.reference for row in table.rows) == 1
    for row in table.rows:
        if row.model:
            options, settings = preset_with(row.model, preset, row.changes)
            config = model_class(row.model).config_class(**options)
            made = {**asdict(config), **asdict(settings)}
            assert all(made[k] == v for k, v in row.changes.items())


def test_the_same_configuration_is_the_same_runs_in_all_three_tables():
    cells = {f"muse-{i}": runs_of(TABLES[f"muse-{i}"], (0, 1, 2), range(5)) for i in (1, 2, 3)}
    assert {t: len(c) for t, c in cells.items()} == {"muse-1": 75, "muse-2": 105, "muse-3": 45}
    shared = [{str((c.row.configuration, c.fold, c.seed)) for c in cs} for cs in cells.values()]
    assert len(set.intersection(*shared)) == 15


def test_rows_of_a_table_are_different_trainings():
    for name in ("muse-losses", "muse-ideals", "mimic-dynamics"):
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
