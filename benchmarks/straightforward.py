"""Parts for which we took another implementation than the one that the equations suggest, each
beside that one: the same numbers (tests/test_benchmarks.py), in another time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmer_lib.models.compared.li import span_max
from mmer_lib.models.compared.mfm import Generator
from mmer_lib.models.compared.mfn import LstmSystem
from mmer_lib.models.compared.mult import MultConfig, Stream, StreamAttention
from mmer_lib.models.compared.tfn import ProductLinear
from mmer_lib.models.layers import BiLSTM


@dataclass
class Part:
    """Two ways to the same tensor, and the weights that both use."""

    weights: nn.Module
    ours: Callable[[], Tensor]
    plain: Callable[[], Tensor]


def product(batch: int, length: int, text: int = 64, other: int = 32, outputs: int = 160) -> Part:
    """TFN without dropout on the product: the product written down, then a linear layer."""
    layer = ProductLinear(text, other, other, outputs, dropout=0.0)
    vectors = [torch.randn(batch, n) for n in (text, other, other)]

    def plain() -> Tensor:
        t, a, v = (F.pad(x, (1, 0), value=1.0) for x in vectors)
        return layer.linear(torch.einsum("bi,bj,bk->bijk", t, a, v).flatten(1))

    return Part(layer, lambda: layer(*vectors), plain)


def system(batch: int, length: int) -> Part:
    """MFN: three LSTM cells, one after the other at every step."""
    sizes = {"text": (300, 88), "audio": (74, 48), "vision": (47, 16)}
    cells = LstmSystem(sizes)
    steps = {m: torch.randn(batch, length, n) for m, (n, _) in sizes.items()}

    def plain() -> Tensor:
        states, outputs = dict.fromkeys(sizes), []
        for t in range(length):
            for m, cell in cells.cells.items():
                states[m] = cell(steps[m][:, t], states[m])
            outputs.append(torch.cat([h for h, _ in states.values()], -1))
        return torch.stack(outputs, 1)

    return Part(cells, lambda: cells(steps)[0], plain)


def generator(batch: int, length: int) -> Part:
    """MFM: an LSTM cell that reads its own last output, step by step."""
    layer, factor = Generator(104, 300), torch.randn(batch, 104)

    def plain() -> Tensor:
        x, state, outputs = factor, (torch.zeros_like(factor),) * 2, []
        for _ in range(length):
            state = torch.lstm_cell(x, state, *layer.lstm.parameters())
            x = state[0]
            outputs.append(layer.dense(x))
        return torch.stack(outputs, 1)

    return Part(layer, lambda: layer(factor, length), plain)


def projections(batch: int, length: int, width: int = 60) -> Part:
    """MulT's self-attention: query, key and value by a product each; q * k + v stands for what
    follows."""
    layer, x = StreamAttention(width, 5, 0.0), torch.randn(batch, length, width)

    def plain() -> Tensor:
        weights, shifts = layer.project.weight.chunk(3), layer.project.bias.chunk(3)
        q, k, v = (F.linear(x, w, b) for w, b in zip(weights, shifts, strict=True))
        return q * k + v

    def fused() -> Tensor:
        q, k, v = layer.project(x).chunk(3, -1)
        return q * k + v

    return Part(layer.project, fused, plain)


def last_step(batch: int, length: int) -> Part:
    """MulT's self-attention over a modality: all steps of the last layer, of which one is read."""
    config = MultConfig(embedding_dropout=0.0, relu_dropout=0.0, residual_dropout=0.0)
    stream, x = Stream(60, 5, config, 0.0), torch.randn(batch, length, 60)
    mask = torch.zeros(batch, length, dtype=torch.bool)
    bias, present = torch.zeros(batch, 1, length, length), torch.ones(batch, 1, 1, 1)

    def plain() -> Tensor:
        y = stream.embed(x)
        for layer in stream.layers:
            y = layer(y, None, bias, present)
        return stream.norm(y)[:, -1]

    return Part(stream, lambda: stream.last(x, mask, bias, present), plain)


def lengths(batch: int, length: int) -> Part:
    """A Bi-LSTM over sequences of different lengths (MISA, MIMIC): as a packed sequence."""
    layer, x = BiLSTM(300, 150), torch.randn(batch, length, 300)
    count = torch.linspace(1, length, batch).long()
    mask = torch.arange(length) >= count[:, None]
    both = nn.LSTM(300, 150, batch_first=True, bidirectional=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for name in names:
        setattr(both, name, getattr(layer.ahead, name))
        setattr(both, f"{name}_reverse", getattr(layer.back, name))

    def plain() -> Tensor:
        packed = pack_padded_sequence(x, count, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(both(packed)[0], batch_first=True)[0]

    return Part(layer, lambda: layer(x, mask), plain)


def spans(batch: int, length: int) -> Part:
    """Li et al.: the maximum over the frames of each word, with all frames spread over all words;
    eight utterances, eight frames a word."""
    x = torch.randn(8, 8 * length, 128)
    layer = nn.Linear(128, 128)  # so that there is something to learn
    edges = torch.arange(length + 1) * 8
    begin, end = edges[:-1].expand(8, -1), edges[1:].expand(8, -1)

    def plain() -> Tensor:
        frames = torch.arange(8 * length)
        inside = (frames >= begin[..., None]) & (frames < end[..., None])  # (B, W, T)
        return layer(x)[:, None].masked_fill(~inside[..., None], -torch.inf).amax(2)

    return Part(layer, lambda: span_max(layer(x), begin, end), plain)


PARTS: dict[str, Callable[[int, int], Part]] = {
    "TFN: outer product, not written down": product,
    "MFN: three LSTMs through time together": system,
    "MFM: a sequence generated by one call": generator,
    "MulT: query, key and value by one product": projections,
    "MulT: the last layer for the last step": last_step,
    "MISA: a Bi-LSTM without packed sequences": lengths,
    "Li et al.: maxima of spans": spans,
}


def learning(weights: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward."""

    def call() -> None:
        weights.zero_grad()
        forward().square().sum().backward()

    return call
