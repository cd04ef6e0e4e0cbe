"""RAVEN against a second reading and its authors' program."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import programs
from mmer_lib.models.compared.raven import OneStep, Raven, RavenConfig, steps
from tests.models import naive
from tests.models.cases import built, config_of
from tests.models.naive import part
from tests.models.references import program
from tests.models.utterances import batched, examples, whole

SMALL = config_of("raven")


def one_step(row, w, units):
    """An LSTM's first step, which its forget gate does not touch."""
    i, g, o = (w["gates.weight"] @ row + w["gates.bias"]).reshape(3, units)
    return naive.sigmoid(o) * np.tanh(naive.sigmoid(i) * np.tanh(g))


def raven(e, w, config):
    words, states = e["words"], {}
    for m in ("audio", "vision"):
        own = part(w, f"nonverbal.{m}")
        x = (e[m] - own["scale.mean"]) / own["scale.deviation"]
        x = naive.linear(x, part(own, "project"))
        if config.nonverbal == "word":
            x = [one_step(row, part(own, "step"), config.cells) for row in x]
        else:
            x = naive.lstm(x, part(own, "lstm"))
        states[m] = list(x)[: len(words)]
        states[m] += [np.zeros(config.cells)] * (len(words) - len(states[m]))
    shifts = []
    for t, word in enumerate(words):
        weighed = []
        for m, rows in states.items():
            gate = naive.linear(
                np.concatenate([rows[t], word])[None], part(w, f"shift.gates.{m}.0")
            )
            weighed.append((naive.sigmoid(gate) if config.form == "paper" else gate)[0] * rows[t])
        h = naive.linear(np.concatenate(weighed)[None], part(w, "shift.join"))[0]
        size, length = np.sqrt(sum(word**2)), np.sqrt(sum(h**2))
        if config.form == "paper":
            shifts.append(min(config.shift * size / length, 1.0) * h)
        else:
            shifts.append(config.shift * size / max(length, 1.0) * h)
    state = naive.lstm(words + np.array(shifts), part(w, "lstm"))[-1]
    return {
        "shift": np.array(shifts),
        "F": state,
        "logits": naive.linear(state[None], part(w, "classifier"))[0],
    }


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_word_moves_further_than_its_share(scale):
    model, batch = built("raven"), batched(examples())
    model.shift.join.weight.data.mul_(scale)
    moved = model(batch).named["shift"].norm(dim=-1)
    assert (moved <= SMALL.shift * batch.words.norm(dim=-1) + 1e-9).all()
    if scale > 1:
        real = ~(batch.word_mask | steps(batch.audio_mask, batch.words.shape[1]))
        expected = SMALL.shift * batch.words.norm(dim=-1)
        torch.testing.assert_close(moved[real], expected[real])


def test_one_step_is_an_lstms_first():
    lstm, step, x = nn.LSTM(3, 4, batch_first=True), OneStep(3, 4), torch.randn(5, 1, 3)
    step.load_state_dict(first_step(lstm.state_dict()))
    torch.testing.assert_close(step(x), lstm(x)[0])


def first_step(state, prefix=""):
    """Weights of an LSTM as those of `OneStep`: gates in torch's order without the forget gate."""
    i, _, g, o = state[f"{prefix}weight_ih_l0"].chunk(4)
    bias = (state[f"{prefix}bias_ih_l0"] + state[f"{prefix}bias_hh_l0"]).chunk(4)
    return {
        "gates.weight": torch.cat([i, g, o]),
        "gates.bias": torch.cat([bias[0], bias[2], bias[3]]),
    }


def test_the_authors_program_with_equal_weights_gives_equal_outputs():
    """With one frame a word; without its norm over the batch, which knows nothing of padding."""
    config, length = RavenConfig(nonverbal="word", form="program"), 7
    torch.manual_seed(0)
    theirs, ours = program(programs.raven, config, length).eval(), Raven(config).eval()
    theirs.normcovarep = nn.Identity()
    state, made = theirs.state_dict(), {}
    for m, name in (("audio", "covarep"), ("vision", "Facet")):
        low = name.lower()
        made |= {f"nonverbal.{m}.step.{k}": v for k, v in first_step(state, f"{low}LSTM.").items()}
        for kind in ("weight", "bias"):
            made[f"nonverbal.{m}.project.{kind}"] = state[f"fc_rsz{name}.{kind}"]
            made[f"shift.gates.{m}.0.{kind}"] = state[f"{low}W.{kind}"]
    for kind in ("weight", "bias"):
        made[f"shift.join.{kind}"] = state[f"calcAddon.{kind}"]
        made[f"classifier.{kind}"] = state[f"fc_afterLSTM.{kind}"]
    own = part(state, "lstm1.layer_1.lstm")
    made |= {f"lstm.{k}_l0": v for k, v in own.items()}
    missing, unknown = ours.load_state_dict(made, strict=False)
    assert not unknown and all(".scale." in name for name in missing)

    batch, ones = whole(config, (length,) * 3, 4), torch.ones(4, length, dtype=torch.long)
    with torch.no_grad():
        audio, vision = batch.audio.unsqueeze(2), batch.vision.unsqueeze(2)
        expected = theirs(batch.words, audio, ones, vision, ones, torch.full((4,), length))
        found = ours(batch).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
