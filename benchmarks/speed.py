"""Times features, loading, steps and whole trainings: `python -m benchmarks.speed --help`."""

import itertools
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import direct, pairs
from benchmarks.measure import allocated, prediction_of, step_of, timed
from benchmarks.pairs import System, system_of
from benchmarks.plain import PlainMimic, PlainMuse
from benchmarks.programs import Missing
from benchmarks.report import heading, parser_of, write
from mmer_lib.corpora import load
from mmer_lib.data import Batch, Corpus
from mmer_lib.experiments.costs import WORD, count_flops, random_batch
from mmer_lib.features import extract as features
from mmer_lib.features.batches import Examples, loader
from mmer_lib.features.speech import audio_by_word
from mmer_lib.models.losses import contrastive
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.pretrained import import_torchaudio
from mmer_lib.training.fit import features_for, fit
from mmer_lib.training.settings import PRESETS

TARGET = 0.70
"""WA of the development part that MUSE is trained to; a quarter is chance."""
FAST = MuseConfig(words=50, **PRESETS["muse"]["fast"][0])
"""MUSE as the demo corpus is trained on."""
KINDS = {"muse fast": FAST, "muse paper": MuseConfig(), "mimic": None}
GRID = {
    "muse fast": [(4, 12), (32, 6), (32, 12), (32, 24), (128, 12)],
    "muse paper": [(4, 12), (32, 12)],
    "mimic": [(4, 50), (16, 50), (64, 12), (64, 25), (64, 50), (64, 100)],
}
"""Utterances of a batch, and words of each."""


# ------------------------------------------------------------------------------ what is given


def ragged(batch: Batch, seed: int = 0) -> Batch:
    """The same batch with sequences of 20 to 100% of its length, as far as they go the same in all
    modalities; one is of full length."""
    shares = torch.linspace(0.2, 1.0, len(batch))
    shares = shares[torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))]
    masks = {}
    for name in ("word_mask", "frame_mask", "audio_mask", "vision_mask"):
        if (mask := getattr(batch, name)) is not None:
            length = mask.shape[1]
            masks[name] = torch.arange(length) >= (shares * length).round().long()[:, None]
    return replace(batch, **masks)


def muse(config: MuseConfig, count: int, words: int, padded: bool) -> tuple[System, System]:
    """Ours and the one of torch's modules, both without L_align, which the latter cannot have."""
    model, other = Muse(replace(config, align=0.0)), PlainMuse(Muse(config))
    batch = random_batch(model, count, words)
    batch = ragged(batch) if padded else batch
    mine = system_of(model, batch)
    loss = lambda: F.cross_entropy(other(batch), batch.emotion)  # noqa: E731
    return mine, System(other, loss, lambda: other(batch))


def mimic(count: int, words: int, padded: bool) -> tuple[System, System]:
    """Ours and the one of torch's modules, with the regulariser, at the paper's sizes."""
    model, other = Mimic(MimicConfig()), PlainMimic(Mimic(MimicConfig()))
    batch = random_batch(model, count, words)
    batch = ragged(batch) if padded else batch
    config = model.config

    def loss() -> torch.Tensor:
        prediction, shared = other(batch)
        regulariser = contrastive(shared, batch.sentiment.round(), config.temperature)
        return F.mse_loss(prediction, batch.sentiment) + config.contrastive * regulariser

    return system_of(model, batch), System(other, loss, lambda: other(batch)[0])


# ------------------------------------------------------------------------------- what is timed


def medians(calls: dict, clock: str, seconds: float) -> dict[str, float]:
    """Medians of the seconds of some calls, see `timed`."""
    times = timed(calls, clock, seconds, most=30)
    return {name: float(np.median(found)) for name, found in times.items()}


def rates(clock: str) -> dict[str, float]:
    """What this machine can do: operations a second of a product of two 1024 x 1024 matrices, and
    bytes a second of copying 64 MB (read and written)."""
    a, source, target = torch.randn(1024, 1024), torch.randn(2**24), torch.empty(2**24)
    calls = {"product": lambda: a @ a, "copy": lambda: target.copy_(source)}
    found = medians(calls, clock, 1.0)
    return {"operations": 2 * 1024**3 / found["product"], "bytes": 2 * 2**26 / found["copy"]}


