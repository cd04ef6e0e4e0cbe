"""ICCN: what text makes of sound and of vision, drawn together by canonical correlation.

Source: Z. Sun, P. Sarma, W. Sethares, Y. Liang, "Learning Relationships between Text, Audio, and
Video via Deep Canonical Correlation for Multimodal Language Analysis", AAAI, 2020. The loss is that
of G. Andrew, R. Arora, J. Bilmes, K. Livescu, "Deep Canonical Correlation Analysis", ICML, 2013.

No program of its authors is public: sizes are this library's, and so is the weight of the loss.
Both losses are learned at once, where the paper learns the linear model last.

Shapes: B utterances, L steps, D_m width of a modality, C channels, K width of what a product gives.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import SPEECHLESS, Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, given, scaling
from mmer_lib.models.layers import Dropout, last_state


@dataclass(frozen=True)
class IccnConfig(TrimodalConfig):
    """Sizes and choices.

    Attributes:
        cls: width of the vector at [CLS].
        text_from: "words" reads word vectors as the other modalities are read; "cls" takes a text
            encoder's vector at [CLS], as the paper does.
        text_width, audio_width, vision_width: D_m, 4 or more. product: K.
        channels: of the two convolutions over a product. kernel: their edge, and the length of the
            convolutions over time; odd.
        correlation: weight of the loss. ridge: added to the variances before they are inverted.
        dropout: on what the linear model reads.
    """

    cls: int = 384
    text_from: Literal["words", "cls"] = "words"
    text_width: int = 64
    audio_width: int = 32
    vision_width: int = 32
    channels: tuple[int, int] = (8, 16)
    kernel: int = 3
    product: int = 32
    correlation: float = 0.01
    ridge: float = 1e-3
    dropout: float = 0.1


class TemporalEncoder(nn.Module):
    """Convolution, last state of an LSTM: x (B, L, inputs), mask (B, L) -> (B, D)."""

    def __init__(self, inputs: int, width: int, kernel: int):
        super().__init__()
        self.convolution = nn.Conv1d(inputs, width, kernel, padding=kernel // 2)
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.masked_fill(mask.unsqueeze(-1), 0.0).transpose(1, 2)
        states, _ = self.lstm(F.relu(self.convolution(x)).transpose(1, 2))
        return last_state(states, mask)


class OuterConvolution(nn.Module):
    """A convolution over the outer product of two vectors, which is never written down: the sum
    over i of t_(x+i) times a convolution of a alone."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.convolution = nn.Conv2d(1, channels, kernel, padding=kernel // 2)

    def forward(self, t: Tensor, a: Tensor) -> Tensor:
        """t (B, X), a (B, Y) -> (B, C, X, Y)."""
        weight, bias = self.convolution.weight, self.convolution.bias
        channels, _, kernel, _ = weight.shape
        rows = F.conv1d(a.unsqueeze(1), weight.reshape(-1, 1, kernel), padding=kernel // 2)
        rows = rows.unflatten(1, (channels, kernel))  # (B, C, k, Y)
        windows = F.pad(t, (kernel // 2, kernel // 2)).unfold(1, kernel, 1)  # (B, X, k)
        return windows.unsqueeze(1) @ rows + bias[:, None, None]


class Interaction(nn.Module):
    """Two convolutions over the outer product of text and another modality, each halved in size,
    and a dense layer: t (B, X), a (B, Y) -> (B, K)."""

    def __init__(self, text: int, other: int, config: IccnConfig):
        super().__init__()
        first, second = config.channels
        self.first = OuterConvolution(first, config.kernel)
        self.second = nn.Conv2d(first, second, config.kernel, padding=config.kernel // 2)
        self.dense = nn.Linear(second * (text // 4) * (other // 4), config.product)

    def forward(self, t: Tensor, a: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(t, a)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.dense(x.flatten(1))


class Iccn(Trimodal):
    """Text-based audio and vision beside the text, and a linear model. Its `Output` names "h_m"
    (B, D_m) for each modality m, "ta" and "tv" (B, K), and "F" (B, 2 K + D_text), all that is read.
    """

    config_class = IccnConfig

    def __init__(self, config: IccnConfig):
        super().__init__(config)
        widths = {m: getattr(config, f"{m}_width") for m in MODALITIES}
        self.scale = scaling(config)
        self.encoders = nn.ModuleDict()
        for m, inputs in config.widths.items():
            self.encoders[m] = TemporalEncoder(inputs, widths[m], config.kernel)
        if config.text_from == "cls":
            self.encoders["text"] = nn.Linear(config.cls, widths["text"])
        self.interactions = nn.ModuleDict(
            {m: Interaction(widths["text"], widths[m], config) for m in SPEECHLESS}
        )
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.product + widths["text"], config.classes)

    @staticmethod
    def needs(config: IccnConfig) -> tuple[str, ...]:
        words, word_mask, *others = Trimodal.needs(config)
        return (*(("cls",) if config.text_from == "cls" else (words, word_mask)), *others)

    def encode(self, batch: Batch, modality: str) -> Tensor:
        """h_m (B, D_m)."""
        encoder = self.encoders[modality]
        if isinstance(encoder, nn.Linear):
            return encoder(batch.cls)
        return encoder(*given(batch, modality, self.scale))

    def forward(self, batch: Batch) -> Output:
        named = {f"h_{m}": self.encode(batch, m) for m in MODALITIES}
        for m in SPEECHLESS:
            named[f"t{m[0]}"] = self.interactions[m](named["h_text"], named[f"h_{m}"])
        named["F"] = torch.cat([named["ta"], named["tv"], named["h_text"]], dim=-1)
        return self.output(self.classifier(self.dropout(named["F"])), named)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """That of the task, and "correlation": minus the sum of those of "ta" and "tv"."""
        losses, named = super().losses(batch, output), output.named
        if self.config.correlation:
            found = canonical_correlations(named["ta"], named["tv"], self.config.ridge)
            losses["correlation"] = -found.sum()
        return losses


def canonical_correlations(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """x, y (B, K) -> (K,), largest first; `ridge` is added to the variances (ICCN's loss is their
    sum; Andrew et al., 2013). Zeros for one utterance.

    The singular values of L_x^-1 C_xy L_y^-T, C = L L^T (Cholesky): those of C^-1/2, with a
    gradient where variances are equal.
    """
    kind = x.dtype
    with torch.autocast(x.device.type, enabled=False):
        x, y = ((v - v.mean(0)).double() for v in (x, y))
        count = max(len(x) - 1, 1)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        lower_x, lower_y = (torch.linalg.cholesky(v.T @ v / count + ridge * eye) for v in (x, y))
        shared = torch.linalg.solve_triangular(lower_x, x.T @ y / count, upper=False)
        shared = torch.linalg.solve_triangular(lower_y, shared.T, upper=False)
        found = torch.linalg.svdvals(shared)
        return (found * (found > 1e-9)).to(kind)  # at 0 the gradient has no one direction
