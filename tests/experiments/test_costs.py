"""What models and tables cost, against counting by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.steps import kinds_of, measured_steps
from mmer_lib.experiments.catalogue import TABLES
from mmer_lib.experiments.costs import (
    convergence_epoch,
    count_flops,
    in_turn,
    measures,
    recurrent_flops,
    step_times,
)
from mmer_lib.models.compared.misa import Misa, MisaConfig
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.registry import model_class


def test_an_lstm_is_what_a_counter_would_count_of_the_same_loop():
    """The same recurrence written with matrix products."""
    lstm, x = nn.LSTM(5, 7), torch.randn(11, 1, 5)
    h = torch.zeros(1, 7)
    with FlopCounterMode(display=False) as counter:
        for row in x:
            gates = row @ lstm.weight_ih_l0.T + h @ lstm.weight_hh_l0.T
            h = torch.tanh(gates[:, :7])
    assert counter.get_total_flops() == recurrent_flops(lstm, 11)
    deep = nn.LSTM(5, 7, num_layers=2, bidirectional=True)
    both = 2 * 4 * 2 * 7 * (5 + 7) + 2 * 4 * 2 * 7 * (14 + 7)  # two a multiply-add, by hand
    assert recurrent_flops(deep, 11) == 11 * both


def dense(rows, inputs, outputs):
    """Two a multiply-add; a convolution of width k has k * channels inputs."""
    return 2 * rows * inputs * outputs


def attention(asking, read, width):
    """Query and output, key and value, scores and mix."""
    projected = 2 * dense(asking, width, width) + 2 * dense(read, width, width)
    return projected + 2 * dense(asking, width, read)


def block(asking, read, width, hidden):
    return attention(asking, read, width) + 2 * dense(asking, width, hidden)


def by_hand(name):
    """Without recurrent layers, of an utterance of 50 words at the papers' sizes."""
    if name == "muse":  # 15 s in steps of 12 ms, and the dummy frame; 4 phonemes a word
        words, frames, d, hidden = 50, 1 + 1250, 128, 512
        text = sum(dense(words * 4, 64 * k, 50) for k in (2, 3, 4))
        text += 2 * 2 * dense(words, 450, 450)  # two highway layers of two matrices
        text += dense(words, 5 * 450, d) + 2 * dense(words, 5 * d, d) + dense(words, d, d)
        text += block(words, words, d, hidden)
        speech = 2 * dense(frames, d, d)
        crossed = attention(frames, frames, d) + block(frames, words, d, hidden)
        return text + speech + crossed + 2 * block(frames, frames, d, hidden) + dense(1, d, 4)
    if name == "mimic":
        d, low, edge = 64, 16, 8
        fused = 6 * dense(1, d, low) + 2 * dense(1, edge**3, d) + dense(1, 3 * d, 3 * d)
        head = dense(1, 3 * d, 64) + dense(1, 64, 32) + dense(1, 32, 1)
        return 3 * attention(50, 50, d) + fused + head
    if name == "misa":
        d = 128
        vectors = dense(1, 4 * (300 + 74 + 47), d) + 3 * 3 * dense(1, d, d)
        return vectors + block(6, 6, d, 2048) + dense(1, 6 * d, 3 * d) + dense(1, 3 * d, 1)
    d = 30  # MulT; of the last layer of each modality only the last step is computed
    crossed = dense(50, 300 + 74 + 47, d) + 6 * 5 * block(50, 50, d, 4 * d)
    own = 3 * (4 * block(50, 50, 2 * d, 8 * d) + block(1, 50, 2 * d, 8 * d))
    return crossed + own + 2 * dense(1, 6 * d, 6 * d) + dense(1, 6 * d, 1)


@pytest.mark.parametrize("name", ["muse", "mimic", "misa", "mult"])
def test_operations_are_those_counted_by_hand(name):
    model = model_class(name)
    assert count_flops(model(model.config_class()))[0] == by_hand(name)


def test_the_counters_and_the_true_operations_of_misa_are_those_measured_on_its_program():
    """8.4 of 399 million, and 8.3 of 35.1 with BERT's vectors, at 50 words."""
    counted, recurrent = count_flops(Misa(MisaConfig()))
    assert counted / 1e6 == pytest.approx(8.4, abs=0.05)
    assert (counted + recurrent) / 1e6 == pytest.approx(399, abs=0.5)
    counted, recurrent = count_flops(Misa(MisaConfig(words=768, vision=35, text_encoder="mean")))
    assert counted / 1e6 == pytest.approx(8.3, abs=0.05)
    assert (counted + recurrent) / 1e6 == pytest.approx(35.1, abs=0.05)


def test_counting_leaves_the_model_as_it_was():
    model = Mimic(MimicConfig()).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    settings = SimpleNamespace(monitor="mae", mode="min")
    result = {"history": [{"mae": 1.0}]}
    found = measures(SimpleNamespace(model=model, settings=settings, result=result))
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert found["params_m"] == pytest.approx(0.303457)
    assert found["mflops_counted"] < found["mflops"]


@pytest.mark.parametrize(
    "scores, mode, expected",
    [
        ([1.0, 0.5, 0.4, 0.401, 0.4], "min", 3),
        ([1.0, 0.407, 0.4], "min", 2),
        ([0.5, 0.7, 0.79, 0.8], "max", 3),
        ([0.5], "max", 1),
    ],
)
def test_convergence_is_the_first_epoch_near_the_best(scores, mode, expected):
    history = [{"epoch": i, "x": s} for i, s in enumerate(scores)]
    assert convergence_epoch(history, "x", mode) == expected


def test_steps_are_taken_in_turn_and_the_models_keep_their_weights():
    order = []
    found = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3)
    assert order == ["a", "b"] * 4 and set(found) == {"a", "b"}
    model = Mimic(MimicConfig(units=4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    times = step_times({"mimic": model}, batch_size=2, length=3, rounds=2)["mimic"]
    assert times.shape == (2,) and (times > 0).all() and np.isfinite(times).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_rows_own_batch_size_decides_its_kind_of_step():
    assert {size for _, size in kinds_of([TABLES["mimic-dynamics"]])} == {16, 64, 256}


def test_steps_are_measured_at_the_papers_sizes():
    found = measured_steps([("mimic", 16), ("mimic", 256)], words=20, rounds=1)
    assert list(found) == [("mimic", 16), ("mimic", 256)]
    assert 0 < found["mimic", 16] < found["mimic", 256]
