"""Every combination of a model's parts, trained, and what each makes of a few utterances: recorded
once, to be toggled in a page without a kernel.

`record` trains what `catalogue`'s table of combinations lacks and writes one file; `toggles` makes
the interactive figure of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from mmer_lib.batch import Batch, loader
from mmer_lib.cache import cache_dir, write_bytes
from mmer_lib.catalogue import TABLES
from mmer_lib.corpora import MODALITIES, Corpus, DataError, load
from mmer_lib.experiments import run_table
from mmer_lib.explorer.toggles import Outcome, Reading, Shown, Toggles, told_of
from mmer_lib.models.muse import Muse
from mmer_lib.probes import look_inside_muse, silenced, skipped
from mmer_lib.runs import Run, open_run
from mmer_lib.training import examples_for

TABLE = TABLES["muse-toggles"]

FACTORS = {
    "words": (True, False),
    "phonemes": (True, False),
    "joined by": ("highway", "concatenation"),
    "cross-modal attention": (True, False),
    "deep fusion": (True, False),
    "BERT": (True, False),
}
"""The parts of MUSE that can be switched off, the whole model's values first."""

_NEITHER = "MUSE needs words or phonemes"
_NOTHING = "then nothing would be read: neither words nor other frames"
_ONE = "there is one input: nothing to join"
_UNREAD = "without cross-modal attention no word is read"


def configuration(values: tuple) -> tuple[str, dict] | None:
    """The model and the options that make a combination of `FACTORS`; None where it has no
    meaning (see `why_not`)."""
    words, phonemes, joined, cross, deep, bert = values
    if why_not(values):
        return None
    both = "highway" if joined == "highway" else "concat"
    fusion = both if words and phonemes else "word" if words else "phoneme"
    options = {"fusion": fusion if cross else "highway",
               "cross_layers": int(cross), "fusion_layers": 2 * deep}  # fmt: skip
    return ("muse-multigranular" if bert else "muse"), options


def settings(values: tuple) -> dict:
    """The settings of the training that a combination needs, other than the preset's."""
    return {} if values[3] else {"align": 0.0}  # no cross-modal attention to align


def why_not(values: tuple) -> str:
    """Why a combination has no meaning; "" where it has one."""
    words, phonemes, _, cross, deep, _ = values
    if not words and not phonemes:
        return _NEITHER
    return "" if cross or deep else _NOTHING


def idle(values: tuple) -> dict[str, str]:
    """The factors that have no effect in a combination, and why."""
    words, phonemes, _, cross, _, _ = values
    if not cross:
        return dict.fromkeys(("words", "phonemes", "joined by"), _UNREAD)
    return {} if words and phonemes else {"joined by": _ONE}


def meaning() -> tuple[dict[tuple, str], dict[tuple, dict[str, str]]]:
    """(why combinations have no meaning, what has no effect in the others), by combination."""
    every = list(product(*FACTORS.values()))
    return (
        {values: why_not(values) for values in every if why_not(values)},
        {values: idle(values) for values in every if not why_not(values)},
    )


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


def readings(run: Run, corpus: Corpus, rows: list[int], values: tuple | None = None) -> list[dict]:
    """What a trained MUSE does with some utterances, as plain lists: "probabilities", "attention"
    (T, W) of the last cross-modal layer, mean over heads, "times" (T,), "gates" (2, W), mean over
    the layers and numbers of each half; None where there is no such part. `values`: of `FACTORS`,
    with which parts of the model are taken out (`taken_out`)."""
    found, model = [], run.model
    examples = examples_for(run, corpus, rows)
    halves = model.fusion.phonemes.width if model.fusion.highway else 0
    cross, highway = bool(model.cross_modal), bool(model.fusion.highway)
    if values is not None:
        words, phonemes, joined, cross, _, _ = values
        highway = words and phonemes and joined == "highway"
    for row in examples.rows:
        with taken_out(model, examples.collate([row]), values) as batch:
            inside = {k: v[0].numpy() for k, v in look_inside_muse(model, batch).items()}
        maps = [v for k, v in inside.items() if k.startswith("cross_")]
        gates = [v for k, v in inside.items() if k.startswith("gate_")]
        attention = maps[-1].mean(0)[1:] if cross else None  # (T, W) without the dummy frame
        frames = 0 if attention is None else len(attention)
        gate = np.mean(gates, axis=0) if highway and cross else None  # (W, D)
        sides = None if gate is None else [gate[:, :halves].mean(1), gate[:, halves:].mean(1)]
        found.append({
            "probabilities": _rounded(inside["probabilities"], 4),
            "attention": _rounded(attention, 3),
            "times": _rounded(model.frame_times(frames).numpy(), 3),
            "gates": _rounded(sides, 3),
        })  # fmt: skip
    return found


@contextmanager
def taken_out(model: Muse, batch: Batch, values: tuple | None) -> Iterator[Batch]:
    """The batch to give to a trained model (multigranular, with a highway) while
    parts of it are off, without training it again: words or phonemes are zeros, the
    highway hands its input on, cross-modal attention and BERT's branch write zeros,
    layers of the deep fusion hand on."""
    if values is None:
        yield batch
        return
    words, phonemes, joined, cross, deep, bert = values
    if not words:
        zeros, known = torch.zeros_like(batch.words), torch.ones_like(batch.known)
        batch = replace(batch, words=zeros, known=known)
    if not phonemes:
        batch = replace(batch, phonemes=torch.zeros_like(batch.phonemes))
    handed_on, silent = [], []
    if not (words and phonemes and joined == "highway"):
        handed_on += model.fusion.highway
    if not deep:
        handed_on += model.deep_fusion
    if not cross:
        silent += [layer.cross for layer in model.cross_modal]
    if not bert:
        silent.append(model.project_global)
    with skipped(*handed_on), silenced(*silent):
        yield batch


