import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib import training
from mmer_lib.corpora import EMOTIONS, Corpus, DataError, Utterance
from mmer_lib.runs import Settings, model_class, open_run, truth_of
from mmer_lib.training import PRESETS, Learner, fit

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

SMALL = {
    "muse": {"width": 16, "hidden": 32, "stack": 8, "phoneme_embedding": 8, "filters": 4},
    "mimic": {"units": 8, "bottleneck": 4},
}


def tiny(name, corpus, out, **changes):
    """A few seconds' training of a small model."""
    options = {"device": "cpu", "progress": False, "model_options": SMALL[name], "max_epochs": 2}
    return fit(name, corpus, out=out, **{**options, **changes})


def weights(run):
    return {k: v.numpy().tobytes() for k, v in run.model.state_dict().items()}


both = pytest.mark.parametrize("name", ["muse", "mimic"])


@pytest.fixture(scope="module")
def trained(small_corpus, shared_cache, tmp_path_factory):
    """One tiny run of each model, and the folder of all runs."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return out, {name: tiny(name, small_corpus, out) for name in SMALL}


# --------------------------------------------------------------------------------- repeating


@both
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained, small_corpus, tmp_path, name
):
    _, runs = trained
    torch.rand(3)  # the state of the caller's generator is no matter
    again = tiny(name, small_corpus, tmp_path)
    other = tiny(name, small_corpus, tmp_path, seed=1)
    assert weights(again) == weights(runs[name]) != weights(other)
    assert again.result["history"] == runs[name].result["history"]
    assert again.folder != other.folder and again.folder.name == runs[name].folder.name


@both
def test_the_second_time_it_is_loaded(trained, small_corpus, monkeypatch, name):
    out, runs = trained
    monkeypatch.setattr(Learner, "training_step", lambda *a: pytest.fail("trained again"))
    again, first = tiny(name, small_corpus, out), runs[name]
    assert again.folder == first.folder and weights(again) == weights(first)
    parts = training.examples_for(first, small_corpus, small_corpus.splits(0).test)
    for a, b in zip(again.predict(parts), first.predict(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_choice_has_a_run_of_its_own(trained, small_corpus, monkeypatch):
    out, _ = trained

    def refuse(*args):
        raise RuntimeError("would train")

    monkeypatch.setattr(training, "_train", refuse)
    for change in (
        {"fold": 1},
        {"seed": 1},
        {"learning_rate": 0.5},
        {"max_epochs": 3},
        {"model_options": {"units": 4, "bottleneck": 4}},
        {"preset": "paper"},
    ):
        with pytest.raises(RuntimeError, match="would train"):
            tiny("mimic", small_corpus, out, **change)


def test_runs_go_to_the_cache_unless_told_otherwise(small_corpus, keep_cache):
    run = tiny("mimic", small_corpus, None, max_epochs=1)
    assert run.folder.parent == keep_cache / "runs"


# ------------------------------------------------------------------------- nothing leaks


@pytest.fixture
def with_features(monkeypatch):
    """with_features(change) makes `fit` read features that were changed by change(features)."""
    original = training.extract

    def install(change):
        monkeypatch.setattr(training, "extract", lambda *a, **k: change(original(*a, **k)))

    return install


def spoilt(features, rows, seed=0):
    """Noise in the place of some utterances' floating-point features."""
    rng = np.random.default_rng(seed)
    made = {}
    for part in ("frames", "words", "audio", "vision"):
        if (items := getattr(features, part)) is not None:
            made[part] = list(items)
            for r in rows:
                made[part][r] = 7 + 3 * rng.standard_normal(items[r].shape).astype("f4")
    return replace(features, **made)


def relabelled(corpus, rows):
    us = list(corpus.utterances)
    for r in rows:
        emotion = EMOTIONS[(EMOTIONS.index(us[r].emotion) + 1) % 4]
        us[r] = replace(us[r], emotion=emotion, sentiment=-us[r].sentiment / 2 + 0.1)
    return replace(corpus, utterances=tuple(us))


@both
def test_training_never_sees_the_test_part(trained, small_corpus, with_features, tmp_path, name):
    _, runs = trained
    test = small_corpus.splits(0).test
    with_features(lambda f: spoilt(f, test))
    changed = relabelled(small_corpus, test)
    task = runs[name].settings.task
    assert not torch.equal(truth_of(changed, test, task), truth_of(small_corpus, test, task))
    other = tiny(name, changed, tmp_path)
    assert weights(other) == weights(runs[name])
    assert other.result["dev"] == runs[name].result["dev"]


