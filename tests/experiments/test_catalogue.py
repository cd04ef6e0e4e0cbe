"""The tables stand as the papers print them, and every row can be trained."""

from dataclasses import replace

import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import GRID, PAIRS, TABLES, paper_rows, table_for
from mmer_lib.experiments.sweep import runs_of
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import PRESETS, check_settings


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
    assert set(TABLES["mimic-2"].scores) == {f"{k} {p}" for k in ("i", "i_low")
                                             for p in PAIRS.values()}  # fmt: skip
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
            cls = model_class(row.model)
            options, settings = PRESETS[row.model][preset]
            settings = replace(settings, **row.settings)
            check_settings(settings, cls)
            config = cls.config_class(**{**options, **row.options})
            allowed = cls.auxiliaries(config)
            weights = ("similarity", "difference", "reconstruction")
            assert all(w in allowed for w in weights if getattr(settings, w))


def test_rows_of_mimic_differ_from_the_whole_in_one_thing():
    for row in TABLES["mimic-parts"].rows:
        changes = {**row.options, **{k: v for k, v in row.settings.items() if k != "difference"}}
        assert len(changes) == (row.label != "MIMIC"), row.label


def test_the_grid_has_every_combination_once():
    rows = TABLES["mimic-dynamics"].rows
    seen = {tuple(row.settings[name] for name in GRID) for row in rows}
    assert len(rows) == len(seen) == 4 * 3 * 3
    assert all(row.settings["max_epochs"] == row.settings["patience"] for row in rows)
    assert len(runs_of(TABLES["mimic-dynamics"], (0, 1, 2), (0,))) == 108


def test_an_unknown_table_is_refused_and_the_known_ones_named():
    with pytest.raises(DataError, match=r"unknown table 'mimic-9'; known: .*mimic-3"):
        table_for("mimic-9", "demo")
