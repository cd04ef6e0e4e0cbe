import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmer_lib import __version__, cli, corpora
from mmer_lib.book import replay as snapshots
from mmer_lib.book import switches as ablation
from mmer_lib.cli import main
from mmer_lib.data import EMOTIONS
from mmer_lib.experiments.catalogue import TABLES, Row, Table
from mmer_lib.experiments.tables import read_table
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.runs import Run, save_run
from mmer_lib.training.settings import Settings
from tests.corpora import fake_iemocap
from tests.corpora.fake_iemocap import CLASSES
from tests.tiny import SMALL, tiny

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")


@pytest.fixture
def demo_is_small(small_corpus, keep_cache, monkeypatch):
    """`load("demo")` gives the small corpus; other names are refused as ever."""
    original = corpora.load

    def load(name, root=None):
        return small_corpus if name == "demo" and root is None else original(name, root)

    monkeypatch.setattr(corpora, "load", load)


@pytest.fixture
def small_models(monkeypatch):
    presets = {
        name: {p: (SMALL[name], settings) for p, (_, settings) in made.items()}
        for name, made in training.PRESETS.items()
    }
    monkeypatch.setattr(training, "PRESETS", presets)


@pytest.fixture
def muse_run(tmp_path):
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=50, width=16, hidden=32, stack=4, filters=4)).eval()
    settings = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
    run = Run(
        "muse", tmp_path / "run", model, settings, {"synthetic": True, "emotions": [*EMOTIONS]}
    )
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


def last_line(capsys):
    return capsys.readouterr().out.strip().splitlines()[-1]


# ----------------------------------------------------------------------------------- commands


def test_data_reports_size_checksum_and_every_observer(demo_is_small, small_corpus, capsys):
    assert main(["data", "demo"]) == 0
    out = capsys.readouterr().out
    assert "160 synthetic utterances in 5 sessions" in out
    assert small_corpus.extras["sha256"] in out and small_corpus.extras["path"] in out
    rows = [line for line in out.splitlines() if line.startswith(("text", "audio", "vision"))]
    assert len(rows) == 7
    table = {r[:22].strip(): [float(v) for v in r[22:].split()] for r in rows}
    from mmer_lib.corpora.demo.observer import observer

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


