"""Where a training runs, and its state on disk: one that is killed goes on from there."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import patch_environment
from torch import Tensor, nn

from mmer_lib.data import DataError
from mmer_lib.store import writing
from mmer_lib.training.settings import Settings

_PRECISIONS = {"32-true": "no", "bf16-mixed": "bf16", "16-mixed": "fp16"}  # accelerate's names


def check_device(device: str) -> bool:
    """Whether it is a GPU; a DataError for an unknown device, or a GPU that torch does not see."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise DataError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:0, ...")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DataError(f"device {device!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return kind != "cpu" and torch.cuda.is_available()


def accelerator_for(device: str, settings: Settings) -> Accelerator:
    """An `Accelerator` for one device, or for this process of several that were launched together;
    a DataError as of `check_device`, and for float16 without a GPU."""
    gpu = check_device(device)
    if settings.precision == "16-mixed" and not gpu:
        raise DataError("precision '16-mixed' needs a GPU; on a CPU set it to 'bf16-mixed'")
    precision = settings.precision
    if precision == "auto":
        precision = "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"
    if PartialState(cpu=not gpu).num_processes == 1:  # else it keeps the last training's device
        AcceleratorState._reset_state(reset_partial_state=True)
    chosen = {"accelerate_torch_device": device} if device.startswith("cuda:") else {}
    encoders = bool(settings.tune or settings.wav2vec)  # some of whose parameters no output reads
    with patch_environment(**chosen):
        return Accelerator(
            cpu=not gpu,
            mixed_precision=_PRECISIONS[precision],
            gradient_accumulation_steps=settings.accumulate,
            dataloader_config=DataLoaderConfiguration(non_blocking=True),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=encoders)],
        )


@dataclass
class Trained:
    """What a training has reached.

    Attributes:
        history: one dictionary an epoch: "epoch" (from 0), the scores of the development part,
            and the mean losses of the training part, "loss" (the weighted sum) and "loss_NAME".
        best_epoch, best: the first of the best epochs, and its weights.
        seconds: of training, those before an interruption included.
        provenance: at the end, see `runs.provenance`.
    """

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    provenance: dict = field(default_factory=dict)

    def add(self, scores: dict[str, float], model: nn.Module, settings: Settings) -> None:
        """One more epoch."""
        self.history.append({"epoch": len(self.history), **scores})
        best = max if settings.mode == "max" else min
        best = best(self.history, key=lambda epoch: epoch[settings.monitor])
        if best is self.history[-1]:
            self.best_epoch = best["epoch"]
            self.best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def save_state(accelerator: Accelerator, folder: Path) -> None:
    """Everything that decides how the training goes on, whole or not at all: written beside the
    last state, which goes when the new one has its name. Errors as of `store.replacing`."""
    unfinished = folder / "unfinished-state"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()
    with writing(unfinished):
        try:
            accelerator.save_state(unfinished)
        except RuntimeError as error:  # torch's, where the disk is full
            raise OSError(str(error)) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (unfinished / "machine.json").write_text(json.dumps(_machine(accelerator)))
        last = sorted(folder.glob("state-*"))
        count = int(last[-1].name[6:]) + 1 if last else 1
        unfinished.rename(folder / f"state-{count:06d}")
        for path in last:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, folder: Path | None) -> bool:
    """Whether there was a state to go on from; a warning where it is of another machine or version.

    Its random numbers lie in a pickle, so only the folder of a run of one's own is read.
    """
    states = sorted(folder.glob("state-*")) if folder is not None else []
    if not states:
        return False
    written = json.loads((states[-1] / "machine.json").read_text())
    if written != _machine(accelerator):
        warnings.warn(
            f"{states[-1]}: was written with {written}, and this is {_machine(accelerator)}; the "
            "training begins again from its first epoch",
            stacklevel=3,
        )
        return False
    accelerator.load_state(states[-1])
    return True


def discard_state(folder: Path) -> None:
    """Remove the state of a training that has ended."""
    for path in [*folder.glob("state-*"), folder / "unfinished-state"]:
        shutil.rmtree(path, ignore_errors=True)


def _machine(accelerator: Accelerator) -> dict:
    """What a training must find again to go on."""
    where = {"device": accelerator.device.type, "processes": accelerator.num_processes}
    return where | {name: version(name) for name in ("torch", "accelerate")}
