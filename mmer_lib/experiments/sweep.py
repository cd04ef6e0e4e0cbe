"""Filling the papers' tables (`catalogue`): our figures beside the published ones.

Every run is a folder of its own (`training.fit`), found by its key alone; what is there is not
trained again.
"""

from __future__ import annotations

import functools
import json
import shlex
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from pathlib import Path

import joblib
import pandas as pd
import torch
from filelock import FileLock, Timeout

from mmer_lib import corpora
from mmer_lib.data import Corpus, DataError
from mmer_lib.experiments.catalogue import Cell, Table, runs_of, table_for
from mmer_lib.experiments.costs import MEASURES, measures
from mmer_lib.experiments.tables import DEMO_FOLDS, assemble, run_frame, save_table, write_runs
from mmer_lib.store import cache_dir, check_folder, write_bytes
from mmer_lib.training import fit as training
from mmer_lib.training.runs import open_run
from mmer_lib.training.state import check_device


@dataclass(frozen=True)
class Machines:
    """Where runs are trained, see `run_table`.

    Raises:
        DataError: no worker; an unknown cluster; parameters for a slurm that is not asked for.
    """

    device: str = "auto"
    workers: int = 1
    cluster: str | None = None
    slurm: dict = field(default_factory=dict)
    progress: bool = True

    def __post_init__(self):
        if self.workers < 1:
            raise DataError(f"workers is {self.workers}; at least 1")
        if self.cluster not in (None, "local", "slurm"):
            raise DataError(f"unknown cluster {self.cluster!r}; known: local, slurm")
        if self.slurm and self.cluster != "slurm":
            raise DataError(f"{', '.join(self.slurm)}: for slurm; choose the cluster slurm")


class RunsFailed(DataError):
    """Some runs of a table failed. `table` is what there is, which has been saved too; None where
    nothing can be said before all are there."""

    table: dict | None = None


# --------------------------------------------------------------------------- training what lacks

_CORPORA: dict[Path, Corpus] = {}
"""The corpus of a worker, by the sweep's folder of logs: loaded once for all runs of a sweep."""


