"""What every model is, and what it gives back."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import get_args

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

_MODALITY_OF = {
    "words": "text", "phonemes": "text", "cls": "text", "subwords": "text",
    "frames": "audio", "sound": "audio", "audio": "audio",
    "vision": "vision",
}  # fmt: skip


@dataclass
class Output:
    """Attributes:
    logits: (B, classes), or (B,) where the configuration's classes is 1.
    named: representations by name; each model's docstring gives their shapes.
    """

    logits: Tensor
    named: dict[str, Tensor] = field(default_factory=dict)


class Model(nn.Module, PyTorchModelHubMixin):
    """A model of this library: one frozen dataclass as its configuration, and `forward(batch)`.

    A new system has a `config_class`, says what it `needs`, and has a `forward`. It may have
    `losses` beside that of its task, `scalings` of its inputs, and a closed form (`solve`).

    `save_pretrained(folder)` and `from_pretrained(folder or hub name)` keep the weights as
    safetensors and the configuration as JSON. A file with a model in it does without
    `from __future__ import annotations`: `from_pretrained` reads the type of `config` from the
    signature of `__init__`.

    Attributes:
        config_class: dataclass of the configuration. It has `classes` (1 predicts a sentiment, more
            classify), and the weights of the losses under their names.
        class_weights: (classes,) of the cross-entropy, or None; not saved.
    """

    config_class: type

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("class_weights", None, persistent=False)

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **options):
        """The mixin's own, which by default lets weights of other names pass in silence, and
        prints where it loads from."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super()._from_pretrained(strict=strict, **options)

    @staticmethod
    def needs(config) -> tuple[str, ...]:
        """Fields of a `Batch` that a model of this configuration reads."""
        raise NotImplementedError

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that this model reads."""
        read = {_MODALITY_OF.get(name) for name in self.needs(self.config)}
        return tuple(m for m in MODALITIES if m in read)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Scalars by name, not weighted, "task" first: cross-entropy, or the squared error of a
        sentiment. One whose weight is 0 is not computed."""
        logits = output.logits.float()
        if self.config.classes == 1:
            return {"task": F.mse_loss(logits, batch.sentiment)}
        return {"task": F.cross_entropy(logits, batch.emotion, self.class_weights)}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of losses, each times the field of the configuration of its name (MUSE, Eq. 15;
        MIMIC, Eq. 15); the task's as it is."""
        return sum(getattr(self.config, name, 1.0) * loss for name, loss in losses.items())

    def scalings(self) -> dict[str, nn.Module]:
        """Layers that can be fitted on the training part, by the input that they scale."""
        return {}

    def solve(self, train: Iterable[Batch], dev: Iterable[Batch]) -> None:
        """Before training: a model that has its parameters in closed form takes them from all
        batches of the training part, and its few choices from the development part."""

    def output(self, logits: Tensor, named: dict[str, Tensor]) -> Output:
        """logits (B, classes) as the docstring of `Output` has them."""
        return Output(logits.squeeze(-1) if self.config.classes == 1 else logits, named)


def by_modality(named: Mapping[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """What `Output` names for each modality under a pattern such as "h_{}"."""
    names = {m: pattern.format(m) for m in MODALITIES}
    return {m: named[name] for m, name in names.items() if name in named}


def check_ranges(config, may_be_0: tuple[str, ...] = ()) -> None:
    """Whole numbers of a configuration are at least 1, some at least 0; others, weights of losses
    among them, at least 0; dropouts are shares from 0 to below 1; hop and window are seconds. Of a
    group, every number.

    Raises:
        DataError: one that is not.
    """
    for field_ in fields(config):
        name, value = field_.name, getattr(config, field_.name)
        each = value if isinstance(value, tuple) else (value,)
        kinds = {field_.type, *get_args(field_.type)}
        if kinds & {int, float}:
            least = 1 if int in kinds and name not in may_be_0 else 0
            if any(number is not None and number < least for number in each):
                raise DataError(f"{name} is {value}; at least {least}")
        if name.endswith("dropout") and not all(0 <= share < 1 for share in each):
            raise DataError(f"{name} is {value}; from 0 to below 1")
        if name in ("hop", "window") and not 0 < value < 1:
            raise DataError(f"{name} is {value:g}; in seconds, above 0 and below 1 (12 ms: 0.012)")


def check_choices(config, **known: tuple) -> None:
    """Fields of a configuration have one of the known values.

    Raises:
        DataError: one that has another.
    """
    for name, values in known.items():
        if getattr(config, name) not in values:
            raise DataError(
                f"{name} {getattr(config, name)!r}; known: {', '.join(map(str, values))}"
            )
