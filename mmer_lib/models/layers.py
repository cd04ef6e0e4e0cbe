"""Small layers that the models are built of.

Shapes: B utterances, L and M any lengths, D width, H heads.
Masks follow torch: True = padding. Every layer gives padded positions no influence on real ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import DataError, moments


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over real positions: x (B, L, D), mask (B, L) -> (B, D); all padding gives zeros."""
    count = (~mask).sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    return x.masked_fill(mask.unsqueeze(-1), 0.0).sum(1) / count


def last_state(states: Tensor, mask: Tensor) -> Tensor:
    """The last real state, zeros where there is none: (B, L, D), mask (B, L) -> (B, D)."""
    last = ((~mask).sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, last).squeeze(1).masked_fill(mask.all(1, keepdim=True), 0.0)


def unpadded(mask: Tensor) -> bool:
    """Whether nothing is padding. Asked on a CPU alone: others would have to be waited for."""
    return mask.device.type == "cpu" and not mask.any()


@contextmanager
def record(modules: Mapping[str, nn.Module], graph: bool = False) -> Iterator[dict[str, Tensor]]:
    """While the context lasts, keep the latest output of each module under its name: with its
    `graph`, to go through it backwards, or detached, on the CPU, float32.

    >>> with record({"gate": model.gate.gate}) as seen:
    ...     model(batch)
    >>> seen["gate"]
    """
    seen: dict[str, Tensor] = {}
    with ExitStack() as handles:
        for name, module in modules.items():

            def keep(_module, _inputs, output, name=name):
                seen[name] = output if graph else output.detach().float().cpu()

            handles.enter_context(module.register_forward_hook(keep))
        yield seen