def test_predict_names_the_classes_of_the_run(muse_run, wav, capsys):
    """A model of another corpus has other classes; what it was trained on says which."""
    path = muse_run / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    classes = ["rage", "joy", "calm", "grief"]
    path.write_text(json.dumps({**result, "emotions": classes, "synthetic": False}))
    assert main(["predict", str(wav), "hello", "--run", str(muse_run)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == classes


def test_predict_without_a_run_trains_the_fast_muse(
    demo_is_small, small_models, wav, capsys, monkeypatch
):
    name, settings = training.PRESETS["muse"]["fast"]
    quick = {"muse": {"fast": (name, training.replace(settings, max_epochs=1))}}
    monkeypatch.setattr(training, "PRESETS", quick)
    assert main(["predict", str(wav), "what a day"]) == 0
    assert all(e in capsys.readouterr().out for e in EMOTIONS[:1])


def test_set_changes_settings_and_options(demo_is_small, small_models, tmp_path, capsys):
    argv = ["train", "mimic", "--device", "cpu", "--out", str(tmp_path), "--quiet"]
    for change in ("max_epochs=1", "learning_rate=5e-4", "units=4", "frames=speaker", "clip=1"):
        argv += ["--set", change]
    assert main(argv) == 0
    result = json.loads((Path(last_line(capsys)) / "result.json").read_text(encoding="utf-8"))
    assert result["config"]["units"] == 4 and result["config"]["bottleneck"] == 4
    settings = result["settings"]
    assert (settings["max_epochs"], settings["learning_rate"]) == (1, 5e-4)
    assert settings["frames"] == "speaker" and repr(settings["clip"]) == "1.0"


def test_the_recorded_command_gives_the_run_again(demo_is_small, small_corpus, tmp_path, capsys):
    """With quotes where the shell needs them, and for every kind of value."""
    changes = {"max_epochs": 1, "learning_rate": 5e-4, "frames": "speaker", "class_weights": False}
    run = tiny("mimic", small_corpus, tmp_path, **changes)
    words = shlex.split(run.result["command"])
    assert words[:3] == ["mmer", "train", "mimic"]
    assert main([*words[1:], "--out", str(tmp_path), "--device", "cpu", "--quiet"]) == 0
    assert last_line(capsys) == str(run.folder)
    assert len(list(tmp_path.glob("mimic-*"))) == 1


@pytest.mark.parametrize("model", cli._MODELS)
def test_no_name_is_a_setting_and_an_option_of_a_model(model):
    """But `encoder`: the setting names it, and the configuration holds what follows from that."""
    options = model_class(model).config_class.__dataclass_fields__
    assert set(Settings.__dataclass_fields__) & set(options) <= {"encoder"}


def test_the_choices_are_what_there_is():
    assert cli._MODELS == tuple(MODELS) and cli._TABLES == (*TABLES, "compare")


# ------------------------------------------------------------------------------ a real corpus


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A made-up release in the format of IEMOCAP."""
    return fake_iemocap.write(tmp_path_factory.mktemp("release"))


counts_differ = pytest.mark.filterwarnings("ignore:iemocap")


@counts_differ
def test_data_counts_a_real_corpus(release, capsys):
    assert main(["data", "iemocap", "--root", str(release.root)]) == 0
    out = capsys.readouterr().out
    assert "synthetic" not in out
    assert "iemocap: 50 utterances of 10 speakers in 5 sessions" in out
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    wanted = Counter(CLASSES[line.label] for line in release.used)
    for emotion in EMOTIONS:
        assert [int(n) for n in table[emotion]] == [*[wanted[emotion] // 5] * 5, wanted[emotion]]
    assert table["all"] == ["10"] * 5 + ["50"]
    assert "left out: 20" in out and "10  label fru" in out and "10  label xxx" in out
    timed = sum(line.label in CLASSES for line in release.lines)
    assert f"word times: {timed} of 50 utterances" in out


@counts_differ
def test_train_on_a_real_corpus(release, small_models, tmp_path, capsys):
    argv = ["train", "muse", "--data", "iemocap", "--root", str(release.root), "--device", "cpu",
            "--max-epochs", "2", "--out", str(tmp_path / "runs"), "--quiet"]  # fmt: skip
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "muse on iemocap, fold 0" in out and "synthetic" not in out


# ------------------------------------------------------------------------------------- tables


@pytest.fixture
def tiny_table(monkeypatch):
    """The table "muse-1" is a tiny one of mimic."""
    how = {"task": "emotion", "monitor": "wa", "mode": "max", "contrastive": 0.0}
    rows = (
        Row("published", paper={"wa": 0.5, "ua": 0.4}),
        Row("ours", "mimic", how, paper={"wa": 0.7, "wa_std": 0.01, "ua": 0.72}),
        Row("other", "mimic", {"units": 4, **how}, paper={"wa": 0.6, "ua": 0.5}),
    )
    monkeypatch.setitem(TABLES, "muse-1", Table("muse-1", "A tiny table.", rows, "ours"))


def test_tables_prints_and_saves(demo_is_small, small_models, tiny_table, tmp_path, capsys):
    argv = ["tables", "muse-1", "--seeds", "0", "1", "--folds", "1", "--device", "cpu",
            "--max-epochs", "1", "--out", str(tmp_path)]  # fmt: skip
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "muse-1 on demo: 4 runs, 4 to train" in out
    assert "4 of 4  other, fold 1, seed 1: wa 0." in out
    assert "A tiny table. Ours on demo (synthetic), preset fast, max_epochs 1" in out
    assert "0.700 ± 0.010" in out and "never figure with figure" in out
    path = Path(out.splitlines()[-1])
    assert path == tmp_path / "tables" / "muse-1-demo.json"
    saved = read_table(path)
    assert [row["n"] for row in saved["rows"]] == [0, 2, 2]
    words = shlex.split(saved["command"])
    assert main([*words[1:], "--device", "cpu", "--out", str(tmp_path), "--quiet"]) == 0
    again = capsys.readouterr().out
    assert "to train" not in again and again.splitlines()[-1] == str(path)
    assert read_table(path) == saved


def test_record_asks_for_what_is_told(monkeypatch, capsys):
    asked = {}

    def record(table, file, out, **how):
        asked.update(how, table=table, file=file, out=out)

    monkeypatch.setattr(ablation, "record", record)
    line = "record muse-toggles x/toggles.json --folds 0 --device cpu --quiet"
    assert main(line.split()) == 0 and capsys.readouterr().out == f"{Path('x/toggles.json')}\n"
    assert asked == {
        "table": "muse-toggles", "file": Path("x/toggles.json"), "out": None, "folds": [0],
        "seeds": [0, 1, 2], "device": "cpu", "workers": 1, "progress": False,
    }  # fmt: skip


def test_record_asks_for_the_replay_that_is_told(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(snapshots, "record", lambda *told, **how: asked.append((told, how)))
    assert main("record mimic-replay x.json --seed 2 --fold 1 --device cpu --quiet".split()) == 0
    assert main(["record", "mimic-replay", "y.json"]) == 0
    assert capsys.readouterr().out == "x.json\ny.json\n"
    assert asked == [
        ((Path("x.json"), 1, 2, "cpu"), {"progress": False}),
        ((Path("y.json"), 0, 0, "auto"), {"progress": True}),
    ]


def test_tables_shows_what_is_there_when_a_run_fails(
    demo_is_small, small_models, tiny_table, tmp_path, capsys, monkeypatch
):
    original = training.fit

    def fail(*args, **changes):
        if args[8]:
            raise RuntimeError("out of memory")
        return original(*args, **changes)

    monkeypatch.setattr(training, "fit", fail)
    argv = ["tables", "muse-1", "--seeds", "0", "--folds", "1", "--device", "cpu", "--max-epochs",
            "1", "--out", str(tmp_path), "--quiet"]  # fmt: skip
    assert main(argv) == 2
    out, err = capsys.readouterr()
    (line,) = err.strip().splitlines()
    assert line.startswith("mmer: 1 of 2 runs failed: other, fold 1, seed 0 (RuntimeError: out of")
    assert " 0/1 " in out and "1 missing" in out


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "muse", "--fold", "9"], "fold 9 does not exist; choose 0 to 4"),
        (["train", "mimic", "--data", "iemosi"], "unknown corpus 'iemosi'"),
        (["train", "mimic", "--device", "abacus"], "abacus"),
        (["train", "mimic", "--max-epochs", "0"], "max.epochs"),
        (["train", "mimic", "--seed", "-1"], "seed"),
        (["train", "muse", "--data", "iemocap"], "iemocap: name the folder of the release"),
        (["train", "muse", "--root", "/x"], "demo: is made, not read"),
        (["train", "mimic", "--set", "depth"], "--set depth: write NAME=VALUE"),
        (["train", "mimic", "--set", "depth=3"], "'depth'; known: words"),
        (["train", "mimic", "--set", "units=many"], "units=many: units is of type int"),
        (["train", "mimic", "--set", "units=2.5"], "units is of type int"),
        (["train", "mimic", "--set", "batch_size=True"], "batch_size is of type int"),
        (["train", "mimic", "--set", "learning_rate=fast"], "learning_rate is of type float"),
        (["train", "mimic", "--set", "class_weights=yes"], "of type bool: True or False"),
        (["train", "mimic", "--set", "clip=1", "--set", "clip=2"], "clip: given twice"),
        (["train", "mimic", "--set", "max_epochs=1", "--max-epochs", "1"], "says so already"),
        (["train", "mimic", "--set", "classes=7"], "classes"),
        (["tables", "muse-1", "--folds", "9"], "fold 9 does not exist"),
        (["tables", "muse-1", "--workers", "0"], "workers is 0"),
        (["tables", "muse-1", "--set", "fusion=word"], "fusion: no setting of a training"),
        (["tables", "muse-1", "--slurm", "partition=a"], "a parameter for slurm"),
        (["tables", "muse-1", "--data", "iemocap"], "iemocap: name the folder of the release"),
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
    [
        *([], ["fly"], ["data"], ["train"], ["train", "gpt"], ["train", "muse", "--fold", "one"]),
        *(["tables", *more] for more in ([], ["muse-4"], ["muse-1", "--cluster", "debug"])),
    ],
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
    assert all(word in done.stdout for word in ("data", "train", "tables", "predict"))
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
