"""Filling the papers' tables (`catalogue`): our figures beside the published ones.

Every run is a folder of its own (`training.fit`), found by its key alone; what is there is not
trained again.
"""

from __future__ import annotations

import functools
import json
import shlex
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from itertools import repeat
from pathlib import Path

import joblib
import submitit
import torch
from filelock import FileLock, Timeout

from mmer_lib import corpora
from mmer_lib.data import Corpus, DataError
from mmer_lib.experiments.catalogue import Cell, Table, runs_of, table_for
from mmer_lib.experiments.costs import MEASURES, measures
from mmer_lib.experiments.tables import DEMO_FOLDS, assemble, save_table, write_runs
from mmer_lib.store import cache_dir, check_folder, write_bytes
from mmer_lib.training import fit as training
from mmer_lib.training.runs import open_run
from mmer_lib.training.state import check_device


class RunsFailed(DataError):
    """Some runs failed; `results` is what each recorded, or None."""

    results: list[dict | None]


_CORPORA: dict[Path, Corpus] = {}
"""The corpus of the sweep with this folder of logs: a process loads it once for all runs."""


class Sweep(submitit.helpers.Checkpointable):
    """What is asked of all runs of a table. Called with a run and a device, it trains the run; a
    cluster that interrupts that does so again.

    Args:
        corpus, root, reading: see `corpora.load`; `reading` are its further arguments.
        folds: None: all; on a synthetic corpus `DEMO_FOLDS`.
        preset: None: "paper"; on a synthetic corpus "fast".
        device: see `training.fit`. Several workers on one machine take its GPUs in turn.
        out: folder of all runs, by default `runs` in the cache folder; for slurm one that every
            machine sees. The table goes to its `tables`, see `tables.save_table`.
        workers: so many runs train at once, each with one thread on this machine.
        slurm: options of sbatch, see `slurm_executor`; None: this machine.
        changes: fields of `Settings` or of the models' configurations to set otherwise in every
            row.

    Raises:
        DataError: what the corpus's reader refuses; no such device or folder.
    """

    def __init__(
        self,
        corpus: str = "demo",
        root: str | Path | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        folds: Sequence[int] | None = None,
        preset: str | None = None,
        device: str = "auto",
        out: str | Path | None = None,
        workers: int = 1,
        slurm: dict | None = None,
        progress: bool = True,
        reading: dict | None = None,
        **changes,
    ):
        if slurm is None:  # else the device is another machine's
            check_device(device)
        self.seeds, self.changes, self.device = seeds, changes, device
        self.workers, self.slurm, self.progress = workers, slurm, progress
        root = None if root is None else Path(root).absolute()
        corpus = str(Path(corpus).absolute()) if Path(corpus).suffix else corpus
        self.load = functools.partial(corpora.load, corpus, root, **(reading or {}))
        self.out = (Path(out) if out else cache_dir() / "runs").absolute()
        check_folder(self.out)
        self.logs = self.out / "tables" / "logs" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        data = self.corpus
        self.preset = preset or ("fast" if data.synthetic else "paper")
        every = DEMO_FOLDS if data.synthetic else range(len(data.sessions))
        self.folds = ([0] if data.fixed is not None else every) if folds is None else folds

    @property
    def corpus(self) -> Corpus:
        if self.logs not in _CORPORA:
            _CORPORA.clear()
            _CORPORA[self.logs] = self.load()
        return _CORPORA[self.logs]

    def plan(self, cell: Cell) -> training.Plan:
        """See `training.plan`."""
        row, how = cell.row, (cell.fold, cell.seed, self.preset, self.out)
        return training.plan(row.model, self.corpus, *how, **{**row.changes, **self.changes})

    def __call__(self, cell: Cell, device: str) -> str | None:
        """Train a run; None, or why it failed, with the traceback."""
        row, how = cell.row, (cell.fold, cell.seed, self.preset, device, self.out, False)
        try:
            with FileLock(self.out / "tables" / "locks" / self.plan(cell).folder.name, timeout=0):
                training.fit(row.model, self.corpus, *how, **{**row.changes, **self.changes})
        except Timeout:
            return "another process is training it"
        except Exception as error:
            return f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
        return None

    def about(self, *words: str) -> dict:
        """For `tables.assemble`; `words` is how the command that gives the table again begins."""
        words += ("--seeds", *map(str, self.seeds), "--folds", *map(str, self.folds))
        words += ("--preset", self.preset)
        for name, value in self.changes.items():
            words += ("--set", f"{name}={value}")
        return {
            "corpus": self.corpus.name,
            "synthetic": self.corpus.synthetic,
            "data_key": self.corpus.key,
            "preset": self.preset,
            "folds": list(self.folds),
            "seeds": list(self.seeds),
            "changes": self.changes,
            "command": shlex.join(words),
        }


