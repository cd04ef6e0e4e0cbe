"""Two recurrent encoders, one for speech and one for text, joined at the utterance.

Source: S. Yoon, S. Byun, K. Jung, "Multimodal Speech Emotion Recognition Using Audio and Text",
SLT 2018; sizes and training as in its authors' program.

Shapes: B utterances, W words, T frames, U units (200). Masks: True = padding.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Frames, Spoken, SpokenConfig
from mmer_lib.models.layers import Dropout, Standardise, last_state, masked_mean


@dataclass(frozen=True)
class YoonConfig(SpokenConfig):
    """Sizes and choices; the defaults are the authors', who read MFCC in place of a filterbank, and
    train their word vectors.

    Attributes:
        audio: width of the acoustic features by word.
        prosody: whether the mean of the acoustic features over the words stands beside the last
            state of the speech; the authors' 35 numbers are of a whole utterance.
        stack: neighbouring frames read as one. 1 is the authors'; more makes training faster.
        speech_dropout, text_dropout: on what the recurrent layers read.
    """

    audio: int = 132
    prosody: bool = True
    classes: int = 4
    units: int = 200
    stack: int = 1
    speech_dropout: float = 0.3
    text_dropout: float = 0.7


class Yoon(Spoken):
    """The dual recurrent encoder (MDRE): the last states of both encoders, each halved by a dense
    layer. Its `Output` names "speech" (B, U), with prosody (B, U + audio); "text" (B, U);
    "utterance" (B, the sum of the halves).
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
        self.project_speech = nn.Linear(width, width // 2)
        self.project_text = nn.Linear(units, units // 2)
        self.classifier = nn.Linear(width // 2 + units // 2, config.classes)

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
        text = last_state(states, mask)
        joined = torch.cat([self.project_speech(speech), self.project_text(text)], dim=-1)
        named = {"speech": speech, "text": text, "utterance": joined}
        return self.output(self.classifier(joined), named)
