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
from mmer_lib.models.base import Model, Output, check_ranges
from mmer_lib.models.compared.spans import span_max, span_mean, spans
from mmer_lib.models.compared.xu import MaxPool
from mmer_lib.models.layers import BiLSTM, Dropout, Standardise

EXCITEMENTS = ("both", "text", "speech", "none")
ALIGNMENTS = ("times", "even")


@dataclass(frozen=True)
class LiConfig:
    """Sizes and choices; the defaults are the authors', who read 40 bands every 10 ms.

    Attributes:
        words: width of a word vector.
        bands: filterbank bands. hop, window: distance and length of its frames in seconds.
        alignment: "times", the frames of a word are those of its time; a word without times
            holds its even share of the utterance, as all do with "even".
        excitement: which modality the other weighs, number by number: "both", "text", "speech" or
            "none". The authors keep a free gate for every word of their vocabulary; here the gate
            over the speech is computed from the word's vector, so that new words have one too.
        residual: x + x * gate, or x * gate alone.
        channels: of the three convolutions over the frames, which have no activation between, as
            in the authors' program. kernels: their widths.
        width: of a word as text; as speech it is twice the last channels (mean and maximum).
        units: of the Bi-LSTM over the words, each way.
        dropout: on what the Bi-LSTM and the classifier read. In the authors' program it stands
            where it does nothing (one layer).
        classes: 1 predicts a sentiment, more classify.

    Raises:
        DataError: a value that is unknown or out of range.
    """

    words: int = 300
    bands: int = 128
    hop: float = 0.012
    window: float = 0.025
    alignment: str = "times"
    excitement: str = "both"
    residual: bool = True
    classes: int = 4
    channels: tuple[int, ...] = (64, 128, 128)
    kernels: tuple[int, ...] = (5, 2, 2)
    width: int = 256
    units: int = 256
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("channels", "kernels"):
            if not isinstance(getattr(self, name), tuple | list):
                raise DataError(f"{name} is {getattr(self, name)!r}; give a list of numbers")
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON knows lists only
        for name, known in (("alignment", ALIGNMENTS), ("excitement", EXCITEMENTS)):
            if getattr(self, name) not in known:
                raise DataError(f"{name} {getattr(self, name)!r}; known: {', '.join(known)}")
        if not self.kernels or len(self.channels) != len(self.kernels):
            raise DataError(
                f"channels {self.channels} and kernels {self.kernels}: one of each a convolution"
            )
        check_ranges(self)


class Windows(nn.Module):
    """Convolutions over the frames, which reach ahead: a window begins at every frame, and what
    lies past the end counts as zero. x (B, T, bands), mask (B, T) -> (B, T, C), zeros past the
    end."""

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


class Li(Model):
    """Temporal alignment mean-max pooling and cross-modality excitement, word by word, then a
    Bi-LSTM over the words.

    `forward(batch)` needs what `needs(config)` names, and reads `word_times` where the batch has
    them. Its `Output` has logits (B, classes), or (B,) when classes is 1, and, by name: "text"
    (B, W, H) and "speech" (B, W, 2 C) before excitement; "fused" (B, W, 2 units); "utterance"
    (B, 2 units).
    """

    config_class = LiConfig

    def __init__(self, config: LiConfig):
        super().__init__(config)
        heard = 2 * config.channels[-1]
        self.scale = Standardise(config.bands)
        self.windows = Windows(config)
        self.text = nn.Linear(config.words, config.width)
        self.gate_text = self.gate_speech = None
        if config.excitement in ("both", "text"):
            self.gate_text = nn.Sequential(nn.Linear(heard, config.width), nn.Sigmoid())
        if config.excitement in ("both", "speech"):
            self.gate_speech = nn.Sequential(nn.Linear(config.words, heard), nn.Sigmoid())
        self.fusion = BiLSTM(config.width + heard, config.units)
        self.pool = MaxPool()
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.units, config.classes)

    @staticmethod
    def needs(config: LiConfig) -> tuple[str, ...]:
        return ("words", "word_mask", "frames", "frame_mask")

    def scalings(self) -> dict[str, nn.Module]:
        return {"frames": self.scale}

    def excite(self, x: Tensor, gate: nn.Module | None, other: Tensor) -> Tensor:
        """x weighed by what the other modality says: x * gate(other), with x added."""
        if gate is None:
            return x
        weighed = x * gate(other)
        return x + weighed if self.config.residual else weighed

    def forward(self, batch: Batch) -> Output:
        mask, frame_mask = batch.word_mask, batch.frame_mask
        times = batch.word_times if self.config.alignment == "times" else None
        begin, end = spans(times, mask, frame_mask, self.config.hop)
        some = end > begin  # a window that reaches into a word counts to it
        begin = torch.where(some, (begin - self.windows.reach).clamp(min=0), begin)
        x = self.windows(self.scale(batch.frames), frame_mask)  # (B, T, C)
        speech = torch.cat([span_mean(x, begin, end), span_max(x, begin, end)], dim=-1)
        words = batch.words.masked_fill(mask.unsqueeze(-1), 0.0)
        text = self.text(words)
        fused = torch.cat(
            [
                self.excite(text, self.gate_text, speech),
                self.excite(speech, self.gate_speech, words),
            ],
            dim=-1,
        )  # (B, W, H + 2 C)
        fused = self.fusion(self.dropout(fused), mask)
        utterance = self.pool(fused, mask)
        named = {"text": text, "speech": speech, "fused": fused, "utterance": utterance}
        return self.output(self.classifier(self.dropout(utterance)), named)
