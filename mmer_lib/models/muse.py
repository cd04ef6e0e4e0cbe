"""MUSE's multilevel Transformer: speech and text, from phonemes to one utterance vector.

Source: C. Ray, W. Nasir, S. Grace, "Multigranular Unified Synthesis Encoder for Fine-grained
Multimodal Emotion Understanding", 2025, section 3.1.

Shapes: B utterances, W words, P phonemes a word, T frames, D width. Masks: True = padding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.layers import (
    ConvPreNet,
    Dropout,
    Highway,
    ScaledPositions,
    Standardise,
    TransformerLayer,
    record,
)
from mmer_lib.models.losses import alignment, diagonal_ideal, forced_ideal


@dataclass(frozen=True)
class MuseConfig(Config):
    """Sizes and choices; the defaults are the paper's (4.2, Table 2) where it states them.

    Attributes:
        words: width of a word vector. phonemes: number of symbols, padding included.
        bands: filterbank bands. hop, window: distance and length of its frames in seconds.
        stack: neighbouring frames read as one. 1 is the paper's; more makes training faster.
        speech: configuration, as a dict, of a speech encoder of `transformers` that reads the sound
            in place of the filterbank (section 5 of the paper); None for the filterbank.
        fusion: of phonemes and words (Table 1): "highway", "concat", "word" alone, "phoneme" alone.
        kernels, filters: widths of the phoneme convolutions and filters of each.
        highway: layers of the highway network. prenet_kernel: odd, which keeps the length.
        text_layers, cross_layers, fusion_layers: depths (Table 2); 0 leaves the part out.
        align: weight of L_align (Eq. 15). ideal: its ideal, "diagonal" or, from word times,
            "forced". align_over: what it is averaged over, as `losses.alignment` says: all frames
            of the batch alike ("frame"), all utterances alike ("utterance"), or as Eq. 9 is
            printed, which divides by the words too ("word").
        tts: weight of a loss of speech synthesis, which section 3.1.6 names and drops. 0 builds
            no layer for it.
    """

    may_be_0 = ("highway", "text_layers", "cross_layers", "fusion_layers")

    words: int = 300
    bands: int = 128
    hop: float = 0.012
    window: float = 0.025
    phonemes: int = 71
    classes: int = 4
    width: int = 128
    heads: int = 4
    hidden: int = 512
    stack: int = 1
    speech: dict | None = None
    fusion: Literal["highway", "concat", "word", "phoneme"] = "highway"
    phoneme_embedding: int = 64
    kernels: tuple[int, ...] = (2, 3, 4)
    filters: int = 50
    highway: int = 2
    prenet_kernel: int = 5
    text_layers: int = 1
    cross_layers: int = 1
    fusion_layers: int = 2
    dropout: float = 0.1
    align: float = 0.1
    ideal: Literal["diagonal", "forced"] = "diagonal"
    align_over: Literal["frame", "utterance", "word"] = "frame"
    tts: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads or self.width % 2:
            raise DataError(f"width {self.width} must be even and a multiple of heads {self.heads}")
        if self.speech and self.stack != 1:
            raise DataError(f"stack is {self.stack}; with a speech encoder it must be 1")
        if self.align and not self.cross_layers:
            raise DataError(f"align is {self.align}, but cross_layers is 0; set align to 0")
        if self.tts and (self.speech or not self.cross_layers):
            raise DataError(f"tts is {self.tts}; it needs the filterbank and cross_layers above 0")


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
        """phonemes (B, W, P), 0 = padding -> (B, W, width), zeros where there are none."""
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
    """Phoneme and word vectors joined (Eq. 4-6), or one alone (Table 1)."""

    def __init__(self, config: MuseConfig):
        super().__init__()
        self.phonemes = None if config.fusion == "word" else PhonemeCNN(config)
        self.unknown = None  # stands for a word without a vector
        if config.fusion != "phoneme":
            self.unknown = nn.Parameter(torch.zeros(config.words))
        self.width = self.phonemes.width if self.phonemes is not None else 0
        self.width += config.words if self.unknown is not None else 0
        layers = config.highway if config.fusion == "highway" else 0
        self.highway = nn.ModuleList(Highway(self.width) for _ in range(layers))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, W, width): the phoneme half stands first, then the word half."""
        halves = []
        if self.phonemes is not None:
            halves.append(self.phonemes(batch.phonemes))
        if self.unknown is not None:
            known = batch.known.unsqueeze(-1)  # (B, W, 1)
            halves.append(torch.where(known, batch.words, self.unknown))
        u = torch.cat(halves, dim=-1)  # (Eq. 5)
        for layer in self.highway:
            u = layer(u)  # (Eq. 6)
        return u


