"""Speech and text aligned by attention: every word gathers the frames that go with it.

Source: H. Xu, H. Zhang, K. Han, Y. Wang, Y. Peng, X. Li, "Learning Alignment for Multimodal Emotion
Recognition from Speech", Interspeech 2019; sizes and training as in its authors' program (DELTA).

Shapes: B utterances, W words, T frames, U units each way (100). Masks: True = padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Frames, Spoken, SpokenConfig, masked_max
from mmer_lib.models.layers import BiLSTM, Dropout


@dataclass(frozen=True)
class XuConfig(SpokenConfig):
    """Sizes; the defaults are the authors'. Where their program differs, this follows the paper: it
    has attention of eight heads, a second one to pool the words, and gated units.

    Attributes:
        stack: neighbouring frames read as one. 1 is the authors'; more makes training faster.
    """

    classes: int = 4
    units: int = 100
    stack: int = 1
    dropout: float = 0.7


class Additive(nn.Module):
    """The frames that go with each word, by tanh(u . s_i + v . h_j + b): no frame weighs more than
    e^2 = 7.4 times another."""

    def __init__(self, width: int):
        super().__init__()
        self.frame, self.word = nn.Linear(width, 1, bias=False), nn.Linear(width, 1)
        self.weights = nn.Softmax(dim=-1)

    def forward(self, text: Tensor, speech: Tensor, mask: Tensor) -> Tensor:
        """text (B, W, D), speech (B, T, D), mask (B, T) -> (B, W, D)."""
        scores = torch.tanh(self.word(text) + self.frame(speech).transpose(1, 2))  # (B, W, T)
        scores = scores.masked_fill(mask.unsqueeze(1), torch.finfo(scores.dtype).min)
        read = self.weights(scores) @ speech
        return read.masked_fill(mask.all(1)[:, None, None], 0.0)  # where there is none to read


class Xu(Spoken):
    """A Bi-LSTM for each modality, attention from words to frames, a Bi-LSTM over the words with
    what they gathered. Its `Output` names "text" encoded, "aligned" what each word gathered, and
    "fused" (B, W, 2 U); "utterance" (B, 2 U), the maximum over the words.
    """

    config_class = XuConfig

    def __init__(self, config: XuConfig):
        super().__init__(config)
        width, units = 2 * config.units, config.units
        self.frames = Frames(config.bands, config.stack)
        self.speech = BiLSTM(self.frames.width, units)
        self.text = BiLSTM(config.words, units)
        self.align = Additive(width)
        self.fusion = BiLSTM(2 * width, units)
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
        utterance = masked_max(fused, mask)
        named = {"text": text, "aligned": aligned, "fused": fused, "utterance": utterance}
        return self.output(self.classifier(self.dropout(utterance)), named)
