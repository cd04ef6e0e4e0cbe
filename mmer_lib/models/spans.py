"""Which frames a word holds, and the mean and the maximum over them.

Shapes: B utterances, W words, T frames, C channels. Masks: True = padding.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spans(
    times: Tensor | None, word_mask: Tensor, frame_mask: Tensor, hop: float
) -> tuple[Tensor, Tensor]:
    """First frame of each word and the one after its last, (B, W) each; equal where it has none.

    Args:
        times: (B, W, 2) seconds, NaN where unknown, or None: words share the frames evenly.
        word_mask (B, W), frame_mask (B, T). hop: distance of the frames in seconds.
    """
    words = (~word_mask).sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    frames = (~frame_mask).sum(1, keepdim=True)
    order = torch.arange(word_mask.shape[1], device=word_mask.device)
    begin, end = order * frames // words, (order + 1) * frames // words
    end = torch.maximum(end, begin + 1)
    if times is not None:
        at = (times.nan_to_num(0.0) / hop + 1e-3).floor().long()  # on a frame's edge, that frame
        known = times.isfinite().all(-1)
        begin, end = torch.where(known, at[..., 0], begin), torch.where(known, at[..., 1] + 1, end)
    begin, end = (torch.minimum(x.clamp(min=0), frames) for x in (begin, end))
    return begin.masked_fill(word_mask, 0), end.masked_fill(word_mask, 0)


def span_max(x: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The largest of each number in x[begin:end]: x (B, T, C), begin and end (B, W) -> (B, W, C);
    zeros where that is empty.

    From tables of the largest of 1, 2, 4, ... neighbours: two entries of one table cover a span.
    No (B, W, T, C) is ever made, as the authors' program makes it.
    """
    tables, starts, span = [x], [0], 1
    while 2 * span <= x.shape[1]:
        tables.append(torch.maximum(tables[-1][:, :-span], tables[-1][:, span:]))
        starts.append(starts[-1] + tables[-2].shape[1])
        span *= 2
    length = (end - begin).clamp(min=1)
    level = sum((length >= 2**k).long() for k in range(1, len(tables)))
    level = torch.zeros_like(length) + level
    start = torch.tensor(starts, device=x.device)[level]
    table, edge = torch.cat(tables, dim=1), torch.minimum(begin, end - 1).clamp(min=0)
    first, second = start + edge, start + edge + length - 2**level
    both = [table.gather(1, i.unsqueeze(-1).expand(-1, -1, x.shape[-1])) for i in (first, second)]
    return torch.maximum(*both).masked_fill((end <= begin).unsqueeze(-1), 0.0)


def span_mean(x: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The mean of x[begin:end]: shapes as in `span_max`; zeros where that is empty."""
    steps = torch.arange(x.shape[1], device=x.device)
    inside = (steps >= begin.unsqueeze(-1)) & (steps < end.unsqueeze(-1))  # (B, W, T)
    return inside.to(x.dtype) @ x / (end - begin).clamp(min=1).unsqueeze(-1)
