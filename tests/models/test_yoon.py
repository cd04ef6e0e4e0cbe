"""The dual recurrent encoder against its second reading, and what a model must keep to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.corpora import DataError
from mmer_lib.hooks import record
from mmer_lib.models.layers import last_state
from mmer_lib.models.yoon import Yoon, YoonConfig

from . import naive, speech
from .common import scrambled

SMALL = YoonConfig(**speech.SIZES, audio=2, units=4, speech_dropout=0.2, text_dropout=0.2)
CHANGES = [
    {},
    {"fusion": "attention"},
    {"prosody": False, "classes": 1},
    {"fusion": "attention", "prosody": False, "stack": 2},
    {"stack": 3},
]
every = pytest.mark.parametrize("change", CHANGES, ids=str)


def built(change):
    return scrambled(Yoon(replace(SMALL, **change)))


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
    question = naive.linear(said[None], naive.part(w, "project_speech"))[0]
    if config.fusion == "attention":
        weights = naive.softmax(np.array([question @ h for h in states]))
        text = sum(weight * h for weight, h in zip(weights, states, strict=True))
        joined = np.concatenate([text, question])
    else:
        text = states[-1]
        half = naive.linear(text[None], naive.part(w, "project_text"))[0]
        joined = np.concatenate([question, half])
    logits = naive.linear(joined[None], naive.part(w, "classifier"))[0]
    return {"speech": said, "text": text, "utterance": joined, "logits": logits}


@every
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built(change)
    w = naive.weights(model)
    speech.agrees(model, lambda e: yoon(e, w, model.config))


@every
def test_padding_company_and_order_change_nothing(change):
    speech.keeps_its_answers(built(change))


@every
def test_what_is_missing_is_borne_and_a_batch_of_one_works(change):
    speech.bears_what_is_missing(built(change))


@every
def test_the_output_depends_on_all_that_is_needed_and_on_nothing_else(change):
    model, needs = built(change), Yoon.needs(replace(SMALL, **change))
    for part in ("words", "frames", "audio", "vision", "cls"):
        # the words of an attention over a single word weigh one, whatever is asked
        assert speech.depends_on(model, part) is (part in needs), part


@every
def test_every_parameter_gets_a_gradient(change):
    torch.manual_seed(0)
    quiet = {"speech_dropout": 0.0, "text_dropout": 0.0, "units": 8}
    speech.learns_everywhere(Yoon(replace(SMALL, **(quiet | change))))


def test_the_attention_can_be_read_and_asks_real_words_only():
    model = built({"fusion": "attention"})
    batch = speech.garbled(speech.batched(speech.examples()))
    with record({"reader": model.reader.weights}) as maps:
        model(batch)
    weights = maps["reader"].squeeze(1)
    assert weights.masked_select(batch.word_mask).eq(0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=weights.dtype))


def test_the_last_state_is_that_of_the_last_real_step():
    states = torch.arange(12.0).reshape(3, 2, 2)
    mask = torch.tensor([[False, True], [False, False], [True, True]])
    expected = torch.tensor([[0.0, 1.0], [6.0, 7.0], [0.0, 0.0]])
    assert torch.equal(last_state(states, mask), expected)


def test_the_sizes_are_those_of_the_authors_program():
    """Gates of both encoders (torch has two biases a gate), the halves, the classes."""
    count = sum(p.numel() for p in Yoon(YoonConfig(prosody=False)).parameters())
    gates = 3 * 200 * (128 + 200 + 2) + 3 * 200 * (300 + 200 + 2)
    assert count == gates + 2 * (200 * 100 + 100) + 200 * 4 + 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": "sum"}, "fusion 'sum'; known: concat, attention"),
        ({"units": 0}, "units is 0; at least 1"),
        ({"stack": 0}, "stack is 0; at least 1"),
        ({"text_dropout": 1.0}, "text_dropout is 1.0; from 0 to below 1"),
        ({"hop": 12.0}, "hop is 12; in seconds, above 0 and below 1"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(change, message):
    with pytest.raises(DataError, match=message):
        replace(SMALL, **change)