def _rounded(values, digits: int) -> list | None:
    return None if values is None else np.asarray(values, float).round(digits).tolist()


@torch.inference_mode()
def confusion(run: Run, corpus: Corpus, values: tuple | None = None) -> np.ndarray:
    """(classes, classes) counts of the run's test part, the truth in rows; `values` as in
    `readings`."""
    examples = examples_for(run, corpus, corpus.splits(run.result["fold"]).test)
    counts = np.zeros((len(corpus.emotions),) * 2, int)
    device = next(run.model.parameters()).device
    for given in loader(examples, 64, shuffle=False):
        with taken_out(run.model, given.to(device), values) as batch:
            said = run.model.eval()(batch).logits.argmax(1).cpu()
        np.add.at(counts, (given.emotion.cpu().numpy(), said.numpy()), 1)
    return counts


def record(target: str | Path, out: str | Path | None = None, **how) -> dict:
    """Train what is missing of every combination on the demo corpus, and write what `toggles`
    shows. Interrupted, it goes on where it stopped.

    Args:
        target: the JSON file. out: folder of all runs. how: `folds`, `seeds`, `device`, `workers`,
            `progress` as `experiments.run_table` takes them.

    Raises:
        DataError: a target that is no ``.json``; what `run_table` raises.
    """
    target = Path(target)
    if target.suffix != ".json":
        raise DataError(f"{target}: give a name that ends in .json")
    table = run_table(TABLE, "demo", out=out, **how)
    folder, corpus = Path(out or cache_dir() / "runs"), load("demo")
    chosen = chosen_rows(corpus, corpus.splits(table["folds"][0]).test)
    rows = []
    for row in table["rows"]:
        runs = [open_run(folder / line["run"]) for line in row["runs"]]
        first = next(r for r in runs if r.result["fold"] == table["folds"][0])
        kept = ("fold", "seed", "wa", "device", "git", "time", "seconds", "command")
        rows.append({
            "label": row["label"], "model": row["model"], "options": row["options"],
            "runs": [{k: line[k] for k in kept} for line in row["runs"]],
            "confusion": sum(confusion(r, corpus) for r in runs).tolist(),
            "shown": {"fold": first.result["fold"], "seed": first.result["seed"]},
            "seen": readings(first, corpus, chosen),
        })  # fmt: skip
    made = {
        "table": TABLE.name, "command": f"mmer record {TABLE.name}", "synthetic": True,
        "preset": table["preset"], "classes": list(corpus.emotions),
        "utterances": [asdict(u) for u in shown(corpus, chosen)], "rows": rows,
    }  # fmt: skip
    write_bytes(target, (json.dumps(made, separators=(",", ":")) + "\n").encode())
    return made


def shown(corpus: Corpus, rows: list[int]) -> list[Shown]:
    """Utterances to choose from.

    Raises:
        DataError: one without word times.
    """
    found = []
    for row in rows:
        u = corpus.utterances[row]
        if u.words is None:
            raise DataError(f"{corpus.name}: {u.id} has no word times; choose other rows")
        note = u.emotion
        if u.planted is not None:
            against = [m for m, role in u.planted.roles.items() if role == "contradicts"]
            note += f"; {f'the {against[0]} contradicts' if against else 'nothing contradicts'}"
        words = [(w.text, round(w.start, 3), round(w.end, 3)) for w in u.words]
        seconds = round(len(u.waveform()) / u.rate, 3)
        found.append(Shown(words, seconds, corpus.emotions.index(u.emotion), note))
    return found


# --------------------------------------------------------------------------------- to be seen


def toggles(file: str | Path, **traits) -> Toggles:
    """The interactive figure of what `record` wrote.

    Raises:
        DataError: no such file, or one of another kind.
    """
    try:
        made = json.loads(Path(file).read_text(encoding="utf-8"))
        utterances = [Shown(**u) for u in made["utterances"]]
        by_row = {_key(r["model"], r["options"]): _outcome(r) for r in made["rows"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: not what `mmer record {TABLE.name}` writes; write it again"
        ) from error
    outcomes = {
        values: by_row[_key(*configuration(values))]
        for values in product(*FACTORS.values())
        if not why_not(values) and _key(*configuration(values)) in by_row
    }
    runs = [run for row in made["rows"] for run in row["runs"]]
    about = {"tag": "recorded", "provenance": _provenance(runs, made["preset"]), **traits}
    data = told_of(FACTORS, outcomes, *meaning(), utterances, made["classes"], "WA")
    return Toggles(data, **about)


def _key(model: str, options: Mapping) -> tuple:
    return (model, *(options[k] for k in ("fusion", "cross_layers", "fusion_layers")))


def _outcome(row: dict) -> Outcome:
    scores = {(run["fold"], run["seed"]): run["wa"] for run in row["runs"]}
    return Outcome(scores, np.array(row["confusion"]), [Reading(**one) for one in row["seen"]])


def _provenance(runs: list[dict], preset: str) -> str:
    def told(key):
        return ", ".join(str(v) for v in sorted({run[key] for run in runs}))

    return (
        f"Synthetic speech (demo corpus), preset {preset}, folds {told('fold')}, seeds "
        f"{told('seed')}; {told('device')}; revision {told('git')}; "
        f"{min(run['time'] for run in runs)[:10]}. The utterance is read by the first run."
    )
