"""The parts of MUSE as switches: which combinations have a meaning, how each is trained, and how
parts are taken out of a model that has them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mmer_lib.data import Batch, Corpus, Utterance
from mmer_lib.experiments.catalogue import MUSE
from mmer_lib.models.muse import Muse
from mmer_lib.probes.inside import look_inside_muse, silenced, skipped
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run

TASK = "emotion"
SCORE = ("wa", "WA")
UNRECORDED = "not recorded"

PARTS = {
    "words": (True, False),
    "phonemes": (True, False),
    "joined by": ("highway", "concatenation"),
    "cross-modal attention": (True, False),
    "deep fusion": (True, False),
    "BERT": (True, False),
}
"""The parts of MUSE that can be switched off, the whole model's values first."""

CHANGES = {
    "as in the paper": {},
    "no alignment loss": {"align": 0.0},
    "no embedding loss": {"embedding": 0.0},
    "pre-net without neighbours": {"prenet_kernel": 1},
}
FACTORS = {**PARTS, "losses and text pre-net": tuple(CHANGES)}
"""The parts, and what is changed one at a time in the model that has them all."""
WHOLE = tuple(choices[0] for choices in FACTORS.values())


def configuration(values: tuple) -> tuple[str, dict] | None:
    """The model and the changes of its configuration that make a combination of `FACTORS`; None
    where it has no meaning (see `why_not`)."""
    words, phonemes, joined, cross, deep, bert, change = values
    if why_not(values):
        return None
    both = "highway" if joined == "highway" else "concat"
    fusion = both if words and phonemes else "word" if words else "phoneme"
    changes = {**MUSE, "fusion": fusion if cross else "highway", "fusion_layers": 2 * deep}
    if not cross:
        changes |= {"cross_layers": 0, "align": 0.0}  # nothing to align
    return ("muse-multigranular" if bert else "muse"), {**changes, **CHANGES[change]}


def recorded(_values: tuple) -> bool:
    """Whether a combination that has a meaning is in the table."""
    return True


def why_not(values: tuple) -> str:
    """Why a combination has no meaning, or is not asked for; "" where it can be had."""
    words, phonemes, _, cross, deep, _, change = values
    if change != WHOLE[-1] and values[:-1] != WHOLE[:-1]:
        return "a loss or the pre-net is changed alone, with all parts on"
    if not words and not phonemes:
        return "MUSE needs words or phonemes"
    if not cross and not deep:
        return "then nothing would be read: neither words nor other frames"
    return ""


def idle(values: tuple) -> dict[str, str]:
    """The factors that have no effect in a combination, and why."""
    words, phonemes, _, cross, *_ = values
    if not cross:
        unread = "without cross-modal attention no word is read"
        return dict.fromkeys(("words", "phonemes", "joined by"), unread)
    return {} if words and phonemes else {"joined by": "there is one input: nothing to join"}


def has_all_parts(run: Run) -> bool:
    """Whether it is a multigranular model with all parts."""
    wanted = {**MUSE, "fusion": "highway"}
    return run.name == "muse-multigranular" and all(
        getattr(run.model.config, k) == v for k, v in wanted.items()
    )


def only_trained(values: tuple) -> str:
    """Why a combination can be had by training alone; "" where it can be taken out."""
    changes = CHANGES[values[-1]]
    if changes.keys() & {"align", "embedding"}:
        return "a loss acts while a model is trained; train this combination"
    return "the pre-net is learned; train this combination" if changes else ""


@contextmanager
def taken_out(model: Muse, batch: Batch, values: tuple) -> Iterator[Batch]:
    """The batch to give to a trained model (multigranular, with a highway) while
    parts of it are off, without training it again: words or phonemes are zeros, the
    highway hands its input on, cross-modal attention and BERT's branch write zeros,
    layers of the deep fusion hand on."""
    words, phonemes, joined, cross, deep, bert, _ = values  # the last is only trained
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


def classes(corpus: Corpus) -> Sequence[str]:
    return corpus.emotions


def class_pairs(logits: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return truth.numpy(), logits.argmax(1).numpy()


def truth(utterance: Utterance, corpus: Corpus) -> int:
    return corpus.emotions.index(utterance.emotion)


def bars(classes: Sequence[str]) -> dict[str, tuple]:
    return {"probabilities": ("probability", classes, 0, 1)}


def readings(run: Run, corpus: Corpus, rows: list[int], values: tuple = WHOLE) -> list[dict]:
    """What a trained MUSE does with some utterances while parts of it are off (`taken_out`), as
    plain lists: "probabilities", "attention" (T, W) of the last cross-modal layer, mean over heads,
    "times" (T,), "gates" (2, W), mean over the layers and numbers of each half; None where there is
    no such part."""
    found, model = [], run.model
    examples = examples_for(run, corpus, rows)
    words, phonemes, joined, cross, *_ = values
    cross = cross and bool(model.cross_modal)
    highway = words and phonemes and joined == "highway" and bool(model.fusion.highway)
    for row in examples.rows:
        with taken_out(model, examples.collate([row]), values) as batch:
            inside = {k: v[0].numpy() for k, v in look_inside_muse(model, batch).items()}
        attention, sides, times = None, None, np.zeros(0)
        if cross:
            maps = [v for k, v in inside.items() if k.startswith("cross_")]
            attention = maps[-1].mean(0)[1:]  # (T, W) without the dummy frame
            times = model.frame_times(len(attention)).numpy()
        if cross and highway:
            gate = np.mean([v for k, v in inside.items() if k.startswith("gate_")], axis=0)
            half = model.fusion.phonemes.width
            sides = [gate[:, :half].mean(1), gate[:, half:].mean(1)]
        found.append(
            {
                "probabilities": _rounded(inside["probabilities"], 4),
                "attention": _rounded(attention, 3),
                "times": _rounded(times, 3),
                "gates": _rounded(sides, 3),
            }
        )
    return found


def _rounded(values, digits: int) -> list | None:
    return None if values is None else np.asarray(values, float).round(digits).tolist()
