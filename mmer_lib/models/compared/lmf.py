"""LMF: the products of TFN under weights of low rank, which factor by modality.

Source: Z. Liu, Y. Shen, V. B. Lakshminarasimhan, P. P. Liang, A. Zadeh, L.-P. Morency, "Efficient
Low-rank Multimodal Fusion with Modality-Specific Factors", ACL, 2018.

Shapes: B utterances, R rank, H outputs of the fusion.
"""

import math
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig
from mmer_lib.models.compared.tfn import Networks


@dataclass(frozen=True)
class LmfConfig(TrimodalConfig):
    """Sizes. The authors drew theirs at random for each corpus and publish none for MOSI; the
    defaults are those that they list for the sentiment of POM.

    Attributes:
        units: of the LSTM that reads the words.
        text_width, audio_width, vision_width: of the three vectors that are fused.
        rank: R, how many products of three factors are added up.
        text_dropout, audio_dropout, vision_dropout: of the last state of the LSTM, and of what
            enters the audio and the vision network.
    """

    units: int = 64
    text_width: int = 32
    audio_width: int = 16
    vision_width: int = 16
    rank: int = 4
    text_dropout: float = 0.2
    audio_dropout: float = 0.5
    vision_dropout: float = 0.5


class LowRankFusion(nn.Module):
    """sum over r of w_r (F_r,t [1; t]) * (F_r,a [1; a]) * (F_r,v [1; v]) + b: a linear layer on all
    products whose weights have rank R. The R factors of a modality are one linear layer. The paper
    has no w_r; its authors' program does."""

    def __init__(self, widths: dict[str, int], rank: int, outputs: int):
        super().__init__()
        self.rank = rank
        self.factors = nn.ModuleDict({m: nn.Linear(n, rank * outputs) for m, n in widths.items()})
        for factor in self.factors.values():  # Xavier's rule of a tensor (R, D + 1, H)
            spread = math.sqrt(2 / ((factor.in_features + 1 + rank) * outputs))
            nn.init.normal_(factor.weight, std=spread)
            nn.init.normal_(factor.bias, std=spread)
        spread = math.sqrt(2 / (1 + rank))
        self.weights = nn.Parameter(spread * torch.randn(rank))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, vectors: dict[str, Tensor]) -> Tensor:
        """(B, D_m) by modality -> (B, H)."""
        factors = (factor(vectors[m]) for m, factor in self.factors.items())  # (B, R H) each
        terms = reduce(torch.mul, factors).unflatten(1, (self.rank, -1))  # (B, R, H)
        return self.weights @ terms + self.bias


class Lmf(Trimodal):
    """The networks of TFN, and low-rank fusion, which gives the prediction as in the authors'
    program. Its `Output` names "h_m" (B, m_width) for each modality m, and "F" (B, classes)."""

    config_class = LmfConfig

    def __init__(self, config: LmfConfig):
        super().__init__(config)
        c = config
        self.encoders = Networks(c, c.text_dropout, c.audio_dropout, c.vision_dropout)
        widths = {m: getattr(c, f"{m}_width") for m in MODALITIES}
        self.fusion = LowRankFusion(widths, c.rank, c.classes)

    def forward(self, batch: Batch) -> Output:
        h = self.encoders(batch)
        named = {f"h_{m}": x for m, x in h.items()}
        named["F"] = self.fusion(h)
        return self.output(named["F"], named)