@both
def test_training_does_see_the_training_part(trained, small_corpus, tmp_path, name):
    _, runs = trained
    changed = relabelled(small_corpus, small_corpus.splits(0).train[:5])
    assert weights(tiny(name, changed, tmp_path)) != weights(runs[name])


def test_the_development_part_decides_when_to_stop(small_corpus, tmp_path):
    """Patience 0 stops after the first epoch that is no better on the development part."""
    run = tiny("mimic", small_corpus, tmp_path, max_epochs=30, patience=2, learning_rate=0.02)
    mae = [h["mae"] for h in run.result["history"]]
    best = int(np.argmin(mae))
    assert run.result["best_epoch"] == best and run.result["dev"]["mae"] == mae[best]
    assert run.result["epochs"] == len(mae) == min(30, best + 1 + 2)


def test_the_weights_of_the_best_epoch_are_kept(small_corpus, tmp_path):
    run = tiny("mimic", small_corpus, tmp_path, max_epochs=8, learning_rate=0.05)
    dev = training.examples_for(run, small_corpus, small_corpus.splits(0).dev)
    rows, logits = run.predict(dev)
    scores = training.scores_of("sentiment", logits, truth_of(small_corpus, rows, "sentiment"))
    assert scores["mae"] == pytest.approx(run.result["dev"]["mae"], rel=1e-5)


@both
def test_scaling_is_fitted_on_the_training_rows(trained, small_corpus, name):
    _, runs = trained
    run, rows = runs[name], small_corpus.splits(0).train
    features = training.examples_for(run, small_corpus, rows).features
    scalings = run.model.scalings()
    assert set(scalings) == ({"frames"} if name == "muse" else {"audio", "vision"})
    for source, layer in scalings.items():
        train = np.concatenate([getattr(features, source)[r] for r in rows]).astype("f8")
        np.testing.assert_allclose(layer.mean.numpy(), train.mean(0), rtol=1e-3, atol=1e-3)
        moving = train.std(0) > 1e-3
        np.testing.assert_allclose(layer.deviation.numpy()[moving], train.std(0)[moving], rtol=1e-3)


def test_frames_normalised_by_utterance_are_not_scaled_again(small_corpus, tmp_path):
    run = tiny("muse", small_corpus, tmp_path, max_epochs=1, frames="utterance")
    layer = run.model.scalings()["frames"]
    assert layer.mean.eq(0).all() and layer.deviation.eq(1).all()


# --------------------------------------------------------------------------------- learning


def test_a_short_training_reads_what_faces_show(small_corpus, tmp_path):
    """With that as the label, mean recall beats chance (a quarter) by a quarter at least."""
    us = [replace(u, emotion=u.planted.shows["vision"]) for u in small_corpus.utterances]
    run = tiny(
        "mimic", replace(small_corpus, utterances=tuple(us)), tmp_path, task="emotion",
        monitor="wa", mode="max", max_epochs=20, learning_rate=5e-3, batch_size=16,
        contrastive=0.0, model_options={},
    )  # fmt: skip
    assert run.result["config"]["classes"] == 4
    assert run.result["test"]["ua"] > 0.25 + 0.25


def test_a_short_training_learns_what_it_was_shown(small_corpus, tmp_path):
    """On its own training part MUSE beats chance (a quarter) by three tenths."""
    split = small_corpus.splits(0)
    run = tiny("muse", small_corpus, tmp_path, max_epochs=25, patience=25, learning_rate=5e-3,
               batch_size=16, monitor="loss", mode="min")  # fmt: skip
    rows, logits = run.predict(training.examples_for(run, small_corpus, split.train))
    truth = truth_of(small_corpus, rows, "emotion")
    assert training.scores_of("emotion", logits, truth)["wa"] > 0.25 + 0.3


@both
def test_the_optimiser_holds_every_parameter_once(small_corpus, tmp_path, monkeypatch, name):
    held, original = [], Learner.configure_optimizers

    def spy(self):
        made = original(self)
        optimiser = made[0][0] if isinstance(made, tuple) else made
        ids = [id(p) for group in optimiser.param_groups for p in group["params"]]
        held.append((sorted(ids), sorted(id(p) for p in self.parameters())))
        return made

    monkeypatch.setattr(Learner, "configure_optimizers", spy)
    tiny(name, small_corpus, tmp_path, max_epochs=1)
    ((ids, wanted),) = held
    assert ids == wanted and len(set(ids)) == len(ids)


@both
def test_every_parameter_receives_a_gradient(trained, small_corpus, name):
    _, runs = trained
    run = runs[name]
    examples = training.examples_for(run, small_corpus, range(24))
    run.model.zero_grad()
    learner = Learner(run.model, run.settings)
    learner.loss(examples.collate(range(24)))[0].backward()
    still = [k for k, p in run.model.named_parameters() if p.grad is None]
    run.model.zero_grad()
    assert still == []


