"""Lightning's trainer as every training here uses it: the best epoch's weights, early stopping,
and the state of the training on disk."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import DDPStrategy

from mmer_lib.data import DataError
from mmer_lib.features.batches import loader
from mmer_lib.training.checkpoints import Keeper, WholeFiles
from mmer_lib.training.learner import Learner
from mmer_lib.training.settings import Settings


def device_of(device: str, devices: int = 1) -> tuple[str, int | list[int]]:
    """A device's name, and how many of its kind, as Lightning's accelerator and devices.

    Raises:
        DataError: an unknown device; more of them than there are; one by its number and several.
    """
    if devices < 1:
        raise DataError(f"devices is {devices}; at least 1")
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise DataError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:0, ...")
    if device == "cpu" or (device == "auto" and not torch.cuda.device_count()):
        return device if devices == 1 else "cpu", devices
    if number and devices > 1:
        raise DataError(f"device {device!r} is one; for {devices} devices write cuda")
    if max(int(number or 0) + 1, devices) > torch.cuda.device_count():
        wanted = repr(device) if devices == 1 else f"{device!r} x {devices}"
        raise DataError(f"device {wanted}: torch sees {torch.cuda.device_count()} GPUs here")
    if devices == 1:
        return (device, 1) if device == "auto" else ("gpu", [int(number or 0)])
    return "gpu", devices


def precision_of(settings: Settings, accelerator: str) -> str:
    """Lightning's precision: "auto" is mixed with bfloat16 on a GPU that has it, else float32.

    Raises:
        DataError: float16 without a GPU.
    """
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    if settings.precision == "16-mixed" and not gpu:
        raise DataError("precision '16-mixed' needs a GPU; on a CPU set it to 'bf16-mixed'")
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


def trainer_for(
    settings: Settings, device: tuple[str, int | list[int]], folder: Path | None, callbacks: list
) -> L.Trainer:
    """A Trainer that keeps the best epoch's weights and stops early, and writes the state of the
    training to `folder` (None: nowhere); of several devices, the one of each process
    (`parallel`)."""
    accelerator, devices = device
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)  # no greetings
    patience = EarlyStopping(settings.monitor, mode=settings.mode, patience=settings.patience)
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="auto" if devices == 1 or isinstance(devices, list) else _together(settings),
        use_distributed_sampler=False,  # every process reads every batch, see `ranks`
        precision=precision_of(settings, accelerator),
        accumulate_grad_batches=settings.accumulate,
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.clip or None,
        callbacks=[Keeper(settings, folder), patience, *callbacks],
        plugins=[WholeFiles()],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _together(settings: Settings) -> DDPStrategy:
    """Of processes that `parallel` has started. Encoders that come trained have parameters that
    are not used."""
    return DDPStrategy(
        cluster_environment=LightningEnvironment(),
        find_unused_parameters=bool(settings.tune or settings.wav2vec),
    )


def run_training(trainer: L.Trainer, learner: Learner, parts, seed: int) -> float:
    """Train, or go on where a training was killed; the learner then has the best epoch's weights.
    Returns the seconds of training, those before it was killed included."""
    train = loader(parts[0], learner.settings.batch_size, shuffle=True, seed=seed)
    dev = loader(parts[1], 64, shuffle=False)
    keeper = trainer.checkpoint_callback
    begun = keeper.found(trainer)
    with warnings.catch_warnings():
        # The loaders live in this process on purpose: batches are cut from mapped memory.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", module="lightning.pytorch.utilities._pytree")
        # All processes have the same scores.
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")
        trainer.fit(learner, train, dev, ckpt_path=begun, weights_only=True)
    learner.load_state_dict(keeper.best)
    return keeper.seconds


def threads_for(workers: int) -> int:
    """Threads of each of some workers on this machine: two workers with as many threads as there
    are cores wait for each other, and are many times slower than with half of them. A smaller
    ``$OMP_NUM_THREADS`` is kept."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(wanted) if wanted.isdigit() and int(wanted) else cores
    return max(1, min(limit, cores // workers))
