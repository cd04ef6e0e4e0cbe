"""Transformers over one modality that read another one, or themselves: the parts of MulT.

Source: as in `mult`; equations are cited by their numbers there. In all of them, `config` is a
`MultConfig`.

Shapes: B utterances, L steps of the modality that reads, M of the one that is read, D width,
H heads.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.models.layers import Dropout


class StreamAttention(nn.Module):
    """Multi-head attention with one product for all that one tensor is projected to; `weights`
    gives the maps (B, H, L, M)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.width, self.heads = width, heads
        self.project = linear(width, 3 * width)  # query, key, value
        self.weights, self.dropout = nn.Softmax(dim=-1), Dropout(dropout)
        self.out = linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) asks memory (B, M, D), which may be x; bias (B, 1, L, M) is added to the
        scores; present (B, 1, 1, 1) is 0 where the memory has no real step -> (B, L, D)."""
        if memory is x:
            q, k, v = self.project(x).chunk(3, dim=-1)
        else:
            weight, shift, d = self.project.weight, self.project.bias, self.width
            q = F.linear(x, weight[:d], shift[:d])
            k, v = F.linear(memory, weight[d:], shift[d:]).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)  # (B, H, L, M)
        mixed = (self.dropout(self.weights(scores + bias)) @ v) * present  # (B, H, L, D / H)
        return self.out(mixed.transpose(1, 2).flatten(2))


class StreamLayer(nn.Module):
    """Attention and feed-forward, each normalised before and added to what came in (Eq. 4). What
    is read passes the same norm as what reads."""

    def __init__(self, width: int, config, dropout: float):
        super().__init__()
        self.norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = StreamAttention(width, config.heads, dropout)
        self.feed_forward = nn.Sequential(
            linear(width, 4 * width), nn.ReLU(), Dropout(config.relu_dropout),
            linear(4 * width, width),
        )  # fmt: skip
        self.dropout = Dropout(config.residual_dropout)

    def forward(self, x: Tensor, memory: Tensor | None, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) reads memory (B, M, D), or itself where there is none -> (B, L, D)."""
        asks = self.norm(x)
        read = asks if memory is None else self.norm(memory)
        x = x + self.dropout(self.attention(asks, read, bias, present))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Stream(nn.Module):
    """A Transformer over one modality; in every layer it reads the other as that came in (a
    crossmodal Transformer, section 3.2), or itself."""

    def __init__(self, width: int, layers: int, config, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(StreamLayer(width, config, dropout) for _ in range(layers))
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(config.embedding_dropout)

    def embed(self, x: Tensor) -> Tensor:
        """sqrt(D) x + positions: (B, L, D) -> (B, L, D)."""
        return self.dropout(math.sqrt(x.shape[-1]) * x + positions(x))

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) reads memory (B, M, D) -> (B, L, D)."""
        x, memory = self.embed(x), self.embed(memory)
        for layer in self.layers:
            x = layer(x, memory, bias, present)
        return self.norm(x)

    def last(self, x: Tensor, mask: Tensor, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) reads itself -> its last real step (B, D). Nothing else of the last layer is
        used, so that layer is computed for this step alone."""
        x = self.embed(x)
        for layer in self.layers[:-1]:
            x = layer(x, None, bias, present)
        end = ((~mask).sum(1) - 1).clamp(min=0)
        rows = torch.arange(len(x), device=x.device)
        step, bias = x[rows, end].unsqueeze(1), bias[rows, :, end].unsqueeze(2)
        return self.norm(self.layers[-1](step, x, bias, present)).squeeze(1)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A dense layer as the authors' program begins it."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def positions(x: Tensor) -> Tensor:
    """Sines, then cosines, of positions 1 ... L at D / 2 rates from 1 to 1/10000: (L, D)."""
    length, half = x.shape[1], x.shape[2] // 2
    exact = dict(device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
    rates = torch.exp(torch.arange(half, **exact) * -(math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, length + 1, **exact)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(x.dtype)
