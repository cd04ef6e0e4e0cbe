"""Lightning's trainer as every training here uses it: the best epoch's weights, early stopping,
and the state of the training on disk."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from mmer_lib.batch import loader
from mmer_lib.checkpoints import Keeper, WholeFiles
from mmer_lib.corpora import DataError
from mmer_lib.learner import Learner
from mmer_lib.presets import Settings


def device_of(device: str) -> tuple[str, int | list[int]]:
    """A device's name as Lightning's accelerator and devices."""
    if device in ("auto", "cpu"):
        return device, 1
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise DataError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:0, ...")
    if int(number or 0) >= torch.cuda.device_count():
        raise DataError(f"device {device!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return "gpu", [int(number or 0)]


def trainer_for(
    settings: Settings, device: tuple[str, int | list[int]], folder: Path | None, callbacks: list
) -> L.Trainer:
    """A Trainer that keeps the best epoch's weights and stops early, and writes the state of the
    training to `folder` (None: nowhere)."""
    accelerator, devices = device
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no greetings
    patience = EarlyStopping(settings.monitor, mode=settings.mode, patience=settings.patience)
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision="bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true",
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
        trainer.fit(learner, train, dev, ckpt_path=begun, weights_only=True)
    learner.load_state_dict(keeper.best)
    return keeper.seconds
