"""MFM: one factor for the label, one for what each modality needs beyond it; all rebuilt from them.

Source: Y.-H. H. Tsai, P. P. Liang, A. Zadeh, L.-P. Morency, R. Salakhutdinov, "Learning Factorized
Multimodal Representations", ICLR, 2019. Encoders, sizes and weights are those of the authors'
program for MOSI; its encoder of all modalities is the Memory Fusion Network (see `mfn`).

Shapes: B utterances, L steps, Z_m latent and F_m factor width of modality m, Z_y and F_y of the
label.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.mfn import MemoryFusion
from mmer_lib.models.compared.shared import TrimodalConfig, aligned, given
from mmer_lib.models.layers import last_state, mlp


@dataclass(frozen=True)
class MfmConfig(TrimodalConfig):
    """Sizes and choices; groups of three are for text, audio and vision.

    Attributes:
        units: of the LSTMs of the Memory Fusion Network. memory: its width.
        hidden: of its networks for attention, candidate and the memory's two gates.
        memory_dropout: of these.
        latent: Z_m. factor: F_m. factor_dropout: between them.
        label_latent, label_factor, label_dropout: the same for the label.
        head_dropout: between the label's factor and the label.
        rebuilt_text, rebuilt_audio, rebuilt_vision: weights of the errors of the rebuilt inputs; a
            modality of weight 0 has no factor of its own.
        discrepancy: weight of the distance of the latents from a normal distribution.
    """

    units: tuple[int, int, int] = (88, 64, 48)
    memory: int = 64
    hidden: tuple[int, int, int, int] = (128, 128, 128, 128)
    memory_dropout: float = 0.5
    latent: tuple[int, int, int] = (32, 8, 80)
    factor: tuple[int, int, int] = (88, 8, 8)
    factor_dropout: tuple[float, float, float] = (0.2, 0.2, 0.7)
    label_latent: int = 32
    label_factor: int = 16
    label_dropout: float = 0.0
    head_dropout: float = 0.0
    rebuilt_text: float = 1.0
    rebuilt_audio: float = 0.01
    rebuilt_vision: float = 0.5
    discrepancy: float = 1.0


class Generator(nn.Module):
    """From a factor to a sequence: an LSTM that starts from the factor and then reads its own last
    output, and a dense layer. Its two weights act as one, so one call does for all steps."""

    def __init__(self, factor: int, outputs: int):
        super().__init__()
        self.lstm = nn.LSTM(factor, factor, batch_first=True)
        self.dense = nn.Linear(factor, outputs)

    def forward(self, factor: Tensor, length: int) -> Tensor:
        """factor (B, F) -> (B, L, outputs)."""
        steps = F.pad(factor.unsqueeze(1), (0, 0, 0, length - 1))  # zeros after the first
        both = {"weight_hh_l0": self.lstm.weight_ih_l0 + self.lstm.weight_hh_l0}
        return self.dense(functional_call(self.lstm, both, (steps,))[0])


class Mfm(MemoryFusion):
    """Encoders to latents, factors, the label, and, for the losses alone, generators.

    Its `Output` names "z_label" (B, Z_y) and "f_label" (B, F_y), and for each modality m that is
    rebuilt "z_m" (B, Z_m) and "f_m" (B, F_m).
    """

    config_class = MfmConfig

    def __init__(self, config: MfmConfig):
        c, inputs = config, config.widths
        units = dict(zip(MODALITIES, c.units, strict=True))
        super().__init__(c, units, c.memory, c.hidden, (c.memory_dropout,) * 4)
        sizes = {
            m: size
            for m, *size in zip(MODALITIES, c.latent, c.factor, c.factor_dropout, strict=True)
            if getattr(c, f"rebuilt_{m}")
        }
        self.encoders = nn.ModuleDict(
            {m: nn.LSTM(inputs[m], n, batch_first=True) for m, (n, *_) in sizes.items()}
        )
        self.latents = nn.ModuleDict({m: nn.Linear(n, n) for m, (n, *_) in sizes.items()})
        self.latents["label"] = nn.Linear(sum(c.units) + c.memory, c.label_latent)
        self.factors = nn.ModuleDict()
        label = c.label_latent, c.label_factor, c.label_dropout
        for m, (latent, factor, dropout) in (sizes | {"label": label}).items():
            self.factors[m] = nn.Sequential(*mlp(latent, factor, factor, dropout), nn.ReLU())
        self.generators = nn.ModuleDict(
            {m: Generator(c.label_factor + n, inputs[m]) for m, (_, n, _) in sizes.items()}
        )
        self.head = mlp(c.label_factor, c.label_factor, c.classes, c.head_dropout)

    def forward(self, batch: Batch) -> Output:
        steps, lacking = aligned(batch, self.scale)
        fused = torch.cat(self.fuse(steps, lacking), dim=1)
        named = {"z_label": self.latents["label"](fused)}
        for m, encoder in self.encoders.items():
            mask = given(batch, m)[1]
            states, _ = encoder(steps[m][:, : mask.shape[1]])
            named[f"z_{m}"] = self.latents[m](last_state(states, mask))
        named |= {f"f_{m}": factor(named[f"z_{m}"]) for m, factor in self.factors.items()}
        return self.output(self.head(named["f_label"]), named)

    def rebuild(self, named: Mapping[str, Tensor], modality: str, length: int) -> Tensor:
        """(B, L, D_m) from the factors of `forward`."""
        factors = torch.cat([named["f_label"], named[f"f_{modality}"]], dim=1)
        return self.generators[modality](factors, length)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """That of the task, "rebuilt_m" of each modality m, and "discrepancy" of all latents."""
        losses, named = super().losses(batch, output), output.named
        steps, _ = aligned(batch, self.scale)
        for m in self.encoders:
            rebuilt = self.rebuild(named, m, steps[m].shape[1])
            losses[f"rebuilt_{m}"] = error(rebuilt, steps[m], given(batch, m)[1])
        if self.config.discrepancy:
            losses["discrepancy"] = sum(normal_discrepancy(named[f"z_{m}"]) for m in self.factors)
        return losses


def error(found: Tensor, given: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over real steps: found, given (B, L, D), mask (B, up to L)."""
    length = mask.shape[1]
    squares = (found[:, :length] - given[:, :length]).square().mean(-1).masked_fill(mask, 0.0)
    return squares.sum() / (~mask).sum().clamp(min=1)


def normal_discrepancy(z: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of z (B, Z) and the standard normal distribution, kernel
    exp(-d^2 / Z^2) (MFM). Its authors draw normal vectors; this is the mean over all draws."""
    z = z.float() if z.dtype != torch.float64 else z
    width = z.shape[1]
    scale = float(width**2)
    distances = (z.unsqueeze(1) - z.unsqueeze(0)).square().sum(-1)  # (B, B)
    cross = (1 + 2 / scale) ** (-width / 2) * torch.exp(-z.square().sum(1) / (scale + 2))
    normal = (1 + 4 / scale) ** (-width / 2)
    return normal + torch.exp(-distances / scale).mean() - 2 * cross.mean()
