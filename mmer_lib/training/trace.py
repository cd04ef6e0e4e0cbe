"""What representations do while a model trains: how alike the modalities become, and where the
utterances lie."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import nn

from mmer_lib.features.batches import Examples
from mmer_lib.models.base import Model
from mmer_lib.probes.representations import mean_cosines
from mmer_lib.store import load_ragged, save_ragged

FILE = "trace.safetensors"
KEPT = 200
"""So many utterances of the development part have their place in S kept after every epoch."""


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
