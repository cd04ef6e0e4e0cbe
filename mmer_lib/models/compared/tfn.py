"""TFN: one vector a modality, and every product of their numbers.

Source: A. Zadeh, M. Chen, S. Poria, E. Cambria, L.-P. Morency, "Tensor Fusion Network for
Multimodal Sentiment Analysis", EMNLP, 2017.

Shapes: B utterances, L positions of a modality, T, A, V widths of the three vectors, H outputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, given, without_padding
from mmer_lib.models.layers import (
    Dropout,
    MaskedBatchNorm,
    Standardise,
    last_state,
    masked_mean,
    unpadded,
)


@dataclass(frozen=True)
class TfnConfig(TrimodalConfig):
    """Sizes and choices; the defaults are those of the authors' program.

    Attributes:
        units: of the LSTM that reads the words.
        text_width, audio_width, vision_width: of the three vectors that are multiplied.
        hidden: width of the two layers after the product.
        dropout: of what enters the audio and the vision network.
        fusion_dropout: of the numbers of the product; at 0 it is never written down.
        bound: a sentiment lies in (-bound, bound), by a sigmoid; 0 for no bound.
    """

    units: int = 128
    text_width: int = 64
    audio_width: int = 32
    vision_width: int = 32
    hidden: int = 160
    dropout: float = 0.2
    fusion_dropout: float = 0.2
    bound: float = 4.0


class TextNetwork(nn.Module):
    """The last state of an LSTM, projected. x (B, L, inputs), mask (B, L) -> (B, width)."""

    def __init__(self, inputs: int, units: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True)
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(units, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states, (final, _) = self.lstm(without_padding(x, mask))
        last = final[-1] if unpadded(mask) else last_state(states, mask)
        return self.project(self.dropout(last))


class MeanNetwork(nn.Module):
    """The mean over time of scaled features, batch norm over the utterances that have any,
    dropout, three layers. x (B, L, inputs), mask (B, L) -> (B, width)."""

    def __init__(self, inputs: int, width: int, dropout: float):
        super().__init__()
        self.scale, self.norm = Standardise(inputs), MaskedBatchNorm(inputs)
        self.dropout = Dropout(dropout)
        sizes = [(inputs, width), (width, width), (width, width)]
        self.layers = nn.Sequential(*(x for s in sizes for x in (nn.Linear(*s), nn.ReLU())))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        nothing = mask.all(1, keepdim=True)
        mean = self.scale(x.mean(1) if unpadded(mask) else masked_mean(x, mask))
        mean = mean.masked_fill(nothing, 0.0)  # what the scaled have as their mean
        mean = self.norm(mean.unsqueeze(1), nothing).squeeze(1)
        return self.layers(self.dropout(mean))


class Networks(nn.ModuleDict):
    """The network of each modality, with their dropouts: batch -> (B, D_m) by modality."""

    def __init__(self, config, text: float, audio: float, vision: float):
        c = config
        super().__init__(
            {
                "text": TextNetwork(c.words, c.units, c.text_width, text),
                "audio": MeanNetwork(c.audio, c.audio_width, audio),
                "vision": MeanNetwork(c.vision, c.vision_width, vision),
            }
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {m: self[m](*given(batch, m)) for m in MODALITIES}


class ProductLinear(nn.Module):
    """A linear layer on all products [1; t] x [1; a] x [1; v] of three vectors.

    They are written down for dropout of single products alone; else the weights meet the products
    of audio and vision first and the words after, the same sum in another order.
    """

    def __init__(self, text: int, audio: int, vision: int, outputs: int, dropout: float):
        super().__init__()
        self.linear = nn.Linear((text + 1) * (audio + 1) * (vision + 1), outputs)
        self.dropout = Dropout(dropout)

    def forward(self, text: Tensor, audio: Tensor, vision: Tensor) -> Tensor:
        """text (B, T), audio (B, A), vision (B, V) -> (B, H)."""
        text, audio, vision = (F.pad(x, (1, 0), value=1.0) for x in (text, audio, vision))
        pairs = (audio.unsqueeze(2) * vision.unsqueeze(1)).flatten(1)  # (B, (A + 1)(V + 1))
        if self.training and self.dropout.p:
            products = torch.bmm(text.unsqueeze(2), pairs.unsqueeze(1)).flatten(1)
            return self.linear(self.dropout(products))
        weight = self.linear.weight.view(-1, pairs.shape[1])  # (H (T + 1), (A + 1)(V + 1))
        mixed = F.linear(pairs, weight).unflatten(1, (-1, text.shape[1]))  # (B, H, T + 1)
        return torch.bmm(mixed, text.unsqueeze(2)).squeeze(2) + self.linear.bias


class Tfn(Trimodal):
    """The three networks, their product, two layers and the prediction. Its `Output` names "h_m"
    (B, m_width) for each modality m, and "F" (B, hidden) after the two layers."""

    config_class = TfnConfig

    def __init__(self, config: TfnConfig):
        super().__init__(config)
        c = config
        self.encoders = Networks(c, 0.0, c.dropout, c.dropout)
        self.product = ProductLinear(
            c.text_width, c.audio_width, c.vision_width, c.hidden, c.fusion_dropout
        )
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(c.hidden, c.hidden), nn.ReLU())
        self.classifier = nn.Linear(c.hidden, c.classes)

    def forward(self, batch: Batch) -> Output:
        h = self.encoders(batch)
        named = {f"h_{m}": x for m, x in h.items()}
        named["F"] = self.layers(self.product(*h.values()))
        logits = self.classifier(named["F"])
        if self.config.classes == 1 and self.config.bound:
            logits = self.config.bound * torch.tanh(logits / 2)  # 2 sigmoid(x) - 1
        return self.output(logits, named)
