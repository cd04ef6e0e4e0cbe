"""What a training leaves: its result, its command, and nothing where it was stopped."""

import json
import shlex
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch

from mmer_lib import cli, corpora
from mmer_lib.data import DataError
from mmer_lib.training import fit as training
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import open_run, truth_of
from mmer_lib.training.settings import PRESETS
from mmer_lib.training.trace import FILE
from tests.tiny import FILES, SENTIMENT, SMALL, TRACED, every, interrupted, names, tiny, weights

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]


@pytest.fixture(scope="module")
def trained(small_corpus, shared_cache, tmp_path_factory):
    """One tiny run of each model."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return {name: tiny(name, small_corpus, out) for name in SMALL}


@every
def test_the_result_says_where_it_comes_from(trained, name):
    run = trained[name]
    assert names(run.folder) == [*FILES, *([FILE] if name in TRACED else [])]

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (run.folder / "result.json").read_text(encoding="utf-8")
    result = json.loads(text, parse_constant=refuse)
    assert (result["model"], result["fold"], result["seed"]) == (name, 0, 0)
    assert result["synthetic"] is True and result["sizes"] == {"train": 96, "dev": 32, "test": 32}
    assert result["config"]["classes"] == (1 if name in SENTIMENT else 4)
    assert result["emotions"] == ["angry", "happy", "neutral", "sad"]
    assert result["settings"] == asdict(run.settings)
    assert result["settings"]["max_epochs"] == 2 and result["epochs"] == 2
    assert PRESETS[name]["fast"][1].max_epochs != 2
    assert result["device"].startswith("CPU") and 0 <= result["seconds"] < 600
    assert result["git"] is None or len(result["git"]) >= 7
    assert result["time"].startswith("20") and result["time"].endswith("+00:00")
    assert {"torch", "lightning", "numpy", "python"} <= set(result["versions"])
    assert result["versions"]["torch"] == torch.__version__
    wanted = (
        {"mae", "corr", "acc2_has0", "acc2_non0", "acc7"} if name in SENTIMENT else {"wa", "ua"}
    )
    assert wanted <= set(result["test"])
    assert result["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert result["data_key"] and result["features_key"]


@every
def test_the_recorded_test_scores_are_those_of_the_saved_model(trained, small_corpus, name):
    run = open_run(trained[name].folder)
    parts = training.examples_for(run, small_corpus, small_corpus.splits(0).test)
    rows, logits = run.predict(parts)
    assert sorted(rows) == parts.rows
    truth = truth_of(small_corpus, rows, run.settings.task)
    scores = training.scores_of(run.settings.task, logits, truth)
    for k, v in run.result["test"].items():
        assert scores[k] == pytest.approx(v, nan_ok=True), k


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mimic", {"fold": 1, "seed": 7}),
        ("muse", {"align": 0.0, "learning_rate": 1e-5, "class_weights": True, "ideal": "forced",
                  "model_options": {"kernels": (2, 3), "fusion": "concat", "dropout": 0}}),
        ("muse-multigranular", {"text": "a file", "frames": "speaker", "warmup": 0}),
        ("bert", {"preset": "paper", "tune": False, "monitor": "loss", "mode": "min"}),
    ],
)  # fmt: skip
def test_the_recorded_command_gives_this_very_run(
    small_corpus, tmp_path, monkeypatch, capsys, name, changes
):
    glove = tmp_path / "own vectors.txt"
    glove.write_text("the 1 2 3\na 4 5 6\n", encoding="utf-8")
    changes = {**changes, "text": str(glove)} if "text" in changes else changes
    run = tiny(name, small_corpus, tmp_path / "runs", max_epochs=1, **changes)
    program, *line = shlex.split(run.result["command"])
    assert program == "mmer"
    monkeypatch.setattr(corpora, "load", lambda data, root: small_corpus)
    monkeypatch.setattr(Learner, "training_step", lambda *a: pytest.fail("trained again"))
    code = cli.main([*line, "--out", str(tmp_path / "runs"), "--device", "cpu", "--quiet"])
    assert code == 0 and str(run.folder) in capsys.readouterr().out
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("extras", "arguments"),
    [
        ({"table": "my own.csv"}, ["--data", "DIR/my own.csv"]),
        ({"root": "/x"}, ["--data", "demo", "--root", "DIR"]),
        ({}, ["--data", "demo"]),
    ],
)
def test_the_recorded_command_names_the_corpus(small_corpus, tmp_path, extras, arguments):
    run = tiny("bert", replace(small_corpus, extras=extras), tmp_path, max_epochs=1)
    assert shlex.split(run.result["command"])[3:-8] == [*arguments, "--fold", "0"]


def test_the_recorded_call_for_a_corpus_of_arrays_gives_this_very_run(
    small_corpus, tmp_path, monkeypatch
):
    corpus = replace(small_corpus, extras={"arrays": ["waveforms"]})
    options = {"kernels": (2, 3), "fusion": "concat"}
    run = tiny("muse", corpus, tmp_path, max_epochs=1, align=0.0, model_options=options)
    call = partial(training.fit, out=tmp_path, device="cpu", progress=False)
    monkeypatch.setattr(Learner, "training_step", lambda *a: pytest.fail("trained again"))
    assert eval(run.result["command"], {"fit": call, "corpus": corpus}).folder == run.folder


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_stopped_training_leaves_no_result_and_goes_on(
    trained, small_corpus, tmp_path, monkeypatch, stop
):
    """In the second epoch, when there already is a checkpoint."""
    steps, original = [], Learner.training_step

    def die(self, *args):
        steps.append(1)
        if len(steps) == 5:
            raise stop("killed")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", die)
        with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
            tiny("mimic", small_corpus, tmp_path)
    assert not list(tmp_path.rglob("result.json"))
    run = tiny("mimic", small_corpus, tmp_path)
    assert weights(run) == weights(trained["mimic"]) and names(run.folder) == [*FILES, FILE]


@pytest.mark.parametrize("at", ["save_pretrained", "run.json", "result.json"])
def test_after_an_interrupted_save_the_next_fit_saves_the_same(
    trained, small_corpus, tmp_path, monkeypatch, at
):
    with monkeypatch.context() as patch, pytest.raises(DataError, match="disk full"):
        interrupted(patch, at)
        tiny("bert", small_corpus, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert not [n for n in names(folder) if n == "result.json" or n.startswith(".")]
    run = tiny("bert", small_corpus, tmp_path)
    assert run.folder == folder and names(folder) == FILES
    assert weights(run) == weights(trained["bert"])


# ------------------------------------------------------------------------------------ devices


def test_cpu_means_cpu_in_full_precision(monkeypatch, small_corpus, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)
    seen, original = [], Learner.training_step

    def spy(self, batch, *args):
        loss = original(self, batch, *args)
        seen.append((self.device.type, batch.words.device.type, loss.dtype))
        return loss

    monkeypatch.setattr(Learner, "training_step", spy)
    run = tiny("mimic", small_corpus, tmp_path, max_epochs=1)
    assert set(seen) == {("cpu", "cpu", torch.float32)}
    assert all(p.device.type == "cpu" for p in run.model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none on this machine")
@every
def test_a_gpu_trains_in_mixed_precision_and_gives_a_model_on_the_cpu(small_corpus, tmp_path, name):
    run = tiny(name, small_corpus, tmp_path, device="cuda")
    assert not run.result["device"].startswith("CPU")
    assert all(p.device.type == "cpu" and p.isfinite().all() for p in run.model.parameters())
    rows, logits = run.predict(training.examples_for(run, small_corpus, range(9)))
    on_gpu = replace(run, model=run.model.cuda())
    others, again = on_gpu.predict(training.examples_for(run, small_corpus, range(9)))
    np.testing.assert_array_equal(rows, others)
    torch.testing.assert_close(logits, again, rtol=1e-2, atol=1e-2)
