import json
import os
from dataclasses import replace

import pytest

from mmer_lib import corpora
from mmer_lib.data import DataError, Split
from mmer_lib.experiments import sweep as experiments
from mmer_lib.experiments import sweeps
from mmer_lib.experiments.catalogue import MUSE, TABLES, Row, Table, paper_rows
from mmer_lib.experiments.sweep import RunsFailed, run_table, runs_of
from mmer_lib.experiments.tables import read_table
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.settings import PRESETS, check_settings

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

HOW = {"task": "emotion", "monitor": "wa", "mode": "max", "contrastive": 0.0, "max_epochs": 1}
SMALL, OTHER = {"units": 8, "bottleneck": 4}, {"units": 4, "bottleneck": 4}
TINY = Table(
    "tiny",
    "A tiny table.",
    (
        Row("published", paper={"wa": 0.5, "ua": 0.4}),
        Row("ours", "mimic", SMALL, HOW, paper={"wa": 0.7, "wa_std": 0.01, "ua": 0.72}),
        Row("other", "mimic", OTHER, HOW, paper={"wa": 0.6, "ua": 0.5}),
        Row("ours again", "mimic", dict(SMALL), dict(HOW), paper={"wa": 0.7, "ua": 0.72}),
    ),
    "ours",
)


@pytest.fixture
def demo_is_small(small_recipe, monkeypatch):
    """`load("demo")` makes the small corpus, in this process and in those of workers."""

    def load(name, root=None):
        from mmer_lib.corpora.demo import demo

        return demo.load(small_recipe, progress=False)

    monkeypatch.setattr(corpora, "load", load)


@pytest.fixture
def tiny(demo_is_small, tmp_path):
    """tiny(...) runs the tiny table in this process, on two seeds of one fold."""

    def run(table=TINY, **changes):
        plan = {"seeds": (0, 1), "folds": (0,), "device": "cpu", "progress": False}
        return run_table(table, out=tmp_path / "runs", **{**plan, **changes})

    return run


def finished(folder):
    return sorted(p.parent.name for p in folder.rglob("result.json"))


# ------------------------------------------------------------------------ the papers' tables


PAPER = ("muse-1", "muse-2", "muse-3")


@pytest.mark.parametrize("name", PAPER)
def test_each_row_stands_beside_its_published_figures(name):
    table, printed = TABLES[name], paper_rows(name)
    assert table.name == name and len(table.rows) == len(printed)
    for row, figures in zip(table.rows, printed, strict=True):
        assert row.paper == {k: v for k, v in figures.items() if k in row.paper}
        assert {"wa", "ua"} <= row.paper.keys() <= {"wa", "wa_std", "ua", "ua_std"}
        assert (row.model is None) == (figures.get("group") == "baseline")
    assert table.reference in [row.label for row in table.rows if row.model]


@pytest.mark.parametrize("name", TABLES)
def test_each_row_is_a_configuration_that_its_model_has(name):
    for row in TABLES[name].rows:
        if row.model:
            assert row.model in MODELS
            config = model_class(row.model).config_class(**row.options)
            assert all(getattr(config, k) == v for k, v in row.options.items())


def test_the_rows_are_the_papers_ablations():
    one, two, three = ({r.label: r for r in TABLES[f"muse-{i}"].rows} for i in (1, 2, 3))
    fusions = {label: row.options["fusion"] for label, row in one.items() if row.model}
    assert fusions == {
        "MUSE Multilevel Transformer": "highway", "Phoneme only": "phoneme", "Word only": "word",
        "Concatenation": "concat", "Highway network fusion": "highway",
        "w/o Deep Fusion module": "highway",
    }  # fmt: skip
    assert one["w/o Deep Fusion module"].options == {**MUSE, "fusion_layers": 0}
    for label, row in two.items():
        depths = [row.options[f"{part}_layers"] for part in ("text", "cross", "fusion")]
        assert " / ".join(map(str, depths)) == label
    assert [row.model for row in three.values()] == ["bert", "muse", "muse-multigranular"]


