"""One LightningModule for every model: its losses, its scores, its optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer_lib.data import Batch, DataError
from mmer_lib.models import ranks
from mmer_lib.models.base import Model, by_modality
from mmer_lib.models.encoders import SpeechEncoder, TextEncoder
from mmer_lib.models.losses import (
    alignment,
    contrastive,
    diagonal_ideal,
    difference,
    embedding_alignment,
    forced_ideal,
    moment_discrepancy,
    reconstruction,
)
from mmer_lib.probes.hooks import record
from mmer_lib.training.metrics import emotion_scores, sentiment_scores
from mmer_lib.training.settings import Settings


class Learner(L.LightningModule):
    """A model, its loss and its scores. No step waits for the device: predictions are collected
    there and scored once an epoch."""

    def __init__(self, model: Model, settings: Settings, class_weights: Tensor | None = None):
        super().__init__()
        self.model, self.settings = model, settings
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._seen: list[tuple[Tensor, Tensor]] = []
        self.history: list[dict[str, float]] = []
        self._losses: list[dict[str, Tensor]] = []

    def forward(self, batch: Batch):
        return self.model(batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch, not weighted, and their weighted sum as "loss" (MUSE, Eq. 15;
        MIMIC, Eq. 15; MISA's total). The model's own come weighted and are added as they are.

        Of several `ranks`, each computes its share of the batch, and then the losses of all of it.
        """
        s, share = self.settings, batch.share(ranks.own(), ranks.count())
        listened = self.model.alignments() if s.align else {}
        with record(listened, graph=True) as maps:
            output = self.model(share)
        logits, parts = ranks.whole(output.logits.float(), len(batch)), {}
        named = ranks.Whole(output.named, len(batch))
        if s.task == "emotion":
            labels = batch.emotion
            parts["task"] = F.cross_entropy(logits, labels, self.class_weights)
        else:
            labels = batch.sentiment.round()
            parts["task"] = F.mse_loss(logits, batch.sentiment)
        if s.contrastive:
            shared = named[self.model.contrasted]
            parts["contrastive"] = contrastive(shared, labels, s.temperature)
        if s.similarity:
            parts["similarity"] = moment_discrepancy(_each(named, "s_{}"))
        if s.difference:
            parts["difference"] = difference(_each(named, "s_{}"), _each(named, "i_{}"))
        if s.reconstruction:
            parts["reconstruction"] = reconstruction(_each(named, "r_{}"), _each(named, "h_{}"))
        if s.align:
            parts["align"] = self._alignment(maps, output.named["frame_mask"][:, 1:], share)
        if s.embedding:
            parts["embedding"] = embedding_alignment(*(named[n] for n in self.model.compared))
        weights = {"task": 1.0} | {k: getattr(s, k) for k in parts if k != "task"}
        own = self.model.own_losses(batch, named)
        total = sum(weights[k] * part for k, part in parts.items()) + sum(own.values())
        return {**parts, **own, "loss": total}

    def _alignment(self, maps: dict[str, Tensor], frame_mask: Tensor, batch: Batch) -> Tensor:
        """L_align, the mean over the cross-modal layers; the dummy frame has no ideal."""
        if self.settings.ideal == "diagonal":
            ideal, counted = diagonal_ideal(frame_mask, batch.word_mask), ~frame_mask
        else:
            times = self.model.frame_times(frame_mask.shape[1])
            times = times.to(frame_mask.device, torch.float32, non_blocking=True)
            ideal, spoken = forced_ideal(times, batch.word_times, batch.word_mask)
            counted = spoken & ~frame_mask
        each = [alignment(a[:, :, 1:], ideal, counted, batch.word_mask) for a in maps.values()]
        return torch.stack(each).mean()

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        losses = self.loss(batch)
        self._losses.append({k: v.detach() for k, v in losses.items()})
        return losses["loss"]

    def validation_step(self, batch: Batch, _index: int) -> None:
        truth = batch.emotion if self.settings.task == "emotion" else batch.sentiment
        logits = self.model(batch.share(ranks.own(), ranks.count())).logits.float()
        self._seen.append((ranks.whole(logits, len(batch)), truth))

    def on_validation_epoch_end(self) -> None:
        logits, truth = (torch.cat(t).cpu() for t in zip(*self._seen, strict=True))
        means = {
            "loss" if name == "loss" else f"loss_{name}": float(
                torch.stack([losses[name] for losses in self._losses]).mean()
            )
            for name in (self._losses[0] if self._losses else ())
        }
        check_finite(self.current_epoch, means, logits, self.settings)
        scores = scores_of(self.settings.task, logits, truth) | means
        self.log(self.settings.monitor, scores[self.settings.monitor])
        if not self.trainer.sanity_checking:
            self.history.append({"epoch": self.current_epoch, **scores})
        self._seen, self._losses = [], []

    def configure_optimizers(self):
        s = self.settings
        cpu = all(p.device.type == "cpu" for p in self.parameters())
        optimiser = torch.optim.AdamW(
            self._groups(),
            lr=s.learning_rate,
            weight_decay=s.weight_decay,
            # in mixed precision, Lightning does not clip gradients for it
            fused=cpu and s.precision in ("auto", "32-true"),
        )
        if not s.warmup:
            return optimiser
        total = self.trainer.estimated_stepping_batches
        rise = max(1, round(s.warmup * total))

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = checkpoint["history"]

    def _groups(self) -> list[dict]:
        """Trainable parameters; those of encoders that come trained have a rate of their own."""
        encoders = [m for m in self.model.modules() if isinstance(m, TextEncoder | SpeechEncoder)]
        slow = {id(p) for m in encoders for p in m.parameters()}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [{"params": [p for p in trained if id(p) not in slow]}]
        if slow:
            rate = self.settings.encoder_learning_rate or self.settings.learning_rate
            groups.append({"params": [p for p in trained if id(p) in slow], "lr": rate})
        return groups


def check_finite(epoch: int, losses: dict[str, float], logits: Tensor, settings: Settings) -> None:
    """Looked at once an epoch, where the numbers are fetched from the device anyway: what is not
    finite in one step stays so in the weights.

    Args:
        epoch: from 0. losses: of the epoch, means by name. logits: of the development part.

    Raises:
        DataError: one that is not finite.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    bad += [] if logits.isfinite().all() else ["the predictions of the development part"]
    if bad:
        s = settings
        clip = f"lower clip (now {s.clip:g})" if s.clip else "set clip, say to 1 (now 0: none)"
        raise DataError(
            f"epoch {epoch + 1}: the training diverged; not finite: {', '.join(bad)}. Lower "
            f"learning_rate (now {s.learning_rate:g}), or {clip}"
        )


def _each(named: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    return [*by_modality(named, pattern).values()]


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
