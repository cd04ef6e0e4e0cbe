import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.data import DataError, Word
from mmer_lib.features import speech
from mmer_lib.features.speech import DEFAULT, average_by_word, filterbank


def tone(hz, seconds=1.0, rate=16000, harmonics=1, amplitude=0.3):
    """Harmonics with amplitudes 1, 1/2, 1/3, ..., as long as they are under half the rate."""
    t = np.arange(round(seconds * rate)) / rate
    parts = [np.sin(2 * np.pi * hz * k * t + k) / k for k in range(1, harmonics + 1)]
    return (amplitude * sum(p for k, p in enumerate(parts, 1) if hz * k < rate / 2)).astype("f4")


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype("f4")


def naive_filterbank(x, config=DEFAULT):
    """The same from the definition: a DFT matrix and loops, in float64."""
    n, size = config.window, 512
    angle = -2j * np.pi / size * np.outer(np.arange(n), np.arange(size // 2 + 1))
    dft = np.exp(angle)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / (n - 1))
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(config.rate / 2), config.bands + 2)
    points = mel(np.arange(size // 2 + 1) * config.rate / size)
    rows = []
    for start in range(0, len(x) - n + 1, config.hop):
        frame = x[start : start + n].astype(np.float64)
        frame = frame - frame.mean()
        before = np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(((frame - 0.97 * before) * hann) @ dft) ** 2
        row = []
        for a, b, c in zip(edges, edges[1:], edges[2:], strict=False):
            up, down = (points - a) / (b - a), (c - points) / (c - b)
            row.append((np.maximum(0, np.minimum(up, down))[:-1] * power[:-1]).sum())
        rows.append(np.log(np.maximum(row, np.finfo(np.float32).eps)))
    return np.array(rows)


def test_filterbank_agrees_with_the_definition():
    x = noise(2000) + tone(440, 0.125)
    bank = filterbank(x, 16000)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(bank, naive_filterbank(x), atol=2e-3)


@pytest.mark.parametrize("samples", [1, 400, 591, 592, 16000])
def test_filterbank_shape_and_times(samples):
    bank = filterbank(noise(samples), 16000)
    frames = 1 if samples < 400 else 1 + (samples - 400) // 192
    assert bank.shape == (frames, 128)
    assert speech.prosody(noise(samples), 16000).shape == (frames, 4)
    times = speech.frame_times(frames)
    assert times[0] == 0.0125
    np.testing.assert_allclose(np.diff(times), 0.012)
    assert times[-1] <= max(samples, 400) / 16000


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 16001, 44101, 95999, 999_999])
def test_other_rates_are_resampled_hardly_off_and_cost_no_gigabytes(rate, monkeypatch):
    """With the whole ratio torchaudio's table would have rate times 16,000 weights and more."""
    asked = []
    functional = speech.import_torchaudio().functional
    original = functional.resample

    def resample(wave, old, new):
        asked.append((old, new))
        return original(wave, old, new)

    monkeypatch.setattr(functional, "resample", resample)
    bank = filterbank(tone(700, rate=rate), rate)
    ((old, new),) = asked
    assert new <= 1000 and abs(old / new * 16000 / rate - 1) < 1 / 2000
    assert abs(len(bank) - 82) <= 1
    assert bank[5:-5].mean(0).argmax() == filterbank(tone(700), 16000).mean(0).argmax()


def test_stereo_is_averaged_either_way_round():
    left, right = noise(4000, 1), noise(4000, 2)
    mono = filterbank((left + right) / 2, 16000)
    np.testing.assert_allclose(filterbank(np.stack([left, right]), 16000), mono, atol=1e-3)
    np.testing.assert_allclose(filterbank(np.stack([left, right], 1), 16000), mono, atol=1e-3)


def test_silence_is_finite_and_at_the_floor():
    bank = filterbank(np.zeros(8000, "f4"), 16000)
    np.testing.assert_allclose(bank, np.log(np.finfo(np.float32).eps), atol=1e-4)
    assert (speech.normalise(bank) == 0).all()
    voice = speech.prosody(np.zeros(8000, "f4"), 16000)
    assert np.isfinite(voice).all()
    assert (voice[:, 1:] == 0).all()


