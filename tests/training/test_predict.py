"""A trained model on a recording of one's own."""

import json
from dataclasses import fields, replace
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
from mmer_lib.models.multigranular import Bert, BertConfig, Multigranular, MultigranularConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training.predict import batch_of, predict, read_wav
from mmer_lib.training.runs import Run, open_run, save_run
from mmer_lib.training.settings import Settings
from tests.tiny import renamed, tiny

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

TEXT = "I think the wedding was wonderful!"
SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
SMALL = {"words": 50, "width": 16, "hidden": 32, "stack": 4, "filters": 4}


def muse(folder, options=None, **settings):
    """A run of MUSE with random weights and fitted scales."""
    torch.manual_seed(0)
    model = Muse(MuseConfig(**SMALL | (options or {}))).eval()
    if settings.get("frames") == "train":
        rng = np.random.default_rng(0)
        model.scalings()["frames"].fit(rng.normal(-5, 3, (99, 128)).astype("f4"))
    return Run("muse", folder / "run", model, replace(SETTINGS, **settings), {"synthetic": True})


def sound(rate, channels, seconds=1.5):
    rng = np.random.default_rng(rate + channels)
    t = np.arange(int(rate * seconds)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 180 * t)[:, None] * np.ones((1, channels))
    return (tone + 0.02 * rng.standard_normal((len(t), channels))).astype("f4")


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "me.wav", sound(44100, 2), 44100)
    return tmp_path / "me.wav"


def cases(bert, wav2vec, glove):
    """By name: model, settings, parts of `extract` that it reads."""
    speech = ("speech", "words", "phonemes")
    small = {**SMALL, "cls": 12, "projection": 8}
    of_bert, of_wav2vec = (
        json.loads((Path(folder) / "config.json").read_text()) for folder in (bert, wav2vec)
    )
    encoder = {"encoder": bert}
    return {
        "plain": (Muse, MuseConfig(**SMALL), {}, speech),
        "train": (Muse, MuseConfig(**SMALL), {"frames": "train"}, speech),
        "glove file": (Muse, MuseConfig(**{**SMALL, "words": 3}), {"text": str(glove)}, speech),
        "bert words": (Muse, MuseConfig(**{**SMALL, "words": 384}), {"text": "bert"}, speech),
        "phonemes": (Muse, MuseConfig(**SMALL, fusion="phoneme"), {}, ("speech", "phonemes")),
        "cls": (Multigranular, MultigranularConfig(**small), encoder, (*speech, "cls")),
        "tuned": (
            Multigranular,
            MultigranularConfig(**small, encoder=of_bert),
            {**encoder, "tune": True},
            (*speech, "subwords"),
        ),
        "bert": (Bert, BertConfig(cls=12, projection=8), encoder, ("cls",)),
        "wav2vec": (
            Muse,
            MuseConfig(**{**SMALL, "stack": 1}, speech=of_wav2vec),
            {"wav2vec": wav2vec},
            ("sound", "words", "phonemes"),
        ),
    }


CASES = (
    "plain",
    "train",
    "glove file",
    "bert words",
    "phonemes",
    "cls",
    "tuned",
    "bert",
    "wav2vec",
)


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_those_of_a_corpus_of_that_one_recording(
    tmp_path, wav, bert, wav2vec, case
):
    """For every model of speech and text, from what it was trained on."""
    glove = tmp_path / "glove.txt"
    glove.write_text("i 1 2 3\nthink 4 5 6\nwedding 0.1 0.2 0.3\n", encoding="utf-8")
    cls, config, settings, parts = cases(bert, wav2vec, glove)[case]
    torch.manual_seed(0)
    model = cls(config).eval()
    if case == "train":
        model.scalings()["frames"].fit(np.random.default_rng(0).normal(-5, 3, (99, 128)))
    run = Run(case, Path("nowhere"), model, replace(SETTINGS, **settings), {})
    probabilities = predict(run, str(wav), TEXT)
    assert probabilities.shape == (4,) and probabilities.sum() == pytest.approx(1, abs=1e-6)

    samples, rate = read_wav(wav)
    one = Utterance("me", "p", "s", TEXT, waveform=lambda: samples, rate=rate)
    corpus, text = Corpus("me", "k", (one,)), run.settings.text
    vectors = text if text in ("glove", "bert") else Glove(text)
    scale = "none" if case == "train" else "utterance"
    features = extract(corpus, vectors, parts, False, scale, BertWords(bert))
    with torch.inference_mode():
        logits = model(Examples(corpus, features, [0]).collate([0])).logits[0]
    np.testing.assert_allclose(probabilities, logits.softmax(-1).numpy(), atol=1e-5)
    assert np.abs(probabilities - predict(run, wav, "my garden was dreadful")).max() > 1e-6


