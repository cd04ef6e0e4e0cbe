import pytest
import torch
from torch import nn

from mmer_lib.probes.hooks import record


class Twice(nn.Module):
    """A layer that is used twice, with a gate beside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.gate = nn.Linear(3, 3), nn.Sigmoid()
        self.idle = nn.Linear(3, 3)

    def forward(self, x):
        return self.gate(x) * self.layer(self.layer(x))


def listeners(model):
    return sum(len(m._forward_hooks) for m in model.modules())


@pytest.fixture
def x():
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(1))


def test_the_output_of_each_module_stands_under_its_name(x):
    model = Twice()
    with record({"gate": model.gate}) as seen:
        model(x)
    assert list(seen) == ["gate"]
    assert torch.equal(seen["gate"], x.sigmoid())


def test_of_a_module_that_runs_twice_the_latest_output_stays(x):
    model = Twice()
    with record({"layer": model.layer}) as seen:
        model(x)
        assert torch.equal(seen["layer"], model.layer.forward(model.layer.forward(x)))
        model(2 * x)
    assert torch.equal(seen["layer"], model.layer(model.layer(2 * x)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_records_are_detached_and_in_float32_on_the_cpu(x, dtype):
    model = Twice().to(dtype)
    with record({"layer": model.layer}) as seen:
        model(x.to(dtype))
    kept = seen["layer"]
    assert kept.dtype == torch.float32 and kept.device.type == "cpu" and not kept.requires_grad


def test_with_the_graph_gradients_flow_into_what_came_before(x):
    model = Twice()
    with record({"layer": model.layer}, graph=True) as seen:
        model(x)
    seen["layer"].square().sum().backward()
    assert model.layer.weight.grad.abs().max() > 0
    expected = model.layer.weight.grad.clone()
    model.zero_grad()
    model.layer(model.layer(x)).square().sum().backward()
    torch.testing.assert_close(model.layer.weight.grad, expected)


def test_listening_changes_nothing_and_leaves_nothing_behind(x):
    model = Twice()
    before = model(x)
    with record({"layer": model.layer, "gate": model.gate}) as seen:
        assert listeners(model) == 2
        assert torch.equal(model(x), before)
    assert listeners(model) == 0
    kept = dict(seen)
    assert torch.equal(model(2 * x), model(2 * x))
    assert all(seen[k] is v for k, v in kept.items())


def test_after_an_error_inside_the_model_nobody_listens():
    model = Twice()
    with pytest.raises(RuntimeError), record({"layer": model.layer, "gate": model.gate}):
        model(torch.zeros(2, 7))
    assert listeners(model) == 0


def test_two_may_listen_at_once(x):
    model = Twice()
    with record({"a": model.gate}) as outer:
        with record({"b": model.gate}) as inner:
            model(x)
        model(2 * x)
    assert torch.equal(inner["b"], x.sigmoid()) and torch.equal(outer["a"], (2 * x).sigmoid())
