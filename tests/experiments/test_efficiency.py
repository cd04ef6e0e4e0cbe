import numpy as np
import pytest
import torch
from torch import nn

from mmer_lib.experiments import efficiency
from mmer_lib.experiments.efficiency import (
    convergence_epoch,
    count_flops,
    measures,
    random_batch,
    recurrent_flops,
    step_times,
)
from mmer_lib.models.compared.misa import Misa, MisaConfig
from mmer_lib.models.mimic import Mimic, MimicConfig


@pytest.mark.parametrize("layers, both", [(1, False), (1, True), (2, True), (3, False)])
def test_operations_of_an_lstm_are_twice_its_weights_a_step(layers, both):
    lstm = nn.LSTM(5, 7, num_layers=layers, bidirectional=both)
    weights = sum(p.numel() for n, p in lstm.named_parameters() if n.startswith("weight"))
    assert recurrent_flops(lstm, 11) == 11 * 2 * weights


def test_an_lstm_is_what_a_counter_would_count_of_the_same_loop():
    """The same recurrence written with matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    lstm, x = nn.LSTM(5, 7), torch.randn(11, 1, 5)
    h = torch.zeros(1, 7)
    with FlopCounterMode(display=False) as counter:
        for row in x:
            gates = row @ lstm.weight_ih_l0.T + h @ lstm.weight_hh_l0.T
            h = torch.tanh(gates[:, :7])
    assert counter.get_total_flops() == recurrent_flops(lstm, 11)


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
    found = measures(model, [{"mae": 1.0}], "mae", "min")
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert found["params_m"] == pytest.approx(0.303457)
    assert found["mflops_counted"] < found["mflops"]


def test_operations_grow_in_step_with_the_length_where_there_is_no_attention():
    model = Misa(MisaConfig(units=4))
    one, two = (count_flops(model, length)[1] for length in (10, 20))
    assert two == 2 * one


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


def test_a_batch_of_noise_has_what_the_model_reads_and_no_padding():
    model = Mimic(MimicConfig(modalities=("audio",), parts=("S",), decoupling="none"))
    batch = random_batch(model, 3, 7)
    assert batch.audio.shape == (3, 7, 74) and batch.words is None
    assert not batch.audio_mask.any()
    assert torch.equal(batch.audio, random_batch(model, 3, 7).audio)


def test_steps_are_taken_in_turn_and_the_models_keep_their_weights(monkeypatch):
    order = []
    monkeypatch.setattr(efficiency, "_step", lambda model, *_: lambda: order.append(model))
    found = step_times({"a": 1, "b": 2}, rounds=3)
    assert order == [1, 2] * 4 and set(found) == {"a", "b"}
    monkeypatch.undo()
    model = Mimic(MimicConfig(units=4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    times = step_times({"mimic": model}, batch_size=2, length=3, rounds=2)["mimic"]
    assert times.shape == (2,) and (times > 0).all() and np.isfinite(times).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
