"""MISA: shared and private encoders, kept apart by losses; what MIMIC compares itself with.

Source: D. Hazarika, R. Zimmermann, S. Poria, "MISA: Modality-Invariant and -Specific
Representations for Multimodal Sentiment Analysis", ACM Multimedia, 2020.

Shapes: B utterances, L positions of a modality, D width (128).
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import Output, by_modality
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, given, scaling
from mmer_lib.models.layers import BiLSTM, Dropout, TransformerLayer, last_state, masked_mean
from mmer_lib.models.losses import difference


@dataclass(frozen=True)
class MisaConfig(TrimodalConfig):
    """Sizes and choices; the defaults are the authors' for MOSI.

    Attributes:
        text_encoder: "lstm" reads word vectors as the other modalities are read; "mean" takes
            their mean, as the authors do with BERT's vectors.
        units: LSTM units each way; None takes as many as an input is wide, as the authors do.
        similarity, difference, reconstruction: weights of the three losses (section 3.5); without
            the third nothing is rebuilt.
        fixed_norms: of the second: as in the authors' program, no gradient goes through the
            lengths of the rows; False lets it, which is ours (`losses.difference`).
    """

    text_encoder: Literal["lstm", "mean"] = "lstm"
    units: int | None = None
    width: int = 128
    heads: int = 2
    hidden: int = 2048
    dropout: float = 0.5
    similarity: float = 1.0
    difference: float = 0.3
    reconstruction: float = 1.0
    fixed_norms: bool = True


class StackedEncoder(nn.Module):
    """Two bidirectional LSTMs with a layer norm between; their last states, both ways, together
    (section 3.2). x (B, L, inputs), mask (B, L) -> (B, 4 * units)."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.first, self.norm = BiLSTM(inputs, units), nn.LayerNorm(2 * units)
        self.second = BiLSTM(2 * units, units)
        self.width = 4 * units

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        one = self.first(x, mask)  # (B, L, 2 units)
        two = self.second(self.norm(one), mask)
        return torch.cat([ends(one, mask), ends(two, mask)], dim=-1)


def ends(states: Tensor, mask: Tensor) -> Tensor:
    """Last state of each direction of a Bi-LSTM: (B, L, 2 U), mask (B, L) -> (B, 2 U)."""
    ahead, back = states.chunk(2, dim=-1)
    return torch.cat([last_state(ahead, mask), back[:, 0]], dim=-1)


class Misa(Trimodal):
    """Six vectors an utterance, what each modality shares (one encoder for all) and what is its own
    (one encoder each), join in a Transformer layer (sections 3.3, 3.4).

    Its `Output` names, for each modality m, (B, D) each: "h_m" projected, "s_m" shared, "i_m"
    private and, with a decoder, "r_m", h_m rebuilt of the two; "S", the mean of the "s_m"; "F" (B,
    6 D) after the Transformer layer.
    """

    config_class = MisaConfig
    traced: ClassVar = {"h": "h_{}", "i": "i_{}", "s": "s_{}"}

    def __init__(self, config: MisaConfig):
        super().__init__(config)
        width, self.encoders, self.projections = config.width, nn.ModuleDict(), nn.ModuleDict()
        self.scale = scaling(config)
        for m, inputs in config.widths.items():
            if m != "text" or config.text_encoder == "lstm":
                self.encoders[m] = StackedEncoder(inputs, config.units or inputs)
                inputs = self.encoders[m].width
            layers = nn.Linear(inputs, width), nn.ReLU(), nn.LayerNorm(width)
            self.projections[m] = nn.Sequential(*layers)
        self.shared = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
        self.private = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(width, width), nn.Sigmoid()) for m in MODALITIES}
        )
        self.decoder = None
        if config.reconstruction:
            self.decoder = nn.ModuleDict({m: nn.Linear(width, width) for m in MODALITIES})
        self.fusion = TransformerLayer(width, config.heads, config.hidden, min(0.1, config.dropout))
        first = nn.Linear(6 * width, 3 * width), Dropout(config.dropout), nn.ReLU()
        self.head = nn.Sequential(*first, nn.Linear(3 * width, config.classes))

    def encode(self, batch: Batch, modality: str) -> Tensor:
        """h_m (B, D)."""
        x, mask = given(batch, modality, self.scale)
        if modality in self.encoders:
            return self.projections[modality](self.encoders[modality](x, mask))
        return self.projections[modality](masked_mean(x, mask))

    def forward(self, batch: Batch) -> Output:
        named = {}
        for m in MODALITIES:
            named[f"h_{m}"] = h = self.encode(batch, m)
            named[f"s_{m}"], named[f"i_{m}"] = self.shared(h), self.private[m](h)
            if self.decoder is not None:
                named[f"r_{m}"] = self.decoder[m](named[f"s_{m}"] + named[f"i_{m}"])
        shared, private = ([named[f"{x}_{m}"] for m in MODALITIES] for x in "si")
        named["S"] = torch.stack(shared).mean(0)
        six = torch.stack([*private, *shared], dim=1)  # (B, 6, D)
        nothing = torch.zeros(six.shape[:2], dtype=torch.bool, device=six.device)
        named["F"] = self.fusion(six, nothing).flatten(1)  # (B, 6 D)
        return self.output(self.head(named["F"]), named)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """That of the task, "similarity", "difference" and "reconstruction"."""
        c, losses = self.config, super().losses(batch, output)
        h, s, i, r = ([*by_modality(output.named, f"{x}_{{}}").values()] for x in "hsir")
        if c.similarity:
            losses["similarity"] = moment_discrepancy(s)
        if c.difference:
            losses["difference"] = difference(s, i, c.fixed_norms)
        if c.reconstruction:
            losses["reconstruction"] = reconstruction(r, h)
        return losses


def moment_discrepancy(vectors: list[Tensor], moments: int = 5) -> Tensor:
    """Central moment discrepancy, the mean over all pairs of two or more (B, D) with values in
    [0, 1] (MISA's L_sim; Zellinger et al., 2017)."""
    each = []
    for x in vectors:
        centre = x.float().mean(0)
        powers = [(x.float() - centre).pow(k).mean(0) for k in range(2, moments + 1)]
        each.append(torch.stack([centre, *powers]))  # (moments, D)
    pairs = itertools.combinations(each, 2)
    distances = [torch.linalg.vector_norm(a - b, dim=1).sum() for a, b in pairs]
    return torch.stack(distances).mean()


def reconstruction(found: list[Tensor], given: list[Tensor]) -> Tensor:
    """Mean squared error, averaged over the modalities (MISA's L_recon): one (B, D) each."""
    pairs = zip(found, given, strict=True)
    return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in pairs]).mean()
