"""Attribution: how much each word and each frame of an utterance adds to a class score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmer_lib.data import Batch
from mmer_lib.models.muse import Muse


@dataclass(frozen=True)
class Attribution:
    """What integrated gradients give for one utterance: shares of a class score (before the
    softmax), which sum to `score` less `baseline`, up to `delta`.

    Attributes:
        words, phonemes: (W,) through the word vectors, and through the phonemes.
        frames: (T,) through the filterbank, each frame by itself (not stacked).
    """

    words: np.ndarray
    phonemes: np.ndarray
    frames: np.ndarray
    score: float
    baseline: float
    delta: float

    @property
    def by_word(self) -> np.ndarray:
        """(W,) what each word adds as text: through its vector and its phonemes."""
        return self.words + self.phonemes

    @property
    def text(self) -> float:
        return float(self.by_word.sum())

    @property
    def speech(self) -> float:
        return float(self.frames.sum())


def _ends(model: Muse, batch: Batch) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The utterance and its baseline, where the path begins: each word vectors (1, W, D), embedded
    phonemes (1, W, P, E) and frames (1, T, bands)."""
    with torch.no_grad():
        ids = batch.phonemes
        sounds = model.fusion.phonemes.embedding(ids.flatten(0, 1)).unflatten(0, ids.shape[:2])
    mean = model.speech_prenet.scale.mean.expand_as(batch.frames)
    baseline = torch.zeros_like(batch.words), torch.zeros_like(sounds), mean
    return (batch.words, sounds, batch.frames), baseline


def _scores(model: Muse, batch: Batch, point: tuple[Tensor, ...]) -> Tensor:
    """Class scores (n, classes) of n points of the path; sounds (n, W, P, E) stand
    in for what the embedding gives."""
    words, sounds, frames = point
    many = batch._map(lambda t: t.expand(len(words), *t.shape[1:]))
    many.words, many.frames = words, frames
    embedding = model.fusion.phonemes.embedding
    with embedding.register_forward_hook(lambda *_: sounds.flatten(0, 1)):
        return model(many).logits


@torch.no_grad()
def baseline_scores(model: Muse, batch: Batch) -> Tensor:
    """Class scores (classes,) of the baseline of `integrated_gradients` for one utterance: what the
    model says without words, when it hears the mean of each band throughout."""
    _, baseline = _ends(model.eval(), batch)
    return _scores(model, batch, baseline)[0]


def integrated_gradients(model: Muse, batch: Batch, target: int, steps: int = 64) -> Attribution:
    """Integrated gradients (Sundararajan et al., 2017) of the score of a class (`target`, its
    position) for a batch of one utterance, by Captum.

    The path leads in a straight line from a baseline that says nothing: zeros for the word vectors
    and the embedded phonemes, for each band of the filterbank its mean over the training part (0
    where the frames came normalised). What else a model reads stays as it is.
    """
    from captum.attr import IntegratedGradients

    inputs, baseline = _ends(model.eval(), batch)

    def score(*point: Tensor) -> Tensor:
        return _scores(model, batch, point)[:, target]

    parts, delta = IntegratedGradients(score).attribute(
        inputs,
        baseline,
        n_steps=steps,
        internal_batch_size=steps,
        return_convergence_delta=True,
    )
    by_place = [p[0].detach().flatten(1).sum(1).float().numpy() for p in parts]
    with torch.no_grad():
        ends = score(*inputs).item(), score(*baseline).item()
    return Attribution(*by_place, *ends, delta.item())


def untrained_twin(model: Muse, seed: int = 0) -> Muse:
    """A model of the same configuration with fresh weights and the same scaling of its inputs
    (Adebayo et al., 2018)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(model)(model.config)
    for name, layer in model.scalings().items():
        twin.scalings()[name].load_state_dict(layer.state_dict())
    return twin.eval()
