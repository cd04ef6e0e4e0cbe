"""MV-LSTM against its second reading, and an ordinary LSTM."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import programs
from mmer_lib.models.compared.mvlstm import MvLstmConfig
from tests.models import naive
from tests.models.cases import built, config_of
from tests.models.references import program
from tests.models.test_mfn import clocked
from tests.models.utterances import LENGTHS, MODALITIES, batched, examples

SMALL = config_of("mv-lstm")


def mv_lstm(e, w, config):
    """One utterance, unit by unit; a dict of everything on the way."""
    rows, d = clocked(e, w), config.units
    own = w["regions.own"] if int(config.alpha * d) else np.zeros((3, 4, d, 0))
    cross = w["regions.cross"] if int(config.beta * d) else np.zeros((3, 2, 4, d, 0))
    h, c = np.zeros((3, d)), np.zeros((3, d))
    for step in zip(*rows.values(), strict=True):
        gates = np.zeros((3, 4, d))
        for v, (m, x) in enumerate(zip(MODALITIES, step, strict=True)):
            x = naive.linear(x[None], naive.part(w, f"views.{m}.0"))
            gates[v] = naive.linear(x, naive.part(w, f"views.{m}.2"))[0].reshape(4, d)
            others = [k for k in range(3) if k != v]
            for gate in range(4):
                for unit in range(d):
                    for i in range(own.shape[-1]):  # A: the first of its own
                        gates[v, gate, unit] += own[v, gate, unit, i] * h[v, i]
                    for j, k in enumerate(others):
                        b = cross.shape[-1]
                        for i in range(b):  # B: the last of the others'
                            gates[v, gate, unit] += cross[v, j, gate, unit, i] * h[k, d - b + i]
        for v in range(3):
            i, f, o = (naive.sigmoid(gates[v, gate]) for gate in range(3))
            c[v] = f * c[v] + i * np.tanh(gates[v, 3])
            h[v] = o * c[v]
    logits = naive.linear(h.reshape(1, -1), naive.part(w, "classifier"))[0]
    named = {f"h_{m}": x for m, x in zip(MODALITIES, h, strict=True)}
    return {**named, "F": h.flatten(), "logits": logits}


@pytest.mark.parametrize(
    "share, units, heard", [(0.1, 32, 3), (1 / 3, 32, 10), (0.29, 100, 29), (0.3, 10, 3), (1, 7, 7)]
)
def test_a_share_of_the_units_is_rounded_down(share, units, heard):
    assert MvLstmConfig(units=units).heard(share) == heard


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_equal_weights_give_the_authors_programs_outputs(alpha):
    """$MMER_REFERENCES/MV-LSTM/mvlstm.py: code/imagernn/mvlstm.py of github.com/r-shyam/mv-lstm.
    With beta 1 it reads the same numbers of the other views as the paper has it."""
    authors = program(programs.class_of, "MV-LSTM/mvlstm.py", "MVLSTM", ("/3", "//3"))
    d = SMALL.units
    model = built("mv-lstm", view_width=d, alpha=alpha, beta=1.0)
    batch = batched(examples(**dict.fromkeys(LENGTHS, (6,))))
    regions = model.regions().view(4, 3, d, 3, d)
    theirs = {"Wd": model.classifier.weight.t(), "bd": model.classifier.bias[None]}
    inputs = []
    for v, (m, part) in enumerate(MODALITIES.items()):
        embed, _, gates = model.views[m]
        scale = model.scale[m] if m in model.scale else nn.Identity()
        inputs.append(embed(scale(getattr(batch, part)[0])).detach().numpy())
        read = regions[:, v].flatten(0, 1)  # (4 d, 3, d)
        rows = [gates.bias[None], gates.weight.t(), *(read[:, k].t() for k in range(3))]
        theirs[f"WLSTM_v{v + 1}"] = torch.cat(rows)
    theirs = {k: w.detach().numpy() for k, w in theirs.items()}
    how = {"alpha": alpha, "beta": 1.0, "tanhC_version": 0}
    steps, _ = authors.forward(*inputs, theirs, how, predict_mode=True)
    np.testing.assert_allclose(model(batch).logits.item(), steps[-1, 0], rtol=0, atol=1e-9)
