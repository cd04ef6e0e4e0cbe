"""`fit` and its five steps: what decides a run, what a training sees, and what it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from mmer_lib.data import DataError, Split
from mmer_lib.training import fit as training
from mmer_lib.training.fit import build, evaluate, examples_for, plan, save, train
from mmer_lib.training.metrics import scores_of
from mmer_lib.training.runs import open_run, truth_of
from tests.tiny import (
    SENTIMENT,
    changes_for,
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

KINDS = ("muse-multigranular", "mimic", "linear")
"""An emotion and a sentiment, by steps; a closed form."""


def accuracy(run, corpus, rows):
    rows, logits = run.predict(examples_for(run, corpus, rows))
    return scores_of("emotion", logits, truth_of(corpus, rows, "emotion"))


# ------------------------------------------------------------------------ steps and repetition


@pytest.mark.parametrize("name", KINDS)
def test_the_steps_one_by_one_give_the_run_of_fit(trained, small_corpus, tmp_path, name):
    """Bit for bit, in another folder, whatever the caller's generator has drawn before."""
    torch.rand(3)
    planned = plan(name, small_corpus, out=tmp_path, **changes_for(name))
    assert not planned.finished and not planned.folder.exists()
    built = build(planned, progress=False)
    watch = [built.trace] if built.trace else []
    result = train(
        built.model, built.parts, planned.settings, device="cpu", progress=False, watch=watch
    )
    run = evaluate(planned, built, result)
    save(run)
    first = trained[name]
    assert planned.finished and planned.folder.name == first.folder.name
    assert weights(run) == weights(first) == weights(open_run(planned.folder))
    for key in ("key", "history", "test", "dev", "config", "settings", "sizes", "measures"):
        np.testing.assert_equal(run.result[key], first.result[key])
    assert run.result.get("trace") == first.result.get("trace")


def test_the_second_time_it_is_loaded(trained, small_corpus, monkeypatch):
    first = trained["mimic"]
    monkeypatch.setattr(training, "extract", lambda *a, **k: pytest.fail("extracted"))
    again = tiny("mimic", small_corpus, first.folder.parent)
    assert again.folder == first.folder and weights(again) == weights(first)
    assert again.result == open_run(first.folder).result


def test_a_plan_names_its_run_before_anything_is_computed(small_corpus, own_cache, monkeypatch):
    monkeypatch.setenv("MMER_CACHE", str(own_cache))
    planned = plan("mimic", small_corpus)
    assert planned.folder.parent == own_cache / "runs" and planned.key[:8] in planned.folder.name
    assert planned.config.classes == 1 and not planned.finished and not own_cache.exists()


CHOICES = [
    ("mimic", {"fold": 1}),
    ("mimic", {"seed": 1}),
    ("mimic", {"preset": "paper"}),
    ("mimic", {"learning_rate": 0.5}),
    ("mimic", {"contrastive": 0.2}),
    ("mimic", {"units": 4}),
    ("muse-multigranular", {"class_weights": True}),
    ("muse-multigranular", {"text": "bert"}),
    ("muse-multigranular", {"encoder": "bert"}),
    ("muse-multigranular", {"encoder": "bert", "tune": True}),
    ("muse", {"wav2vec": "wav2vec", "stack": 1}),
    ("muse", {"listener": "wav2vec"}),
]


def test_every_choice_has_a_run_of_its_own_and_the_same_choice_the_same(
    small_corpus, bert, wav2vec
):
    folders = {"bert": bert, "wav2vec": wav2vec}
    keys = [plan(name, small_corpus).key for name in ("mimic", "muse-multigranular", "muse")]
    for name, change in CHOICES:
        change = {k: folders.get(v, v) if k != "text" else v for k, v in change.items()}
        keys.append(plan(name, small_corpus, **change).key)
        assert keys[-1] == plan(name, small_corpus, **change).key
    keys.append(plan("mimic", replace(small_corpus, key="other")).key)
    assert len(set(keys)) == len(keys) == len(CHOICES) + 4
    assert plan("mimic", small_corpus, learning_rate=2e-3).key == keys[0]  # as the preset has it


