"""The training loop: for each epoch, for each batch: loss, backward, step; then the scores of the
development part, the best weights kept, and the state of the training saved.

Devices, mixed precision, accumulation, several processes and the state on disk are those of
Hugging Face `accelerate`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mmer_lib.features.batches import Examples, loader
from mmer_lib.models.base import Model
from mmer_lib.training.metrics import check_finite, scores_of
from mmer_lib.training.optimiser import make_optimiser, make_schedule
from mmer_lib.training.runs import provenance
from mmer_lib.training.settings import Settings
from mmer_lib.training.state import Trained, accelerator_for, load_state, save_state

SAVE_EVERY = 10.0
"""Seconds between two savings of the state of a training, at the least."""

Watcher = Callable[[Model, int, int], None]
"""Called as ``watcher(model, step, steps_per_epoch)`` before the first step (step 0), after every
step of the first epoch, and at the end of every epoch. It draws no random number. One with
`state_dict` and `load_state_dict` is saved with the state of the training."""


@torch.enable_grad()
def train(
    model: Model,
    parts: Sequence[Examples],
    settings: Settings,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    progress: bool = True,
    watch: Sequence[Watcher] = (),
) -> Trained:
    """Train a model; it then has the weights of its best epoch, on the CPU, in evaluation mode.

    A training that was killed goes on from the state in `folder`, and ends, on a CPU, bit for bit
    as if it had not been. Of several processes (``accelerate launch`` on GPUs, ``torchrun`` on
    CPUs) each trains on its own batches and gradients are averaged: a loss that compares utterances
    then compares those of one process.

    Args:
        parts: the training and the development part.
        seed: of the order of the batches; that of weights and dropout is set by the caller.
        device: "auto", "cpu", "cuda" or "cuda:1", ...
        folder: where the state is kept meanwhile; None keeps none.

    Raises:
        DataError: a device that is not there; a loss or a prediction that is not finite.
    """
    accelerator = accelerator_for(device, settings)
    batches = loader(parts[0], settings.batch_size, shuffle=True, seed=seed)
    order, dev = batches.batch_sampler, loader(parts[1], 64, shuffle=False)
    order.short_last = accelerator.num_processes > 1
    model = model.to(accelerator.device)
    optimiser = make_optimiser(model, settings)
    parallel, optimiser, batches, dev = accelerator.prepare(model, optimiser, batches, dev)
    steps = math.ceil(len(batches) / settings.accumulate)  # in an epoch
    schedule = make_schedule(optimiser, settings, steps * settings.max_epochs)
    reached = Trained()
    kept = [reached, schedule, *(w for w in watch if hasattr(w, "state_dict"))]
    accelerator.register_for_checkpointing(*kept)

    def look(step: int) -> None:
        for watcher in watch:
            watcher(model, step, steps)

    if not load_state(accelerator, folder):
        look(0)
    saved = time.perf_counter()
    begun = saved - reached.seconds
    done, most = len(reached.history), settings.max_epochs
    silent = not (progress and accelerator.is_main_process)

    with tqdm(total=most, initial=done, unit=" epochs", disable=silent) as bar:
        for epoch in range(done, most):
            if epoch > reached.best_epoch + settings.patience:
                break
            order.epoch, step, seen = epoch, epoch * steps, []
            model.train()
            for batch in batches:
                with accelerator.accumulate(parallel):
                    with accelerator.autocast():
                        losses = model.losses(batch, parallel(batch))
                        loss = model.total(losses)
                    accelerator.backward(loss)
                    if settings.clip and accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
                    if settings.clip_value and accelerator.sync_gradients:
                        accelerator.clip_grad_value_(model.parameters(), settings.clip_value)
                    optimiser.step()
                    optimiser.zero_grad()
                seen.append(
                    {"loss": loss.detach()} | {f"loss_{k}": v.detach() for k, v in losses.items()}
                )
                if accelerator.sync_gradients:
                    schedule.step()
                    step += 1
                    if epoch == 0 and step < steps:
                        look(step)

            means = {name: torch.stack([s[name] for s in seen]).mean() for name in seen[0]}
            means = {name: float(v) for name, v in accelerator.reduce(means, "mean").items()}
            logits, truth = answers(accelerator, parallel, dev, settings.task)
            check_finite(epoch, means, logits, settings)
            reached.add(scores_of(settings.task, logits, truth) | means, model, settings)
            look(step)
            now = time.perf_counter()
            reached.seconds = now - begun
            bar.set_postfix({k: reached.history[-1][k] for k in ("loss", settings.monitor)})
            bar.update()
            since = accelerator.reduce(torch.tensor(now - saved, device=accelerator.device), "mean")
            if folder is not None and (epoch == 0 or since > SAVE_EVERY):  # all processes, or none
                save_state(accelerator, folder)
                saved = time.perf_counter()

    devices = {"devices": accelerator.num_processes}
    reached.provenance = provenance(accelerator.device) | devices
    accelerator.unwrap_model(parallel, keep_fp32_wrapper=False)
    accelerator.free_memory()
    model.load_state_dict(reached.best)
    model.cpu().eval()
    return reached


@torch.inference_mode()
def answers(accelerator, model, dev, task: str) -> tuple[Tensor, Tensor]:
    """Predictions and labels of the development part, fetched from the device once."""
    model.eval()
    seen = []
    for batch in dev:
        with accelerator.autocast():
            logits = model(batch).logits.float()
        seen.append(accelerator.gather_for_metrics((logits, getattr(batch, task))))
    logits, truth = zip(*seen, strict=True)
    return torch.cat(logits).cpu(), torch.cat(truth).cpu()
