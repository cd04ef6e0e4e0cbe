"""What several of the compared systems share.

Shapes: B utterances, L steps, D_m width of the input of modality m, H units, W words, T frames.
Masks: True = padding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import INPUTS, SPEECHLESS, Config, Model, Output
from mmer_lib.models.layers import Standardise, unpadded


@dataclass(frozen=True)
class TrimodalConfig(Config):
    """Attributes:
    words, audio, vision: widths of the three inputs.
    classes: 1 predicts a sentiment, more classify.
    error: of a sentiment, "squared", or "absolute" as in the programs of TFN, LMF, MFN, MulT, MFM.
    """

    words: int = 300
    audio: int = 74
    vision: int = 47
    classes: int = 1
    error: Literal["squared", "absolute"] = "squared"

    @property
    def widths(self) -> dict[str, int]:
        """Width of the input of each modality."""
        return {m: getattr(self, name) for m, (name, _) in INPUTS.items()}


class Trimodal(Model):
    """A model that reads words, audio and vision, each with a mask of its own. It has two layers
    that scale, those of audio and vision in this order."""

    @staticmethod
    def needs(config: TrimodalConfig) -> tuple[str, ...]:
        return tuple(name for names in INPUTS.values() for name in names)

    def scalings(self) -> dict[str, nn.Module]:
        layers = (layer for layer in self.modules() if isinstance(layer, Standardise))
        return dict(zip(SPEECHLESS, layers, strict=True))

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        if self.config.classes == 1 and self.config.error == "absolute":
            return {"task": F.l1_loss(output.logits.float(), batch.sentiment)}
        return super().losses(batch, output)


@dataclass(frozen=True)
class SpokenConfig(Config):
    """Attributes:
    words: width of a word vector.
    bands: filterbank bands. hop, window: distance and length of its frames in seconds.
    """

    words: int = 300
    bands: int = 128
    hop: float = 0.012
    window: float = 0.025


class Spoken(Model):
    """A model that reads words and a filterbank's frames."""

    @staticmethod
    def needs(config: SpokenConfig) -> tuple[str, ...]:
        return ("words", "word_mask", "frames", "frame_mask")


def scaling(config: TrimodalConfig) -> nn.ModuleDict:
    """The layers that scale audio and vision, by modality."""
    return nn.ModuleDict({m: Standardise(config.widths[m]) for m in SPEECHLESS})


def given(
    batch: Batch, modality: str, scale: Mapping[str, nn.Module] = {}
) -> tuple[Tensor, Tensor]:
    """x (B, L, D_m), scaled where `scale` has a layer for it, and its mask (B, L)."""
    x, mask = (getattr(batch, name) for name in INPUTS[modality])
    return (scale[modality](x) if modality in scale else x), mask


def without_padding(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, L, D) with zeros wherever mask (B, L) is set; without padding, no copy."""
    return x if unpadded(mask) else x.masked_fill(mask.unsqueeze(-1), 0.0)


def aligned(batch: Batch, scale: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
    """The three modalities, scaled, as (B, L, D_m), zeros where one lacks the step, with L of the
    longest; and the mask (B, L) of the steps that all three lack."""
    parts = {m: given(batch, m, scale) for m in MODALITIES}
    length = max(mask.shape[1] for _, mask in parts.values())
    steps, lacking = {}, True
    for m, (x, mask) in parts.items():
        missing = length - mask.shape[1]
        steps[m] = F.pad(without_padding(x, mask), (0, 0, 0, missing))
        lacking = lacking & F.pad(mask, (0, missing), value=True)
    return steps, lacking


def ordered(rows: Tensor) -> Tensor:
    """Weights or biases (4 H, ...) of torch's LSTM with the gates in the order of `recur`."""
    return rows.unflatten(0, (4, -1))[[0, 1, 3, 2]].flatten(0, 1)


def recur(
    inputs: Tensor, recurrent: Callable[[Tensor], Tensor], squash: bool = True
) -> tuple[Tensor, Tensor]:
    """The recurrence of an LSTM: outputs and cells, (B, L, H) each.

    Args:
        inputs: (B, L, 4, H) what the input, forget and output gate and the candidate get from the
            inputs and their biases.
        recurrent: what they get from the last output, (B, H) -> (B, 4, H).
        squash: whether the output is o tanh(c), or o c.
    """
    h = c = inputs.new_zeros(inputs.shape[0], inputs.shape[-1])
    outputs, cells = [], []
    for x in inputs.unbind(1):
        gates = x + recurrent(h)
        i, f, o = gates[:, :3].sigmoid().unbind(1)
        c = torch.addcmul(f * c, i, gates[:, 3].tanh())
        h = o * (c.tanh() if squash else c)
        outputs.append(h)
        cells.append(c)
    return torch.stack(outputs, 1), torch.stack(cells, 1)


class Frames(nn.Module):
    """Frames scaled, zeros past the end, `stack` neighbours read as one: (B, T, bands), mask (B, T)
    -> (B, T/stack, bands * stack), and its mask."""

    def __init__(self, bands: int, stack: int):
        super().__init__()
        self.scale, self.stack, self.width = Standardise(bands), stack, bands * stack

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.scale(frames).masked_fill_(mask.unsqueeze(-1), 0.0)
        short = -frames.shape[1] % self.stack
        frames = F.pad(frames, (0, 0, 0, short)).unflatten(1, (-1, self.stack)).flatten(2)
        mask = F.pad(mask, (0, short), value=True).unflatten(1, (-1, self.stack)).all(dim=2)
        return frames, mask


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Over real positions: x (B, W, D), mask (B, W) -> (B, D); all padding gives zeros."""
    largest = x.masked_fill(mask.unsqueeze(-1), torch.finfo(x.dtype).min).amax(1)
    return largest.masked_fill(mask.all(1, keepdim=True), 0.0)
