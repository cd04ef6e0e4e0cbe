"""Parts of a trained model, switched on and off: its score, its mistakes, one utterance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, plain, source
from mmer_lib.experiments.statistics import paired_test

Run = tuple[int, int]
"""Fold and seed."""


@dataclass(frozen=True)
class Scale:
    """What some bars show: a title, a name for each of them, and the range of their values."""

    title: str
    names: Sequence[str]
    low: float
    high: float


@dataclass(frozen=True)
class Reading:
    """What a model does with one utterance of W words.

    Attributes:
        values: for each `Scale`, a value for each of its names; None where there is none.
        attention: (T, W), what each frame reads of the words; None where none is read.
        times: (T,) seconds, the middle of each frame.
        gates: (2, W) how far the highway opens for the sound and for the word; None without one.
    """

    values: Sequence[Sequence[float | None]]
    attention: np.ndarray | None = None
    times: np.ndarray = ()
    gates: np.ndarray | None = None


@dataclass(frozen=True)
class Outcome:
    """What is left of a model: of one combination of its parts.

    Attributes:
        scores: by run.
        confusion: (classes, classes) counts over all runs, the truth in rows.
        seen: a `Reading` for each of the utterances that can be chosen.
    """

    scores: Mapping[Run, float]
    confusion: np.ndarray
    seen: Sequence[Reading]


@dataclass(frozen=True)
class Shown:
    """An utterance to choose: its words (text, start, end) with times in seconds, how long it
    lasts, what is true of it (of several bars of the first `Scale` the place of the right one, of
    one bar its right value), and a line on it."""

    words: Sequence[tuple[str, float, float]]
    seconds: float
    truth: float
    note: str = ""


def sentence(outcome: Outcome, whole: Outcome, score: str) -> str:
    """A score with its spread, and against the whole model run by run. What stands after a comma
    in the name of the score is left out."""
    score = score.split(",")[0]
    values = np.array(list(outcome.scores.values()))
    runs = f"{len(values)} runs" if len(values) > 1 else "one run"
    spread = f" \u00b1 {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    told = f"{score} {values.mean():.3f}{spread} over {runs}."
    pairs = [run for run in outcome.scores if run in whole.scores]
    if outcome is whole or not pairs:
        return told
    here, there = (np.array([o.scores[run] for run in pairs]) for o in (outcome, whole))
    gaps = here - there
    told += f" Against all parts, run by run: {gaps.mean():+.3f}"
    if len(pairs) > 1:
        _, p = paired_test(here, there)
        told += (
            f" on average, from {gaps.min():+.3f} to {gaps.max():+.3f} (p {p:.2f} by sign flips "
            f"of {len(pairs)} pairs, not corrected for how many combinations one looks at)"
        )
    return f"{told}.".replace("-", "\u2212")


class Toggles(Explorer):
    """The parts of a model as switches.

    Attributes:
        setting: factor -> its value. utterance: which is shown.

    Args:
        data: what `told_of` gives.
        traits: `label`, `caption`, `tag`, `provenance` of `Explorer`; `setting`, `utterance`.
    """

    _esm = source("common.js", "grid.js", "toggles.js")
    _css = source("explorer.css")
    setting = traitlets.Dict().tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)

    def __init__(
        self, data: dict, label: str = "A model whose parts can be switched off", **traits
    ):
        whole = {factor["name"]: factor["values"][0] for factor in data["factors"]}
        super().__init__(data=data, label=label, **{"setting": whole, **traits})


def told_of(
    factors: Mapping[str, Sequence],
    outcomes: Mapping[tuple, Outcome],
    missing: Mapping[tuple, str],
    idle: Mapping[tuple, Mapping[str, str]],
    utterances: Sequence[Shown],
    classes: Sequence[str],
    scales: Sequence[Scale],
    score: str,
    waiting: Mapping[tuple, str] | None = None,
) -> dict:
    """What the switches show, as `plain` JSON. A reason stands there once; its place in the list
    stands for it.

    Args:
        factors: name of a factor -> its values, the whole model's first: (True, False) for a
            switch, names for a choice.
        outcomes: by the values of a combination, in the order of the factors. Where a factor has
            no effect, several combinations have one and the same `Outcome`.
        missing: by combination, why it is not there. idle: by combination, the factors that have
            no effect in it and why.
        utterances, classes: what can be chosen, and the names of the classes.
        scales: what the bars of an utterance show.
        score: the name of the score.
        waiting: by combination, what must be done before it can be shown.

    Raises:
        ValueError: the whole model is not there, a combination is unknown, a run fits no
            utterances, or arrays do not fit.
    """
    every = list(product(*factors.values()))
    waiting = waiting or {}
    known = set(every)
    strange = [c for c in (*outcomes, *missing, *idle, *waiting) if c not in known]
    if strange:
        raise ValueError(f"no combination of the factors: {strange}")
    if every[0] not in outcomes:
        raise ValueError(f"the whole model, {every[0]}, is not among the outcomes")
    distinct = list({id(o): o for o in outcomes.values()}.values())
    for outcome in distinct:
        _check(outcome, utterances, classes, scales)
    whole = outcomes[every[0]]
    without = [why for those in idle.values() for why in those.values()]
    reasons = list(dict.fromkeys(["", *missing.values(), *waiting.values(), *without]))
    number = {why: k for k, why in enumerate(reasons)}
    return plain({
        "factors": [_factor(name, values) for name, values in factors.items()],
        "outcomes": [_told(o, whole, utterances, score) for o in distinct],
        "at": [_place(outcomes.get(c), distinct) for c in every],
        "reasons": reasons,
        "missing": [number[missing.get(c, "")] for c in every],
        "waiting": [number[waiting.get(c, "")] for c in every],
        "idle": [{name: number[why] for name, why in idle.get(c, {}).items()} for c in every],
        "classes": list(classes),
        "scales": [asdict(scale) for scale in scales],
        "map": any(one.attention is not None for one in whole.seen),
        "utterances": [_utterance(u) for u in utterances],
        "score": score,
        "whole": float(np.mean(list(whole.scores.values()))),
        "range": _range([s for o in distinct for s in o.scores.values()]),
    })  # fmt: skip


def _check(
    outcome: Outcome,
    utterances: Sequence[Shown],
    classes: Sequence[str],
    scales: Sequence[Scale],
) -> None:
    n = len(classes)
    if not outcome.scores or np.shape(outcome.confusion) != (n, n):
        raise ValueError(f"an outcome without scores, or with no {n} x {n} confusion")
    if len(outcome.seen) != len(utterances):
        raise ValueError(f"{len(outcome.seen)} readings of {len(utterances)} utterances")
    for one, utterance in zip(outcome.seen, utterances, strict=True):
        words, frames = len(utterance.words), len(one.times)
        lengths = [len(values) for values in one.values]
        if lengths != [len(scale.names) for scale in scales]:
            raise ValueError(f"{lengths} values on scales of {[len(s.names) for s in scales]}")
        if one.attention is not None and np.shape(one.attention) != (frames, words):
            raise ValueError(f"attention {np.shape(one.attention)}, not ({frames}, {words})")
        if one.gates is not None and np.shape(one.gates) != (2, words):
            raise ValueError(f"gates {np.shape(one.gates)}, not (2, {words})")


def _factor(name: str, values: Sequence) -> dict:
    switch = set(values) == {True, False}
    labels = [] if switch else [str(v) for v in values]
    return {"name": name, "values": list(values), "switch": switch, "shown": name, "labels": labels}


def _place(outcome: Outcome | None, distinct: list[Outcome]) -> int:
    return next((k for k, o in enumerate(distinct) if o is outcome), -1)


def _told(outcome: Outcome, whole: Outcome, utterances: Sequence[Shown], score: str) -> dict:
    scores = list(outcome.scores.values())
    return {
        "scores": scores,
        "mean": float(np.mean(scores)),
        "says": sentence(outcome, whole, score),
        "confusion": outcome.confusion,
        "seen": [_seen(*pair) for pair in zip(outcome.seen, utterances, strict=True)],
    }


def _seen(one: Reading, utterance: Shown) -> dict:
    """Numbers with as many digits as a picture can show."""
    rounded = {
        "values": [[None if v is None else round(float(v), 4) for v in vs] for vs in one.values],
        "attention": None if one.attention is None else np.asarray(one.attention, float).round(3),
        "times": np.round(np.asarray(one.times, float), 3),
        "gates": None if one.gates is None else np.asarray(one.gates, float).round(3),
    }
    if one.attention is None:
        return {**rounded, "says": "No frame reads a word."}
    most = int(np.asarray(one.attention).mean(0).argmax())
    word = utterance.words[most][0]
    return {**rounded, "says": f"What frames read of the words; on average most of {word!r}."}


def _utterance(shown: Shown) -> dict:
    words = [{"text": t, "start": a, "end": b} for t, a, b in shown.words]
    return {
        "text": " ".join(word["text"] for word in words),
        "words": words,
        "seconds": shown.seconds,
        "truth": shown.truth,
        "note": shown.note,
    }


def _range(values: Sequence[float]) -> list[float]:
    """The least range of twentieths that holds all, with some room."""
    low, high = np.floor(min(values) * 20) / 20, np.ceil(max(values) * 20) / 20
    return [low, high if high > low else low + 0.05]
