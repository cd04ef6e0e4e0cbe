"""A filterbank as steps that a recurrent layer reads, and attention over what it says.

Shapes: B utterances, T frames, D width. Masks: True = padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        frames = self.scale(frames).masked_fill_(mask.unsqueeze(-1), 0.0)
        short = -frames.shape[1] % self.stack
        frames = F.pad(frames, (0, 0, 0, short)).unflatten(1, (-1, self.stack)).flatten(2)
        mask = F.pad(mask, (0, short), value=True).unflatten(1, (-1, self.stack)).all(dim=2)
        return frames, mask


def attend(scores: Tensor, mask: Tensor, weights: nn.Module, memory: Tensor) -> Tensor:
    """What is read of a memory: scores (B, L, M), mask (B, M), memory (B, M, D) -> (B, L, D).
    `weights` is a softmax that a hook can read; zeros where nothing is to be read."""
    scores = scores.masked_fill(mask.unsqueeze(1), torch.finfo(scores.dtype).min)
    read = weights(scores) @ memory
    return read.masked_fill(mask.all(1)[:, None, None], 0.0)
