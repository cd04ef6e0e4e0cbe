"""A system that somebody adds: what it must bring, and that it trains."""

from dataclasses import dataclass

import torch
from torch import nn

from mmer_lib.data import Batch
from mmer_lib.models.base import Config, Model
from mmer_lib.models.layers import Standardise, masked_mean
from tests.models.utterances import batched, examples


@dataclass(frozen=True)
class MeanConfig(Config):
    words: int = 5
    bands: int = 4
    classes: int = 4
    sparsity: float = 0.1


class Mean(Model):
    """A linear model of mean word vectors and mean frames, with a loss of its own."""

    config_class = MeanConfig

    def __init__(self, config: MeanConfig):
        super().__init__(config)
        self.scale = Standardise(config.bands)
        self.classifier = nn.Linear(config.words + config.bands, config.classes)

    @staticmethod
    def needs(config):
        return ("words", "word_mask", "frames", "frame_mask")

    def scalings(self):
        return {"frames": self.scale}

    def forward(self, batch: Batch):
        text = masked_mean(batch.words, batch.word_mask)
        speech = masked_mean(self.scale(batch.frames), batch.frame_mask)
        both = torch.cat([text, speech], dim=-1)
        return self.output(self.classifier(both), {"utterance": both})

    def losses(self, batch, output):
        sparsity = self.classifier.weight.abs().mean()
        return super().losses(batch, output) | {"sparsity": sparsity}


def test_a_new_system_in_under_40_lines_trains(tmp_path):
    torch.manual_seed(0)
    model, batch = Mean(MeanConfig()), batched(examples(), torch.float32)
    optimiser, totals = torch.optim.Adam(model.parameters(), 0.05), []
    for _ in range(20):
        losses = model.losses(batch, model(batch))
        total = model.total(losses)
        assert torch.equal(total, losses["task"] + 0.1 * losses["sparsity"])
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < totals[0] / 2 and model.modalities == ("text", "audio")
    model.save_pretrained(tmp_path)
    again = Mean.from_pretrained(tmp_path)
    assert torch.equal(again(batch).logits, model(batch).logits)
