"""A training step asks its device for no number and makes nothing on the CPU: either would be a
wait on a GPU, and is an error on torch's meta device, whose tensors have no numbers."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmer_lib.models.registry import model_class
from tests.models.cases import config_of, every, lengths_for
from tests.models.utterances import batched, examples


class OnOneDevice(TorchDispatchMode):
    """An error for an operation that reads or writes a tensor of the CPU."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, found)):
            if isinstance(x, torch.Tensor) and x.device.type == "cpu":
                raise RuntimeError(f"{operation} makes or reads a tensor of the CPU")
        return found


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """The meta device has none."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def step(model, batch):
    with OnOneDevice():
        total = model.total(model.losses(batch, model(batch)))
        if total.requires_grad:
            total.backward()
        return total


@every
def test_a_step_stays_on_its_device(name, change):
    model = model_class(name)(config_of(name, **change)).to("meta").train()
    batch = batched(examples(**lengths_for(change)), torch.float32).to("meta")
    # transformers looks whether anything is padding; Li's windows are as long as the longest word
    if change.get("speech") or name == "li":
        with pytest.raises(RuntimeError, match=r"item|meta"):
            step(model, batch)
    else:
        assert step(model, batch).device.type == "meta"


@pytest.mark.parametrize(
    "wait", [lambda x: x.sum().item(), lambda x: x + torch.ones(3), lambda x: x[torch.tensor([0])]]
)
def test_a_wait_and_a_tensor_of_the_cpu_would_be_found(wait):
    with pytest.raises(RuntimeError, match=r"meta|CPU"), OnOneDevice():
        wait(torch.zeros(3, device="meta"))
