"""What every model gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Output:
    """Attributes:
    logits: (B, classes), or (B,) for a sentiment.
    named: representations by name; each model's docstring gives their shapes.
    """

    logits: Tensor
    named: dict[str, Tensor] = field(default_factory=dict)
