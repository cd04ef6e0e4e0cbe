"""How to train: the settings, and for each model a preset of the paper and a fast one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmer_lib.corpora import DataError


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        task: "emotion" (cross-entropy) or "sentiment" (squared error).
        learning_rate, batch_size, weight_decay: of AdamW (Adam where weight_decay is 0).
        max_epochs, patience: early stopping waits `patience` epochs for a better `monitor`.
        monitor: development score that decides; "max" or "min" in `mode`.
        warmup: share of all steps with a rising learning rate; then it falls as a cosine.
            0 keeps it constant.
        clip: largest norm of the gradient, 0 for none.
        frames: over what each filterbank band has mean 0 and variance 1: "utterance", "speaker"
            (both in `features`), or "train", one scale for all, fitted on the training part.
        text: word vectors, "glove" or "bert" (see `features.extract`).
        contrastive: weight of the contrastive regulariser (MIMIC, Eq. 15).
        temperature: of that regulariser.
    """

    task: str
    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int
    monitor: str
    mode: str
    weight_decay: float = 0.0
    warmup: float = 0.0
    clip: float = 0.0
    frames: str = "utterance"
    text: str = "glove"
    contrastive: float = 0.0
    temperature: float = 0.1


_MUSE = Settings("emotion", 1e-5, 4, 200, 10, "wa", "max")
_MIMIC = Settings("sentiment", 1e-4, 64, 200, 10, "mae", "min", contrastive=0.1)
PRESETS: dict[str, dict[str, tuple[dict, Settings]]] = {
    # `paper` is what the papers state; `fast` is for CPUs and first looks
    "muse": {
        "paper": ({}, _MUSE),
        "fast": (
            {"stack": 6, "hidden": 256, "dropout": 0.3},
            replace(
                _MUSE, learning_rate=1e-3, batch_size=32, max_epochs=15, weight_decay=0.01,
                warmup=0.1, clip=1.0, frames="train",
            ),
        ),
    },
    "mimic": {
        "paper": ({}, _MIMIC),
        "fast": (
            {"dropout": 0.1},
            replace(
                _MIMIC, learning_rate=2e-3, batch_size=32, max_epochs=30, weight_decay=0.01,
                warmup=0.1, clip=1.0,
            ),
        ),
    },
}  # fmt: skip

_MONITORS = {
    "emotion": ("wa", "ua", "loss"),
    "sentiment": ("mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc5", "acc7",
                  "loss"),
}  # fmt: skip


def check_settings(s: Settings, contrasted: str | None) -> None:
    """`contrasted` is what of the model the contrastive regulariser reads, None for nothing.

    Raises:
        DataError: a value that is unknown or out of range, or two that contradict each other.
    """
    if s.task not in _MONITORS:
        raise DataError(f"unknown task {s.task!r}; known: {', '.join(_MONITORS)}")
    if s.monitor not in _MONITORS[s.task]:
        raise DataError(
            f"monitor {s.monitor!r} is no score of task {s.task!r}; set monitor to one of "
            f"{', '.join(_MONITORS[s.task])}, and mode to 'max' or 'min'"
        )
    if s.mode not in ("max", "min"):
        raise DataError(f"mode {s.mode!r}: 'max' or 'min'")
    if s.frames not in ("utterance", "speaker", "train"):
        raise DataError(f"frames {s.frames!r}: 'utterance', 'speaker' or 'train'")
    if s.text not in ("glove", "bert"):
        raise DataError(f"text {s.text!r}: 'glove' or 'bert'")
    for name in ("max_epochs", "batch_size", "patience"):
        if getattr(s, name) < 1:
            raise DataError(f"{name} is {getattr(s, name)}; at least 1")
    if s.contrastive and contrasted is None:
        raise DataError(f"contrastive is {s.contrastive}, but this model has no S; set it to 0")
