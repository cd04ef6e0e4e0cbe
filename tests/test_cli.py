"""Each command once, and what is wrong: one line on standard error and exit code 2."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmer_lib import __version__, corpora
from mmer_lib.cli import main
from mmer_lib.data import EMOTIONS
from mmer_lib.experiments.catalogue import TABLES, Row, Table
from mmer_lib.experiments.tables import read_table
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training import fit as training
from mmer_lib.training import loop
from mmer_lib.training import settings as of_training
from mmer_lib.training.runs import Run, save_run
from mmer_lib.training.settings import Settings
from tests.corpora import fake_iemocap
from tests.tiny import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

FAST = ["--device", "cpu", "--max-epochs", "1", "--quiet"]


@pytest.fixture
def demo_is_small(small_corpus, keep_cache, monkeypatch):
    """`load("demo")` gives the small corpus; other names are refused as ever."""
    original = corpora.load

    def load(name, root=None, **reading):
        plain = name == "demo" and root is None and not reading
        return small_corpus if plain else original(name, root, **reading)

    monkeypatch.setattr(corpora, "load", load)


@pytest.fixture
def small_models(monkeypatch):
    presets = {
        name: {preset: (SMALL[name], settings) for preset, (_, settings) in both.items()}
        for name, both in of_training.PRESETS.items()
    }
    monkeypatch.setattr(of_training, "PRESETS", presets)


@pytest.fixture
def muse_run(tmp_path):
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=50, width=16, hidden=32, stack=4, filters=4)).eval()
    settings = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
    classes = ["rage", "joy", "calm", "grief"]
    run = Run("muse", tmp_path / "run", model, settings, {"synthetic": True, "emotions": classes})
    save_run(run)
    return run.folder


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "me.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 12000).astype("f4")
    soundfile.write(path, noise, 16000)
    return path


def refused(capsys, *argv):
    """Run a command that must fail; its one line on standard error."""
    assert main([str(a) for a in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mmer: ")
    return line


# ----------------------------------------------------------------------------------- commands


def test_data_reports_the_demo_and_every_observer(demo_is_small, small_corpus, capsys):
    assert main(["data", "demo"]) == 0
    out = capsys.readouterr().out
    assert "160 synthetic utterances in 5 sessions" in out
    assert small_corpus.extras["sha256"] in out and small_corpus.extras["path"] in out
    rows = [line for line in out.splitlines() if line.startswith(("text", "audio", "vision"))]
    assert len(rows) == 7 and all(len(row[22:].split()) == 5 for row in rows)


@pytest.mark.filterwarnings("ignore:iemocap")
def test_data_counts_a_real_corpus(tmp_path, capsys):
    release = fake_iemocap.write(tmp_path)
    assert main(["data", "iemocap", "--root", str(release.root)]) == 0
    out = capsys.readouterr().out
    assert "iemocap: 50 utterances of 10 speakers in 5 sessions" in out and "synthetic" not in out
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    wanted = Counter(fake_iemocap.CLASSES[line.label] for line in release.used)
    for emotion in EMOTIONS:
        assert [int(n) for n in table[emotion]] == [*[wanted[emotion] // 5] * 5, wanted[emotion]]
    assert table["all"] == ["10"] * 5 + ["50"] and "left out: 20" in out


def test_train_leaves_a_run_says_what_it_is_and_takes_changes(
    demo_is_small, small_models, tmp_path, capsys
):
    argv = ["train", "mimic", "--fold", "1", "--seed", "4", *FAST, "--out", str(tmp_path)]
    for change in ("learning_rate=5e-4", "units=4", "frames=speaker", "clip=1", "contrastive=0"):
        argv += ["--set", change]
    assert main(argv) == 0
    said = capsys.readouterr()
    first, scores, folder = said.out.splitlines()
    assert said.err == "" and [str(path) for path in tmp_path.iterdir()] == [folder]
    assert first.startswith("mimic on demo (synthetic), fold 1, seed 4, preset fast: 1 epochs")
    assert "held-out session, 32 utterances: mae " in scores
    result = json.loads((Path(folder) / "result.json").read_text())
    config, settings = result["config"], result["settings"]
    assert (config["units"], config["bottleneck"], config["contrastive"]) == (4, 4, 0.0)
    assert (settings["max_epochs"], settings["learning_rate"], settings["clip"]) == (1, 5e-4, 1.0)
    assert settings["frames"] == "speaker"
    assert main(argv) == 0 and capsys.readouterr().out == said.out  # it is loaded


def test_a_bar_counts_the_epochs_unless_it_is_to_be_quiet(demo_is_small, tmp_path, capfd):
    sets = [f"--set={k}={v}" for k, v in SMALL["mimic"].items()]
    argv = ["train", "mimic", "--device", "cpu", "--max-epochs", "2", "--out", str(tmp_path)]
    assert main([*argv, *sets]) == 0
    assert "2/2" in capfd.readouterr().err
    assert main([*argv, *sets, "--quiet", "--seed", "1"]) == 0
    assert "/2" not in capfd.readouterr().err


def test_predict_prints_the_probabilities_of_the_classes_of_the_run(muse_run, wav, capsys):
    assert main(["predict", str(wav), "I am so glad", "--run", str(muse_run)]) == 0
    note, *lines = capsys.readouterr().out.splitlines()
    assert "synthetic" in note
    assert [line.split()[0] for line in lines] == ["rage", "joy", "calm", "grief"]
    shares = [float(line.split()[1].rstrip("%")) for line in lines]
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_predict_without_a_run_trains_the_fast_muse_and_says_so(
    demo_is_small, small_models, wav, capsys, monkeypatch
):
    options, settings = of_training.PRESETS["muse"]["fast"]
    quick = {"muse": {"fast": (options, training.replace(settings, max_epochs=1))}}
    monkeypatch.setattr(of_training, "PRESETS", quick)
    assert main(["predict", str(wav), "what a day"]) == 0
    out = capsys.readouterr().out
    assert "no --run: the fast muse on the demo corpus" in out and EMOTIONS[0] in out


# ------------------------------------------------------------------------------------- tables


@pytest.fixture
def tiny_table(demo_is_small, small_models, monkeypatch):
    """The table "muse-1" is a tiny one of mimic."""
    how = {"task": "emotion", "monitor": "wa", "mode": "max", "contrastive": 0.0}
    rows = (
        Row("published", paper={"wa": 0.5, "ua": 0.4}),
        Row("ours", "mimic", how, paper={"wa": 0.7, "wa_std": 0.01, "ua": 0.72}),
        Row("other", "mimic", {**how, "units": 4}, paper={"wa": 0.6, "ua": 0.5}),
    )
    monkeypatch.setitem(TABLES, "muse-1", Table("muse-1", "A tiny table.", rows, "ours"))


def test_tables_trains_prints_and_saves_and_its_command_gives_it_again(
    tiny_table, tmp_path, capsys
):
    argv = [
        "tables",
        "muse-1",
        "--seeds",
        "0",
        "1",
        "--folds",
        "1",
        "--device",
        "cpu",
        "--max-epochs",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "4 runs, 4 to train" in out and "other, fold 1, seed 1: wa 0." in out
    assert "A tiny table. Ours on demo (synthetic), preset fast" in out and "0.700 ± 0.010" in out
    path = Path(out.splitlines()[-1])
    saved = read_table(path)
    assert path.parent == tmp_path / "tables" and [row["n"] for row in saved["rows"]] == [0, 2, 2]
    words = shlex.split(saved["command"])
    assert main([*words[1:], "--device", "cpu", "--out", str(tmp_path), "--quiet"]) == 0
    again = capsys.readouterr().out
    assert "to train" not in again and again.splitlines()[-1] == str(path)
    assert read_table(path) == saved


def test_tables_saves_what_is_there_when_a_run_fails(tiny_table, tmp_path, capsys, monkeypatch):
    original = training.fit

    def fail(*args, **changes):
        if changes.get("units") == 4:
            raise RuntimeError("out of memory")
        return original(*args, **changes)

    monkeypatch.setattr(training, "fit", fail)
    argv = ["tables", "muse-1", "--seeds", "0", "--folds", "1", *FAST, "--out", str(tmp_path)]
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mmer: 1 of 2 runs failed: other, fold 1, seed 0 (RuntimeError: out of")
    saved = Path(re.search(r"what there is: (\S+)", line)[1])
    assert saved.parent == tmp_path / "tables" and "| 0/1 |" in saved.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_tables_ended_by_a_signal_says_so_in_one_line_and_goes_on(
    tiny_table, tmp_path, capsys, monkeypatch, number, code
):
    """No run counts as failed, and none is begun after it."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    argv = ["tables", "muse-1", "--seeds", "0", "--folds", "1", *FAST, "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_finite", lambda *_: signal.raise_signal(number))
        assert main(argv) == code
    signal.signal(signal.SIGINT, before)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the same command goes on" in line and not list(tmp_path.rglob("result.json"))
    assert len(list(tmp_path.glob("mimic-*"))) <= 1
    assert main(argv) == 0 and len(list(tmp_path.rglob("result.json"))) == 2


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data iemosi", "unknown corpus 'iemosi'"),
        ("train gpt", "unknown model 'gpt'; known: muse"),
        ("train muse --fold 9", "fold 9 does not exist; choose 0 to 4"),
        ("train mimic --device abacus", "abacus"),
        ("train mimic --max-epochs 0", "max_epochs is 0"),
        ("train muse --data iemocap", "iemocap: name the folder of the release"),
        ("train muse --root /x", "demo: has no release"),
        ("train mimic --set depth=3", "'depth'; known: words"),
        ("train mimic --set units=many", "units is 'many'"),
        ("train mimic --set batch_size=True", "batch_size is True"),
        ("train mimic --set classes=7", "classes"),
        ("train muse --set bands=40", "128 bands every 12 ms"),
        ("tables muse-4", "unknown table 'muse-4'; known: .*muse-1"),
        ("tables muse-1 --folds 9", "fold 9 does not exist"),
        ("tables muse-1 --models muse", "--models, --speech-encoder: are for the table compare"),
        ("tables muse-1 --slurm partition=a", "srun"),
        ("tables muse-1 --data iemocap", "iemocap: name the folder of the release"),
    ],
)
def test_bad_requests_end_with_one_line(demo_is_small, tmp_path, capsys, line, message):
    argv = line.split()
    out = [] if argv[0] == "data" else ["--quiet", "--out", tmp_path / "runs"]
    assert re.search(message, refused(capsys, *argv, *out))
    assert not list(tmp_path.rglob("result.json"))