@dataclass(frozen=True)
class Sweep:
    """What all runs of a table have in common: how to load the corpus, what `training.fit` takes,
    and the folders of all runs and of the logs. Called with a run and a device, it trains the run
    in a worker's process."""

    load: Callable[[], Corpus]
    preset: str
    changes: dict
    out: Path
    logs: Path

    def __call__(self, cell: Cell, device: str) -> str | None:
        if self.logs not in _CORPORA:
            _CORPORA.clear()
            _CORPORA[self.logs] = self.load()
        return self.train(_CORPORA[self.logs], cell, device)

    def checkpoint(self, *arguments):
        """What submitit queues again after a preemption: the training goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)

    def plan(self, corpus: Corpus, cell: Cell) -> training.Plan:
        """See `training.plan`."""
        name, changes = cell.row.model, {**cell.row.changes, **self.changes}
        return training.plan(name, corpus, cell.fold, cell.seed, self.preset, self.out, **changes)

    def train(self, corpus: Corpus, cell: Cell, device: str) -> str | None:
        """Train a run; None, or why it failed, with the traceback."""
        (row, fold, seed), changes = cell, {**cell.row.changes, **self.changes}
        lock = self.out / "tables" / "locks" / self.plan(corpus, cell).folder.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        how = (fold, seed, self.preset, device, self.out, False)
        try:
            with FileLock(lock, timeout=0):
                training.fit(row.model, corpus, *how, **changes)
        except Timeout:
            return "another process is training it"
        except Exception as error:
            return f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
        return None


def train_missing(
    sweep: Sweep, corpus: Corpus, cells: Sequence[Cell], machines: Machines, name: str
) -> tuple[list[dict | None], RunsFailed | None]:
    """Train those of some runs that are not there; one that fails does not stop the others. What
    each run recorded, with its folder's name as `run` (None if there is none), and an error that
    names the failures, if there are any.

    Raises:
        DataError: what `training.plan` refuses, before anything is trained or computed.
    """
    if not cells:
        raise DataError("nothing to train: name a table with models of ours, a fold and a seed")
    device, workers, slurm = machines.device, machines.workers, machines.cluster == "slurm"
    if not slurm:  # there the device is another machine's
        check_device(device)
    plans = [sweep.plan(corpus, cell) for cell in cells]
    check_folder(sweep.out)
    todo = [(cell, plan) for cell, plan in zip(cells, plans, strict=True) if not plan.finished]
    missing = [cell for cell, _ in todo]
    if machines.progress:
        print(f"{name} on {corpus.name}: {len(cells)} runs, {len(todo)} to train", flush=True)
    if todo and slurm:
        gpu = device != "cpu"
        executor = slurm_executor(sweep.logs, machines.slurm, f"mmer-{name}", workers, gpu)
    _compute_features([plan for _, plan in todo], machines.progress)
    if todo and slurm:
        reasons = _on_cluster(executor, sweep, missing, device)
    elif workers == 1:
        reasons = (sweep.train(corpus, cell, device) for cell in missing)
    else:
        reasons = _in_processes(sweep, missing, devices_for(device), workers)
    failures = []
    # The outcomes end after the runs: a broken pool gives its reason without end.
    for count, ((cell, plan), why) in enumerate(zip(todo, reasons, strict=False), 1):
        if result := _result(plan):
            scores = (f"{k} {v:.3f}" for k, v in result["test"].items() if v is not None)
            line = f"{', '.join(scores)} ({result['seconds']:.0f} s)"
        else:
            why = why or "it left no result"
            first = why.splitlines()[0]
            failures.append(f"{cell} ({first})")
            log = sweep.logs / f"failed-{plan.folder.name}.txt"
            write_bytes(log, f"{cell}\n\n{why}\n".encode())
            line = f"failed, {first}"
        if machines.progress:
            print(f"{count:4d} of {len(todo)}  {cell}: {line}", flush=True)
    error = None
    if failures:
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        error = RunsFailed(
            f"{len(failures)} of {len(cells)} runs failed: {'; '.join(failures[:3])}{more}. "
            f"The same command trains them again; logs are in {sweep.logs}"
        )
    return [_result(plan) for plan in plans], error


def _result(plan: training.Plan) -> dict | None:
    file = plan.folder / "result.json"
    if not file.is_file():
        return None
    return {**json.loads(file.read_text(encoding="utf-8")), "run": plan.folder.name}


def _compute_features(plans: Sequence[training.Plan], progress: bool) -> None:
    """Leave in the cache what the runs will read, once, before there are several workers."""
    done = []
    for plan in plans:
        needs, settings = plan.model.needs(plan.config), plan.settings
        wanted = (set(needs), settings.text, settings.encoder, settings.frames, settings.listener)
        if wanted not in done:
            training.features_for(needs, settings, plan.corpus, progress)
            done.append(wanted)


def devices_for(device: str) -> list[str]:
    """The devices that workers of one machine take in turn: of "auto" and "cuda" its GPUs."""
    if device in ("auto", "cuda") and torch.cuda.device_count():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [device]


def _in_processes(
    sweep: Sweep, cells: Sequence[Cell], devices: Sequence[str], workers: int
) -> Iterator[str | None]:
    """Why each run failed, or None, in order: several processes, one thread each. Where one is
    killed, what is not done by then counts as failed."""
    train = joblib.delayed(sweep)
    tasks = [train(cell, devices[i % len(devices)]) for i, cell in enumerate(cells)]
    try:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield from joblib.Parallel(workers, return_as="generator", batch_size=1)(tasks)
    except BrokenProcessPool:
        yield from repeat("a worker's process was killed")


def _on_cluster(executor, sweep: Sweep, cells: Sequence[Cell], device: str) -> Iterator[str | None]:
    """Why each run failed, or None, in order: one job a run. They go on where this process ends."""
    for job in executor.map_array(sweep, cells, [device] * len(cells)):
        error = job.exception()
        yield job.result() if error is None else f"its job ended: {error}"


def slurm_executor(folder: Path, parameters: dict, name: str, workers: int, gpu: bool):
    """A submitit executor for slurm with its logs in `folder`, for jobs of which `workers` run at
    once, with one GPU each if `gpu` and `parameters` do not say otherwise. Those are submitit's
    ("timeout_min", "mem_gb", "gpus_per_node", ...) or slurm's own ("partition", ...).

    Raises:
        DataError: no slurm here, or a parameter that submitit refuses.
    """
    import submitit

    wanted = {
        "name": name,
        "timeout_min": 24 * 60,
        "cpus_per_task": 4,
        "slurm_array_parallelism": workers,
        **({"gpus_per_node": 1} if gpu else {}),
        # srun of Slurm 22.05 and later does not take this over from the job
        "slurm_setup": ["export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"],
    }
    own = {"name", "timeout_min", "mem_gb", "nodes", "stderr_to_stdout"}  # submitit's
    own |= {"cpus_per_task", "gpus_per_node", "tasks_per_node"}
    for key, value in parameters.items():
        wanted[key if key in own or key.startswith("slurm_") else f"slurm_{key}"] = value
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm")
        executor.update_parameters(**wanted)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"slurm: {' '.join(str(error).split())}") from error
    return executor


# ----------------------------------------------------------------------------------- a table


def run_table(
    table: str | Table,
    corpus: str = "demo",
    root: str | Path | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: Sequence[int] | None = None,
    preset: str | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    workers: int = 1,
    cluster: str | None = None,
    slurm: dict | None = None,
    progress: bool = True,
    reading: dict | None = None,
    **changes,
) -> dict:
    """Train what a table lacks and set our figures beside the paper's.

    Args:
        table: a name of `catalogue.TABLES`, or a `Table`. corpus, root, reading: see
            `corpora.load`; `reading` are its further arguments.
        folds: None: all; on a synthetic corpus `DEMO_FOLDS`.
        preset: None: "paper"; on a synthetic corpus "fast".
        device: see `training.fit`. Several workers on one machine take its GPUs in turn.
        out: folder of all runs; by default `runs` in the cache folder. The table goes to its
            `tables`, see `tables.save_table`, with every run as a line of `TABLE-CORPUS.jsonl`.
            For slurm, a folder that every machine sees.
        workers: processes that train at once, each with one thread.
        cluster: "local" (this machine) or "slurm". slurm: parameters of `slurm_executor`.
        changes: fields of `Settings` or of the models' configurations to set otherwise in every
            row.

    Returns:
        The table, see `tables.assemble` and `tables.read_table`.

    Raises:
        DataError: what `training.plan` and the corpus's reader refuse, before anything is trained.
        RunsFailed: some runs failed; the others are there, and the table with them is saved.
    """
    machines = Machines(device, workers, cluster, slurm or {}, progress)
    sweep, data = prepared(corpus, root, reading, preset, changes, out)
    table = table if isinstance(table, Table) else table_for(table, data.name)
    folds = folds_of(data, folds)
    cells = runs_of(table, seeds, folds)
    results, failed = train_missing(sweep, data, cells, machines, table.name)
    made = [(cell.row, r) for cell, r in zip(cells, results, strict=True) if r]
    if set(MEASURES) & set(table.scores):
        for _, result in made:
            result["measures"] |= measures(open_run(sweep.out / result["run"]))
    parts = []
    for row in (row for row in table.rows if row.model):
        own = [result for other, result in made if other.configuration == row.configuration]
        parts.append(run_frame(own).assign(row=row.label))
    about = common(sweep, data, ["mmer", "tables", table.name, *data.arguments], folds, seeds)
    filled = assemble(table, pd.concat(parts), len(folds) * len(seeds), **about)
    path = save_table(filled, sweep.out / "tables")
    write_runs(path.with_suffix(".jsonl"), [result for _, result in made])
    if failed:
        failed.table = filled
        raise failed
    return filled


def prepared(
    corpus: str, root, reading: dict | None, preset: str | None, changes: dict, out
) -> tuple[Sweep, Corpus]:
    """A sweep with the defaults of `run_table`, and its corpus."""
    root = None if root is None else Path(root).absolute()
    corpus = str(Path(corpus).absolute()) if Path(corpus).suffix else corpus
    load = functools.partial(corpora.load, corpus, root, **(reading or {}))
    data = load()
    out = (Path(out) if out else cache_dir() / "runs").absolute()
    logs = out / "tables" / "logs" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
    preset = preset or ("fast" if data.synthetic else "paper")
    return Sweep(load, preset, changes, out, logs), data


def folds_of(corpus: Corpus, folds: Sequence[int] | None) -> list[int]:
    """The folds of a table: those asked for, or all; on a synthetic corpus `DEMO_FOLDS`."""
    if folds is not None:
        return list(folds)
    if corpus.fixed is not None:
        return [0]
    return list(DEMO_FOLDS if corpus.synthetic else range(len(corpus.sessions)))


def common(
    sweep: Sweep, corpus: Corpus, words: list[str], folds: list[int], seeds: Sequence[int]
) -> dict:
    """What all runs of a table have in common, for `tables.assemble`. `words` is how the command
    that gives the table again begins."""
    words = [*words, "--seeds", *map(str, seeds), "--folds", *map(str, folds)]
    words += ["--preset", sweep.preset]
    for name, value in sweep.changes.items():
        words += ["--set", f"{name}={value}"]
    return {
        "corpus": corpus.name,
        "synthetic": corpus.synthetic,
        "data_key": corpus.key,
        "preset": sweep.preset,
        "folds": folds,
        "seeds": list(seeds),
        "changes": sweep.changes,
        "command": shlex.join(words),
    }
