import pytest
import torch
from torch import nn

from mmer_lib.probes import record


class Twice(nn.Module):
    """A layer that is used twice, with a gate beside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.gate = nn.Linear(3, 3), nn.Sigmoid()

    def forward(self, x):
        return self.gate(x) * self.layer(self.layer(x))


@pytest.fixture
def x():
    return torch.randn(2, 3, generator=torch.Generator().manual_seed(1))


def test_the_latest_output_of_each_module_stands_under_its_name(x):
    model = Twice().bfloat16()
    with record({"gate": model.gate, "layer": model.layer}) as seen:
        model(x.bfloat16())
    assert list(seen) == ["gate", "layer"]
    assert torch.equal(seen["gate"], x.bfloat16().sigmoid().float())
    assert torch.equal(seen["layer"], model.layer(model.layer(x.bfloat16())).float())
    assert not seen["layer"].requires_grad


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
    before, parts = model(x), {"layer": model.layer, "gate": model.gate}
    with record(parts) as seen:
        assert torch.equal(model(x), before)
    kept = dict(seen)
    model(2 * x)
    assert all(seen[k] is v for k, v in kept.items())
    with pytest.raises(RuntimeError), record(parts):
        model(torch.zeros(2, 7))
    assert not any(m._forward_hooks for m in model.modules())
