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
from tests.tiny import renamed, small_bert, small_wav2vec, tiny

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

TEXT = "I think the wedding was wonderful!"


def muse(tmp_path, frames="utterance", task="emotion"):
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=50, width=16, hidden=32, stack=4, filters=4)).eval()
    settings = Settings(task, 1e-3, 4, 2, 1, "wa", "max", frames=frames)
    if frames == "train":
        rng = np.random.default_rng(0)
        model.scalings()["frames"].fit(rng.normal(-5, 3, (99, 128)).astype("f4"))
    return Run("muse", tmp_path / "run", model, settings, {"synthetic": True})


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a small BERT, 12 wide."""
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory):
    return small_wav2vec(tmp_path_factory.mktemp("wav2vec"))


def encoder_config(folder):
    return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))


def run_of(kind, bert, wav2vec, glove):
    """A run of a model with random weights, and the parts of `extract` that it reads."""
    torch.manual_seed(0)
    small = {"words": 50, "width": 16, "hidden": 32, "stack": 4, "filters": 4}
    settings, parts = {}, ["speech", "words", "phonemes"]
    if kind == "glove file":
        settings = {"text": str(glove)}
        model = Muse(MuseConfig(**{**small, "words": 3}))
    elif kind == "bert words":
        settings = {"text": "bert"}
        model = Muse(MuseConfig(**{**small, "words": 384}))
    elif kind == "phonemes alone":
        parts = ["speech", "phonemes"]
        model = Muse(MuseConfig(**small, fusion="phoneme"))
    elif kind == "cls":
        settings, parts = {"encoder": bert}, [*parts, "cls"]
        model = Multigranular(MultigranularConfig(**small, cls=12, projection=8))
    elif kind == "tuned":
        settings, parts = {"encoder": bert, "tune": True}, [*parts, "subwords"]
        config = encoder_config(bert)
        model = Multigranular(MultigranularConfig(**small, cls=12, projection=8, encoder=config))
    elif kind == "bert":
        settings, parts = {"encoder": bert}, ["cls"]
        model = Bert(BertConfig(cls=12, projection=8))
    else:
        settings, parts = {"wav2vec": wav2vec}, ["sound", "words", "phonemes"]
        model = Muse(MuseConfig(**{**small, "stack": 1}, speech=encoder_config(wav2vec)))
    settings = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max", **settings)
    return Run(kind, Path("nowhere"), model.eval(), settings, {"synthetic": True}), parts


def sound(rate, channels, seconds=1.5):
    rng = np.random.default_rng(rate + channels)
    t = np.arange(int(rate * seconds)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 180 * t)[:, None] * np.ones((1, channels))
    return (tone + 0.02 * rng.standard_normal((len(t), channels))).astype("f4")


@pytest.fixture(params=[(8000, 2), (16000, 1), (44100, 2)])
def wav(request, tmp_path):
    rate, channels = request.param
    path = tmp_path / "me.wav"
    soundfile.write(path, sound(rate, channels), rate)
    return path


@pytest.mark.parametrize("frames", ["utterance", "train"])
def test_probabilities_are_those_of_a_direct_forward(tmp_path, wav, frames):
    run = muse(tmp_path, frames)
    probabilities = predict(run, str(wav), TEXT)
    assert probabilities.shape == (4,) and (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)

    samples, rate = soundfile.read(wav, dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(1)
    one = Utterance("me", "p", "s", TEXT, waveform=lambda: mono, rate=rate)
    corpus = Corpus("me", f"{rate}-{wav.stat().st_size}", (one,))
    normalisation = "none" if frames == "train" else "utterance"
    features = extract(corpus, parts=("speech", "words", "phonemes"), progress=False,
                       normalisation=normalisation)  # fmt: skip
    with torch.inference_mode():
        logits = run.model(Examples(corpus, features, [0]).collate([0])).logits[0]
    np.testing.assert_allclose(probabilities, logits.softmax(-1).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "kind",
    ["cls", "tuned", "bert", "wav2vec", "glove file", "bert words", "phonemes alone"],
)
def test_every_model_of_speech_and_text_reads_what_it_was_trained_on(tmp_path, bert, wav2vec, kind):
    """As from a corpus of that one recording."""
    path, glove = tmp_path / "me.wav", tmp_path / "glove.txt"
    glove.write_text("i 1 2 3\nthink 4 5 6\nwedding 0.1 0.2 0.3\n", encoding="utf-8")
    soundfile.write(path, sound(44100, 2), 44100)
    run, parts = run_of(kind, bert, wav2vec, glove)
    probabilities = predict(run, path, TEXT)
    assert probabilities.shape == (4,) and probabilities.sum() == pytest.approx(1, abs=1e-6)

    samples, rate = read_wav(path)
    one = Utterance("me", "p", "s", TEXT, waveform=lambda: samples, rate=rate)
    corpus, vectors = Corpus("me", "k", (one,)), run.settings.text
    features = extract(corpus, vectors if vectors in ("glove", "bert") else Glove(vectors), parts,
                       progress=False, encoder=BertWords(bert))  # fmt: skip
    batch = Examples(corpus, features, [0]).collate([0])
    with torch.inference_mode():
        logits = run.model(batch).logits[0]
    np.testing.assert_allclose(probabilities, logits.softmax(-1).numpy(), atol=1e-5)
    assert np.abs(probabilities - predict(run, path, "my garden was dreadful")).max() > 1e-6


def test_a_batch_holds_what_is_needed_and_nothing_else():
    settings = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")
    needs = ("words", "known", "word_mask", "sound", "sound_mask")
    batch = batch_of(sound(8000, 1), 8000, TEXT, settings, needs)
    there = [one.name for one in fields(batch) if getattr(batch, one.name) is not None]
    assert there == ["index", "words", "known", "word_mask", "sound", "sound_mask", "word_times"]
    assert len(batch) == 1 and batch.words.shape == (1, 6, 50) and batch.known.all()
    assert batch.sound.shape == (1, 24000) and batch.word_times.isnan().all()


@pytest.mark.usefixtures("keep_cache")
@pytest.mark.parametrize("tune", [False, True])
def test_a_trained_run_names_the_classes_of_its_probabilities(small_corpus, tmp_path, bert, tune):
    run = tiny("muse-multigranular", renamed(small_corpus), tmp_path, encoder=bert, tune=tune,
               max_epochs=1)  # fmt: skip
    path = tmp_path / "me.wav"
    soundfile.write(path, sound(16000, 1), 16000)
    probabilities = predict(open_run(run.folder), path, TEXT)
    assert run.result["emotions"] == ["rage", "joy", "rest"] and probabilities.shape == (3,)
    np.testing.assert_array_equal(probabilities, predict(run, path, TEXT))


@pytest.mark.parametrize("option", [{"bands": 40}, {"hop": 0.01}, {"window": 0.02}])
def test_a_run_on_another_filterbank_is_refused(tmp_path, wav, option):
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=50, width=16, hidden=32, filters=4, **option)).eval()
    run = replace(muse(tmp_path), model=model)
    with pytest.raises(DataError, match="filterbank of its own"):
        predict(run, wav, TEXT)


def test_a_glove_file_that_is_gone_is_named(tmp_path, wav, bert, wav2vec):
    glove = tmp_path / "glove.txt"
    glove.write_text("i 1 2 3\n", encoding="utf-8")
    run, _ = run_of("glove file", bert, wav2vec, glove)
    glove.unlink()
    with pytest.raises(DataError, match=r"glove\.txt: no such file"):
        predict(run, wav, TEXT)


def test_sound_and_text_both_matter(tmp_path, wav):
    run, other = muse(tmp_path), tmp_path / "other.wav"
    soundfile.write(other, np.flip(sound(16000, 1)) ** 3, 16000)
    first = predict(run, wav, TEXT)
    np.testing.assert_array_equal(first, predict(run, wav, TEXT))
    assert np.abs(first - predict(run, wav, "my garden was dreadful")).max() > 1e-6
    assert np.abs(first - predict(run, other, TEXT)).max() > 1e-6


def test_case_and_punctuation_are_no_matter(tmp_path, wav):
    run = muse(tmp_path)
    plain = "i think the wedding was wonderful !"
    np.testing.assert_allclose(predict(run, wav, TEXT), predict(run, wav, plain), atol=1e-6)


@pytest.mark.parametrize(
    "text",
    ["great 😀 👍🏽", "42 of 1,000", "привет, 你好", "zzqx mmerly", "the dogs slept " * 3334],
    ids=["emoji", "digits", "scripts", "unknown", "10,000 words"],
)
def test_odd_texts_give_probabilities(tmp_path, text):
    path = tmp_path / "me.wav"
    soundfile.write(path, sound(16000, 1), 16000)
    assert predict(muse(tmp_path), path, text).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "\n", "😀 👍🏽", "... ?!"])
def test_an_empty_text_is_refused(tmp_path, wav, text):
    with pytest.raises(DataError, match="holds no words; give what is said"):
        predict(muse(tmp_path), wav, text)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.wav: no such file"):
        predict(muse(tmp_path), tmp_path / "none.wav", TEXT)
    with pytest.raises(DataError, match=f"{tmp_path}: a folder, not a sound file"):
        predict(muse(tmp_path), tmp_path, TEXT)


def test_a_letter_called_wav_is_refused_by_name(tmp_path):
    path = tmp_path / "letter.wav"
    path.write_text("Dear aunt, this is no sound.", encoding="utf-8")
    with pytest.raises(DataError, match=r"letter\.wav: not readable as sound.*convert it to wav"):
        predict(muse(tmp_path), path, TEXT)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_without_samples_is_refused(tmp_path, channels):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros((0, channels), "f4"), 16000)
    with pytest.raises(DataError, match=r"empty\.wav: empty \(no samples\)"):
        predict(muse(tmp_path), path, TEXT)


def test_a_wav_with_nan_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.wav"
    soundfile.write(path, np.array([0.1, np.nan] * 999, "f4"), 16000, "FLOAT")
    with pytest.raises(DataError, match=r"broken\.wav: holds samples that are NaN"):
        predict(muse(tmp_path), path, TEXT)


def test_a_run_may_be_named_by_its_folder(tmp_path, wav):
    run = muse(tmp_path)
    save_run(run)
    for folder in (run.folder, str(run.folder)):
        np.testing.assert_array_equal(predict(folder, wav, TEXT), predict(run, wav, TEXT))
    with pytest.raises(DataError, match=r"no config\.json; give the folder of a finished"):
        predict(tmp_path, wav, TEXT)


@pytest.mark.parametrize("frames", ["utterance", "train"])
@pytest.mark.parametrize(
    "samples",
    [np.full(1, 0.1), np.full(40, 0.1), np.zeros(9000), np.sign(sound(16000, 1))],
    ids=["one sample", "short", "silent", "clipped"],
)
def test_odd_sounds_give_probabilities(tmp_path, samples, frames):
    path = tmp_path / "odd.wav"
    soundfile.write(path, samples, 16000)
    probabilities = predict(muse(tmp_path, frames), path, TEXT)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_a_run_of_mimic_is_refused_before_the_file_is_read(tmp_path):
    model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    run = Run("mimic", tmp_path, model, Settings("sentiment", 1, 1, 1, 1, "mae", "min"), {})
    with pytest.raises(DataError, match=r"mimic needs text, audio, vision.*takes a run of muse"):
        predict(run, tmp_path / "none.wav", TEXT)


def test_a_muse_that_predicts_sentiment_is_refused(tmp_path, wav):
    with pytest.raises(DataError, match="predicts sentiment"):
        predict(muse(tmp_path, task="sentiment"), wav, TEXT)


def test_frames_normalised_by_speaker_are_refused_with_the_remedy(tmp_path, wav):
    with pytest.raises(DataError, match="frames='train' or 'utterance'"):
        predict(muse(tmp_path, frames="speaker"), wav, TEXT)


def test_read_wav_gives_floats_within_one(wav):
    samples, rate = read_wav(wav)
    assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    assert rate in (8000, 16000, 44100) and len(samples) == int(1.5 * rate)
