"""What representations do while a model trains: how alike the modalities become, and where the
utterances lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmer_lib.features.batches import Examples
from mmer_lib.models.base import Model
from mmer_lib.probes.representations import mean_cosines
from mmer_lib.store import load_arrays, save_arrays

FILE = "trace.safetensors"
KEPT = 200
"""So many utterances of the development part have their place in S kept after every epoch."""


class Trace:
    """Watches the development part through a training (`loop.Watcher`): before the first step, at
    `within` places of the first epoch, and after every epoch.

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

    def __call__(self, model: Model, step: int, steps_per_epoch: int) -> None:
        at_end = step % steps_per_epoch == 0
        within = np.linspace(0, steps_per_epoch, self.within + 2)[1:-1]
        if not at_end and step not in {round(s) for s in within}:
            return
        means, places = mean_cosines(model, self.examples, KEPT if at_end else 0)
        for name, value in {"step": step, "epoch": step / steps_per_epoch, **means}.items():
            self.record.setdefault(name, []).append(round(value, 6))
        if at_end:
            self.places.append(places.numpy().astype(np.float16))

    def state_dict(self) -> dict:
        return {"record": self.record, "places": [torch.from_numpy(p) for p in self.places]}

    def load_state_dict(self, state: dict) -> None:
        self.record, self.places = state["record"], [p.numpy() for p in state["places"]]

    def save(self, folder: Path) -> None:
        """Write the places of the utterances to `FILE`."""
        rows = self.examples.rows[:KEPT]
        save_arrays(folder / FILE, {"S": self.places}, {"rows": list(map(int, rows))})


def read_places(folder: str | Path) -> tuple[list[int], list[np.ndarray]]:
    """(positions in the corpus (N,), S (N, D) at each moment: before training, after each epoch) of
    the folder of a run; a FileNotFoundError where it has none."""
    arrays, metadata = load_arrays(Path(folder) / FILE)
    return metadata["rows"], arrays["S"]
