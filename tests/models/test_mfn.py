"""MFN against its second reading and the authors' program."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import programs
from mmer_lib.models.compared.mfn import LstmSystem, Mfn, MfnConfig
from mmer_lib.probes import record
from tests.models import naive
from tests.models.cases import agrees, built, config_of, every_change
from tests.models.common import CLOSE, scrambled
from tests.models.references import program
from tests.models.utterances import MODALITIES, batched, examples, whole

SMALL = config_of("mfn")


def clocked(e, w):
    """The steps of one utterance by modality, scaled; zeros where a modality has ended."""
    length, rows = max(len(e[p]) for p in MODALITIES.values()), {}
    for m, part in MODALITIES.items():
        x = e[part]
        if m != "text":
            x = (x - w[f"scale.{m}.mean"]) / w[f"scale.{m}.deviation"]
        rows[m] = [*x, *[np.zeros(x.shape[1])] * (length - len(x))]
    return rows


def two_layers(x, w, first, second):
    return naive.linear(
        naive.relu(naive.linear(x[None], naive.part(w, first))), naive.part(w, second)
    )[0]


def memory_fusion(rows, w, memory):
    """Steps of one utterance by modality -> the last output of each LSTM, the memory, and attention
    and gates of each step."""
    u, seen = np.zeros(memory), []
    cells = {m: naive.part(w, f"system.cells.{m}") for m in MODALITIES}
    h = {m: np.zeros(cell["weight_hh"].shape[1]) for m, cell in cells.items()}
    c = dict(h)
    for step in zip(*rows.values(), strict=True):
        before = np.concatenate(list(c.values()))
        for (m, cell), x in zip(cells.items(), step, strict=True):
            gates = cell["weight_ih"] @ x + cell["bias_ih"]
            gates = gates + cell["weight_hh"] @ h[m] + cell["bias_hh"]
            i, f, g, o = gates.reshape(4, -1)
            c[m] = naive.sigmoid(f) * c[m] + naive.sigmoid(i) * np.tanh(g)
            h[m] = naive.sigmoid(o) * np.tanh(c[m])
        both = np.concatenate([before, *c.values()])
        attention = naive.softmax(two_layers(both, w, "attention.scores.0", "attention.scores.3"))
        attended = attention * both
        candidate = np.tanh(two_layers(attended, w, "candidate.0", "candidate.3"))
        read = np.concatenate([attended, u])
        retain, update = (
            naive.sigmoid(two_layers(read, w, f"memory.enter.{k}", f"memory.leave.{k}"))
            for k in (0, 1)
        )
        u = retain * u + update * candidate
        seen.append((attention, retain, update))
    return h, u, seen


def mfn(e, w, memory):
    """One utterance; a dict of everything on the way, and the attention and gates of each step."""
    h, u, seen = memory_fusion(clocked(e, w), w, memory)
    f = np.concatenate([*h.values(), u])
    named = {**{f"h_{m}": x for m, x in h.items()}, "memory": u, "F": f}
    return {**named, "logits": two_layers(f, w, "head.0", "head.3")}, seen


@every_change("mfn")
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built("mfn", **change)
    parts = {
        "attention": model.attention.weights,
        "retain": model.memory.retain,
        "update": model.memory.update,
    }
    w = naive.weights(model)
    with record(parts, graph=True) as heard:
        agrees(model, lambda e: mfn(e, w, model.config.memory)[0])
    for row, e in enumerate(examples()):
        _, seen = mfn(e, w, model.config.memory)
        for name, values in zip(parts, zip(*seen, strict=True), strict=True):
            found = heard[name][row, : len(values)].detach()
            np.testing.assert_allclose(found, np.array(values), **CLOSE)


def test_the_lstms_taken_through_time_together_are_torchs_one_by_one():
    sizes = {"text": (3, 4), "audio": (2, 1), "vision": (5, 2)}
    system = scrambled(LstmSystem(sizes))
    steps = {m: torch.randn(3, 6, n, dtype=torch.float64) for m, (n, _) in sizes.items()}
    outputs, cells = system(steps)
    wanted = []
    for m, cell in system.cells.items():
        lstm = nn.LSTM(*sizes[m], batch_first=True).double()
        lstm.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
        states, (_, last) = lstm(steps[m])
        wanted.append((states, last[0]))
    torch.testing.assert_close(outputs, torch.cat([s for s, _ in wanted], -1))
    torch.testing.assert_close(cells[:, -1], torch.cat([c for _, c in wanted], -1))


def test_dropout_falls_on_the_hidden_layers_of_the_gates_in_training_only():
    torch.manual_seed(0)
    batch = batched(examples(), torch.float32)
    for name in ("retain_dropout", "update_dropout"):
        off = {f"{part}_dropout": 0.0 for part in ("attention", "candidate", "retain", "update")}
        model = Mfn(replace(SMALL, **(off | {name: 0.5, "head_dropout": 0.0})))
        first, second = model(batch).logits, model(batch).logits
        assert not torch.equal(first, second)
        assert torch.equal(model.eval()(batch).logits, model(batch).logits)


PLACES = {
    "att1_fc1": "attention.scores.0",
    "att1_fc2": "attention.scores.3",
    "att2_fc1": "candidate.0",
    "att2_fc2": "candidate.3",
    "gamma1_fc1": "memory.enter.0",
    "gamma1_fc2": "memory.leave.0",
    "gamma2_fc1": "memory.enter.1",
    "gamma2_fc2": "memory.leave.1",
    "lstm_l": "system.cells.text",
    "lstm_a": "system.cells.audio",
    "lstm_v": "system.cells.vision",
}
"""The parts of the Memory Fusion Network in its authors' programs, and ours."""


def renamed(theirs):
    """The state of the authors' program by our names."""
    ours = PLACES | {"out_fc1": "head.0", "out_fc2": "head.3"}
    pairs = (key.split(".") for key in theirs)
    return {f"{ours[part]}.{name}": theirs[f"{part}.{name}"] for part, name in pairs}


@pytest.mark.parametrize("config", [MfnConfig(), SMALL], ids=["default", "small"])
def test_equal_weights_give_the_authors_programs_outputs(config):
    """$MMER_REFERENCES/MFN/test_mosi.py: github.com/pliang279/MFN."""
    torch.manual_seed(0)
    public, model = program(programs.mfn, config).eval(), Mfn(config).eval()
    missing = model.load_state_dict(renamed(public.state_dict()), strict=False)
    assert not missing.unexpected_keys and all(k.startswith("scale.") for k in missing.missing_keys)
    batch = whole(config)
    x = torch.cat([batch.words, batch.audio, batch.vision], -1).transpose(0, 1)
    expected = public(x).squeeze(1)
    assert expected.std() > 0.01
    torch.testing.assert_close(model(batch).logits, expected)
