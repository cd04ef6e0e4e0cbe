"""Filling the papers' tables (`catalogue`): our figures beside the published ones.

`run_table("muse-1")` trains what is missing, in this process or spread over GPUs and machines, and
aggregates. Every run is a folder of its own (`training.fit`); what is there is not trained again.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from mmer_lib import corpora
from mmer_lib.data import Corpus, DataError
from mmer_lib.experiments import cluster as spread
from mmer_lib.experiments.catalogue import Row, Table, table_for
from mmer_lib.experiments.sweeps import (
    Cell,
    Share,
    Sweep,
    check,
    compute_features,
    failure_file,
    shares_of,
)
from mmer_lib.experiments.tables import DEMO_FOLDS, assemble, line_of, save_table
from mmer_lib.store import cache_dir, check_folder, writing


def runs_of(table: Table, seeds: Sequence[int], folds: Sequence[int]) -> list[Cell]:
    """The trainings that a table needs, rows in order; rows of one configuration count once."""
    rows: list[Row] = []
    for row in table.rows:
        if row.model and row.configuration not in [r.configuration for r in rows]:
            rows.append(row)
    return [Cell(row, fold, seed) for row in rows for fold in folds for seed in seeds]


# --------------------------------------------------------------------------- training what lacks


class RunsFailed(DataError):
    """Some runs of a table failed. `table` is what there is, which has been saved too; None where
    nothing can be said before all are there."""

    def __init__(self, message: str, table: dict | None):
        super().__init__(message)
        self.table = table


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
            `tables`, see `tables.save_table`. For slurm, a folder that every machine sees.
        workers: processes; each trains its own share of the runs, one after the other.
        cluster: "local" (this machine; taken for more than one worker), "slurm", or "debug"
            (submitit's, in this process). slurm: parameters of `spread.make_executor`.
        changes: fields of `Settings` to set otherwise in every row.

    Returns:
        The table, see `tables.aggregate` and `tables.read_table`.

    Raises:
        DataError: what `training.fit` and the corpus's reader refuse, before anything is trained.
        RunsFailed: some runs failed; the others are there, and the table with them is saved.
    """
    machines = Machines(device, workers, cluster, slurm or {}, progress)
    load = loading(corpus, root, reading)
    data = load()
    table = table if isinstance(table, Table) else table_for(table, data.name)
    preset = preset or ("fast" if data.synthetic else "paper")
    seeds, folds = list(dict.fromkeys(seeds)), folds_of(data, folds)
    out = (Path(out) if out else cache_dir() / "runs").absolute()
    sweep = Sweep(load, preset, changes, out, data.key)
    cells = runs_of(table, seeds, folds)
    logs = train_missing(sweep, data, cells, machines, table.name)
    made = _collect(table, data, sweep, seeds, folds)
    save_table(made, out / "tables")
    report(sweep, cells, logs, made)
    return made


def loading(corpus: str, root: str | Path | None, reading: dict | None) -> partial:
    """What loads a corpus, here or from another folder: see `corpora.load`."""
    root = None if root is None else Path(root).absolute()
    corpus = str(Path(corpus).absolute()) if Path(corpus).suffix else corpus
    return partial(corpora.load, corpus, root, **(reading or {}))


@dataclass(frozen=True)
class Machines:
    """Where runs are trained, see `run_table`.

    Raises:
        DataError: no worker, or parameters for a slurm that is not asked for.
    """

    device: str = "auto"
    workers: int = 1
    cluster: str | None = None
    slurm: dict = field(default_factory=dict)
    progress: bool = True

    def __post_init__(self):
        if self.workers < 1:
            raise DataError(f"workers is {self.workers}; at least 1")
        if self.slurm and self.cluster != "slurm":
            raise DataError(f"{', '.join(self.slurm)}: a parameter for slurm; choose the cluster "
                            "slurm")  # fmt: skip


