"""Training and evaluation: one LightningModule for every model.

`fit` trains a named model on one fold and leaves the folder of a run (see `runs`); the same call
again loads it.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.batch import Batch, Examples, loader
from mmer_lib.cache import cache_dir, digest
from mmer_lib.corpora import EMOTIONS, Corpus, DataError, Split
from mmer_lib.features import Features, extract
from mmer_lib.losses import contrastive
from mmer_lib.metrics import emotion_scores, sentiment_scores
from mmer_lib.presets import PRESETS, Settings, check_settings
from mmer_lib.runs import (
    Run,
    model_class,
    open_run,
    provenance,
    save_run,
    source_hash,
    truth_of,
)

# ------------------------------------------------------------------------------ the module


class Learner(L.LightningModule):
    """A model, its loss and its scores. No step waits for the device: predictions are collected
    there and scored once an epoch."""

    def __init__(self, model: nn.Module, settings: Settings):
        super().__init__()
        self.model, self.settings = model, settings
        self._seen: list[tuple[Tensor, Tensor]] = []
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []

    def forward(self, batch: Batch):
        return self.model(batch)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(loss, logits) of a batch."""
        output, s = self.model(batch), self.settings
        if s.task == "emotion":
            loss, labels = F.cross_entropy(output.logits.float(), batch.emotion), batch.emotion
        else:
            loss = F.mse_loss(output.logits.float(), batch.sentiment)
            labels = batch.sentiment.round()
        if s.contrastive:
            shared = output.named[self.model.contrasted]
            loss = loss + s.contrastive * contrastive(shared, labels, s.temperature)
        return loss, output.logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        loss, _ = self.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        truth = batch.emotion if self.settings.task == "emotion" else batch.sentiment
        self._seen.append((self.model(batch).logits.float(), truth))

    def on_validation_epoch_end(self) -> None:
        logits, truth = (torch.cat(t).cpu() for t in zip(*self._seen, strict=True))
        scores = scores_of(self.settings.task, logits, truth)
        if self._losses:
            scores["loss"] = float(torch.stack(self._losses).mean())
        self.log(self.settings.monitor, scores[self.settings.monitor])
        if not self.trainer.sanity_checking:
            self.history.append({"epoch": self.current_epoch, **scores})
        self._seen, self._losses = [], []

    def configure_optimizers(self):
        s = self.settings
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay
        )
        if not s.warmup:
            return optimiser
        total = self.trainer.estimated_stepping_batches
        rise = max(1, round(s.warmup * total))

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / (total - rise))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]


class EpochLine(L.Callback):
    """One line an epoch, which reads well in a terminal, a log and a notebook."""

    def on_validation_end(self, trainer: L.Trainer, learner: Learner) -> None:
        scores = learner.history[-1]
        shown = ("loss", learner.settings.monitor)
        line = "  ".join(f"{name} {scores[name]:.3f}" for name in shown if name in scores)
        print(f"epoch {scores['epoch'] + 1:3d} of at most {trainer.max_epochs}  {line}", flush=True)


