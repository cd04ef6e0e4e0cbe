"""AdamW, with a rate of its own for encoders that come trained, and the schedule of the rate."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mmer_lib.models.encoders import SpeechEncoder, TextEncoder
from mmer_lib.training.settings import Settings


def make_optimiser(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """Over the parameters that are trained; those of a `TextEncoder` or `SpeechEncoder` have
    `Settings.encoder_learning_rate`."""
    encoders = [m for m in model.modules() if isinstance(m, TextEncoder | SpeechEncoder)]
    pretrained = {id(p) for encoder in encoders for p in encoder.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if id(p) not in pretrained]}]
    if pretrained:
        rate = settings.encoder_learning_rate or settings.learning_rate
        groups.append({"params": [p for p in trained if id(p) in pretrained], "lr": rate})
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=settings.precision != "16-mixed",
    )


def make_schedule(optimiser: torch.optim.Optimizer, settings: Settings, steps: int) -> LambdaLR:
    """The rate rises for the share `Settings.warmup` of all steps, then falls as a cosine; without
    `warmup` it stays."""
    rise = max(1, round(settings.warmup * steps))

    def factor(step: int) -> float:
        if not settings.warmup:
            return 1.0
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return LambdaLR(optimiser, factor)
