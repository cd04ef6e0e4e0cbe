"""Speech and text aligned by attention: every word gathers the frames that go with it.

Source: H. Xu, H. Zhang, K. Han, Y. Wang, Y. Peng, X. Li, "Learning Alignment for Multimodal Emotion
Recognition from Speech", Interspeech 2019; sizes and training as in its authors' program (DELTA).

Shapes: B utterances, W words, T frames, U units each way (100). Masks: True = padding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Frames, MaxPool, Spoken, SpokenConfig, attend
from mmer_lib.models.layers import Attention, BiLSTM, Dropout


@dataclass(frozen=True)
class XuConfig(SpokenConfig):
    """Sizes and choices; the defaults are the authors'.

    Paper and program differ: the paper scores a word and a frame by a sum, and takes the maximum
    over the words; the program has attention of eight heads, and pools by a second attention. The
    program's dense layer before the speech encoder is left out, and its recurrent layers, gated
    units, are the paper's LSTMs here.

    Attributes:
        alignment: "additive", score tanh(u . s_i + v . h_j + b) of frame i for word j: between -1
            and 1, so that no frame weighs more than e^2 = 7.4 times another; or "heads", scaled
            dot products.
        heads: of the second.
        pool: over the words, "max" or "attention".
        stack: neighbouring frames read as one. 1 is the authors'; more makes training faster.
    """

    alignment: Literal["additive", "heads"] = "additive"
    heads: int = 8
    pool: Literal["max", "attention"] = "max"
    classes: int = 4
    units: int = 100
    stack: int = 1
    dropout: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        if self.alignment == "heads" and 2 * self.units % self.heads:
            raise DataError(
                f"units {self.units} each way make {2 * self.units}, no multiple of heads "
                f"{self.heads}; choose others"
            )


class Additive(nn.Module):
    """The frames that go with each word, by tanh(u . s_i + v . h_j + b)."""

    def __init__(self, width: int):
        super().__init__()
        self.frame, self.word = nn.Linear(width, 1, bias=False), nn.Linear(width, 1)
        self.weights = nn.Softmax(dim=-1)

    def forward(self, text: Tensor, speech: Tensor, mask: Tensor) -> Tensor:
        """text (B, W, D), speech (B, T, D), mask (B, T) -> (B, W, D)."""
        scores = torch.tanh(self.word(text) + self.frame(speech).transpose(1, 2))  # (B, W, T)
        return attend(scores, mask, self.weights, speech)


class AttentionPool(nn.Module):
    """The words weighed by softmax(q . tanh(W x + b)) (Yang et al., 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.score = nn.Linear(width, 1, bias=False)
        self.weights = nn.Softmax(dim=-1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, W, D), mask (B, W) -> (B, D); all padding gives zeros."""
        scores = self.score(self.hidden(x)).transpose(1, 2)  # (B, 1, W)
        return attend(scores, mask, self.weights, x).squeeze(1)


class Xu(Spoken):
    """A Bi-LSTM for each modality, attention from words to frames, a Bi-LSTM over the words with
    what they gathered.

    Its `Output` names "text" (B, W, 2 U) encoded; "aligned" (B, W, 2 U) what each word gathered of
    the frames; "fused" (B, W, 2 U); "utterance" (B, 2 U).
    """

    config_class = XuConfig

    def __init__(self, config: XuConfig):
        super().__init__(config)
        width, units = 2 * config.units, config.units
        self.frames = Frames(config.bands, config.stack)
        self.speech = BiLSTM(self.frames.width, units)
        self.text = BiLSTM(config.words, units)
        additive = config.alignment == "additive"
        self.align = Additive(width) if additive else Attention(width, config.heads)
        self.fusion = BiLSTM(2 * width, units)
        self.pool = MaxPool() if config.pool == "max" else AttentionPool(width)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(width, config.classes)

    def scalings(self) -> dict[str, nn.Module]:
        return {"frames": self.frames.scale}

    def forward(self, batch: Batch) -> Output:
        frames, frame_mask = self.frames(batch.frames, batch.frame_mask)
        speech = self.dropout(self.speech(self.dropout(frames), frame_mask))  # (B, T/stack, 2 U)
        mask = batch.word_mask
        words = batch.words.masked_fill(mask.unsqueeze(-1), 0.0)
        text = self.dropout(self.text(self.dropout(words), mask))  # (B, W, 2 U)
        aligned = self.align(text, speech, frame_mask)
        fused = self.fusion(torch.cat([self.dropout(aligned), text], dim=-1), mask)
        utterance = self.pool(fused, mask)
        named = {"text": text, "aligned": aligned, "fused": fused, "utterance": utterance}
        return self.output(self.classifier(self.dropout(utterance)), named)