def steps(clock: str, seconds: float) -> dict[str, dict]:
    """Training step and inference by batch size and length: milliseconds of ours, its ratio to
    torch's modules, and to the floor: three times the operations of a forward pass, or every byte
    that is allocated written and read once, whichever takes longer at the rates above."""
    able, rows = rates(clock), {}
    for (kind, config), padded in itertools.product(KINDS.items(), (False, True)):
        for count, words in GRID.get(kind, ()):
            torch.manual_seed(0)
            both = (
                mimic(count, words, padded)
                if config is None
                else muse(config, count, words, padded)
            )
            ours, plain = step_of(both[0], fused=True), step_of(both[1])
            took = medians({"ours": ours, "plain": plain}, clock, seconds)
            reading = {k: prediction_of(s) for k, s in zip(took, both, strict=True)}
            read = medians(reading, clock, seconds / 2)
            work = 3 * count * sum(count_flops(both[0].network, words)) / able["operations"]
            moved = 2 * allocated(step_of(both[0], fused=True)) / able["bytes"]
            rows[f"{kind}, {count} x {words} words{', padded' if padded else ''}"] = row = {
                "step_ms": 1e3 * took["ours"],
                "inference_ms": 1e3 * read["ours"],
                "utterances_per_second": count / took["ours"],
                "step_to_plain": took["ours"] / took["plain"],
                "inference_to_plain": read["ours"] / read["plain"],
                "step_to_floor": took["ours"] / max(work, moved),
                "floor": "operations" if work > moved else "bytes",
            }
            shown = "".join(f"{row[k]:9.2f}" for k in row if k != "floor")
            print(f"{list(rows)[-1]:38}{shown} {row['floor']}", flush=True)
    return {"rates": able, "rows": rows}


def beside_misa(clock: str, seconds: float) -> dict[str, dict]:
    """A step of MIMIC beside one of the reference MISA and of our MISA, 64 utterances of 50 words,
    and of 10 to 50."""
    found = {}
    for padded in (False, True):
        torch.manual_seed(0)
        mine, reference = pairs.misa(ragged if padded else None)
        other = mimic(pairs.BATCH, pairs.LENGTH, padded)[0]
        took = medians(
            {
                "mimic": step_of(other, fused=True),
                "misa": step_of(mine, fused=True),
                "reference": step_of(reference),
            },
            clock,
            2 * seconds,
        )
        name = "padded" if padded else "equal lengths"
        found[name] = {
            **{f"{k}_ms": 1e3 * v for k, v in took.items()},
            "mimic_to_reference": took["mimic"] / took["reference"],
        }
        print(f"MIMIC / the reference MISA, {name}: 1 / {took['reference'] / took['mimic']:.1f}")
    return found


def with_empty_cache(call):
    """What a call returns, and its seconds, where nothing is cached."""
    before = os.environ.get("MMER_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMER_CACHE"] = folder
        try:
            begun = time.perf_counter()
            result = call(Path(folder))
            return result, time.perf_counter() - begun
        finally:
            if before is None:
                del os.environ["MMER_CACHE"]
            else:
                os.environ["MMER_CACHE"] = before


def extraction(corpus: Corpus) -> dict[str, dict]:
    """Features of a corpus from nothing, again from the cache, and one utterance after the other:
    utterances a second, and seconds of speech a second."""
    import_torchaudio()
    spoken = sum(len(u.waveform()) / u.rate for u in corpus.utterances)
    count = len(corpus.utterances)
    found = {"utterances": count, "seconds_of_speech": spoken}
    groups = {
        "filterbank": ["speech"],
        "filterbank and prosody": ["speech", "audio"],
        "word vectors": ["words"],
        "phonemes": ["phonemes"],
    }
    for name, parts in groups.items():

        def extracted(_folder: Path, parts=parts) -> float:
            begun = time.perf_counter()
            features.extract(corpus, parts=parts, progress=False, normalisation="none")
            return time.perf_counter() - begun

        (first, again), _ = with_empty_cache(lambda folder, f=extracted: (f(folder), f(folder)))
        found[name] = {
            "utterances_per_second": count / first,
            "times_real_time": spoken / first,
            "from_cache_utterances_per_second": count / again,
        }
        print(
            f"{name:24}{count / first:9.0f} utterances/s {spoken / first:7.0f} x real time; from "
            f"the cache {count / again:9.0f} utterances/s",
            flush=True,
        )
    begun = time.perf_counter()
    for u in corpus.utterances[:200]:
        audio_by_word(u.waveform(), u.rate, u.words)
    found["one_after_the_other"] = 200 / (time.perf_counter() - begun)
    return found


