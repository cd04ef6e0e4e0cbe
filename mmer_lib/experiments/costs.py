"""What a model costs: parameters, operations with and without recurrent layers, epochs, and
the time of a step."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmer_lib.data import Batch
from mmer_lib.models.base import Model
from mmer_lib.training.runs import Run, provenance

LENGTH = 50
"""Words of the utterance on which operations are counted: the field's usual length."""

WORD = 0.3
"""Seconds of speech a word: 200 words a minute."""

PHONEMES = 4
"""Phonemes a word, about the mean of English speech."""

CONVERGED = 0.02
"""Converged: the first epoch whose development score is so near to the best, as a share of it."""

MEASURES = ("params_m", "mflops_counted", "mflops", "convergence_epochs")
"""What `measures` computes of a run."""


def random_batch(model: Model, count: int, length: int = LENGTH, seed: int = 0) -> Batch:
    """`count` utterances of `length` words of noise, `WORD` of speech each, with what the model
    reads (widths as in its configuration), without padding; both kinds of labels are 0."""
    generator = torch.Generator().manual_seed(seed)
    config, fields = model.config, {}

    def steps(name: str) -> int:
        return round(WORD * length / config.hop) if name.startswith("frame") else length

    for name in model.needs(config):
        if name.endswith("_mask"):
            fields[name] = torch.zeros(count, steps(name), dtype=torch.bool)
        elif name == "word_times":
            starts = WORD * torch.arange(length, dtype=torch.float32)
            fields[name] = torch.stack([starts, starts + WORD], -1).expand(count, -1, -1)
        elif name == "known":
            fields[name] = torch.ones(count, length, dtype=torch.bool)
        elif name == "phonemes":
            shape = (count, length, PHONEMES)
            fields[name] = torch.randint(1, config.phonemes, shape, generator=generator)
        elif name == "subwords":
            symbols = config.encoder["vocab_size"]
            fields[name] = torch.randint(1, symbols, (count, length), generator=generator)
        else:
            width = config.bands if name == "frames" else getattr(config, name)
            shape = (count, width) if name == "cls" else (count, steps(name), width)
            fields[name] = torch.randn(shape, generator=generator)
    labels = {"sentiment": torch.zeros(count), "emotion": torch.zeros(count, dtype=torch.long)}
    return Batch(torch.arange(count), **labels, **fields)


def recurrent_flops(module: nn.LSTM | nn.GRU, steps: int) -> int:
    """Operations of an LSTM or a GRU over so many steps of a sequence, biases and non-linearities
    left out (as counters do for matrix products): two a weight, that is 2 G H (I + H) a step,
    layer and direction, with G = 4 gates of an LSTM, 3 of a GRU."""
    weights = [p for name, p in module.named_parameters() if name.startswith("weight")]
    return 2 * steps * sum(p.numel() for p in weights)


@torch.no_grad()
def count_flops(model: Model, length: int = LENGTH) -> tuple[int, int]:
    """Operations of a forward pass of one utterance, two a multiply-add: (as torch's counter counts
    them, which is blind to recurrent layers on a CPU; those of recurrent layers)."""
    model = copy.deepcopy(model).cpu().float().eval()
    recurrent = []

    def count(module: nn.LSTM | nn.GRU, inputs, _output) -> None:
        recurrent.append(recurrent_flops(module, inputs[0].shape[0] * inputs[0].shape[1]))

    for module in model.modules():
        if isinstance(module, nn.LSTM | nn.GRU):
            module.register_forward_hook(count)
    # torch's counter does not see fused attention on a CPU
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(random_batch(model, 1, length))
    return counter.get_total_flops(), sum(recurrent)


def convergence_epoch(history: list[dict], monitor: str, mode: str) -> int:
    """The first epoch, counted from 1, whose development score is within `CONVERGED` of the best
    of the run."""
    scores = np.array([epoch[monitor] for epoch in history])
    best = scores.max() if mode == "max" else scores.min()
    near = np.abs(scores - best) <= CONVERGED * abs(best)
    return int(np.argmax(near)) + 1


def measures(run: Run) -> dict[str, float]:
    """Table 3 of MIMIC for one run: "params_m" (millions), "mflops_counted" and "mflops" (millions,
    one utterance of `LENGTH` words, without and with recurrent layers), "convergence_epochs"."""
    counted, recurrent = count_flops(run.model)
    history, settings = run.result["history"], run.settings
    return {
        "params_m": sum(p.numel() for p in run.model.parameters()) / 1e6,
        "mflops_counted": counted / 1e6,
        "mflops": (counted + recurrent) / 1e6,
        "convergence_epochs": convergence_epoch(history, settings.monitor, settings.mode),
    }


def costs(models: Mapping[str, Model]) -> dict:
    """What some models cost, by name, measured here and in turn: `rows` with "params_m" and
    "mflops" as of `measures` and "step_ms", the median of a training step of 32 such utterances;
    `about`: the device, its threads and the shapes."""
    times = step_times(models, 32, rounds=5)
    rows = {
        name: {
            "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
            "mflops": sum(count_flops(model)) / 1e6,
            "step_ms": 1e3 * float(np.median(times[name])),
        }
        for name, model in models.items()
    }
    here = provenance(next(p.device for model in models.values() for p in model.parameters()))
    about = {"device": here["device"], "threads": here["threads"], "batch_size": 32}
    return {"rows": rows, "about": about | {"words": LENGTH, "seconds_of_speech": WORD * LENGTH}}


def step_times(
    models: Mapping[str, Model],
    batch_size: int = 64,
    length: int = LENGTH,
    rounds: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of one training step (forward, losses, backward, AdamW) of each model on noise, see
    `in_turn`: (rounds,) by name."""
    steps = {name: training_step(model, batch_size, length) for name, model in models.items()}
    return in_turn(steps, rounds, clock)


def training_step(model: Model, batch_size: int, length: int) -> Callable[[], None]:
    """A training step of a copy of a model on noise (`random_batch`)."""
    model = copy.deepcopy(model).train()
    batch = random_batch(model, batch_size, length).to(next(model.parameters()).device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        model.total(model.losses(batch, model(batch))).backward()
        optimiser.step()
        if batch.index.is_cuda:
            torch.cuda.synchronize()

    return step


def in_turn(
    calls: Mapping[Hashable, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = True,
) -> dict[Hashable, np.ndarray]:
    """Seconds of each of some calls, in turn, so that whatever else the machine does meets all
    alike: (rounds,) by name. `warm` begins with a round that is not counted."""
    if warm:
        for call in calls.values():
            call()
    times: dict[Hashable, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begun = clock()
            call()
            times[name].append(clock() - begun)
    return {name: np.array(own) for name, own in times.items()}