def test_the_learning_rate_rises_then_falls_to_zero(small_corpus, tmp_path, monkeypatch):
    rates, original = [], Learner.training_step

    def spy(self, *args):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return original(self, *args)

    monkeypatch.setattr(Learner, "training_step", spy)
    tiny("mimic", small_corpus, tmp_path, max_epochs=8, warmup=0.25, learning_rate=1e-3)
    assert len(rates) == 8 * 3
    top = int(np.argmax(rates))
    assert 4 <= top <= 6 and rates[top] == pytest.approx(1e-3)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top + 1 :]) < 0).all()
    assert min(rates) > 0 and rates[-1] < 1e-4


# ----------------------------------------------------------------------------- what is left


@both
def test_the_result_says_where_it_comes_from(trained, name):
    _, runs = trained
    run = runs[name]
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "config.json", "model.safetensors", "result.json",
    ]  # fmt: skip

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (run.folder / "result.json").read_text(encoding="utf-8")
    result = json.loads(text, parse_constant=refuse)
    assert result["command"].startswith(
        f"fit('{name}', load('demo'), fold=0, seed=0, preset='fast'"
    )
    assert (result["model"], result["fold"], result["seed"]) == (name, 0, 0)
    assert result["synthetic"] is True and result["sizes"] == {"train": 96, "dev": 32, "test": 32}
    assert result["config"]["classes"] == (4 if name == "muse" else 1)
    assert result["settings"]["max_epochs"] == 2 and result["epochs"] == 2
    assert result["device"].startswith("CPU") and result["seconds"] > 0
    assert result["git"] is None or len(result["git"]) >= 7
    assert result["time"].startswith("20") and result["time"].endswith("+00:00")
    assert {"torch", "lightning", "numpy", "python"} <= set(result["versions"])
    assert result["versions"]["torch"] == torch.__version__
    wanted = {"wa", "ua"} if name == "muse" else {"mae", "corr", "acc2_has0", "acc2_non0", "acc7"}
    assert wanted <= set(result["test"])
    assert result["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert result["data_key"] and result["features_key"]


@both
def test_the_recorded_test_scores_are_those_of_the_saved_model(trained, small_corpus, name):
    _, runs = trained
    run = open_run(runs[name].folder)
    parts = training.examples_for(run, small_corpus, small_corpus.splits(0).test)
    rows, logits = run.predict(parts)
    assert sorted(rows) == parts.rows
    scores = training.scores_of(run.settings.task, logits,
                                truth_of(small_corpus, rows, run.settings.task))  # fmt: skip
    for k, v in run.result["test"].items():
        assert scores[k] == pytest.approx(v, nan_ok=True), k


def test_what_differs_from_the_preset_stands_in_the_command_or_the_settings(trained):
    _, runs = trained
    result = runs["mimic"].result
    assert result["settings"]["max_epochs"] == 2
    assert PRESETS["mimic"]["fast"][1].max_epochs != 2
    assert "max_epochs=2" in result["command"], "the command does not repeat the run"
    assert f"model_options={SMALL['mimic']!r}" in result["command"]


def test_a_killed_training_leaves_no_result_and_is_begun_anew(
    trained, small_corpus, tmp_path, monkeypatch
):
    _, runs = trained
    steps, original = [], Learner.training_step

    def die(self, *args):
        steps.append(1)
        if len(steps) == 5:
            raise RuntimeError("killed")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", die)
        with pytest.raises(RuntimeError, match="killed"):
            tiny("mimic", small_corpus, tmp_path)
    assert not list(tmp_path.rglob("result.json"))
    run = tiny("mimic", small_corpus, tmp_path)
    assert weights(run) == weights(runs["mimic"])
    assert len(list(run.folder.iterdir())) == 3


def test_an_interrupted_training_is_not_taken_for_a_finished_one(
    small_corpus, tmp_path, monkeypatch
):
    """Ctrl-C after the first epoch, when there already is a checkpoint."""
    steps, original = [], Learner.training_step

    def stop(self, *args):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Learner, "training_step", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        tiny("mimic", small_corpus, tmp_path)
    assert not list(tmp_path.rglob("result.json"))


# ------------------------------------------------------------------------------ bad requests


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("muze", {"model_options": {}}, "unknown model 'muze'; known: muse, mimic"),
        ("muse", {"preset": "slow"}, "unknown preset 'slow'; known: paper, fast"),
        ("muse", {"model_options": {"depth": 3}}, "no option 'depth'; known: words"),
        ("mimic", {"lerning_rate": 1}, "lerning_rate"),
        ("mimic", {"task": "age"}, "unknown task 'age'; known: emotion, sentiment"),
        ("muse", {"frames": "album"}, "album"),
        ("mimic", {"fold": 5}, "fold 5 does not exist"),
    ],
)
def test_unknown_names_are_refused_before_training(small_corpus, tmp_path, name, changes, message):
    with pytest.raises(DataError, match=message):
        fit(name, small_corpus, **{"out": tmp_path, "device": "cpu", "progress": False, **changes})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mimic", {"task": "emotion"}),  # its monitor is the mean absolute error
        ("muse", {"task": "sentiment"}),  # its monitor is the accuracy
        ("muse", {"monitor": "wq"}),
        ("muse", {"mode": "most"}),
        ("muse", {"contrastive": 0.1}),  # it has no shared representation S
        ("muse", {"model_options": {"classes": 2}}),
        ("muse", {"max_epochs": 0}),
        ("mimic", {"batch_size": 0}),
        ("mimic", {"seed": -1}),
        ("mimic", {"device": "abacus"}),
    ],
)
def test_settings_that_contradict_are_refused_in_plain_words(small_corpus, tmp_path, name, changes):
    with pytest.raises(DataError):
        tiny(name, small_corpus, tmp_path, **changes)


