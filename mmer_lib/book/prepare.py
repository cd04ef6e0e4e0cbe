"""Train the runs that the chapters look into, several at a time: `python -m mmer_lib.book.prepare`.

All are of fold 0 and seed 0 of the demo corpus, trained as `mmer train NAME` trains them, by
processes of one thread each. Those that are finished are left as they are.
"""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import Queue, active_children, get_context
from queue import Empty

import torch
from tqdm import tqdm

from mmer_lib.corpora import load
from mmer_lib.training.fit import features_for, fit, plan

RUNS = (
    ("misa", {}),
    ("muse", {"ideal": "forced"}),
    ("muse", {}),
    ("muse", {"align": 0}),
    ("mimic", {}),
    ("mimic", {"contrastive": 0}),
    ("muse-multigranular", {}),
    ("bert", {}),
)
"""Models and what is set otherwise, those that take longest first."""

MOST = 4
"""So many train at once on a machine with more cores: each takes about a gigabyte of memory."""


def main() -> None:
    warnings.formatwarning = lambda message, *_: f"{message}\n"  # without a line of our source
    corpus = load("demo")
    planned = [plan(name, corpus, **changes) for name, changes in RUNS]
    missing = [i for i, one in enumerate(planned) if not one.finished]
    seen = sys.stderr.isatty()
    for one in (planned[i] for i in missing):  # once, and not by each of the processes
        features_for(one.model.needs(one.config), one.settings, corpus, progress=seen)
    if missing:
        train(missing, sum(planned[i].settings.max_epochs for i in missing))


def train(missing: list[int], epochs: int) -> None:
    """Train the runs that are missing, with one bar over the epochs of all."""
    context = get_context("spawn")
    ended: Queue = context.Queue()
    workers = min(os.cpu_count() or 1, MOST, len(missing))
    pool = ProcessPoolExecutor(workers, context, _begin, (ended,))
    bar = tqdm(total=epochs, desc=f"{len(missing)} trainings", unit=" epochs", disable=None)
    with pool, bar:
        futures = [pool.submit(_train, i) for i in missing]
        try:
            while not all(map(Future.done, futures)):
                try:
                    bar.update(ended.get(timeout=1))
                except Empty:
                    bar.refresh()
        except KeyboardInterrupt:
            for process in active_children():  # or they would begin the next
                process.terminate()
            raise
        for future in futures:
            future.result()  # raises what the training raised


def _begin(ended: Queue) -> None:
    """In each process, before its first training."""
    global _ended
    _ended = ended
    torch.set_num_threads(1)


def _train(i: int) -> None:
    name, changes = RUNS[i]
    seen = 0

    def count(_model, step: int, steps_per_epoch: int) -> None:
        nonlocal seen
        if step and step % steps_per_epoch == 0:
            seen += 1
            _ended.put(1)

    run = fit(name, load("demo"), progress=False, watch=[count], **changes)
    _ended.put(run.settings.max_epochs - seen)  # those that early stopping saved


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
