"""Listening to the submodules of a model from outside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn

from mmer_lib.models.layers import outputs_of


def record(
    modules: Mapping[str, nn.Module], graph: bool = False
) -> AbstractContextManager[dict[str, Tensor]]:
    """While the context lasts, keep the latest output of each module under its name.

    >>> with record({"gate": model.gate.gate}) as seen:
    ...     model(batch)
    >>> seen["gate"]

    Args:
        graph: keep the outputs as they are, to go through them backwards; else they are detached
            and on the CPU in float32.
    """

    def detached(output: Tensor) -> Tensor:
        return output.detach().float().cpu()

    return outputs_of(modules) if graph else outputs_of(modules, detached)