class SpeechPreNet(nn.Module):
    """The dummy frame before the frames (3.1.2), two dense layers (3.1.1)."""

    def __init__(self, config: MuseConfig):
        super().__init__()
        bands = config.speech["hidden_size"] if config.speech else config.bands
        inputs = bands * config.stack
        self.stack = config.stack
        self.scale = Standardise(bands)
        self.dummy = nn.Parameter(nn.init.normal_(torch.empty(inputs), std=0.02))
        width, dropout = config.width, config.dropout
        self.layers = nn.Sequential(
            *(nn.Linear(inputs, width), nn.ReLU(), Dropout(dropout)),
            *(nn.Linear(width, width), nn.ReLU(), Dropout(dropout)),
        )

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """frames (B, T, bands), mask (B, T) -> (B, 1 + T/stack, D) and its mask."""
        frames = self.scale(frames).masked_fill_(mask.unsqueeze(-1), 0.0)
        short = -frames.shape[1] % self.stack
        frames = F.pad(frames, (0, 0, 0, short))
        mask = F.pad(mask, (0, short), value=True)
        frames = frames.unflatten(1, (-1, self.stack)).flatten(2)  # (B, T/stack, bands * stack)
        mask = mask.unflatten(1, (-1, self.stack)).all(dim=2)  # (B, T/stack)
        dummy = self.dummy.repeat(len(frames), 1, 1)
        mask = F.pad(mask, (1, 0), value=False)
        first, *others = self.layers
        x = torch.cat([first(dummy), first(frames)], dim=1)  # joined when they are narrow
        for layer in others:
            x = layer(x)
        return x, mask


