"""Weights are safetensors, never a pickle; damaged ones are refused."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors import SafetensorError

from mmer_lib.data import DataError
from mmer_lib.models.muse import Muse
from tests.models.cases import built


def same(found, expected):
    """Bit for bit, NaN included."""
    return found.dtype == expected.dtype and found.numpy().tobytes() == expected.numpy().tobytes()


@pytest.fixture
def saved(tmp_path):
    """A MUSE in a folder."""
    model = built("muse").float()
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


# -------------------------------------------------------------------------------- pickles


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write_trap(folder, sprung, kind):
    """A file of weights with a trap in it, as torch or as plain pickle."""
    file = folder / "pytorch_model.bin"
    if kind == "torch":
        torch.save({"classifier.bias": Trap(sprung)}, file)
    else:
        file.write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    return file


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_folder_with_pickled_weights_alone_is_refused_and_nothing_runs(saved, tmp_path, kind):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    write_trap(folder, tmp_path / "sprung", kind)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        Muse.from_pretrained(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_pickled_weights_beside_the_safetensors_are_not_looked_at(saved, tmp_path, kind):
    model, folder = saved
    write_trap(folder, tmp_path / "sprung", kind)
    loaded = Muse.from_pretrained(folder)
    assert same(loaded.classifier.bias.detach(), model.classifier.bias.detach())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_pickled_weights_on_a_hub_are_refused_and_nothing_runs(saved, tmp_path, monkeypatch, kind):
    """A hub repository without safetensors: what comes from there may be no more than tensors."""
    from huggingface_hub import hub_mixin
    from huggingface_hub.errors import EntryNotFoundError

    _, folder = saved
    (folder / "model.safetensors").unlink()
    write_trap(folder, tmp_path / "sprung", kind)

    def download(*, filename, **_):
        if not (folder / filename).exists():
            raise EntryNotFoundError(filename)
        return str(folder / filename)

    monkeypatch.setattr(hub_mixin, "hf_hub_download", download)
    with pytest.raises((pickle.UnpicklingError, EntryNotFoundError, DataError)):
        Muse.from_pretrained("someone/some-model")
    assert not (tmp_path / "sprung").exists()


# --------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_of_weights_is_refused(saved, share):
    _, folder = saved
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SafetensorError):
        Muse.from_pretrained(folder)


@pytest.mark.parametrize(
    "name, change",
    [("muse", {"fusion": "concat"}), ("muse", {"stack": 1}), ("muse-multigranular", {})],
)
def test_weights_of_another_configuration_are_refused(saved, tmp_path, name, change):
    _, folder = saved
    built(name, **change).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    with pytest.raises(RuntimeError):
        Muse.from_pretrained(folder)


def test_a_damaged_configuration_is_refused_by_the_name_of_its_field(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"fusion": "sum"}))
    with pytest.raises(DataError, match="fusion 'sum'"):
        Muse.from_pretrained(folder)