def train_missing(
    sweep: Sweep, data: Corpus, cells: Sequence[Cell], machines: Machines, name: str
) -> Path:
    """Train those of some runs that are not there; the folder of its logs. A run that fails is
    told there, and does not keep the others from going on.

    Args:
        data: the corpus that `sweep.load` gives. name: of the table, for logs and jobs.

    Raises:
        DataError: see `sweeps.check`, before anything is trained.
    """
    check(sweep, data, cells, None if machines.cluster == "slurm" else machines.device)
    check_folder(sweep.out)
    logs = sweep.out / "tables" / "logs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    todo = [cell for cell in cells if sweep.result(cell) is None]
    if machines.progress:
        print(f"{name} on {data.name}: {len(cells)} runs, {len(todo)} to train", flush=True)
    if todo and machines.workers == 1 and machines.cluster is None:
        _here(Share(sweep, todo, machines.device, logs), data, machines.progress)
    elif todo:
        with writing(logs):  # submitit's files
            device, cluster = machines.device, machines.cluster or "local"
            executor = spread.make_executor(
                cluster, logs, machines.slurm, f"mmer-{name}", device != "cpu"
            )
            devices = spread.devices_for(device, machines.workers, cluster)
            compute_features(sweep, data, todo, machines.progress)
            shares = shares_of(sweep, todo, devices, logs, cluster)
            _elsewhere(executor, shares, machines.progress)
    return logs


def folds_of(corpus: Corpus, folds: Sequence[int] | None) -> list[int]:
    """The folds of a table: those asked for, or all; on a synthetic corpus `DEMO_FOLDS`."""
    if folds is not None:
        return list(dict.fromkeys(folds))
    if corpus.fixed is not None:
        return [0]
    return list(DEMO_FOLDS if corpus.synthetic else range(len(corpus.sessions)))


def _here(share: Share, corpus: Corpus, progress: bool) -> None:
    """One share in this process, with a line a run."""
    compute_features(share.sweep, corpus, share.cells, progress)
    count = 0

    def tell(cell: Cell, result: dict) -> None:
        nonlocal count
        count += 1
        scores = ", ".join(f"{k} {v:.3f}" for k, v in result["test"].items() if v is not None)
        print(f"{count:4d} of {len(share.cells)}  {cell}: {scores} ({result['seconds']:.0f} s)",
              flush=True)  # fmt: skip

    share.work(corpus, False, tell if progress else None)


def _elsewhere(executor, shares: Sequence[Share], progress: bool) -> None:
    """All shares at once, each in a process of its own, with a line whenever a run is done."""
    cells = [(share.sweep, cell) for share in shares for cell in share.cells]
    told = 0

    def tell() -> None:
        nonlocal told
        done = sum(sweep.result(cell) is not None for sweep, cell in cells)
        if progress and done > told:
            told = done
            print(f"{done:4d} of {len(cells)}", flush=True)

    threads = spread.threads_for(len(shares)) if executor.cluster == "local" else None
    spread.run_all(executor, shares, threads, tell)


# ------------------------------------------------------------------------------ what came of it


def _collect(
    table: Table, corpus: Corpus, sweep: Sweep, seeds: list[int], folds: list[int]
) -> dict:
    """The table with every run that there is."""
    rows = []
    for row in table.rows:
        cells = runs_of(replace(table, rows=(row,)), seeds, folds)
        found = [r for cell in cells if (r := sweep.result(cell)) is not None]
        runs = [line_of(r, r["run"], table.scores) for r in found]
        rows.append({**asdict(row), "planned": len(cells), "runs": runs})
    return assemble(
        table,
        rows,
        corpus=corpus.name,
        synthetic=corpus.synthetic,
        data_key=corpus.key,
        preset=sweep.preset,
        folds=folds,
        seeds=seeds,
        changes=sweep.changes,
        command=_command(table, corpus, sweep, seeds, folds),
    )


def _command(table, corpus, sweep, seeds, folds) -> str:
    """What to type to get this table again."""
    words = ["mmer", "tables", table.name, *corpus.arguments]
    words += ["--seeds", *map(str, seeds), "--folds", *map(str, folds), "--preset", sweep.preset]
    for name, value in sweep.changes.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def report(sweep: Sweep, cells: Sequence[Cell], logs: Path, table: dict | None = None) -> None:
    """Nothing, where all runs of a table are there.

    Raises:
        RunsFailed: names the runs that are not there, with the first line of why.
    """
    missing = [cell for cell in cells if sweep.result(cell) is None]
    if not missing:
        return
    told = []
    for cell in missing[:3]:
        file, why = failure_file(logs, sweep, cell), "its worker ended before it"
        if file.is_file():
            why = file.read_text(encoding="utf-8").splitlines()[0]
        told.append(f"{cell} ({why})")
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise RunsFailed(
        f"{len(missing)} of {len(cells)} runs failed: {'; '.join(told)}{more}. "
        f"The same command trains them again; logs are in {logs}",
        table,
    )
