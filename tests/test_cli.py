import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from mmer_lib import __version__, corpora, training
from mmer_lib.cli import main
from mmer_lib.corpora import EMOTIONS
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.runs import Run, Settings, save_run

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")


@pytest.fixture
def demo_is_small(small_corpus, keep_cache, monkeypatch):
    """`load("demo")` gives the small corpus; other names are refused as ever."""
    original = corpora.load

    def load(name):
        return small_corpus if name == "demo" else original(name)

    monkeypatch.setattr(corpora, "load", load)


@pytest.fixture
def small_models(monkeypatch):
    options = {"muse": {"width": 16, "hidden": 32, "stack": 8}, "mimic": {"units": 8}}
    presets = {
        name: {p: (options[name], settings) for p, (_, settings) in made.items()}
        for name, made in training.PRESETS.items()
    }
    monkeypatch.setattr(training, "PRESETS", presets)


@pytest.fixture
def muse_run(tmp_path):
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=50, width=16, hidden=32, stack=4, filters=4)).eval()
    settings = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
    run = Run("muse", tmp_path / "run", model, settings, {"synthetic": True})
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
    err = capsys.readouterr().err
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("mmer: "), err
    return lines[0]


# ----------------------------------------------------------------------------------- commands


def test_data_reports_size_checksum_and_every_observer(demo_is_small, small_corpus, capsys):
    assert main(["data", "demo"]) == 0
    out = capsys.readouterr().out
    assert "160 synthetic utterances in 5 sessions" in out
    assert small_corpus.extras["sha256"] in out and small_corpus.extras["path"] in out
    rows = [line for line in out.splitlines() if line.startswith(("text", "audio", "vision"))]
    assert len(rows) == 7
    table = {r[:22].strip(): [float(v) for v in r[22:].split()] for r in rows}
    from mmer_lib.corpora.observer import observer

    for name, values in table.items():
        s = observer(small_corpus.extras["recipe"], name.split(" + ")).expected
        wanted = [s[k] for k in ("wa", "mae", "corr", "acc2_non0", "acc7")]
        np.testing.assert_allclose(values, wanted, atol=6e-4)


@pytest.mark.parametrize("model", ["muse", "mimic"])
def test_train_leaves_a_run_and_says_what_it_is(
    demo_is_small, small_models, tmp_path, capsys, model
):
    argv = ["train", model, "--data", "demo", "--fold", "1", "--seed", "4", "--device", "cpu",
            "--max-epochs", "1", "--out", str(tmp_path / "runs"), "--quiet"]  # fmt: skip
    assert main(argv) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert out.strip().splitlines()[-1] == str(folder)
    assert f"{model} on demo (synthetic), fold 1, seed 4, preset fast: 1 epochs" in out
    assert "32 utterances" in out and ("wa" if model == "muse" else "mae") in out
    assert main(argv) == 0  # loads it
    assert capsys.readouterr().out.splitlines()[0] == out.splitlines()[0]


def test_quiet_is_quiet_and_otherwise_every_epoch_is_told(
    demo_is_small, small_models, tmp_path, capfd
):
    argv = ["train", "mimic", "--device", "cpu", "--max-epochs", "2", "--out", str(tmp_path)]
    main([*argv, "--quiet"])
    out, err = capfd.readouterr()
    assert err == "" and len(out.splitlines()) == 3 and "of at most" not in out
    main([*argv, "--seed", "1"])
    out = capfd.readouterr().out
    assert "epoch   1 of at most 2" in out and "epoch   2 of at most 2" in out


def test_predict_prints_four_probabilities(muse_run, wav, capsys):
    assert main(["predict", str(wav), "I am so glad", "--run", str(muse_run)]) == 0
    out = capsys.readouterr().out
    assert "synthetic" in out
    shares = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:]}
    assert tuple(shares) == EMOTIONS
    assert sum(float(s.rstrip("%")) for s in shares.values()) == pytest.approx(100, abs=0.3)


def test_predict_without_a_run_trains_the_fast_muse(
    demo_is_small, small_models, wav, capsys, monkeypatch
):
    name, settings = training.PRESETS["muse"]["fast"]
    quick = {"muse": {"fast": (name, training.replace(settings, max_epochs=1))}}
    monkeypatch.setattr(training, "PRESETS", quick)
    assert main(["predict", str(wav), "what a day"]) == 0
    assert all(e in capsys.readouterr().out for e in EMOTIONS[:1])


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "muse", "--fold", "9"], "fold 9 does not exist; choose 0 to 4"),
        (["train", "mimic", "--data", "iemosi"], "unknown corpus 'iemosi'"),
        (["train", "mimic", "--device", "abacus"], "abacus"),
        (["train", "mimic", "--max-epochs", "0"], "max.epochs"),
        (["train", "mimic", "--seed", "-1"], "seed"),
    ],
)
def test_bad_requests_end_with_one_line(
    demo_is_small, small_models, tmp_path, capsys, argv, message
):
    import re

    assert re.search(message, refused(capsys, *argv, "--quiet", "--out", tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_ends_with_one_line(demo_is_small, small_models, tmp_path, capsys):
    assert "cuda" in refused(capsys, "train", "mimic", "--device", "cuda", "--out", tmp_path)


def test_bad_predictions_end_with_one_line(muse_run, wav, tmp_path, capsys):
    run = ["--run", muse_run]
    assert "no such file" in refused(capsys, "predict", tmp_path / "no.wav", "hello", *run)
    assert "holds no words" in refused(capsys, "predict", wav, "", *run)
    assert "no config.json" in refused(capsys, "predict", wav, "hi", "--run", tmp_path)
    letter = tmp_path / "letter.wav"
    letter.write_text("Dear aunt", encoding="utf-8")
    assert "letter.wav" in refused(capsys, "predict", letter, "hello", *run)


@pytest.mark.parametrize(
    "argv",
    [[], ["fly"], ["train"], ["train", "bert"], ["train", "muse", "--fold", "one"], ["data", "x"]],
)
def test_what_the_parser_refuses_exits_with_two(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2 and "usage: mmer" in capsys.readouterr().err


# ------------------------------------------------------------------------- in a process of its own


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def test_help_and_version():
    done = python("-m", "mmer_lib.cli", "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert all(word in done.stdout for word in ("data", "train", "predict"))
    done = python("-m", "mmer_lib.cli", "--version")
    assert done.stdout.strip() == f"mmer {__version__}" and done.returncode == 0
    assert "--preset" in python("-m", "mmer_lib.cli", "train", "--help").stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom mmer_lib.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'lightning', 'scipy', 'transformers') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("package", "argv"),
    [
        ("lightning", ["train", "muse"]),
        ("yaml", ["data", "demo"]),
    ],
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