def test_normalise():
    bank = filterbank(noise(16000), 16000)
    normal = speech.normalise(bank)
    assert normal.dtype == np.float32
    varied = np.ptp(bank, axis=0) > 0
    assert np.flatnonzero(~varied).tolist() == [3], "one band is always empty, as documented"
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=0)[varied], 1, atol=1e-5)
    assert (normal[:, ~varied] == 0).all()
    assert (speech.normalise(bank[:1]) == 0).all()


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (np.zeros(0, "f4"), 16000, "empty"),
        (np.array([0, np.nan, np.inf], "f4"), 16000, "2 samples that are NaN or infinite"),
        (np.zeros(100, np.int16), 16000, "int16.*32768"),
        (np.zeros(100, "f4"), None, "rate of None"),
        (np.zeros(100, "f4"), 16, "rate of 16; expected 1000 to 1000000 Hz.*in kHz"),
    ],
)
def test_bad_waveforms_are_named(wave, rate, message):
    for function in (filterbank, speech.prosody):
        with pytest.raises(DataError, match=message):
            function(wave, rate)


@pytest.mark.parametrize("hz", [70, 110, 210, 440, 490])
@pytest.mark.parametrize("harmonics", [1, 12])
def test_f0_of_a_harmonic_tone(hz, harmonics):
    voice = speech.prosody(tone(hz, harmonics=harmonics) + 0.02 * noise(16000), 16000)
    inner = voice[3:-3]
    f0 = 50 * 2 ** inner[:, 1]
    np.testing.assert_allclose(f0, hz, rtol=0.03)
    assert (inner[:, 2] > 0.9).all() and (inner[:, 2] <= 1).all()


def test_voicing_stands_at_its_time():
    wave = 0.01 * noise(16000)
    wave[6400:9600] += tone(150, 0.2, harmonics=6)  # 0.4 to 0.6 s
    voiced = speech.prosody(wave, 16000)[:, 1] > 0
    times = speech.frame_times(len(voiced))[voiced]
    assert abs(times.mean() - 0.5) < 0.005
    assert abs(np.ptp(times) - 0.2) < 0.06


def test_energy_and_centroid():
    voice = speech.prosody(tone(2000, amplitude=0.5), 16000)
    np.testing.assert_allclose(voice[:, 0], np.log(0.125), atol=0.02)
    np.testing.assert_allclose(voice[:, 3], 2.0, atol=0.05)
    louder = speech.prosody(2 * tone(200, harmonics=5), 16000)
    quieter = speech.prosody(tone(200, harmonics=5), 16000)
    np.testing.assert_allclose(louder[:, 0] - quieter[:, 0], np.log(4), atol=1e-3)
    np.testing.assert_allclose(louder[:, 1:], quieter[:, 1:], atol=1e-3)


def naive_average(frames, times, words):
    rows = []
    for word in words:
        inside, nearest, distance = [], None, np.inf
        for frame, time in zip(frames, times, strict=True):
            if np.isnan(frame).any():
                continue
            if word.start <= time < word.end:
                inside.append(frame)
            if abs(time - (word.start + word.end) / 2) < distance:
                nearest, distance = frame, abs(time - (word.start + word.end) / 2)
        rows.append(np.mean(inside, axis=0) if inside else nearest)
    return np.array(rows).reshape(len(words), frames.shape[1])


moment = st.integers(-4, 24).map(lambda n: n / 8)  # coarse and exact, so that borders meet


@st.composite
def spoken(draw):
    n = draw(st.integers(1, 12))
    times = np.sort(draw(st.lists(moment, min_size=n, max_size=n, unique=True)))
    frames = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((n, 3))
    frames[draw(st.lists(st.integers(0, n - 1))), 1] = np.nan
    frames[draw(st.integers(0, n - 1))] = 1.0
    words = draw(st.lists(st.builds(Word, st.just("w"), moment, moment), max_size=6))
    return frames, times, words


@settings(max_examples=150, deadline=None)
@given(spoken())
def test_average_by_word_agrees_with_loops(case):
    frames, times, words = case
    fast = average_by_word(frames, times, words)
    assert fast.dtype == np.float32 and fast.shape == (len(words), 3)
    np.testing.assert_allclose(fast, naive_average(frames, times, words), atol=1e-6)
    with pytest.raises(DataError, match="no frames"):
        average_by_word(np.full_like(frames, np.nan), times, words)


def test_torchaudio_works_beside_this_torch():
    torchaudio = speech.import_torchaudio()
    assert torchaudio is speech.import_torchaudio() is sys.modules["torchaudio"]
    wave = torch.from_numpy(noise(16000))[None]
    assert torchaudio.transforms.MelSpectrogram(16000, n_mels=40)(wave).shape[1] == 40
    assert torchaudio.functional.resample(wave, 16000, 8000).shape == (1, 8000)
    assert torchaudio.functional.lowpass_biquad(wave, 16000, 500.0).shape == wave.shape
