"""Two self-supervised encoders, one of text and one of speech, joined at the utterance.

Source: S. Siriwardhana, A. Reis, R. Weerasekera, S. Nanayakkara, "Jointly Fine-Tuning BERT-like
Self Supervised Models to Improve Multimodal Speech Emotion Recognition", Interspeech 2020, whose
shallow fusion is the better of its two.

Shapes: B utterances, L steps of a sequence, D width of an encoder's vectors. Masks: True = padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.layers import Dropout, Standardise, masked_mean
from mmer_lib.models.multigranular import GlobalBranch, global_needs


@dataclass(frozen=True)
class SslConfig(Config):
    """The paper trains RoBERTa (large) and a BERT over the symbols of vq-wav2vec, and joins their
    vectors at [CLS]. Encoders of sound have none: the mean over their frames stands for it.

    Attributes:
        cls: width of the text encoder's vector at [CLS].
        encoder: configuration, as a dict, of a text encoder of `transformers` to fine-tune; None
            reads vectors that were computed once.
        speech: the same of a speech encoder; None reads the states of a frozen one (the setting
            `listener`), averaged over words. audio: width of these.
    """

    cls: int = 384
    encoder: dict | None = None
    audio: int = 768
    speech: dict | None = None
    classes: int = 4
    dropout: float = 0.1


class Ssl(Model):
    """Both utterance vectors side by side; dropout, a dense layer. Its `Output` names "text" and
    "speech" (B, D), each of its encoder's width."""

    config_class = SslConfig

    def __init__(self, config: SslConfig):
        super().__init__(config)
        c = config
        self.bert = GlobalBranch(c.encoder)
        self.speech_encoder = SpeechEncoder(c.speech) if c.speech else None
        self.scale = None if c.speech else Standardise(c.audio)
        self.dropout = Dropout(c.dropout)
        heard = c.speech["hidden_size"] if c.speech else c.audio
        self.classifier = nn.Linear(c.cls + heard, c.classes)

    @staticmethod
    def needs(config: SslConfig) -> tuple[str, ...]:
        speech = ("sound", "sound_mask") if config.speech else ("audio", "audio_mask")
        return (*global_needs(config.encoder), *speech)

    def scalings(self) -> dict[str, nn.Module]:
        return {} if self.scale is None else {"audio": self.scale}

    def hear(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the speech encoder says, (B, L, D), and its mask (B, L)."""
        if self.speech_encoder is None:
            return self.scale(batch.audio), batch.audio_mask
        return self.speech_encoder(batch.sound, batch.sound_mask)

    def forward(self, batch: Batch) -> Output:
        named = {"text": self.bert(batch), "speech": masked_mean(*self.hear(batch))}
        both = torch.cat([*named.values()], dim=-1)
        return self.output(self.classifier(self.dropout(both)), named)
