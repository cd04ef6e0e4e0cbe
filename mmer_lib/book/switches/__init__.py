"""Every combination of a model's parts, trained, and what each makes of a few utterances: recorded
once, to be toggled in a page without a kernel.

`record` trains what the table of combinations lacks and writes one file; `toggles` makes the
interactive figure of it. What belongs to one model stands in a module of its own, `muse` and
`mimic`, with the same names in both:

- TASK, FACTORS (the parts that can be switched off, and in MUSE what is changed beside
  them, the whole model's values first), WHOLE (those), SCORE (its key in a result and its name)
  and UNRECORDED (why a combination that has a meaning may not be in the table);
- `configuration` of a combination (model, changes), `why_not` (why it has no meaning), `idle`
  (which factors have no effect in it, and why);
- `has_all_parts` (a run whose parts can be taken out), `taken_out` (a batch, while parts of a
  trained model are off) and `only_trained` (why a combination cannot be had so);
- `classes` and `class_pairs` (true and predicted classes (N,)) of answers; `readings`, `truth` and
  `bars` (key of a reading -> title, names, low, high) of what is shown of an utterance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from mmer_lib.book.explorer.toggles import Evaluation, Toggles, toggle_data
from mmer_lib.book.switches import mimic, muse
from mmer_lib.corpora import load
from mmer_lib.data import MODALITIES, Corpus, DataError, Utterance
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.sweep import run_table
from mmer_lib.features.batches import loader
from mmer_lib.store import cache_dir, write_bytes
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run, open_run, truth_of

MODELS: dict[str, ModuleType] = {"muse-toggles": muse, "mimic-toggles": mimic}
"""By the name of the table."""


def combinations(parts: ModuleType) -> list[tuple]:
    """All combinations of the factors of a model, the whole model first."""
    return list(product(*parts.FACTORS.values()))


def row_of(parts: ModuleType, values: tuple) -> Row | None:
    """A combination as a row of the table; None where it has no meaning, or is not recorded."""
    made = parts.configuration(values) if parts.recorded(values) else None
    named = zip(parts.FACTORS, values, strict=True)
    label = ", ".join(on if isinstance(on, str) else name for name, on in named if on)
    return made and Row(label, *made)


def table_of(name: str) -> Table:
    """Every training that a combination of the parts asks for, the whole model first."""
    parts, rows = MODELS[name], {}
    for row in filter(None, (row_of(parts, values) for values in combinations(parts))):
        rows.setdefault(_key(row.model, row.changes), row)
    first, *_ = rows.values()
    title = "Every combination of the parts."
    return Table(name, title, tuple(rows.values()), first.label, (parts.SCORE[0],))


def _key(model: str, changes: dict) -> str:
    return json.dumps([model, changes], sort_keys=True)


def contradicts(utterance: Utterance) -> str | None:
    """The first modality of an utterance of the demo corpus that contradicts."""
    roles = utterance.planted.roles.items()
    return next((m for m, role in roles if role == "contradicts"), None)


def chosen_rows(corpus: Corpus, rows: Sequence[int]) -> list[int]:
    """Of some utterances of the demo corpus the first of each emotion in which no modality
    contradicts, then, for each modality, the first in which it does, if there is one."""
    first: dict[str, int] = {}
    for row in rows:
        u = corpus.utterances[row]
        first.setdefault(contradicts(u) or u.emotion, row)
    return [first[kind] for kind in (*corpus.emotions, *MODALITIES) if kind in first]


def record(name: str, target: str | Path, out: str | Path | None = None, **how) -> None:
    """Train what is missing of every combination on the demo corpus, and write what `toggles`
    shows. Interrupted, it goes on where it stopped.

    Args:
        name: of `MODELS`. target: the JSON file. out: folder of all runs. how: `folds`, `seeds`,
            `device`, `workers`, `progress` as `sweep.Sweep` takes them.

    Raises:
        DataError: what `run_table` raises.
    """
    parts = MODELS[name]
    table = run_table(table_of(name), "demo", out=out, **how)
    folder, corpus = Path(out or cache_dir() / "runs"), load("demo")
    chosen = chosen_rows(corpus, corpus.splits(table["folds"][0]).test)
    kept = ("fold", "seed", parts.SCORE[0], "device", "git", "time", "seconds", "command")
    rows, n = [], len(parts.classes(corpus))
    for row in table["rows"]:
        runs = [open_run(folder / line["run"]) for line in row["runs"]]
        first = next(r for r in runs if r.result["fold"] == table["folds"][0])
        counts = [confusion(parts, *answers(parts, run, corpus), n) for run in runs]
        rows.append(
            {
                "label": row["label"],
                "model": row["model"],
                "changes": row["changes"],
                "runs": [{k: line[k] for k in kept} for line in row["runs"]],
                "confusion": sum(counts).tolist(),
                "shown": {"fold": first.result["fold"], "seed": first.result["seed"]},
                "seen": parts.readings(first, corpus, chosen),
            }
        )
    recorded = {
        "table": name,
        "command": f"python -m mmer_lib.book.record {name}",
        "synthetic": True,
        "preset": table["preset"],
        "classes": list(parts.classes(corpus)),
        "utterances": examples(parts, corpus, chosen),
        "rows": rows,
    }
    write_bytes(Path(target), (json.dumps(recorded, separators=(",", ":")) + "\n").encode())


@torch.inference_mode()
def answers(
    parts: ModuleType, run: Run, corpus: Corpus, values: tuple | None = None
) -> tuple[Tensor, Tensor]:
    """(logits (N, classes) or (N,), truth (N,)) of the run's test part. `values`: with which parts
    of the model are taken out; None: with none."""
    values = values or parts.WHOLE
    test = examples_for(run, corpus, corpus.splits(run.result["fold"]).test)
    device, logits, rows = next(run.model.parameters()).device, [], []
    for given in loader(test, 64, shuffle=False):
        with parts.taken_out(run.model.eval(), given.to(device), values) as batch:
            logits.append(run.model(batch).logits.float().cpu())
        rows += given.index.tolist()
    return torch.cat(logits), truth_of(corpus, rows, parts.TASK)


def confusion(parts: ModuleType, logits: Tensor, truth: Tensor, classes: int) -> np.ndarray:
    """(classes, classes) counts of `answers`, the truth in rows."""
    return confusion_matrix(*parts.class_pairs(logits, truth), labels=range(classes))


def examples(parts: ModuleType, corpus: Corpus, rows: Sequence[int]) -> list[dict]:
    """Utterances to choose from: "words" (text, start, end) and "seconds", how long it lasts;
    "truth": of several of the first `bars` the place of the right one, of one its right value;
    "note": a line on it.

    Raises:
        DataError: one without word times.
    """
    chosen = []
    for row in rows:
        u = corpus.utterances[row]
        if u.words is None:
            raise DataError(f"{corpus.name}: {u.id} has no word times; choose other rows")
        note = u.emotion or ""
        if u.planted is not None:
            against = contradicts(u)
            note += f"; {f'the {against} contradicts' if against else 'nothing contradicts'}"
        chosen.append(
            {
                "words": [(w.text, round(w.start, 3), round(w.end, 3)) for w in u.words],
                "seconds": round(len(u.waveform()) / u.rate, 3),
                "truth": parts.truth(u, corpus),
                "note": note,
            }
        )
    return chosen


def toggles(file: str | Path, **traits) -> Toggles:
    """The interactive figure of what `record` wrote.

    Raises:
        DataError: no such file, or one of another kind.
    """
    try:
        recorded = json.loads(Path(file).read_text(encoding="utf-8"))
        parts, rows = MODELS[recorded["table"]], recorded["rows"]
        by_row = {}
        for row in rows:
            scores = {(run["fold"], run["seed"]): run[parts.SCORE[0]] for run in row["runs"]}
            own = Evaluation(scores, np.array(row["confusion"]), row["seen"])
            by_row[_key(row["model"], row["changes"])] = own
        made = {values: row_of(parts, values) for values in combinations(parts)}
        keys = {values: _key(row.model, row.changes) for values, row in made.items() if row}
        measured = {values: by_row[key] for values, key in keys.items() if key in by_row}
        data = toggle_data(parts, measured, recorded["utterances"], recorded["classes"])
        provenance = _provenance([run for row in rows for run in row["runs"]], recorded["preset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: not a record of {' or '.join(MODELS)}; write it again with "
            "python -m mmer_lib.book.record"
        ) from error
    return Toggles(data, **{"provenance": provenance, **traits})


def _provenance(runs: Sequence[dict], preset: str) -> str:
    def all_of(key: str) -> str:
        return ", ".join(str(v) for v in sorted({run[key] for run in runs}))

    return (
        f"Synthetic speech (demo corpus), preset {preset}, folds {all_of('fold')}, seeds "
        f"{all_of('seed')}; {all_of('device')}; revision {all_of('git')}; "
        f"{min(run['time'] for run in runs)[:10]}. The utterance is read by the first run."
    )