def test_bad_predictions_end_with_one_line(muse_run, wav, tmp_path, capsys):
    run = ["--run", muse_run]
    assert "no such file" in refused(capsys, "predict", tmp_path / "no.wav", "hello", *run)
    assert "holds no words" in refused(capsys, "predict", wav, "", *run)
    assert "no config.json" in refused(capsys, "predict", wav, "hi", "--run", tmp_path)


def test_folders_that_cannot_be_end_with_one_line(demo_is_small, tmp_path, capsys, monkeypatch):
    taken = tmp_path / "taken"
    taken.write_text("a letter")
    for command in ("train bert", "tables muse-1"):
        line = refused(capsys, *command.split(), "--quiet", "--out", taken)
        assert "taken is a file, not a folder; name another: --out" in line
    monkeypatch.undo()
    monkeypatch.setenv("MMER_CACHE", str(taken / "cache"))
    for argv in (["train", "bert"], ["data", "demo"], ["predict", "x.wav", "hello"]):
        assert "is a file, not a folder; name another" in refused(capsys, *argv)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "data",
        "convert a.pkl",
        "train",
        "train muse --fold one",
        "tables",
        "train mimic --set depth",
    ],
)
def test_what_the_parser_refuses_exits_with_two(line, capsys):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2 and "usage: mmer" in capsys.readouterr().err


# ------------------------------------------------------------------------- in a process of its own


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys\nfrom mmer_lib.cli import main\n"
        "for argv in (['--help'], ['train', '--help'], ['--version']):\n"
        "    try: main(argv)\n    except SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'accelerate', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = python("-c", code)
    *help_, version, heavy = done.stdout.strip().splitlines()
    assert done.stderr == "" and version == f"mmer {__version__}" and heavy == "[]"
    for word in ("data", "train", "tables", "predict", "--preset"):
        assert word in "\n".join(help_)


@pytest.mark.parametrize(
    ("package", "argv"), [("accelerate", ["train", "muse"]), ("yaml", ["data", "demo"])]
)
def test_a_missing_package_is_answered_with_its_extra(tmp_path, package, argv):
    code = (
        f"import sys\nsys.modules[{package!r}] = None\n"
        f"from mmer_lib.cli import main\nsys.exit(main({argv!r}))"
    )
    done = python("-c", code, MMER_CACHE=str(tmp_path))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("mmer: ") and package in line and "pip install 'mmer[data]'" in line