def test_the_same_configuration_is_the_same_runs_in_all_three_tables():
    whole = {t: runs_of(TABLES[t], (0, 1, 2), range(5)) for t in PAPER}
    assert {t: len(cells) for t, cells in whole.items()} == {
        "muse-1": 5 * 15, "muse-2": 7 * 15, "muse-3": 3 * 15,
    }  # fmt: skip
    shared = [
        {str((c.row.configuration, c.fold, c.seed)) for c in cells} for cells in whole.values()
    ]
    assert len(set.intersection(*shared)) == 15


@pytest.mark.parametrize("name", ["muse-losses", "muse-ideals"])
def test_a_table_of_losses_differs_in_settings_alone_and_has_no_published_figures(name):
    table = TABLES[name]
    assert table.reference in [row.label for row in table.rows]
    assert len({(row.model, str(row.options)) for row in table.rows}) == 1
    assert len({str(row.settings) for row in table.rows}) == len(table.rows)
    assert not any(row.paper for row in table.rows)
    for row in table.rows:
        _, settings = PRESETS[row.model]["paper"]
        check_settings(replace(settings, **row.settings), model_class(row.model))


# --------------------------------------------------------------------------------- a whole table


def test_a_table_is_trained_saved_and_read(tiny, tmp_path):
    table = tiny(folds=(0, 1))
    assert len(finished(tmp_path)) == 8
    rows = {row["label"]: row for row in table["rows"]}
    assert [(r["n"], r["planned"]) for r in rows.values()] == [(0, 0), (4, 4), (4, 4), (4, 4)]
    assert rows["ours"]["runs"] == rows["ours again"]["runs"] and rows["published"]["runs"] == []
    for run in rows["other"]["runs"]:
        result = json.loads((tmp_path / "runs" / run["run"] / "result.json").read_text())
        assert (run["fold"], run["seed"]) == (result["fold"], result["seed"])
        assert (run["wa"], run["ua"]) == (result["test"]["wa"], result["test"]["ua"])
        for k in ("command", "git", "device", "time", "seconds"):
            assert run[k] == result[k]
        assert result["config"]["units"] == 4 and result["settings"]["max_epochs"] == 1
    assert table["synthetic"] is True and table["preset"] == "fast"
    assert table["command"].startswith("mmer tables tiny --data demo --seeds 0 1 --folds 0 1")
    assert read_table(tmp_path / "runs" / "tables" / "tiny-demo.json") == table
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_second_time_nothing_is_trained(tiny, monkeypatch):
    first = tiny()
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert tiny() == first


def test_a_run_of_mmer_train_is_not_trained_again(tiny, small_corpus, tmp_path, monkeypatch):
    for seed in (0, 1):
        training.fit("mimic", small_corpus, 0, seed, "fast", "cpu", tmp_path / "runs", False, SMALL,
                     **HOW)  # fmt: skip
    monkeypatch.setattr(training, "run_training", lambda *a: pytest.fail("trained again"))
    assert tiny(replace(TINY, rows=TINY.rows[:2]))["rows"][1]["n"] == 2


def test_what_is_asked_for_decides_what_is_the_same_run(tiny, tmp_path):
    only = replace(TINY, rows=TINY.rows[:2])
    tiny(only, seeds=(0,))
    for count, changes in enumerate(
        ({"seeds": (1,)}, {"folds": (1,)}, {"learning_rate": 0.01}, {"max_epochs": 2}), 2
    ):
        tiny(only, **{"seeds": (0,), **changes})
        assert len(finished(tmp_path)) == count


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_lost_run_is_trained_again(tiny, tmp_path):
    only = replace(TINY, rows=TINY.rows[:2])
    (first, _) = tiny(only)["rows"][1]["runs"]
    (tmp_path / "runs" / first["run"] / "result.json").unlink()
    again = tiny(only)["rows"][1]["runs"]
    assert again[0]["wa"] == first["wa"] and again[0]["time"] >= first["time"]


