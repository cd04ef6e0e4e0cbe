"""A saved model is the same model; and weights are safetensors, never a pickle."""

import json
import os
import pickle
import pickletools
import shutil
import zipfile
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmer_lib.data import DataError
from mmer_lib.models.mimic import Mimic
from mmer_lib.models.muse import Muse
from tests.models import test_mimic
from tests.models.common import scrambled
from tests.models.utterances import NAMES, batched, built, examples

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle")
MODELS = (*NAMES, "mimic", "mimic classes")


def one(name):
    """A model in float32, and a batch for it."""
    if name in NAMES:
        return built(name).float(), batched(examples(), torch.float32)
    config = test_mimic.SMALL
    if name == "mimic classes":
        config = type(config)(
            **{f.name: getattr(config, f.name) for f in fields(config)} | {"classes": 4}
        )
    batch = test_mimic.batched(test_mimic.examples(), torch.float32)
    return scrambled(Mimic(config)).float(), batch


def same(found, expected):
    """Bit for bit, NaN included."""
    return found.dtype == expected.dtype and found.numpy().tobytes() == expected.numpy().tobytes()


@pytest.fixture
def saved(tmp_path):
    """A MUSE in a folder."""
    model, _ = one("highway")
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


# -------------------------------------------------------------------------------- the same


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_comes_back_bit_for_bit(name, tmp_path):
    model, batch = one(name)
    for part, layer in model.scalings().items():
        rows = np.random.default_rng(0).normal(2, 3, (50, len(layer.mean)))
        layer.fit(rows)
        assert part and (layer.mean != 0).all()
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model", strict=True)

    assert type(loaded) is type(model) and not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(same(after[k], before[k]) for k in before)
    trained = {k for k, p in model.named_parameters() if p.requires_grad}
    assert trained == {k for k, p in loaded.named_parameters() if p.requires_grad}
    with torch.inference_mode():
        expected, found = model(batch), loaded(batch)
    assert same(found.logits, expected.logits)
    assert all(same(found.named[k], v) for k, v in expected.named.items())
    assert list(found.named) == list(expected.named)


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_comes_back_with_its_types(name, tmp_path):
    model, _ = one(name)
    model.save_pretrained(tmp_path / "model")
    config = type(model).from_pretrained(tmp_path / "model").config
    assert is_dataclass(config) and type(config) is type(model).config_class
    assert config == model.config
    for field in fields(config):
        kind = type(getattr(model.config, field.name))
        assert type(getattr(config, field.name)) is kind, field.name
    assert json.loads((tmp_path / "model" / "config.json").read_text()).keys() == {
        f.name for f in fields(config)
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_folder_holds_safetensors_and_json_and_no_pickle(name, tmp_path):
    model, _ = one(name)
    model.save_pretrained(tmp_path / "model")
    files = {p.name for p in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json"} <= files <= {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(same(weights[k], v) for k, v in model.state_dict().items())


def test_a_model_that_was_moved_on_is_saved_as_it_is_now(saved):
    model, folder = saved
    with torch.no_grad():
        model.classifier.bias.add_(1)
    model.save_pretrained(folder)
    assert same(
        Muse.from_pretrained(folder).classifier.bias.detach(), model.classifier.bias.detach()
    )


def test_a_copied_folder_is_enough(saved, tmp_path):
    model, folder = saved
    shutil.move(folder, tmp_path / "elsewhere")
    loaded = Muse.from_pretrained(str(tmp_path / "elsewhere"))
    assert all(same(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())


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


def pickled(file, kind):
    """The pickle in such a file, as bytes; nothing is loaded."""
    if kind == "pickle":
        return file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        return archive.read(name)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_the_trap_of_these_tests_would_make_its_folder(kind, tmp_path):
    """Read as a list of operations, the file calls mkdir with the folder's name."""
    file = write_trap(tmp_path, tmp_path / "sprung", kind)
    steps = [(op.name, arg) for op, arg, _ in pickletools.genops(pickled(file, kind))]
    called = [name for name, _ in steps].index("REDUCE")
    before = steps[:called]
    assert any(op == "GLOBAL" and arg.endswith("mkdir") for op, arg in before)
    assert any(arg == str(tmp_path / "sprung") for _, arg in before)
    assert not (tmp_path / "sprung").exists()


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


@pytest.mark.parametrize("name", ["concat", "phoneme", "multigranular"])
def test_weights_of_another_configuration_are_refused(saved, tmp_path, name):
    _, folder = saved
    one(name)[0].save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    with pytest.raises(RuntimeError):
        Muse.from_pretrained(folder, strict=True)


def test_a_damaged_configuration_is_refused_by_the_name_of_its_field(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"fusion": "sum"}))
    with pytest.raises(DataError, match="fusion 'sum'"):
        Muse.from_pretrained(folder)
