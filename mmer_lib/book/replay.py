"""One training of MIMIC, looked into after every epoch: `record` trains and writes what a page
shows, `replay` makes the figure of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from mmer_lib.book.explorer.training_replay import VIEWS, TrainingReplay
from mmer_lib.corpora import load
from mmer_lib.data import MODALITIES, Corpus, DataError
from mmer_lib.features.batches import Examples
from mmer_lib.models.base import Model
from mmer_lib.models.layers import record as record_modules
from mmer_lib.models.mimic import PARTS
from mmer_lib.probes.inside import look_inside_mimic
from mmer_lib.store import write_bytes
from mmer_lib.training.fit import features_for, fit, plan
from mmer_lib.training.runs import Run

NAME = "mimic-replay"
TRAININGS = {"with the regulariser": {}, "without it": {"contrastive": 0.0}}
"""What is recorded, by the name that a reader chooses: changes as `training.fit` takes them."""
PER_SCORE = 12
"""At most so many utterances of each rounded sentiment are shown."""
KEPT = ("command", "seconds", "device", "threads", "time", "git", "versions")
"""What is kept of the result of a run, see `runs.provenance`."""
STEPS = 500
"""Places in the picture are whole numbers from -STEPS to STEPS."""


def train_watched(
    corpus: Corpus, fold: int = 0, seed: int = 0, device: str = "auto", progress: bool = True, **how
) -> tuple[Run, list[dict[str, np.ndarray]]]:
    """Train MIMIC as ``fit("mimic", ...)`` does, and look at the development part before the first
    step and after every epoch. Errors are those of `fit`; the run is not kept.

    Returns:
        The run, and for each of those moments arrays with a row an utterance: every representation
        that `look_inside_mimic` names, "gate" (N, parts * D), "prediction" (N,).
    """
    planned, moments = plan("mimic", corpus, fold, seed, **how), []
    features = features_for(planned.model.needs(planned.config), planned.settings, corpus, progress)
    batch = Examples(corpus, features, planned.split.dev).collate(planned.split.dev)

    @torch.inference_mode()
    def look(model: Model, step: int, steps_per_epoch: int) -> None:
        if step % steps_per_epoch:
            return
        training, device = model.training, next(model.parameters()).device
        with record_modules({"prediction": model.head}) as outputs:
            inside = look_inside_mimic(model, batch.to(device))
        model.train(training)
        inside["prediction"] = outputs["prediction"].squeeze(-1)
        moments.append({name: value.cpu().numpy() for name, value in inside.items()})

    with TemporaryDirectory() as out:
        options = {"device": device, "out": out, "progress": progress, "watch": [look]}
        return fit("mimic", corpus, fold, seed, **options, **how), moments


def chosen_places(sentiments: Sequence[float], each: int = PER_SCORE) -> list[int]:
    """Places of the first `each` utterances of every rounded sentiment, in their order."""
    scores = pd.Series(np.round(sentiments).astype(int))
    return np.flatnonzero(scores.groupby(scores).cumcount() < each).tolist()


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


def recorded_training(
    result: dict, moments: Sequence[dict], sentiments: np.ndarray, places: Sequence[int]
) -> dict:
    """What is kept of a training (see `train_watched`), plain JSON, rounded; E moments, U
    utterances that are drawn.

    "mae" (E,) on the development part; "best": the epoch whose weights are kept; "similarity": see
    `trace.Trace`; "gates": by part, mean and standard deviation over utterances of the mean gate,
    (E,) each; "views": by name of `VIEWS`, "points" (E, U * marks * 2) whole numbers, "unit" the
    length in the space of one of their steps, "share" (E,) of the variance in the plane, "marks"
    the modalities, or one empty name. Beside them "command", "seconds", "source" (the key of the
    run) and `runs.provenance`.
    """
    views = {}
    for name in VIEWS:
        marks = MODALITIES if f"{name}_{MODALITIES[0]}" in moments[0] else ("",)
        keys = [f"{name}_{mark}".rstrip("_") for mark in marks]
        vectors = np.stack([np.stack([s[k] for k in keys], 1) for s in moments])
        points, unit, share = in_plane(vectors, sentiments, places)
        views[name] = {
            "marks": list(marks),
            "points": points.reshape(len(points), -1).tolist(),
            "unit": unit,
            "share": share.round(4).tolist(),
        }
    gates = np.stack([s["gate"] for s in moments])  # (E, N, parts * D)
    levels = np.stack([part.mean(2) for part in np.split(gates, len(PARTS), axis=2)])
    mae = [float(np.abs(s["prediction"] - sentiments).mean()) for s in moments]
    return {
        "source": result["key"][:16],
        **{key: result[key] for key in KEPT},
        "mae": np.round(mae, 4).tolist(),
        "best": 1 + result["best_epoch"],
        "similarity": result["trace"],
        "gates": {
            part: [level.mean(1).round(4).tolist(), level.std(1).round(4).tolist()]
            for part, level in zip(PARTS, levels, strict=True)
        },
        "views": views,
    }


def record(
    target: str | Path, fold: int = 0, seed: int = 0, device: str = "auto", progress: bool = True
) -> None:
    """Train what `TRAININGS` names on the demo corpus, preset fast, and write what `replay` shows.

    Raises:
        DataError: what `training.fit` raises.
    """
    corpus, trainings = load("demo"), {}
    people = [corpus.utterances[row] for row in corpus.splits(fold).dev]
    sentiments = np.array([u.sentiment for u in people])
    places = chosen_places(sentiments)
    for name, changes in TRAININGS.items():
        run, moments = train_watched(corpus, fold, seed, device, progress, **changes)
        trainings[name] = recorded_training(run.result, moments, sentiments, places)
    recorded = {
        "command": f"python -m mmer_lib.book.record {NAME} --fold {fold} --seed {seed}",
        "synthetic": corpus.synthetic,
        "data": corpus.name,
        "data_key": corpus.key,
        "preset": "fast",
        "fold": fold,
        "seed": seed,
        "part": "dev",
        "session": ", ".join(sorted({u.session for u in people})),
        "size": len(people),
        "utterances": [[people[p].text, round(people[p].sentiment, 3)] for p in places],
        "trainings": trainings,
    }
    write_bytes(Path(target), (json.dumps(recorded, separators=(",", ":")) + "\n").encode())


def replay(file: str | Path, **traits) -> TrainingReplay:
    """The interactive figure of what `record` wrote.

    Raises:
        DataError: no such file, or one of another kind.
    """
    try:
        recorded = json.loads(Path(file).read_text(encoding="utf-8"))
        every = list(recorded["trainings"].values())
        devices, revisions = (sorted({str(t[key]) for t in every}) for key in ("device", "git"))
        provenance = (
            f"MIMIC, demo corpus (synthetic), preset {recorded['preset']}, fold "
            f"{recorded['fold']}, seed {recorded['seed']}: development session "
            f"({recorded['size']} utterances, none trained on, {len(recorded['utterances'])} "
            f"drawn); {', '.join(devices)}; revision {', '.join(revisions)}; "
            f"{every[0]['time'][:10]}."
        )
        traits = {"provenance": provenance, **traits}
        return TrainingReplay(recorded["utterances"], recorded["trainings"], **traits)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{file}: not a record of {NAME}; write it again with python -m mmer_lib.book.record"
        ) from error
