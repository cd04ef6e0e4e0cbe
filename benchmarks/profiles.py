"""What a training step consists of, and what `torch.compile` makes of it, on a CPU or a GPU:
`python -m benchmarks.profiles --help`."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
import torch._inductor.config
from torch.profiler import DeviceType, ProfilerActivity, profile

from benchmarks.measure import step_of
from benchmarks.pairs import System, system_of
from benchmarks.report import heading, parser_of, write
from benchmarks.speed import FAST, medians, ragged
from mmer_lib.experiments.costs import random_batch
from mmer_lib.models.base import Model
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig

STEPS = {
    "muse fast, 32 x 12 words": ("muse", FAST, 32, 12),
    "muse paper, 32 x 12 words": ("muse", MuseConfig(), 32, 12),
    "mimic, 64 x 50 words": ("mimic", MimicConfig(), 64, 50),
}
"""Model, configuration, utterances of a batch, words of the longest."""
KINDS = {
    "LSTM, backward": ("rnn_layer_backward", "_rnn_backward"),
    "LSTM": ("rnn",),
    "attention, backward": ("attention_backward", "attention_for_cpu_backward"),
    "attention": ("attention",),
    "convolutions": ("conv",),
    "dense layers": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear"),
    "normalisation": ("layer_norm", "batch_norm"),
    "optimiser": ("_adam", "Optimizer."),
    "copying": ("copy_", "aten::cat", "flip", "index", "gather", "clone", "stack"),
}
"""By name, parts of the operators' names; the first that fits counts. What fits none is "other":
sums and products number by number, bookkeeping."""
ROUNDS = 10


def kind_of(operator: str) -> str:
    return next(
        (kind for kind, parts in KINDS.items() if any(p in operator for p in parts)), "other"
    )


def padded_system(
    name: str, count: int, words: int, config, device: torch.device, **changes
) -> System:
    """A model with its losses, its configuration but for `changes`, and a batch whose sequences
    have 20 to 100% of the longest."""
    torch.manual_seed(0)
    model: Model = {"muse": Muse, "mimic": Mimic}[name](replace(config, **changes)).to(device)
    return system_of(model, ragged(random_batch(model, count, words)).to(device))


def finished(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A step that returns when the device is done with it."""

    def call() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def inside(step: Callable[[], None], device: torch.device) -> dict:
    """Of a step: "shares" of the device's time by kind of operator; "calls" of operators; and on a
    GPU "kernels", and the share of the time that it is "busy": far below 1, the launches are the
    limit."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    step()
    with profile(activities=activities) as profiler:
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            step()
        took = time.perf_counter() - begun
    shares, calls, kernels, busy = Counter(), 0, 0, 0.0
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:  # a kernel, counted to its operator below
            kernels += event.count
            busy += event.self_device_time_total
            continue
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        shares[kind_of(event.key)] += spent
        calls += event.count if event.key.startswith("aten::") else 0
    whole = shares.total()
    found = {
        "shares": {kind: spent / whole for kind, spent in shares.most_common()},
        "calls": calls / ROUNDS,
    }
    if on_gpu:
        found |= {"kernels": kernels / ROUNDS, "busy": busy / 1e6 / took}
    return found


def compiled(case: tuple, device: torch.device, clock: str, seconds: float) -> dict:
    """The same step eager and compiled, in turn, and the seconds that the first compiled one took;
    on a GPU also with CUDA graphs ("reduce-overhead"). Nothing that was compiled before is taken.
    L_align is off: it listens to the attention by hooks, which what is compiled does not call."""
    torch._inductor.config.force_disable_caches = True
    off = {"align": 0.0} if case[0] == "muse" else {}
    eager = padded_system(*case, device, **off)
    calls, took = {"eager": finished(step_of(eager, fused=True), device)}, {}
    for mode in ("default", *(["reduce-overhead"] if device.type == "cuda" else [])):
        system = padded_system(*case, device, **off)
        system.network.compile(mode=mode)
        calls[mode] = finished(step_of(system, fused=True), device)
        begun = time.perf_counter()
        calls[mode]()
        took[mode] = time.perf_counter() - begun
    found = medians(calls, clock, seconds)
    return {
        mode: {"to_eager": found[mode] / found["eager"], "first_step_s": took[mode]}
        for mode in took
    }


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("profiles", __doc__, threads=2, clock="wall", seconds=6.0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    about = heading("profiles", arguments, chosen.device)
    result = {**about, "clock": chosen.clock, "steps": {}}
    for title, (name, config, count, words) in STEPS.items():
        case = (name, count, words, config)
        step = finished(step_of(padded_system(*case, device), fused=True), device)
        row = {
            "step_ms": 1e3 * medians({"step": step}, chosen.clock, chosen.seconds / 2)["step"],
            **inside(step, device),
        }
        if not chosen.eager:
            row["compiled"] = compiled(case, device, chosen.clock, chosen.seconds)
        result["steps"][title] = row
        print(title, json.dumps(row), flush=True)
    write(result, chosen.output)


if __name__ == "__main__":
    main()
