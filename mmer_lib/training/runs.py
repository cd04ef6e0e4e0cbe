"""What a training leaves: a folder with the weights, the configuration and the result.

`model.safetensors` and `config.json` as `save_pretrained` writes them, `run.json` with the model's
name and settings and, last of all, `result.json`, which says that the run is whole. `open_run`
opens such a folder, and so does the `from_pretrained` of its model.
"""

from __future__ import annotations

import ast
import functools
import json
import math
import os
import platform
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from mmer_lib.data import Corpus, DataError, Split
from mmer_lib.features.batches import Examples, loader
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.store import digest, replacing, scratch, write_json, writing
from mmer_lib.training.settings import Settings


@dataclass
class Run:
    """A trained model with all that it needs to be looked at.

    Attributes:
        name: of the model. folder: where it is kept. result: what `result.json` holds.
        model: in evaluation mode, on the CPU.
    """

    name: str
    folder: Path
    model: nn.Module
    settings: Settings
    result: dict

    @torch.inference_mode()
    def predict(self, examples: Examples, batch_size: int = 64) -> tuple[np.ndarray, Tensor]:
        """(positions in the corpus (N,), logits (N, classes) or (N,)) of some examples."""
        device = next(self.model.parameters()).device
        batches = loader(examples, batch_size, shuffle=False)
        pairs = [(b.index, self.model(b.to(device)).logits.float().cpu()) for b in batches]
        index, logits = (torch.cat(t) for t in zip(*pairs, strict=True))
        return index.numpy(), logits


def truth_of(corpus: Corpus, rows, task: str) -> Tensor:
    """Labels of some utterances: classes (N,) or sentiments (N,)."""
    if task == "emotion":
        return torch.tensor([corpus.emotions.index(corpus.utterances[r].emotion) for r in rows])
    return torch.tensor([corpus.utterances[r].sentiment for r in rows])


def provenance(device: torch.device) -> dict:
    """When, with what and on what something was computed."""
    names = ("torch", "torchaudio", "lightning", "torchmetrics", "numpy", "espeakng-loader")
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git_revision(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
    }


def about_run(
    run: Run, corpus: Corpus, features_key: str, split: Split, history: Sequence[dict]
) -> dict:
    """What was trained on what, and how its epochs went; `dev` are the scores of the best one."""
    settings = run.settings
    best = (max if settings.mode == "max" else min)(history, key=lambda h: h[settings.monitor])
    return {
        "model": run.name,
        "data": corpus.name,
        "synthetic": corpus.synthetic,
        "emotions": list(corpus.emotions),
        "data_key": corpus.key,
        "features_key": features_key,
        "config": asdict(run.model.config),
        "settings": asdict(settings),
        "sizes": dict(zip(("train", "dev", "test"), map(len, split), strict=True)),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "dev": {k: v for k, v in best.items() if k != "epoch" and not k.startswith("loss")},
        "best_epoch": best["epoch"],
        "epochs": len(history),
        "history": list(history),
    }


def command_of(
    name: str, corpus: Corpus, fold: int, seed: int, preset: str, changes: dict, options: dict,
    devices: int = 1,
) -> str:  # fmt: skip
    """What to type to get this run again: in a terminal or, for a corpus made from arrays, in
    Python."""
    if "arrays" in corpus.extras:
        named = {**changes, **({"model_options": options} if options else {})}
        named |= {"devices": devices} if devices > 1 else {}
        more = "".join(f", {key}={value!r}" for key, value in named.items())
        return f"fit({name!r}, corpus, fold={fold}, seed={seed}, preset={preset!r}{more})"
    line = f"mmer train {name} {shlex.join(corpus.arguments)} --fold {fold} --seed {seed}"
    line += f" --preset {preset}" + (f" --devices {devices}" if devices > 1 else "")
    for key, value in {**options, **changes}.items():
        line += f" --set {shlex.quote(f'{key}={value}')}"
    return line


