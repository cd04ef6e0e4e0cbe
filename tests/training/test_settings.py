"""Settings: the presets, and what is refused before anything is computed."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.models.muse import MuseConfig
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.fit import plan
from mmer_lib.training.settings import PRESETS, Settings
from tests.tiny import SENTIMENT, every

pytestmark = pytest.mark.usefixtures("keep_cache")


@pytest.fixture(autouse=True)
def nothing_computed(monkeypatch):
    monkeypatch.setattr(training, "extract", lambda *a, **k: pytest.fail("computed"))


# --------------------------------------------------------------------------------- the presets


def test_the_presets_are_the_papers_where_they_are_called_so():
    muse, mimic = PRESETS["muse"]["paper"][1], PRESETS["mimic"]["paper"][1]
    assert (muse.learning_rate, muse.batch_size, muse.tune) == (1e-5, 4, False)
    assert (mimic.task, mimic.batch_size) == ("sentiment", 64)
    for name in ("muse-multigranular", "bert"):
        assert PRESETS[name]["paper"][1] == replace(muse, tune=True)
    assert PRESETS["muse"]["paper"][0] == PRESETS["mimic"]["paper"][0] == {}
    weights = {
        "muse": {"align": 0.1},
        "muse-multigranular": {"align": 0.1, "embedding": 0.01},
        "mimic": {"contrastive": 0.1},
    }
    for name, values in weights.items():
        assert values.items() <= asdict(model_class(name).config_class()).items()


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_has_both_presets_and_they_can_be_built(name):
    fields = model_class(name).config_class.__dataclass_fields__
    assert set(PRESETS[name]) == {"paper", "fast"}
    for options, settings in PRESETS[name].values():
        assert model_class(name).config_class(**options)
        assert isinstance(settings, Settings)
    # but `encoder`: the setting names it, and the configuration holds what follows from that
    assert set(fields) & set(Settings.__dataclass_fields__) <= {"encoder"}


# ------------------------------------------------------------------------------ kinds of values


def test_whole_numbers_become_floats_where_those_are_meant():
    settings = replace(PRESETS["muse"]["fast"][1], clip=1, max_epochs=3, tune=True)
    values = settings.clip, settings.max_epochs, settings.tune
    assert values == (1.0, 3, True) and [type(v) for v in values] == [float, int, bool]
    config = MuseConfig(align=1, kernels=[2, 3], speech=None, fusion="word")
    assert type(config.align) is float and config.kernels == (2, 3) and config.speech is None


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (Settings, "learning_rate", "1e-4"),
        (Settings, "learning_rate", True),
        (Settings, "max_epochs", 2.0),
        (Settings, "tune", 1),
        (Settings, "text", 50),
        (MuseConfig, "width", "64"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(cls, name, value):
    with pytest.raises(DataError, match=name):
        cls(**(asdict(PRESETS["muse"]["fast"][1]) if cls is Settings else {}) | {name: value})


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("muze", {}, "unknown model 'muze'; known: muse"),
        ("muse", {"preset": "slow"}, "unknown preset 'slow'; known: paper, fast"),
        ("mimic", {"fold": 5}, "fold 5 does not exist"),
        ("mimic", {"lerning_rate": 1}, "lerning_rate"),
        ("muse", {"model_options": {}}, "model_options"),
        ("muse", {"classes": 2}, "'classes' follows from the task"),
        ("muse", {"task": "age"}, "task 'age'; known: emotion, sentiment"),
        ("mimic", {"task": "emotion"}, "monitor 'mae' is no score of task 'emotion'.*wa, ua, loss"),
        ("muse", {"mode": "most"}, "mode 'most'"),
        ("muse", {"precision": "8-bit"}, "precision '8-bit'"),
        ("muse", {"text": "/nowhere/glove.txt"}, "/nowhere/glove.txt: no such file"),
        ("muse", {"max_epochs": 0}, "max_epochs is 0; at least 1"),
        ("muse", {"learning_rate": -1.0}, "learning_rate is -1"),
        ("muse", {"warmup": 1.5}, "warmup is 1.5"),
        ("mimic", {"class_weights": True}, "class_weights is for the task 'emotion'"),
        # of the configuration
        ("muse", {"ideal": "straight"}, "ideal 'straight'"),
        ("muse", {"contrastive": 0.1}, "muse has no option 'contrastive'"),
        ("misa", {"decoder": False}, "reconstruction|decoder"),
        ("muse", {"fusion": "sum"}, "fusion 'sum'"),
        ("muse", {"width": 15}, "width"),
        ("muse", {"dropout": 3.0}, "dropout"),
        ("muse", {"kernels": 3}, "kernels"),
        # encoders
        ("muse", {"tune": True}, "tune"),
        ("bert", {"wav2vec": "."}, "wav2vec"),
        ("ssl", {}, "Ssl hears speech through an encoder: name one.*as wav2vec"),
        ("ssl", {"wav2vec": ".", "listener": "untrained"}, "finds no|through an encoder"),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(small_corpus, tmp_path, name, changes, message):
    with pytest.raises(DataError, match=message):
        plan(name, small_corpus, out=tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_losses_that_belong_together_are_taken_together(small_corpus):
    assert plan("mimic", small_corpus, decoupling="orthogonal", difference=0.3).config.difference


def test_a_speech_encoder_reads_frames_one_by_one(small_corpus, wav2vec):
    with pytest.raises(DataError, match="stack is 8; with a speech encoder it must be 1"):
        plan("muse", small_corpus, wav2vec=wav2vec)


@every
def test_a_missing_label_is_named(small_corpus, wav2vec, name):
    label = "sentiment" if name in SENTIMENT else "emotion"
    us = list(small_corpus.utterances)
    us[40] = replace(us[40], **{label: None})
    listener = {"listener": wav2vec} if name == "ssl" else {}
    with pytest.raises(DataError, match=f"'{us[40].id}' has no {label}"):
        plan(name, replace(small_corpus, utterances=tuple(us)), **listener)


def test_a_corpus_without_what_a_model_reads_is_refused(monkeypatch):
    monkeypatch.undo()
    given = {"waveform": lambda: np.ones(9000, "f4"), "rate": 16000, "words": ()}
    given |= {"sentiment": 0.5, "emotion": "sad"}
    us = tuple(Utterance(f"u{i}", f"p{i}", f"s{i}", "hello", **given) for i in range(3))
    lacking = {
        "mimic": ({}, "'u0' has no vision"),
        "muse": ({"waveform": None}, "'u0' has no waveform, which 'speech' needs"),
        "bert": ({"text": None}, "'u0' has no text, which 'cls' needs"),
    }
    for name, (change, message) in lacking.items():
        corpus = Corpus("lacking", name, tuple(replace(u, **change) for u in us))
        with pytest.raises(DataError, match=message):
            training.build(plan(name, corpus), progress=False)
