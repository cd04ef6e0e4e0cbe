"""Trains every system on noise, for thousands of steps as its presets say and for some at extreme
settings, and looks for numbers that are not finite: `python -m benchmarks.soak`.

The utterances are short and the batches small, so that 10,000 steps take minutes; the widths are
those of the preset, but for `NARROW`. The learning rate stays at its height: no warm-up, no fall.
What was found is written after every training.
"""

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mmer_lib.data import Batch
from mmer_lib.experiments.efficiency import random_batch
from mmer_lib.models.base import Model
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import provenance
from mmer_lib.training.settings import PRESETS, Settings

OUTPUT = Path(__file__).parent / "results" / "soak.json"

TRAINED = tuple(name for name in MODELS if PRESETS[name]["paper"][1].learning_rate)
"""The systems that are trained by steps; the others have their parameters in closed form."""

LONG = ("muse", "muse-multigranular", "mimic", "misa")
"""Those that take all the steps at the paper's preset and a quarter of them at the fast one; the
others take a twentieth."""

_MUSE = {"words": 50, "bands": 40, "width": 64, "hidden": 128}
NARROW = {
    "muse": _MUSE,
    "muse-multigranular": _MUSE,
    "misa": {"units": 32, "width": 64, "hidden": 64},
    "tfn": {"text_width": 32, "audio_width": 16, "vision_width": 16, "hidden": 64},
}
"""Widths that are smaller here than in a preset."""

INPUTS = ("words", "frames", "audio", "vision", "cls")
"""Fields of a `Batch` that hold measurements."""


@dataclass(frozen=True)
class Noise:
    """What a step is fed.

    Attributes:
        count: utterances. words: of the longest; the others have one word or more.
        frames: most frames of the filterbank. scale: factor on all measurements.
        equal: all labels alike. missing: one modality, another at each step, is padding alone.
    """

    count: int = 4
    words: int = 3
    frames: int = 8
    scale: float = 1.0
    equal: bool = False
    missing: bool = False


@dataclass(frozen=True)
class Case:
    """An extreme: other settings, other noise, another type of number; `rate` multiplies the
    learning rate. `steps` is the share of the extreme steps that it takes."""

    settings: dict = field(default_factory=dict)
    noise: Noise = Noise()
    rate: float = 1.0
    half: bool = False
    steps: float = 1.0


EXTREMES = {
    "learning rate x100, clipped at 1": Case({"clip": 1.0}, rate=100.0, steps=3.0),
    "learning rate x100, not clipped": Case({"clip": 0.0}, rate=100.0, steps=3.0),
    "temperature 0.001": Case({"temperature": 0.001}),
    "temperature 100": Case({"temperature": 100.0}),
    "word times as the ideal": Case({"ideal": "forced"}),
    "batch of one": Case(noise=Noise(count=1)),
    "one word": Case(noise=Noise(words=1)),
    "500 words": Case(noise=Noise(count=2, words=500, frames=12_500), steps=0.1),
    "equal labels": Case(noise=Noise(equal=True)),
    "inputs x10,000": Case(noise=Noise(scale=1e4)),
    "inputs of zeros": Case(noise=Noise(scale=0.0)),
    "a modality missing": Case(noise=Noise(missing=True)),
    "bfloat16 autocast": Case(half=True),
}


def applies(case: Case, settings: Settings) -> bool:
    """Whether what a case changes has a part in the loss."""
    needed = {"temperature": settings.contrastive, "ideal": settings.align}
    return all(needed.get(name, True) for name in case.settings)


def noise(model: Model, how: Noise, seed: int) -> Batch:
    """A padded batch of noise with random labels. Each modality of each utterance has a length of
    its own, and the first utterance all of it; padding is zeros; a word in ten has no vector."""
    batch = random_batch(model, how.count, how.words, seed)
    g = torch.Generator().manual_seed(seed)
    masks = [name for name in model.needs(model.config) if name.endswith("_mask")]
    for i, name in enumerate(masks):
        part = name.removesuffix("_mask")
        if part == "frame":
            batch.frames = batch.frames[:, : how.frames]
            batch.frame_mask = batch.frame_mask[:, : how.frames]
        mask = getattr(batch, name)
        lengths = torch.randint(1, mask.shape[1] + 1, (how.count, 1), generator=g)
        lengths[0] = mask.shape[1]
        if how.missing and seed % len(masks) == i:
            lengths.zero_()
        mask = torch.arange(mask.shape[1]) >= lengths
        setattr(batch, name, mask)
        for field_ in (part, f"{part}s", *(["known", "phonemes"] if part == "word" else [])):
            if (value := getattr(batch, field_, None)) is not None:
                value[mask] = 0
    for name in INPUTS:
        if (value := getattr(batch, name)) is not None:
            setattr(batch, name, value * how.scale)
    if batch.word_mask is not None:
        ends = torch.rand(batch.word_mask.shape, generator=g).cumsum(1)
        times = torch.stack([ends - 0.3, ends], dim=-1)
        batch.word_times = times.masked_fill(batch.word_mask[..., None], torch.nan)
    if batch.known is not None:
        batch.known &= torch.rand(batch.known.shape, generator=g) > 0.1
    batch.sentiment = torch.rand(how.count, generator=g) * 6 - 3
    classes = max(model.config.classes, 2)
    batch.emotion = torch.randint(0, classes, (how.count,), generator=g)
    if how.equal:
        batch.sentiment, batch.emotion = batch.sentiment * 0 + 1, batch.emotion * 0
    return batch


