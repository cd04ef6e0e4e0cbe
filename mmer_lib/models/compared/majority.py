"""The lowest floor: one answer for every utterance.

The class that most training utterances have, or the median of their sentiments, which no other
constant beats in mean absolute error. The parameters are had by counting (`solve`); the presets
train nothing (rate 0).

Shapes: B utterances.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Config, Model, Output


@dataclass(frozen=True)
class MajorityConfig(Config):
    """Attributes:
    classes: 1 predicts a sentiment, more classify.
    """

    classes: int = 4


class Majority(Model):
    """Reads nothing. Its `Output` has logits (B, classes): the logarithm of each class's share of
    the training part; or (B,) when classes is 1: the median of its sentiments."""

    config_class = MajorityConfig

    def __init__(self, config: MajorityConfig):
        super().__init__(config)
        self.answer = nn.Parameter(torch.zeros(config.classes))

    @staticmethod
    def needs(config: MajorityConfig) -> tuple[str, ...]:
        return ()

    @torch.no_grad()
    def solve(self, train: Iterable[Batch], dev: Iterable[Batch]) -> None:
        truth = labels(train, self.config.classes)
        if self.config.classes == 1:
            self.answer.fill_(truth.quantile(0.5))
        else:  # a class that never comes counts as half an utterance
            counts = torch.bincount(truth, minlength=self.config.classes).clamp(min=0.5)
            self.answer.copy_((counts / len(truth)).log())

    def forward(self, batch: Batch) -> Output:
        return self.output(self.answer.expand(len(batch), -1), {})


def labels(batches: Iterable[Batch], classes: int) -> Tensor:
    """Sentiments (N,) float64 for one class, else classes (N,)."""
    name = "sentiment" if classes == 1 else "emotion"
    found = torch.cat([getattr(batch, name) for batch in batches])
    return found.double() if classes == 1 else found