class Standardise(nn.Module):
    """(x - mean) / deviation with fixed statistics; the identity until `fit`."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, rows: np.ndarray | Sequence[np.ndarray]) -> None:
        """Statistics of rows (N, D), or of pieces of it; a constant column is only centred."""
        mean, deviation = moments([rows] if isinstance(rows, np.ndarray) else rows)
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.where(deviation > 1e-6, deviation, 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean).div_(self.deviation)


class Dropout(nn.Dropout):
    """Dropout that on a CPU draws 16 random bits a number, which is faster than torch's own there;
    the probability is rounded to a multiple of 2^-16."""

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * 2**16)
        if not self.training or x.device.type != "cpu" or dropped in (0, 2**16):
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = bits.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - dropped))


def mlp(inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Dense, ReLU, dropout, dense: (..., inputs) -> (..., outputs)."""
    layers = nn.Linear(inputs, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, outputs)
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (MUSE, Eq. 7).

    A hook on `weights` can read the attention maps, or change them. While nobody listens, they are
    never written down: torch's fused attention gives the same up to rounding, and is faster.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise DataError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.weights = nn.Softmax(dim=-1)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """x (B, L, D) asks memory (B, M, D), memory_mask (B, M) -> (B, L, D)."""
        q, k, v = self.query(x), self.key(memory), self.value(memory)
        heads = (self.heads, -1)  # (B, L, D) -> (B, H, L, d)
        q, k, v = (t.unflatten(-1, heads).transpose(1, 2) for t in (q, k, v))
        bias = None  # of the scores, (B, 1, 1, M)
        if not unpadded(memory_mask):
            bias = torch.zeros_like(memory_mask, dtype=q.dtype)
            bias = bias.masked_fill(memory_mask, torch.finfo(q.dtype).min / 2)[:, None, None, :]
        if self.weights._forward_hooks or self.weights._forward_pre_hooks:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, L, M)
            mixed = self.weights(scores if bias is None else scores + bias) @ v  # (B, H, L, d)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        if bias is not None:  # an utterance may have no word to read
            mixed = mixed.masked_fill(memory_mask.all(1)[:, None, None, None], 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """A Transformer block, normalised after each residual as in the original. With `cross`, a
    second attention reads another stream before the feed-forward."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, cross: bool = False):
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.cross = Attention(width, heads) if cross else None
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.feed_forward = mlp(width, hidden, width, dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x, mask, memory=None, memory_mask=None) -> Tensor:
        """x (B, L, D), mask (B, L); with cross, memory (B, M, D) and its mask -> (B, L, D)."""
        x = self.norm(x + self.dropout(self.attention(x, x, mask)))
        if self.cross is not None:
            x = self.cross_norm(x + self.dropout(self.cross(x, memory, memory_mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class ScaledPositions(nn.Module):
    """x + alpha * sinusoid(position), alpha learned (Transformer TTS, section 3.2)."""

    def __init__(self, width: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(()))
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) -> (B, L, D)."""
        steps = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        rates = torch.arange(0, self.width, 2, device=x.device, dtype=torch.float32)
        angles = steps[:, None] * torch.exp(-math.log(10000.0) * rates / self.width)  # (L, D/2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (L, D)
        return x + self.alpha * table.to(x.dtype)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over real positions only: padding moves neither the statistics nor,
    in evaluation, any output. x (B, L, D), mask (B, L) -> (B, L, D)."""

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.training or (len(x) > 1 and unpadded(mask)):
            statistics = self.mean, self.variance, self.weight, self.bias
            how = self.training, self.momentum, self.eps
            return F.batch_norm(exact.flatten(0, 1), *statistics, *how).view_as(x).to(x.dtype)
        real = (~mask).unsqueeze(-1).to(exact.dtype)  # (B, L, 1)
        count = real.sum().clamp(min=1)
        mean = (exact * real).sum((0, 1)) / count
        variance = ((exact - mean).square() * real).sum((0, 1)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        exact = (exact - mean) * torch.rsqrt(variance + self.eps)
        return (exact * self.weight + self.bias).to(x.dtype)


class ConvPreNet(nn.Module):
    """Three convolutions (batch norm, ReLU, dropout) and a projection: the encoder pre-net of
    Transformer TTS (MUSE, section 3.1.1). `kernel` is odd."""

    def __init__(self, inputs: int, width: int, kernel: int, dropout: float, layers: int = 3):
        super().__init__()
        sizes = [inputs] + [width] * layers
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2)
            for before, after in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(width) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, inputs), mask (B, L) -> (B, L, width)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x.masked_fill(mask.unsqueeze(-1), 0.0)  # what lies past the end counts as zero
            x = convolution(x.transpose(1, 2)).transpose(1, 2)
            x = self.dropout(F.relu(norm(x, mask)))
        return self.projection(x)


class Highway(nn.Module):
    """Z(u) = H(u) T(u) + u (1 - T(u)) (MUSE, Eq. 6); `gate` is T(u), whose bias begins negative: at
    first the layer mostly carries u."""

    def __init__(self, width: int):
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.gate = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
        nn.init.constant_(self.gate[0].bias, -1.0)

    def forward(self, u: Tensor) -> Tensor:
        t = self.gate(u)
        return self.transform(u) * t + u * (1 - t)


class BiLSTM(nn.Module):
    """A bidirectional LSTM that padding cannot reach: x (B, L, inputs), mask (B, L) ->
    (B, L, 2 * units).

    For the backward direction every sequence is turned round within its own length. The lengths
    never leave the device, as they would have to for a packed sequence.
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.ahead = nn.LSTM(inputs, units, batch_first=True)
        self.back = nn.LSTM(inputs, units, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if unpadded(mask):
            return torch.cat([self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)], dim=-1)
        (count, length), device = mask.shape, x.device
        steps = torch.arange(length, device=device)
        row = torch.arange(count, device=device)[:, None]
        turn = (~mask).sum(1, keepdim=True) - 1 - steps  # (B, L): position of each mirrored step
        turn = torch.where(turn >= 0, turn, steps)  # padding stays where it is
        # Whole rows are copied, first those of (B L, inputs), in the order of time, then back.
        there, back_again = (row * length + turn).T.flatten(), (turn * count + row).flatten()
        mirrored = x.flatten(0, 1).index_select(0, there).view(length, count, -1)
        back = self.back(mirrored.transpose(0, 1))[0].transpose(0, 1)  # (L, B, units)
        back = back.flatten(0, 1).index_select(0, back_again).view(count, length, -1)
        both = torch.cat([self.ahead(x)[0], back], dim=-1)
        return both.masked_fill(mask.unsqueeze(-1), 0.0)
