"""Listening to the submodules of a model from outside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn

from mmer_lib.models.layers import outputs_of


def record(
    modules: Mapping[str, nn.Module], graph: bool = False
) -> AbstractContextManager[dict[str, Tensor]]:
    """While the context lasts, keep the latest output of each module under its name: with its
    `graph`, to go through it backwards, or detached, on the CPU, float32.

    >>> with record({"gate": model.gate.gate}) as seen:
    ...     model(batch)
    >>> seen["gate"]
    """
    if graph:
        return outputs_of(modules)
    return outputs_of(modules, lambda output: output.detach().float().cpu())
