"""Every system in one table, under one protocol: the same features, parts, batches, schedule and
seeds for all, the best epoch of each training by its development part, and the learning rate, one
of `RATES`, by the development part of each fold. Only the model and its own losses differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmer_lib.data import Corpus, DataError
from mmer_lib.experiments.catalogue import MUSE, Cell, Row, Table, paper_rows
from mmer_lib.experiments.costs import costs
from mmer_lib.experiments.statistics import paired_test
from mmer_lib.experiments.sweep import Sweep, train_missing
from mmer_lib.experiments.tables import assemble, correct, save_table
from mmer_lib.features.states import UNTRAINED
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run, open_run, truth_of

RATES = (3e-4, 1e-3, 3e-3)
"""The grid that every system is tuned on: its learning rate."""

FLOORS = ("majority", "linear")  # had in closed form: there is no rate to tune


def _protocol(task: str, monitor: str, mode: str, epochs: int) -> dict:
    """Settings of all. No training is stopped before the learning rate has fallen: some systems
    stand still for epochs before they begin to learn."""
    return {
        "batch_size": 32,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "clip": 1.0,
        "frames": "train",
        "text": "glove",
        "encoder_learning_rate": 5e-5,
        "task": task,
        "monitor": monitor,
        "mode": mode,
        "max_epochs": epochs,
        "patience": epochs,
    }


@dataclass(frozen=True)
class Task:
    """What is compared on a kind of label.

    Attributes:
        systems: label, model and its own changes, in the order of their publication.
        settings: the protocol. scores: what is reported; the first is the one that decides.
        published: corpora of which there are published figures; on another, the first's stand.
    """

    systems: tuple[tuple[str, str, dict], ...]
    settings: dict
    scores: tuple[str, ...]
    published: tuple[str, ...]

    @property
    def largest(self) -> bool:
        """Whether more of the score that decides is better."""
        return self.settings["mode"] == "max"


TASKS = {
    "emotion": Task(
        (
            ("majority class", "majority", {}),
            ("linear, late fusion", "linear", {"inputs": ("words", "frames")}),
            ("Yoon et al. 2018", "yoon", {}),
            ("Xu et al. 2019", "xu", {}),
            ("SSL 2020", "ssl", {}),
            ("Li et al. 2021", "li", {}),
            ("BERT, text alone", "bert", {}),
            ("MUSE multilevel", "muse", MUSE),
            ("MUSE multigranular", "muse-multigranular", MUSE),
        ),
        _protocol("emotion", "wa", "max", epochs=12),
        ("wa", "ua"),
        ("iemocap",),
    ),
    "sentiment": Task(
        (
            ("training median", "majority", {}),
            ("linear, late fusion", "linear", {"inputs": ("words", "audio", "vision")}),
            ("MV-LSTM 2016", "mv-lstm", {}),
            ("TFN 2017", "tfn", {}),
            ("LMF 2018", "lmf", {}),
            ("MFN 2018", "mfn", {}),
            ("RAVEN 2019", "raven", {}),
            ("MulT 2019", "mult", {}),
            ("MFM 2019", "mfm", {}),
            ("ICCN 2020", "iccn", {}),
            ("SSL 2020", "ssl", {}),
            ("MISA 2020", "misa", {}),
            ("MIMIC", "mimic", {}),
        ),
        _protocol("sentiment", "mae", "min", epochs=20),
        ("mae", "corr", "acc2_has0", "acc2_non0", "acc7"),
        ("mosi", "mosei"),
    ),
}


def tasks_of(corpus: Corpus) -> list[str]:
    """The tasks that a corpus has labels for; a DataError where it has none."""
    tasks = [t for t in TASKS if all(getattr(u, t) is not None for u in corpus.utterances)]
    if not tasks:
        raise DataError(f"{corpus.name}: some utterances have no emotion, and some no sentiment")
    return tasks


def published(model: str, corpus: str) -> dict[str, float]:
    """Published figures of a system on a corpus, shares of 1; of several sources the first that
    `data/paper/systems.csv` lists."""
    figures: dict[str, float] = {}
    for row in paper_rows("systems"):
        if (row["system"], row["corpus"]) == (model, corpus):
            name, value = row["measure"], row["value"]
            percent = name.startswith(("acc", "f1")) and value > 1
            figures.setdefault(name, round(value / 100, 6) if percent else value)
    return figures


def comparison(
    task: str, corpus: str, models: Sequence[str] | None = None, speech_encoder: str | None = None
) -> Table:
    """The rows of a comparison, without what tuning will set.

    Args:
        task: of `TASKS`. corpus: its name, for the published figures.
        models: those that take part; None: all. A DataError for one that has no place in it.
        speech_encoder: name or folder of the frozen encoder of SSL; None: the untrained one.
    """
    about, rows = TASKS[task], []
    source = corpus if corpus in about.published else about.published[0]
    known = [model for _, model, _ in about.systems]
    if unknown := ", ".join(set(models or ()) - set(known)):
        raise DataError(f"{unknown}: not compared on {task}; known: {', '.join(known)}")
    for label, model, own in about.systems:
        if models and model not in models:
            continue
        changes = {**own, **about.settings}
        if model == "ssl":
            changes["listener"] = speech_encoder or UNTRAINED
            label += "" if speech_encoder else ", encoder untrained"
        if model in FLOORS:
            changes |= {"max_epochs": 1, "warmup": 0.0, "weight_decay": 0.0}
        rows.append(Row(label, model, changes, published(model, source)))
    return Table(
        f"compare-{task}",
        f"Systems that learn {task}, under one protocol.",
        tuple(rows),
        rows[-1].label,
        about.scores,
        (),
        source.upper(),
        "They were taken under their authors' own protocols; sources: data/paper/systems.csv.",
    )


def _at_rate(row: Row, rate: float) -> Row:
    label = f"{row.label}, rate {rate:g}"
    return replace(row, label=label, changes={**row.changes, "learning_rate": rate})


def compare(
    task: str,
    corpus: str = "demo",
    models: Sequence[str] | None = None,
    speech_encoder: str | None = None,
    **how,
) -> dict:
    """Tune and train what is missing, and set the systems beside each other.

    Args:
        task, models, speech_encoder: see `comparison`. corpus, how: see `sweep.Sweep`; its
            changes are fields of `Settings` alone. Tuning takes the first of the seeds.

    Warns:
        UserWarning: a corpus without sound, which SSL reads; it is left out.

    Returns:
        A table as `tables.read_table` gives it. Differences and p are over utterances (see
        `against_best`); `tuning` holds the grid, the development scores and what was chosen, and
        `costs` of a row what `costs.costs` measures.
    """
    if "learning_rate" in how:
        raise DataError("learning_rate: is what the comparison tunes; leave it out")
    sweep = Sweep(corpus, **how)
    data, folds, seeds = sweep.corpus, sweep.folds, sweep.seeds
    if models is None and any(u.waveform is None for u in data.utterances):
        models = [model for _, model, _ in TASKS[task].systems if model != "ssl"]
        warnings.warn(f"{data.name} has no sound: left out SSL, which hears it", stacklevel=2)
    table = comparison(task, data.name, models, speech_encoder)
    tuning = _tuned(task, table, sweep)

    def tuned(row: Row, fold: int) -> Row:
        chosen = tuning["rows"].get(row.label)
        return _at_rate(row, chosen[str(fold)]["rate"]) if chosen else row

    cells = [Cell(tuned(r, f), f, s) for r in table.rows for f in folds for s in seeds]
    found, score = iter(train_missing(sweep, cells, table.name)), table.scores[0]
    results = {row.label: [next(found) for _ in folds for _ in seeds] for row in table.rows}
    runs = {k: [open_run(sweep.out / r["run"]) for r in own] for k, own in results.items()}
    means = {k: np.mean([r["test"][score] for r in own]) for k, own in results.items()}
    best = (max if TASKS[task].largest else min)(means, key=means.get)
    words = ["mmer", "tables", "compare", "--task", task, *data.arguments]
    words += ["--models", *(row.model for row in table.rows)] if models else []
    words += ["--speech-encoder", speech_encoder] if speech_encoder else []
    measured = costs({label: own[0].model for label, own in runs.items()})
    about = {"tuning": tuning, "compared": "utterances", "measured": measured["about"]}
    table = replace(table, reference=best)
    planned = len(folds) * len(seeds)
    compared = assemble(table, results, planned, **sweep.about(*words), **about)
    compared["tested"] = [score]
    against_best(compared, {label: earned(own, data) for label, own in runs.items()}, score)
    for row in compared["rows"]:
        row["costs"] = measured["rows"][row["label"]]
    save_table(compared, sweep.out / "tables")
    return compared


def _tuned(task: str, table: Table, sweep: Sweep) -> dict:
    """The development scores at each rate, and the best rate, by row and fold."""
    places = [(r, fold) for r in table.rows if r.model not in FLOORS for fold in sweep.folds]
    seed, monitor = sweep.seeds[0], TASKS[task].settings["monitor"]
    cells = [Cell(_at_rate(row, rate), fold, seed) for row, fold in places for rate in RATES]
    results, rows = iter(train_missing(sweep, cells, f"{table.name}-tuning")), {}
    best = max if TASKS[task].largest else min
    for row, fold in places:
        scores = {rate: next(results)["dev"][monitor] for rate in RATES}
        chosen = {"rate": best(RATES, key=scores.get), monitor: list(scores.values())}
        rows.setdefault(row.label, {})[str(fold)] = chosen
    return {"grid": list(RATES), "seed": seed, "monitor": monitor, "rows": rows}


def earned(runs: Sequence[Run], corpus: Corpus) -> dict[int, float]:
    """By utterance of the test parts, the mean over some runs of what they earn with it: 1 or 0 for
    the right or a wrong class, or the absolute error of the sentiment."""
    values: dict[int, list[float]] = {}
    for run in runs:
        rows = corpus.splits(run.result["fold"]).test
        index, logits = run.predict(examples_for(run, corpus, rows))
        truth = truth_of(corpus, index, run.settings.task)
        if run.settings.task == "emotion":
            each = (logits.argmax(1) == truth).double()
        else:
            each = (logits - truth).abs().double()
        for row, value in zip(index.tolist(), each.tolist(), strict=True):
            values.setdefault(row, []).append(value)
    return {row: float(np.mean(own)) for row, own in values.items()}


def against_best(table: dict, seen: dict[str, dict[int, float]], score: str) -> None:
    """Difference, pairs and p of each row against the reference, over utterances (`earned`)."""
    base = seen[table["reference"]]
    for row in table["rows"]:
        if row["label"] != table["reference"]:
            own, rows = seen[row["label"]], sorted(base)
            difference, p = paired_test([own[r] for r in rows], [base[r] for r in rows])
            row[score] |= {"difference": difference, "pairs": len(rows), "p": p}
    correct([row[score] for row in table["rows"]])
