"""Learned alignment against its second reading."""

import math

import numpy as np

from mmer_lib.probes import record
from tests.models import naive
from tests.models.cases import built
from tests.models.test_yoon import stacked
from tests.models.utterances import batched, examples


def xu(e, w, config):
    frames = (e["frames"] - w["frames.scale.mean"]) / w["frames.scale.deviation"]
    said = naive.bilstm(stacked(frames, config.stack), naive.part(w, "speech"))
    text = naive.bilstm(e["words"], naive.part(w, "text"))
    u, v, b = (w[f"align.{k}"] for k in ("frame.weight", "word.weight", "word.bias"))
    rows = []
    for word in text:
        weights = naive.softmax(np.array([np.tanh(u[0] @ s + v[0] @ word + b[0]) for s in said]))
        rows.append(sum(weight * s for weight, s in zip(weights, said, strict=True)))
    aligned = np.array(rows)
    fused = naive.bilstm(np.concatenate([aligned, text], axis=1), naive.part(w, "fusion"))
    utterance = np.array([max(column) for column in fused.T])
    logits = naive.linear(utterance[None], naive.part(w, "classifier"))[0]
    named = {"text": text, "aligned": aligned, "fused": fused, "utterance": utterance}
    return {**named, "logits": logits}


def test_no_frame_weighs_much_more_than_another_in_additive_alignment():
    """A tanh keeps the scores within 2 of one another."""
    model, batch = built("xu"), batched(examples())
    with record({"align": model.align.weights}) as maps:
        model(batch)
    padding = batch.frame_mask[:, None, :]
    most = maps["align"].masked_fill(padding, 0).amax(-1)
    least = maps["align"].masked_fill(padding, math.inf).amin(-1)
    assert (most / least).max() <= math.exp(2) + 1e-6