@pytest.mark.filterwarnings("error:Using a target size")
def test_muse_can_be_asked_for_a_sentiment(small_corpus, tmp_path):
    run = tiny("muse", small_corpus, tmp_path, task="sentiment", monitor="mae", mode="min")
    _, logits = run.predict(training.examples_for(run, small_corpus, range(5)))
    assert logits.shape == (5,) and "mae" in run.result["test"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_a_gpu_that_is_not_there_is_refused(small_corpus, tmp_path):
    with pytest.raises(DataError, match="cuda"):
        tiny("mimic", small_corpus, tmp_path, device="cuda")


@pytest.mark.parametrize(("name", "label"), [("muse", "emotion"), ("mimic", "sentiment")])
def test_a_missing_label_is_named_before_anything_is_computed(
    small_corpus, tmp_path, monkeypatch, name, label
):
    us = list(small_corpus.utterances)
    us[40] = replace(us[40], **{label: None})
    monkeypatch.setattr(training, "extract", lambda *a, **k: pytest.fail("computed"))
    with pytest.raises(DataError, match=f"'{us[40].id}' has no {label}"):
        tiny(name, replace(small_corpus, utterances=tuple(us)), tmp_path)


def test_a_corpus_without_faces_is_refused_for_mimic(tmp_path):
    us = tuple(
        Utterance(f"u{i}", f"p{i}", f"s{i}", "hello", waveform=lambda: np.ones(9000, "f4"),
                  rate=16000, words=(), sentiment=0.5) for i in range(3)
    )  # fmt: skip
    with pytest.raises(DataError, match="'u0' has no vision"):
        tiny("mimic", Corpus("blind", "k", us), tmp_path)


# ------------------------------------------------------------------------------------ devices


def test_the_presets_are_the_papers_where_they_are_called_so():
    muse, mimic = PRESETS["muse"]["paper"][1], PRESETS["mimic"]["paper"][1]
    assert (muse.task, muse.learning_rate, muse.batch_size) == ("emotion", 1e-5, 4)
    assert (mimic.task, mimic.batch_size) == ("sentiment", 64)
    assert PRESETS["muse"]["paper"][0] == PRESETS["mimic"]["paper"][0] == {}


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
@both
def test_a_gpu_trains_in_mixed_precision_and_gives_a_model_on_the_cpu(small_corpus, tmp_path, name):
    run = tiny(name, small_corpus, tmp_path, device="cuda")
    assert not run.result["device"].startswith("CPU")
    assert all(p.device.type == "cpu" and p.isfinite().all() for p in run.model.parameters())
    rows, logits = run.predict(training.examples_for(run, small_corpus, range(9)))
    on_gpu = replace(run, model=run.model.cuda())
    others, again = on_gpu.predict(training.examples_for(run, small_corpus, range(9)))
    np.testing.assert_array_equal(rows, others)
    torch.testing.assert_close(logits, again, rtol=1e-2, atol=1e-2)


def test_a_learner_needs_no_trainer_to_give_its_loss(small_corpus, trained):
    _, runs = trained
    batch = training.examples_for(runs["muse"], small_corpus, range(6)).collate(range(6))
    model = runs["muse"].model
    loss, logits = Learner(model, runs["muse"].settings).loss(batch)
    share = logits.log_softmax(-1)[torch.arange(6), batch.emotion]
    assert loss.item() == pytest.approx(-share.mean().item(), rel=1e-5)
    assert isinstance(runs["muse"].settings, Settings) and model_class("muse") is type(model)