class Muse(Model):
    """The multilevel Transformer (section 3.1): frames ask the words, and the output of a dummy
    frame stands for the utterance.

    Its `Output` names "text" (B, W, D), "frames" (B, 1 + T, D), "frame_mask" (B, 1 + T),
    "utterance" (B, D); in training with `align` also "cross_0", ..., the attention of each
    cross-modal layer (B, H, 1 + T, W), and with `tts` "mel", the filterbank read off the words
    (B, T, stack * bands).
    """

    config_class = MuseConfig

    def __init__(self, config: MuseConfig):
        super().__init__(config)
        c = config

        def layers(count: int, cross: bool = False) -> nn.ModuleList:
            sizes = c.width, c.heads, c.hidden, c.dropout, cross
            return nn.ModuleList(TransformerLayer(*sizes) for _ in range(count))

        self.fusion = WordFusion(c)
        self.text_prenet = ConvPreNet(self.fusion.width, c.width, c.prenet_kernel, c.dropout)
        self.speech_encoder = SpeechEncoder(c.speech) if c.speech else None
        self.speech_prenet = SpeechPreNet(c)
        self.text_positions, self.speech_positions = (ScaledPositions(c.width) for _ in range(2))
        self.dropout = Dropout(c.dropout)
        self.text_encoder = layers(c.text_layers)
        self.cross_modal = layers(c.cross_layers, cross=True)
        self.deep_fusion = layers(c.fusion_layers)
        self.classifier = nn.Linear(c.width, c.classes)
        self.mel = nn.Linear(c.width, c.bands * c.stack) if c.tts else None

    @staticmethod
    def needs(config: MuseConfig) -> tuple[str, ...]:
        words = () if config.fusion == "phoneme" else ("words", "known")
        phonemes = () if config.fusion == "word" else ("phonemes",)
        speech = ("sound", "sound_mask") if config.speech else ("frames", "frame_mask")
        times = ("word_times",) if config.align and config.ideal == "forced" else ()
        return (*words, *phonemes, "word_mask", *speech, *times)

    def scalings(self) -> dict[str, nn.Module]:
        return {} if self.config.speech else {"frames": self.speech_prenet.scale}

    def frame_times(self, count: int) -> Tensor:
        """Centre in seconds of each of `count` frames after the dummy frame, (count,)."""
        c = self.config
        if self.speech_encoder is not None:
            return self.speech_encoder.frame_times(count)
        steps = torch.arange(count, dtype=torch.float64, device=self.speech_prenet.dummy.device)
        return (steps * c.stack + (c.stack - 1) / 2) * c.hop + c.window / 2

    def encode(self, batch: Batch, sentence: Tensor | None = None) -> dict[str, Tensor]:
        """Everything up to the classifier; sentence (B, D) is added to every word."""
        text_mask = batch.word_mask
        text = self.text_prenet(self.fusion(batch), text_mask)  # (B, W, D)
        if sentence is not None:
            text = text + sentence.unsqueeze(1)
        text = self.dropout(self.text_positions(text))
        for layer in self.text_encoder:
            text = layer(text, text_mask)

        frames, frame_mask = batch.frames, batch.frame_mask
        if self.speech_encoder is not None:
            frames, frame_mask = self.speech_encoder(batch.sound, batch.sound_mask)
        frames, frame_mask = self.speech_prenet(frames, frame_mask)
        frames = self.dropout(self.speech_positions(frames))  # (B, 1+T, D)
        listened = self.cross_modal if self.training and self.config.align else ()
        weights = {f"cross_{i}": layer.cross.weights for i, layer in enumerate(listened)}
        with record(weights, graph=True) as maps:
            for layer in self.cross_modal:
                frames = layer(frames, frame_mask, text, text_mask)  # ask words (Eq. 7)
        for layer in self.deep_fusion:
            frames = layer(frames, frame_mask)
        named = {"text": text, "frames": frames, "frame_mask": frame_mask}
        if self.training and self.mel is not None:
            named["mel"] = self.synthesise(text, text_mask, frame_mask)
        return {**named, "utterance": frames[:, 0], **maps}  # the dummy position (Eq. 11)

    def synthesise(self, text: Tensor, text_mask: Tensor, frame_mask: Tensor) -> Tensor:
        """The filterbank from the words alone: text (B, W, D), its mask (B, W), frame_mask
        (B, 1 + T) -> (B, T, stack * bands).

        Transformer TTS predicts each frame from those before it and the text (Eq. 1). Here the
        frames see one another in both directions, so a frame, or the next one, would only have to
        be copied. So the cross-modal layers run once more on positions without sound: whatever they
        predict comes from the words, the place in the utterance and its length.
        """
        asks = text.new_zeros(*frame_mask.shape, self.config.width)
        asks = self.dropout(self.speech_positions(asks))
        for layer in self.cross_modal:
            asks = layer(asks, frame_mask, text, text_mask)
        return self.mel(asks[:, 1:])

    def forward(self, batch: Batch) -> Output:
        named = self.encode(batch)
        return self.output(self.classifier(named["utterance"]), named)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """That of the task and, in training, "align": L_align (Eq. 9), the mean over the
        cross-modal layers; the dummy frame has no ideal. "tts": squared error of the scaled
        filterbank, the mean over bands and real frames."""
        losses, named = super().losses(batch, output), output.named
        maps = [map_ for name, map_ in named.items() if name.startswith("cross_")]
        if maps:
            frame_mask = named["frame_mask"][:, 1:]
            if self.config.ideal == "diagonal":
                ideal, counted = diagonal_ideal(frame_mask, batch.word_mask), ~frame_mask
            else:
                times = self.frame_times(frame_mask.shape[1]).float()
                ideal, spoken = forced_ideal(times, batch.word_times, batch.word_mask)
                counted = spoken & ~frame_mask
            rest = ideal, counted, batch.word_mask, self.config.align_over
            losses["align"] = torch.stack([alignment(m[:, :, 1:], *rest) for m in maps]).mean()
        if "mel" in named:
            bands = named["mel"].float().unflatten(-1, (self.config.stack, -1))
            found = bands.flatten(1, 2)[:, : batch.frames.shape[1]]  # (B, T, bands), not stacked
            true = self.speech_prenet.scale(batch.frames).float()
            error = (found - true).square().mean(-1).masked_fill(batch.frame_mask, 0.0)
            losses["tts"] = error.sum() / (~batch.frame_mask).sum().clamp(min=1)
        return losses
