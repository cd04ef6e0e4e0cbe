"""The dual recurrent encoder against its second reading."""

import numpy as np

from mmer_lib.models.compared.yoon import Yoon, YoonConfig
from tests.models import naive


def gru(x, w):
    """Gates in torch's order: reset, update, new."""
    units = w["weight_hh_l0"].shape[1]
    h, out = np.zeros(units), []
    for row in x:
        given = (w["weight_ih_l0"] @ row + w["bias_ih_l0"]).reshape(3, units)
        held = (w["weight_hh_l0"] @ h + w["bias_hh_l0"]).reshape(3, units)
        r, z = (naive.sigmoid(given[i] + held[i]) for i in (0, 1))
        h = (1 - z) * np.tanh(given[2] + r * held[2]) + z * h
        out.append(h)
    return np.array(out)


def stacked(frames, stack):
    """`stack` neighbours as one row, zeros after the last."""
    rows = []
    for start in range(0, len(frames), stack):
        row = np.zeros(stack * frames.shape[1])
        together = np.concatenate(frames[start : start + stack])
        row[: len(together)] = together
        rows.append(row)
    return np.array(rows)


def yoon(e, w, config):
    frames = (e["frames"] - w["frames.scale.mean"]) / w["frames.scale.deviation"]
    said = gru(stacked(frames, config.stack), naive.part(w, "speech"))[-1]
    if config.prosody:
        prosody = ((e["audio"] - w["scale.mean"]) / w["scale.deviation"]).mean(0)
        said = np.concatenate([said, prosody])
    states = gru(e["words"], naive.part(w, "text"))
    halves = (
        naive.linear(x[None], naive.part(w, f"project_{name}"))[0]
        for name, x in (("speech", said), ("text", states[-1]))
    )
    joined = np.concatenate([*halves])
    logits = naive.linear(joined[None], naive.part(w, "classifier"))[0]
    return {"speech": said, "text": states[-1], "utterance": joined, "logits": logits}


def test_the_sizes_are_those_of_the_authors_program():
    """Gates of both encoders (torch has two biases a gate), the halves, the classes."""
    count = sum(p.numel() for p in Yoon(YoonConfig(prosody=False)).parameters())
    gates = 3 * 200 * (128 + 200 + 2) + 3 * 200 * (300 + 200 + 2)
    assert count == gates + 2 * (200 * 100 + 100) + 200 * 4 + 4
