"""Killed at any moment, with a full disk, in a folder that can only be read: what is there stays
whole, and the next run goes on to the same figures."""

import errno
import json
import os
import pickle
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import kills
from mmer_lib import cli, corpora
from mmer_lib import store as cache
from mmer_lib import store as ragged_files
from mmer_lib.data import DataError
from mmer_lib.features.extract import extract
from mmer_lib.training import checkpoints, runs
from mmer_lib.training import fit as training
from mmer_lib.training.checkpoints import FILE, Keeper, WholeFiles
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import Run, save_run
from mmer_lib.training.trace import read_places
from tests.tiny import SMALL, tiny, weights
from tests.tiny import names as names_in

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

STEPS = 3
"""Of an epoch: 96 utterances in batches of 32."""
LONG = {"max_epochs": 4, "learning_rate": 0.01, "model_options": {"dropout": 0.3}}


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    """A checkpoint after every epoch."""
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


@pytest.fixture(scope="module")
def never_killed(small_corpus, shared_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("never")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return {name: tiny(name, small_corpus, out, **LONG) for name in ("muse", "mimic")}


class Killed(Exception):
    pass


def dying(monkeypatch, owner, name, call):
    """The method dies when it is called for that time, counted from 1; the list of its calls."""
    calls, original = [], getattr(owner, name)

    def method(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, method)
    return calls


def killed(monkeypatch, corpus, out, name, owner, method, call, **changes):
    """A training that dies there; the steps that it made."""
    with monkeypatch.context() as patch:
        steps = dying(patch, Learner, "training_step", 0)
        dying(patch, owner, method, call)
        with pytest.raises(Killed):
            tiny(name, corpus, out, **{**LONG, **changes})
    torch.manual_seed(99)  # the next process knows nothing of this one
    np.random.seed(99)  # noqa: NPY002
    return len(steps)


def assert_equal(run, other):
    assert weights(run) == weights(other)
    assert kills.content(run.folder) == kills.content(other.folder)
    assert names_in(run.folder) == names_in(other.folder)


# ------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("name", ["muse", "mimic"])
def test_a_training_killed_in_every_epoch_ends_as_if_it_never_had_been(
    never_killed, small_corpus, tmp_path, monkeypatch, name
):
    """In the middle of its epochs, at their ends before and after the checkpoint, while the run is
    saved: with history, trace and places."""
    where = (small_corpus, tmp_path, name)
    assert killed(monkeypatch, *where, Learner, "training_step", 2) == 2 - 1
    assert not list(tmp_path.rglob(FILE))
    assert killed(monkeypatch, *where, Learner, "training_step", STEPS + 2) == STEPS + 1
    assert killed(monkeypatch, *where, Keeper, "on_train_epoch_end", 1) == STEPS
    assert killed(monkeypatch, *where, Keeper, "on_train_epoch_start", 2) == STEPS
    assert killed(monkeypatch, *where, Learner, "on_validation_epoch_end", 2) == 2 * STEPS
    assert killed(monkeypatch, *where, training, "save_run", 1) == STEPS
    assert killed(monkeypatch, *where, cache, "write_bytes", 2) == 0
    with monkeypatch.context() as patch:
        steps = dying(patch, Learner, "training_step", 0)
        run = tiny(name, small_corpus, tmp_path, **LONG)
    assert not steps and run.result["seconds"] > 0
    assert_equal(run, never_killed[name])
    if name == "mimic":
        for a, b in zip(read_places(run.folder)[1], read_places(never_killed[name].folder)[1],
                        strict=True):  # fmt: skip
            np.testing.assert_array_equal(a, b)


def test_a_training_that_had_stopped_early_is_not_trained_further(
    small_corpus, tmp_path, monkeypatch
):
    stop = {"max_epochs": 30, "patience": 1, "learning_rate": 0.05}
    whole = tiny("mimic", small_corpus, tmp_path / "whole", **{**LONG, **stop})
    assert whole.result["epochs"] < 30
    killed(monkeypatch, small_corpus, tmp_path / "a", "mimic", training, "save_run", 1, **stop)
    with monkeypatch.context() as patch:
        steps = dying(patch, Learner, "training_step", 0)
        run = tiny("mimic", small_corpus, tmp_path / "a", **{**LONG, **stop})
    assert not steps
    assert_equal(run, whole)


def test_a_checkpoint_left_beside_a_result_is_removed(small_corpus, tmp_path, monkeypatch):
    killed(monkeypatch, small_corpus, tmp_path, "mimic", training, "discard", 1, max_epochs=1)
    (folder,) = tmp_path.iterdir()
    assert {FILE, "result.json"} <= set(names_in(folder))
    tiny("mimic", small_corpus, tmp_path, **{**LONG, "max_epochs": 1})
    assert FILE not in names_in(folder)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:7], lambda b: b[:-900] + bytes([b[-900] ^ 1]) + b[-899:]],
    ids=["cut", "bit"],
)
def test_a_damaged_checkpoint_is_not_trusted_and_that_is_said(
    never_killed, small_corpus, tmp_path, monkeypatch, damage
):
    killed(monkeypatch, small_corpus, tmp_path, "mimic", Learner, "training_step", 2 * STEPS)
    (path,) = tmp_path.rglob(FILE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"last\.ckpt: damaged.*are lost; the training begins a"):
        run = tiny("mimic", small_corpus, tmp_path, **LONG)
    assert_equal(run, never_killed["mimic"])


