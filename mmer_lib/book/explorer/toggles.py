"""Parts of a trained model, switched on and off: its score, its mistakes, one utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import ModuleType

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, round_range, source
from mmer_lib.experiments.statistics import paired_test


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A combination of parts, measured."""

    scores: Mapping[tuple[int, int], float]  # by fold and seed of the run
    confusion: np.ndarray  # (classes, classes) counts over all runs, the truth in rows
    readings: Sequence[dict]  # see `switches.muse`, of each of the utterances that can be chosen


def sentence(measured: Evaluation, whole: Evaluation, score: str) -> str:
    """A score with its spread, and against the whole model run by run. What stands after a comma
    in the name of the score is left out."""
    score = score.split(",")[0]
    values = np.array(list(measured.scores.values()))
    runs = f"{len(values)} runs" if len(values) > 1 else "one run"
    spread = f" \u00b1 {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    text = f"{score} {values.mean():.3f}{spread} over {runs}."
    pairs = [run for run in measured.scores if run in whole.scores]
    if measured is whole or not pairs:
        return text
    here, there = (np.array([one.scores[run] for run in pairs]) for one in (measured, whole))
    gaps = here - there
    text += f" Against all parts, run by run: {gaps.mean():+.3f}"
    if len(pairs) > 1:
        _, p = paired_test(here, there)
        text += (
            f" on average, from {gaps.min():+.3f} to {gaps.max():+.3f} (p {p:.2f} by sign flips "
            f"of {len(pairs)} pairs, not corrected for how many combinations one looks at)"
        )
    return f"{text}.".replace("-", "\u2212")


def toggle_data(
    parts: ModuleType,
    measured: Mapping[tuple, Evaluation],
    examples: Sequence[dict],
    classes: Sequence[str],
    live: bool = False,
) -> dict:
    """What the switches show.

    Args:
        parts: `switches.muse` or `switches.mimic`. measured: by the values of a combination;
            several can have one and the same `Evaluation`.
        examples: what can be chosen, see `switches.examples`. classes: their names.
        live: whether there is a kernel that measures what is not yet there.
    """
    combinations = list(product(*parts.FACTORS.values()))
    whole, bars = measured[parts.WHOLE], parts.bars(classes)
    distinct = list(dict.fromkeys(measured.values()))
    why_not = {c: parts.why_not(c) for c in combinations}
    lacks = "" if live else parts.UNRECORDED

    def reading(one: dict, example: dict) -> dict:
        says = "No frame reads a word."
        if one.get("attention") is not None:
            word = example["words"][int(np.mean(one["attention"], axis=0).argmax())][0]
            says = f"What frames read of the words; on average most of {word!r}."
        return {**one, "values": [one[key] for key in bars], "says": says}

    return {
        "factors": [{"name": name, "values": v} for name, v in parts.FACTORS.items()],
        "outcomes": [
            {
                "scores": list(one.scores.values()),
                "mean": np.mean(list(one.scores.values())),
                "says": sentence(one, whole, parts.SCORE[1]),
                "confusion": one.confusion,
                "seen": [reading(*pair) for pair in zip(one.readings, examples, strict=True)],
            }
            for one in distinct
        ],
        "at": [distinct.index(measured[c]) if c in measured else -1 for c in combinations],
        "missing": ["" if c in measured else why_not[c] or lacks for c in combinations],
        "waiting": [parts.only_trained(c) if live else "" for c in combinations],
        "idle": [{} if why_not[c] else parts.idle(c) for c in combinations],
        "classes": list(classes),
        "scales": list(bars.values()),
        "map": any(one.get("attention") is not None for one in whole.readings),
        "utterances": list(examples),
        "score": parts.SCORE[1],
        "whole": np.mean(list(whole.scores.values())),
        "range": round_range([s for one in distinct for s in one.scores.values()]),
    }


class Toggles(Explorer):
    """The parts of a model as switches. data: what `toggle_data` gives; traits: of `Explorer`,
    `setting` (factor -> its value) and `utterance`, the place of the one that is shown."""

    _esm = source("common.js", "toggles.js")
    label = traitlets.Unicode("A model whose parts can be switched off").tag(sync=True)
    setting = traitlets.Dict().tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)

    def __init__(self, data: dict, **traits):
        whole = {factor["name"]: factor["values"][0] for factor in data["factors"]}
        super().__init__(data, **{"setting": whole, **traits})
