"""What tables cost, against counting by hand."""

from dataclasses import replace

import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import TABLES, Row
from mmer_lib.experiments.costs import SIZES, kinds_of, measured_steps, settings_of, table_cost


def test_the_sizes_are_the_published_ones():
    """MOSI and MOSEI: 1,284 / 229 / 686 and 16,326 / 1,871 / 4,659; IEMOCAP: of five sessions,
    three train."""
    assert SIZES["mosi"].utterances == 1284 + 229 + 686 and SIZES["mosi"].train == 1284
    assert SIZES["mosei"].utterances == 16326 + 1871 + 4659 and SIZES["mosei"].train == 16326
    assert SIZES["iemocap"].train == round(5531 * 3 / 5) and SIZES["iemocap"].folds == 5


def test_runs_steps_and_seconds_are_counted():
    """Table 3 of MUSE trains three models on five folds from three seeds, batches of 4."""
    step = {("bert", 4): 0.5, ("muse", 4): 0.25, ("muse-multigranular", 4): 1.0}
    cost = table_cost(TABLES["muse-3"], "iemocap", step, seeds=3, epochs=2)
    each = 2 * 830  # 3,319 / 4, rounded up
    assert (cost.runs, cost.steps) == (3 * 5 * 3, 3 * 5 * 3 * each)
    assert cost.seconds == pytest.approx(5 * 3 * each * (0.5 + 0.25 + 1.0))
    whole = table_cost(TABLES["muse-3"], "iemocap", step, seeds=3)
    assert whole.steps == 100 * cost.steps  # 200 epochs


def test_rows_of_one_configuration_count_once():
    """Table 1 of MUSE prints one model twice."""
    cost = table_cost(TABLES["muse-1"], "iemocap", {("muse", 4): 1.0}, seeds=1, epochs=1)
    own = [row for row in TABLES["muse-1"].rows if row.model]
    assert len(own) == 6 and cost.runs == 5 * 5


def test_a_rows_own_batch_size_decides():
    table = TABLES["mimic-dynamics"]
    assert {size for _, size in kinds_of([table])} == {16, 64, 256}
    assert settings_of(Row("x", "mimic", {}, {"batch_size": 7})).batch_size == 7
    row = replace(table.rows[0], settings={"batch_size": 100})
    cost = table_cost(replace(table, rows=(row,)), "mosi", {("mimic", 100): 2.0}, 1, 10)
    assert (cost.runs, cost.steps, cost.seconds) == (1, 10 * 13, 10 * 13 * 2.0)


def test_a_step_that_was_not_measured_is_named():
    with pytest.raises(DataError, match="mimic-1: no step time of mimic at batch size 64"):
        table_cost(TABLES["mimic-1"], "mosi", {("mimic", 16): 1.0})


def test_every_table_of_the_papers_can_be_priced():
    for name, table in TABLES.items():
        step = dict.fromkeys(kinds_of([table]), 1.0)
        corpus = "iemocap" if name.startswith("muse") else "mosei"
        cost = table_cost(table, corpus, step, seeds=1, epochs=1)
        assert cost.runs > 0 and cost.seconds == cost.steps, name


def test_steps_are_measured_at_the_papers_sizes():
    found = measured_steps([("mimic", 16), ("mimic", 256)], words=20, rounds=1)
    assert list(found) == [("mimic", 16), ("mimic", 256)]
    assert 0 < found["mimic", 16] < found["mimic", 256]
