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
    No (B, W, T, C) is ever made, as the authors' program makes it. Where a gradient is wanted, it
    goes straight to the places of the largest, which are kept in tables of the same form.
    """
    with torch.no_grad():
        tables = _doubled(x)
        starts = torch.tensor([0, *(t.shape[1] for t in tables)], device=x.device).cumsum(0)
        length = (end - begin).clamp(min=1)  # (B, W)
        level = torch.zeros_like(length)
        for k in range(1, len(tables)):
            level += length >= 2**k
        first = starts[level] + torch.minimum(begin, end - 1).clamp(min=0)
        both = [
            i.unsqueeze(-1).expand(-1, -1, x.shape[2]) for i in (first, first + length - 2**level)
        ]
        a, b = (torch.cat(tables, dim=1).gather(1, i) for i in both)
    if torch.is_grad_enabled() and x.requires_grad:
        with torch.no_grad():
            places = torch.cat(_places(tables), dim=1)
            place = torch.where(a >= b, *(places.gather(1, i) for i in both)).long()
        largest = x.gather(1, place)
    else:
        largest = torch.maximum(a, b)
    return largest.masked_fill((end <= begin).unsqueeze(-1), 0.0)


def _doubled(x: Tensor) -> list[Tensor]:
    """The largest of 1, 2, 4, ... neighbours from each step on, (B, T + 1 - 2^k, C) each."""
    tables, span = [x], 1
    while 2 * span <= x.shape[1]:
        tables.append(torch.maximum(tables[-1][:, :-span], tables[-1][:, span:]))
        span *= 2
    return tables


def _places(tables: list[Tensor]) -> list[Tensor]:
    """At which step each entry of the tables stands, int32."""
    steps = torch.arange(tables[0].shape[1], device=tables[0].device, dtype=torch.int32)
    places = [steps[:, None].expand_as(tables[0])]
    for k, table in enumerate(tables[:-1]):
        left = table[:, : -(2**k)] >= table[:, 2**k :]
        places.append(torch.where(left, places[-1][:, : -(2**k)], places[-1][:, 2**k :]))
    return places


def span_mean(x: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The mean of x[begin:end]: shapes as in `span_max`; zeros where that is empty."""
    steps = torch.arange(x.shape[1], device=x.device)
    inside = (steps >= begin.unsqueeze(-1)) & (steps < end.unsqueeze(-1))  # (B, W, T)
    return inside.to(x.dtype) @ x / (end - begin).clamp(min=1).unsqueeze(-1)
