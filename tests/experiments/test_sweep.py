"""Runs of a table are trained once, found again, and spread; failures are told."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import submitit
import torch

from mmer_lib import corpora
from mmer_lib.data import DataError, Split
from mmer_lib.experiments import sweep
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.costs import MEASURES, measures
from mmer_lib.experiments.sweep import RunsFailed, Sweep, devices_for, run_table, slurm_executor
from mmer_lib.experiments.tables import read_runs, read_table, recorded_table
from mmer_lib.training import fit as training
from mmer_lib.training.runs import open_run

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

HOW = {"task": "emotion", "monitor": "wa", "mode": "max", "contrastive": 0.0, "max_epochs": 1}
SMALL = {"units": 8, "bottleneck": 4, **HOW}
OTHER = {"units": 4, "bottleneck": 4, **HOW}
TINY = Table(
    "tiny",
    "A tiny table.",
    (
        Row("published", paper={"wa": 0.5, "ua": 0.4}),
        Row("ours", "mimic", SMALL, paper={"wa": 0.7, "wa_std": 0.01, "ua": 0.72}),
        Row("other", "mimic", OTHER, paper={"wa": 0.6, "ua": 0.5}),
        Row("ours again", "mimic", dict(SMALL), paper={"wa": 0.7, "ua": 0.72}),
    ),
    "ours",
)
ONE = replace(TINY, rows=TINY.rows[:2])


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
        given = {"seeds": (0, 1), "folds": (0,), "device": "cpu", "progress": False}
        return run_table(table, out=tmp_path / "runs", **{**given, **changes})

    return run


@pytest.fixture
def untrained(monkeypatch):
    """Whoever trains fails."""
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))


def finished(folder):
    return sorted(p.parent.name for p in folder.rglob("result.json"))


# --------------------------------------------------------------------------------- a whole table


def test_a_table_is_trained_saved_read_and_recorded(tiny, tmp_path):
    table = tiny(replace(TINY, scores=("wa", "ua", *MEASURES)), folds=(0, 1))
    assert len(finished(tmp_path)) == 8
    rows = {row["label"]: row for row in table["rows"]}
    assert [(r["n"], r["planned"]) for r in rows.values()] == [(0, 0), (4, 4), (4, 4), (4, 4)]
    assert rows["ours"]["runs"] == rows["ours again"]["runs"] and rows["published"]["runs"] == []
    for run in rows["other"]["runs"]:
        result = json.loads((tmp_path / "runs" / run["run"] / "result.json").read_text())
        assert (run["fold"], run["seed"]) == (result["fold"], result["seed"])
        assert (run["wa"], run["ua"]) == (result["test"]["wa"], result["test"]["ua"])
        found = measures(open_run(tmp_path / "runs" / run["run"]))
        assert {k: run[k] for k in MEASURES} == found
        for k in ("command", "git", "device", "time", "seconds"):
            assert run[k] == result[k]
        assert result["config"]["units"] == 4 and result["settings"]["max_epochs"] == 1
    assert table["synthetic"] is True and table["preset"] == "fast"
    assert table["command"].startswith("mmer tables tiny --data demo --seeds 0 1 --folds 0 1")
    folder = tmp_path / "runs" / "tables"
    assert read_table(folder / "tiny-demo.json") == table
    assert len(read_runs(folder)) == 8
    recorded = recorded_table(TINY, folder, seeds=(0, 1))
    for row, again in zip(table["rows"], recorded["rows"], strict=True):
        assert row["n"] == again["n"] and row["wa"] == again["wa"] and row["ua"] == again["ua"]


def test_what_is_asked_for_decides_what_is_the_same_run(tiny, tmp_path, small_corpus, monkeypatch):
    training.fit("mimic", small_corpus, 0, 0, "fast", "cpu", tmp_path / "runs", False, **SMALL)
    first = tiny(ONE, seeds=(0,))
    assert len(finished(tmp_path)) == 1  # that of `fit`
    for count, changes in enumerate(
        ({"seeds": (1,)}, {"folds": (1,)}, {"learning_rate": 0.01}, {"temperature": 0.2}), 2
    ):
        tiny(ONE, **{"seeds": (0,), **changes})
        assert len(finished(tmp_path)) == count
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(training, "features_for", lambda *a, **k: pytest.fail("computed"))
    assert tiny(ONE, seeds=(0,)) == first


# ----------------------------------------------------------------------- interrupted and failed


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


def test_a_run_that_fails_does_not_stop_the_others(tiny, tmp_path, monkeypatch, capsys):
    original = training.fit

    def failing(name, corpus, fold, seed, *rest, **changes):
        if changes["units"] == 4 and seed == 0:
            raise RuntimeError("out of memory")
        return original(name, corpus, fold, seed, *rest, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", failing)
        with pytest.raises(RunsFailed) as error:
            tiny(progress=True)
    out, message = capsys.readouterr().out, str(error.value)
    assert "3 of 4  other, fold 0, seed 0: failed, RuntimeError: out of memory" in out
    assert "1 of 4 runs failed: other, fold 0, seed 0 (RuntimeError: out of memory)" in message
    (logged,) = (tmp_path / "runs" / "tables" / "logs").rglob("failed-*.txt")
    assert str(logged.parent) in message and "in failing" in logged.read_text()
    saved = read_table(tmp_path / "runs" / "tables" / "tiny-demo.json")
    assert [row["n"] for row in saved["rows"]] == [0, 2, 1, 2]
    assert [row["n"] for row in tiny()["rows"]] == [0, 2, 2, 2]


def test_two_sweeps_do_not_train_one_run_at_once(tiny, monkeypatch):
    original, inner = training.fit, []

    def meanwhile(*args, **kwargs):
        if not inner:
            inner.append("entered")
            with pytest.raises(RunsFailed, match="another process is training it"):
                tiny(ONE, seeds=(0,))
        return original(*args, **kwargs)

    monkeypatch.setattr(training, "fit", meanwhile)
    assert tiny(ONE, seeds=(0,))["rows"][1]["n"] == 1 and inner


# ------------------------------------------------------------------------ plans and bad requests


def test_a_real_corpus_has_all_folds_and_the_papers_preset(monkeypatch, small_corpus, tmp_path):
    def asked(corpus, **arguments):
        def stop(sweeping, cells, *_):
            seen.append((sweeping.preset, [(c.fold, c.seed) for c in cells]))
            raise InterruptedError

        seen = []
        monkeypatch.setattr(corpora, "load", lambda name, root=None: corpus)
        monkeypatch.setattr(sweep, "train_missing", stop)
        with pytest.raises(InterruptedError):
            run_table(ONE, "any", device="cpu", out=tmp_path, **arguments)
        return seen[0]

    fifteen = [(f, s) for f in range(5) for s in range(3)]
    assert asked(replace(small_corpus, synthetic=False)) == ("paper", fifteen)
    assert asked(small_corpus) == ("fast", fifteen[:6])
    assert asked(small_corpus, folds=[3], seeds=[5], preset="paper") == ("paper", [(3, 5)])
    fixed = replace(small_corpus, fixed=Split([0, 1], [2], [3]))
    assert asked(fixed)[1] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "muse-9"}, "unknown table 'muse-9'; known: muse-1, muse-2, muse-3"),
        ({"folds": (0, 7)}, "fold 7 does not exist"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"slurm": {}}, "srun"),
        ({"table": replace(TINY, rows=(*TINY.rows, Row("x", "mimik")))}, "unknown model 'mimik'"),
        ({"corpus": "iemocap"}, "iemocap: name the folder"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained_or_computed(
    tiny, tmp_path, monkeypatch, untrained, changes, message
):
    if "corpus" in changes:
        monkeypatch.undo()
    monkeypatch.setattr(training, "features_for", lambda *a, **k: pytest.fail("computed"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun here
    with pytest.raises(DataError, match=message):
        tiny(**{"table": TINY, **changes})
    assert not finished(tmp_path)


# -------------------------------------------------------------------- processes of their own


def test_workers_take_the_gpus_of_a_machine_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_for("auto") == devices_for("cuda") == ["cuda:0", "cuda:1"]
    assert devices_for("cuda:1") == ["cuda:1"] and devices_for("cpu") == ["cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_for("auto") == ["auto"]


@pytest.mark.slow
def test_two_workers_train_a_table_on_a_thread_each(tiny, tmp_path, capsys):
    table = tiny(workers=2, progress=True)
    assert [row["n"] for row in table["rows"]] == [0, 2, 2, 2] and len(finished(tmp_path)) == 4
    out = capsys.readouterr().out
    assert "4 runs, 4 to train" in out and "   4 of 4  " in out
    assert {run["threads"] for row in table["rows"] for run in row["runs"]} == {1}


@pytest.mark.slow
def test_after_a_killed_worker_the_same_command_goes_on(tiny, small_recipe, tmp_path, monkeypatch):
    """One of two workers is killed in its training, the hard way."""

    def load_and_wait_for_death(name, root=None):
        import os
        import signal
        from contextlib import suppress

        from mmer_lib.corpora.demo import demo
        from mmer_lib.training import fit as training

        def fit(*args, **changes):
            with suppress(FileNotFoundError):  # one worker alone finds the mark
                mark.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **changes)

        if os.getpid() != parent and training.fit.__name__ == "fit":
            original, training.fit = training.fit, fit
        return demo.load(small_recipe, progress=False)

    mark, parent = tmp_path / "kill", os.getpid()
    mark.touch()
    monkeypatch.setattr(corpora, "load", load_and_wait_for_death)
    with pytest.raises(RunsFailed, match="a worker's process was killed"):
        tiny(ONE, workers=2, seeds=range(4))
    assert not mark.exists()
    assert [row["n"] for row in tiny(ONE, workers=2, seeds=range(4))["rows"]] == [0, 4]


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_too(small_recipe, tmp_path):
    """Only the first process gets the signal, as from a manager of jobs."""
    code = f"""
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a job in the background
from mmer_lib.training import fit as training
from mmer_lib import corpora
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.sweep import run_table
from mmer_lib.corpora.demo import demo

