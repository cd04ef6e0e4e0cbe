"""What representations do while a model trains: how alike the modalities become, and where the
utterances lie."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.batch import Examples, LengthBuckets
from mmer_lib.models.base import Model, by_modality
from mmer_lib.ragged import load_ragged, save_ragged

FILE = "trace.safetensors"
KEPT = 200
"""So many utterances of the development part have their place in S kept after every epoch."""


def pairwise_cosine(vectors: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Cosine of every pair of named vectors, utterance by utterance: (B, D) each -> (B,) each."""
    return {
        (a, b): F.cosine_similarity(vectors[a], vectors[b], dim=-1)
        for a, b in itertools.combinations(vectors, 2)
    }


def look(
    model: Model, examples: Examples, batch_size: int = 256
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batch for batch: which of `examples` they are, and all that `Output` names for them, on the
    CPU, float32. Utterances of like length come together.

    A model in training mode is back in it afterwards. No random number is drawn, as a DataLoader
    would, so that a training goes on as if nobody had looked.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    for chunk in LengthBuckets(examples.lengths(), batch_size, shuffle=False):
        batch = examples.collate([examples.rows[i] for i in chunk])
        with torch.inference_mode():
            named = {k: v.float().cpu() for k, v in model(batch.to(device)).named.items()}
        yield chunk, named
    model.train(training)


def representations(model: Model, examples: Examples, batch_size: int = 256) -> dict[str, Tensor]:
    """All that `look` shows, (N, ...) each, in the order of the examples."""
    chunks, seen = zip(*look(model, examples, batch_size), strict=True)
    order = np.argsort(np.concatenate(chunks))
    return {name: torch.cat([named[name] for named in seen])[order] for name in seen[0]}


def cosines(model: Model, named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cosine (B,) between two modalities of every representation that the model says is traced, by
    name: {"h text-audio": ..., ...}; a representation that is not there is left out."""
    return {
        f"{kind} {a}-{b}": cosine
        for kind, pattern in model.traced.items()
        for (a, b), cosine in pairwise_cosine(by_modality(named, pattern)).items()
    }


def mean_cosines(
    model: Model, examples: Examples, kept: int = 0
) -> tuple[dict[str, float], Tensor | None]:
    """Means of `cosines` over all examples, and S (`kept`, D) of the first of them. However many
    there are, one batch of them is in memory at a time."""
    sums, places = {}, None
    for chunk, named in look(model, examples):
        for name, cosine in cosines(model, named).items():
            sums[name] = sums.get(name, 0.0) + cosine.double().sum().item()
        if kept:
            if places is None:
                places = torch.empty(min(kept, len(examples)), named["S"].shape[1])
            among = torch.tensor(chunk) < kept
            places[torch.tensor(chunk)[among]] = named["S"][among]
    return {name: total / len(examples) for name, total in sums.items()}, places


class Trace(L.Callback):
    """Follows the development part through a training: before the first step, at `within` places
    of the first epoch, and after every epoch.

    Attributes:
        record: what was seen, one list of M moments each: "step", "epoch" (a fraction within the
            first), and what `mean_cosines` names.
        places: S (N, D) float16 of the first `KEPT` utterances, before the first step and after
            every epoch.
    """

    def __init__(self, examples: Examples, within: int = 12):
        self.examples, self.within = examples, within
        self.record: dict[str, list[float]] = {"step": [], "epoch": []}
        self.places: list[np.ndarray] = []

    def on_train_start(self, trainer: L.Trainer, learner: nn.Module) -> None:
        self.per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
        spread = np.linspace(0, self.per_epoch, self.within + 2)[1:-1]
        self.moments = {round(s) for s in spread} - {0, self.per_epoch}
        if not self.places:  # else it goes on
            self._look(0, learner.model, keep=True)

    def on_train_batch_end(self, trainer: L.Trainer, learner: nn.Module, *_) -> None:
        if trainer.global_step in self.moments:
            self.moments.remove(trainer.global_step)
            self._look(trainer.global_step, learner.model, keep=False)

    def on_train_epoch_end(self, trainer: L.Trainer, learner: nn.Module) -> None:
        self._look(trainer.global_step, learner.model, keep=True)

    def _look(self, step: int, model: Model, keep: bool) -> None:
        means, places = mean_cosines(model, self.examples, KEPT if keep else 0)
        now = {"step": step, "epoch": step / self.per_epoch} | means
        for name, value in now.items():
            self.record.setdefault(name, []).append(round(value, 6))
        if keep:
            self.places.append(places.numpy().astype(np.float16))

    def state_dict(self) -> dict:
        return {"record": self.record, "places": [torch.from_numpy(p) for p in self.places]}

    def load_state_dict(self, state: dict) -> None:
        self.record, self.places = state["record"], [p.numpy() for p in state["places"]]

    def save(self, folder: Path) -> None:
        """Write the places of the utterances to `FILE`."""
        rows = self.examples.rows[:KEPT]
        save_ragged(folder / FILE, {"S": self.places}, {"rows": list(map(int, rows))})


def read_places(folder: str | Path) -> tuple[list[int], list[np.ndarray]]:
    """(positions in the corpus (N,), S (N, D) at each moment: before training, after each epoch) of
    the folder of a run.

    Raises:
        FileNotFoundError: the run has none. DataError: a damaged file.
    """
    arrays, metadata = load_ragged(Path(folder) / FILE, verify=True)
    return metadata["rows"], arrays["S"]
