"""MIMIC: text, audio and vision, decoupled into what they share and what each has alone.

Source: C. Ellis, W. Nasir, L. Porter, "Multi-Interaction Modeling with Intelligent Coordination
for Multimodal Emotion Recognition", 2025, section 3. Equations are cited by their numbers there.

Shapes: B utterances, L positions of a modality, D width (64), K bottleneck (16).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.batch import Batch
from mmer_lib.models.base import Model, Output
from mmer_lib.models.layers import Attention, BiLSTM, Standardise, masked_mean


@dataclass(frozen=True)
class MimicConfig:
    """Sizes and choices; the defaults are the paper's (section 3) where it states them.

    Attributes:
        words, audio, vision: widths of the three inputs.
        classes: 1 predicts a sentiment, more classify.
        units: LSTM units each way; D = 2 * units.
        bottleneck: K of Eq. 5-6. pool: edge of the max-pool over the K x K x K product.
    """

    words: int = 300
    audio: int = 74
    vision: int = 47
    classes: int = 1
    units: int = 32
    heads: int = 4
    bottleneck: int = 16
    pool: int = 2
    head: tuple[int, int] = (64, 32)
    dropout: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "head", tuple(self.head))  # JSON knows lists only

    @property
    def width(self) -> int:
        return 2 * self.units


class Encoder(nn.Module):
    """One modality: Bi-LSTM, self-attention (Eq. 1), alignment LayerNorm(h) + h (Eq. 2),
    then the mean over real positions (the decoupling works on utterances, section 5)."""

    def __init__(self, inputs: int, config: MimicConfig):
        super().__init__()
        self.scale = Standardise(inputs)
        self.lstm = BiLSTM(inputs, config.units)
        self.attention = Attention(config.width, config.heads)
        self.align = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, inputs), mask (B, L) -> (B, D)."""
        x = self.lstm(self.scale(x), mask)
        h = self.attention(x, x, mask)  # (B, L, D)
        return masked_mean(self.align(h) + h, mask)


class TensorFusion(nn.Module):
    """FC(MaxPool(t x v x a)): outer product of three bottlenecked vectors (Eq. 7, 8)."""

    def __init__(self, config: MimicConfig):
        super().__init__()
        self.pool = config.pool
        edge = config.bottleneck // config.pool
        self.project = nn.Linear(edge**3, config.width)

    def forward(self, t: Tensor, a: Tensor, v: Tensor) -> Tensor:
        """three (B, K) -> (B, D)."""
        cube = torch.einsum("bi,bj,bk->bijk", t, v, a)  # (B, K, K, K)
        pooled = F.max_pool3d(cube.unsqueeze(1), self.pool)  # (B, 1, edge, edge, edge)
        return self.project(pooled.flatten(1))


class Gate(nn.Module):
    """F = sigmoid(W_g F0 + b_g) * F0 (Eq. 10-11); `gate` gives the sigmoid."""

    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x) * x


class Mimic(Model):
    """The whole of section 3.

    `forward(batch)` needs words, word_mask, audio, audio_mask, vision, vision_mask. Its `Output`
    has logits (B, classes), or (B,) when classes is 1, and, by name, for each modality m:
    "h_m" (B, D) aligned, "i_m" (B, D) individual, "i_m_low" and "h_m_low" (B, K) bottlenecked;
    and "S", "I", "M" (B, D), "F" (B, 3 D).
    """

    modalities = ("text", "audio", "vision")
    config_class = MimicConfig
    contrasted = "S"  # what the contrastive regulariser reads (Eq. 12)

    def __init__(self, config: MimicConfig):
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict(
            {
                "text": Encoder(config.words, config),
                "audio": Encoder(config.audio, config),
                "vision": Encoder(config.vision, config),
            }
        )
        self.low_h = nn.Sequential(nn.Linear(config.width, config.bottleneck), nn.ReLU())
        self.low_i = nn.Sequential(nn.Linear(config.width, config.bottleneck), nn.ReLU())
        self.fuse_h, self.fuse_i = TensorFusion(config), TensorFusion(config)
        self.gate = Gate(3 * config.width)
        first, second = config.head
        self.head = nn.Sequential(
            nn.Linear(3 * config.width, first), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(first, second), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(second, config.classes),
        )  # fmt: skip

    @staticmethod
    def needs(config: MimicConfig) -> tuple[str, ...]:
        return ("words", "word_mask", "audio", "audio_mask", "vision", "vision_mask")

    def scalings(self) -> dict[str, nn.Module]:
        return {"audio": self.encoders["audio"].scale, "vision": self.encoders["vision"].scale}

    def forward(self, batch: Batch) -> Output:
        h = {
            "text": self.encoders["text"](batch.words, batch.word_mask),
            "audio": self.encoders["audio"](batch.audio, batch.audio_mask),
            "vision": self.encoders["vision"](batch.vision, batch.vision_mask),
        }  # (B, D) each
        shared = torch.stack(list(h.values())).mean(0)  # S (Eq. 3)
        i = {m: h[m] - shared for m in h}  # (Eq. 4)
        i_low = {m: self.low_i(i[m]) for m in h}  # (Eq. 5)
        h_low = {m: self.low_h(h[m]) for m in h}  # (Eq. 6)
        whole = self.fuse_h(*h_low.values())  # M (Eq. 7)
        individual = self.fuse_i(*i_low.values())  # I (Eq. 8)
        joined = torch.cat([shared, individual, whole], dim=-1)  # (Eq. 9)
        fused = self.gate(joined)  # (Eq. 10-11)
        logits = self.head(fused)
        named = {"S": shared, "I": individual, "M": whole, "F": fused}
        for m in h:
            named |= {f"h_{m}": h[m], f"i_{m}": i[m], f"i_{m}_low": i_low[m]}
            named[f"h_{m}_low"] = h_low[m]
        return self.output(logits, named)
