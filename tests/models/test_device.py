"""A training step waits for no device: with all tensors on torch's meta device, which has no numbers,
nothing is made on the CPU and no number is asked for."""

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
                raise AssertionError(f"{operation} on the CPU, shape {tuple(x.shape)}")
        return found


@every
def test_a_step_stays_on_the_device(name, change):
    model = model_class(name)(config_of(name, **change)).to("meta").train()
    batch = batched(examples(**lengths_for(change)), torch.float32).to("meta")
    with OnOneDevice():
        losses = model.losses(batch, model(batch))
        total = model.total(losses)
        if total.requires_grad:
            total.backward()