def train_missing(sweep: Sweep, cells: Sequence[Cell], name: str) -> list[dict]:
    """Train those of some runs that are not there; one that fails does not stop the others. What
    each run recorded, with its folder's name as `run`. What `training.plan` refuses is refused
    before; `RunsFailed` names the failures."""
    plans = [sweep.plan(cell) for cell in cells]
    todo = [(cell, plan) for cell, plan in zip(cells, plans, strict=True) if not plan.finished]
    if sweep.progress:
        print(f"{name} on {sweep.corpus.name}: {len(cells)} runs, {len(todo)} to train", flush=True)
    executor = slurm_executor(sweep, name) if todo and sweep.slurm is not None else None
    read = {}  # the features that they need, which are computed once, before there are workers
    for _, plan in todo:
        needs, s = plan.model.needs(plan.config), plan.settings
        read[frozenset(needs), s.text, s.encoder, s.frames, s.listener] = (needs, s)
    for needs, settings in read.values():
        training.features_for(needs, settings, sweep.corpus, sweep.progress)
    failures = []
    outcomes = _outcomes(sweep, [cell for cell, _ in todo], executor)
    # They end after the runs: a broken pool gives its reason without end.
    for count, ((cell, plan), why) in enumerate(zip(todo, outcomes, strict=False), 1):
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
        if sweep.progress:
            print(f"{count:4d} of {len(todo)}  {cell}: {line}", flush=True)
    results = [_result(plan) for plan in plans]
    if failures:
        error = RunsFailed(
            f"{len(failures)} of {len(cells)} runs failed: {'; '.join(failures[:3])}. "
            f"The same command trains them again; logs are in {sweep.logs}"
        )
        error.results = results
        raise error
    return results


def _result(plan: training.Plan) -> dict | None:
    if not plan.finished:
        return None
    result = json.loads((plan.folder / "result.json").read_text(encoding="utf-8"))
    return {**result, "run": plan.folder.name}


def devices_for(device: str) -> list[str]:
    """The devices that workers of one machine take in turn: of "auto" and "cuda" its GPUs."""
    if device in ("auto", "cuda") and torch.cuda.device_count():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [device]


def _outcomes(sweep: Sweep, cells: Sequence[Cell], executor) -> Iterator[str | None]:
    """Why each run failed, or None, in order: jobs of a cluster, one a run, which go on where this
    process ends; else here, of several workers each a process with one thread. Where one is killed,
    what is not done by then counts as failed."""
    if executor:
        for job in executor.map_array(sweep, cells, [sweep.device] * len(cells)):
            error = job.exception()
            yield job.result() if error is None else f"its job ended: {error}"
        return
    devices = devices_for(sweep.device) if sweep.workers > 1 else [sweep.device]
    train = joblib.delayed(sweep)
    tasks = [train(cell, devices[i % len(devices)]) for i, cell in enumerate(cells)]
    try:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield from joblib.Parallel(sweep.workers, return_as="generator", batch_size=1)(tasks)
    except BrokenProcessPool:
        yield from repeat("a worker's process was killed")


def slurm_executor(sweep: Sweep, name: str) -> submitit.SlurmExecutor:
    """For jobs of which as many run at once as the sweep has workers, with one GPU each (on "cpu"
    none) if `Sweep.slurm` does not say otherwise: options of sbatch by name ("partition", "mem",
    "gpus_per_node", ...; "time" in minutes). A DataError where submitit refuses one, or there is
    no slurm here."""
    wanted = {
        "job_name": f"mmer-{name}",
        "time": 24 * 60,
        "cpus_per_task": 4,
        "array_parallelism": sweep.workers,
        "gpus_per_node": None if sweep.device == "cpu" else 1,
        # srun of Slurm 22.05 and later does not take this over from the job
        "setup": ["export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"],
    }
    try:
        executor = submitit.SlurmExecutor(sweep.logs)
        executor.update_parameters(**wanted | sweep.slurm)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"slurm: {' '.join(str(error).split())}") from error
    return executor


def run_table(table: str | Table, corpus: str = "demo", **how) -> dict:
    """Train what a table lacks and set our figures beside the paper's.

    Args:
        table: a name of `catalogue.TABLES`, or a `Table`. corpus, how: see `Sweep`.

    Returns:
        The table, see `tables.assemble`. It is saved, with every run as a line of
        `TABLE-CORPUS.jsonl`, and if some fail (`RunsFailed`) with those that are there.
    """
    sweep = Sweep(corpus, **how)
    table = table if isinstance(table, Table) else table_for(table, sweep.corpus.name)
    cells, failed = runs_of(table, sweep.seeds, sweep.folds), None
    try:
        results = train_missing(sweep, cells, table.name)
    except RunsFailed as error:
        results, failed = error.results, error
    made = [(cell.row, r) for cell, r in zip(cells, results, strict=True) if r]
    if set(MEASURES) & set(table.scores):
        for _, result in made:
            result["measures"] |= measures(open_run(sweep.out / result["run"]))
    runs = {
        row.label: [r for other, r in made if other.configuration == row.configuration]
        for row in table.rows
    }
    about = sweep.about("mmer", "tables", table.name, *sweep.corpus.arguments)
    filled = assemble(table, runs, len(sweep.folds) * len(sweep.seeds), **about)
    path = save_table(filled, sweep.out / "tables")
    write_runs(path.with_suffix(".jsonl"), [result for _, result in made])
    if failed:
        raise RunsFailed(f"{failed}; what there is: {path.with_suffix('.md')}")
    return filled
