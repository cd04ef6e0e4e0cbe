"""The parts of MIMIC as switches: which combinations have a meaning, how each is trained, and how
parts are taken out of a model that has them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from mmer_lib.data import MODALITIES, Batch, Corpus, Utterance
from mmer_lib.models.mimic import DECOUPLINGS, PARTS, Mimic
from mmer_lib.probes.inside import look_inside_mimic, silenced, skipped
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run

TASK = "sentiment"
SCORE = ("mae", "MAE, lower is better")
UNRECORDED = "recorded with all three modalities"

FACTORS = {
    **dict.fromkeys((*MODALITIES, *PARTS, "gate", "contrastive loss"), (True, False)),
    "decoupling": DECOUPLINGS,
}
"""The parts of MIMIC that can be switched off, the whole model's values first."""

PAIRS = {f"{a}\u2013{b}": (a, b) for a, b in combinations(MODALITIES, 2)}

WHOLE = tuple(choices[0] for choices in FACTORS.values())


def _parted(values: tuple) -> tuple[tuple, tuple, bool, bool, str]:
    """(modalities, parts that are fused, gate, contrastive, decoupling)."""
    modalities = tuple(m for m, on in zip(MODALITIES, values[:3], strict=True) if on)
    parts = tuple(p for p, on in zip(PARTS, values[3:6], strict=True) if on)
    if len(modalities) == 1:
        parts = tuple(p for p in parts if p != "I")
    return modalities, parts, *values[6:]


def recorded(values: tuple) -> bool:
    """Whether a combination is in the table: those of all modalities, and with fewer those of the
    gate and the contrastive loss."""
    return all(values[:3]) or (all(values[3:6]) and values[-1] == "instance")


def why_not(values: tuple) -> str:
    """Why a combination has no meaning; "" where it has one."""
    modalities, parts, _, _, kind = _parted(values)
    if not modalities:
        return "MIMIC needs a modality"
    if not parts:
        return "something must be fused: S, I or M"
    if kind == "orthogonal" and "I" in parts and "S" not in parts:
        return "orthogonal decoupling draws S and I apart, and needs both"
    return ""


def idle(values: tuple) -> dict[str, str]:
    """The factors that have no effect in a combination, and why."""
    modalities, parts, *_ = _parted(values)
    if len(modalities) == 1:
        alone = "one modality alone has nothing individual: h \u2212 S is 0"
        return dict.fromkeys(("I", "decoupling"), alone)
    return {} if "I" in parts else {"decoupling": "it acts on I alone, which is off"}


def configuration(values: tuple) -> tuple[str, dict] | None:
    """The model and the changes of its configuration that make a combination of `FACTORS`; None
    where there is none (see `why_not`)."""
    if why_not(values):
        return None
    modalities, parts, gate, contrastive, kind = _parted(values)
    kind = kind if "I" in parts else "instance"
    changes = {"modalities": modalities, "parts": parts, "decoupling": kind, "gate": gate}
    if not contrastive:
        changes["contrastive"] = 0.0
    if kind == "orthogonal":
        changes["difference"] = 0.3
    return "mimic", changes


def has_all_parts(run: Run) -> bool:
    """Whether it is a MIMIC of three modalities with all parts, trained with the regulariser."""
    if run.name != "mimic":
        return False
    c = run.model.config
    here = (c.modalities, c.parts, c.gate, c.decoupling, c.level, c.classes, c.contrastive > 0)
    return here == (MODALITIES, PARTS, True, "instance", "utterance", 1, True)


def only_trained(values: tuple) -> str:
    """Why a combination can be had by training alone; "" where it can be taken out."""
    _, parts, _, contrastive, kind = _parted(values)
    if not contrastive:
        return "the contrastive loss acts while a model is trained; train this combination"
    if kind == "orthogonal" and "I" in parts:
        return "orthogonal projections are learned; train this combination"
    return ""


@contextmanager
def taken_out(model: Mimic, batch: Batch, values: tuple) -> Iterator[Batch]:
    """The batch to give to a trained model (all parts, by instance) while parts of it are off,
    without training it again: of a modality that is off, h_m is zeros; of S, I and M that is off,
    zeros are fused; the gate hands its input on; without decoupling i_m is h_m."""
    modalities, parts, gate, _, kind = _parted(values)
    silent = [encoder for m, encoder in model.encoders.items() if m not in modalities]
    silent += [] if "I" in parts else [model.fuse_i]
    silent += [] if "M" in parts else [model.fuse_h]
    width, config = model.config.width, model.config

    def without_shared(_module, inputs):
        return torch.cat([torch.zeros_like(inputs[0][:, :width]), inputs[0][:, width:]], 1)

    with ExitStack() as stack:
        stack.enter_context(silenced(*silent))
        if not gate:
            stack.enter_context(skipped(model.gate))
        if "S" not in parts:
            handle = model.gate.register_forward_pre_hook(without_shared)
            stack.callback(handle.remove)
        if kind == "none":
            model.config = replace(config, decoupling="none")
            stack.callback(setattr, model, "config", config)
        yield batch


def classes(corpus: Corpus) -> Sequence[str]:
    """Sentiment, rounded."""
    return ("negative", "neutral", "positive")


def class_pairs(predicted: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return tuple(x.round().sign().long().numpy() + 1 for x in (truth, predicted))


def truth(utterance: Utterance, corpus: Corpus) -> float:
    return utterance.sentiment


def bars(classes: Sequence[str]) -> dict[str, tuple]:
    return {
        "predicted": ("sentiment, the true one marked", ("predicted",), -3, 3),
        "gates": ("gate, mean over the numbers of a part", PARTS, 0, 1),
        "h": ("cosine of what is encoded, h", tuple(PAIRS), -1, 1),
        "i": ("cosine of what is individual, i", tuple(PAIRS), -1, 1),
    }


@torch.inference_mode()
def readings(run: Run, corpus: Corpus, rows: list[int], values: tuple = WHOLE) -> list[dict]:
    """What a trained MIMIC does with some utterances while parts of it are off (`taken_out`), as
    plain lists: "predicted" (1,), "gates" (3,) mean over each of S, I and M, "h" and "i" (3,)
    cosines of the pairs of modalities; None where there is no such part."""
    model, found = run.model, []
    modalities, parts, gate, *_ = _parted(values)
    modalities = [m for m in modalities if m in model.config.modalities]
    parts = [p for p in parts if p in model.config.parts]
    examples = examples_for(run, corpus, rows)
    device = next(model.parameters()).device
    for row in examples.rows:
        with taken_out(model, examples.collate([row]).to(device), values) as batch:
            inside = {k: v[0] for k, v in look_inside_mimic(model, batch).items()}
            predicted = float(model(batch).logits[0])
        gates = {}
        if gate and model.gate is not None:
            means = inside["gate"].unflatten(0, (len(model.config.parts), -1)).mean(1).tolist()
            gates = dict(zip(model.config.parts, means, strict=True))
        found.append(
            {
                "predicted": [round(predicted, 3)],
                "gates": [round(gates[p], 3) if p in parts and gates else None for p in PARTS],
                "h": _cosines(inside, "h", modalities),
                "i": _cosines(inside, "i", modalities if "I" in parts else ()),
            }
        )
    return found


def _cosines(inside: dict[str, Tensor], kind: str, modalities: Sequence[str]) -> list:
    def cosine(a: str, b: str) -> float:
        vectors = inside[f"{kind}_{a}"], inside[f"{kind}_{b}"]
        return round(float(torch.cosine_similarity(*vectors, dim=0)), 3)

    return [cosine(*pair) if set(pair) <= set(modalities) else None for pair in PAIRS.values()]
