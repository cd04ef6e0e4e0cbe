"""What a GPU must show, in at most eight minutes on one card: losses equal to the CPU's, the time
of a step by batch size and precision, how busy the card is, CUDA graphs and `torch.compile` beside
eager, memory, a training that is stopped and goes on, and MUSE as published on one fold.

    python -m benchmarks.gpu --device cuda        writes results/gpu.json, part by part
    python -m benchmarks.gpu --device cpu --tiny  the same code with sizes for a test
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.profiles import compiled, finished, inside
from benchmarks.speed import ragged
from benchmarks.steps import preset_model
from mmer_lib.corpora import load
from mmer_lib.data import Batch, Corpus
from mmer_lib.experiments.costs import in_turn, random_batch
from mmer_lib.models.base import Model
from mmer_lib.store import write_json
from mmer_lib.training.fit import fit
from mmer_lib.training.runs import provenance

OUTPUT = Path(__file__).parent / "results" / "gpu.json"
CASES = [(name, preset) for preset in ("fast", "paper") for name in ("muse", "mimic")]
CASES += [("muse-multigranular", preset) for preset in ("fast", "paper")]
WORDS = 20
STEPS = 20
TOLERANCE = 1e-3
"""So far may a loss in float32 be from the CPU's, as a share of it, after `STEPS` steps."""
BATCHES = (4, 16, 64, 256)
ROUNDS = 10
EPOCHS = 20
"""Of the training on a whole fold, at the most."""


def model_of(name: str, preset: str, device: torch.device, dropout: bool = True) -> Model:
    """A model with the sizes of a preset and random weights, the same every time."""
    torch.manual_seed(0)
    model = preset_model(name, preset)
    if not dropout:
        off = {f.name: 0.0 for f in fields(model.config) if f.name.endswith("dropout")}
        if encoder := getattr(model.config, "encoder", None):
            none = {k: 0.0 for k in encoder if k.endswith("dropout_prob")}
            off["encoder"] = encoder | none
        torch.manual_seed(0)
        model = type(model)(replace(model.config, **off))
    return model.to(device)


def batch_of(model: Model, count: int, seed: int = 0) -> Batch:
    """Noise in sequences of 20 to 100% of `WORDS`, on the model's device."""
    device = next(model.parameters()).device
    return ragged(random_batch(model, count, WORDS, seed), seed).to(device)


def step_of(model: Model, batch: Batch, precision: str = "float32") -> Callable[[], torch.Tensor]:
    """A training step with AdamW on one batch; it returns the loss without waiting for it."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    kind, mixed = batch.index.device.type, precision == "bfloat16"

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        with torch.autocast(kind, torch.bfloat16, enabled=mixed):
            loss = model.total(model.losses(batch, model(batch)))
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def losses(name: str, preset: str, device: torch.device, steps: int) -> dict:
    """Losses of so many steps here and on the CPU, from the same weights, without dropout."""
    found = {}
    for where in (torch.device("cpu"), device):
        model = model_of(name, preset, where, dropout=False).train()
        step = step_of(model, batch_of(model, 8))
        found[where.type] = torch.stack([step() for _ in range(steps)]).tolist()
    here, there = (np.array(found[kind]) for kind in (device.type, "cpu"))
    apart = float(np.max(np.abs(here - there) / np.abs(there)))
    return {"losses": here.tolist(), "apart": apart, "equal": apart <= TOLERANCE}


def step_times(name: str, preset: str, device: torch.device, batches: tuple[int, ...]) -> dict:
    """Milliseconds of a step and peak memory in GB by precision and batch size: warm, medians of
    `ROUNDS` in turn. A batch that memory does not hold is None."""
    found = {}
    for count in batches:
        for precision in ("float32", "bfloat16"):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            try:
                model = model_of(name, preset, device).train()
                step = finished(step_of(model, batch_of(model, count), precision), device)
                times = in_turn({"step": step}, ROUNDS)["step"]
            except torch.OutOfMemoryError:
                found[f"{precision}, {count}"] = None
                continue
            found[f"{precision}, {count}"] = {"step_ms": 1e3 * float(np.median(times))}
            if device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(device)
                found[f"{precision}, {count}"]["peak_gb"] = peak / 1e9
    return found


def resumed(corpus: Corpus, device: str, epochs: int) -> dict:
    """MIMIC stopped in the middle of its training and started again, beside one that went through:
    the largest difference of a loss of any epoch, and of a score of the test part."""

    def stop(_model, step: int, steps_per_epoch: int) -> None:
        if step == epochs // 2 * steps_per_epoch:
            raise KeyboardInterrupt

    def train(folder: str, **options):
        settings = {"max_epochs": epochs, "patience": epochs, "seed": 0, "progress": False}
        return fit("mimic", corpus, device=device, out=folder, **settings, **options).result

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        whole = train(one)
        try:
            train(two, watch=[stop])
        except KeyboardInterrupt:
            again = train(two)
    pairs = zip(whole["history"], again["history"], strict=True)
    return {
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
        "score": max(abs(v - again["test"][k]) for k, v in whole["test"].items()),
    }


def whole_fold(corpus: Corpus, device: str, preset: str, epochs: int) -> dict:
    """MUSE on fold 0: seconds of the training, its epochs and the scores of the test part."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"max_epochs": epochs, "progress": False}
        run = fit("muse", corpus, preset=preset, device=device, out=folder, **settings)
    return {k: run.result[k] for k in ("epochs", "seconds", "parameters", "test")}


def main(arguments: list[str] | None = None, corpus: Corpus | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and two steps")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    chosen = parser.parse_args(arguments)
    device, tiny, begun = torch.device(chosen.device), chosen.tiny, time.perf_counter()
    found = {"command": f"python -m benchmarks.gpu --device {chosen.device}", **provenance(device)}
    cases = [case for case in CASES if case[1] == "fast"] if tiny else CASES
    corpus = load("demo") if corpus is None else corpus

    def keep(part: str, value: dict) -> None:
        found[part] = value
        found["seconds"] = round(time.perf_counter() - begun, 1)
        write_json(chosen.output, found)
        print(f"{found['seconds']:6.1f} s  {part}: {json.dumps(value)}", flush=True)

    for case in cases:
        title = " ".join(case)
        keep(f"losses, {title}", losses(*case, device, 2 if tiny else STEPS))
        keep(f"steps, {title}", step_times(*case, device, (2,) if tiny else BATCHES))
        model = model_of(*case, device).train()
        keep(f"inside, {title}", inside(step_of(model, batch_of(model, 2 if tiny else 32)), device))
    keep("resumed", resumed(corpus, chosen.device, 4))
    preset, epochs = ("fast", 1) if tiny else ("paper", EPOCHS)
    keep("one fold", whole_fold(corpus, chosen.device, preset, epochs))
    if not tiny:  # a minute each: last, so that what comes before is kept
        for name in ("muse", "mimic"):
            config = model_of(name, "fast", device).config
            keep(f"compiled, {name} fast", compiled((name, 32, WORDS, config), device, "wall", 4.0))
    print(chosen.output)


if __name__ == "__main__":
    main()
