"""What the processes of one training, its ranks, say to each other while it computes; nothing where
there is one process alone.

Every rank has the whole batch, computes its share of the utterances (`Batch.share`), gathers what
the losses read (`whole`), and computes the losses of the whole batch, as one process would. Going
backwards, what was gathered or added up gives back the gradient summed over the ranks, so that each
holds its share of R times the gradient of one process; the mean over R ranks, which
`DistributedDataParallel` takes, is that gradient. It is so for every loss, a mean over utterances
or not, and for parameters behind the gathering too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, distributed
from torch.autograd import Function


def count() -> int:
    """The number of ranks; 1 outside of such a training."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def own() -> int:
    """The number of this rank, from 0."""
    return distributed.get_rank() if count() > 1 else 0


class _Whole(Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(count())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        first = ctx.rows * own()
        return _summed(gradient)[first : first + ctx.rows]


class _Total(Function):
    @staticmethod
    def forward(_ctx, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(x)
    return x


def whole(x: Tensor, utterances: int) -> Tensor:
    """The rows of all ranks in order, with gradients: a share x (N, ...) -> (`utterances`, ...);
    those that only filled a share up are left out."""
    return _Whole.apply(x)[:utterances] if count() > 1 else x


def total(x: Tensor) -> Tensor:
    """The sum over all ranks, with gradients."""
    return _Total.apply(x) if count() > 1 else x


class Whole(Mapping):
    """Named tensors of a share, each gathered (`whole`) when it is first read, so that nothing is
    sent that no loss reads. Ranks must read the same names in the same order."""

    def __init__(self, named: Mapping[str, Tensor], utterances: int):
        self.named, self.utterances, self.gathered = named, utterances, {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.gathered:
            self.gathered[name] = whole(self.named[name], self.utterances)
        return self.gathered[name]

    def __contains__(self, name: object) -> bool:
        return name in self.named

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)