@pytest.mark.parametrize("kind", ["encoder", "wav2vec", "listener"])
def test_other_weights_in_the_folder_of_an_encoder_are_another_run(small_corpus, tmp_path, kind):
    make, name = (small_bert, "bert") if kind == "encoder" else (small_wav2vec, "ssl")
    keys = set()
    for seed in (0, 1):
        folder = make(tmp_path / "encoder", seed)
        keys.add(plan(name, small_corpus, **{kind: folder}).key)
    assert len(keys) == 2


# ------------------------------------------------------------------------- nothing leaks


def test_training_along_with_encoders_never_sees_the_test_part(
    small_corpus, monkeypatch, tmp_path, bert, wav2vec
):
    """With class weights, too, which are counted on the training part."""
    options = {"encoder": bert, "tune": True, "wav2vec": wav2vec, "stack": 1, "max_epochs": 1}
    options["class_weights"] = True
    first = tiny("muse-multigranular", small_corpus, tmp_path / "a", **options)
    test, original = small_corpus.splits(0).test, training.extract
    monkeypatch.setattr(training, "extract", lambda *a, **k: spoilt(original(*a, **k), test))
    other = tiny("muse-multigranular", relabelled(small_corpus, test), tmp_path / "b", **options)
    assert weights(other) == weights(first) and other.result["dev"] == first.result["dev"]
    monkeypatch.undo()


def test_the_training_part_and_the_seed_decide_the_weights(trained, small_corpus, tmp_path):
    changed = relabelled(small_corpus, small_corpus.splits(0).train[:5])
    others = tiny("mimic", changed, tmp_path), tiny("mimic", small_corpus, tmp_path, seed=1)
    assert len({str(weights(run)) for run in (trained["mimic"], *others)}) == 3


@pytest.mark.parametrize(("monitor", "mode", "best"), [("ua", "max", max), ("loss", "min", min)])
def test_the_monitor_chooses_the_epoch(small_corpus, tmp_path, monitor, mode, best):
    run = tiny("bert", small_corpus, tmp_path, monitor=monitor, mode=mode, max_epochs=4)
    history = run.result["history"]
    values = [h[monitor] for h in history]
    assert run.result["best_epoch"] == values.index(best(values))
    chosen = history[run.result["best_epoch"]]
    assert run.result["dev"] == {"wa": chosen["wa"], "ua": chosen["ua"]}


# --------------------------------------------------------------------------------- learning


def test_a_short_training_reads_what_faces_show(small_corpus, tmp_path):
    """With that as the label, mean recall beats chance (a quarter) by a quarter at least."""
    shown = with_utterances(
        small_corpus, lambda i, u: replace(u, emotion=u.planted.shows["vision"]), small_corpus.key
    )
    task = {"task": "emotion", "monitor": "wa", "mode": "max", "precision": "bf16-mixed"}
    how = {"max_epochs": 20, "learning_rate": 5e-3, "batch_size": 16, "contrastive": 0.0}
    run = tiny("mimic", shown, tmp_path, units=32, bottleneck=16, **task, **how)
    assert run.result["config"]["classes"] == 4
    assert run.result["test"]["ua"] > 0.25 + 0.25
    assert all(v.dtype == torch.float32 for v in run.model.state_dict().values())


def test_a_short_training_learns_what_it_was_shown(small_corpus, tmp_path):
    """On its own training part it beats chance (a quarter) by three tenths."""
    how = {"max_epochs": 20, "learning_rate": 5e-3, "monitor": "loss", "mode": "min"}
    run = tiny("muse", small_corpus, tmp_path, patience=20, batch_size=16, **how)
    assert accuracy(run, small_corpus, small_corpus.splits(0).train)["wa"] > 0.25 + 0.3


