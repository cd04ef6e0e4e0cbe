"""RAVEN: what is heard and seen while a word is spoken moves the word's vector.

Source: Y. Wang, Y. Shen, Z. Liu, P. P. Liang, A. Zadeh, L.-P. Morency, "Words Can Shift:
Dynamically Adjusting Word Representations Using Nonverbal Behaviors", AAAI, 2019.

The paper's subnetworks read many frames a word. Here audio and vision come averaged over words, so
a subnetwork reads the utterance with one step a word (`nonverbal` "utterance"), or each word by one
step from an empty state, which needs neither recurrence nor forget gate ("word").

Shapes: B utterances, W words, D width of a word vector, C cells of a subnetwork, H hidden units.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import Batch
from mmer_lib.models.base import SPEECHLESS, Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, given
from mmer_lib.models.layers import Dropout, Standardise, last_state


@dataclass(frozen=True)
class RavenConfig(TrimodalConfig):
    """Sizes and choices; the sizes are those of the authors' program.

    Attributes:
        inputs: width to which audio and vision are projected.
        cells: C, LSTM units of each nonverbal subnetwork. hidden: H, units of the LSTM over words.
        nonverbal: "utterance" or "word", what a subnetwork reads (see above).
        form: "paper" has gates between 0 and 1, and a word moves by at most `shift` of its own
            length; the authors' "program" has linear gates, divides a shift only where it is longer
            than 1, then multiplies it by `shift` of the word's length.
        shift: beta, how far a word may move. dropout: on all inputs and on moved words.
    """

    inputs: int = 150
    cells: int = 150
    hidden: int = 300
    nonverbal: Literal["utterance", "word"] = "utterance"
    form: Literal["paper", "program"] = "paper"
    shift: float = 0.2
    dropout: float = 0.2


class OneStep(nn.Module):
    """One step of an LSTM from an empty state: (..., inputs) -> (..., units)."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.gates = nn.Linear(inputs, 3 * units)  # input, cell, output

    def forward(self, x: Tensor) -> Tensor:
        i, g, o = self.gates(x).chunk(3, dim=-1)
        return o.sigmoid() * torch.tanh(i.sigmoid() * g.tanh())


class Nonverbal(nn.Module):
    """A subnetwork: dropout, projection, and an LSTM over words or one step for each."""

    def __init__(self, inputs: int, config: RavenConfig):
        super().__init__()
        self.scale, self.dropout = Standardise(inputs), Dropout(config.dropout)
        self.project = nn.Linear(inputs, config.inputs)
        self.lstm = self.step = None
        if config.nonverbal == "utterance":
            self.lstm = nn.LSTM(config.inputs, config.cells, batch_first=True)
        else:
            self.step = OneStep(config.inputs, config.cells)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, W, inputs), mask (B, W) -> (B, W, C), zeros where the mask is set."""
        x = self.scale(x).masked_fill(mask.unsqueeze(-1), 0.0)
        x = self.project(self.dropout(x))
        x = self.step(x) if self.lstm is None else self.lstm(x)[0]
        return x.masked_fill(mask.unsqueeze(-1), 0.0)


class Shift(nn.Module):
    """alpha h: how far, and where to, a word is moved. `gates` weigh audio and vision."""

    def __init__(self, config: RavenConfig):
        super().__init__()
        self.config = config
        self.gates = nn.ModuleDict()
        for m in SPEECHLESS:
            gate = nn.Sigmoid() if config.form == "paper" else nn.Identity()
            self.gates[m] = nn.Sequential(nn.Linear(config.cells + config.words, 1), gate)
        self.join = nn.Linear(2 * config.cells, config.words)

    def forward(self, words: Tensor, states: dict[str, Tensor]) -> Tensor:
        """words (B, W, D), states (B, W, C) by modality -> (B, W, D)."""
        weighed = [self.gates[m](torch.cat([h, words], -1)) * h for m, h in states.items()]
        h = self.join(torch.cat(weighed, dim=-1))  # (B, W, D)
        size, length = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (words, h))
        if self.config.form == "program":
            return h * (self.config.shift * size / length.clamp(min=1.0))
        return h * (self.config.shift * size / length.clamp(min=1e-9)).clamp(max=1.0)


class Raven(Trimodal):
    """Moved words, an LSTM over them, and its state at the last word. Audio and vision beyond that
    are not read. Its `Output` names "shift" (B, W, D), by what each word is moved, and "F" (B, H).
    """

    config_class = RavenConfig

    def __init__(self, config: RavenConfig):
        super().__init__(config)
        self.nonverbal = nn.ModuleDict(
            {m: Nonverbal(getattr(config, m), config) for m in SPEECHLESS}
        )
        self.shift = Shift(config)
        self.dropout = Dropout(config.dropout)
        self.lstm = nn.LSTM(config.words, config.hidden, batch_first=True)
        self.classifier = nn.Linear(config.hidden, config.classes)

    def forward(self, batch: Batch) -> Output:
        padding = batch.word_mask.unsqueeze(-1)
        words, count = batch.words.masked_fill(padding, 0.0), batch.words.shape[1]
        states = {
            m: self.nonverbal[m](*(steps(x, count) for x in given(batch, m))) for m in SPEECHLESS
        }
        shift = self.shift(words, states).masked_fill(padding, 0.0)
        hidden, _ = self.lstm(self.dropout(words + shift))
        state = last_state(hidden, batch.word_mask)
        return self.output(self.classifier(state), {"shift": shift, "F": state})


def steps(x: Tensor, count: int) -> Tensor:
    """The first `count` steps of x (B, L, D) or of a mask (B, L), padded where there are fewer."""
    x = x[:, :count]
    missing = (0, count - x.shape[1])
    return F.pad(x, missing, value=True) if x.dim() == 2 else F.pad(x, (0, 0, *missing))
