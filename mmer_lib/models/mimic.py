"""MIMIC: text, audio and vision, decoupled into what they share and what each has alone.

Source: C. Ellis, W. Nasir, L. Porter, "Multi-Interaction Modeling with Intelligent Coordination
for Multimodal Emotion Recognition", 2025, section 3.

Shapes: B utterances, L positions of a modality, D width (64), K bottleneck (16).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.models.base import INPUTS, SPEECHLESS, Config, Model, Output, by_modality
from mmer_lib.models.layers import Attention, BiLSTM, Dropout, Standardise, masked_mean
from mmer_lib.models.losses import contrastive, difference

PARTS = ("S", "I", "M")
DECOUPLINGS = ("instance", "orthogonal", "none")


@dataclass(frozen=True)
class MimicConfig(Config):
    """Sizes and choices; the defaults are the paper's (section 3) where it states them.

    Attributes:
        words, audio, vision: widths of the three inputs.
        modalities: those that are read (Table 1). parts: of S, I and M, those that are fused.
        level: "utterance" decouples the mean of each modality over time; "frame" decouples every
            step and takes the mean after the gate, for modalities of one length.
        decoupling: "instance" (Eq. 3-4), "orthogonal" (learned projections that a loss draws
            apart, section 4.3), or "none" (i_m = h_m).
        gate: whether a gate weighs what is fused (Eq. 10-11).
        units: LSTM units each way; D = 2 * units. layers: Bi-LSTMs of each encoder, each above the
            one before.
        bottleneck: K of Eq. 5-6. pool: edge of the max-pool over the K x K x K product.
        contrastive: weight of the regulariser (Eq. 15). temperature: of it (Eq. 12).
        positives: of it: "class", utterances of one class or rounded score; "views", two passes of
            one utterance through the encoders, whose inputs are then dropped out in training at
            the rate `view_dropout`.
        difference: weight of the loss that draws learned projections apart.
    """

    words: int = 300
    audio: int = 74
    vision: int = 47
    modalities: tuple[Literal[MODALITIES], ...] = MODALITIES
    parts: tuple[Literal[PARTS], ...] = PARTS
    level: Literal["utterance", "frame"] = "utterance"
    decoupling: Literal[DECOUPLINGS] = "instance"
    gate: bool = True
    classes: int = 1
    units: int = 32
    layers: int = 1
    heads: int = 4
    bottleneck: int = 16
    pool: int = 2
    head: tuple[int, int] = (64, 32)
    dropout: float = 0.0
    contrastive: float = 0.1
    temperature: float = 0.1
    positives: Literal["class", "views"] = "class"
    view_dropout: float = 0.1
    difference: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.bottleneck % self.pool:
            raise DataError(f"bottleneck {self.bottleneck} is not a multiple of pool {self.pool}")
        if self.decoupling == "instance" and len(self.modalities) == 1 and "I" in self.parts:
            raise DataError(
                f"{self.modalities[0]} alone has no individual part (h - S is 0); set parts to S,M"
            )
        if self.difference and self.decoupling != "orthogonal":
            raise DataError(f"difference is for decoupling 'orthogonal', not {self.decoupling!r}")

    @property
    def width(self) -> int:
        return 2 * self.units


class Encoder(nn.Module):
    """One modality: Bi-LSTMs, self-attention (Eq. 1), alignment LayerNorm(h) + h (Eq. 2)."""

    def __init__(self, modality: str, config: MimicConfig):
        super().__init__()
        inputs = getattr(config, INPUTS[modality][0])
        self.scale = Standardise(inputs) if modality in SPEECHLESS else nn.Identity()
        self.dropout = Dropout(config.view_dropout if config.positives == "views" else 0.0)
        self.lstm = BiLSTM(inputs, config.units)
        above = (BiLSTM(config.width, config.units) for _ in range(config.layers - 1))
        self.above = nn.ModuleList(above)
        self.attention = Attention(config.width, config.heads)
        self.align = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, inputs), mask (B, L) -> (B, L, D)."""
        x = self.lstm(self.dropout(self.scale(x)), mask)
        for lstm in self.above:
            x = lstm(x, mask)
        h = self.attention(x, x, mask)
        return self.align(h) + h


class Orthogonal(nn.Module):
    """One learned projection to what all share, one a modality to what it has alone, which
    `losses.difference` draws apart, as in MISA."""

    def __init__(self, config: MimicConfig):
        super().__init__()
        self.shared = nn.Linear(config.width, config.width)
        self.individual = nn.ModuleDict(
            {m: nn.Linear(config.width, config.width) for m in config.modalities}
        )

    def forward(self, h: dict[str, Tensor]) -> dict[str, Tensor]:
        """h_m (..., D) by modality -> "s_m" and "i_m" (..., D)."""
        individual = {f"i_{m}": self.individual[m](x) for m, x in h.items()}
        return {**{f"s_{m}": self.shared(x) for m, x in h.items()}, **individual}


class TensorFusion(nn.Module):
    """FC(MaxPool(t x v x a)) of the bottlenecked vectors of one to three modalities (Eq. 7, 8).

    No number is negative after a ReLU, so the largest product in a block of the cube is that of the
    largest numbers of its edges: vectors are pooled first, for 1/pool^3 of the cube.
    """

    def __init__(self, config: MimicConfig):
        super().__init__()
        self.pool = config.pool
        edge = config.bottleneck // config.pool
        self.project = nn.Linear(edge ** len(config.modalities), config.width)

    def forward(self, *vectors: Tensor) -> Tensor:
        """one to three (..., K), none negative -> (..., D)."""
        pooled = [x.unflatten(-1, (-1, self.pool)).amax(-1) for x in vectors]  # (..., K/pool) each
        product = pooled[0]
        for x in pooled[1:]:
            product = (product.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
        return self.project(product)


class Gate(nn.Module):
    """F = sigmoid(W_g F0 + b_g) * F0 (Eq. 10-11); `gate` gives the sigmoid."""

    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x) * x