def test_a_checkpoint_of_another_version_is_not_gone_on_from(
    never_killed, small_corpus, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "version", lambda name: "0.1")
        killed(patch, small_corpus, tmp_path, "mimic", Learner, "training_step", 2 * STEPS)
    with pytest.warns(UserWarning, match=r"written with .*'torch': '0\.1'.*begins again"):
        assert_equal(tiny("mimic", small_corpus, tmp_path, **LONG), never_killed["mimic"])


def test_no_code_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    WholeFiles().save_checkpoint({"callbacks": Trap()}, tmp_path / FILE)
    with pytest.raises(pickle.UnpicklingError):
        WholeFiles().load_checkpoint(tmp_path / FILE)
    assert names_in(tmp_path) == [FILE]


def test_writing_takes_no_more_than_its_share(small_corpus, tmp_path, monkeypatch):
    """A share of nothing: after the first epoch, of which the cost is not known, and never more."""
    monkeypatch.setattr(checkpoints, "SHARE", 0)
    with monkeypatch.context() as patch:
        writes = dying(patch, WholeFiles, "save_checkpoint", 0)
        tiny("mimic", small_corpus, tmp_path / "a", **LONG)
        assert len(writes) == 1
        patch.setattr(checkpoints, "SHARE", float("inf"))
        tiny("mimic", small_corpus, tmp_path / "b", **LONG)
        assert len(writes) == 1 + LONG["max_epochs"]


# --------------------------------------------------------------------------------- SIGKILL


