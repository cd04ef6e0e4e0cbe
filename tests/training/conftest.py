"""What the tests of the training share: a linear model, and one run of every model."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from mmer_lib.data import Corpus, Utterance
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features
from mmer_lib.models.base import Model
from mmer_lib.models.layers import masked_mean
from tests.tiny import small_bert, small_wav2vec, tiny


@dataclass(frozen=True)
class LinearConfig:
    words: int = 5
    classes: int = 1
    dropout: float = 0.0
    size: float = 0.1


class LinearModel(Model):
    """The mean word vector, dropout, a dense layer; the square of the prediction as a second
    loss."""

    config_class = LinearConfig

    def __init__(self, config: LinearConfig):
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.words, config.classes)

    @staticmethod
    def needs(config):
        return ("words", "word_mask")

    def forward(self, batch):
        return self.output(self.dense(self.dropout(masked_mean(batch.words, batch.word_mask))), {})

    def losses(self, batch, output):
        return {**super().losses(batch, output), "size": output.logits.square().mean()}


def fresh(**options):
    torch.manual_seed(0)
    return LinearModel(LinearConfig(**options))


def linear_parts(dev=10):
    """Training and development part: 30 and 10 utterances, whose sentiment is in their words."""
    rng = np.random.default_rng(0)
    words = [rng.normal(size=(n, 5)).astype("f4") for n in rng.integers(2, 6, 30 + dev)]
    scores = [float(np.clip(w.mean(0) @ [2, -1, 0, 1, 0], -3, 3)) for w in words]
    us = tuple(Utterance(f"u{i}", "p", "s", "", sentiment=s) for i, s in enumerate(scores))
    features = Features(words=words, known=[np.ones(len(w), bool) for w in words])
    corpus = Corpus("plain", "key", us)
    return Examples(corpus, features, range(30)), Examples(corpus, features, range(30, 30 + dev))


@pytest.fixture(scope="session")
def parts():
    return linear_parts()


@pytest.fixture(scope="session")
def trained(small_corpus, shared_cache, tmp_path_factory):
    """By name: a small run of a model on the small demo corpus, two epochs of three steps, trained
    when it is first asked for."""

    class Runs(dict):
        out = tmp_path_factory.mktemp("runs")

        def __missing__(self, name):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MMER_CACHE", str(shared_cache))
                self[name] = tiny(name, small_corpus, self.out)
            return self[name]

    return Runs()


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """The folder of a small BERT, 12 wide."""
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def wav2vec(tmp_path_factory):
    return small_wav2vec(tmp_path_factory.mktemp("wav2vec"))
