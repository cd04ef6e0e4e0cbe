"""What a model costs: parameters, operations with and without recurrent layers, epochs, time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmer_lib.batch import Batch
from mmer_lib.models.base import Model

LENGTH = 50
"""Words of the utterance on which operations are counted: the field's usual length."""

CONVERGED = 0.02
"""Converged: the first epoch whose development score is so near to the best, as a share of it."""


def random_batch(model: Model, count: int, length: int = LENGTH, seed: int = 0) -> Batch:
    """`count` utterances of `length` words of noise, for a model that reads words, audio and vision
    (widths as in its configuration)."""
    generator = torch.Generator().manual_seed(seed)
    fields = {}
    for name in model.needs(model.config):
        if name.endswith("_mask"):
            fields[name] = torch.zeros(count, length, dtype=torch.bool)
        else:
            width = getattr(model.config, name)
            fields[name] = torch.randn(count, length, width, generator=generator)
    return Batch(torch.arange(count), sentiment=torch.zeros(count), **fields)


def recurrent_flops(module: nn.LSTM, steps: int) -> int:
    """Operations of an LSTM over so many steps of a sequence, two a multiply-add, biases and
    non-linearities left out (as counters do for matrix products): 8 H (I + H) a step, layer and
    direction."""
    ways = 2 if module.bidirectional else 1
    total = 0
    for layer in range(module.num_layers):
        inputs = module.input_size if layer == 0 else ways * module.hidden_size
        total += ways * 8 * module.hidden_size * (inputs + module.hidden_size)
    return steps * total


@torch.no_grad()
def count_flops(model: Model, length: int = LENGTH) -> tuple[int, int]:
    """Operations of a forward pass of one utterance, two a multiply-add: (as torch's counter counts
    them, which is blind to recurrent layers on a CPU; those of recurrent layers)."""
    model = copy.deepcopy(model).cpu().float().eval()
    batch, recurrent = random_batch(model, 1, length), 0

    def listen(module: nn.LSTM, inputs, _output) -> None:
        nonlocal recurrent
        recurrent += recurrent_flops(module, inputs[0].shape[0] * inputs[0].shape[1])

    for module in model.modules():
        if isinstance(module, nn.LSTM):
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


def step_times(
    models: Mapping[str, Model], batch_size: int = 64, length: int = LENGTH, rounds: int = 10
) -> dict[str, np.ndarray]:
    """Seconds of one training step (forward, squared error, backward, Adam) of each model, in turn,
    so that whatever else the machine does meets all alike: (rounds,) by name."""
    steps = {name: _step(model, batch_size, length) for name, model in models.items()}
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


def _step(model: Model, batch_size: int, length: int):
    model = copy.deepcopy(model).train()
    batch = random_batch(model, batch_size, length).to(next(model.parameters()).device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        F.mse_loss(model(batch).logits, batch.sentiment).backward()
        optimiser.step()
        if batch.sentiment.is_cuda:
            torch.cuda.synchronize()

    return step
