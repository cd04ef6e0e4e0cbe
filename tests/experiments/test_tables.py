"""Spread, tests and tables, against enumeration and by hand; recorded runs find their rows."""

import json
import re
from dataclasses import asdict
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import MUSE, TABLES, Row, Table
from mmer_lib.experiments.statistics import EXACT, bootstrap, holm, paired_test
from mmer_lib.experiments.tables import (
    aggregate,
    as_frame,
    as_text,
    claim,
    differences,
    read_runs,
    read_table,
    recorded_table,
    runs_in,
    runs_of_row,
    save_table,
    write_runs,
)
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import preset_with


@pytest.mark.parametrize("groups", [1, 2])
def test_the_bootstrap_draws_each_group_anew(groups):
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.5, 0.1, 12), rng.normal(0.3, 0.1, 7)
    drawn, rng = [], np.random.default_rng(0)
    for sample in (x, y)[:groups]:
        drawn.append(sample[rng.integers(len(sample), size=(2000, len(sample)))].mean(1))
    means = drawn[0] - (drawn[1] if groups == 2 else 0)
    mean = x.mean() - (y.mean() if groups == 2 else 0)
    wanted = (mean, *np.percentile(means, [2.5, 97.5]))
    assert bootstrap(x, y if groups == 2 else None) == pytest.approx(wanted, abs=1e-12)
    assert bootstrap([0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("n", [2, 3, 6, EXACT])
def test_the_permutation_test_is_an_enumeration_of_all_signs(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.02, 0.05, n), rng.normal(0, 0.05, n)
    difference, p = paired_test(a, b)
    d = a - b
    flipped = np.array([np.mean(np.array(s) * d) for s in product((-1, 1), repeat=n)])
    assert difference == pytest.approx(d.mean())
    assert p == pytest.approx(np.mean(np.abs(flipped) >= abs(d.mean()) - 1e-12))
    assert paired_test(b, a) == pytest.approx((-difference, p))


def test_equal_sums_of_differences_count_as_equal():
    """Accuracies are multiples of one utterance."""
    d = np.array([3, 1, -2, 2, -1, 1]) / 32
    flipped = [abs(np.dot(s, [3, 1, 2, 2, 1, 1])) >= 4 for s in product((-1, 1), repeat=6)]
    assert paired_test(0.7 + d, np.full(6, 0.7))[1] == pytest.approx(np.mean(flipped))
    assert paired_test([0.5, 0.6], [0.6, 0.5]) == (0.0, 1.0)


def test_more_pairs_are_resampled_from_a_fixed_seed():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, (2, EXACT + 9))
    first = paired_test(a, b)
    assert first == paired_test(a, b)
    flips = rng.choice((-1, 1), (200_000, len(a))) @ (a - b)
    assert first[1] == pytest.approx(np.mean(np.abs(flips) >= abs((a - b).sum())), abs=0.005)


def test_holms_correction_by_hand():
    """0.01, 0.02, 0.03, 0.04 -> 4 x 0.01, 3 x 0.02, then never less than the one before."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert holm([0.2]) == [0.2] and holm([]) == []


def runs(name, scores, folds=(0, 1), seeds=(0, 1, 2)):
    pairs = [(f, s) for f in folds for s in seeds]
    frame = pd.DataFrame(pairs[: len(scores)], columns=["fold", "seed"])
    frame = frame.assign(run=[f"{name}-{f}-{s}" for f, s in frame.to_numpy()], wa=scores)
    frame = frame.assign(ua=frame.wa.astype(float) / 2).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def row(label, name, scores, **changes):
    return {
        "label": label,
        "model": name,
        "planned": 6,
        "paper": {"wa": 0.7},
        "runs": runs(name, scores),
        **changes,
    }


BASE = [0.70, 0.72, 0.71, 0.60, 0.62, 0.64]
ROWS = [
    row("other", None, [], planned=0, paper={"wa": 0.6, "wa_std": 0.01, "ua": 0.5}),
    row("ours", "a", BASE),
    row("worse", "b", [0.65, 0.70, 0.66, 0.59, 0.60, 0.61]),
    row("same", "a", BASE),
    row("short", "c", [0.72, 0.71]),
    row("single", "d", [0.9]),
    row("holes", "e", [0.70, None, 0.72, 0.61, 0.60, 0.66]),
]


def a_table(**changes):
    return {
        "table": "tiny",
        "title": "A tiny table.",
        "corpus": "demo",
        "synthetic": True,
        "preset": "fast",
        "folds": [0, 1],
        "seeds": [0, 1, 2],
        "changes": {"max_epochs": 2},
        "scores": ["wa", "ua"],
        "tested": ["wa", "ua"],
        "reference": "ours",
        "paper_corpus": "IEMOCAP",
        "paper_note": "They are averages.",
        "rows": aggregate(ROWS, "ours", ("wa", "ua"), ("wa", "ua")),
        **changes,
    }


def test_aggregation_is_means_spreads_and_paired_differences():
    rows = {r["label"]: r for r in a_table()["rows"]}
    worse, scores = rows["worse"]["wa"], [r["wa"] for r in ROWS[2]["runs"]]
    mean = np.mean(scores)
    assert rows["worse"]["n"] == 6 and worse["mean"] == pytest.approx(mean)
    assert worse["std"] == pytest.approx(np.std(scores, ddof=1))
    assert worse["difference"] == pytest.approx(mean - sum(BASE) / 6)
    assert worse["pairs"] == 6 and worse["p"] == pytest.approx(2 / 64)
    assert (worse["paper"], worse["paper_std"]) == (0.7, None)
    short, holes = rows["short"]["wa"], rows["holes"]["wa"]
    assert (short["pairs"], short["p"]) == (2, 1.0)  # of the same fold and seed
    assert short["difference"] == pytest.approx((0.72 - 0.70 + 0.71 - 0.72) / 2)
    assert holes["pairs"] == 5  # an undefined score is no score
    assert holes["mean"] == pytest.approx(np.mean([0.70, 0.72, 0.61, 0.60, 0.66]))
    for label in ("ours", "same", "other", "single"):  # nothing to say
        cell = rows[label]["wa"]
        assert cell["p"] is cell["p_holm"] is cell["difference"] is None
    assert rows["other"]["wa"]["mean"] is None and rows["single"]["wa"]["std"] is None
    for score in ("wa", "ua"):
        tested = [r[score] for r in rows.values() if r[score]["p"] is not None]
        assert len(tested) == 3
        assert [t["p_holm"] for t in tested] == holm([t["p"] for t in tested])


def test_a_saved_table_is_read_back(tmp_path):
    table = a_table()
    path = save_table(table, tmp_path / "tables")
    names = ["tiny-demo.json", "tiny-demo.md"]
    assert sorted(p.name for p in path.parent.iterdir()) == names
    assert read_table(path) == json.loads(json.dumps(table))


@pytest.mark.parametrize("markdown", [False, True])
def test_what_is_printed_keeps_ours_and_the_papers_apart(markdown):
    text = as_text(a_table(), markdown)
    for what in ("max_epochs 2", "ours: demo (synthetic)", "the paper: IEMOCAP", "(reference)"):
        assert what in text
    lines = {re.split("  |\\|", line.strip("| "))[0].strip(): line for line in text.splitlines()}
    assert "0.665 ± 0.051" in lines["ours"] and "0.600 ± 0.010" in lines["other"]
    assert "2/6" in lines["short"] and "9 missing" in text
    assert "never figure with figure" in text and "below 0.031" in text
    silent = a_table(synthetic=False, corpus="own", rows=[])
    silent["rows"] = [{**row, "wa": {**row["wa"], "paper": None}} for row in a_table()["rows"]]
    text = as_text({**silent, "scores": ["wa"]}, markdown)
    assert "synthetic" not in text and "ours: own" not in text and "IEMOCAP" not in text


def test_a_p_that_would_be_zero_is_printed_as_below_a_thousandth():
    table = a_table()
    table["rows"][2]["wa"] |= {"p": 0.0004, "p_holm": 0.0006}
    assert as_frame(table).iloc[2].tolist()[3:5] == ["<.001", "0.001"]
    assert "<.001" in as_text(table)


def result(model="muse", fold=0, seed=0, wa=0.5, preset="fast", data="demo", **changes):
    """A result as `training.fit` writes it, through JSON."""
    options, settings = preset_with(model, "fast", changes)
    measured = {"phonemes": 69, "words": 50} if model != "bert" else {}
    config = model_class(model).config_class(**{**options, **measured})
    return json.loads(
        json.dumps(
            {
                "command": f"mmer train {model} {changes} {fold} {seed} {preset} {data}",
                "model": model,
                "data": data,
                "synthetic": True,
                "data_key": "abc",
                "preset": preset,
                "fold": fold,
                "seed": seed,
                "config": asdict(config),
                "settings": asdict(settings),
                "test": {"wa": wa, "ua": wa - 0.01},
                "seconds": 3.0,
                "device": "CPU",
            }
        )
    )


@pytest.fixture
def record(tmp_path):
    def write(*results):
        write_runs(tmp_path / "some.jsonl", results)
        return tmp_path

    return write


PAIRS = list(product((0, 1), (0, 1, 2)))
LOSSES = Table(
    "losses",
    "Losses.",
    (
        Row("none", "muse", {**MUSE, "align": 0.0}),
        Row("diagonal", "muse", MUSE),
        Row("forced", "muse", {**MUSE, "ideal": "forced"}),
        Row("published", paper={"wa": 0.7}),
    ),
    "none",
    scores=("wa",),
)


def test_rows_are_told_apart_by_configuration_and_settings(record):
    runs = []
    for fold, seed in PAIRS:
        at = {"fold": fold, "seed": seed}
        runs.append(result(**at, wa=0.60 + 0.01 * seed, align=0.0))
        runs.append(result(**at, wa=0.65 + 0.01 * seed))
        for other in ({"fusion": "word"}, {"batch_size": 5}, {"preset": "paper"}, {"data": "own"}):
            runs.append(result(**at, wa=0.90, **other))
    runs += [result(ideal="forced", wa=0.7), result(fold=4, wa=0.9)]
    table = recorded_table(LOSSES, record(*runs))
    rows = {row["label"]: row for row in table["rows"]}
    assert [rows[k]["n"] for k in ("none", "diagonal", "forced", "published")] == [6, 6, 1, 0]
    assert [rows[k]["planned"] for k in ("none", "published")] == [6, 0]
    assert rows["none"]["wa"]["mean"] == pytest.approx(0.61)
    assert rows["diagonal"]["wa"]["difference"] == pytest.approx(0.05)
    assert rows["diagonal"]["wa"]["p"] == pytest.approx(2 / 64)
    assert rows["published"]["wa"]["mean"] is None
    row, old = Row("x", "muse", MUSE), result()  # a field that came later counts as agreeing
    del old["settings"]["encoder_learning_rate"], old["config"]["hop"]
    found = read_runs(record(old, result(width=32), result(align=0.2), result("bert")))
    assert list(runs_of_row(found, row, "fast").index) == [0]


def test_the_papers_tables_find_their_rows(record):
    runs = [result(fusion=f) for f in ("highway", "word", "phoneme", "concat")]
    runs += [result("bert"), result("muse-multigranular")]
    runs += [result(fusion_layers=n) for n in (0, 1, 3)]
    folder = record(*runs)
    for name, count in (("muse-1", [0, 0, 0, 1, 1, 1, 1, 1, 1]), ("muse-3", [1, 1, 1])):
        table = recorded_table(TABLES[name], folder)
        assert [row["n"] for row in table["rows"]] == count
    depths = {r["label"]: r["n"] for r in recorded_table(TABLES["muse-2"], folder)["rows"]}
    assert [d for d, n in depths.items() if n] == ["1 / 1 / 1", "1 / 1 / 2", "1 / 1 / 3"]
    made = claim(recorded_table(TABLES["muse-1"], folder), "Word only", "Phoneme only")
    assert made["paper"] == pytest.approx(0.035) and made["pairs"] == 1


def test_a_line_counts_once_and_a_run_recorded_twice_or_on_other_data_is_refused(record, tmp_path):
    folder = record(result())
    (tmp_path / "again.jsonl").write_bytes((tmp_path / "some.jsonl").read_bytes())
    assert recorded_table(LOSSES, folder)["rows"][1]["n"] == 1
    assert len(read_runs(folder, model="muse", seed=0)) == 1
    with pytest.raises(DataError, match="a run of losses is recorded twice"):
        recorded_table(LOSSES, record(result(), {**result(), "seconds": 4.0}))
    with pytest.raises(DataError, match="2 versions of demo"):
        recorded_table(LOSSES, record({**result(seed=1), "data_key": "other"}))
    with pytest.raises(DataError, match="no recorded result"):
        recorded_table(LOSSES, tmp_path / "nowhere")


@pytest.fixture
def table(record):
    """Six pairs, of which L_align wins four; the forced ideal has one run."""
    gains = (0.02, 0.01, -0.01, 0.03, 0.02, -0.02)
    runs = [result(ideal="forced", wa=0.7)]
    for (fold, seed), gain in zip(PAIRS, gains, strict=True):
        at = {"fold": fold, "seed": seed}
        runs += [result(**at, wa=0.6, align=0.0), result(**at, wa=0.6 + gain)]
    return recorded_table(LOSSES, record(*runs))


def test_differences_and_claims_are_by_pair(table):
    made = differences(table)
    assert list(made) == ["diagonal", "forced"] and made["forced"] == pytest.approx([0.1])
    assert made["diagonal"] == pytest.approx([0.02, 0.01, -0.01, 0.03, 0.02, -0.02])
    same = {**table["rows"][0], "label": "none again"}
    assert differences({**table, "rows": [*table["rows"], same]}) == made
    made = claim(table, "diagonal", "none")
    assert made["difference"] == pytest.approx(0.05 / 6)
    assert (made["pairs"], made["ahead"], made["paper"]) == (6, 4, None)
    assert made["p"] == pytest.approx(table["rows"][1]["wa"]["p"]) and made["least"] == 2 / 64
    assert claim(table, "none", "diagonal")["ahead"] == 2
    assert claim(table, "forced", "none") == {"paper": None, "pairs": 1}
    assert claim(table, "published", "none") == {"paper": None, "pairs": 0}


def test_a_frame_keeps_ours_and_the_papers_apart(table):
    frame = as_frame(table)
    assert frame.loc["diagonal", ("ours: demo (synthetic)", "difference")] == "+0.008"
    assert frame.loc["published", ("the paper: IEMOCAP", "WA")] == "0.700"
    assert frame.loc["none", ("ours: demo (synthetic)", "WA")] == "0.600\u00a0±\u00a00.000"
    assert frame.loc["forced", ("ours: demo (synthetic)", "runs")] == "1/6"
    alone = as_frame({**table, "rows": table["rows"][:3]})
    assert list(alone.columns) == ["runs", "WA", "difference", "p", "p, Holm"]
    assert len(runs_in(table, table)) == 13


def test_the_recorded_tables_are_whole():
    for name in ("muse-1", "muse-2", "muse-3", "mimic-1", "mimic-2", "mimic-3", "mimic-parts"):
        found = recorded_table(TABLES[name], "data/results")
        assert all(row["n"] == row["planned"] for row in found["rows"]), name
        assert not any("+" in run["git"] for row in found["rows"] for run in row["runs"])
