"""The state of a training on disk: one that is killed goes on from there."""

from __future__ import annotations

import hashlib
import io
import os
import random
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from mmer_lib.models import ranks
from mmer_lib.store import write_bytes
from mmer_lib.training.settings import Settings

FILE = "last.ckpt"
SHARE = 0.03
"""Of the time of a training, about so much goes into writing its state."""
_DIGEST = hashlib.sha256().digest_size


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, after its SHA-256.

    Lightning's own writing goes by way of the system's temporary folder, which is one step only
    where both lie on one disk, and is not synced.
    """

    def save_checkpoint(self, checkpoint: dict, path, storage_options=None) -> None:
        content = io.BytesIO(bytes(_DIGEST))
        content.seek(_DIGEST)
        torch.save(checkpoint, content)
        whole = content.getbuffer()
        whole[:_DIGEST] = hashlib.sha256(whole[_DIGEST:]).digest()
        write_bytes(path, whole)

    def load_checkpoint(self, path, map_location="cpu", weights_only: bool | None = True) -> dict:
        """
        Raises:
            ValueError: not what was written.
        """
        whole = memoryview(Path(path).read_bytes())
        if hashlib.sha256(whole[_DIGEST:]).digest() != whole[:_DIGEST]:
            raise ValueError("damaged: its content does not match its checksum")
        return torch.load(io.BytesIO(whole[_DIGEST:]), map_location, weights_only=True)


class Keeper(Checkpoint):
    """Keeps the weights of the best epoch in memory and the whole state of the training on disk.

    The state is all that decides how a training goes on: weights, optimiser, schedule, early
    stopping, the best weights, the history, the trace and the generators of random numbers. It is
    written at the end of an epoch, as often as `SHARE` allows: after the first, and then whenever
    the time since the last writing is long enough for another. A training that goes on from there
    gives, on a CPU, bit for bit what it would have given (in one process, and with as many threads
    of torch and the versions that it began with).

    Attributes:
        best: weights of the best epoch, on the CPU. score: of that epoch.
        seconds: of training so far, up to the end of the last epoch.
    """

    def __init__(self, settings: Settings, folder: Path | None):
        """`folder` None: nothing is written."""
        self.monitor, self.mode = settings.monitor, settings.mode
        self.path = folder and folder / FILE
        self.best: dict[str, Tensor] = {}
        self.score, self.seconds, self.stopped = float("nan"), 0.0, False
        self._cost, self._machine = 0.0, {}

    def setup(self, trainer: L.Trainer, learner: nn.Module, stage: str) -> None:
        self._machine = machine(trainer)

    def on_train_start(self, trainer: L.Trainer, learner: nn.Module) -> None:
        trainer.should_stop = self.stopped  # a checkpoint of Lightning does not know
        self._ended = self._written = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, learner: nn.Module) -> None:
        trainer.train_dataloader.batch_sampler.epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, learner: nn.Module) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        better = score > self.score if self.mode == "max" else score < self.score
        if better or not self.best:  # of equals, the first
            self.score = score
            self.best = {k: v.detach().cpu().clone() for k, v in learner.state_dict().items()}
        now = time.perf_counter()
        self.seconds, self._ended = self.seconds + now - self._ended, now
        self.stopped = trainer.should_stop
        due = self.path is not None and (now - self._written) * SHARE >= self._cost
        if trainer.strategy.broadcast(due):
            trainer.save_checkpoint(self.path)
            self._written = time.perf_counter()
            self._cost = self._written - now

    def state_dict(self) -> dict:
        return {
            **{name: getattr(self, name) for name in ("best", "score", "seconds", "stopped")},
            "random": random_state(),
            "machine": self._machine,
        }

    def load_state_dict(self, state: dict) -> None:
        for name in ("best", "score", "seconds", "stopped"):
            setattr(self, name, state[name])
        if ranks.count() == 1:  # the numbers of the first are not those of the others
            set_random_state(state["random"])

    def found(self, trainer: L.Trainer) -> Path | None:
        """The checkpoint to go on from; None where there is none that is whole and of this kind
        of machine.

        Warns:
            UserWarning: there is one that is not, so the training begins again from its first
                epoch.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            state = WholeFiles().load_checkpoint(self.path)["callbacks"][self.state_key]
        except ValueError as error:
            why = str(error)
        else:
            if state["machine"] == machine(trainer):
                return self.path
            why = f"written with {state['machine']}, and this is {machine(trainer)}"
        warnings.warn(
            f"{self.path}: {why}. The epochs that it held are lost; the training begins again "
            "from its first", stacklevel=2,
        )  # fmt: skip
        return None


def machine(trainer: L.Trainer) -> dict[str, str]:
    """What a training must find again to go on."""
    names = ("torch", "lightning")
    return {"device": trainer.strategy.root_device.type, **{n: version(n) for n in names}}


def random_state() -> dict:
    """The state of every generator that a training may draw from: of Python, numpy and torch."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (the global one, as libraries use it)
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict) -> None:
    """What `random_state` gave."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def discard(folder: Path) -> None:
    """Remove the checkpoint of a training that has ended, where there is one and it can be."""
    if (folder / FILE).exists() and os.access(folder, os.W_OK):
        (folder / FILE).unlink()
