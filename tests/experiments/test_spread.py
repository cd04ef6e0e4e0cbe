import os
import stat
import sys

import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.experiments import cluster as spread
from mmer_lib.experiments.catalogue import Row
from mmer_lib.experiments.cluster import devices_for, environment, make_executor, run_all
from mmer_lib.experiments.sweeps import Cell, Sweep, cost, shares_of
from mmer_lib.training.trainer import threads_for


@pytest.fixture
def gpus(monkeypatch):
    return lambda n: monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


# ------------------------------------------------------------------------------ who gets what


def test_workers_take_the_gpus_of_a_machine_in_turn(gpus):
    gpus(2)
    assert devices_for("auto", 3, "local") == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_for("cuda", 2, None) == ["cuda:0", "cuda:1"]
    assert devices_for("cuda:1", 2, "local") == ["cuda:1", "cuda:1"]
    assert devices_for("cpu", 2, "local") == ["cpu", "cpu"]
    assert devices_for("auto", 1, None) == ["auto"]


def test_without_gpus_and_on_slurm_the_device_stays_as_it_is(gpus):
    gpus(4)
    assert devices_for("auto", 2, "slurm") == ["auto", "auto"]
    gpus(0)
    assert devices_for("auto", 2, "local") == ["auto", "auto"]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [threads_for(n) for n in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [threads_for(n) for n in (1, 2, 4)] == [3, 3, 2]


def test_the_shares_hold_every_run_once_and_are_even(tmp_path):
    rows = [Row(str(n), "muse", {"text_layers": n, "fusion_layers": 2}) for n in (1, 3, 2)]
    cells = [Cell(row, 0, seed) for row in rows for seed in range(3)]
    sweep = Sweep(list, "fast", {}, tmp_path, "")
    shares = shares_of(sweep, cells, ["a", "b"], tmp_path, "local")
    assert [share.device for share in shares] == ["a", "b"]
    held = [cell for share in shares for cell in share.cells]
    assert len(held) == 9 and all(held.count(cell) == 1 for cell in cells)
    costs = [sum(map(cost, share.cells)) for share in shares]
    assert sum(costs) == 3 * (4 + 6 + 5) and abs(costs[0] - costs[1]) <= 6
    first = shares[0].cells[0]
    assert first.row.label == "3"  # the longest first
    assert len(shares_of(sweep, cells[:1], ["a", "b"], tmp_path, "local")) == 1


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("A", "1")
    monkeypatch.delenv("B", raising=False)
    with pytest.raises(KeyError), environment({"A": None, "B": "2"}):
        assert "A" not in os.environ and os.environ["B"] == "2"
        raise KeyError
    assert os.environ["A"] == "1" and "B" not in os.environ


# ------------------------------------------------------------------------ on this machine


def test_local_workers_see_the_gpus_that_this_process_sees(tmp_path, monkeypatch):
    """submitit would hide them; the order and the choice of this process must hold."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    values = spread.gpu_environment("local")

    def piece():
        import os

        from mmer_lib.experiments.cluster import apply_environment

        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        apply_environment(values)
        seen = (before, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"])
        (tmp_path / "seen").write_text(" ".join(map(repr, seen)), encoding="utf-8")

    told = []
    executor = make_executor("local", tmp_path / "logs", {}, "test", gpu=True)
    run_all(executor, [piece], 2, lambda: told.append(1))
    assert (tmp_path / "seen").read_text() == "'' '3,1' '2'" and told
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert spread.gpu_environment("local") == {"CUDA_VISIBLE_DEVICES": None}


def test_an_interrupted_wait_ends_the_workers(tmp_path):
    """Ctrl-C here must not leave trainings behind, or a second start would meet them."""

    def piece():
        import time

        (tmp_path / "started").touch()
        time.sleep(60)

    def tell():
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt

    executor = make_executor("local", tmp_path / "logs", {}, "test", gpu=False)
    submitted, submit = [], executor.submit
    executor.submit = lambda *a: submitted.append(submit(*a)) or submitted[-1]
    with pytest.raises(KeyboardInterrupt):
        run_all(executor, [piece], 1, tell)
    (job,) = submitted
    job._process.wait(timeout=120)
    assert job.done()


# -------------------------------------------------------------------------------------- slurm

SBATCH = """#!/bin/bash
# stands in for sbatch: runs every task of an array here, one after the other
cp "$1" "$FAKE_SLURM/script-$$"
export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
export SLURM_JOB_NUM_NODES=1 SLURM_CPUS_PER_TASK=4
last=$(sed -nE 's/^#SBATCH --array=0-([0-9]+).*/\\1/p' "$1")
( for i in $(seq 0 "$last"); do
    SLURM_ARRAY_TASK_ID=$i SLURM_JOB_ID=$((100 + i)) CUDA_VISIBLE_DEVICES=$i bash "$1"
  done ) > /dev/null 2>&1 &
echo "Submitted batch job 77"
"""
SRUN = """#!/bin/bash
# stands in for srun: drops its options, then runs the command
while [[ "$1" == --* ]]; do
  case "$1" in --output | --error) shift 2 ;; *) shift ;; esac
done
echo "$SRUN_CPUS_PER_TASK" > "$FAKE_SLURM/cpus-$SLURM_ARRAY_TASK_ID"
"$@"
"""
SACCT = "#!/bin/bash\necho 'JobID|State|NodeList'\n"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands that stand in for Slurm's; the folder with the scripts that were submitted."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return folder


def test_a_share_a_task_is_submitted_to_slurm(slurm, tmp_path):
    def piece(name):
        import os

        (tmp_path / name).write_text(os.environ["CUDA_VISIBLE_DEVICES"], encoding="utf-8")

    wanted = {"partition": "long", "timeout_min": 90, "slurm_account": "lab", "mem_gb": 8}
    executor = make_executor("slurm", tmp_path / "logs", wanted, "mmer-test", gpu=True)
    pieces = [lambda n=name: piece(n) for name in ("first", "second")]
    run_all(executor, pieces, None, lambda: None)
    assert [(tmp_path / n).read_text() for n in ("first", "second")] == ["0", "1"]
    assert [(slurm / f"cpus-{i}").read_text().strip() for i in (0, 1)] == ["4", "4"]
    (script,) = slurm.glob("script-*")
    lines = script.read_text().splitlines()
    options = (
        "array=0-1%2", "partition=long", "account=lab", "time=90", "mem=8GB", "gpus-per-node=1",
        "cpus-per-task=4", "job-name=mmer-test", "nodes=1",
    )  # fmt: skip
    for option in options:
        assert f"#SBATCH --{option}" in lines, option
    assert any(sys.executable in line for line in lines)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"partitoin": "long"}, "partitoin"),
        ({"timeout_min": "soon"}, "timeout_min"),
        ({"nodes": 2}, "nodes is 2: a worker is one task"),
        ({"slurm_ntasks_per_node": 4}, "a worker is one task"),
    ],
)
def test_parameters_that_cannot_be_are_refused(slurm, tmp_path, parameters, message):
    with pytest.raises(DataError, match=message) as error:
        make_executor("slurm", tmp_path, parameters, "test", gpu=False)
    assert "\n" not in str(error.value)
    assert not list(slurm.glob("script-*"))
