"""MUSE's multilevel Transformer: speech and text, from phonemes to one utterance vector.

Source: C. Ray, W. Nasir, S. Grace, "Multigranular Unified Synthesis Encoder for Fine-grained
Multimodal Emotion Understanding", 2025, section 3.1. Equations are cited by their numbers there.

Shapes: B utterances, W words, P phonemes a word, T frames, D width. Masks: True = padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.batch import Batch
from mmer_lib.models.layers import (
    ConvPreNet,
    Highway,
    ScaledPositions,
    Standardise,
    TransformerLayer,
)
from mmer_lib.models.output import Output


@dataclass(frozen=True)
class MuseConfig:
    """Sizes and choices; the defaults are the paper's (4.2, Table 2) where it states them.

    Attributes:
        words: width of a word vector.
        bands: filterbank bands.
        phonemes: number of phoneme symbols, padding included.
        stack: neighbouring frames read as one. 1 is the paper's; more makes training faster.
        kernels, filters: widths of the phoneme convolutions and filters of each.
        highway: layers of the highway network.
        text_layers, cross_layers, fusion_layers: depths (Table 2).
    """

    words: int = 300
    bands: int = 128
    phonemes: int = 71
    classes: int = 4
    width: int = 128
    heads: int = 4
    hidden: int = 512
    stack: int = 1
    phoneme_embedding: int = 64
    kernels: tuple[int, ...] = (2, 3, 4)
    filters: int = 50
    highway: int = 2
    prenet_kernel: int = 5
    text_layers: int = 1
    cross_layers: int = 1
    fusion_layers: int = 2
    dropout: float = 0.1


class PhonemeCNN(nn.Module):
    """One vector a word: MaxPool(CNN(phonemes of word i)) (Eq. 3)."""

    def __init__(self, config: MuseConfig):
        super().__init__()
        width = config.phoneme_embedding
        self.embedding = nn.Embedding(config.phonemes, width, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, config.filters, k) for k in config.kernels
        )
        self.width = config.filters * len(config.kernels)

    def forward(self, phonemes: Tensor) -> Tensor:
        """phonemes (B, W, P), 0 = padding -> (B, W, width); no phonemes, zeros."""
        ids = phonemes.flatten(0, 1)  # (B*W, P)
        x = self.embedding(ids).transpose(1, 2)  # (B*W, E, P)
        pooled = []
        for convolution in self.convolutions:
            # one window a phoneme, so that short words have some too
            windows = F.pad(x, (0, convolution.kernel_size[0] - 1))
            found = F.relu(convolution(windows))  # (B*W, filters, P)
            pooled.append((found * (ids > 0).unsqueeze(1)).amax(dim=2))
        return torch.cat(pooled, dim=1).unflatten(0, phonemes.shape[:2])


class WordFusion(nn.Module):
    """Phoneme and word vectors joined by a highway network (Eq. 4-6)."""

    def __init__(self, config: MuseConfig):
        super().__init__()
        self.phonemes = PhonemeCNN(config)
        self.unknown = nn.Parameter(torch.zeros(config.words))  # for a word without a vector
        self.width = self.phonemes.width + config.words
        self.highway = nn.ModuleList(Highway(self.width) for _ in range(config.highway))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, W, width): the phoneme half stands first, then the word half."""
        words = torch.where(batch.known.unsqueeze(-1), batch.words, self.unknown)
        u = torch.cat([self.phonemes(batch.phonemes), words], dim=-1)  # (Eq. 5)
        for layer in self.highway:
            u = layer(u)
        return u


class SpeechPreNet(nn.Module):
    """The dummy frame before the frames (3.1.2), two fully connected layers (3.1.1)."""

    def __init__(self, config: MuseConfig):
        super().__init__()
        inputs = config.bands * config.stack
        self.stack = config.stack
        self.scale = Standardise(config.bands)
        self.dummy = nn.Parameter(0.02 * torch.randn(inputs))
        width, dropout = config.width, config.dropout
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """frames (B, T, bands), mask (B, T) -> (B, 1 + T/stack, D) and its mask."""
        frames = self.scale(frames).masked_fill(mask.unsqueeze(-1), 0.0)
        short = -frames.shape[1] % self.stack
        frames = F.pad(frames, (0, 0, 0, short))
        mask = F.pad(mask, (0, short), value=True)
        # (B, T, bands) -> (B, T/stack, bands * stack)
        frames = frames.unflatten(1, (-1, self.stack)).flatten(2)
        mask = mask.unflatten(1, (-1, self.stack)).all(dim=2)  # (B, T/stack)
        dummy = self.dummy.expand(len(frames), 1, -1)
        mask = F.pad(mask, (1, 0), value=False)
        return self.layers(torch.cat([dummy, frames], dim=1)), mask


class Muse(nn.Module):
    """The multilevel Transformer (section 3.1): frames ask the words, and the output of a dummy
    frame stands for the utterance.

    `forward(batch)` needs words, known, word_mask, phonemes, frames, frame_mask. Its `Output` has
    logits (B, classes), or (B,) when classes is 1, and, by name: "text" (B, W, D),
    "frames" (B, 1 + T, D), "utterance" (B, D).
    """

    needs = ("words", "known", "word_mask", "phonemes", "frames", "frame_mask")
    modalities = ("text", "audio")
    config_class = MuseConfig
    contrasted = None

    def __init__(self, config: MuseConfig):
        super().__init__()
        self.config = config
        size = (config.width, config.heads, config.hidden, config.dropout)
        self.fusion = WordFusion(config)
        self.text_prenet = ConvPreNet(
            self.fusion.width, config.width, config.prenet_kernel, config.dropout
        )
        self.speech_prenet = SpeechPreNet(config)
        self.text_positions = ScaledPositions(config.width)
        self.speech_positions = ScaledPositions(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.text_encoder = nn.ModuleList(
            TransformerLayer(*size) for _ in range(config.text_layers)
        )
        self.cross_modal = nn.ModuleList(
            TransformerLayer(*size, cross=True) for _ in range(config.cross_layers)
        )
        self.deep_fusion = nn.ModuleList(
            TransformerLayer(*size) for _ in range(config.fusion_layers)
        )
        self.classifier = nn.Linear(config.width, config.classes)

    def scalings(self) -> dict[str, nn.Module]:
        """Layers that can be fitted on the training part, by the input that they scale."""
        return {"frames": self.speech_prenet.scale}

    def forward(self, batch: Batch) -> Output:
        text_mask = batch.word_mask
        text = self.text_prenet(self.fusion(batch), text_mask)  # (B, W, D)
        text = self.dropout(self.text_positions(text))
        for layer in self.text_encoder:
            text = layer(text, text_mask)

        frames, frame_mask = self.speech_prenet(batch.frames, batch.frame_mask)
        frames = self.dropout(self.speech_positions(frames))  # (B, 1+T, D)
        for layer in self.cross_modal:
            frames = layer(frames, frame_mask, text, text_mask)  # ask words (Eq. 7)
        for layer in self.deep_fusion:
            frames = layer(frames, frame_mask)

        utterance = frames[:, 0]  # the dummy position (Eq. 11)
        logits = self.classifier(utterance)
        return Output(
            logits=logits.squeeze(-1) if self.config.classes == 1 else logits,
            named={"text": text, "frames": frames, "utterance": utterance},
        )
