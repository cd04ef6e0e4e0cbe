"""Speech pooled over the time of each word, and each modality excited by the other.

Source: H. Li, W. Ding, Z. Wu, Z. Liu, "Learning Fine-Grained Cross Modality Excitement for Speech
Emotion Recognition", Interspeech 2021; sizes and training as in its authors' program (FG_CME).

Shapes: B utterances, W words, T frames, C channels (128), H width (256). Masks: True = padding.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Spoken, SpokenConfig, masked_max
from mmer_lib.models.layers import BiLSTM, Dropout, Standardise


@dataclass(frozen=True)
class LiConfig(SpokenConfig):
    """Sizes; the defaults are the authors', who read 40 bands every 10 ms. They keep a free gate
    over the speech for every word of their vocabulary; here the word's vector gives it.

    Attributes:
        channels: of the convolutions over the frames, which have no activation between, as in the
            authors' program. kernels: their widths.
        width: of a word as text; as speech it is twice the last channels (mean and maximum).
        units: of the Bi-LSTM over the words, each way.
        dropout: on what the Bi-LSTM and the classifier read; the authors' program has none.
    """

    classes: int = 4
    channels: tuple[int, ...] = (64, 128, 128)
    kernels: tuple[int, ...] = (5, 2, 2)
    width: int = 256
    units: int = 256
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if len(self.channels) != len(self.kernels):
            raise DataError(f"channels {self.channels} and kernels {self.kernels}: as many of both")


class Windows(nn.Module):
    """Convolutions over the frames, which reach ahead: a window begins at every frame.
    x (B, T, bands), mask (B, T) -> (B, T, C); what lies past the end counts as zero."""

    def __init__(self, config: LiConfig):
        super().__init__()
        sizes = pairwise((config.bands, *config.channels))
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel)
            for (before, after), kernel in zip(sizes, config.kernels, strict=True)
        )
        self.reach = sum(kernel - 1 for kernel in config.kernels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        padding = mask.unsqueeze(1)
        x = x.transpose(1, 2).masked_fill(padding, 0.0)
        for layer in self.layers:
            x = layer(F.pad(x, (0, layer.kernel_size[0] - 1))).masked_fill(padding, 0.0)
        return x.transpose(1, 2)


class Li(Spoken):
    """Temporal alignment mean-max pooling and cross-modality excitement, word by word, then a
    Bi-LSTM over the words. A word without times holds its even share of the utterance.

    Its `Output` names "text" (B, W, H) and "speech" (B, W, 2 C) before excitement; "fused"
    (B, W, 2 units); "utterance" (B, 2 units).
    """

    config_class = LiConfig

    def __init__(self, config: LiConfig):
        super().__init__(config)
        heard = 2 * config.channels[-1]
        self.scale = Standardise(config.bands)
        self.windows = Windows(config)
        self.text = nn.Linear(config.words, config.width)
        self.gate_text = nn.Sequential(nn.Linear(heard, config.width), nn.Sigmoid())
        self.gate_speech = nn.Sequential(nn.Linear(config.words, heard), nn.Sigmoid())
        self.fusion = BiLSTM(config.width + heard, config.units)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.units, config.classes)

    def scalings(self) -> dict[str, nn.Module]:
        return {"frames": self.scale}

    def forward(self, batch: Batch) -> Output:
        mask, frame_mask = batch.word_mask, batch.frame_mask
        begin, end = spans(batch.word_times, mask, frame_mask, self.config.hop)
        some = end > begin  # a window that reaches into a word counts to it
        begin = torch.where(some, (begin - self.windows.reach).clamp(min=0), begin)
        x = self.windows(self.scale(batch.frames), frame_mask)  # (B, T, C)
        speech = torch.cat([span_mean(x, begin, end), span_max(x, begin, end)], dim=-1)
        words = batch.words.masked_fill(mask.unsqueeze(-1), 0.0)
        text = self.text(words)
        excited = text + text * self.gate_text(speech), speech + speech * self.gate_speech(words)
        fused = self.fusion(self.dropout(torch.cat(excited, dim=-1)), mask)  # of (B, W, H + 2 C)
        utterance = masked_max(fused, mask)
        named = {"text": text, "speech": speech, "fused": fused, "utterance": utterance}
        return self.output(self.classifier(self.dropout(utterance)), named)


def spans(
    times: Tensor | None, word_mask: Tensor, frame_mask: Tensor, hop: float
) -> tuple[Tensor, Tensor]:
    """First frame of each word and the one after its last, (B, W) each; equal where it has none.
    times (B, W, 2) and hop are seconds, NaN or None where unknown: words share the frames."""
    words = (~word_mask).sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    frames = (~frame_mask).sum(1, keepdim=True)
    order = torch.arange(word_mask.shape[1], device=word_mask.device)
    begin, end = order * frames // words, (order + 1) * frames // words
    end = torch.maximum(end, begin + 1)
    if times is not None:
        at = (times.nan_to_num(0.0) / hop + 1e-3).floor().long()  # on a frame's edge, that frame
        known = times.isfinite().all(-1)
        begin, end = torch.where(known, at[..., 0], begin), torch.where(known, at[..., 1] + 1, end)
    begin, end = (torch.minimum(x.clamp(min=0), frames) for x in (begin, end))
    return begin.masked_fill(word_mask, 0), end.masked_fill(word_mask, 0)


def span_max(x: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The largest of each number in x[begin:end]: x (B, T, C), begin and end (B, W) -> (B, W, C);
    zeros where that is empty. Of equal numbers the first counts, and alone gets the gradient."""
    length = int((end - begin).max().clamp(min=1))
    steps = begin.unsqueeze(-1) + torch.arange(length, device=x.device)
    steps = torch.minimum(steps, (end - 1).unsqueeze(-1)).clamp(min=0)  # (B, W, length)
    rows = torch.arange(len(x), device=x.device)[:, None, None]
    first = x.detach()[rows, steps].argmax(2)  # (B, W, C)
    largest = x.gather(1, steps.gather(2, first))
    return largest.masked_fill((end <= begin).unsqueeze(-1), 0.0)


def span_mean(x: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The mean of x[begin:end], as `span_max`."""
    steps = torch.arange(x.shape[1], device=x.device)
    inside = (steps >= begin.unsqueeze(-1)) & (steps < end.unsqueeze(-1))  # (B, W, T)
    return inside.to(x.dtype) @ x / (end - begin).clamp(min=1).unsqueeze(-1)
