from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from mmer_lib.data import DataError, Split
from mmer_lib.training import fit as training
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import open_run, truth_of
from tests.tiny import (
    KINDS,
    SENTIMENT,
    SOLVED,
    each_kind,
    relabelled,
    renamed,
    small_bert,
    small_wav2vec,
    spoilt,
    tiny,
    weights,
    with_frames,
    with_utterances,
)

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]


@pytest.fixture(scope="module")
def trained(small_corpus, shared_cache, tmp_path_factory):
    """One tiny run of each kind of model, and the folder of all runs."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return out, {name: tiny(name, small_corpus, out) for name in KINDS}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory):
    return small_wav2vec(tmp_path_factory.mktemp("wav2vec"))


# --------------------------------------------------------------------------------- repeating


@each_kind
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    trained, small_corpus, tmp_path, name
):
    _, runs = trained
    torch.rand(3)  # the state of the caller's generator is no matter
    again = tiny(name, small_corpus, tmp_path)
    other = tiny(name, small_corpus, tmp_path, seed=1)
    assert weights(again) == weights(runs[name])
    assert (weights(other) == weights(again)) is (name in SOLVED)
    assert again.result["history"] == runs[name].result["history"]
    assert again.folder != other.folder and again.folder.name == runs[name].folder.name


@each_kind
def test_the_second_time_it_is_loaded(trained, small_corpus, monkeypatch, name):
    out, runs = trained
    monkeypatch.setattr(Learner, "training_step", lambda *a: pytest.fail("trained again"))
    again, first = tiny(name, small_corpus, out), runs[name]
    assert again.folder == first.folder and weights(again) == weights(first)
    parts = training.examples_for(first, small_corpus, small_corpus.splits(0).test)
    for a, b in zip(again.predict(parts), first.predict(parts), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def would_train(monkeypatch):
    """A training that only says that it would begin."""

    def refuse(*args):
        raise RuntimeError("would train")

    monkeypatch.setattr(training, "run_training", refuse)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mimic", {"fold": 1}),
        ("mimic", {"seed": 1}),
        ("mimic", {"learning_rate": 0.5}),
        ("mimic", {"max_epochs": 3}),
        ("mimic", {"model_options": {"units": 4}}),
        ("mimic", {"preset": "paper"}),
        ("muse-multigranular", {"align": 0.2}),
        ("muse-multigranular", {"ideal": "forced"}),
        ("muse-multigranular", {"embedding": 0.0}),
        ("muse-multigranular", {"class_weights": True}),
        ("muse-multigranular", {"encoder_learning_rate": 1e-4}),
        ("muse-multigranular", {"text": "bert"}),
        ("muse-multigranular", {"encoder": "a small one"}),
        ("muse-multigranular", {"encoder": "a small one", "tune": True}),
        ("muse", {"wav2vec": "a small one", "model_options": {"stack": 1}}),
    ],
)
def test_every_choice_has_a_run_of_its_own(
    trained, small_corpus, bert, wav2vec, would_train, name, change
):
    out, _ = trained
    for kind, folder in (("encoder", bert), ("wav2vec", wav2vec)):
        change = {**change, kind: folder} if kind in change else change
    with pytest.raises(RuntimeError, match="would train"):
        tiny(name, small_corpus, out, **change)


@pytest.mark.parametrize("kind", ["encoder", "tune", "wav2vec"])
def test_other_weights_in_the_same_folder_of_an_encoder_are_another_run(
    small_corpus, tmp_path, kind
):
    folder, runs = tmp_path / "encoder", []
    for seed in (0, 1):
        if kind == "wav2vec":
            change = {"wav2vec": small_wav2vec(folder, seed), "model_options": {"stack": 1}}
        else:
            change = {"encoder": small_bert(folder, seed), "tune": kind == "tune"}
        name = "muse" if kind == "wav2vec" else "bert"
        runs.append(tiny(name, small_corpus, tmp_path / "runs", max_epochs=1, **change))
    assert runs[0].folder != runs[1].folder and weights(runs[0]) != weights(runs[1])


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


def test_training_along_with_encoders_never_sees_the_test_part(
    small_corpus, with_features, tmp_path, bert, wav2vec
):
    """With class weights, too, which are counted on the training part."""
    options = {
        "encoder": bert, "tune": True, "wav2vec": wav2vec, "class_weights": True, "max_epochs": 1,
        "model_options": {"stack": 1},
    }  # fmt: skip
    first = tiny("muse-multigranular", small_corpus, tmp_path / "a", **options)
    test = small_corpus.splits(0).test
    with_features(lambda f: spoilt(f, test))
    other = tiny("muse-multigranular", relabelled(small_corpus, test), tmp_path / "b", **options)
    assert weights(other) == weights(first) and other.result["dev"] == first.result["dev"]


@each_kind
def test_training_does_see_the_training_part(trained, small_corpus, tmp_path, name):
    _, runs = trained
    changed = relabelled(small_corpus, small_corpus.splits(0).train[:5])
    assert weights(tiny(name, changed, tmp_path)) != weights(runs[name])


def test_the_development_part_decides_when_to_stop(small_corpus, tmp_path):
    """Patience 2 stops after the second epoch that is no better on the development part."""
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


@pytest.mark.parametrize(
    ("monitor", "mode", "best"), [("ua", "max", max), ("loss", "min", min), ("wa", "min", min)]
)
def test_the_monitor_chooses_the_epoch(small_corpus, tmp_path, monitor, mode, best):
    run = tiny("bert", small_corpus, tmp_path, monitor=monitor, mode=mode, max_epochs=4)
    history = run.result["history"]
    values = [h[monitor] for h in history]
    assert run.result["best_epoch"] == values.index(best(values))
    chosen = history[run.result["best_epoch"]]
    assert run.result["dev"] == {"wa": chosen["wa"], "ua": chosen["ua"]}


def test_frames_normalised_by_utterance_are_not_scaled_again(small_corpus, tmp_path):
    run = tiny("muse", small_corpus, tmp_path, max_epochs=1, frames="utterance")
    layer = run.model.scalings()["frames"]
    assert layer.mean.eq(0).all() and layer.deviation.eq(1).all()


# --------------------------------------------------------------------------------- learning


def test_a_short_training_reads_what_faces_show(small_corpus, tmp_path):
    """With that as the label, mean recall beats chance (a quarter) by a quarter at least."""
    shown = with_utterances(
        small_corpus, lambda i, u: replace(u, emotion=u.planted.shows["vision"]), small_corpus.key
    )
    run = tiny("mimic", shown, tmp_path, task="emotion", monitor="wa", mode="max", max_epochs=20,
               learning_rate=5e-3, batch_size=16, contrastive=0.0,
               model_options={"units": 32, "bottleneck": 16})  # fmt: skip
    assert run.result["config"]["classes"] == 4
    assert run.result["test"]["ua"] > 0.25 + 0.25


@pytest.mark.parametrize(("name", "epochs"), [("muse", 20), ("muse-multigranular", 12)])
def test_a_short_training_learns_what_it_was_shown(small_corpus, tmp_path, name, epochs):
    """On its own training part it beats chance (a quarter) by three tenths."""
    split = small_corpus.splits(0)
    run = tiny(name, small_corpus, tmp_path, max_epochs=epochs, patience=25, learning_rate=5e-3,
               batch_size=16, monitor="loss", mode="min")  # fmt: skip
    rows, logits = run.predict(training.examples_for(run, small_corpus, split.train))
    truth = truth_of(small_corpus, rows, "emotion")
    assert training.scores_of("emotion", logits, truth)["wa"] > 0.25 + 0.3


def test_bert_alone_learns_what_it_was_shown(small_corpus, tmp_path):
    run = tiny("bert", small_corpus, tmp_path, max_epochs=40, patience=40, learning_rate=1e-2,
               monitor="loss", mode="min")  # fmt: skip
    rows, logits = run.predict(
        training.examples_for(run, small_corpus, small_corpus.splits(0).train)
    )
    truth = truth_of(small_corpus, rows, "emotion")
    assert training.scores_of("emotion", logits, truth)["wa"] > 0.25 + 0.3


@pytest.mark.filterwarnings("error:Using a target size")
@pytest.mark.parametrize("name", ["muse", "muse-multigranular", "bert"])
def test_a_sentiment_can_be_asked_for(small_corpus, tmp_path, name):
    run = tiny(name, small_corpus, tmp_path, task="sentiment", monitor="mae", mode="min")
    _, logits = run.predict(training.examples_for(run, small_corpus, range(5)))
    assert logits.shape == (5,) and "mae" in run.result["test"]
    assert run.result["config"]["classes"] == 1


# -------------------------------------------------------------------------- corpora of one's own


@each_kind
def test_a_corpus_decides_its_classes(small_corpus, tmp_path, name):
    corpus = renamed(small_corpus)
    task = {"task": "emotion", "monitor": "wa", "mode": "max", "contrastive": 0.0}
    run = tiny(name, corpus, tmp_path, max_epochs=1, **(task if name in SENTIMENT else {}))
    rows, logits = run.predict(training.examples_for(run, corpus, corpus.splits(0).test))
    assert logits.shape == (32, 3) and run.result["emotions"] == ["rage", "joy", "rest"]
    scores = training.scores_of("emotion", logits, truth_of(corpus, rows, "emotion"))
    assert scores["wa"] == pytest.approx(run.result["test"]["wa"])
    assert truth_of(corpus, rows, "emotion").max() == 2


def test_a_corpus_with_a_split_of_its_own_is_trained_on_that(small_corpus, tmp_path):
    """Two speakers in the parts are no matter to a split that a corpus brings."""
    fixed = Split(list(range(0, 160, 2)), list(range(1, 160, 4)), list(range(3, 160, 4)))
    corpus = replace(small_corpus, fixed=fixed, key="fixed")
    run = tiny("bert", corpus, tmp_path)
    assert run.result["sizes"] == {"train": 80, "dev": 40, "test": 40}
    other = tiny("bert", relabelled(corpus, fixed.test), tmp_path / "other")
    assert weights(other) == weights(run) and other.result["test"] != run.result["test"]
    with pytest.raises(DataError, match="comes with one split; fold 1 does not exist"):
        tiny("bert", corpus, tmp_path, fold=1)


@pytest.mark.parametrize("frames", ["train", "utterance", "speaker"])
def test_a_corpus_with_filterbanks_of_its_own_decides_their_width(small_corpus, tmp_path, frames):
    corpus = with_frames(small_corpus, bands=7)
    corpus = with_utterances(corpus, lambda i, u: replace(u, waveform=None, rate=None), "soundless")
    steps = {"hop": 0.01, "window": 0.025}
    run = tiny("muse", corpus, tmp_path, max_epochs=1, frames=frames, model_options=steps)
    assert run.model.config.bands == run.result["config"]["bands"] == 7
    examples = training.examples_for(run, corpus, corpus.splits(0).test)
    assert examples.collate([0, 1]).frames.shape[2] == 7
    assert run.predict(examples)[1].shape == (32, 4)
    layer = run.model.scalings()["frames"]
    assert layer.mean.ne(0).all().item() is (frames == "train")
    assert weights(open_run(run.folder)) == weights(run)


def test_an_emotion_that_is_no_class_of_the_corpus_is_named(small_corpus, tmp_path):
    strange = with_utterances(
        small_corpus, lambda i, u: replace(u, emotion="excited") if i == 40 else u
    )
    with pytest.raises(DataError, match=rf"'{strange.utterances[40].id}'.*excited"):
        tiny("bert", strange, tmp_path)


# ------------------------------------------------------------------------------- class weights


def uneven(corpus, drop=None):
    """Every second angry utterance is called sad; all of the class `drop` are called neutral."""

    def change(i, u):
        if u.emotion == drop:
            return replace(u, emotion="neutral")
        return replace(u, emotion="sad") if u.emotion == "angry" and i % 2 else u

    return with_utterances(corpus, change, f"uneven {drop}")


def test_class_weights_are_sklearns_balanced_ones_and_enter_the_loss(
    small_corpus, tmp_path, monkeypatch
):
    corpus, seen = uneven(small_corpus), []

    def spy(self, batch):
        self.model.eval()
        logits = self.model(batch).logits
        expected = F.cross_entropy(logits, batch.emotion, self.class_weights)
        seen.append((self.class_weights, expected.item(), original(self, batch)["task"].item()))
        self.model.train()
        return original(self, batch)

    original = Learner.loss
    monkeypatch.setattr(Learner, "loss", spy)
    run = tiny("bert", corpus, tmp_path, class_weights=True, max_epochs=1)
    truth = truth_of(corpus, corpus.splits(0).train, "emotion").numpy()
    balanced = compute_class_weight("balanced", classes=np.arange(4), y=truth)
    assert len(seen) == 3 and balanced.max() > 1.5 * balanced.min()
    for found, expected, task in seen:
        np.testing.assert_allclose(found.numpy(), balanced, rtol=1e-6)
        assert task == pytest.approx(expected)
    assert weights(tiny("bert", corpus, tmp_path, max_epochs=1)) != weights(run)
    assert not any("class_weights" in k for k in run.model.state_dict())


def test_a_class_that_the_training_part_lacks_cannot_be_weighed(small_corpus, tmp_path):
    lacking = uneven(small_corpus, drop="happy")
    with pytest.raises(DataError, match=r"no training utterance is happy.*leave class_weights off"):
        tiny("bert", lacking, tmp_path, class_weights=True)
    assert tiny("bert", lacking, tmp_path, max_epochs=1).result["config"]["classes"] == 4
