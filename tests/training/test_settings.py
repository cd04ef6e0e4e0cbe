"""Settings: the presets, and what is refused before anything is computed."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.models.muse import MuseConfig
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.fit import fit
from mmer_lib.training.settings import PRESETS, Settings, check_settings, typed
from tests.tiny import SENTIMENT, every, small_wav2vec, tiny

pytestmark = pytest.mark.usefixtures("keep_cache")


def preset(name, kind="fast", **changes):
    return replace(PRESETS[name][kind][1], **changes)


# --------------------------------------------------------------------------------- the presets


def test_the_presets_are_the_papers_where_they_are_called_so():
    muse, mimic = PRESETS["muse"]["paper"][1], PRESETS["mimic"]["paper"][1]
    assert (muse.task, muse.learning_rate, muse.batch_size) == ("emotion", 1e-5, 4)
    assert (muse.align, muse.embedding, muse.tune) == (0.1, 0.0, False)
    assert (mimic.task, mimic.batch_size, mimic.contrastive) == ("sentiment", 64, 0.1)
    both = PRESETS["muse-multigranular"]["paper"][1]
    assert both == replace(muse, tune=True, embedding=0.01)
    assert PRESETS["bert"]["paper"][1] == replace(muse, tune=True, align=0.0)
    assert all(presets["paper"][0] == {} for presets in PRESETS.values())


def test_every_model_has_both_presets_and_they_pass_their_own_check():
    assert set(PRESETS) == set(MODELS)
    for name, presets in PRESETS.items():
        assert set(presets) == {"paper", "fast"}
        for options, settings in presets.values():
            check_settings(settings, model_class(name))
            assert model_class(name).config_class(**options)
            assert typed(Settings, asdict(settings)) == asdict(settings)


# ------------------------------------------------------------------------------ kinds of values


def test_whole_numbers_become_floats_where_those_are_meant():
    made = typed(Settings, {"align": 1, "max_epochs": 3, "tune": True, "text": "bert"})
    assert made == {"align": 1.0, "max_epochs": 3, "tune": True, "text": "bert"}
    assert [type(v) for v in made.values()] == [float, int, bool, str]
    options = typed(MuseConfig, {"hop": 1, "kernels": [2, 3], "speech": None, "fusion": "word"})
    assert options == {"hop": 1.0, "kernels": [2, 3], "speech": None, "fusion": "word"}
    assert type(options["hop"]) is float and typed(Settings, {}) == {}


@pytest.mark.parametrize(
    ("cls", "name", "value", "kind"),
    [
        (Settings, "learning_rate", "1e-4", "float"),
        (Settings, "learning_rate", True, "float"),
        (Settings, "max_epochs", 2.0, "int"),
        (Settings, "max_epochs", True, "int"),
        (Settings, "batch_size", None, "int"),
        (Settings, "tune", 1, "bool"),
        (Settings, "class_weights", "True", "bool"),
        (Settings, "text", 50, "str"),
        (MuseConfig, "width", "64", "int"),
        (MuseConfig, "dropout", "none", "float"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(cls, name, value, kind):
    with pytest.raises(DataError, match=f"^{name} is {value!r}; a value of type {kind} is needed"):
        typed(cls, {name: value})


def test_a_field_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(DataError, match="Settings has no field 'lerning_rate'; known: task, learn"):
        typed(Settings, {"lerning_rate": 1.0})


# ---------------------------------------------------------------------------- what contradicts


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("muse", {"task": "age"}, "unknown task 'age'; known: emotion, sentiment"),
        ("mimic", {"task": "emotion"}, "monitor 'mae' is no score of task 'emotion'.*wa, ua, loss"),
        ("muse", {"task": "sentiment"}, "monitor 'wa' is no score of task 'sentiment'.*mae, corr"),
        ("muse", {"monitor": "wq"}, "monitor 'wq'"),
        ("muse", {"mode": "most"}, "mode 'most'; known: 'max', 'min'"),
        ("muse", {"frames": "album"}, "frames 'album'; known: 'utterance', 'speaker', 'train'"),
        ("muse", {"ideal": "straight"}, "ideal 'straight'; known: 'diagonal', 'forced'"),
        ("muse", {"text": "word2vec"}, "text 'word2vec': 'glove', 'bert', or a GloVe text file"),
        ("muse", {"text": "/nowhere/glove.txt"}, "text '/nowhere/glove.txt'"),
        ("muse", {"max_epochs": 0}, "max_epochs is 0; at least 1"),
        ("muse", {"batch_size": 0}, "batch_size is 0; at least 1"),
        ("muse", {"patience": -1}, "patience is -1; at least 1"),
        ("muse", {"align": -0.1}, "align is -0.1; at least 0"),
        ("muse-multigranular", {"embedding": -1.0}, "embedding is -1.0; at least 0"),
        ("mimic", {"contrastive": -1.0}, "contrastive is -1.0; at least 0"),
        ("bert", {"encoder_learning_rate": -1.0}, "encoder_learning_rate is -1.0; at least 0"),
        ("muse", {"contrastive": 0.1}, "contrastive is 0.1, but this model has no S; set it to 0"),
        ("muse", {"embedding": 0.1}, "embedding is 0.1, but .* one view .* set it to 0"),
        ("bert", {"embedding": 0.1}, "embedding is 0.1, but"),
        ("mimic", {"embedding": 0.1}, "embedding is 0.1, but"),
        ("mimic", {"class_weights": True}, "class_weights is for the task 'emotion'"),
    ],
)
def test_settings_that_contradict_are_refused_in_plain_words(name, changes, message):
    with pytest.raises(DataError, match=message):
        check_settings(preset(name, **changes), model_class(name))


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": -1.0},
        {"weight_decay": -0.1},
        {"warmup": -0.1},
        {"warmup": 1.5},
        {"clip": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused_by_name(changes):
    with pytest.raises(DataError, match=next(iter(changes))):
        check_settings(preset("muse", **changes), model_class("muse"))


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(DataError, match="temperature"):
        check_settings(preset("mimic", temperature=0.0), model_class("mimic"))


# ------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("muze", {"model_options": {}}, "unknown model 'muze'; known: muse, muse-multigranular"),
        ("muse", {"preset": "slow"}, "unknown preset 'slow'; known: paper, fast"),
        ("muse", {"model_options": {"depth": 3}}, "MuseConfig has no field 'depth'; known: words"),
        ("muse", {"model_options": {"classes": 2}}, "'classes' follows from the task"),
        ("muse", {"model_options": {"fusion": "sum"}}, "fusion 'sum'; known: highway"),
        ("muse", {"model_options": {"text_layers": -1}}, "text_layers is -1; at least 0"),
        ("mimic", {"lerning_rate": 1}, "lerning_rate"),
        ("mimic", {"fold": 5}, "fold 5 does not exist"),
        ("mimic", {"seed": -1}, "seed is -1"),
        ("mimic", {"device": "abacus"}, "unknown device 'abacus'"),
        ("mimic", {"device": "cuda:x"}, "unknown device 'cuda:x'"),
    ],
)
def test_unknown_names_are_refused_before_training(small_corpus, tmp_path, name, changes, message):
    with pytest.raises(DataError, match=message):
        fit(name, small_corpus, **{"out": tmp_path, "device": "cpu", "progress": False, **changes})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [{"width": 15}, {"prenet_kernel": 4}, {"stack": 0}, {"dropout": 3.0}, {"kernels": 3}],
)
def test_a_configuration_that_cannot_be_is_refused_in_plain_words(
    small_corpus, tmp_path, monkeypatch, options
):
    monkeypatch.setattr(training, "run_training", lambda *a: pytest.fail("trained"))
    with pytest.raises(DataError, match=next(iter(options))):
        tiny("muse", small_corpus, tmp_path, model_options=options)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("muse", {"tune": True}, "tune"),
        ("mimic", {"tune": True}, "tune"),
        ("bert", {"wav2vec": "."}, "wav2vec"),
        ("mimic", {"wav2vec": "."}, "wav2vec"),
    ],
)
def test_an_encoder_that_a_model_does_not_have_cannot_be_trained_along(
    small_corpus, tmp_path, name, changes, field
):
    with pytest.raises(DataError, match=field):
        tiny(name, small_corpus, tmp_path, **changes)


@pytest.mark.parametrize("setting", ["encoder", "wav2vec"])
@pytest.mark.parametrize("folder", ["nobody/no-such-model", "an empty one"])
def test_an_encoder_that_is_nowhere_is_refused(
    small_corpus, tmp_path, monkeypatch, setting, folder
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    folder = str(tmp_path / "empty") if folder == "an empty one" else folder
    changes = {setting: folder, "model_options": {"stack": 1}}
    with pytest.raises(DataError, match=f"^{folder}: transformers finds no"):
        tiny("muse-multigranular", small_corpus, tmp_path / "runs", **changes)
    assert not (tmp_path / "runs").exists()


def test_a_speech_encoder_reads_frames_one_by_one(small_corpus, tmp_path):
    folder = small_wav2vec(tmp_path / "wav2vec")
    with pytest.raises(DataError, match="stack is 8; with a speech encoder it must be 1"):
        tiny("muse", small_corpus, tmp_path / "runs", wav2vec=folder)
    assert not (tmp_path / "runs").exists()


@every
def test_a_missing_label_is_named_before_anything_is_computed(
    small_corpus, tmp_path, monkeypatch, name
):
    label = "sentiment" if name in SENTIMENT else "emotion"
    us = list(small_corpus.utterances)
    us[40] = replace(us[40], **{label: None})
    monkeypatch.setattr(training, "extract", lambda *a, **k: pytest.fail("computed"))
    with pytest.raises(DataError, match=f"'{us[40].id}' has no {label}"):
        tiny(name, replace(small_corpus, utterances=tuple(us)), tmp_path)


def test_a_corpus_without_what_a_model_reads_is_refused(tmp_path):
    us = tuple(
        Utterance(f"u{i}", f"p{i}", f"s{i}", "hello", waveform=lambda: np.ones(9000, "f4"),
                  rate=16000, words=(), sentiment=0.5, emotion="sad") for i in range(3)
    )  # fmt: skip
    with pytest.raises(DataError, match="'u0' has no vision"):
        tiny("mimic", Corpus("blind", "k", us), tmp_path)
    mute = tuple(replace(u, waveform=None) for u in us)
    with pytest.raises(DataError, match="'u0' has no waveform, which 'speech' needs"):
        tiny("muse", Corpus("mute", "k", mute), tmp_path)
    wordless = tuple(replace(u, text=None) for u in us)
    with pytest.raises(DataError, match="'u0' has no text, which 'cls' needs"):
        tiny("bert", Corpus("wordless", "k", wordless), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_asking_for_a_gpu_that_is_not_there_is_refused(small_corpus, tmp_path, device):
    with pytest.raises(DataError, match=f"device '{device}': torch sees 0 GPUs here"):
        tiny("mimic", small_corpus, tmp_path, device=device)
