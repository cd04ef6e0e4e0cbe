"""Every combination of a model's parts, trained, and what each makes of a few utterances: recorded
once, to be toggled in a page without a kernel.

`record` trains what a table of combinations lacks and writes one file; `toggles` makes the
interactive figure of it. What belongs to one model stands in a module of its own, `muse` and
`mimic`, with the same names in both:

- TABLE, TASK, FACTORS (the parts that can be switched off, and in MUSE what is changed beside
  them, the whole model's values first) and SCORE (its key in a result and its name);
- `configuration` and `settings` of a combination, `why_not` (why it has no meaning), `unrecorded`
  (why it is not in the table all the same), `idle` (what has no effect in it);
- `is_whole` (a run whose parts can be taken out), `taken_out` (a batch, while parts of a trained
  model are off) and `only_trained` (why a combination cannot be had so);
- `classes`, `called` and `score` of answers; `readings`, `reading`, `truth` and `scales` of what
  is shown of an utterance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mmer_lib.book.explorer.toggles import Outcome, Shown, Toggles, told_of
from mmer_lib.book.switches import mimic, muse
from mmer_lib.corpora import load
from mmer_lib.data import MODALITIES, Corpus, DataError
from mmer_lib.experiments.sweep import run_table
from mmer_lib.features.batches import loader
from mmer_lib.store import cache_dir, write_bytes
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run, open_run, truth_of

KINDS: dict[str, ModuleType] = {"muse-toggles": muse, "mimic-toggles": mimic}
"""By the name of the table."""


def kind_of(run: Run) -> ModuleType:
    """Whose parts a run has.

    Raises:
        DataError: a model without switches, or one that lacks a part from the start.
    """
    for kind in KINDS.values():
        if kind.is_whole(run):
            return kind
    raise DataError(
        f"{run.folder}: a {run.name} whose parts cannot be taken out; give a whole "
        + " or ".join(kind.configuration(whole(kind))[0] for kind in KINDS.values())
    )


def combinations(kind: ModuleType) -> list[tuple]:
    """All combinations of the factors of a model, the whole model first."""
    return list(product(*kind.FACTORS.values()))


def whole(kind: ModuleType) -> tuple:
    """The combination with all parts."""
    return combinations(kind)[0]


def row_of(kind: ModuleType, values: tuple) -> str | None:
    """The label of the row of the table that is a combination; None where it has no meaning."""
    wanted = kind.configuration(values)
    if wanted is None:
        return None
    model, options = wanted
    for row in kind.TABLE.rows:
        if (row.model, dict(row.settings)) == (model, kind.settings(values)):
            if all(row.options.get(k) == v for k, v in options.items()):
                return row.label
    return None


# ---------------------------------------------------------------------------------- record


def chosen_rows(corpus: Corpus, rows: list[int]) -> list[int]:
    """Of some utterances of the demo corpus the first of each emotion in which no modality
    contradicts, then, for each modality, the first in which it does, if there is one."""
    found: dict[str, int] = {}
    for row in rows:
        u = corpus.utterances[row]
        against = [m for m, role in u.planted.roles.items() if role == "contradicts"]
        found.setdefault(against[0] if against else u.emotion, row)
    return [found[kind] for kind in (*corpus.emotions, *MODALITIES) if kind in found]


def record(table: str, target: str | Path, out: str | Path | None = None, **how) -> dict:
    """Train what is missing of every combination on the demo corpus, and write what `toggles`
    shows. Interrupted, it goes on where it stopped.

    Args:
        table: one of `KINDS`. target: the JSON file. out: folder of all runs. how: `folds`,
            `seeds`, `device`, `workers`, `progress` as `experiments.run_table` takes them.

    Raises:
        DataError: a target that is no ``.json``; what `run_table` raises.
    """
    kind, target = KINDS[table], Path(target)
    if target.suffix != ".json":
        raise DataError(f"{target}: give a name that ends in .json")
    trained = run_table(kind.TABLE, "demo", out=out, **how)
    folder, corpus = Path(out or cache_dir() / "runs"), load("demo")
    chosen = chosen_rows(corpus, corpus.splits(trained["folds"][0]).test)
    kept = ("fold", "seed", kind.SCORE[0], "device", "git", "time", "seconds", "command")
    rows, n = [], len(kind.classes(corpus))
    for row in trained["rows"]:
        runs = [open_run(folder / line["run"]) for line in row["runs"]]
        first = next(r for r in runs if r.result["fold"] == trained["folds"][0])
        rows.append({
            "label": row["label"], "model": row["model"], "options": row["options"],
            "runs": [{k: line[k] for k in kept} for line in row["runs"]],
            "confusion": sum(confusion(kind, *answers(kind, r, corpus), n) for r in runs).tolist(),
            "shown": {"fold": first.result["fold"], "seed": first.result["seed"]},
            "seen": kind.readings(first, corpus, chosen),
        })  # fmt: skip
    made = {
        "table": table, "command": f"mmer record {table}", "synthetic": True,
        "preset": trained["preset"], "classes": list(kind.classes(corpus)),
        "utterances": [asdict(u) for u in shown(kind, corpus, chosen)], "rows": rows,
    }  # fmt: skip
    write_bytes(target, (json.dumps(made, separators=(",", ":")) + "\n").encode())
    return made


@torch.inference_mode()
def answers(
    kind: ModuleType, run: Run, corpus: Corpus, values: tuple | None = None
) -> tuple[Tensor, Tensor]:
    """(logits (N, classes) or (N,), truth (N,)) of the run's test part. `values`: with which parts
    of the model are taken out."""
    examples = examples_for(run, corpus, corpus.splits(run.result["fold"]).test)
    device, said, rows = next(run.model.parameters()).device, [], []
    for given in loader(examples, 64, shuffle=False):
        with kind.taken_out(run.model.eval(), given.to(device), values) as batch:
            said.append(run.model(batch).logits.float().cpu())
        rows += given.index.tolist()
    return torch.cat(said), truth_of(corpus, rows, kind.TASK)


def confusion(kind: ModuleType, said: Tensor, truth: Tensor, classes: int) -> np.ndarray:
    """(classes, classes) counts of `answers`, the truth in rows."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, kind.called(said, truth), 1)
    return counts


