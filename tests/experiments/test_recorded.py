import json
from dataclasses import asdict, replace

import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import MUSE, TABLES, Row, Table
from mmer_lib.experiments.recorded import as_frame, belongs, claim, differences, recorded_table
from mmer_lib.experiments.tables import all_pairs, as_text, heading, notes
from mmer_lib.models.mimic import MimicConfig
from mmer_lib.models.multigranular import BertConfig, MultigranularConfig
from mmer_lib.models.muse import MuseConfig
from mmer_lib.training.settings import PRESETS

CONFIGS = {"muse": MuseConfig, "muse-multigranular": MultigranularConfig, "bert": BertConfig}


def result(model="muse", fold=0, seed=0, wa=0.5, options=None, settings=None, **changes):
    """A result as `training.fit` writes it, through JSON."""
    given, usual = PRESETS[model]["fast"]
    measured = {"phonemes": 69, "words": 50} if model != "bert" else {}
    config = CONFIGS[model](**{**given, **(options or {}), **measured})
    made = {
        "command": f"mmer train {model} {options} {settings} {fold} {seed}",
        "model": model, "data": "demo", "synthetic": True, "data_key": "abc", "preset": "fast",
        "fold": fold, "seed": seed, "config": asdict(config),
        "settings": asdict(replace(usual, **(settings or {}))),
        "test": {"wa": wa, "ua": wa - 0.01}, "seconds": 3.0, "device": "CPU",
    }  # fmt: skip
    return json.loads(json.dumps({**made, **changes}))


@pytest.fixture
def record(tmp_path):
    def write(*results):
        for i, r in enumerate(results):
            (tmp_path / f"{i:03d}.json").write_text(json.dumps(r), encoding="utf-8")
        return tmp_path

    return write


PAIRS = [(fold, seed) for fold in (0, 1) for seed in (0, 1, 2)]
LOSSES = Table(
    "losses",
    "Losses.",
    (
        Row("none", "muse", MUSE, {"align": 0.0}),
        Row("diagonal", "muse", MUSE),
        Row("forced", "muse", MUSE, {"ideal": "forced"}),
        Row("published", paper={"wa": 0.7}),
    ),
    "none",
    scores=("wa",),
)


def test_rows_are_told_apart_by_configuration_and_settings(record):
    runs = []
    for fold, seed in PAIRS:
        at = {"fold": fold, "seed": seed}
        runs.append(result(**at, wa=0.60 + 0.01 * seed, settings={"align": 0.0}))
        runs.append(result(**at, wa=0.65 + 0.01 * seed))
        runs.append(result(**at, wa=0.90, options={"fusion": "word"}))
        runs.append(result(**at, wa=0.90, preset="paper"))
        runs.append(result(**at, wa=0.90, data="iemocap"))
    runs.append(result(settings={"ideal": "forced"}, wa=0.7))
    runs.append(result(fold=4, wa=0.9))
    table = recorded_table(LOSSES, record(*runs))
    rows = {row["label"]: row for row in table["rows"]}
    assert [rows[k]["n"] for k in ("none", "diagonal", "forced", "published")] == [6, 6, 1, 0]
    assert [rows[k]["planned"] for k in ("none", "published")] == [6, 0]
    assert rows["none"]["wa"]["mean"] == pytest.approx(0.61)
    assert rows["diagonal"]["wa"]["difference"] == pytest.approx(0.05)
    assert rows["diagonal"]["wa"]["p"] == pytest.approx(2 / 64)
    assert rows["published"]["wa"]["mean"] is None
    assert "demo (synthetic)" in heading(table) and "1/6" in as_text(table)
    assert any("5 missing" in note for note in notes(table))
    assert [(p["first"], p["second"]) for p in all_pairs(table)] == [("none", "diagonal")]


def test_the_papers_tables_find_their_rows(record):
    runs = [result(options={"fusion": f}) for f in ("highway", "word", "phoneme", "concat")]
    runs += [result("bert"), result("muse-multigranular")]
    runs += [result(options={"fusion_layers": n}) for n in (0, 1, 3)]
    folder = record(*runs)
    for name, count in (("muse-1", [0, 0, 0, 1, 1, 1, 1, 1, 1]), ("muse-3", [1, 1, 1])):
        table = recorded_table(TABLES[name], folder)
        assert [row["n"] for row in table["rows"]] == count
    depths = {r["label"]: r["n"] for r in recorded_table(TABLES["muse-2"], folder)["rows"]}
    assert [d for d, n in depths.items() if n] == ["1 / 1 / 1", "1 / 1 / 2", "1 / 1 / 3"]


