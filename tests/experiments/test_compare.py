from dataclasses import replace

import numpy as np
import pytest

from mmer_lib import corpora
from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.experiments.catalogue import paper_rows
from mmer_lib.experiments.compare import (
    FLOORS,
    RATES,
    TASKS,
    against_best,
    compare,
    comparison,
    earned,
    published,
    tasks_of,
)
from mmer_lib.experiments.tables import as_text, cost_frame, read_table
from mmer_lib.features.states import UNTRAINED
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.fit import examples_for, fit
from mmer_lib.training.runs import open_run, truth_of
from mmer_lib.training.settings import preset_with
from tests.tiny import with_utterances

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

each_task = pytest.mark.parametrize("task", TASKS)


def compare_small(corpus, out, models=("majority", "linear", "lmf"), seeds=(3, 5)):
    """A comparison on sentiment, on one fold of a corpus that stands for the demo corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "load", lambda name, root=None: corpus)
        return compare(
            "sentiment",
            "demo",
            models=models,
            seeds=seeds,
            folds=(0,),
            out=out,
            device="cpu",
            progress=False,
            max_epochs=2,
        )


def test_every_model_of_the_registry_is_compared_somewhere_and_the_floors_everywhere():
    found = {task: [row.model for row in comparison(task, "demo").rows] for task in TASKS}
    assert set().union(*found.values()) == set(MODELS)
    for models in found.values():
        assert len(set(models)) == len(models) and set(FLOORS) <= set(models)
    assert set(found["emotion"]) & set(found["sentiment"]) == {*FLOORS, "ssl"}


def test_ssl_is_left_out_of_a_corpus_without_sound(small_corpus, tmp_path, monkeypatch):
    three = tuple(s for s in TASKS["sentiment"].systems if s[1] in (*FLOORS, "ssl"))
    monkeypatch.setitem(TASKS, "sentiment", replace(TASKS["sentiment"], systems=three))
    mute = with_utterances(
        small_corpus,
        lambda i, u: replace(u, waveform=None, audio=np.full((len(u.words), 2), i % 7, "f4")),
    )
    with pytest.warns(UserWarning, match="has no sound: left out SSL"):
        made = compare_small(mute, tmp_path, models=None, seeds=(3,))
    assert [row["model"] for row in made["rows"]] == [*FLOORS]


@each_task
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_all_train_alike_but_for_the_model_and_its_own_losses(task, preset):
    shared = {"task", "monitor", "mode", "batch_size", "patience", "clip", "frames", "text"}
    alike = set()
    for row in comparison(task, "demo").rows:
        options, settings = preset_with(row.model, preset, row.changes)
        model_class(row.model).config_class(**options)
        alike.add(tuple(getattr(settings, name) for name in sorted(shared)))
        if row.model not in FLOORS:
            same = (settings.max_epochs, settings.warmup, settings.weight_decay)
            assert (
                same == ({"emotion": 12, "sentiment": 20}[task], 0.1, 0.01)
                and "learning_rate" not in row.changes
            )
    assert len(alike) == 1


def test_the_speech_encoder_goes_to_the_one_system_that_hears_through_one():
    default = {row.model: row for row in comparison("emotion", "demo").rows}
    named = {row.model: row for row in comparison("emotion", "demo", None, "some/encoder").rows}
    assert default["ssl"].changes["listener"] == "untrained"
    assert "untrained" in default["ssl"].label and "untrained" not in named["ssl"].label
    assert named["ssl"].changes["listener"] == "some/encoder"
    assert [m for m, row in named.items() if "listener" in row.changes] == ["ssl"]


@pytest.fixture(scope="module")
def one(small_corpus, tmp_path_factory):
    """A small comparison: (its table, the folder of its runs)."""
    out = tmp_path_factory.mktemp("compared")
    return compare_small(small_corpus, out), out


def test_a_comparison_trains_the_grid_and_then_every_seed_at_the_best_rate(one, small_corpus):
    made, out = one
    rows = {row["model"]: row for row in made["rows"]}
    told = made["tuning"]["rows"]["LMF 2018"]["0"]
    assert made["tuning"]["grid"] == list(RATES) and made["tuning"]["seed"] == 3
    assert told["rate"] == RATES[int(np.argmin(told["mae"]))]
    assert {row["n"] for row in rows.values()} == {2} and set(made["tuning"]["rows"]) == {
        "LMF 2018"
    }
    for line in rows["lmf"]["runs"]:
        run = open_run(out / line["run"])
        assert run.settings.learning_rate == told["rate"] and run.settings.batch_size == 32
        assert run.result["test"]["mae"] == line["mae"]
    # one folder a run: the grid and one more seed of LMF, each floor with each seed
    assert len(list(out.glob("*/result.json"))) == len(RATES) + 1 + 2 * 2
    with pytest.MonkeyPatch.context() as patch:  # a second call trains nothing
        patch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
        again = compare_small(small_corpus, out)
    assert again["tuning"] == made["tuning"]
    for row, before in zip(again["rows"], made["rows"], strict=True):
        assert row["runs"] == before["runs"] and row["mae"] == before["mae"]


def test_tuning_cannot_see_the_test_part(one, small_corpus, tmp_path):
    """Other sentiments of the test part: the same scores of the development part, the same rate."""
    made, _ = one
    test = set(small_corpus.splits(0).test)
    other = with_utterances(
        small_corpus, lambda i, u: replace(u, sentiment=-u.sentiment) if i in test else u
    )
    again = compare_small(other, tmp_path, ["lmf"], (3,))
    assert again["tuning"]["rows"] == made["tuning"]["rows"]
    (row,) = again["rows"]
    assert row["runs"][0]["mae"] != made["rows"][2]["runs"][0]["mae"]


def test_each_system_is_compared_with_the_best_over_the_utterances(one, small_corpus):
    made, out = one
    rows = {row["label"]: row for row in made["rows"]}
    held = small_corpus.splits(0).test
    errors = {}
    for label, row in rows.items():
        of_runs = []
        for line in row["runs"]:
            run = open_run(out / line["run"])
            index, predicted = run.predict(examples_for(run, small_corpus, held))
            assert sorted(index.tolist()) == sorted(held)
            truth = truth_of(small_corpus, index, "sentiment")
            of_runs.append((predicted - truth).abs()[index.argsort()].numpy())
        errors[label] = np.mean(of_runs, axis=0)
        assert errors[label].mean() == pytest.approx(row["mae"]["mean"], abs=1e-5)
    best = min(rows, key=lambda label: rows[label]["mae"]["mean"])
    assert made["reference"] == best and rows[best]["mae"]["p"] is None
    for label in rows.keys() - {best}:
        cell = rows[label]["mae"]
        assert cell["difference"] == pytest.approx((errors[label] - errors[best]).mean(), abs=1e-5)
        assert cell["pairs"] == len(held)


def test_a_system_that_is_as_good_is_not_told_apart_and_a_worse_one_is():
    rng, count = np.random.default_rng(0), 200
    base = rng.random(count)
    seen = {"best": base, "as good": rng.permutation(base), "worse": base + rng.random(count)}
    table = {"reference": "best", "rows": [{"label": name, "mae": {}} for name in seen]}
    against_best(table, {k: dict(enumerate(v)) for k, v in seen.items()}, "mae")
    cells = {row["label"]: row["mae"] for row in table["rows"]}
    assert "p" not in cells["best"]
    assert cells["as good"]["p_holm"] > 0.05 > 0.001 > cells["worse"]["p_holm"]
    assert cells["worse"]["difference"] == pytest.approx((seen["worse"] - base).mean())


def test_what_a_system_costs_stands_in_its_row(one):
    made, out = one
    for row in made["rows"]:
        run = open_run(out / row["runs"][0]["run"])
        assert row["costs"]["params_m"] * 1e6 == pytest.approx(run.result["parameters"])
        assert row["costs"]["step_ms"] > 0
    operations = {row["model"]: row["costs"]["mflops"] for row in made["rows"]}
    assert operations["majority"] == 0 < operations["linear"] < operations["lmf"]
    assert made["measured"]["words"] == 50 and made["measured"]["device"].startswith("CPU")
    text = as_text(made)
    assert "published: MOSI" in text and "one of 0.0003, 0.001, 0.003" in text
    lines = cost_frame(made)
    assert list(lines["parameters"]) == [
        f"{1e6 * row['costs']['params_m']:,.0f}" for row in made["rows"]
    ]


def test_the_table_is_kept_and_its_command_gives_it_again(one):
    made, out = one
    kept = read_table(out / "tables" / "compare-sentiment-demo.json")
    assert kept["tuning"] == made["tuning"] and kept["reference"] == made["reference"]
    assert [row["runs"] for row in kept["rows"]] == [row["runs"] for row in made["rows"]]
    assert made["command"] == (
        "mmer tables compare --task sentiment --data demo --models majority linear lmf --seeds 3 5 "
        "--folds 0 --preset fast --set max_epochs=2"
    )


def test_published_figures_are_shares_of_the_first_source_and_those_of_the_papers_tables():
    assert published("tfn", "mosi") == {
        "acc2_non0": 0.7908,
        "f1_non0": 0.7911,
        "acc7": 0.3446,
        "mae": 0.947,
        "corr": 0.673,
    }
    assert published("tfn", "iemocap") == {} and published("mfn", "mosi")["mae"] == 0.927
    table = {row["method"]: row for name in ("muse-1", "muse-3") for row in paper_rows(name)}
    for model, label in (
        ("yoon", "S. Yoon et al. [13]"),
        ("xu", "H. Xu et al. [14]"),
        ("li", "H. Li et al. [3]"),
        ("bert", "BERT (utterance-only)"),
        ("muse-multigranular", "MUSE Multigranular Fusion Model"),
    ):
        found = published(model, "iemocap")
        assert all(found[k] == table[label][k] for k in ("wa", "wa_std", "ua", "ua_std"))
    at = {c: {r.model: r.paper for r in comparison("sentiment", c).rows} for c in ("demo", "mosei")}
    assert at["mosei"]["tfn"]["mae"] == 0.573 and at["demo"]["tfn"] == published("tfn", "mosi")
    assert all(row["system"] in MODELS and row["source"] for row in paper_rows("systems"))


def test_what_a_run_earns_with_a_class_is_whether_it_is_right(small_corpus, tmp_path):
    run = fit("majority", small_corpus, device="cpu", out=tmp_path, progress=False)
    held, found = small_corpus.splits(0).test, earned([run], small_corpus)
    assert sorted(found) == sorted(held) and set(found.values()) == {0.0, 1.0}
    assert np.mean([found[i] for i in held]) == pytest.approx(run.result["test"]["wa"])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="tfn: not compared on emotion; known: majority, linear"):
        comparison("emotion", "demo", ["yoon", "tfn"])
    with pytest.raises(DataError, match="learning_rate: is what the comparison tunes"):
        compare("emotion", learning_rate=1e-3)
    with pytest.raises(DataError, match="mine: some utterances have no emotion"):
        tasks_of(Corpus("mine", "k", (Utterance("u", "p", "s", ""),)))


@pytest.mark.parametrize(
    ("emotion", "sentiment", "tasks"),
    [
        ("sad", 1.0, ["emotion", "sentiment"]),
        ("sad", None, ["emotion"]),
        (None, 0.0, ["sentiment"]),
    ],
)
def test_the_tasks_of_a_corpus_are_those_it_has_labels_for(emotion, sentiment, tasks):
    u = Utterance("u", "p", "s", "", emotion=emotion, sentiment=sentiment)
    assert tasks_of(Corpus("mine", "k", (u,))) == tasks


@each_task
def test_what_is_recorded_is_of_this_protocol(task):
    kept = read_table(f"data/results/tables/compare-{task}-demo.json")
    (heard,) = (row["changes"]["listener"] for row in kept["rows"] if row["model"] == "ssl")
    wanted = comparison(task, "demo", None, None if heard == UNTRAINED else heard).rows
    assert [row["label"] for row in kept["rows"]] == [row.label for row in wanted]
    for row, now in zip(kept["rows"], wanted, strict=True):
        changes = {k: tuple(v) if isinstance(v, list) else v for k, v in row["changes"].items()}
        assert changes == now.changes and row["n"] == row["planned"] >= 3
        assert row["paper"] == now.paper and set(row["costs"]) == {"params_m", "mflops", "step_ms"}
    assert tuple(kept["tuning"]["grid"]) == RATES and kept["synthetic"]
    assert not any("+" in run["git"] for row in kept["rows"] for run in row["runs"])
