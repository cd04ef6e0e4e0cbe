"""Sweeps: many trainings that differ in a row of a table, a fold and a seed.

A run that has been trained is found again by what was asked for, so a sweep that was interrupted
goes on when it is started again. `experiments` says which sweeps there are.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from mmer_lib.data import Corpus, DataError
from mmer_lib.experiments import cluster as spread
from mmer_lib.experiments.catalogue import Row
from mmer_lib.models.registry import model_class
from mmer_lib.store import digest, write_bytes, write_json
from mmer_lib.training import fit as training
from mmer_lib.training.runs import source_hash
from mmer_lib.training.settings import Settings, typed


class Cell(NamedTuple):
    """One training: a row, a fold and a seed."""

    row: Row
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.row.label}, fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Sweep:
    """What all runs of a table have in common, and where they are kept.

    Attributes:
        load: gives the corpus. preset, changes: as `training.fit` takes them.
        out: folder of all runs.
        data_key: of the corpus, see `Corpus`.
    """

    load: Callable[[], Corpus]
    preset: str
    changes: dict
    out: Path
    data_key: str

    def settings(self, row: Row) -> tuple[dict, Settings]:
        """(options of the model, settings) of a row.

        Raises:
            DataError: unknown model, preset or field.
        """
        model_class(row.model)
        presets = training.PRESETS[row.model]
        if self.preset not in presets:
            raise DataError(f"unknown preset {self.preset!r}; known: {', '.join(presets)}")
        options, settings = presets[self.preset]
        settings = replace(settings, **typed(Settings, {**row.settings, **self.changes}))
        return {**options, **row.options}, settings

    def plan(self, row: Row, corpus: Corpus, fold: int, seed: int, device: str) -> training.Plan:
        """See `training.prepare`."""
        return training.prepare(
            row.model, corpus, fold, seed, self.preset, device, row.options,
            **{**row.settings, **self.changes},
        )  # fmt: skip

    def note(self, cell: Cell) -> Path:
        """The file that says in which folder a finished run lies; named by what was asked."""
        options, settings = self.settings(cell.row)
        model = cell.row.model
        key = digest(
            self.data_key, source_hash(model), model, options, settings, self.preset, cell.fold,
            cell.seed,
        )  # fmt: skip
        return self.out / "tables" / "finished" / f"{key[:16]}.json"

    def result(self, cell: Cell) -> dict | None:
        """What a finished run recorded, with its folder's name as `run`; None if there is none."""
        note = self.note(cell)
        if not note.is_file():
            return None
        folder = self.out / json.loads(note.read_text(encoding="utf-8"))["run"]
        if not (folder / "result.json").is_file():
            return None
        return {**json.loads((folder / "result.json").read_text(encoding="utf-8")),
                "run": folder.name}  # fmt: skip

    def train(self, cell: Cell, corpus: Corpus, device: str, progress: bool) -> dict:
        """Train one run, or find it trained; its result."""
        row = cell.row
        run = training.fit(
            row.model, corpus, cell.fold, cell.seed, self.preset, device, self.out, progress,
            row.options, **{**row.settings, **self.changes},
        )  # fmt: skip
        write_json(self.note(cell), {"run": run.folder.name, "asked": str(cell)})
        return {**run.result, "run": run.folder.name}


@dataclass
class Share:
    """The runs of one worker, which goes on when one of them fails.

    A failure is written to the folder `logs`, one file a run, with its traceback.
    """

    sweep: Sweep
    cells: Sequence[Cell]
    device: str
    logs: Path
    environment: dict[str, str | None] = field(default_factory=dict)

    def __call__(self) -> None:
        """Work in a process of its own; `environment` is set (None: unset) before the GPU is
        first asked for."""
        spread.apply_environment(self.environment)
        self.work(self.sweep.load(), progress=True)

    def checkpoint(self):
        """What submitit queues again after a preemption: finished runs are not repeated."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def work(
        self, corpus: Corpus, progress: bool, told: Callable[[Cell, dict], None] | None = None
    ) -> None:
        """Train what is missing; `told(cell, result)` is called after each run."""
        for cell in self.cells:
            if self.sweep.result(cell) is not None:
                continue
            note = self.sweep.note(cell)
            try:
                note.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(note.with_suffix(".lock"), timeout=0):
                    result = self.sweep.train(cell, corpus, self.device, progress)
            except Timeout:
                self._failed(cell, "another process is training it")
            except Exception as error:
                self._failed(cell, f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
            else:
                if told:
                    told(cell, result)

    def _failed(self, cell: Cell, why: str) -> None:
        write_bytes(failure_file(self.logs, self.sweep, cell), f"{why}\n\n{cell}\n".encode())


def failure_file(logs: Path, sweep: Sweep, cell: Cell) -> Path:
    """Where `Share` says why a run failed."""
    return logs / f"failed-{sweep.note(cell).stem}.txt"


def check(sweep: Sweep, corpus: Corpus, cells: Sequence[Cell], device: str | None) -> None:
    """Refuse, before anything is trained or computed, what `training.fit` would refuse later.
    `device` None: on another machine, which cannot be asked.

    Raises:
        DataError: no cells; an unknown model, preset, setting, option or device; settings that
            contradict each other; labels that the corpus lacks; a fold or seed that cannot be.
    """
    if not cells:
        raise DataError("nothing to train: name a table with models of ours, a fold and a seed")
    for fold, seed in {(cell.fold, cell.seed) for cell in cells}:
        sweep.plan(cells[0].row, corpus, fold, seed, device or "cpu")
    for row in _rows(cells):
        sweep.plan(row, corpus, cells[0].fold, cells[0].seed, device or "cpu")


def compute_features(sweep: Sweep, corpus: Corpus, cells: Sequence[Cell], progress: bool) -> None:
    """Leave in the cache what the runs will read, once, before there are several workers."""
    done = []
    for row in _rows(cells):
        plan = sweep.plan(row, corpus, cells[0].fold, cells[0].seed, "cpu")
        needs, settings = plan.model.needs(plan.config), plan.settings
        wanted = (set(needs), settings.text, settings.encoder, settings.frames, settings.listener)
        if wanted not in done:
            training.features_for(needs, settings, corpus, progress)
            done.append(wanted)


def _rows(cells: Sequence[Cell]) -> list[Row]:
    """The rows of some cells, each once."""
    return list({cell.row.label: cell.row for cell in cells}.values())


def cost(cell: Cell) -> int:
    """How long a run lasts beside others, roughly: one and its layers."""
    return 1 + sum(n for name, n in cell.row.options.items() if name.endswith("_layers"))


def shares_of(
    sweep: Sweep, cells: Sequence[Cell], devices: Sequence[str], logs: Path, cluster: str | None
) -> list[Share]:
    """One share for each device of some workers: the runs dealt out, the longest first, so that
    no run is in two shares and all take about as long."""
    dealt = sorted(cells, key=cost, reverse=True)
    environment = spread.gpu_environment(cluster)
    workers = min(len(devices), len(cells))
    return [Share(sweep, dealt[i::workers], devices[i], logs, environment) for i in range(workers)]