def test_a_sweep_that_was_interrupted_goes_on(tiny, tmp_path, monkeypatch):
    calls, original = [], training.fit

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny()
    before = finished(tmp_path)
    assert len(before) == 2 and not (tmp_path / "runs" / "tables" / "tiny-demo.json").exists()
    again = []
    monkeypatch.setattr(training, "fit", lambda *a, **k: again.append(a) or original(*a, **k))
    assert [row["n"] for row in tiny()["rows"]] == [0, 2, 2, 2]
    assert len(again) == 2 and set(before) < set(finished(tmp_path))


def test_a_run_that_fails_does_not_stop_the_others(tiny, tmp_path, monkeypatch):
    original = training.fit

    def failing(name, corpus, fold, seed, *rest, **changes):
        if rest[-1] == OTHER and seed == 0:
            raise RuntimeError("out of memory")
        return original(name, corpus, fold, seed, *rest, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", failing)
        with pytest.raises(RunsFailed) as error:
            tiny()
    message = str(error.value)
    assert "1 of 4 runs failed: other, fold 0, seed 0 (RuntimeError: out of memory)" in message
    assert "\n" not in message
    (logged,) = (tmp_path / "runs" / "tables" / "logs").rglob("failed-*.txt")
    assert str(logged.parent) in message
    assert "Traceback" in logged.read_text() and "in failing" in logged.read_text()
    assert [row["n"] for row in error.value.table["rows"]] == [0, 2, 1, 2]
    saved = read_table(tmp_path / "runs" / "tables" / "tiny-demo.json")
    assert saved == error.value.table
    assert [row["n"] for row in tiny()["rows"]] == [0, 2, 2, 2]


def test_two_sweeps_do_not_train_one_run_at_once(tiny, monkeypatch):
    """While a sweep trains, a second one leaves that run alone and says so."""
    only, original = replace(TINY, rows=TINY.rows[:2]), training.fit
    inner = []

    def meanwhile(*args, **kwargs):
        if not inner:
            inner.append("entered")
            with pytest.raises(RunsFailed, match="another process is training it"):
                tiny(only, seeds=(0,))
        return original(*args, **kwargs)

    monkeypatch.setattr(training, "fit", meanwhile)
    assert tiny(only, seeds=(0,))["rows"][1]["n"] == 1 and inner


# ------------------------------------------------------------------------ plans and bad requests


def planned(monkeypatch, corpus, **arguments):
    """What `run_table` would train: (preset, folds, seeds)."""

    def stop(share, data, progress):
        seen.append((share.sweep.preset, [(c.fold, c.seed) for c in share.cells]))
        raise InterruptedError

    seen = []
    monkeypatch.setattr(corpora, "load", lambda name, root=None: corpus)
    monkeypatch.setattr(experiments, "_here", stop)
    with pytest.raises(InterruptedError):
        run_table(replace(TINY, rows=TINY.rows[:2]), "any", device="cpu", **arguments)
    return seen[0]


def test_a_real_corpus_has_all_folds_and_the_papers_preset(monkeypatch, small_corpus, tmp_path):
    fifteen = [(f, s) for f in range(5) for s in range(3)]
    real = replace(small_corpus, synthetic=False)
    assert planned(monkeypatch, real, out=tmp_path) == ("paper", fifteen)
    assert planned(monkeypatch, small_corpus, out=tmp_path) == ("fast", fifteen[:6])
    own = planned(monkeypatch, small_corpus, out=tmp_path, folds=[3], seeds=[5, 5], preset="paper")
    assert own == ("paper", [(3, 5)])


def test_a_corpus_with_one_split_has_one_fold(monkeypatch, small_corpus, tmp_path):
    fixed = replace(small_corpus, fixed=Split([0, 1], [2], [3]))
    assert planned(monkeypatch, fixed, out=tmp_path)[1] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "muse-9"}, "unknown table 'muse-9'; known: muse-1, muse-2, muse-3"),
        ({"workers": 0}, "workers is 0"),
        ({"folds": (0, 7)}, "fold 7 does not exist"),
        ({"folds": ()}, "nothing to train"),
        ({"seeds": (0, -1)}, "seed is -1"),
        ({"preset": "slow"}, "unknown preset 'slow'; known: paper, fast"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"lerning_rate": 1}, "lerning_rate"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"slurm": {"partition": "x"}}, "partition: a parameter for slurm"),
        ({"cluster": "moon"}, "unknown cluster 'moon'; known: local, slurm, debug"),
        ({"cluster": "slurm"}, "srun"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained(
    tiny, tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(training, "features_for", lambda *a, **k: pytest.fail("computed"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun here
    with pytest.raises(DataError, match=message):
        tiny(**{"table": TINY, **changes})
    assert not finished(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row("x", "mimik", {}, HOW), "unknown model 'mimik'"),
        (Row("x", "mimic", {"depth": 3}, HOW), "'depth'; known: "),
        (Row("x", "mimic", SMALL, {"task": "age"}), "unknown task 'age'"),
    ],
)
def test_a_row_that_cannot_be_is_refused_before_the_rows_above_it_are_trained(
    tiny, monkeypatch, row, message
):
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(DataError, match=message):
        tiny(replace(TINY, rows=(*TINY.rows, row)))


def test_a_missing_label_is_refused_before_anything_is_trained(small_corpus, monkeypatch, tmp_path):
    us = list(small_corpus.utterances)
    us[40] = replace(us[40], emotion=None)
    unlabelled = replace(small_corpus, utterances=tuple(us))
    monkeypatch.setattr(corpora, "load", lambda name, root=None: unlabelled)
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(DataError, match=f"'{us[40].id}' has no emotion"):
        run_table(TINY, out=tmp_path, device="cpu")


def test_a_corpus_without_its_root_is_refused(tmp_path):
    with pytest.raises(DataError, match="iemocap: name the folder"):
        run_table(TINY, "iemocap", out=tmp_path)


# -------------------------------------------------------------------- processes of their own


@pytest.mark.slow
def test_two_workers_train_a_table(tiny, tmp_path, capsys):
    table = tiny(workers=2, progress=True)
    assert [row["n"] for row in table["rows"]] == [0, 2, 2, 2]
    assert len(finished(tmp_path)) == 4
    assert "4 runs, 4 to train" in capsys.readouterr().out
    assert {run["threads"] for row in table["rows"] for run in row["runs"]} == {1}
    logs = list((tmp_path / "runs" / "tables" / "logs").rglob("*_log.out"))
    told = [log.read_text().count("epoch   1 of at most 1") for log in logs]
    assert told == [2, 2]


def test_the_debug_cluster_works_in_this_process(tiny, tmp_path, monkeypatch):
    original, here = training.fit, []
    monkeypatch.setattr(
        training, "fit", lambda *a, **k: here.append(os.getpid()) or original(*a, **k)
    )
    table = tiny(replace(TINY, rows=TINY.rows[:2]), cluster="debug")
    assert table["rows"][1]["n"] == 2 and here == [os.getpid()] * 2


@pytest.mark.slow
def test_a_killed_worker_loses_no_finished_run(tiny, small_recipe, tmp_path, monkeypatch):
    """One of two workers is killed in its second training, the hard way; then all goes on."""

    def load_and_wait_for_death(name, root=None):
        import os
        import signal
        from contextlib import suppress

        from mmer_lib.corpora.demo import demo
        from mmer_lib.training.learner import Learner

        step, seen = Learner.training_step, set()

        def training_step(self, *args):
            seen.add(self)
            if len(seen) == 2:
                with suppress(FileNotFoundError):  # one worker alone finds the mark
                    mark.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            return step(self, *args)

        if "SUBMITIT_LOCAL_JOB_ID" in os.environ:
            Learner.training_step = training_step
        return demo.load(small_recipe, progress=False)

    mark = tmp_path / "kill"
    mark.touch()
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "load", load_and_wait_for_death)
        with pytest.raises(RunsFailed, match=r"1 of 4 runs failed: .*its worker ended before it"):
            tiny(workers=2)
    before = finished(tmp_path)
    assert len(before) == 3 and not mark.exists()
    started, original = [], sweeps.Sweep.train
    monkeypatch.setattr(sweeps.Sweep, "train", lambda *a: started.append(a) or original(*a))
    assert [row["n"] for row in tiny()["rows"]] == [0, 2, 2, 2]
    assert len(started) == 1 and set(before) < set(finished(tmp_path))
