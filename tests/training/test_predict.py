"""A trained model on a recording of one's own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import extract
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.multigranular import Bert, BertConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training.predict import predict, read_wav
from mmer_lib.training.runs import Run, open_run, save_run
from mmer_lib.training.settings import Settings
from tests.tiny import renamed, tiny

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

TEXT = "I think the wedding was wonderful!"
SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
SMALL = {"words": 50, "width": 16, "hidden": 32, "stack": 4, "filters": 4}


def muse(folder, options=None, **settings):
    """A run of MUSE with random weights."""
    torch.manual_seed(0)
    model = Muse(MuseConfig(**SMALL | (options or {}))).eval()
    return Run("muse", folder / "run", model, replace(SETTINGS, **settings), {"synthetic": True})


@pytest.fixture
def wav(tmp_path):
    """A second and a half in two channels."""
    rng, t = np.random.default_rng(0), np.arange(66150) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 180 * t)[:, None] * np.ones((1, 2))
    soundfile.write(tmp_path / "me.wav", tone + 0.02 * rng.standard_normal(tone.shape), 44100)
    return tmp_path / "me.wav"


@pytest.mark.parametrize("case", ["frames", "bert", "wav2vec"])
def test_probabilities_are_those_of_a_corpus_of_that_one_recording(
    tmp_path, own_cache, wav, bert, wav2vec, case
):
    """From a filterbank and a GloVe file, a text encoder, a speech encoder that is trained along;
    and nothing of it stays in the cache."""
    glove = tmp_path / "glove.txt"
    glove.write_text("i 1 2 3\nthink 4 5 6\nwedding 0.1 0.2 0.3\n", encoding="utf-8")
    speech = json.loads((Path(wav2vec) / "config.json").read_text())
    settings, parts = {"text": str(glove), "frames": "train"}, ["speech", "words", "phonemes"]
    if case == "bert":
        settings, parts = {"encoder": bert}, ["cls"]
        model = Bert(BertConfig(cls=12, projection=8))
    elif case == "wav2vec":
        settings["wav2vec"], parts[0] = wav2vec, "sound"
        model = Muse(MuseConfig(**{**SMALL, "words": 3, "stack": 1}, speech=speech))
    else:
        model = Muse(MuseConfig(**{**SMALL, "words": 3}))
        model.scalings()["frames"].fit(np.random.default_rng(0).normal(-5, 3, (99, 128)))
    run = Run(case, Path("nowhere"), model.eval(), replace(SETTINGS, **settings), {})
    probabilities = predict(run, str(wav), TEXT)
    assert probabilities.shape == (4,) and probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(probabilities - predict(run, wav, "my garden was dreadful")).max() > 1e-6
    assert not own_cache.exists()

    samples, rate = read_wav(wav)
    one = Utterance("me", "p", "s", TEXT, waveform=lambda: samples, rate=rate)
    corpus = Corpus("me", "k", (one,))
    features = extract(corpus, Glove(glove), parts, False, "none", BertWords(bert))
    with torch.inference_mode():
        logits = model(Examples(corpus, features, [0]).collate([0])).logits[0]
    np.testing.assert_allclose(probabilities, logits.softmax(-1).numpy(), atol=1e-5)


@pytest.mark.usefixtures("keep_cache")
def test_a_trained_run_has_a_probability_for_each_of_its_classes(small_corpus, tmp_path, bert, wav):
    run = tiny(
        "muse-multigranular", renamed(small_corpus), tmp_path, encoder=bert, tune=True, max_epochs=1
    )
    probabilities = predict(open_run(run.folder), wav, TEXT)
    assert run.result["emotions"] == ["rage", "joy", "rest"] and probabilities.shape == (3,)
    np.testing.assert_array_equal(probabilities, predict(str(run.folder), wav, TEXT))


@pytest.mark.parametrize("frames", ["utterance", "train"])
@pytest.mark.parametrize("samples", [np.full(1, 0.1), np.zeros(9000)], ids=["short", "silent"])
def test_odd_sounds_give_probabilities(tmp_path, samples, frames):
    soundfile.write(tmp_path / "odd.wav", samples, 16000)
    probabilities = predict(muse(tmp_path, frames=frames), tmp_path / "odd.wav", TEXT)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("options", "settings", "text", "message"),
    [
        ({"hop": 0.01}, {}, TEXT, "the model is for 128 bands every 10 ms"),
        ({}, {"task": "sentiment", "monitor": "mae"}, TEXT, "predicts a sentiment"),
        ({}, {"frames": "speaker"}, TEXT, "frames='train' or 'utterance'"),
        ({}, {"text": "/nowhere/glove.txt"}, TEXT, r"glove\.txt: no such file"),
        ({}, {}, "?! ...", "holds no words"),
    ],
)
def test_what_cannot_be_predicted_is_refused(tmp_path, wav, options, settings, text, message):
    with pytest.raises(DataError, match=message):
        predict(muse(tmp_path, options, **settings), wav, text)


def test_a_run_of_mimic_is_refused_before_the_file_is_read(tmp_path):
    model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    run = Run("mimic", tmp_path, model, Settings("sentiment", 1, 1, 1, 1, "mae", "min"), {})
    with pytest.raises(DataError, match=r"mimic needs vision.*takes a run of muse"):
        predict(run, tmp_path / "none.wav", TEXT)


def test_files_that_are_no_sound_or_no_run_are_refused(tmp_path, wav):
    run = muse(tmp_path)
    save_run(run)
    broken, letter = tmp_path / "broken.wav", tmp_path / "letter.wav"
    soundfile.write(broken, np.array([0.1, np.nan] * 999, "f4"), 16000, "FLOAT")
    letter.write_text("Dear aunt")
    for path, message in (
        (broken, r"broken\.wav: holds samples that are NaN"),
        (letter, r"letter\.wav"),
        (tmp_path / "none.wav", r"none\.wav: no such file"),
    ):
        with pytest.raises(DataError, match=message):
            predict(run.folder, path, TEXT)
    with pytest.raises(DataError, match=r"no config\.json; give the folder of a finished"):
        predict(tmp_path, wav, TEXT)