@pytest.fixture(scope="module")
def forty(small_corpus, shared_cache):
    """One utterance of each speaker and emotion, with its features."""
    corpus = replace(small_corpus, utterances=small_corpus.utterances[::4], key="forty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        extract(corpus, parts=kills.PARTS, progress=False)
    return corpus


@pytest.mark.slow
@pytest.mark.parametrize("kind", kills.KINDS)
def test_work_killed_at_random_moments_ends_as_if_it_never_had_been(forty, tmp_path, kind):
    """By SIGKILL, in processes of their own; `benchmarks.kills` does the same at length."""
    times = 1 if kind == "corpus" else 2
    made = kills.killed(kind, times, 7, tmp_path, forty)
    assert made["kills"] == times and made["ended"] >= 1
    assert made["different"] == 0 and made["left"] == []


def test_what_killed_processes_left_is_removed_by_the_next_that_writes(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with cache.replacing(tmp_path / "x") as temporary:
        temporary.write_bytes(b"")
        machine = temporary.name.split(".")[-2].split("-")[0]
    live, dead = os.getppid(), gone.pid
    kept = [f".y.{machine}-{live}-0a.tmp", f".y.00000000-{dead}-0a.tmp", "y.tmp"]
    for name in (*kept, f".y.{machine}-{dead}-0a.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / f".scratch.{machine}-{dead}-0b.tmp").mkdir()
    cache.write_bytes(tmp_path / "z", b"whole")
    assert names_in(tmp_path) == sorted([*kept, "x", "z"])


# ----------------------------------------------------------------------- no space, no permission


def mount(folder, options):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        pytest.skip(f"a file system of its own needs root and mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A file system with a file in it that can only be read."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    (folder / "old").write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run_in(folder, name="mimic"):
    cls = runs.model_class(name)
    options = {**SMALL[name], "words": 300, "audio": 74, "vision": 47, "units": 64}
    settings = training.PRESETS[name]["fast"][1]
    return Run(name, folder, cls(cls.config_class(**options)), settings, {"test": 1})


WRITERS = {
    "json": lambda path: cache.write_json(path, list(range(10**5))),
    "ragged": lambda path: ragged_files.save_arrays(path, {"a": [np.zeros(10**5)]}, {}),
    "checkpoint": lambda path: WholeFiles().save_checkpoint({"a": torch.zeros(10**5)}, path),
    "run": lambda path: save_run(run_in(path.parent)),
}
each_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@each_writer
def test_a_full_disk_is_told_and_leaves_what_was_there(small_disk, write):
    (small_disk / "old").write_bytes(b"old")
    for _ in range(2):
        with pytest.raises(DataError, match=r"disk.*cannot be written: .*[Nn]o space left on devi"):
            write(small_disk / "old")
    assert names_in(small_disk) == ["old"] and (small_disk / "old").read_bytes() == b"old"
    cache.write_json(small_disk / "old", "new")  # there is room for that


@each_writer
def test_a_folder_that_can_only_be_read_is_told(read_only, write):
    with pytest.raises(DataError, match=r"Read-only file system\. .*allow writing.*--out.*MMER_C"):
        write(read_only / "old")
    assert names_in(read_only) == ["old"] and (read_only / "old").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_every_step_of_a_write_may_fail(tmp_path, monkeypatch, step, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "old"
    cache.write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, step, refuse)
        with pytest.raises(DataError, match=f"^{path}: cannot be written: {os.strerror(number)}. "):
            cache.write_bytes(path, b"new")
    assert names_in(tmp_path) == ["old"] and path.read_bytes() == b"old"


def train(out):
    options = [f"--set={name}={value}" for name, value in SMALL["mimic"].items()]
    return cli.main(["train", "mimic", "--max-epochs", "2", "--device", "cpu", "--quiet",
                     "--out", str(out), *options])  # fmt: skip


def test_a_command_on_a_full_disk_ends_with_one_line_and_goes_on_when_there_is_room(
    small_disk, small_corpus, monkeypatch, capsys
):
    monkeypatch.setattr(corpora, "load", lambda *_, **__: small_corpus)
    subprocess.run(["mount", "-o", "remount,size=16k", str(small_disk)], check=True)
    assert train(small_disk) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mmer: {small_disk}") and f"{FILE}: cannot be written" in line
    assert [p.name for p in small_disk.rglob("*") if p.is_file()] == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert train(small_disk) == 0
    assert json.loads(next(small_disk.rglob("result.json")).read_text())["epochs"] == 2


def test_a_command_in_a_folder_that_can_only_be_read_ends_with_one_line(
    read_only, small_corpus, monkeypatch, capsys
):
    monkeypatch.setattr(corpora, "load", lambda *_, **__: small_corpus)
    table = ["tables", "mimic-1", "--seeds", "0", "--folds", "0"]
    for arguments in (["train", "mimic"], table, [*table, "--workers", "2"]):
        code = cli.main([*arguments, "--device", "cpu", "--quiet", "--out", str(read_only)])
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2 and line.startswith(f"mmer: {read_only}")
    assert names_in(read_only) == ["old"]
