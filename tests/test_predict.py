import numpy as np
import pytest
import soundfile
import torch

from mmer_lib.batch import Examples
from mmer_lib.corpora import Corpus, DataError, Utterance
from mmer_lib.features import extract
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.predict import predict, read_wav
from mmer_lib.runs import Run, Settings

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


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused(tmp_path, wav, text):
    with pytest.raises(DataError, match="holds no words; give what is said"):
        predict(muse(tmp_path), wav, text)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.wav: no such file"):
        predict(muse(tmp_path), tmp_path / "none.wav", TEXT)
    with pytest.raises(DataError, match="no such file"):
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
    with pytest.raises(DataError, match=r"empty|short"):
        predict(muse(tmp_path), path, TEXT)


def test_a_very_short_and_a_silent_wav_give_probabilities_or_a_reason(tmp_path):
    for name, samples in (("short", np.full(40, 0.1, "f4")), ("silent", np.zeros(9000, "f4"))):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, 16000)
        try:
            assert predict(muse(tmp_path), path, TEXT).sum() == pytest.approx(1, abs=1e-6)
        except DataError as error:
            assert str(error)


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