def learner_of(name: str, preset: str, **changes) -> Learner:
    """A model as its preset has it (see `NARROW`), with new weights, and how it is trained."""
    options, settings = PRESETS[name][preset]
    settings = replace(settings, warmup=0.0, tune=False, **changes)
    cls = model_class(name)
    classes = 4 if settings.task == "emotion" else 1
    options = {**options, **NARROW.get(name, {}), "classes": classes}
    torch.manual_seed(0)
    return Learner(cls(cls.config_class(**options)).train(), settings)


def largest(tensors: list[Tensor]) -> float:
    """The largest absolute value of some tensors, NaN if there is one among them."""
    return float(torch.stack([t.detach().abs().max().float() for t in tensors]).max())


def steps_of(learner: Learner, how: Noise, count: int, half: bool = False) -> Iterator[tuple]:
    """Train; after each step (loss, norm of the gradient before it is clipped)."""
    optimiser = learner.configure_optimizers()
    trained = [p for p in learner.parameters() if p.requires_grad]
    limit = learner.settings.clip or math.inf
    for step in range(count):
        batch = noise(learner.model, how, step)
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = learner.loss(batch)["loss"]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, limit)
        optimiser.step()
        yield tuple(torch.stack([loss.detach(), norm]).tolist())


def soak(learner: Learner, how: Noise, count: int, half: bool = False) -> dict:
    """Train for so many steps, or until a loss, a gradient or a weight is not finite.

    Returns:
        steps: taken. loss, gradient, weight: the largest absolute values met. not_finite: what was
        not, and at which step; None if all was. seconds: of this process's CPU time.
    """
    kept = [v for v in learner.state_dict().values() if v.is_floating_point()]  # batch norm's too
    worst = {"loss": 0.0, "gradient": 0.0, "weight": largest(kept)}
    begun, found, step = time.process_time(), None, 0
    for step, (loss, norm) in enumerate(steps_of(learner, how, count, half), 1):
        met = {"loss": abs(loss), "gradient": norm}
        if step % 100 == 0 or step == count:
            met["weight"] = largest(kept)
        bad = [name for name, value in met.items() if not math.isfinite(value)]
        if bad:
            found = f"{bad[0]}, step {step}"
            break
        worst |= {name: max(worst[name], value) for name, value in met.items()}
    seconds = round(time.process_time() - begun, 1)
    return {"steps": step, **worst, "not_finite": found, "seconds": seconds}


def runs(only: list[str], steps: int, extreme: int) -> Iterator[tuple[dict, tuple]]:
    """Every training: what it is called, and the arguments of `soak`."""
    for name in only:
        for preset in ("paper", "fast"):
            about = {"model": name, "preset": preset, "case": "as the preset says"}
            share = 20 if name not in LONG else 4 if preset == "fast" else 1
            count = max(1, steps // share)
            yield about, (learner_of(name, preset), Noise(), count, False)
        for title, case in EXTREMES.items():
            learner = learner_of(name, "fast", **case.settings)
            if applies(case, learner.settings):
                rate = learner.settings.learning_rate * case.rate
                learner.settings = replace(learner.settings, learning_rate=rate)
                about = {"model": name, "preset": "fast", "case": title}
                count = max(1, round(extreme * case.steps))
                yield about, (learner, case.noise, count, case.half)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="of the presets")
    parser.add_argument("--extreme", type=int, default=50, help="steps of the extreme settings")
    parser.add_argument("--only", nargs="*", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    typed = sys.argv[1:] if arguments is None else arguments
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.soak", *typed]),
        **provenance(torch.device("cpu")), "narrow": NARROW, "noise": asdict(Noise()),
        "cases": {k: asdict(case) for k, case in EXTREMES.items()}, "runs": [],
    }  # fmt: skip
    for about, given in runs(chosen.only, chosen.steps, chosen.extreme):
        found = {**about, **soak(*given)}
        result["runs"].append(found)
        chosen.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        numbers = "  ".join(f"{k} {found[k]:.3g}" for k in ("loss", "gradient", "weight"))
        line = (
            f"{about['model']:19}{about['preset']:6}{about['case']:34}{found['steps']:6}  {numbers}"
        )
        print(f"{line}  {found['seconds']} s  {found['not_finite'] or ''}", flush=True)
    print(chosen.output)


if __name__ == "__main__":
    main()
