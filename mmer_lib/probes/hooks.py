"""Listening to the submodules of a model from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def record(modules: Mapping[str, nn.Module], graph: bool = False) -> Iterator[dict[str, Tensor]]:
    """While the context lasts, keep the latest output of each module under its name.

    >>> with record({"gate": model.gate.gate}) as seen:
    ...     model(batch)
    >>> seen["gate"]

    Args:
        graph: keep the outputs as they are, to go through them backwards; else they are detached
            and on the CPU in float32.
    """
    seen: dict[str, Tensor] = {}

    def listener(name):
        def keep(_module, _inputs, output):
            seen[name] = output if graph else output.detach().float().cpu()

        return keep

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(listener(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