def scores_of(task: str, logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of a task: see `metrics.emotion_scores` and `metrics.sentiment_scores`."""
    return (emotion_scores if task == "emotion" else sentiment_scores)(logits, truth)


# -------------------------------------------------------------------------------- one run


def parts_for(model: type[nn.Module] | nn.Module) -> tuple[str, ...]:
    """The parts of `features.extract` that a model reads."""
    sources = {"frames": "speech", "words": "words", "phonemes": "phonemes", "audio": "audio",
               "vision": "vision"}  # fmt: skip
    return tuple(part for need, part in sources.items() if need in model.needs)


def features_for(
    model: type[nn.Module] | nn.Module, settings: Settings, corpus: Corpus, progress: bool = False
) -> Features:
    """The features that a model reads, normalised as its training says."""
    normalisation = "none" if settings.frames == "train" else settings.frames
    return extract(corpus, settings.text, parts_for(model), progress, normalisation)


def examples_for(run: Run, corpus: Corpus, rows: Sequence[int]) -> Examples:
    """Some utterances of a corpus, ready for the model of a run."""
    return Examples(corpus, features_for(run.model, run.settings, corpus), rows)


def fit(
    name: str,
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool = True,
    model_options: dict | None = None,
    **changes,
) -> Run:
    """Train a model on one fold, or load the run if this very one has been trained before.

    Args:
        name: "muse" or "mimic". corpus: see `corpora.load`. fold: see `Corpus.splits`.
        preset: "fast" or "paper". changes: fields of `Settings` to set otherwise.
        model_options: fields of the model's configuration to set otherwise.
        device: "auto", "cpu", "cuda" or "cuda:1", ...
        out: folder of all runs; by default `runs` in the cache folder.

    Raises:
        DataError: unknown model, preset, field or device; settings that contradict each other;
            labels or fields that the corpus lacks.
    """
    cls = model_class(name)
    if preset not in PRESETS[name]:
        raise DataError(f"unknown preset {preset!r}; known: {', '.join(PRESETS[name])}")
    options, settings = PRESETS[name][preset]
    try:
        settings = replace(settings, **changes)
    except TypeError as error:
        raise DataError(f"unknown training setting: {error}") from error
    check_settings(settings, cls.contrasted)
    if not 0 <= seed < 2**32:
        raise DataError(f"seed is {seed}; from 0 to {2**32 - 1}")
    _check_labels(corpus, settings.task)
    accelerator, devices = _device(device)
    split = corpus.splits(fold)
    features = features_for(cls, settings, corpus, progress)
    config = configure(cls, features, settings.task, {**options, **(model_options or {})})
    key = digest(name, asdict(config), asdict(settings), fold, seed, features.key, source_hash())
    folder = Path(out) if out else cache_dir() / "runs"
    folder = folder / f"{name}-{corpus.name}-fold{fold}-seed{seed}-{preset}-{key[:8]}"
    if (folder / "result.json").exists():
        return open_run(folder)
    command = _command(name, corpus, fold, seed, preset, changes, model_options or {})

    L.seed_everything(seed, verbose=False)
    model = cls(config)
    parts = [Examples(corpus, features, rows) for rows in split]
    fit_scaling(model, parts[0], settings)
    trainer = _trainer(settings, accelerator, devices, folder, progress)
    learner, seconds = _train(trainer, model, settings, parts, seed)
    model.cpu().eval()
    run = Run(name, folder, model, settings, {})
    test_rows, logits = run.predict(parts[2])
    truth = truth_of(corpus, test_rows, settings.task)
    run.result = {
        "command": command,
        "fold": fold,
        "seed": seed,
        "preset": preset,
        "test": scores_of(settings.task, logits, truth),
        "seconds": round(seconds, 1),
        **_result(run, corpus, features, split, learner),
        **provenance(trainer.strategy.root_device),
    }
    save_run(run)
    return open_run(folder)


def configure(cls: type[nn.Module], features: Features, task: str, options: dict):
    """The model's configuration for the widths of these features.

    Raises:
        DataError: a field that the configuration does not have.
    """
    known = cls.config_class.__dataclass_fields__
    for field in options:
        if field not in known:
            raise DataError(f"{cls.__name__} has no option {field!r}; known: {', '.join(known)}")
    if "classes" in options:
        raise DataError(f"'classes' follows from the task, which is {task}; leave it out")
    widths = {{"speech": "bands"}.get(k, k): v for k, v in features.sizes.items()}
    classes = len(EMOTIONS) if task == "emotion" else 1
    return cls.config_class(**{**widths, "classes": classes, **options})


def fit_scaling(model: nn.Module, examples: Examples, settings: Settings) -> None:
    """Fit the scaling of a model's inputs on the training part, and on nothing else; frames
    that come normalised are left as they are."""
    for source, layer in model.scalings().items():
        if source == "frames" and settings.frames != "train":
            continue
        part = getattr(examples.features, source)
        layer.fit(np.concatenate([part[r] for r in examples.rows]))


def _trainer(settings: Settings, accelerator: str, devices, folder: Path, progress: bool):
    """A Trainer that keeps the best epoch's weights and stops early."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no greetings
    best = ModelCheckpoint(
        folder,
        "best",
        monitor=settings.monitor,
        mode=settings.mode,
        save_weights_only=True,
        enable_version_counter=False,
    )
    patience = EarlyStopping(settings.monitor, mode=settings.mode, patience=settings.patience)
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision="bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true",
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.clip or None,
        callbacks=[best, patience, *([EpochLine()] if progress else [])],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _train(trainer: L.Trainer, model: nn.Module, settings: Settings, parts, seed: int):
    """(learner with the best epoch's weights, seconds of training)."""
    learner = Learner(model, settings)
    train = loader(parts[0], settings.batch_size, shuffle=True, seed=seed)
    dev = loader(parts[1], 64, shuffle=False)
    started = time.perf_counter()
    with warnings.catch_warnings():
        # The loaders live in this process on purpose: batches are cut from mapped memory.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", module="lightning.pytorch.utilities._pytree")
        trainer.fit(learner, train, dev)
    seconds = time.perf_counter() - started
    path = Path(trainer.checkpoint_callback.best_model_path)
    best = torch.load(path, weights_only=True, map_location="cpu")
    learner.load_state_dict(best["state_dict"])
    path.unlink()
    return learner, seconds


def _device(device: str) -> tuple[str, int | list[int]]:
    """A device's name as Lightning's accelerator and devices."""
    if device in ("auto", "cpu"):
        return device, 1
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise DataError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:0, ...")
    if int(number or 0) >= torch.cuda.device_count():
        raise DataError(f"device {device!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return "gpu", [int(number or 0)]


def _check_labels(corpus: Corpus, task: str) -> None:
    for u in corpus.utterances:
        if getattr(u, task) is None:
            raise DataError(
                f"{corpus.name}: utterance {u.id!r} has no {task}, which the task needs"
            )


# -------------------------------------------------------------------- what a run leaves


def _command(name, corpus, fold, seed, preset, changes: dict, options: dict) -> str:
    """What to type to get this run again: a command line where it can say it, else Python."""
    if options or set(changes) - {"max_epochs"}:
        more = {"model_options": options, **changes} if options else changes
        extra = "".join(f", {k}={v!r}" for k, v in more.items())
        return (
            f"fit({name!r}, load({corpus.name!r}), fold={fold}, seed={seed}, "
            f"preset={preset!r}{extra})"
        )
    line = f"mmer train {name} --data {corpus.name} --fold {fold} --seed {seed} --preset {preset}"
    return line + "".join(f" --max-epochs {v}" for v in changes.values())


def _result(run: Run, corpus: Corpus, features: Features, split: Split, learner: Learner) -> dict:
    settings, history = run.settings, learner.history
    best = (max if settings.mode == "max" else min)(history, key=lambda h: h[settings.monitor])
    return {
        "model": run.name,
        "data": corpus.name,
        "synthetic": corpus.synthetic,
        "data_key": corpus.key,
        "features_key": features.key,
        "config": asdict(run.model.config),
        "settings": asdict(settings),
        "sizes": dict(zip(("train", "dev", "test"), map(len, split), strict=True)),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "dev": {k: v for k, v in best.items() if k not in ("epoch", "loss")},
        "best_epoch": best["epoch"],
        "epochs": len(history),
        "history": history,
    }
