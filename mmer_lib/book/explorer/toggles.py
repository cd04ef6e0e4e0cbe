"""Parts of a trained model, switched on and off: its score, its mistakes, one utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, round_range, source
from mmer_lib.experiments.statistics import paired_test

Run = tuple[int, int]
"""Fold and seed."""


@dataclass(frozen=True)
class Bars:
    """What some bars show: a title, a name for each of them, and the range of their values."""

    title: str
    names: Sequence[str]
    low: float
    high: float


@dataclass(frozen=True)
class Reading:
    """What a model does with one utterance of W words.

    Attributes:
        values: for each of the `Bars`, a value for each of its names; None where there is none.
        attention: (T, W), what each frame reads of the words; None where none is read.
        times: (T,) seconds, the middle of each frame.
        gates: (2, W) how far the highway opens for the sound and for the word; None without one.
    """

    values: Sequence[Sequence[float | None]]
    attention: np.ndarray | None = None
    times: np.ndarray = ()
    gates: np.ndarray | None = None


@dataclass(frozen=True)
class Evaluation:
    """A combination of parts, measured.

    Attributes:
        scores: by run.
        confusion: (classes, classes) counts over all runs, the truth in rows.
        readings: one for each of the utterances that can be chosen.
    """

    scores: Mapping[Run, float]
    confusion: np.ndarray
    readings: Sequence[Reading]


@dataclass(frozen=True)
class Example:
    """An utterance to choose: its words (text, start, end) with times in seconds, how long it
    lasts, what is true of it (of several of the first `Bars` the place of the right one, of one
    bar its right value), and a line on it."""

    words: Sequence[tuple[str, float, float]]
    seconds: float
    truth: float
    note: str = ""


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


class Toggles(Explorer):
    """The parts of a model as switches.

    Attributes:
        setting: factor -> its value. utterance: which is shown.

    Args:
        data: what `toggle_data` gives.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`; `setting`, `utterance`.
    """

    _esm = source("common.js", "toggles.js")
    setting = traitlets.Dict().tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)

    def __init__(
        self, data: dict, label: str = "A model whose parts can be switched off", **traits
    ):
        whole = {factor["name"]: factor["values"][0] for factor in data["factors"]}
        super().__init__(data, label=label, **{"setting": whole, **traits})

    def choices(self) -> dict[str, range]:
        """By the name of a trait, the values that it can have."""
        return {"utterance": range(len(self.data["utterances"]))}


def toggle_data(
    factors: Mapping[str, Sequence],
    measured: Mapping[tuple, Evaluation],
    missing: Mapping[tuple, str],
    idle: Mapping[tuple, Mapping[str, str]],
    examples: Sequence[Example],
    classes: Sequence[str],
    bars: Sequence[Bars],
    score: str,
    waiting: Mapping[tuple, str] = {},
    live: bool = False,
) -> dict:
    """What the switches show. A reason stands there once; its place in the list stands for it.

    Args:
        factors: name of a factor -> its values, the whole model's first: (True, False) for a
            switch, names for a choice.
        measured: by the values of a combination, in the order of the factors. Where a factor has
            no effect, several combinations have one and the same `Evaluation`.
        missing: by combination, why it is not there. idle: by combination, the factors that have
            no effect in it and why.
        examples, classes: what can be chosen, and the names of the classes.
        bars: what the bars of an utterance show.
        score: the name of the score.
        waiting: by combination, what must be done before it can be shown. live: whether there is a
            kernel that measures what is not yet there.
    """
    combinations = list(product(*factors.values()))
    whole = measured[combinations[0]]
    distinct = {id(one): one for one in measured.values()}
    places = {key: place for place, key in enumerate(distinct)}
    without = [why for reasons in idle.values() for why in reasons.values()]
    reasons = list(dict.fromkeys(["", *missing.values(), *waiting.values(), *without]))
    number = {why: k for k, why in enumerate(reasons)}
    every = distinct.values()
    return {
        "factors": [_factor(name, values) for name, values in factors.items()],
        "outcomes": [_evaluation(one, whole, examples, score) for one in every],
        "at": [places.get(id(measured.get(c)), -1) for c in combinations],
        "reasons": reasons,
        "missing": [number[missing.get(c, "")] for c in combinations],
        "waiting": [number[waiting.get(c, "")] for c in combinations],
        "idle": [{f: number[why] for f, why in idle.get(c, {}).items()} for c in combinations],
        "classes": list(classes),
        "scales": [asdict(one) for one in bars],
        "map": any(one.attention is not None for one in whole.readings),
        "utterances": [_example(one) for one in examples],
        "score": score,
        "whole": np.mean(list(whole.scores.values())),
        "range": round_range([s for one in every for s in one.scores.values()]),
        "live": live,
    }


def _factor(name: str, values: Sequence) -> dict:
    switch = set(values) == {True, False}
    labels = [] if switch else [str(v) for v in values]
    return {"name": name, "values": list(values), "switch": switch, "shown": name, "labels": labels}


def _evaluation(one: Evaluation, whole: Evaluation, examples: Sequence[Example], score: str):
    scores = list(one.scores.values())
    return {
        "scores": scores,
        "mean": np.mean(scores),
        "says": sentence(one, whole, score),
        "confusion": one.confusion,
        "seen": [_reading(*pair) for pair in zip(one.readings, examples, strict=True)],
    }


def _reading(one: Reading, example: Example) -> dict:
    """Numbers with as many digits as a picture can show."""
    says = "No frame reads a word."
    if one.attention is not None:
        word = example.words[int(np.mean(one.attention, axis=0).argmax())][0]
        says = f"What frames read of the words; on average most of {word!r}."
    return {
        "values": [[None if v is None else round(float(v), 4) for v in vs] for vs in one.values],
        "attention": None if one.attention is None else np.round(one.attention, 3),
        "times": np.round(one.times, 3),
        "gates": None if one.gates is None else np.round(one.gates, 3),
        "says": says,
    }


def _example(one: Example) -> dict:
    words = [{"text": text, "start": start, "end": end} for text, start, end in one.words]
    text = " ".join(word["text"] for word in words)
    return {**asdict(one), "words": words, "text": text}
