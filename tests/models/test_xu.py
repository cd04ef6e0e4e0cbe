"""Learned alignment against its second reading, and what a model must keep to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.corpora import DataError
from mmer_lib.hooks import record
from mmer_lib.models.xu import Xu, XuConfig

from . import naive, speech
from .common import scrambled
from .test_yoon import stacked

SMALL = XuConfig(**speech.SIZES, units=4, heads=2, dropout=0.2)
CHANGES = [
    {},
    {"classes": 1, "stack": 2},
    {"alignment": "heads"},
    {"pool": "attention", "stack": 3},
    {"alignment": "heads", "pool": "attention", "heads": 4},
]
every = pytest.mark.parametrize("change", CHANGES, ids=str)


def built(change):
    return scrambled(Xu(replace(SMALL, **change)))


def xu(e, w, config):
    frames = (e["frames"] - w["frames.scale.mean"]) / w["frames.scale.deviation"]
    said = naive.bilstm(stacked(frames, config.stack), naive.part(w, "speech"))
    text = naive.bilstm(e["words"], naive.part(w, "text"))
    if config.alignment == "heads":
        aligned = naive.attention(text, said, naive.part(w, "align"), config.heads)
    else:
        u, v, b = (w[f"align.{k}"] for k in ("frame.weight", "word.weight", "word.bias"))
        rows = []
        for word in text:
            weights = naive.softmax(
                np.array([np.tanh(u[0] @ s + v[0] @ word + b[0]) for s in said])
            )
            rows.append(sum(weight * s for weight, s in zip(weights, said, strict=True)))
        aligned = np.array(rows)
    fused = naive.bilstm(np.concatenate([aligned, text], axis=1), naive.part(w, "fusion"))
    if config.pool == "max":
        utterance = np.array([max(column) for column in fused.T])
    else:
        hidden = np.tanh(naive.linear(fused, naive.part(w, "pool.hidden.0")))
        weights = naive.softmax(np.array([w["pool.score.weight"][0] @ row for row in hidden]))
        utterance = sum(weight * row for weight, row in zip(weights, fused, strict=True))
    logits = naive.linear(utterance[None], naive.part(w, "classifier"))[0]
    named = {"text": text, "aligned": aligned, "fused": fused, "utterance": utterance}
    return {**named, "logits": logits}


@every
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built(change)
    w = naive.weights(model)
    speech.agrees(model, lambda e: xu(e, w, model.config))


@every
def test_padding_company_and_order_change_nothing(change):
    speech.keeps_its_answers(built(change))


@every
def test_what_is_missing_is_borne_and_a_batch_of_one_works(change):
    speech.bears_what_is_missing(built(change))


@every
def test_the_output_depends_on_words_and_frames(change):
    for part in ("words", "frames", "audio", "vision", "cls"):
        assert speech.depends_on(built(change), part) is (part in ("words", "frames")), part


@every
def test_every_parameter_gets_a_gradient(change):
    torch.manual_seed(0)
    silent = ("align.key.bias",)  # shifts all scores of a softmax alike
    model = Xu(replace(SMALL, **({"dropout": 0.0} | change)))
    speech.learns_everywhere(model, without_effect=silent)


@pytest.mark.parametrize("alignment", ["additive", "heads"])
def test_the_alignment_can_be_read_and_looks_at_real_frames_only(alignment):
    model = built({"alignment": alignment})
    batch = speech.garbled(speech.batched(speech.examples()))
    with record({"align": model.align.weights}) as maps:
        model(batch)
    weights = maps["align"] if alignment == "heads" else maps["align"].unsqueeze(1)
    padding = batch.frame_mask[:, None, None, :].expand_as(weights)
    assert weights.masked_select(padding).eq(0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    if alignment == "additive":  # a tanh keeps the scores within 2 of one another
        real = weights.masked_fill(padding, math.nan)
        ratio = real.nan_to_num(0).amax(-1) / real.nan_to_num(math.inf).amin(-1)
        assert ratio.max() <= math.exp(2) + 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alignment": "dot"}, "alignment 'dot'; known: additive, heads"),
        ({"pool": "mean"}, "pool 'mean'; known: max, attention"),
        ({"alignment": "heads", "heads": 3}, "units 4 each way make 8, no multiple of heads 3"),
        ({"stack": 0}, "stack is 0; at least 1"),
        ({"dropout": -0.1}, "dropout is -0.1; from 0 to below 1"),
        ({"window": 0.0}, "window is 0; in seconds"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(change, message):
    with pytest.raises(DataError, match=message):
        replace(SMALL, **change)
