"""Seconds of a training step of every model of the papers' tables, at the papers' sizes:
`python -m benchmarks.steps`. The chapter on scaling makes days of them."""

from __future__ import annotations

import torch

from benchmarks.report import RESULTS, heading, write
from mmer_lib.experiments.catalogue import TABLES
from mmer_lib.experiments.costs import kinds_of, measured_steps

ROUNDS = 5


def main() -> None:
    torch.set_num_threads(2)
    papers = [TABLES[f"{paper}-{n}"] for paper in ("muse", "mimic") for n in (1, 2, 3)]
    steps = measured_steps(kinds_of(papers), rounds=ROUNDS)
    rows = [
        {"model": model, "batch_size": size, "seconds": took}
        for (model, size), took in steps.items()
    ]
    write({**heading("steps", []), "rounds": ROUNDS, "steps": rows}, RESULTS / "steps.json")


if __name__ == "__main__":
    main()
