"""How to train: the settings, and for each model a preset of the paper and a fast one."""

from dataclasses import dataclass, replace
from typing import Literal

from mmer_lib.data import DataError
from mmer_lib.models.base import Config
from mmer_lib.models.registry import model_class


@dataclass(frozen=True)
class Settings(Config):
    """How to train; a `Config`, which checks its values.

    Attributes:
        task: "emotion" (cross-entropy) or "sentiment" (squared error, or the model's `error`).
        learning_rate, batch_size, weight_decay: of AdamW (Adam where weight_decay is 0).
        max_epochs, patience: early stopping waits `patience` epochs for a better `monitor`.
        monitor: development score that decides; "max" or "min" in `mode`.
        warmup: share of all steps with a rising learning rate; then it falls as a cosine.
            0 keeps it constant.
        clip: largest norm of the gradient; clip_value: largest value of its numbers. 0 for none.
        frames: over what each filterbank band has mean 0 and variance 1: "utterance", "speaker"
            (both in `features`), or "train", one scale for all, fitted on the training part.
        text: word vectors, "glove", "bert" (see `features.extract`), or a GloVe text file.
        encoder: text encoder of the global branch, "minilm" (embedded), or a name or folder for
            `transformers`, such as "bert-base-uncased".
        tune: train that encoder along; else its vectors are computed once.
        wav2vec: name or folder of a speech encoder that is trained along and reads the sound in
            place of the filterbank; "" for none.
        listener: name or folder of a frozen speech encoder whose states are the acoustic features
            (B^TS of MIMIC), "resemblyzer" (`features.voice`) or "untrained"
            (`features.states.UNTRAINED`); "" for those of the corpus, or filterbank and prosody.
        encoder_learning_rate: of the encoders that are trained along; 0 takes `learning_rate`.
        class_weights: weigh classes by the inverse of their share of the training part.
        accumulate: so many batches give one step, with the mean of their gradients: that of one
            large batch for losses that are means over utterances (the task's without
            `class_weights`, embedding, reconstruction), but not for those that compare utterances
            or average over frames (contrastive, similarity, difference, align, tts), nor batch
            norms.
        precision: "auto" (mixed with bfloat16 on a GPU that has it, else float32), "32-true",
            "bf16-mixed", or, on a GPU, "16-mixed".
    """

    task: Literal["emotion", "sentiment"]
    learning_rate: float
    batch_size: int
    max_epochs: int
    patience: int
    monitor: str
    mode: Literal["max", "min"]
    weight_decay: float = 0.0
    warmup: float = 0.0
    clip: float = 0.0
    clip_value: float = 0.0
    frames: Literal["utterance", "speaker", "train"] = "utterance"
    text: str = "glove"
    encoder: str = "minilm"
    tune: bool = False
    wav2vec: str = ""
    listener: str = ""
    encoder_learning_rate: float = 0.0
    class_weights: bool = False
    accumulate: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"

    def __post_init__(self):
        super().__post_init__()
        if self.monitor not in _MONITORS[self.task]:
            raise DataError(
                f"monitor {self.monitor!r} is no score of task {self.task!r}; set monitor to one "
                f"of {', '.join(_MONITORS[self.task])}, and mode to 'max' or 'min'"
            )
        if self.warmup > 1:
            raise DataError(f"warmup is {self.warmup}; a share of all steps, at most 1")
        if self.class_weights and self.task != "emotion":
            raise DataError("class_weights is for the task 'emotion'; set it to False")


_SENTIMENT = "mae corr acc2_has0 f1_has0 acc2_non0 f1_non0 acc5 acc7 loss"
_MONITORS = {"emotion": ("wa", "ua", "loss"), "sentiment": tuple(_SENTIMENT.split())}