def test_a_field_that_came_later_counts_as_agreeing():
    old = result()
    del old["settings"]["encoder_learning_rate"], old["config"]["hop"]
    assert belongs(old, Row("x", "muse", MUSE), "fast")
    assert not belongs(result(options={"width": 32}), Row("x", "muse", MUSE), "fast")
    assert not belongs(result(settings={"align": 0.2}), Row("x", "muse", MUSE), "fast")


def test_widths_that_follow_from_the_corpus_do_not_tell_rows_apart():
    given, usual = PRESETS["mimic"]["fast"]
    config = asdict(MimicConfig(**{**given, "words": 50, "audio": 132, "vision": 17}))
    run = {"model": "mimic", "config": config, "settings": asdict(usual)}
    assert belongs(json.loads(json.dumps(run)), Row("x", "mimic"), "fast")
    assert not belongs(json.loads(json.dumps(run)), Row("x", "mimic", {"gate": False}), "fast")


def test_a_run_recorded_twice_and_mixed_corpora_are_refused(record, tmp_path):
    with pytest.raises(DataError, match="recorded twice: mmer train muse"):
        recorded_table(LOSSES, record(result(), result()))
    with pytest.raises(DataError, match="2 versions of demo"):
        recorded_table(LOSSES, record(result(), result(seed=1, data_key="other")))
    with pytest.raises(DataError, match="no recorded result"):
        recorded_table(LOSSES, tmp_path / "nowhere")


@pytest.fixture
def table(record):
    """Six pairs, of which L_align wins four; the forced ideal has one run."""
    gains = (0.02, 0.01, -0.01, 0.03, 0.02, -0.02)
    runs = [result(settings={"ideal": "forced"}, wa=0.7)]
    for (fold, seed), gain in zip(PAIRS, gains, strict=True):
        at = {"fold": fold, "seed": seed}
        runs += [result(**at, wa=0.6, settings={"align": 0.0}), result(**at, wa=0.6 + gain)]
    return recorded_table(LOSSES, record(*runs))


def test_differences_are_by_pair_in_order(table):
    made = differences(table)
    assert list(made) == ["diagonal", "forced"]
    assert made["diagonal"] == pytest.approx([0.02, 0.01, -0.01, 0.03, 0.02, -0.02])
    assert made["forced"] == pytest.approx([0.1])
    same = {**table["rows"][0], "label": "none again"}
    assert differences({**table, "rows": [*table["rows"], same]}) == made


def test_a_claim_says_how_sure_it_can_be(table):
    made = claim(table, "diagonal", "none")
    assert made["difference"] == pytest.approx(0.05 / 6)
    assert (made["pairs"], made["ahead"], made["paper"]) == (6, 4, None)
    assert made["p"] == pytest.approx(claim(table, "none", "diagonal")["p"])
    assert made["p"] == pytest.approx(table["rows"][1]["wa"]["p"])
    assert made["least"] == 2 / 64
    assert claim(table, "none", "diagonal")["ahead"] == 2
    assert claim(table, "forced", "none") == {"paper": None, "pairs": 1}
    assert claim(table, "published", "none") == {"paper": None, "pairs": 0}


def test_a_claim_has_the_papers_difference(record):
    table = recorded_table(TABLES["muse-1"], record(result()))
    made = claim(table, "Word only", "Phoneme only")
    assert made == {"paper": pytest.approx(0.035), "pairs": 0}


def test_a_frame_keeps_ours_and_the_papers_apart(table, record):
    frame = as_frame(table)
    assert frame.loc["diagonal", ("ours: demo (synthetic)", "difference")] == "+0.008"
    assert frame.loc["published", ("the paper: IEMOCAP", "WA")] == "0.700"
    assert frame.loc["none", ("ours: demo (synthetic)", "WA")] == "0.600\u00a0±\u00a00.000"
    assert frame.loc["forced", ("ours: demo (synthetic)", "runs")] == "1/6"
    alone = as_frame({**table, "rows": table["rows"][:3]})
    assert list(alone.columns) == ["runs", "WA", "difference", "p", "p, Holm"]
