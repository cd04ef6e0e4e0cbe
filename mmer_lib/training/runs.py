"""What a training leaves: a folder with the weights, the configuration and the result.

`model.safetensors` and `config.json` as `save_pretrained` writes them, `run.json` with the model's
name and settings and, last of all, `result.json`, which says that the run is whole.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model
from torch import Tensor, nn

from mmer_lib.data import Corpus, DataError
from mmer_lib.features.batches import Examples, loader
from mmer_lib.models.registry import model_class
from mmer_lib.store import replacing, write_json
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
        index, logits = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        return index.numpy(), logits


def truth_of(corpus: Corpus, rows: Sequence[int], task: str) -> Tensor:
    """Labels of some utterances: classes (N,) or sentiments (N,)."""
    if task == "emotion":
        return torch.tensor([corpus.emotions.index(corpus.utterances[r].emotion) for r in rows])
    return torch.tensor([corpus.utterances[r].sentiment for r in rows])


def provenance(device: torch.device) -> dict:
    """When, with what and on what something was computed. The revision is that of the checkout that
    this package lies in, if it does; "+" marks uncommitted changes."""
    names = ("torch", "torchaudio", "accelerate", "numpy", "espeakng-loader")
    gpu, git, root = device.type == "cuda", "", Path(__file__).parents[2]
    if (root / ".git").exists():
        call = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+"]
        git = subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git or None,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
    }


def save_run(run: Run) -> None:
    """Write the folder of a run, each file whole or not at all; errors as of `store.replacing`."""
    with replacing(run.folder / "model.safetensors") as temporary:
        save_model(run.model, str(temporary))
    write_json(run.folder / "config.json", asdict(run.model.config))
    write_json(run.folder / "run.json", {"model": run.name, "settings": asdict(run.settings)})
    result = json.loads(json.dumps(run.result), parse_constant=lambda _: None)  # NaN is no JSON
    write_json(run.folder / "result.json", result)  # last: all is there


# what reading files that were cut, changed or mixed up ends in
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


def open_run(folder: str | Path) -> Run:
    """Open the folder of a finished run; a DataError where it is none, or damaged."""
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "run.json", "result.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder}: no {name}; give the folder of a finished `mmer train`")
    try:
        saved, result, config = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("run", "result", "config")
        )
        settings, cls = Settings(**saved["settings"]), model_class(saved["model"])
        _check_shapes(folder / "model.safetensors", cls, config)
        model = cls.from_pretrained(folder).eval()
        return Run(saved["model"], folder, model, settings, dict(result))
    except _DAMAGE as error:
        raise DataError(
            f"{folder}: its files are damaged or contradict each other ({error}); delete the "
            "folder and train again"
        ) from error


def _check_shapes(weights: Path, cls: type, config: dict) -> None:
    """The configuration is whole, and its model has the weights of this file, or a ValueError; it
    is made without memory, whatever sizes the configuration asks for."""
    if config.keys() != cls.config_class.__dataclass_fields__.keys():
        raise ValueError("config.json has other fields than the configuration of the model")
    # Drawing normal numbers without memory would import a compiler, which takes seconds.
    with torch.device("meta"), patch.object(nn.init, "normal_", lambda x, **_: x):
        wanted = {k: list(v.shape) for k, v in cls(cls.config_class(**config)).state_dict().items()}
    with safe_open(weights, framework="numpy") as file:
        found = {k: file.get_slice(k).get_shape() for k in file.keys()}
    if wanted != found:
        raise ValueError("config.json describes another model than model.safetensors holds")