@functools.cache
def source_hash(name: str) -> str:
    """Digest of the library's code that decides what a training of a model gives, as this process
    found it: its own file and the models that this one imports, and what all trainings share. What
    a corpus holds and what the settings are is counted elsewhere: here only how they are used."""
    root = Path(__file__).parents[1]
    files = {root / f"{n}.py" for n in ("data", "store", "pretrained", "probes/hooks")}
    files |= {*(root / "features").glob("*.py"), *(root / "training").glob("*.py")}
    pending = [root / "models" / f"{n}.py" for n in ("base", "encoders", "losses", "ranks")]
    pending.append(root.parent / f"{MODELS[name][0].replace('.', '/')}.py")
    while pending:
        path = pending.pop()
        if path not in files:
            files.add(path)
            pending += _models_imported(path)
    return digest(*[(p.name, p.read_bytes()) for p in sorted(files)])


def _models_imported(path: Path) -> list[Path]:
    """Files of the models that a file imports names from."""
    found = ast.walk(ast.parse(path.read_bytes()))
    modules = [n.module or "" for n in found if isinstance(n, ast.ImportFrom)]
    root = Path(__file__).parents[2]
    return [root / f"{m.replace('.', '/')}.py" for m in modules if m.startswith("mmer_lib.models.")]


def _git_revision() -> str | None:
    """Revision of the checkout that this package lies in; "+" marks uncommitted changes."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    call = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def save_run(run: Run) -> None:
    """Write the folder of a run, each file whole or not at all.

    Raises:
        DataError: the system refuses it.
    """
    with scratch(run.folder) as folder:
        with writing(run.folder):
            run.model.save_pretrained(folder)
        for name in ("model.safetensors", "config.json"):
            with replacing(run.folder / name) as temporary:
                os.replace(folder / name, temporary)
    write_json(run.folder / "run.json", {"model": run.name, "settings": asdict(run.settings)})
    write_json(run.folder / "result.json", _finite(run.result))  # last: it says that all is there


def _finite(value):
    """NaN, which JSON does not know, as null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# What reading files that were cut, changed or mixed up ends in; ValueError takes in wrong JSON,
# wrong UTF-8 and a model's own refusal.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError,
           SafetensorError)  # fmt: skip
_KINDS = {"str": str, "bool": bool, "int": int, "float": int | float}  # of settings


@contextmanager
def _no_larger_than(file: Path) -> Iterator[None]:
    """Layers that are made meanwhile take no memory, and may not have more numbers than `file`
    could hold, whatever widths and depths a configuration asks for.

    Raises:
        ValueError: they have.
    """
    left = file.stat().st_size  # a number takes two bytes or more

    def count(module: nn.Module, name: str, numbers: Tensor | None) -> None:
        nonlocal left
        left -= 2 * numbers.numel() if numbers is not None else 0
        if left < 0:
            raise ValueError("config.json asks for a model larger than model.safetensors")

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def open_run(folder: str | Path) -> Run:
    """Open the folder of a finished run.

    Raises:
        DataError: not such a folder, its files contradict each other, or they ask for a model
            with more numbers than its weights hold.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "run.json", "result.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder}: no {name}; give the folder of a finished `mmer train`")
    try:
        saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        settings = Settings(**saved["settings"])
        if not isinstance(result, dict):
            raise TypeError("result.json holds no result")
        for field in fields(Settings):
            if not isinstance(getattr(settings, field.name), _KINDS[field.type]):
                raise TypeError(f"setting {field.name} is no {field.type}")
        cls = model_class(saved["model"])
        if config.keys() != set(cls.config_class.__dataclass_fields__):  # it would be filled up
            raise KeyError("config.json has other fields than the model")
        with _no_larger_than(folder / "model.safetensors"):
            cls(cls.config_class(**config))
        model = cls.from_pretrained(folder)
    except _DAMAGE as error:
        raise DataError(
            f"{folder}: its files are damaged or contradict each other ({error}); delete the "
            "folder and train again"
        ) from error
    return Run(saved["model"], folder, model.eval(), settings, result)


def read_results(folder: str | Path, **where) -> list[dict]:
    """Recorded results (`*.json`) whose fields have the given values, by fold and seed.

    Raises:
        DataError: none is found; a file that is no result.
    """
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if all(result.get(k) == v for k, v in where.items()):
                found.append((int(result["fold"]), int(result["seed"]), result))
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as e:
            raise DataError(f"{path}: no recorded result; delete it, or move it elsewhere") from e
    if not found:
        raise DataError(f"{folder}: no recorded result with {where}")
    return [result for *_, result in sorted(found, key=lambda r: r[:2])]
