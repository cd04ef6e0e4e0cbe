"""What a paper's table costs: its runs, their steps, and the time of a step that was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.efficiency import step_times
from mmer_lib.experiments.sweep import runs_of
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import PRESETS, Settings


@dataclass(frozen=True)
class Size:
    """Of a corpus: utterances, how many of them train in a fold (the mean over folds), folds, and
    words of an utterance (about; at `efficiency.WORD` seconds each)."""

    utterances: int
    train: int
    folds: int
    words: int


SIZES = {
    "iemocap": Size(5_531, 3_319, 5, 15),  # three sessions of five: 60%
    "mosi": Size(2_199, 1_284, 1, 12),
    "mosei": Size(22_856, 16_326, 1, 20),
}
"""Published sizes, and the usual split of MOSI and MOSEI."""

Kind = tuple[str, int]
"""A model and a batch size, of which a step takes its time."""


def settings_of(row: Row, preset: str = "paper") -> Settings:
    """How a row is trained."""
    return replace(PRESETS[row.model][preset][1], **row.settings)


def kinds_of(tables: Iterable[Table]) -> list[Kind]:
    """The kinds of step of some tables, each once; rows of one model count as one kind."""
    rows = [row for table in tables for row in table.rows if row.model]
    return list(dict.fromkeys((row.model, settings_of(row).batch_size) for row in rows))


@dataclass(frozen=True)
class Cost:
    """Trainings, steps of all of them, and seconds on one device."""

    runs: int
    steps: int
    seconds: float


def table_cost(
    table: Table, corpus: str, step: Mapping[Kind, float], seeds: int = 3, epochs: int | None = None
) -> Cost:
    """What a table costs with the papers' settings, on every fold, on one device.

    Features and scoring are not counted: the latter is a pass forwards, about a third of a step,
    over the development part after every epoch.

    Args:
        corpus: a name of `SIZES`. step: seconds of a training step by kind.
        epochs: of a training; None: as many as the settings allow, which early stopping seldom
            lets happen.

    Raises:
        DataError: a kind of step whose time is not given.
    """
    size = SIZES[corpus]
    steps, seconds = 0, 0.0
    cells = runs_of(table, range(seeds), range(size.folds))
    for cell in cells:
        settings = settings_of(cell.row)
        kind = cell.row.model, settings.batch_size
        if kind not in step:
            raise DataError(f"{table.name}: no step time of {kind[0]} at batch size {kind[1]}")
        count = (epochs or settings.max_epochs) * -(-size.train // settings.batch_size)
        steps, seconds = steps + count, seconds + count * step[kind]
    return Cost(len(cells), steps, seconds)


def measured_steps(
    kinds: Iterable[Kind], words: int = 15, rounds: int = 3, device: str = "cpu"
) -> dict[Kind, float]:
    """Seconds of a training step by kind, here and now (the median of `rounds`): models of the
    papers' sizes, noise of so many words. An encoder that is trained along has the size of
    bert-base, and random weights."""
    found = {}
    for name, batch_size in kinds:
        settings, cls = PRESETS[name]["paper"][1], model_class(name)
        options = {**PRESETS[name]["paper"][0], "classes": 4 if settings.task == "emotion" else 1}
        if settings.tune:
            options |= {"encoder": _bert_base(), "cls": 768}
        model = cls(cls.config_class(**options)).to(device)
        times = step_times({name: model}, batch_size, words, rounds, {name: settings})
        found[name, batch_size] = float(np.median(times[name]))
    return found


def _bert_base() -> dict:
    from transformers import BertConfig

    return json.loads(BertConfig().to_json_string(use_diff=False))
