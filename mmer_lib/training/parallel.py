"""One training in several processes of this machine, one a device: data parallel, by Lightning.

Every process has the model and reads the same batches; of each it computes its share, and the
gradients are averaged (see `ranks`, which makes that the gradient of one process).
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor, multiprocessing

from mmer_lib.features.batches import Examples
from mmer_lib.training.learner import EpochLine, Learner
from mmer_lib.training.runs import provenance
from mmer_lib.training.trace import Trace
from mmer_lib.training.trainer import run_training, threads_for, trainer_for


@dataclass(frozen=True)
class Job:
    """What every process is told; all of it can be pickled.

    Attributes:
        learner: with the weights that training begins with.
        parts: gives the training and the development part, in each process anew: what is mapped
            from a file is mapped there too, not copied.
        device: see `trainer.device_of`. folder, seed: of the run. progress: a line an epoch.
    """

    learner: Learner
    parts: Callable[[], Sequence[Examples]]
    device: tuple[str, int]
    folder: Path
    seed: int
    progress: bool


@dataclass(frozen=True)
class Trained:
    """What the first process found: weights of the best epoch, the learner's `history`, of each
    trace its record and places, seconds, `runs.provenance`."""

    weights: dict[str, Tensor]
    history: list[dict]
    traces: list[tuple[dict, list[np.ndarray]]]
    seconds: float
    provenance: dict


def train_together(job: Job) -> Trained:
    """Train in as many processes as the job has devices, and wait for them.

    They are started afresh ("spawn"), which goes well with GPUs and in notebooks; a script that
    trains so must keep what it does under ``if __name__ == "__main__":``.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them failed; its traceback is in the
            message, and the others have been ended.
    """
    port = LightningEnvironment().main_port  # a free one
    with tempfile.TemporaryDirectory(prefix="mmer-") as folder:
        answer = Path(folder) / "trained"
        # As bytes: tensors would be shared, and every process would step on the same weights.
        multiprocessing.spawn(_work, (pickle.dumps(job), port, answer), nprocs=job.device[1])
        return pickle.loads(answer.read_bytes())


def _work(rank: int, pickled: bytes, port: int, answer: Path) -> None:
    """One of the processes; the first traces, tells and answers."""
    job: Job = pickle.loads(pickled)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
    }
    torch.set_num_threads(threads_for(job.device[1]))
    L.seed_everything(rank_seed(job.seed, rank), verbose=False)
    learner, parts, first = job.learner, job.parts(), rank == 0
    traces = [Trace(parts[1])] if first and learner.model.traced else []
    callbacks = [*traces, *([EpochLine()] if first and job.progress else [])]
    trainer = trainer_for(learner.settings, job.device, job.folder, callbacks)
    seconds = run_training(trainer, learner, parts, job.seed)
    if first:
        weights = {name: value.cpu() for name, value in learner.state_dict().items()}
        seen = [(trace.record, trace.places) for trace in traces]
        about = provenance(trainer.strategy.root_device)
        answer.write_bytes(pickle.dumps(Trained(weights, learner.history, seen, seconds, about)))


def rank_seed(seed: int, rank: int) -> int:
    """Each process draws other numbers for its dropout."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