def shown(kind: ModuleType, corpus: Corpus, rows: list[int]) -> list[Shown]:
    """Utterances to choose from.

    Raises:
        DataError: one without word times.
    """
    found = []
    for row in rows:
        u = corpus.utterances[row]
        if u.words is None:
            raise DataError(f"{corpus.name}: {u.id} has no word times; choose other rows")
        note = u.emotion or ""
        if u.planted is not None:
            against = [m for m, role in u.planted.roles.items() if role == "contradicts"]
            note += f"; {f'the {against[0]} contradicts' if against else 'nothing contradicts'}"
        words = [(w.text, round(w.start, 3), round(w.end, 3)) for w in u.words]
        seconds = round(len(u.waveform()) / u.rate, 3)
        found.append(Shown(words, seconds, kind.truth(u, corpus), note))
    return found


# --------------------------------------------------------------------------------- to be seen


def toggles(file: str | Path, **traits) -> Toggles:
    """The interactive figure of what `record` wrote.

    Raises:
        DataError: no such file, or one of another kind.
    """
    try:
        made = json.loads(Path(file).read_text(encoding="utf-8"))
        kind = KINDS[made["table"]]
        utterances = [Shown(**u) for u in made["utterances"]]
        by_row = {row["label"]: _outcome(kind, row) for row in made["rows"]}
        runs = [run for row in made["rows"] for run in row["runs"]]
        about = {"tag": "recorded", "provenance": _provenance(runs, made["preset"]), **traits}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: not what `mmer record` writes of {' or '.join(KINDS)}; write it again"
        ) from error
    rows = {values: row_of(kind, values) for values in combinations(kind)}
    outcomes = {values: by_row[label] for values, label in rows.items() if label in by_row}
    return Toggles(told(kind, outcomes, utterances, made["classes"]), **about)


def told(kind: ModuleType, outcomes: Mapping[tuple, Outcome], utterances, classes, live=False):
    """What the switches of a model show, as `explorer.toggles.told_of` gives it; `live`: there is
    a kernel that finds what is not yet among the outcomes."""
    every = combinations(kind)
    missing = {values: kind.why_not(values) for values in every}
    idle = {values: kind.idle(values) for values in every if not missing[values]}
    if live:
        waiting = {values: kind.only_trained(values) for values in idle}
    else:
        waiting, missing = {}, {v: why or kind.unrecorded(v) for v, why in missing.items()}
    why = {values: text for values, text in missing.items() if text and values not in outcomes}
    told = told_of(kind.FACTORS, outcomes, why, idle, utterances, classes,
                   kind.scales(classes), kind.SCORE[1], waiting)  # fmt: skip
    return {**told, "live": live}


def _outcome(kind: ModuleType, row: dict) -> Outcome:
    scores = {(run["fold"], run["seed"]): run[kind.SCORE[0]] for run in row["runs"]}
    seen = [kind.reading(one) for one in row["seen"]]
    return Outcome(scores, np.array(row["confusion"]), seen)


def _provenance(runs: list[dict], preset: str) -> str:
    def told(key):
        return ", ".join(str(v) for v in sorted({run[key] for run in runs}))

    return (
        f"Synthetic speech (demo corpus), preset {preset}, folds {told('fold')}, seeds "
        f"{told('seed')}; {told('device')}; revision {told('git')}; "
        f"{min(run['time'] for run in runs)[:10]}. The utterance is read by the first run."
    )
