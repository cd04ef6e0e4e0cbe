"""MulT: every modality reads each other one by attention, step by step, whatever their lengths.

Source: Y.-H. H. Tsai, S. Bai, P. P. Liang, J. Z. Kolter, L.-P. Morency, R. Salakhutdinov,
"Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL, 2019, section 3.

Where paper and authors' program differ, this follows the program; two of its masks count padding as
real, here every length is that of the modality itself.

Shapes: B utterances, L steps of the modality that reads, M of the one that is read, D width (30).
"""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, given, scaling
from mmer_lib.models.layers import Dropout, mlp


@dataclass(frozen=True)
class MultConfig(TrimodalConfig):
    """Sizes and choices; the defaults are those of the authors' program.

    Attributes:
        width: D, of every modality after its temporal convolution.
        heads: of every attention.
        kernels: sizes of these convolutions over text, audio and vision; 1 projects step by step.
        layers, self_layers: of the crossmodal Transformers, and of those that follow (width 2 D).
        causal: whether a step reads only what stands at its place or before; where two modalities
            differ in length by n steps, up to n steps later too.
        attention_dropout: on crossmodal attention to text, audio and vision; the first on what
            follows too. word_dropout: on the words.
        embedding_dropout, relu_dropout, residual_dropout, out_dropout: on what enters a
            Transformer, on its hidden layers, on its residual branches, before the last layer.
    """

    width: int = 30
    heads: int = 5
    kernels: tuple[int, int, int] = (1, 1, 1)
    layers: int = 5
    self_layers: int = 5
    causal: bool = True
    attention_dropout: tuple[float, float, float] = (0.1, 0.0, 0.0)
    word_dropout: float = 0.25
    embedding_dropout: float = 0.25
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    out_dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.width < 4 or self.width % 2:
            raise DataError(f"width is {self.width}; an even number from 4")
        if self.width % self.heads:
            raise DataError(f"width {self.width} is not a multiple of heads {self.heads}")


class StreamAttention(nn.Module):
    """Multi-head attention; `weights` gives the maps (B, H, L, M)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.width, self.heads = width, heads
        self.project = linear(width, 3 * width)  # query, key, value
        self.weights, self.dropout = nn.Softmax(dim=-1), Dropout(dropout)
        self.out = linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) asks memory (B, M, D) -> (B, L, D). bias (B, 1, L, M) is added to the scores;
        present (B, 1, 1, 1) is 0 where the memory has no real step."""
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
    """Attention and feed-forward, each normalised before and added to what came in (Eq. 4)."""

    def __init__(self, width: int, config, dropout: float):
        super().__init__()
        self.norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = StreamAttention(width, config.heads, dropout)
        first = linear(width, 4 * width), nn.ReLU(), Dropout(config.relu_dropout)
        self.feed_forward = nn.Sequential(*first, linear(4 * width, width))
        self.dropout = Dropout(config.residual_dropout)

    def forward(self, x: Tensor, memory: Tensor | None, bias: Tensor, present: Tensor) -> Tensor:
        """x (B, L, D) reads memory (B, M, D), or itself where there is none -> (B, L, D)."""
        asks = self.norm(x)
        read = asks if memory is None else self.norm(memory)
        x = x + self.dropout(self.attention(asks, read, bias, present))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Stream(nn.Module):
    """A Transformer over one modality, which in every layer reads the other as that came in
    (section 3.2), or itself."""

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
        """x (B, L, D) reads itself -> its last real step (B, D), for which alone the last layer is
        computed."""
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


class Mult(Trimodal):
    """The whole of section 3. Its `Output` names, for each modality m, "h_m" (B, 2 D), its last
    step after reading the other two and then itself; "S" (B, 2 D), their mean, which nothing reads;
    "F" (B, 6 D), all. Attention is in `crossmodal["m_n"].layers[i].attention.weights`.
    """

    config_class = MultConfig
    traced: ClassVar = {"h": "h_{}"}

    def __init__(self, config: MultConfig):
        super().__init__(config)
        width, kept = config.width, dict(zip(MODALITIES, config.attention_dropout, strict=True))
        self.scale = scaling(config)
        self.word_dropout = Dropout(config.word_dropout)
        self.convolutions, self.crossmodal = nn.ModuleDict(), nn.ModuleDict()
        for m, k in zip(MODALITIES, config.kernels, strict=True):
            inputs = config.widths[m]
            self.convolutions[m] = nn.Conv1d(inputs, width, k, padding=k // 2, bias=False)
        for m, n in itertools.permutations(MODALITIES, 2):
            self.crossmodal[f"{m}_{n}"] = Stream(width, config.layers, config, kept[n])
        self.selves = nn.ModuleDict(
            {m: Stream(2 * width, config.self_layers, config, kept["text"]) for m in MODALITIES}
        )
        self.head = mlp(6 * width, 6 * width, 6 * width, config.out_dropout)
        self.classifier = nn.Linear(6 * width, config.classes)

    def project(self, batch: Batch, modality: str) -> Tensor:
        """x_m (B, L, D) after the temporal convolution."""
        x, mask = given(batch, modality, self.scale)
        x = self.word_dropout(x) if modality == "text" else x
        x = x.masked_fill(mask.unsqueeze(-1), 0.0).transpose(1, 2)
        return self.convolutions[modality](x).transpose(1, 2)

    def forward(self, batch: Batch) -> Output:
        x = {m: self.project(batch, m) for m in MODALITIES}
        masks, named = {m: given(batch, m)[1] for m in MODALITIES}, {}
        present = {m: (~mask).any(1)[:, None, None, None].to(x[m]) for m, mask in masks.items()}
        for m in MODALITIES:
            bias = {n: self.bias(x[m], masks[m], masks[n]) for n in MODALITIES}
            others = [n for n in MODALITIES if n != m]
            read = [self.crossmodal[f"{m}_{n}"](x[m], x[n], bias[n], present[n]) for n in others]
            joined = torch.cat(read, dim=-1)  # (B, L, 2 D)
            named[f"h_{m}"] = self.selves[m].last(joined, masks[m], bias[m], present[m])
        last = [named[f"h_{m}"] for m in MODALITIES]
        named["S"], named["F"] = torch.stack(last).mean(0), torch.cat(last, dim=-1)
        return self.output(self.classifier(named["F"] + self.head(named["F"])), named)

    def bias(self, x: Tensor, mask: Tensor, read_mask: Tensor) -> Tensor:
        """Of the scores of steps (B, L) that read steps (B, M): 0, or very low where a step is
        padding or comes too late -> (B, 1, L, M)."""
        closed = read_mask[:, None, :]
        if self.config.causal:
            rows, columns = (torch.arange(m.shape[1], device=x.device) for m in (mask, read_mask))
            ahead = ((~mask).sum(1) - (~read_mask).sum(1)).abs()[:, None, None]  # (B, 1, 1)
            closed = closed | (columns > rows[:, None] + ahead)
        low = torch.finfo(x.dtype).min / 2
        shape = (len(mask), 1, mask.shape[1], read_mask.shape[1])
        return x.new_zeros(shape).masked_fill(closed.unsqueeze(1), low)
