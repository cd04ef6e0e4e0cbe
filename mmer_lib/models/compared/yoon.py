"""Two recurrent encoders, one for speech and one for text, joined at the utterance.

Source: S. Yoon, S. Byun, K. Jung, "Multimodal Speech Emotion Recognition Using Audio and Text",
SLT 2018; sizes and training as in its authors' program.

Shapes: B utterances, W words, T frames, U units (200). Masks: True = padding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Frames, Spoken, SpokenConfig, attend
from mmer_lib.models.layers import Dropout, Standardise, last_state, masked_mean


@dataclass(frozen=True)
class YoonConfig(SpokenConfig):
    """Sizes and choices; the defaults are the authors', who read MFCC in place of a filterbank, and
    train their word vectors.

    Attributes:
        audio: width of the acoustic features by word.
        fusion: "concat" joins the last states of both encoders, each halved by a dense layer
            (MDRE); "attention" asks the words with the encoded speech and joins what it reads
            with the question (MDREA).
        prosody: whether the mean of the acoustic features over the words stands beside the last
            state of the speech; the authors' 35 numbers are of a whole utterance.
        stack: neighbouring frames read as one. 1 is the authors'; more makes training faster.
        speech_dropout, text_dropout: on what recurrent layers and attention read.
    """

    audio: int = 132
    fusion: Literal["concat", "attention"] = "concat"
    prosody: bool = True
    classes: int = 4
    units: int = 200
    stack: int = 1
    speech_dropout: float = 0.3
    text_dropout: float = 0.7


class Yoon(Spoken):
    """The dual recurrent encoder (MDRE), or the one with attention (MDREA); `weights` gives its
    softmax over the words.

    Its `Output` names "speech" (B, U), with prosody (B, U + audio): the encoded speech; "text"
    (B, U): the words' last state, or what is read of the words; "utterance": both, as joined.
    """

    config_class = YoonConfig

    def __init__(self, config: YoonConfig):
        super().__init__(config)
        units = config.units
        self.frames = Frames(config.bands, config.stack)
        self.speech = nn.GRU(self.frames.width, units, batch_first=True)
        self.text = nn.GRU(config.words, units, batch_first=True)
        self.speech_dropout = Dropout(config.speech_dropout)
        self.text_dropout = Dropout(config.text_dropout)
        self.scale = Standardise(config.audio) if config.prosody else None
        width = units + config.audio if config.prosody else units
        self.weights = nn.Softmax(dim=-1)
        if config.fusion == "attention":
            self.project_speech, joined = nn.Linear(width, units), 2 * units
        else:
            self.project_speech = nn.Linear(width, width // 2)
            self.project_text = nn.Linear(units, units // 2)
            joined = width // 2 + units // 2
        self.classifier = nn.Linear(joined, config.classes)

    @staticmethod
    def needs(config: YoonConfig) -> tuple[str, ...]:
        prosody = ("audio", "audio_mask") if config.prosody else ()
        return (*Spoken.needs(config), *prosody)

    def scalings(self) -> dict[str, nn.Module]:
        prosody = {} if self.scale is None else {"audio": self.scale}
        return {"frames": self.frames.scale, **prosody}

    def forward(self, batch: Batch) -> Output:
        frames, frame_mask = self.frames(batch.frames, batch.frame_mask)
        states, _ = self.speech(self.speech_dropout(frames))  # (B, T/stack, U)
        speech, mask = last_state(states, frame_mask), batch.word_mask
        if self.scale is not None:
            prosody = masked_mean(self.scale(batch.audio), batch.audio_mask)
            speech = torch.cat([speech, prosody], dim=-1)
        words = batch.words.masked_fill(mask.unsqueeze(-1), 0.0)
        states, _ = self.text(self.text_dropout(words))  # (B, W, U)
        question = self.project_speech(speech)
        if self.config.fusion == "concat":
            text = last_state(states, mask)
            joined = torch.cat([question, self.project_text(text)], dim=-1)
        else:  # softmax(e . h_t) over the words
            states = self.text_dropout(states)
            scores = (states @ question.unsqueeze(-1)).transpose(1, 2)  # (B, 1, W)
            text = attend(scores, mask, self.weights, states).squeeze(1)
            joined = torch.cat([text, question], dim=-1)
        named = {"speech": speech, "text": text, "utterance": joined}
        return self.output(self.classifier(joined), named)