def load(name, root=None):
    from mmer_lib.training import fit as training
    def fit(*args, **changes):
        import os
        open({str(tmp_path)!r} + f"/worker-{{os.getpid()}}", "w").close()
        time.sleep(600)
    training.fit = fit
    return demo.load({small_recipe!r}, progress=False)

corpora.load = load
table = Table("t", "t", (Row("a", "mimic", {SMALL!r}),), "a")
run_table(table, seeds=(0, 1), folds=(0,), device="cpu", workers=2, out={str(tmp_path / "runs")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 400
        while len(list(tmp_path.glob("worker-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.2)
        workers = [int(p.name.split("-")[1]) for p in tmp_path.glob("worker-*")]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert len(workers) == 2 and b"KeyboardInterrupt" in err.splitlines()[-1]
    time.sleep(1)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.slow
def test_a_cluster_gets_an_array_with_a_job_a_run(tiny, tmp_path, monkeypatch):
    """submitit's jobs of this machine stand for slurm's."""
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    monkeypatch.setattr(sweep, "slurm_executor", lambda *_: executor)
    table = tiny(ONE, slurm={}, workers=2)
    assert table["rows"][1]["n"] == 2 and len(list((tmp_path / "jobs").glob("*_log.out"))) == 2


def test_a_parameter_that_slurm_would_refuse(demo_is_small, tmp_path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sweep = Sweep(out=tmp_path, workers=3, slurm={"partition": "gpu", "time": 60})
    found = slurm_executor(sweep, "x").parameters
    assert (found["array_parallelism"], found["partition"], found["time"]) == (3, "gpu", 60)
    sweep.slurm = {"moon": 1}
    with pytest.raises(DataError, match="moon"):
        slurm_executor(sweep, "x")
