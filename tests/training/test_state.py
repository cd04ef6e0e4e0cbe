"""A training that is killed goes on, and ends bit for bit as if it had not been."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.training import loop, state
from mmer_lib.training.loop import train
from tests.training.conftest import fresh
from tests.training.test_loop import SETTINGS

LONG = replace(SETTINGS, max_epochs=5)


class Killed(Exception):
    pass


class Watcher:
    """Remembers what it saw, draws no random number, and dies at a moment."""

    def __init__(self, dies_at=None):
        self.seen, self.dies_at, self.calls = [], dies_at, 0

    def __call__(self, model, step, steps):
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        self.seen.append([step, float(model.dense.weight.detach().sum())])

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, saved):
        self.seen = saved["seen"]


@pytest.fixture(autouse=True)
def saved_every_epoch(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)


def training(parts, folder, dies_at=None):
    model, watcher = fresh(dropout=0.3), Watcher(dies_at)
    trained = train(
        model, parts, LONG, device="cpu", folder=folder, progress=False, watch=[watcher]
    )
    return model, trained, watcher


def test_killed_ten_times_it_ends_as_if_it_never_had_been(parts, tmp_path):
    model, trained, watcher = training(parts, None)
    (tmp_path / "a").mkdir()
    for _ in range(10):  # each goes one epoch further, or dies before its first epoch ends
        try:
            training(parts, tmp_path / "a", dies_at=2)
        except Killed:
            torch.manual_seed(99)  # the next process knows nothing of this one
            np.random.seed(99)  # noqa: NPY002
    again, resumed, seen = training(parts, tmp_path / "a")
    assert resumed.history == trained.history
    assert seen.seen == watcher.seen
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["state-000005"]
    state.discard_state(tmp_path / "a")
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("half", ["unfinished-state", "state-000002"])
def test_half_a_state_is_not_gone_on_from(parts, tmp_path, monkeypatch, half):
    """Killed while it is written, or between its name and the end of the old one."""
    _, trained, _ = training(parts, None)
    with monkeypatch.context() as patch:
        target = (
            (state.Accelerator, "save_state")
            if half == "unfinished-state"
            else (state.shutil, "rmtree")
        )
        original, calls = getattr(*target), []

        def dying(*args, **kwargs):
            calls.append(args)
            if target[1] == "save_state":
                original(*args, **kwargs)
                if len(calls) == 2:
                    raise Killed
            elif "unfinished" not in str(args[0]):
                raise Killed
            else:
                original(*args, **kwargs)

        patch.setattr(*target, dying)
        with pytest.raises(Killed):
            training(parts, tmp_path)
    assert (tmp_path / half).exists()
    assert training(parts, tmp_path)[1].history == trained.history


def test_a_state_of_another_version_is_not_gone_on_from(parts, tmp_path):
    _, trained, _ = training(parts, None)
    with pytest.raises(Killed):
        training(parts, tmp_path, dies_at=6)
    (machine,) = tmp_path.glob("state-*/machine.json")
    machine.write_text(json.dumps(json.loads(machine.read_text()) | {"torch": "0.1"}))
    with pytest.warns(UserWarning, match=r"written with .*'torch': '0\.1'.*begins again"):
        assert training(parts, tmp_path)[1].history == trained.history


def test_a_training_that_had_stopped_is_not_trained_further(parts, tmp_path):
    training(parts, tmp_path)
    watcher = training(parts, tmp_path)[2]
    assert watcher.calls == 0 and len(watcher.seen) > 0
