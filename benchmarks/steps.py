"""Seconds of a training step of every model of the papers' tables, at the papers' sizes:
`python -m benchmarks.steps`, on a GPU with `cuda` behind it. The chapter on scaling makes days of
them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import numpy as np
import torch
from transformers import BertConfig

from benchmarks.report import RESULTS, heading, write
from mmer_lib.experiments.catalogue import TABLES, Table
from mmer_lib.experiments.costs import in_turn, training_step
from mmer_lib.models.base import Model
from mmer_lib.models.registry import model_class
from mmer_lib.training.settings import PRESETS, preset_with

ROUNDS = 5


def kinds_of(tables: Iterable[Table]) -> list[tuple[str, int]]:
    """The kinds of step of some tables, model and batch size, each once."""
    rows = [row for table in tables for row in table.rows if row.model]
    kinds = ((r.model, preset_with(r.model, "paper", r.changes)[1].batch_size) for r in rows)
    return list(dict.fromkeys(kinds))


def preset_model(name: str, preset: str = "paper") -> Model:
    """A model with the sizes of a preset and random weights; a text encoder that is trained along
    has the size of bert-base."""
    cls, (options, settings) = model_class(name), PRESETS[name][preset]
    options = {**options, "classes": 4 if settings.task == "emotion" else 1}
    if settings.tune:
        bert = BertConfig().to_json_string(use_diff=False)
        options |= {"encoder": json.loads(bert), "cls": 768}
    return cls(cls.config_class(**options))


def measured_steps(
    kinds: Iterable[tuple[str, int]], words: int = 15, rounds: int = ROUNDS, device: str = "cpu"
) -> dict[tuple[str, int], float]:
    """Seconds of a training step by kind, here and now, of noise of so many words: warm, in turn,
    the median of `rounds`."""
    steps = {
        (name, batch_size): training_step(preset_model(name).to(device), batch_size, words)
        for name, batch_size in kinds
    }
    return {kind: float(np.median(times)) for kind, times in in_turn(steps, rounds).items()}


def main(device: str = "cpu") -> None:
    torch.set_num_threads(2)
    papers = [TABLES[f"{paper}-{n}"] for paper in ("muse", "mimic") for n in (1, 2, 3)]
    steps = measured_steps(kinds_of(papers), device=device)
    rows = [
        {"model": model, "batch_size": size, "seconds": took}
        for (model, size), took in steps.items()
    ]
    write(
        {**heading("steps", None, device), "rounds": ROUNDS, "steps": rows}, RESULTS / "steps.json"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
