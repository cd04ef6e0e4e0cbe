"""What every model is, and what it gives back."""

import contextlib
import io
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

_FIELDS = {
    "text": {"words", "phonemes", "cls", "subwords"},
    "audio": {"frames", "sound", "audio"},
    "vision": {"vision"},
}


class Config:
    """A frozen dataclass that checks its values by the types of its fields.

    Whole numbers are at least 1, other numbers 0, dropouts below 1; hop and window are seconds. The
    names in `may_be_0`, `above_0` and `odd` are of fields that differ. A group may come as a list;
    one of words also as a string with commas, and takes the known order.

    Raises:
        DataError: another value; two that contradict each other.
    """

    may_be_0: ClassVar[tuple[str, ...]] = ()
    above_0: ClassVar[tuple[str, ...]] = ()
    odd: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for field_ in fields(self):
            name, kind, value = field_.name, field_.type, getattr(self, field_.name)
            if get_origin(kind) is tuple:
                value = group_of(name, kind, value)
                object.__setattr__(self, name, value)
            elif get_origin(kind) is Literal and value not in get_args(kind):
                raise DataError(f"{name} {value!r}; known: {', '.join(get_args(kind))}")
            numbers = value if isinstance(value, tuple) else (value,)
            whole = int in (kind, *get_args(kind))
            least = 1 if whole and name not in self.may_be_0 else 0
            if any(isinstance(x, int | float) and not x >= least for x in numbers):
                raise DataError(f"{name} is {value}; at least {least}")
            if name in self.above_0 and not min(numbers) > 0:
                raise DataError(f"{name} is {value}; above 0")
            if name in self.odd and not all(x % 2 for x in numbers):
                raise DataError(f"{name} is {value}; odd, which keeps the length")
            if name.endswith("dropout") and max(numbers) >= 1:
                raise DataError(f"{name} is {value}; from 0 to below 1")
            if name in ("hop", "window") and not 0 < value < 1:
                raise DataError(
                    f"{name} is {value:g}; in seconds, above 0 and below 1 (12 ms: 0.012)"
                )


def group_of(name: str, kind: type, value: tuple | list | str) -> tuple:
    """The value of a field of a configuration whose type is a tuple."""
    first, *others = get_args(kind)
    known = get_args(first)
    if known and isinstance(value, str):
        value = [word.strip() for word in value.split(",")]
    if not isinstance(value, tuple | list) or not value:
        raise DataError(f"{name} is {value!r}; give a list")
    if known and not set(value) <= set(known):
        raise DataError(f"{name} {','.join(map(str, value))!r}; some of {','.join(known)}")
    if others != [...] and len(value) != 1 + len(others):
        raise DataError(f"{name} is {value}; {1 + len(others)} numbers are needed")
    return tuple(word for word in known if word in value) if known else tuple(value)


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

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that this model reads."""
        needs = set(self.needs(self.config))
        return tuple(m for m, fields in _FIELDS.items() if fields & needs)

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
