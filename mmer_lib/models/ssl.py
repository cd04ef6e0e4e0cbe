"""Two self-supervised encoders, one of text and one of speech, joined at the utterance.

Source: S. Siriwardhana, A. Reis, R. Weerasekera, S. Nanayakkara, "Jointly Fine-Tuning BERT-like
Self Supervised Models to Improve Multimodal Speech Emotion Recognition", Interspeech 2020: the
shallow fusion, which the paper finds to be better than attention between the two.

Shapes: B utterances, D width of an encoder's vectors. Masks: True = padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmer_lib.batch import Batch
from mmer_lib.corpora import DataError
from mmer_lib.models.base import Model, Output, check_ranges
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.layers import Standardise, masked_mean
from mmer_lib.models.multigranular import GlobalBranch, global_needs


@dataclass(frozen=True)
class SslConfig:
    """Which encoders are trained along; those of the paper are both.

    The paper's are RoBERTa (large), and a BERT over the symbols of vq-wav2vec, of which the vectors
    at [CLS] are joined. Encoders of sound have no such place: the mean over their frames stands
    for it.

    Attributes:
        cls: width of the text encoder's vector at [CLS].
        encoder: configuration of a text encoder of `transformers` as a dict, to fine-tune it; None
            reads vectors that were computed once.
        audio: width of a frozen speech encoder's states, which are read where there is no `speech`.
        speech: configuration of a speech encoder of `transformers` as a dict, to fine-tune it;
            None reads the states of a frozen one (the setting `listener`), averaged over words.
        classes: 1 predicts a sentiment, more classify.

    Raises:
        DataError: a value that is out of range, or an encoder without its width.
    """

    cls: int = 384
    encoder: dict | None = None
    audio: int = 768
    speech: dict | None = None
    classes: int = 4
    dropout: float = 0.1

    def __post_init__(self):
        check_ranges(self)
        if self.speech and "hidden_size" not in self.speech:
            raise DataError("speech: its configuration has no 'hidden_size'; give a whole one")


class Ssl(Model):
    """Shallow fusion: both utterance vectors side by side, dropout, a dense layer.

    `forward(batch)` needs what `needs(config)` names. Its `Output` has logits (B, classes), or
    (B,) when classes is 1, and, by name: "text" (B, D) the vector at [CLS], "speech" (B, D) the
    mean over the frames (of a frozen encoder: over the words), each of its encoder's width.
    """

    modalities = ("text", "audio")
    config_class = SslConfig
    listens = True

    def __init__(self, config: SslConfig):
        super().__init__()
        self.config = config
        self.bert = GlobalBranch(config.encoder, config.cls)
        self.speech_encoder = SpeechEncoder(config.speech) if config.speech else None
        self.scale = None if config.speech else Standardise(config.audio)
        width = config.speech["hidden_size"] if config.speech else config.audio
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.cls + width, config.classes)

    @staticmethod
    def needs(config: SslConfig) -> tuple[str, ...]:
        speech = ("sound", "sound_mask") if config.speech else ("audio", "audio_mask")
        return (*global_needs(config.encoder), *speech)

    def scalings(self) -> dict[str, nn.Module]:
        return {} if self.scale is None else {"audio": self.scale}

    def hear(self, batch: Batch) -> Tensor:
        """The utterance as speech, (B, D)."""
        if self.speech_encoder is None:
            return masked_mean(self.scale(batch.audio), batch.audio_mask)
        return masked_mean(*self.speech_encoder(batch.sound, batch.sound_mask))

    def forward(self, batch: Batch) -> Output:
        named = {"text": self.bert(batch), "speech": self.hear(batch)}
        both = torch.cat([named["text"], named["speech"]], dim=-1)
        return self.output(self.classifier(self.dropout(both)), named)