class Mimic(Model):
    """The whole of section 3.

    Its `Output` names, for each modality m that is read: "h_m" (B, D) aligned, "i_m" (B, D)
    individual, and, where they are made, "i_m_low", "h_m_low" (B, K) bottlenecked and "s_m" (B, D)
    shared; "S", and where fused "I" and "M" (B, D); "F" (B, parts * D). At the level of frames all
    are means over the steps. In training with positives "views" also "S_again" (B, D), S of the
    second pass.
    """

    config_class = MimicConfig
    traced: ClassVar = {"h": "h_{}", "i": "i_{}", "i_low": "i_{}_low"}

    def __init__(self, config: MimicConfig):
        super().__init__(config)
        self.encoders = nn.ModuleDict({m: Encoder(m, config) for m in config.modalities})
        self.orthogonal = Orthogonal(config) if config.decoupling == "orthogonal" else None
        self.low_h = self.low_i = self.fuse_h = self.fuse_i = None
        if "M" in config.parts:
            self.low_h, self.fuse_h = bottleneck(config), TensorFusion(config)
        if "I" in config.parts:
            self.low_i, self.fuse_i = bottleneck(config), TensorFusion(config)
        width = len(config.parts) * config.width
        self.gate = Gate(width) if config.gate else None
        layers = []
        for before, after in pairwise((width, *config.head)):
            layers += nn.Linear(before, after), nn.ReLU(), Dropout(config.dropout)
        self.head = nn.Sequential(*layers, nn.Linear(after, config.classes))

    @staticmethod
    def needs(config: MimicConfig) -> tuple[str, ...]:
        return tuple(name for m in config.modalities for name in INPUTS[m])

    def scalings(self) -> dict[str, nn.Module]:
        return {m: encoder.scale for m, encoder in self.encoders.items() if m in SPEECHLESS}

    def encode(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        """h_m (B, D), None; at the level of frames h_m (B, L, D), and the mask (B, L) of the steps
        that any modality lacks."""
        h, lacking = {}, None
        for m, encoder in self.encoders.items():
            x, mask = (getattr(batch, name) for name in INPUTS[m])
            h[m] = encoder(x, mask)
            if self.config.level == "utterance":
                h[m] = masked_mean(h[m], mask)
                continue
            lacking = mask if lacking is None else lacking
            if mask.shape != lacking.shape:
                raise DataError(
                    f"level 'frame' needs modalities of one length; {m} has {mask.shape[1]} steps, "
                    f"another {lacking.shape[1]}. Take level 'utterance', or features by word"
                )
            lacking = lacking | mask
        return h, lacking

    def decouple(self, h: dict[str, Tensor]) -> dict[str, Tensor]:
        """h_m (..., D) -> by name: "S", "i_m", and "s_m" where they are learned."""
        if self.orthogonal is not None:
            named = self.orthogonal(h)
            return {"S": torch.stack([named[f"s_{m}"] for m in h]).mean(0), **named}
        shared = torch.stack([*h.values()]).mean(0)  # S (Eq. 3)
        if self.config.decoupling == "none":
            return {"S": shared, **{f"i_{m}": x for m, x in h.items()}}
        return {"S": shared, **{f"i_{m}": x - shared for m, x in h.items()}}  # (Eq. 4)

    def forward(self, batch: Batch) -> Output:
        h, lacking = self.encode(batch)
        named = {f"h_{m}": x for m, x in h.items()} | self.decouple(h)
        if self.training and self.config.contrastive and self.config.positives == "views":
            named["S_again"] = self.decouple(self.encode(batch)[0])["S"]
        if self.fuse_i is not None:
            low = {m: self.low_i(named[f"i_{m}"]) for m in h}  # (Eq. 5)
            named |= {f"i_{m}_low": x for m, x in low.items()}
            named["I"] = self.fuse_i(*low.values())  # (Eq. 8)
        if self.fuse_h is not None:
            low = {m: self.low_h(h[m]) for m in h}  # (Eq. 6)
            named |= {f"h_{m}_low": x for m, x in low.items()}
            named["M"] = self.fuse_h(*low.values())  # (Eq. 7)
        joined = torch.cat([named[part] for part in self.config.parts], dim=-1)  # (Eq. 9)
        named["F"] = joined if self.gate is None else self.gate(joined)  # (Eq. 10-11)
        if lacking is not None:
            named = {name: masked_mean(x, lacking) for name, x in named.items()}
        return self.output(self.head(named["F"]), named)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Beside that of the task "contrastive" (Eq. 12) and "difference"."""
        c, named, losses = self.config, output.named, super().losses(batch, output)
        if c.contrastive:
            shared, labels = named["S"], batch.emotion if c.classes > 1 else batch.sentiment.round()
            if c.positives == "views":
                again = named.get("S_again", shared)  # without dropout the two are alike
                labels = torch.arange(len(shared), device=shared.device).repeat(2)
                shared = torch.cat([shared, again])
            losses["contrastive"] = contrastive(shared, labels, c.temperature)
        if c.difference:
            shared, individual = by_modality(named, "s_{}"), by_modality(named, "i_{}")
            losses["difference"] = difference([*shared.values()], [*individual.values()])
        return losses


def bottleneck(config: MimicConfig) -> nn.Module:
    """ReLU(W x + b), shared by the modalities (Eq. 5, 6): (..., D) -> (..., K)."""
    return nn.Sequential(nn.Linear(config.width, config.bottleneck), nn.ReLU())