# The papers name no greatest number of epochs: 200 is ours. "Early stopping based on the best
# validation WA over 10 epochs" (MUSE 4.2) is read as a patience of 10; it may mean ten in all.
_MUSE = Settings("emotion", 1e-5, 4, 200, 10, "wa", "max")
_YOON = replace(_MUSE, learning_rate=1e-3, batch_size=128, patience=7)
_SSL = replace(_MUSE, batch_size=16, max_epochs=10, weight_decay=0.1, warmup=0.06, tune=True)
# floors: had in closed form, so nothing is left to train
_SOLVED = Settings("emotion", 0.0, 64, 1, 1, "wa", "max", frames="train")
_MIMIC = Settings("sentiment", 1e-4, 64, 200, 10, "mae", "min")
_TFN = replace(_MIMIC, learning_rate=5e-4, batch_size=128, patience=5)
_MULT = replace(_MIMIC, learning_rate=1e-3, batch_size=24, max_epochs=40, patience=40, clip=0.8)
_PAPER = {
    "muse": _MUSE,
    "muse-multigranular": replace(_MUSE, tune=True),
    "bert": replace(_MUSE, tune=True),
    "mimic": _MIMIC,
    "misa": replace(_MIMIC, patience=6, clip_value=1.0),
    "yoon": _YOON,
    "xu": replace(_YOON, batch_size=64, patience=10, max_epochs=150, clip=3.0),
    "li": replace(_YOON, learning_rate=5e-4, batch_size=32, patience=20, max_epochs=20),
    "ssl": replace(_SSL, monitor="loss", mode="min"),
    "majority": _SOLVED,
    "linear": _SOLVED,
    "tfn": _TFN,
    "lmf": replace(_TFN, learning_rate=1e-3, batch_size=8, weight_decay=0.002, patience=20),
    "mfn": replace(_TFN, learning_rate=0.01, max_epochs=50, patience=50),
    "mv-lstm": replace(_TFN, learning_rate=1e-4, batch_size=100, patience=10),
    "mult": _MULT,
    "raven": replace(_MULT, batch_size=20, max_epochs=500, patience=500, clip=0.0),
    "mfm": replace(_MULT, learning_rate=0.01, batch_size=32, max_epochs=30, patience=30, clip=0.0),
    "iccn": replace(_MULT, batch_size=64, max_epochs=100, clip=1.0, patience=10),
}
_SMALL = {"width": 64, "hidden": 128, "stack": 8, "dropout": 0.2}
_NARROW = {"text_width": 32, "audio_width": 16, "vision_width": 16, "hidden": 64}
_LIGHT = {"text_dropout": 0.1, "audio_dropout": 0.1, "vision_dropout": 0.1}
_STEADY = {"batch_size": 32, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "max_epochs": 30}
_FAST_SPEECH = replace(
    _MUSE, learning_rate=1e-3, frames="train", encoder_learning_rate=5e-5, **_STEADY
)
_FAST_MUSE = replace(_FAST_SPEECH, max_epochs=10)
_FAST_MIMIC = replace(_MIMIC, learning_rate=2e-3, **_STEADY)
_FAST_MULT = replace(_FAST_MIMIC, learning_rate=1e-3)  # MISA's and ICCN's too
_FAST = {
    "muse": (_SMALL, _FAST_MUSE),
    "muse-multigranular": ({**_SMALL, "projection": 64}, _FAST_MUSE),
    "bert": ({"projection": 64, "dropout": 0.2}, _FAST_MUSE),
    "mimic": ({"dropout": 0.1}, _FAST_MIMIC),
    "misa": ({"dropout": 0.2}, _FAST_MULT),
    "yoon": ({"units": 64, "stack": 8, "prosody": False, "text_dropout": 0.3}, _FAST_SPEECH),
    "xu": ({"units": 48, "stack": 8, "dropout": 0.3}, _FAST_SPEECH),
    "li": ({"channels": (32, 64, 64), "width": 64, "units": 64, "dropout": 0.3}, _FAST_SPEECH),
    "ssl": ({"dropout": 0.2}, _FAST_SPEECH),
    "majority": ({}, _SOLVED),
    "linear": ({}, _SOLVED),
    "tfn": ({**_NARROW, "fusion_dropout": 0.0}, _FAST_MIMIC),
    "lmf": (_LIGHT, _FAST_MIMIC),
    "mfn": ({"head_dropout": 0.2}, _FAST_MIMIC),
    "mv-lstm": ({"dropout": 0.2}, _FAST_MIMIC),
    "mult": ({"layers": 2, "self_layers": 2}, _FAST_MULT),
    "raven": ({"inputs": 64, "cells": 64, "hidden": 128}, _FAST_MULT),
    "mfm": ({"memory_dropout": 0.2}, _FAST_MIMIC),
    "iccn": ({}, _FAST_MULT),
}
# by model: what its paper states, and what is for CPUs and first looks; options and settings
_ABSOLUTE = {name: {"error": "absolute"} for name in ("tfn", "lmf", "mfn", "mult", "mfm")}
PRESETS: dict[str, dict[str, tuple[dict, Settings]]] = {
    name: {"paper": (_ABSOLUTE.get(name, {}), _PAPER[name]), "fast": _FAST[name]} for name in _PAPER
}


def preset_with(name: str, preset: str, changes: dict) -> tuple[dict, Settings]:
    """A model's preset with some changes: (fields of its configuration, settings)."""
    if preset not in PRESETS[name]:
        raise DataError(f"unknown preset {preset!r}; known: {', '.join(PRESETS[name])}")
    options, settings = PRESETS[name][preset]
    fields = Settings.__dataclass_fields__
    known = model_class(name).config_class.__dataclass_fields__ | fields
    if unknown := changes.keys() - known:
        raise DataError(f"{name} has no option {min(unknown)!r}; known: {', '.join(known)}")
    ours = {k: v for k, v in changes.items() if k in fields}
    return options | {k: v for k, v in changes.items() if k not in ours}, replace(settings, **ours)
