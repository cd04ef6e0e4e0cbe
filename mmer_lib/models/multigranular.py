"""MUSE's multigranular fusion (section 3.2), and BERT alone (Table 3)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.encoders import TextEncoder
from mmer_lib.models.layers import Dropout
from mmer_lib.models.losses import embedding_alignment
from mmer_lib.models.muse import Muse, MuseConfig


def global_needs(encoder: dict | None) -> tuple[str, ...]:
    """Fields of a `Batch` that the global branch reads."""
    return ("subwords", "subword_mask") if encoder else ("cls",)


class GlobalBranch(nn.Module):
    """e_BERT (Eq. 10): computed once (`Batch.cls`), or from sub-words by an encoder that is trained
    along -> (B, cls)."""

    def __init__(self, encoder: dict | None):
        super().__init__()
        self.encoder = TextEncoder(encoder) if encoder else None

    def forward(self, batch: Batch) -> Tensor:
        if self.encoder is None:
            return batch.cls
        return self.encoder(batch.subwords, batch.subword_mask)


@dataclass(frozen=True)
class MultigranularConfig(MuseConfig):
    """`MuseConfig` and the global branch.

    Attributes:
        cls: width of the vector at [CLS].
        encoder: configuration of a text encoder of `transformers` as a dict, to fine-tune it; None
            reads vectors that were computed once.
        projection: width in which the two views meet (Eq. 12).
        embedding: weight of L_emb_align (Eq. 15).
        join: "late", beside the utterance vector (Eq. 12), or "early", added to every word before
            the text encoder, which the paper does not try; then embedding must be 0.
    """

    cls: int = 384
    encoder: dict | None = None
    projection: int = 128
    embedding: float = 0.01
    join: Literal["late", "early"] = "late"

    def __post_init__(self):
        super().__post_init__()
        if self.join == "early" and self.embedding:
            raise DataError(
                f"embedding is {self.embedding}; join 'early' has no second view, so set it to 0"
            )


class Multigranular(Muse):
    """Late fusion of the sentence as a whole and the utterance in detail (Eq. 10-13). Its `Output`
    names, beyond those of `Muse`, the projected "global" and, joined late, "local"
    (B, projection)."""

    config_class = MultigranularConfig

    def __init__(self, config: MultigranularConfig):
        super().__init__(config)
        self.bert = GlobalBranch(config.encoder)
        early = config.join == "early"
        self.project_global = nn.Linear(config.cls, config.width if early else config.projection)
        if not early:
            self.project_local = nn.Linear(config.width, config.projection)
            self.classifier = nn.Linear(2 * config.projection, config.classes)

    @staticmethod
    def needs(config: MultigranularConfig) -> tuple[str, ...]:
        return (*Muse.needs(config), *global_needs(config.encoder))

    def forward(self, batch: Batch) -> Output:
        if self.config.join == "early":
            sentence = self.project_global(self.bert(batch))  # (B, D)
            named = self.encode(batch, sentence) | {"global": sentence}
            return self.output(self.classifier(named["utterance"]), named)
        named = self.encode(batch)
        named["global"] = self.project_global(self.bert(batch))
        named["local"] = self.project_local(named["utterance"])
        both = torch.cat([named["global"], named["local"]], dim=-1)  # (Eq. 12)
        return self.output(self.classifier(self.dropout(both)), named)  # (Eq. 13)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Those of `Muse` and "embedding" (Eq. 14)."""
        losses, named = super().losses(batch, output), output.named
        if self.config.embedding:
            losses["embedding"] = embedding_alignment(named["global"], named["local"])
        return losses


@dataclass(frozen=True)
class BertConfig(Config):
    """See `MultigranularConfig`."""

    cls: int = 384
    encoder: dict | None = None
    projection: int = 128
    classes: int = 4
    dropout: float = 0.1


class Bert(Model):
    """BERT, utterance only (Table 3): [CLS], a dense layer with tanh, the classes. Its `Output`
    names "utterance" (B, projection)."""

    config_class = BertConfig

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.bert = GlobalBranch(config.encoder)
        self.project = nn.Sequential(nn.Linear(config.cls, config.projection), nn.Tanh())
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(config.projection, config.classes)

    @staticmethod
    def needs(config: BertConfig) -> tuple[str, ...]:
        return global_needs(config.encoder)

    def forward(self, batch: Batch) -> Output:
        utterance = self.project(self.bert(batch))  # (B, projection)
        return self.output(self.classifier(self.dropout(utterance)), {"utterance": utterance})
