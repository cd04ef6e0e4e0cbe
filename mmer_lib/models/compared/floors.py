"""Two floors, which are solved before training; the presets train nothing (rate 0).

The majority gives every utterance one answer: the class that most training utterances have, or the
median of their sentiments. The linear models read each input pooled to its mean and standard
deviation over an utterance, by a logistic regression (a ridge regression for sentiments), and their
answers are averaged with weights. The regressions are solved on the training part; their penalties,
and the weights, are those of a small grid that do best on the development part.

Shapes: B utterances, N of a part, D width of an input, K classes.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import Batch
from mmer_lib.models.base import Config, Model, Output
from mmer_lib.models.compared.shared import SpokenConfig
from mmer_lib.models.layers import Standardise, masked_mean


@dataclass(frozen=True)
class MajorityConfig(Config):
    """Attributes:
    classes: 1 predicts a sentiment, more classify.
    """

    classes: int = 4


class Majority(Model):
    """Reads nothing. Its logits are the logarithms of the classes' shares, or the median."""

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


MASKS = {
    "words": "word_mask",
    "cls": None,
    "frames": "frame_mask",
    "audio": "audio_mask",
    "vision": "vision_mask",
}
"""Fields of a `Batch` that can be read, and the mask of each (None: one vector)."""


PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Of the squared weights, for the mean loss of standardised inputs."""

STEPS = 10
"""The weights of the average are multiples of 1 / STEPS."""


@dataclass(frozen=True)
class LinearConfig(SpokenConfig):
    """Attributes:
    inputs: those that are read. Frames must come as they are (the setting `frames` "train"):
        normalised by utterance, all have mean 0 and deviation 1.
    cls, audio, vision: their widths.
    classes: 1 predicts a sentiment, more classify.
    """

    inputs: tuple[Literal[tuple(MASKS)], ...] = ("words", "frames")
    cls: int = 384
    audio: int = 132
    vision: int = 47
    classes: int = 4

    def width(self, name: str) -> int:
        """Of an input once it is pooled."""
        width = getattr(self, "bands" if name == "frames" else name)
        return width if MASKS[name] is None else 2 * width


def pooled(batch: Batch, name: str) -> Tensor:
    """Mean and standard deviation over the real positions, (B, 2 D), or the vector, (B, D); zero
    (the deviation 1e-6) where none is real."""
    x, mask = getattr(batch, name), MASKS[name]
    if mask is None:
        return x
    mask = getattr(batch, mask)
    mean = masked_mean(x, mask)
    square = (x - mean.unsqueeze(1)).masked_fill(mask.unsqueeze(-1), 0.0).square()
    deviation = masked_mean(square, mask).clamp(min=1e-12).sqrt()
    return torch.cat([mean, deviation], dim=-1)


def ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (1, D) and bias (1,) with the least mean square error + penalty * squared weights, of
    x (N, D) with mean 0, y (N,)."""
    bias = y.mean()
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(gram, x.T @ (y - bias) / len(x))[None], bias[None]


def logistic(x: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (K, D) and biases (K,) with the least mean cross-entropy + penalty / 2 * squared
    weights, of x (N, D), y (N,)."""
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(loss)
    return weight.detach(), bias.detach()


class Linear(Model):
    """Late fusion of a linear model an input. Its `Output` names "z_words" and so on, (B, classes):
    what each linear model says."""

    config_class = LinearConfig

    def __init__(self, config: LinearConfig):
        super().__init__(config)
        widths = {name: config.width(name) for name in config.inputs}
        self.scale = nn.ModuleDict({name: Standardise(width) for name, width in widths.items()})
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, config.classes) for name, width in widths.items()}
        )
        self.register_buffer("weights", torch.full((len(widths),), 1 / len(widths)))

    @staticmethod
    def needs(config: LinearConfig) -> tuple[str, ...]:
        return tuple(f for name in config.inputs for f in (name, MASKS[name]) if f)

    def solve(self, train: Iterable[Batch], dev: Iterable[Batch]) -> None:
        (rows, truth), (others, held) = self._read(train), self._read(dev)
        classes, said = self.config.classes, []
        loss, mixed_loss = F.cross_entropy, F.nll_loss
        if classes == 1:
            loss = mixed_loss = lambda z, y: F.mse_loss(z.squeeze(-1), y)
        for name, scale in self.scale.items():
            scale.fit(rows[name].numpy())
            x, unseen = scale(rows[name]).double(), scale(others[name]).double()
            solved = [
                ridge(x, truth, penalty) if classes == 1 else logistic(x, truth, classes, penalty)
                for penalty in PENALTIES
            ]
            answers = [unseen @ weight.T + bias for weight, bias in solved]
            best = min(range(len(solved)), key=lambda i: float(loss(answers[i], held)))
            with torch.no_grad():
                self.heads[name].weight.copy_(solved[best][0])
                self.heads[name].bias.copy_(solved[best][1])
            said.append(answers[best])
        shares = itertools.product(range(STEPS + 1), repeat=len(said))
        grid = [torch.tensor(parts) / STEPS for parts in shares if sum(parts) == STEPS]
        self.weights.copy_(min(grid, key=lambda w: float(mixed_loss(self.average(said, w), held))))

    def _read(self, batches: Iterable[Batch]) -> tuple[dict[str, Tensor], Tensor]:
        """The pooled inputs (N, D) by name, and the labels (N,)."""
        rows, truth = {name: [] for name in self.scale}, []
        for batch in batches:
            truth.append(labels([batch], self.config.classes))
            for name, parts in rows.items():
                parts.append(pooled(batch, name))
        return {name: torch.cat(parts) for name, parts in rows.items()}, torch.cat(truth)

    def average(self, each: list[Tensor], weights: Tensor) -> Tensor:
        """What the linear models say, (B, K) each, as one: (B, K)."""
        z = torch.stack(each)
        if self.config.classes > 1:
            z = z.softmax(-1)
        z = (weights.to(z.dtype)[:, None, None] * z).sum(0)
        return z.clamp(min=torch.finfo(z.dtype).tiny).log() if self.config.classes > 1 else z

    def forward(self, batch: Batch) -> Output:
        named = {
            f"z_{name}": head(self.scale[name](pooled(batch, name)))
            for name, head in self.heads.items()
        }
        return self.output(self.average([*named.values()], self.weights), named)
