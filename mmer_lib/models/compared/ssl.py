"""Two self-supervised encoders, one of text and one of speech, joined at the utterance.

Source: S. Siriwardhana, A. Reis, R. Weerasekera, S. Nanayakkara, "Jointly Fine-Tuning BERT-like
Self Supervised Models to Improve Multimodal Speech Emotion Recognition", Interspeech 2020, which
compares two ways to join them and finds the simple one, shallow fusion, to be the better.

The other, co-attention, is written from the authors' program: the vector at [CLS] of each modality
asks the whole sequence of the other one, by one layer of attention of two heads, whose answer is
added to it; there is neither a layer norm nor a feed-forward layer. Whether the paper's own text
says more of it is not known here. The program's dropout on single weights of the attention is left
out; that on its answer is kept.

Shapes: B utterances, L steps of a sequence, D width of an encoder's vectors. Masks: True = padding.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.compared.shared import without_padding
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.layers import Attention, Dropout, Standardise, masked_mean
from mmer_lib.models.multigranular import GlobalBranch, global_needs


@dataclass(frozen=True)
class SslConfig(Config):
    """Which encoders are trained along, and how they are joined; the paper trains both.

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
        fusion: "shallow" joins the two vectors; "co-attention" lets each ask the other's sequence
            before.
        heads: of the co-attention.
        words: width of the word vectors that stand for the text's sequence in co-attention without
            an `encoder`. The setting `text` "bert" makes them states of a text encoder, in its
            layers' context; GloVe's have none.
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

    def __post_init__(self):
        super().__post_init__()
        if self.speech and "hidden_size" not in self.speech:
            raise DataError("speech: its configuration has no 'hidden_size'; give a whole one")
        for width in (self.cls, self.heard) if self.fusion == "co-attention" else ():
            if width % self.heads:
                raise DataError(f"width {width} is not a multiple of heads {self.heads}")

    @property
    def heard(self) -> int:
        """Width of the speech encoder's vectors."""
        return self.speech["hidden_size"] if self.speech else self.audio


class Ssl(Model):
    """Both utterance vectors side by side, each after it has read the other's sequence if asked;
    dropout, a dense layer.

    Its `Output` names "text" (B, D) the vector at [CLS], "speech" (B, D) the mean over the frames
    (of a frozen encoder: over the words), each of its encoder's width; with co-attention,
    "text_speech" and "speech_text" too, the two after reading.
    """

    config_class = SslConfig

    def __init__(self, config: SslConfig):
        super().__init__(config)
        c = config
        self.bert = GlobalBranch(c.encoder, c.cls)
        self.speech_encoder = SpeechEncoder(c.speech) if c.speech else None
        self.scale = None if c.speech else Standardise(c.audio)
        self.ask_speech = self.ask_text = None
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
