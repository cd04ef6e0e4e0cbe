"""What every model is, and what it gives back."""

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args, get_origin

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch, DataError

INPUTS = {
    "text": ("words", "word_mask"),
    "audio": ("audio", "audio_mask"),
    "vision": ("vision", "vision_mask"),
}
"""The fields of a `Batch` that hold each modality, step by step."""

SPEECHLESS = MODALITIES[1:]
"""The modalities that are scaled: word vectors are left as they are."""


class Config:
    """A frozen dataclass that checks its values by the types of its fields.

    Whole numbers are at least 1 (0 for those in `may_be_0`), others 0; dropouts, and hop and window
    (seconds), are below 1. A group may come as a list; one of words also as a string with commas,
    and takes the known order. A DataError for another value, or two that contradict each other.
    """

    may_be_0: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for field_ in fields(self):
            name, kind, value = field_.name, field_.type, getattr(self, field_.name)
            if get_origin(kind) is tuple:
                value = group_of(name, kind, value)
            elif get_origin(kind) is Literal and value not in get_args(kind):
                raise DataError(f"{name} {value!r}; known: {', '.join(get_args(kind))}")
            elif kind in (bool, int, float, str):
                wanted = (int, float) if kind is float else kind
                if not isinstance(value, wanted) or isinstance(value, bool) is not (kind is bool):
                    raise DataError(f"{name} is {value!r}; {kind.__name__} is needed")
                value = kind(value)
            object.__setattr__(self, name, value)
            least = 1 if int in (kind, *get_args(kind)) and name not in self.may_be_0 else 0
            seconds = name in ("hop", "window")
            below = 1 if seconds or name.endswith("dropout") else math.inf
            for x in value if isinstance(value, tuple) else (value,):
                if isinstance(x, int | float) and not least <= x < below:
                    above = f", below 1{' second' * seconds}" if below == 1 else ""
                    raise DataError(f"{name} is {value}; at least {least}{above}")


def group_of(name: str, kind: type, value: tuple | list | str) -> tuple:
    """The value of a field of a configuration whose type is a tuple."""
    first, *others = get_args(kind)
    known = get_args(first)
    if known:
        words = value.replace(" ", "").split(",") if isinstance(value, str) else value
        if not words or not set(words) <= set(known):
            raise DataError(f"{name} is {value!r}; some of {','.join(known)}")
        return tuple(word for word in known if word in words)
    size = None if others == [...] else 1 + len(others)
    if not isinstance(value, tuple | list) or not value or size not in (None, len(value)):
        raise DataError(f"{name} is {value!r}; give a list of {size or 'some'} numbers")
    return tuple(value)


@dataclass
class Output:
    """Attributes:
    logits: (B, classes), or (B,) where the configuration's classes is 1.
    named: representations by name; each model's docstring gives their shapes.
    """

    logits: Tensor
    named: dict[str, Tensor] = field(default_factory=dict)


class Model(nn.Module, PyTorchModelHubMixin):
    """A new system has a `config_class`, says what it `needs`, and has a `forward`. It may have
    `losses` beside that of its task, `scalings` of its inputs, and a closed form (`solve`).

    `save_pretrained(folder)` and `from_pretrained(folder or hub name)` keep the weights as
    safetensors and the configuration as JSON; the type of `config` is read from the signature of
    `__init__`, so a model's file does without `from __future__ import annotations`.

    Attributes:
        config_class: its `Config`. It has `classes` (1 predicts a sentiment, more
            classify), and the weights of the losses under their names.
        class_weights: (classes,) of the cross-entropy, or None; not saved.
        traced: representations of each modality whose similarity is followed in training: what
            they are called, and their names in `Output.named`, as {"h": "h_{}"} for "h_text", ...
    """

    config_class: type
    traced: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("class_weights", None, persistent=False)

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **options):
        """The mixin's own lets weights of other names pass in silence, and prints."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super()._from_pretrained(strict=strict, **options)

    @staticmethod
    def needs(config) -> tuple[str, ...]:
        """Fields of a `Batch` that a model of this configuration reads."""
        raise NotImplementedError

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Scalars by name, not weighted, "task" first; one whose weight is 0 is not computed."""
        logits = output.logits.float()
        if self.config.classes == 1:
            return {"task": F.mse_loss(logits, batch.sentiment)}
        return {"task": F.cross_entropy(logits, batch.emotion, self.class_weights)}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum, each weighted by the configuration's field of its name (Eq. 15 of both)."""
        return sum(getattr(self.config, name, 1.0) * loss for name, loss in losses.items())

    def scalings(self) -> dict[str, nn.Module]:
        """Layers that are fitted on the training part, by the input that they scale."""
        return {}

    def solve(self, train: Iterable[Batch], dev: Iterable[Batch]) -> None:
        """Parameters in closed form are taken from the training part, choices from `dev`."""

    def output(self, logits: Tensor, named: dict[str, Tensor]) -> Output:
        """logits (B, classes) as the docstring of `Output` has them."""
        return Output(logits.squeeze(-1) if self.config.classes == 1 else logits, named)


def by_modality(named: Mapping[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """What `Output` names for each modality under a pattern such as "h_{}"."""
    names = {m: pattern.format(m) for m in MODALITIES}
    return {m: named[name] for m, name in names.items() if name in named}
