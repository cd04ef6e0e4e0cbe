"""Resemblyzer's voice encoder: its forward pass, and what it hears."""

import sys
from importlib import metadata

import numpy as np
import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.features import voice
from mmer_lib.features.speech import average_by_word, prepare
from mmer_lib.features.states import UNTRAINED, SpeechStates
from tests.test_setup import lock
from tests.tiny import tiny


@pytest.fixture(scope="module")
def listener():
    return SpeechStates("resemblyzer")


def naive_mel(x):
    """Power in mel bands from the definition (Slaney's scale: linear below 1 kHz, 27 steps to
    a factor of 6.4 above; each triangle of area 1), frames centred, in float64."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    dft = np.exp(-2j * np.pi / 400 * np.outer(np.arange(400), np.arange(201)))
    padded = np.pad(x.astype(np.float64), 200)
    rows = [
        np.abs((padded[160 * i : 160 * i + 400] * hann) @ dft) ** 2
        for i in range(1 + len(x) // 160)
    ]
    most = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, most, 42)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    hz, bands = np.arange(201) * 40.0, []
    for a, b, c in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.minimum((hz - a) / (b - a), (c - hz) / (c - b))
        bands.append(np.maximum(0, triangle) * 2 / (c - a))
    return np.array(rows) @ np.array(bands).T


def naive_lstm(x, weights, layer):
    """One layer, frame after frame: (T, D) -> (T, H)."""
    inner, outer, a, b = (
        weights[f"{kind}_l{layer}"].double().numpy()
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    h = c = np.zeros(outer.shape[1])
    states = []
    for frame in x:
        i, f, g, o = np.split(inner @ frame + a + outer @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("level", [0.3, 0.001])
def test_the_states_agree_with_a_loop_over_frames_of_the_packages_weights(listener, level):
    x = (level * np.random.default_rng(0).standard_normal(5000)).astype("f4")
    path = metadata.distribution("resemblyzer").locate_file("resemblyzer/pretrained.pt")
    held = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    weights = {name.removeprefix("lstm."): w for name, w in held.items()}
    expected = naive_mel(x * max(1, 10**-1.5 / np.sqrt(np.mean(x.astype("f8") ** 2))))
    for layer in range(3):
        expected = naive_lstm(expected, weights, layer)
    states, times = listener(x)
    assert states.dtype == np.float32 and states.shape == (32, 256)
    np.testing.assert_allclose(states, expected, atol=1e-4)
    np.testing.assert_allclose(times, np.arange(32) * 0.01)


def test_its_mel_spectrogram_agrees_with_the_definition():
    t = np.arange(4000) / 16000
    x = (0.3 * np.sin(2 * np.pi * (200 + 6000 * t) * t)).astype("f4")
    expected = naive_mel(x)
    np.testing.assert_allclose(voice.mel_spectrogram(x), expected, atol=1e-5 * expected.max())


def test_short_and_silent_sounds_have_states(listener):
    for x in (np.ones(1, "f4"), np.zeros(400, "f4"), np.zeros(16000, "f4")):
        states, times = listener(x)
        assert len(states) == len(times) == 1 + len(x) // 160 and np.isfinite(states).all()


def test_only_tensors_are_read_no_code_runs_and_no_random_number_is_drawn(monkeypatch):
    asked, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: asked.append(k) or load(*a, **k))
    before = torch.random.get_rng_state()
    lstm = voice.load_voice_encoder()
    assert [k["weights_only"] for k in asked] == [True]
    assert "resemblyzer" not in sys.modules
    assert torch.equal(before, torch.random.get_rng_state())
    assert not lstm.training and not any(p.requires_grad for p in lstm.parameters())


def test_a_voice_is_nearer_to_itself_across_sentences_than_to_others(listener, small_corpus):
    """Cosines of mean states; the untrained encoder tells ten voices hardly apart."""
    found, some = {}, small_corpus.utterances[::3]
    for ears in (listener, SpeechStates(UNTRAINED)):
        heard = [ears(prepare(u.waveform(), u.rate))[0].mean(0) for u in some]
        who = np.array([u.speaker for u in some])
        x = np.array(heard) / np.linalg.norm(heard, axis=1, keepdims=True)
        cosine, same = x @ x.T, who[:, None] == who
        np.fill_diagonal(cosine, np.nan)
        nearest = np.nanargmax(cosine, axis=1)
        apart = np.nanmean(cosine[same]) - np.nanmean(cosine[~same])
        found[ears.name] = (who[nearest] == who).mean(), apart
    assert len(set(who)) == 10
    assert found["resemblyzer"][0] > 0.65 and found[UNTRAINED][0] < 0.45
    assert found["resemblyzer"][1] > 0.1 > found[UNTRAINED][1]


def test_an_utterance_is_averaged_over_its_words(listener, small_corpus):
    u = small_corpus.utterances[0]
    states, times = listener(prepare(u.waveform(), u.rate))
    expected = average_by_word(states, times, u.words)
    np.testing.assert_array_equal(listener.of_utterance(u), expected)
    assert expected.shape == (len(u.words), 256)


def test_the_version_is_the_locked_one_and_part_of_the_key(listener):
    assert listener.identity == f"resemblyzer {lock()['resemblyzer']}"


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(voice, "distribution", missing)
    wanted = f"pip install --no-deps resemblyzer=={lock()['resemblyzer']}"
    for read in ("identity", "model"):
        with pytest.raises(DataError, match=wanted):
            getattr(SpeechStates("resemblyzer"), read)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ssl", {}), ("mimic", {"modalities": ("text", "audio"), "text": "bert"})],
)
def test_models_train_on_what_it_hears(name, options, small_corpus, keep_cache, tmp_path):
    """SSL, and MIMIC on its features B^TS."""
    how = {"listener": "resemblyzer", "task": "sentiment", "monitor": "mae", "mode": "min"}
    run = tiny(name, small_corpus, tmp_path, options, **how, max_epochs=1)
    assert np.isfinite(run.result["test"]["mae"])
    scale = dict(run.model.scalings())["audio"]
    assert scale.mean.shape == (256,)