def loading(corpus: Corpus) -> dict[str, dict]:
    """Batches of the training part for the fast MUSE: utterances a second, and the share of frames
    that is padding."""
    settings, split = PRESETS["muse"]["fast"][1], corpus.splits(0)
    needs = Muse.needs(FAST)
    examples = Examples(corpus, features_for(needs, settings, corpus), split.train)
    reader = direct.Reader(corpus)
    ways = {
        "ours: mapped, buckets of 32": lambda: loader(examples, 32, shuffle=True),
        "mapped, 4 in file order": lambda: (
            examples.collate(split.train[i : i + 4]) for i in range(0, len(split.train), 4)
        ),
        "computed, 4 in file order": lambda: reader.batches(split.train[:200]),
    }
    found = {}
    for name, batches in ways.items():
        count = padding = frames = 0
        begun = time.perf_counter()
        for batch in batches():
            count += len(batch)
            padding, frames = (
                padding + int(batch.frame_mask.sum()),
                frames + batch.frame_mask.numel(),
            )
        rate = count / (time.perf_counter() - begun)
        found[name] = {"utterances_per_second": rate, "padding": padding / frames}
        print(f"{name:30}{rate:9.0f} utterances/s {padding / frames:7.1%} padding", flush=True)
    return found


def cold_start(corpus: Corpus, shuffled: bool) -> dict[str, dict]:
    """MUSE from nothing to `TARGET`: ours (preset "fast"), features included, and the
    straightforward way, both at our sizes and at the paper's, the latter at two learning rates
    each: until it is there, or, in the order of the file, which teaches it nothing, for a few
    epochs. Utterances a second are those of the training part; the validation after every epoch is
    counted in the time."""
    split, classes, found = corpus.splits(0), len(corpus.emotions), {}
    small, large = replace(FAST, classes=classes), MuseConfig(words=50, classes=classes)
    sizes = {"our sizes": small, "the paper's sizes": large}
    for name, config in sizes.items():
        options = {k: getattr(config, k) for k in PRESETS["muse"]["fast"][0]}

        def ours(folder: Path, options=options):
            return fit("muse", corpus, out=folder / "runs", progress=False, device="cpu", **options)

        run, seconds = with_empty_cache(ours)
        history = [epoch["wa"] for epoch in run.result["history"]]
        each = run.result["seconds"] / len(history)
        before = seconds - run.result["seconds"]
        reached = next((i + 1 for i, wa in enumerate(history) if wa >= TARGET), None)
        found["ours" if config is small else f"ours, {name}"] = _row(
            len(split.train) / each, each, history, reached and before + reached * each
        ) | {"features_and_rest_s": before}
    ways = {  # learning rates, and epochs at most
        "our sizes": ((3e-4, 1e-3), 40 if shuffled else 5),
        "the paper's sizes": ((1e-4, 3e-4), 15 if shuffled else 3),
    }
    for name, (learning_rates, epochs) in ways.items():
        for rate in learning_rates:
            seen = direct.train(corpus, split, sizes[name], rate, epochs, TARGET, shuffled)
            last, count = seen[-1], len(seen) * len(split.train)
            found[f"straightforward, {name}, rate {rate:g}"] = _row(
                count / last["seconds"],
                last["seconds"] / len(seen),
                [h["wa"] for h in seen],
                last["seconds"] if last["wa"] >= TARGET else None,
            )
    for name, row in found.items():
        print(
            f"{name:46}{row['utterances_per_second']:8.0f} utterances/s, best WA "
            f"{max(row['dev_wa']):.3f}, s to {TARGET}: {row['seconds_to_target']}"
        )
    return found


def _row(rate: float, epoch: float, scores: list[float], seconds: float | None) -> dict:
    return {
        "utterances_per_second": rate,
        "epoch_s": epoch,
        "dev_wa": scores,
        "seconds_to_target": seconds,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("speed", __doc__, threads=2, clock="wall", seconds=3.0)
    parser.add_argument("--only", nargs="*", default=[*TIMED], choices=[*TIMED])
    another = "the straightforward training takes another order in every epoch"
    parser.add_argument("--shuffled", action="store_true", help=another)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    result = {
        **heading("speed", arguments),
        "system": platform.system(),
        "clock": chosen.clock,
        "seconds_a_word": WORD,
    }
    for name in chosen.only:
        print(f"\n{name}")
        try:
            result[name] = TIMED[name](chosen)
        except Missing as missing:
            result[name] = {"missing": str(missing)}
            print(f"left out: {missing}")
        write(result, chosen.output)


TIMED = {
    "features": lambda _: extraction(load("demo")),
    "loading": lambda _: loading(load("demo")),
    "steps": lambda chosen: steps(chosen.clock, chosen.seconds),
    "misa": lambda chosen: beside_misa(chosen.clock, chosen.seconds),
    "cold start": lambda chosen: cold_start(load("demo"), chosen.shuffled),
}

if __name__ == "__main__":
    main()
