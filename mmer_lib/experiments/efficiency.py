"""What a model costs: parameters, operations with and without recurrent layers, epochs, time."""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmer_lib.data import Batch
from mmer_lib.models.base import Model
from mmer_lib.training.learner import Learner
from mmer_lib.training.settings import Settings

LENGTH = 50
"""Words of the utterance on which operations are counted: the field's usual length."""

CONVERGED = 0.02
"""Converged: the first epoch whose development score is so near to the best, as a share of it."""


WORD = 0.3
"""Seconds of speech a word: 200 words a minute."""


def random_batch(model: Model, count: int, length: int = LENGTH, seed: int = 0) -> Batch:
    """`count` utterances of `length` words of noise, `WORD` of speech each, with what the model
    reads (widths as in its configuration), without padding; both kinds of labels are 0."""
    generator = torch.Generator().manual_seed(seed)
    config, fields = model.config, {}
    for name in model.needs(config):
        if name.endswith("_mask"):
            fields[name] = torch.zeros(count, _steps(config, name[:-5], length), dtype=torch.bool)
        elif name == "known":
            fields[name] = torch.ones(count, length, dtype=torch.bool)
        elif name == "phonemes":
            shape = (count, length, PHONEMES)
            fields[name] = torch.randint(1, config.phonemes, shape, generator=generator)
        elif name == "subwords":
            symbols = config.encoder["vocab_size"]
            fields[name] = torch.randint(1, symbols, (count, length), generator=generator)
        elif name == "cls":
            fields[name] = torch.randn(count, config.cls, generator=generator)
        else:
            width = config.bands if name == "frames" else getattr(config, name)
            shape = (count, _steps(config, name.rstrip("s"), length), width)
            fields[name] = torch.randn(shape, generator=generator)
    labels = {"sentiment": torch.zeros(count), "emotion": torch.zeros(count, dtype=torch.long)}
    return Batch(torch.arange(count), **labels, **fields)


PHONEMES = 4
"""Phonemes a word, about the mean of English speech."""


def _steps(config, name: str, length: int) -> int:
    """Steps of "frame", or of anything that goes word by word."""
    return round(WORD * length / config.hop) if name == "frame" else length


_GATES = {nn.LSTM: 4, nn.GRU: 3}


def recurrent_flops(module: nn.LSTM | nn.GRU, steps: int) -> int:
    """Operations of an LSTM or a GRU over so many steps of a sequence, two a multiply-add, biases
    and non-linearities left out (as counters do for matrix products): 2 G H (I + H) a step, layer
    and direction, with G = 4 gates of an LSTM, 3 of a GRU."""
    ways, gates = 2 if module.bidirectional else 1, _GATES[type(module)]
    total = 0
    for layer in range(module.num_layers):
        inputs = module.input_size if layer == 0 else ways * module.hidden_size
        total += ways * 2 * gates * module.hidden_size * (inputs + module.hidden_size)
    return steps * total


@torch.no_grad()
def count_flops(model: Model, length: int = LENGTH) -> tuple[int, int]:
    """Operations of a forward pass of one utterance, two a multiply-add: (as torch's counter counts
    them, which is blind to recurrent layers on a CPU; those of recurrent layers)."""
    model = copy.deepcopy(model).cpu().float().eval()
    batch, recurrent = random_batch(model, 1, length), 0

    def listen(module: nn.LSTM | nn.GRU, inputs, _output) -> None:
        nonlocal recurrent
        recurrent += recurrent_flops(module, inputs[0].shape[0] * inputs[0].shape[1])

    for module in model.modules():
        if type(module) in _GATES:
            module.register_forward_hook(listen)
    with FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops(), recurrent


def convergence_epoch(history: Sequence[dict], monitor: str, mode: str) -> int:
    """The first epoch, counted from 1, whose development score is within `CONVERGED` of the best
    of the run."""
    scores = np.array([epoch[monitor] for epoch in history])
    best = scores.max() if mode == "max" else scores.min()
    near = np.abs(scores - best) <= CONVERGED * abs(best)
    return int(np.argmax(near)) + 1


def measures(model: Model, history: Sequence[dict], monitor: str, mode: str) -> dict[str, float]:
    """Table 3 of MIMIC for one run: "params_m" (millions), "mflops_counted" and "mflops" (millions,
    one utterance of `LENGTH` words, without and with recurrent layers), "convergence_epochs"."""
    counted, recurrent = count_flops(model)
    return {
        "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
        "mflops_counted": counted / 1e6,
        "mflops": (counted + recurrent) / 1e6,
        "convergence_epochs": convergence_epoch(history, monitor, mode),
    }


def costs(models: Mapping[str, Model], settings: Mapping[str, Settings], rounds: int = 5) -> dict:
    """What some models cost at the sizes that they have, measured here and in turn.

    Args:
        models, settings: by name.

    Returns:
        `rows`: by name "params_m" (millions), "mflops" (millions, one utterance of `LENGTH` words,
        recurrent layers counted) and "step_ms" (median, one training step of 32 such utterances).
        `about`: the device, its threads and the shapes.
    """
    times, rows = step_times(models, 32, LENGTH, rounds, settings), {}
    for name, model in models.items():
        rows[name] = {
            "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
            "mflops": sum(count_flops(model)) / 1e6,
            "step_ms": 1e3 * float(np.median(times[name])),
        }
    device = next(p.device for model in models.values() for p in model.parameters())
    about = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda"
        else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(), "batch_size": 32, "words": LENGTH,
        "seconds_of_speech": WORD * LENGTH,
    }  # fmt: skip
    return {"rows": rows, "about": about}


def step_times(
    models: Mapping[str, Model],
    batch_size: int = 64,
    length: int = LENGTH,
    rounds: int = 10,
    settings: Mapping[str, Settings] | None = None,
) -> dict[str, np.ndarray]:
    """Seconds of one training step (forward, loss, backward, AdamW) of each model, in turn, so that
    whatever else the machine does meets all alike: (rounds,) by name. The loss is the one of the
    settings, or, where there are none, the squared error of the sentiment."""
    steps = {
        name: _step(model, batch_size, length, (settings or {}).get(name, _SQUARED))
        for name, model in models.items()
    }
    return in_turn(steps, rounds)


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = True,
) -> dict[str, np.ndarray]:
    """Seconds of each of some calls, in turn, by a clock: (rounds,) by name. `warm` begins with a
    round that is not counted: memory is allocated, kernels are chosen."""
    if warm:
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begun = clock()
            call()
            times[name].append(clock() - begun)
    return {name: np.array(found) for name, found in times.items()}


_SQUARED = Settings("sentiment", 1e-4, 64, 1, 1, "mae", "min")


def _step(model: Model, batch_size: int, length: int, settings: Settings):
    model = copy.deepcopy(model).train()
    batch = random_batch(model, batch_size, length).to(next(model.parameters()).device)
    learner = Learner(model, replace(settings, warmup=0.0))
    optimiser = learner.configure_optimizers()

    def step() -> None:
        optimiser.zero_grad()
        learner.loss(batch)["loss"].backward()
        optimiser.step()
        if batch.index.is_cuda:
            torch.cuda.synchronize()

    return step
