"""The folder of a run: there and back, damaged, contradicting itself, half written."""

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer_lib import store
from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training import fit as training
from mmer_lib.training import runs
from mmer_lib.training.fit import plan
from mmer_lib.training.runs import Run, open_run, save_run, truth_of
from mmer_lib.training.settings import Settings
from tests.tiny import FILES, names, weights

SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max", warmup=0.1)


def run_of(name, folder, result=None):
    """A small run with random weights, fitted scales and a result."""
    torch.manual_seed(3)
    sizes = {"words": 5, "bands": 6, "width": 8, "hidden": 8, "filters": 2, "kernels": (1, 3)}
    if name == "muse":
        model = Muse(MuseConfig(**sizes))
    else:
        model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    for layer in model.scalings().values():
        layer.fit(np.random.default_rng(0).normal(3, 2, (9, len(layer.mean))).astype("f4"))
    return Run(name, folder, model.eval(), SETTINGS, result or {"test": {"wa": 0.5}})


@pytest.fixture(params=["muse", "mimic"])
def saved(request, tmp_path):
    run = run_of(request.param, tmp_path / "run")
    save_run(run)
    return run


# ------------------------------------------------------------------------------- there and back


def test_a_run_comes_back_bit_for_bit_and_in_silence(saved, capsys):
    again = open_run(str(saved.folder))
    assert capsys.readouterr() == ("", "")
    assert again.name == saved.name and again.settings == saved.settings
    assert again.result == saved.result and again.model.config == saved.model.config
    assert not again.model.training and weights(again) == weights(saved)
    alone = type(saved.model).from_pretrained(saved.folder)
    assert weights(replace(saved, model=alone)) == weights(saved)
    assert names(saved.folder) == FILES
    run = json.loads((saved.folder / "run.json").read_text())
    assert run == {"model": saved.name, "settings": asdict(SETTINGS)}


def test_what_is_not_finite_is_saved_as_null(tmp_path):
    result = {"test": {"corr": math.nan, "mae": 1.0}, "history": [{"corr": math.inf}]}
    save_run(run_of("mimic", tmp_path / "run", result))
    saved = {"test": {"corr": None, "mae": 1.0}, "history": [{"corr": None}]}
    assert open_run(tmp_path / "run").result == saved


# --------------------------------------------------------------------------------------- damage


def refused(folder):
    """Opening is refused with the folder and the remedy."""
    with pytest.raises(DataError, match="delete the folder and train again") as caught:
        open_run(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    (saved.folder / name).unlink()
    with pytest.raises(DataError, match=f"no {name}; give the folder of a finished"):
        open_run(saved.folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b[:-9], lambda b: b"\xff\xfe" + b],
    ids=["empty", "truncated", "not UTF-8"],
)
def test_a_damaged_file_is_refused(saved, name, damage):
    path = saved.folder / name
    path.write_bytes(damage(path.read_bytes()))
    refused(saved.folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config", {"words": 9}),
        ("config", {"words": 10**12}),
        ("config", {"words": "many"}),
        ("config", {"heads": 3}),
        ("config", {"colour": "red"}),
        ("config", ["heads"]),
        ("run", {"model": "mimic"}),
        ("run", {"model": "gpt"}),
        ("run", {"settings": {**asdict(SETTINGS), "colour": "red"}}),
        ("run", None),
        ("result", None),
    ],
)
def test_files_that_contradict_each_other_or_this_version_are_refused(tmp_path, name, change):
    """Fields that are changed; that are taken out, since nothing is filled up in silence; JSON that
    is no dictionary."""
    save_run(run_of("muse", tmp_path / "run"))
    path = tmp_path / "run" / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(change, dict):
        content |= change
    elif change:
        content = {k: v for k, v in content.items() if k not in change}
    else:
        content = None
    path.write_text(json.dumps(content), encoding="utf-8")
    refused(tmp_path / "run")


# -------------------------------------------------------------------------- an interrupted save


def failing(monkeypatch, at):
    """The disk is full when a file gets its name, or when the weights are written."""

    def refuse(*_):
        raise OSError(28, os.strerror(28))

    if at == "weights":
        monkeypatch.setattr(runs, "save_model", refuse)
        return
    replace_file = os.replace

    def replace_unless(source, target):
        (refuse if Path(target).name == at else replace_file)(source, target)

    monkeypatch.setattr(os, "replace", replace_unless)


@pytest.mark.parametrize("at", ["weights", *FILES])
def test_a_save_on_a_full_disk_is_told_and_leaves_no_half_a_run(tmp_path, monkeypatch, at):
    run = run_of("muse", tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(DataError, match=r"No space left on dev"):
        failing(patch, at)
        save_run(run)
    assert set(names(run.folder)) <= set(FILES) - {"result.json", at}
    with pytest.raises(DataError, match="no "):
        open_run(run.folder)
    save_run(run)
    assert open_run(run.folder).result == run.result and names(run.folder) == FILES


# -------------------------------------------------------------------------------- the rest of it


def test_truth_follows_the_rows_the_task_and_the_classes():
    us = tuple(
        Utterance(f"u{i}", "p", "s", "", emotion=e, sentiment=y)
        for i, (e, y) in enumerate([("sad", -1.5), ("angry", 0.5), ("happy", 2.0)])
    )
    corpus = Corpus("mine", "k", us)
    assert truth_of(corpus, [2, 0], "emotion").tolist() == [1, 3]
    assert truth_of(corpus, [2, 1], "sentiment").tolist() == [2.0, 0.5]
    other = replace(corpus, emotions=("sad", "happy", "angry"))
    assert truth_of(other, [2, 0], "emotion").tolist() == [1, 0]


ALL = {"muse", "li", "mfm"}
STALE = {
    "training/loop.py": ALL,
    "models/layers.py": ALL,
    "models/losses.py": {"muse"},
    "features/batches.py": ALL,
    "models/muse.py": {"muse"},
    "models/compared/li.py": {"li"},
    "models/compared/mfn.py": {"mfm"},
    "corpora/iemocap.py": set(),
    "training/predict.py": set(),
    "cli.py": set(),
}
"""By file: the models whose runs are stale when it changes."""


@pytest.mark.usefixtures("keep_cache")
def test_a_run_is_stale_when_the_source_of_what_decides_it_changes(small_corpus, monkeypatch):
    changed, read_bytes = None, Path.read_bytes
    monkeypatch.setattr(training, "source_digest", store.source_digest.__wrapped__)
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: read_bytes(path) + b"\n#" * (path == changed)
    )
    before = {name: plan(name, small_corpus).key for name in ALL}
    for file, stale in STALE.items():
        changed = Path(store.__file__).parent / file
        assert changed.is_file()
        assert {name for name in ALL if plan(name, small_corpus).key != before[name]} == stale
