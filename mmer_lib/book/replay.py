"""One training of MIMIC, looked into after every epoch: recorded once, to be replayed in a page.

`watch` trains as `training.fit` does, with a look between epochs; `record` writes what a page shows
of two such trainings, and `replay` makes the figure of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import nn

from mmer_lib.book.explorer.training_replay import VIEWS, Training, TrainingReplay, View
from mmer_lib.corpora import load
from mmer_lib.data import MODALITIES, Corpus, DataError
from mmer_lib.features.batches import Examples
from mmer_lib.models.base import Model
from mmer_lib.models.mimic import PARTS
from mmer_lib.probes.hooks import record as listen
from mmer_lib.probes.inside import look_inside_mimic
from mmer_lib.store import write_bytes
from mmer_lib.training.fit import _fit_widths, features_for, fit_scaling, prepare
from mmer_lib.training.learner import EpochLine, Learner
from mmer_lib.training.runs import command_of, provenance, source_hash
from mmer_lib.training.trace import Trace
from mmer_lib.training.trainer import device_of, run_training, trainer_for

NAME = "mimic-replay"
TRAININGS = {"with the regulariser": {}, "without it": {"contrastive": 0.0}}
"""What is recorded, by the name that a reader chooses: changes of the settings."""
PER_SCORE = 12
"""At most so many utterances of each rounded sentiment are shown."""
STEPS = 500
"""Places in the picture are whole numbers from -STEPS to STEPS."""


class Snapshots(L.Callback):
    """Looks into a MIMIC before the first step and after every epoch; nothing else changes, not
    even a random number.

    Attributes:
        seen: one dictionary a moment, of arrays with a row an utterance: every representation that
            `Output` names, "gate" (N, parts * D) where there is one, "prediction" (N,).
    """

    def __init__(self, examples: Examples):
        self.batch = examples.collate(examples.rows)
        self.seen: list[dict[str, np.ndarray]] = []

    def on_train_start(self, trainer: L.Trainer, learner: nn.Module) -> None:
        self._look(learner.model)

    def on_train_epoch_end(self, trainer: L.Trainer, learner: nn.Module) -> None:
        self._look(learner.model)

    @torch.inference_mode()
    def _look(self, model: Model) -> None:
        training, device = model.training, next(model.parameters()).device
        with listen({"prediction": model.head}) as said:
            inside = look_inside_mimic(model, self.batch.to(device))
        model.train(training)
        inside["prediction"] = said["prediction"].squeeze(-1)
        self.seen.append({name: value.numpy() for name, value in inside.items()})


@dataclass(frozen=True)
class Watched:
    """A training that was looked into.

    Attributes:
        model: with the weights of the best epoch, in evaluation mode, on the CPU.
        history, trace: as in the result of a run. seen: of `Snapshots`, for the development part.
        rows: (N,) positions in the corpus of the development part.
        about: "command", "seconds", and `runs.provenance`.
    """

    model: Model
    history: list[dict]
    trace: dict[str, list[float]]
    seen: list[dict[str, np.ndarray]]
    rows: list[int]
    about: dict


def watch(
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    device: str = "auto",
    progress: bool = True,
    model_options: dict | None = None,
    **changes,
) -> Watched:
    """Train MIMIC as ``fit("mimic", ...)`` does, and look at the development part after every
    epoch. Arguments and errors are those of `training.fit`; nothing is loaded or kept."""
    plan = prepare("mimic", corpus, fold, seed, preset, device, model_options, **changes)
    settings = plan.settings
    features = features_for(plan.model.needs(plan.config), settings, corpus, progress)
    L.seed_everything(seed, verbose=False)
    model = plan.model(_fit_widths(plan, features))
    parts = [Examples(corpus, features, rows) for rows in plan.split]
    fit_scaling(model, parts[0], settings)
    learner = Learner(model, settings)
    trace, snapshots = Trace(parts[1]), Snapshots(parts[1])
    callbacks = [trace, snapshots, *([EpochLine()] if progress else [])]
    trainer = trainer_for(settings, device_of(device), None, callbacks)
    seconds = run_training(trainer, learner, parts, seed)
    about = {
        "command": command_of("mimic", corpus, fold, seed, preset, changes, model_options or {}),
        "seconds": round(seconds, 1),
        "source": source_hash("mimic")[:16],
        **provenance(trainer.strategy.root_device),
    }
    rows = [int(row) for row in parts[1].rows]
    return Watched(model.cpu().eval(), learner.history, trace.record, snapshots.seen, rows, about)


# ---------------------------------------------------------------------------------- record


def chosen_places(sentiments: Sequence[float], each: int = PER_SCORE) -> list[int]:
    """Places of the first `each` utterances of every rounded sentiment (all, where there are
    fewer), in their order."""
    met: dict[int, int] = {}
    found = []
    for place, score in enumerate(np.round(sentiments).astype(int).tolist()):
        met[score] = met.get(score, 0) + 1
        if met[score] <= each:
            found.append(place)
    return found


def in_plane(
    vectors: np.ndarray, sentiments: np.ndarray, places: Sequence[int]
) -> tuple[np.ndarray, float, np.ndarray]:
    """Vectors in the plane of their largest variance after the last epoch: one plane for all
    moments, so that what moves in the picture has moved in the space.

    Args:
        vectors: (E, N, marks, D). sentiments: (N,); an axis is turned so that the first mark does
            not fall with the sentiment after the last epoch. places: of the U that are drawn.

    Returns:
        points (E, U, marks, 2), whole numbers up to `STEPS`; the length of a step; and the share
        (E,) of the variance about the mean of a moment that lies in the plane, over all N.
    """
    from sklearn.decomposition import PCA

    E, N, marks, D = vectors.shape
    flat = vectors.reshape(E, N * marks, D).astype(np.float64)
    plane = PCA(2, svd_solver="full").fit(flat[-1])
    at = np.stack([plane.transform(x) for x in flat])
    share = at.var(1).sum(-1) / flat.var(1).sum(-1)
    at = at.reshape(E, N, marks, 2)
    falls = np.array([np.cov(at[-1, :, 0, axis], sentiments)[0, 1] < 0 for axis in (0, 1)])
    drawn = at[:, places] * np.where(falls, -1, 1)
    unit = float(f"{np.abs(drawn).max() / STEPS:.4g}")
    return np.rint(drawn / unit).clip(-STEPS, STEPS).astype(int), unit, share


def views_of(watched: Watched, sentiments: np.ndarray, places: Sequence[int]) -> dict[str, dict]:
    """By name of `VIEWS` what `View` holds, as plain JSON."""
    found = {}
    for name in VIEWS:
        several = f"{name}_{MODALITIES[0]}" in watched.seen[0]
        marks = MODALITIES if several else ("",)
        keys = [f"{name}_{m}" if several else name for m in marks]
        vectors = np.stack([np.stack([s[k] for k in keys], 1) for s in watched.seen])
        points, unit, share = in_plane(vectors, sentiments, places)
        found[name] = {
            "marks": list(marks), "points": points.reshape(len(points), -1).tolist(),
            "unit": unit, "share": share.round(4).tolist(),
        }  # fmt: skip
    return found


def told(watched: Watched, sentiments: np.ndarray, places: Sequence[int]) -> dict:
    """What is kept of a training: plain JSON, rounded."""
    gates = [dict(zip(PARTS, np.split(s["gate"], len(PARTS), axis=1), strict=True))
             for s in watched.seen]  # fmt: skip
    levels = {part: np.array([g[part].mean(1) for g in gates]) for part in PARTS}  # (E, N)
    mae = [float(np.abs(s["prediction"] - sentiments).mean()) for s in watched.seen]
    return {
        **watched.about,
        "mae": np.round(mae, 4).tolist(),
        "best": 1 + min(watched.history, key=lambda h: h["mae"])["epoch"],
        "similarity": watched.trace,
        "gates": {
            part: [level.mean(1).round(4).tolist(), level.std(1).round(4).tolist()]
            for part, level in levels.items()
        },
        "views": views_of(watched, sentiments, places),
    }


def record(
    target: str | Path, fold: int = 0, seed: int = 0, device: str = "auto", progress: bool = True
) -> dict:
    """Train what `TRAININGS` names on the demo corpus, preset fast, and write what `replay` shows.

    Raises:
        DataError: a target that is no ``.json``; what `training.fit` raises.
    """
    target = Path(target)
    if target.suffix != ".json":
        raise DataError(f"{target}: give a name that ends in .json")
    corpus, trainings = load("demo"), {}
    for name, changes in TRAININGS.items():
        watched = watch(corpus, fold, seed, device=device, progress=progress, **changes)
        people = [corpus.utterances[row] for row in watched.rows]
        sentiments = np.array([u.sentiment for u in people])
        places = chosen_places(sentiments)
        trainings[name] = told(watched, sentiments, places)
    made = {
        "command": f"mmer record {NAME} --fold {fold} --seed {seed}",
        "synthetic": corpus.synthetic, "data": corpus.name, "data_key": corpus.key,
        "preset": "fast", "fold": fold, "seed": seed,
        "part": "dev", "session": ", ".join(sorted({u.session for u in people})),
        "size": len(people),
        "utterances": [[people[p].text, round(people[p].sentiment, 3)] for p in places],
        "trainings": trainings,
    }  # fmt: skip
    write_bytes(target, (json.dumps(made, separators=(",", ":")) + "\n").encode())
    return made


# ------------------------------------------------------------------------------ to be seen


def replay(file: str | Path, **traits) -> TrainingReplay:
    """The interactive figure of what `record` wrote.

    Raises:
        DataError: no such file, or one of another kind.
    """
    try:
        made = json.loads(Path(file).read_text(encoding="utf-8"))
        trainings = {name: _training(one) for name, one in made["trainings"].items()}
        about = {"tag": "recorded", "provenance": _provenance(made), **traits}
        return TrainingReplay(made["utterances"], trainings, **about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not what `mmer record {NAME}` writes; write it again") from error


def _training(one: dict) -> Training:
    views = {}
    for name, v in one["views"].items():
        points = np.array(v["points"])
        points = points.reshape(len(points), -1, len(v["marks"]), 2)
        views[name] = View(v["marks"], points, v["unit"], v["share"])
    return Training(one["mae"], one["best"], one["similarity"], one["gates"], views)


def _provenance(made: dict) -> str:
    every = list(made["trainings"].values())
    devices, revisions = ({str(t[key]) for t in every} for key in ("device", "git"))
    return (
        f"MIMIC, demo corpus (synthetic), preset {made['preset']}, fold {made['fold']}, seed "
        f"{made['seed']}: development session ({made['size']} utterances, none trained on, "
        f"{len(made['utterances'])} drawn); {', '.join(sorted(devices))}; revision "
        f"{', '.join(sorted(revisions))}; {every[0]['time'][:10]}."
    )
