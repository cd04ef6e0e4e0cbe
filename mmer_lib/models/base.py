"""What every model is, and what it gives back."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, get_args

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mmer_lib.data import MODALITIES, Batch, DataError


@dataclass
class Output:
    """Attributes:
    logits: (B, classes), or (B,) where the configuration's classes is 1.
    named: representations by name; each model's docstring gives their shapes.
    """

    logits: Tensor
    named: dict[str, Tensor] = field(default_factory=dict)


class Model(nn.Module, PyTorchModelHubMixin):
    """A model of this library: one configuration, `forward(batch) -> Output`, and what training
    may ask of it.

    `save_pretrained(folder)` and `from_pretrained(folder or hub name)` keep the weights as
    safetensors and the configuration as JSON. A file with a model in it does without
    `from __future__ import annotations`: `from_pretrained` reads the type of `config` from the
    signature of `__init__`.

    Attributes:
        config_class: dataclass of the configuration.
        modalities: what it reads, of `corpora.MODALITIES`.
        contrasted: name in `Output.named` of what the contrastive regulariser reads, or None.
        compared: two such names that L_emb_align draws together, or None.
        traced: representations whose similarity between modalities is followed in training: what
            they are called, and their name in `Output.named`, as "h_{}" for "h_text", ...
        listens: whether it hears speech through an encoder only, which the settings must name.
    """

    config_class: type
    modalities: tuple[str, ...]
    contrasted: str | None = None
    compared: tuple[str, str] | None = None
    traced: ClassVar[dict[str, str]] = {}
    listens: bool = False

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **options):
        """The mixin's own, which by default lets weights of other names pass in silence, and
        prints where it loads from."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super()._from_pretrained(strict=strict, **options)

    @staticmethod
    def needs(config) -> tuple[str, ...]:
        """Fields of a `Batch` that a model of this configuration reads."""
        raise TypeError("a model says what it needs")

    @staticmethod
    def auxiliaries(config) -> tuple[str, ...]:
        """Losses of MISA that a model of this configuration allows, by the name of their weight in
        `Settings`: "similarity" of "s_m", "difference" of "s_m" and "i_m", "reconstruction" of
        "h_m" by "r_m", for each modality m (names in `Output.named`)."""
        return ()

    def scalings(self) -> dict[str, nn.Module]:
        """Layers that can be fitted on the training part, by the input that they scale."""
        return {}

    def solve(self, train: Iterable[Batch], dev: Iterable[Batch]) -> None:
        """Before training: a model that has its parameters in closed form takes them from all
        batches of the training part, and its few choices from the development part."""

    def alignments(self) -> dict[str, nn.Module]:
        """Modules that give attention from frames to words, (B, H, 1 + T, W) (MUSE, Eq. 9)."""
        return {}

    def own_losses(self, batch: Batch, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses that belong to the model itself, scalars by name, each already weighted by its
        field of the configuration: they are added to the loss of the task."""
        return {}

    def output(self, logits: Tensor, named: dict[str, Tensor]) -> Output:
        """logits (B, classes) as the docstring of `Output` has them."""
        return Output(logits.squeeze(-1) if self.config.classes == 1 else logits, named)


def by_modality(named: Mapping[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """What `Output` names for each modality under a pattern such as "h_{}"."""
    names = {m: pattern.format(m) for m in MODALITIES}
    return {m: named[name] for m, name in names.items() if name in named}


def check_ranges(config, may_be_0: tuple[str, ...] = ()) -> None:
    """Whole numbers of a configuration are at least 1, some at least 0; dropouts are shares from 0
    to below 1; hop and window are seconds. Of a group, every number.

    Raises:
        DataError: one that is not.
    """
    for field_ in fields(config):
        name, value = field_.name, getattr(config, field_.name)
        each = value if isinstance(value, tuple) else (value,)
        if field_.type is int or int in get_args(field_.type):
            least = 0 if name in may_be_0 else 1
            if any(number is not None and number < least for number in each):
                raise DataError(f"{name} is {value}; at least {least}")
        if name.endswith("dropout") and not all(0 <= share < 1 for share in each):
            raise DataError(f"{name} is {value}; from 0 to below 1")
        if name in ("hop", "window") and not 0 < value < 1:
            raise DataError(f"{name} is {value:g}; in seconds, above 0 and below 1 (12 ms: 0.012)")


INPUTS = {
    "text": ("words", "word_mask"),
    "audio": ("audio", "audio_mask"),
    "vision": ("vision", "vision_mask"),
}
"""The fields of a `Batch` that hold each modality."""


SPEECHLESS = MODALITIES[1:]
"""The modalities that are scaled: word vectors are left as they are."""
