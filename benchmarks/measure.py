"""Time and memory of two things that do the same, in one process and in turn."""

import gc
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.pairs import System
from mmer_lib.experiments.costs import in_turn

CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
"""CPU time of all threads, which other programs disturb less; or the time that passes."""
LEAST = 5
"""Rounds of a measurement."""


def step_of(system: System, **options) -> Callable[[], None]:
    """A training step: forward, loss, backward, Adam with these options."""
    system.network.train()
    optimiser = torch.optim.Adam(system.network.parameters(), lr=1e-4, **options)

    def step() -> None:
        optimiser.zero_grad()
        system.loss().backward()
        optimiser.step()

    return step


def prediction_of(system: System) -> Callable[[], None]:
    system.network.eval()

    @torch.inference_mode()
    def predict() -> None:
        system.predict()

    return predict


def timed(calls: dict, clock: str, seconds: float, most: int) -> dict[str, np.ndarray]:
    """Seconds of some calls, in turn, for about so long: `LEAST` to `most` rounds, after one that
    is not counted."""
    begun = time.perf_counter()
    in_turn(calls, rounds=1)  # with one more before, which is not counted
    rounds = int(seconds / (time.perf_counter() - begun) * 2)
    return in_turn(calls, min(max(rounds, LEAST), most), CLOCKS[clock], warm=False)


def compared(pair: tuple[Callable, Callable], clock: str, seconds: float) -> dict:
    """Seconds of ours and of theirs and the ratio ours / theirs, taken round by round: each as
    [first quartile, median, third quartile], from at most 60 rounds of `timed`."""
    calls = dict(zip(("ours", "theirs"), pair, strict=True))
    gc.collect()
    gc.disable()
    times = timed(calls, clock, seconds, most=60)
    gc.enable()
    times["ratio"] = times["ours"] / times["theirs"]
    quartiles = {k: np.quantile(v, (0.25, 0.5, 0.75)).tolist() for k, v in times.items()}
    return {**quartiles, "rounds": len(times["ratio"])}


def _memory(call: Callable[[], None]) -> np.ndarray:
    """Bytes of tensors that a call takes (positive) and gives back, one after the other, as torch's
    own allocator reports them: exact, the same every time, without what libraries take for
    themselves."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return np.array([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])


def peak_memory(call: Callable[[], None]) -> int:
    """Most bytes of tensors at a time during a call above what there was before it."""
    return int(np.cumsum([0, *_memory(call)]).max())


def allocated(call: Callable[[], None]) -> int:
    """Bytes of all tensors that a call makes."""
    return int(_memory(call).clip(min=0).sum())


def size_of(network: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def measured(pair: tuple[System, System], clock: str, seconds: float) -> dict:
    """A training step, an inference, the memory of a step and the number of parameters, of ours
    and of theirs."""
    names, found = ("ours", "theirs"), {}
    steps = [step_of(system) for system in pair]
    found["train"] = compared(tuple(steps), clock, seconds)
    peaks = []
    for system, step in zip(pair, steps, strict=True):
        system.network.zero_grad()  # gradients count to the step
        peaks.append(peak_memory(step))
        system.network.zero_grad()
    found["memory"] = {**dict(zip(names, peaks, strict=True)), "ratio": peaks[0] / peaks[1]}
    predictions = tuple(prediction_of(system) for system in pair)
    found["inference"] = compared(predictions, clock, seconds / 2)
    sizes = [size_of(system.network) for system in pair]
    found["parameters"] = dict(zip(names, sizes, strict=True))
    return found