# -------------------------------------------------------------------------- corpora of one's own


@pytest.mark.parametrize("name", ["muse", "mimic", "linear"])
def test_a_corpus_decides_its_classes(small_corpus, tmp_path, name):
    corpus = renamed(small_corpus)
    task = {"task": "emotion", "monitor": "wa", "mode": "max"} if name in SENTIMENT else {}
    run = tiny(name, corpus, tmp_path, max_epochs=1, **task)
    test = corpus.splits(0).test
    assert run.predict(examples_for(run, corpus, test))[1].shape == (32, 3)
    assert run.result["emotions"] == ["rage", "joy", "rest"]
    assert accuracy(run, corpus, test)["wa"] == pytest.approx(run.result["test"]["wa"])


@pytest.mark.filterwarnings("error:Using a target size")
def test_a_model_of_emotions_can_be_asked_for_a_sentiment(small_corpus, tmp_path):
    run = tiny("bert", small_corpus, tmp_path, task="sentiment", monitor="mae", mode="min")
    _, logits = run.predict(examples_for(run, small_corpus, range(5)))
    assert logits.shape == (5,) and "mae" in run.result["test"]
    assert run.result["config"]["classes"] == 1


def test_a_corpus_with_a_split_of_its_own_is_trained_on_that(small_corpus, tmp_path):
    """Two speakers in the parts are no matter to a split that a corpus brings."""
    fixed = Split(list(range(0, 160, 2)), list(range(1, 160, 4)), list(range(3, 160, 4)))
    corpus = replace(small_corpus, fixed=fixed, key="fixed")
    run = tiny("bert", corpus, tmp_path, max_epochs=1)
    assert run.result["sizes"] == {"train": 80, "dev": 40, "test": 40}
    with pytest.raises(DataError, match="fold 1 does not exist"):
        plan("bert", corpus, fold=1)


@pytest.mark.parametrize("frames", ["train", "utterance"])
def test_a_corpus_with_filterbanks_of_its_own_decides_their_width(small_corpus, tmp_path, frames):
    """Without any sound; those that come normalised are not scaled again."""
    corpus = with_utterances(
        with_frames(small_corpus, bands=7), lambda i, u: replace(u, waveform=None, rate=None)
    )
    how = {"hop": 0.01, "window": 0.025, "frames": frames, "max_epochs": 1}
    run = tiny("muse", corpus, tmp_path, **how)
    assert run.model.config.bands == run.result["config"]["bands"] == 7
    assert run.predict(examples_for(run, corpus, corpus.splits(0).test))[1].shape == (32, 4)
    layer = run.model.scalings()["frames"]
    assert layer.mean.ne(0).all().item() is (frames == "train")
    assert weights(open_run(run.folder)) == weights(run)


# ------------------------------------------------------------------------------- class weights


def test_class_weights_are_sklearns_balanced_ones_and_enter_the_loss(small_corpus):
    """Every second angry utterance is called sad."""
    corpus = with_utterances(
        small_corpus,
        lambda i, u: replace(u, emotion="sad") if u.emotion == "angry" and i % 2 else u,
        "uneven",
    )
    built = build(plan("bert", corpus, class_weights=True, dropout=0.0), progress=False)
    truth = truth_of(corpus, corpus.splits(0).train, "emotion").numpy()
    balanced = compute_class_weight("balanced", classes=np.arange(4), y=truth)
    assert balanced.max() > 1.5 * balanced.min()
    np.testing.assert_allclose(built.model.class_weights.numpy(), balanced, rtol=1e-6)
    batch = built.parts[0].collate(built.parts[0].rows)
    output = built.model(batch)
    expected = F.cross_entropy(output.logits, batch.emotion, torch.tensor(balanced).float())
    assert built.model.losses(batch, output)["task"].item() == pytest.approx(expected.item())
    assert not any("class_weights" in name for name in built.model.state_dict())
