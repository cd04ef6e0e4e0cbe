"""What a training leaves, for every model: its result, its command, and the tested model."""

import json
import shlex
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch

from mmer_lib import cli, corpora
from mmer_lib.training import fit as training
from mmer_lib.training.fit import examples_for
from mmer_lib.training.metrics import scores_of
from mmer_lib.training.runs import open_run, truth_of
from mmer_lib.training.trace import FILE
from tests.tiny import FILES, SENTIMENT, every, names, tiny

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]


@every
def test_the_result_says_where_it_comes_from(trained, name):
    run = trained[name]
    assert names(run.folder) == [*FILES, *([FILE] if run.model.traced else [])]
    text = (run.folder / "result.json").read_text(encoding="utf-8")
    result = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert (result["model"], result["fold"], result["seed"]) == (name, 0, 0)
    assert result["synthetic"] is True and result["sizes"] == {"train": 96, "dev": 32, "test": 32}
    assert result["config"]["classes"] == (1 if name in SENTIMENT else 4)
    assert result["emotions"] == ["angry", "happy", "neutral", "sad"]
    assert result["settings"] == asdict(run.settings) and result["epochs"] == 2
    assert result["device"].startswith("CPU") and result["devices"] == 1
    assert result["versions"]["torch"] == torch.__version__ and result["time"].endswith("+00:00")
    assert result["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert result["data_key"] and result["features_key"] and result["key"]
    losses = {k for k in result["history"][0] if k.startswith("loss_")}
    weights = {k[5:] for k in losses - {"loss_task"}}
    assert "loss_task" in losses and weights <= set(result["config"])
    for epoch in result["history"]:
        total = sum(result["config"].get(k[5:], 1.0) * epoch[k] for k in losses)
        assert epoch["loss"] == pytest.approx(total, rel=1e-4, abs=1e-5)


@every
def test_the_recorded_test_scores_are_those_of_the_saved_model(trained, small_corpus, name):
    run = open_run(trained[name].folder)
    rows, logits = run.predict(examples_for(run, small_corpus, small_corpus.splits(0).test))
    assert sorted(rows) == small_corpus.splits(0).test
    task = run.settings.task
    assert task == ("sentiment" if name in SENTIMENT else "emotion")
    scores = scores_of(task, logits, truth_of(small_corpus, rows, task))
    assert scores.keys() == run.result["test"].keys()
    for k, v in run.result["test"].items():
        assert scores[k] == pytest.approx(np.nan if v is None else v, nan_ok=True), k


# --------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mimic", {"fold": 1, "seed": 7, "contrastive": 0, "learning_rate": 1e-5}),
        ("muse", {"ideal": "forced", "kernels": (2, 3), "fusion": "concat", "class_weights": True}),
        ("bert", {"preset": "paper", "tune": False, "monitor": "loss", "mode": "min"}),
        ("bert", {"text": "a file"}),
    ],
)
def test_the_recorded_command_gives_this_very_run(
    small_corpus, tmp_path, monkeypatch, capsys, name, changes
):
    glove = tmp_path / "own vectors.txt"
    glove.write_text("the 1 2 3\na 4 5 6\n", encoding="utf-8")
    changes = {**changes, "text": str(glove)} if "text" in changes else changes
    run = tiny(name, small_corpus, tmp_path / "runs", max_epochs=1, **changes)
    program, *line = shlex.split(run.result["command"])
    assert program == "mmer"
    monkeypatch.setattr(corpora, "load", lambda *_, **__: small_corpus)
    monkeypatch.setattr(training, "train", lambda *a: pytest.fail("trained again"))
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
def test_the_recorded_command_names_the_corpus(small_corpus, extras, arguments):
    planned = training.plan("bert", replace(small_corpus, extras=extras))
    assert shlex.split(planned.command)[3:-6] == arguments


def test_the_recorded_call_for_a_corpus_of_arrays_gives_this_very_run(
    small_corpus, tmp_path, monkeypatch
):
    corpus = replace(small_corpus, extras={"arrays": ["waveforms"]})
    run = tiny("bert", corpus, tmp_path, max_epochs=1, text="glove")
    call = partial(training.fit, out=tmp_path, device="cpu", progress=False)
    monkeypatch.setattr(training, "train", lambda *a: pytest.fail("trained again"))
    assert eval(run.result["command"], {"fit": call, "corpus": corpus}).folder == run.folder


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none on this machine")
@every
def test_a_gpu_trains_in_mixed_precision_and_gives_a_model_on_the_cpu(small_corpus, tmp_path, name):
    run = tiny(name, small_corpus, tmp_path, device="cuda")
    assert not run.result["device"].startswith("CPU")
    assert all(p.device.type == "cpu" and p.isfinite().all() for p in run.model.parameters())
    examples = examples_for(run, small_corpus, range(9))
    rows, logits = run.predict(examples)
    others, again = replace(run, model=run.model.cuda()).predict(examples)
    np.testing.assert_array_equal(rows, others)
    torch.testing.assert_close(logits, again, rtol=1e-2, atol=1e-2)
