"""A filterbank as steps that a recurrent layer reads, and what such a layer says at its end.

Shapes: B utterances, T frames, D width. Masks: True = padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.corpora import DataError
from mmer_lib.models.layers import Standardise


class Frames(nn.Module):
    """Frames scaled, zeros past the end, and `stack` neighbours read as one: fewer steps, so
    faster.

    frames (B, T, bands), mask (B, T) -> (B, T/stack, bands * stack), and its mask.
    """

    def __init__(self, bands: int, stack: int):
        super().__init__()
        self.scale, self.stack, self.width = Standardise(bands), stack, bands * stack

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.scale(frames).masked_fill(mask.unsqueeze(-1), 0.0)
        short = -frames.shape[1] % self.stack
        frames = F.pad(frames, (0, 0, 0, short)).unflatten(1, (-1, self.stack)).flatten(2)
        mask = F.pad(mask, (0, short), value=True).unflatten(1, (-1, self.stack)).all(dim=2)
        return frames, mask


def last(states: Tensor, mask: Tensor) -> Tensor:
    """The state at the last real step: states (B, L, D), mask (B, L) -> (B, D); zeros where no
    step is real."""
    count = (~mask).sum(1)
    at = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, at).squeeze(1).masked_fill((count == 0).unsqueeze(-1), 0.0)


def check_sizes(config, sizes: tuple[str, ...], shares: tuple[str, ...] = ("dropout",)) -> None:
    """Fields of a configuration that must be at least 1, and shares from 0 to below 1; hop and
    window are seconds.

    Raises:
        DataError: another value.
    """
    for name in sizes:
        if getattr(config, name) < 1:
            raise DataError(f"{name} is {getattr(config, name)}; at least 1")
    for name in shares:
        if not 0 <= getattr(config, name) < 1:
            raise DataError(f"{name} is {getattr(config, name)}; from 0 to below 1")
    for name in ("hop", "window"):
        if not 0 < getattr(config, name) < 1:
            raise DataError(
                f"{name} is {getattr(config, name):g}; in seconds, above 0 and below 1 (12 ms: "
                "0.012)"
            )


def attend(scores: Tensor, mask: Tensor, weights: nn.Module, memory: Tensor) -> Tensor:
    """What is read of a memory: scores (B, L, M), mask (B, M), memory (B, M, D) -> (B, L, D).
    `weights` is a softmax that a hook can read; zeros where nothing is to be read."""
    scores = scores.masked_fill(mask.unsqueeze(1), torch.finfo(scores.dtype).min)
    read = weights(scores) @ memory
    return read.masked_fill(mask.all(1)[:, None, None], 0.0)
