"""Two self-supervised encoders, one of text and one of speech, joined at the utterance.

Source: S. Siriwardhana, A. Reis, R. Weerasekera, S. Nanayakkara, "Jointly Fine-Tuning BERT-like
Self Supervised Models to Improve Multimodal Speech Emotion Recognition", Interspeech 2020, which
finds shallow fusion to be better than co-attention. The second is written from the authors'
program, without its dropout on single weights of the attention.

Shapes: B utterances, L steps of a sequence, D width of an encoder's vectors. Masks: True = padding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.compared.shared import without_padding
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.layers import Attention, Dropout, Standardise, masked_mean
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
        fusion: "shallow" joins the two vectors; "co-attention" lets each ask the other's sequence
            before. heads: of that.
        words: width of the word vectors that stand for the text's sequence in co-attention without
            an `encoder`. The setting `text` "bert" makes them states of a text encoder.
    """

    cls: int = 384
    encoder: dict | None = None
    audio: int = 768
    speech: dict | None = None
    fusion: Literal["shallow", "co-attention"] = "shallow"
    heads: int = 2
    words: int = 384
    classes: int = 4
    dropout: float = 0.1

    @property
    def heard(self) -> int:
        """Width of the speech encoder's vectors."""
        return self.speech["hidden_size"] if self.speech else self.audio


class Ssl(Model):
    """Both utterance vectors side by side; dropout, a dense layer. Its `Output` names "text" and
    "speech" (B, D), each of its encoder's width; with co-attention "text_speech" and "speech_text"
    too, the two after reading."""

    config_class = SslConfig

    def __init__(self, config: SslConfig):
        super().__init__(config)
        c = config
        self.bert = GlobalBranch(c.encoder)
        self.speech_encoder = SpeechEncoder(c.speech) if c.speech else None
        self.scale = None if c.speech else Standardise(c.audio)
        if c.fusion == "co-attention":
            self.ask_speech = Attention(c.cls, c.heads, c.heard)
            self.ask_text = Attention(c.heard, c.heads, c.cls if c.encoder else c.words)
        self.dropout = Dropout(c.dropout)
        self.classifier = nn.Linear(c.cls + c.heard, c.classes)

    @staticmethod
    def needs(config: SslConfig) -> tuple[str, ...]:
        words = config.fusion == "co-attention" and not config.encoder
        speech = ("sound", "sound_mask") if config.speech else ("audio", "audio_mask")
        return (*global_needs(config.encoder), *(("words", "word_mask") if words else ()), *speech)

    def scalings(self) -> dict[str, nn.Module]:
        return {} if self.scale is None else {"audio": self.scale}

    def read(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The utterance as text (B, D); the sequence (B, L, D) and its mask (B, L), if any."""
        if self.bert.encoder is None:
            return batch.cls, batch.words, batch.word_mask
        states = self.bert.encoder.states(batch.subwords, batch.subword_mask)
        return states[:, 0], states, batch.subword_mask

    def hear(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the speech encoder says, (B, L, D), and its mask (B, L)."""
        if self.speech_encoder is None:
            return self.scale(batch.audio), batch.audio_mask
        return self.speech_encoder(batch.sound, batch.sound_mask)

    def forward(self, batch: Batch) -> Output:
        (text, words, word_mask), (heard, mask) = self.read(batch), self.hear(batch)
        named = {"text": text, "speech": (speech := masked_mean(heard, mask))}
        if self.config.fusion == "co-attention":
            text = self.ask(self.ask_speech, named["text"], heard, mask)
            speech = self.ask(self.ask_text, named["speech"], words, word_mask)
            named |= {"text_speech": text, "speech_text": speech}
        both = torch.cat([text, speech], dim=-1)
        return self.output(self.classifier(self.dropout(both)), named)

    def ask(self, attention: Attention, vector: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """vector (B, D) and what it reads of memory (B, L, M), mask (B, L) -> (B, D)."""
        read = attention(vector.unsqueeze(1), without_padding(memory, mask), mask).squeeze(1)
        return vector + self.dropout(read)
