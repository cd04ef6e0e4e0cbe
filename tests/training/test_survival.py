"""`mmer train` killed, interrupted, terminated, on a full disk: what is there stays whole, and the
same command goes on to the same run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmer_lib import cli, corpora
from mmer_lib.training import loop
from mmer_lib.training.trace import read_places
from tests.tiny import FILES, SMALL, names

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

ROOT = Path(__file__).parents[2]
WHOLE = [*FILES, "trace.safetensors"]


def command(out):
    sets = [f"--set={name}={value}" for name, value in SMALL["mimic"].items()]
    how = ["--device", "cpu", "--max-epochs", "5", "--set=dropout=0.3", "--set=learning_rate=0.01"]
    return ["train", "mimic", *how, *sets, "--out", str(out)]


@pytest.fixture(autouse=True)
def small_demo(small_corpus, monkeypatch):
    """The small demo corpus in the place of the demo, and a state after every epoch."""
    monkeypatch.setattr(corpora, "load", lambda *_, **__: small_corpus)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)


@pytest.fixture(scope="module")
def never_killed(small_corpus, shared_cache, tmp_path_factory):
    """The folder of the run."""
    out = tmp_path_factory.mktemp("never")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        patch.setattr(corpora, "load", lambda *_, **__: small_corpus)
        assert cli.main(command(out)) == 0
    (folder,) = out.iterdir()
    return folder


def assert_same(folder, other):
    """The same files with the same content, but for what tells the time."""
    assert names(folder) == names(other) == WHOLE
    for name in set(FILES) - {"result.json"}:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    rows, places = zip(*(read_places(f) for f in (folder, other)), strict=True)
    assert rows[0] == rows[1]
    np.testing.assert_equal(*(list(moments) for moments in places))
    results = [json.loads((f / "result.json").read_text()) for f in (folder, other)]
    for result in results:
        del result["seconds"], result["time"]
    assert results[0] == results[1]


def test_killed_again_and_again_it_ends_as_if_it_never_had_been(never_killed, tmp_path):
    """By SIGKILL, in processes of their own: in the first epoch, after the first, after the
    third."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_MININTERVAL": "0"}
    line = [sys.executable, "-m", "tests.training.small_demo", *command(tmp_path)]
    options = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
    for epochs in (0, 2):  # what the bar shows until the next has ended
        with subprocess.Popen(line, **options) as process:
            for told in process.stderr:
                if f" {epochs}/5 " in told:
                    process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not list(tmp_path.rglob("result.json"))
    assert cli.main(command(tmp_path)) == 0
    (folder,) = tmp_path.iterdir()
    assert_same(folder, never_killed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_by_a_signal_it_says_so_in_one_line_and_goes_on(
    never_killed, tmp_path, monkeypatch, capsys, number, code
):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a job in the background
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_finite", raising_after(2, number))
        assert cli.main(command(tmp_path)) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("mmer: ") and "the same command goes on" in said
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    (folder,) = tmp_path.iterdir()
    assert names(folder) == ["state-000001"]
    assert cli.main(command(tmp_path)) == 0
    assert " 0/5 " not in (said := capsys.readouterr().err) and " 1/5 " in said
    assert_same(folder, never_killed)


def raising_after(calls, number):
    """Something to call that raises a signal when it is called for that time."""
    seen = []

    def call(*_):
        seen.append(1)
        if len(seen) == calls:
            signal.raise_signal(number)

    return call


@pytest.fixture
def disk(tmp_path):
    """A file system of its own: disk(options) mounts it or changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options, again=True):
        more = "remount," if again else ""
        call = ["mount", "-t", "tmpfs", "-o", more + options, "tmpfs", str(folder)]
        return subprocess.run(call, capture_output=True, text=True, check=False)

    done = mount("size=4m", again=False)
    if done.returncode:
        pytest.skip(f"a file system of its own needs root and mount: {done.stderr.strip()}")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("options", ["size=12k", "size=60k", "size=100k", "ro"])
def test_what_cannot_be_written_is_told_in_one_line_and_it_goes_on_when_it_can(
    never_killed, disk, capsys, options
):
    folder, mount = disk
    (folder / "old").write_bytes(b"old")
    mount(options)
    assert cli.main(command(folder)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"mmer: {folder}") and "--out" in said
    assert (folder / "old").read_bytes() == b"old" and not list(folder.rglob("result.json"))
    mount("rw,size=8m")
    assert cli.main(command(folder)) == 0
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    assert_same(run, never_killed)
