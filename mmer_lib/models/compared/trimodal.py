"""What systems of text, audio and vision share: the fields of a batch that they read, the first
fields of their configurations, and the scaling of what is heard and seen.

Shapes: B utterances, L positions of a modality, D_m width of its input. Masks: True = padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_origin

from torch import Tensor, nn

from mmer_lib.data import Batch, DataError
from mmer_lib.models.base import INPUTS, SPEECHLESS, Model, check_ranges
from mmer_lib.models.layers import Standardise


@dataclass(frozen=True)
class TrimodalConfig:
    """Attributes:
        words, audio, vision: widths of the three inputs.
        classes: 1 predicts a sentiment, more classify.

    Raises:
        DataError: a value that is out of range, or a group of another size than its default.
    """

    words: int = 300
    audio: int = 74
    vision: int = 47
    classes: int = 1

    def __post_init__(self):
        for field in fields(self):
            if get_origin(field.type) is tuple:
                value = tuple(getattr(self, field.name))  # JSON knows lists only
                object.__setattr__(self, field.name, value)
                if len(value) != (count := len(field.default)):
                    raise DataError(f"{field.name} {value}; {count} numbers are needed")
        check_ranges(self)

    @property
    def widths(self) -> dict[str, int]:
        """Width of the input of each modality."""
        return {m: getattr(self, name) for m, (name, _) in INPUTS.items()}


class Trimodal(Model):
    """A model that reads words, audio and vision, each with a mask of its own. Its `scale` has the
    scalings of audio and vision by modality (see `scaling`)."""

    @staticmethod
    def needs(config: TrimodalConfig) -> tuple[str, ...]:
        return tuple(name for names in INPUTS.values() for name in names)

    def scalings(self) -> dict[str, nn.Module]:
        return dict(self.scale.items())


def scaling(config: TrimodalConfig) -> nn.ModuleDict:
    """The layers that scale audio and vision, by modality."""
    return nn.ModuleDict({m: Standardise(config.widths[m]) for m in SPEECHLESS})


def given(
    batch: Batch, modality: str, scale: Mapping[str, nn.Module] = {}
) -> tuple[Tensor, Tensor]:
    """x (B, L, D_m) of a modality, scaled where `scale` has a layer for it, and its mask (B, L)."""
    x, mask = (getattr(batch, name) for name in INPUTS[modality])
    return (scale[modality](x) if modality in scale else x), mask