def test_a_batch_holds_what_is_needed_and_nothing_else():
    needs = ("words", "known", "word_mask", "sound", "sound_mask")
    batch = batch_of(sound(8000, 1), 8000, TEXT, SETTINGS, needs)
    there = [one.name for one in fields(batch) if getattr(batch, one.name) is not None]
    assert there == ["index", "words", "known", "word_mask", "sound", "sound_mask", "word_times"]
    assert len(batch) == 1 and batch.words.shape == (1, 6, 50) and batch.known.all()
    assert batch.sound.shape == (1, 24000) and batch.word_times.isnan().all()


@pytest.mark.usefixtures("keep_cache")
def test_a_trained_run_has_a_probability_for_each_of_its_classes(small_corpus, tmp_path, bert, wav):
    run = tiny(
        "muse-multigranular", renamed(small_corpus), tmp_path, encoder=bert, tune=True, max_epochs=1
    )
    probabilities = predict(open_run(run.folder), wav, TEXT)
    assert run.result["emotions"] == ["rage", "joy", "rest"] and probabilities.shape == (3,)
    np.testing.assert_array_equal(probabilities, predict(str(run.folder), wav, TEXT))


@pytest.mark.parametrize("rate, channels", [(8000, 2), (16000, 1), (44100, 2)])
def test_any_rate_and_any_number_of_channels_will_do(tmp_path, rate, channels):
    path = tmp_path / "me.wav"
    soundfile.write(path, sound(rate, channels), rate)
    samples, found = read_wav(path)
    assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    assert found == rate and len(samples) == int(1.5 * rate)
    assert predict(muse(tmp_path), path, TEXT).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("frames", ["utterance", "train"])
@pytest.mark.parametrize(
    "samples",
    [np.full(1, 0.1), np.full(40, 0.1), np.zeros(9000), np.sign(sound(16000, 1))],
    ids=["one sample", "short", "silent", "clipped"],
)
def test_odd_sounds_give_probabilities(tmp_path, samples, frames):
    path = tmp_path / "odd.wav"
    soundfile.write(path, samples, 16000)
    probabilities = predict(muse(tmp_path, frames=frames), path, TEXT)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


# ------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("options", "settings", "text", "message"),
    [
        ({"bands": 40}, {}, TEXT, "filterbank of its own"),
        ({"hop": 0.01}, {}, TEXT, "filterbank of its own"),
        ({}, {"task": "sentiment"}, TEXT, "predicts sentiment"),
        ({}, {"frames": "speaker"}, TEXT, "frames='train' or 'utterance'"),
        ({}, {"text": "/nowhere/glove.txt"}, TEXT, r"glove\.txt: no such file"),
        ({}, {}, "", "holds no words"),
        ({}, {}, "?! ...", "holds no words"),
    ],
)
def test_what_cannot_be_predicted_is_refused(tmp_path, wav, options, settings, text, message):
    with pytest.raises(DataError, match=message):
        predict(muse(tmp_path, options, **settings), wav, text)


def test_a_run_of_mimic_is_refused_before_the_file_is_read(tmp_path):
    model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    run = Run("mimic", tmp_path, model, Settings("sentiment", 1, 1, 1, 1, "mae", "min"), {})
    with pytest.raises(DataError, match=r"mimic needs text, audio, vision.*takes a run of muse"):
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
