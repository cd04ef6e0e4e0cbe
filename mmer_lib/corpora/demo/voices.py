"""The sound of the demo corpus: espeak-ng at a speaker's and an emotion's settings, with vocal
effort, room noise and silence around it."""

from __future__ import annotations

import math

import numpy as np

from mmer_lib.corpora.demo.espeak import Espeak
from mmer_lib.data import Word

RATE = 16_000  # Hz


def speak(item: dict, recipe: dict, espeak: Espeak, rng: np.random.Generator):
    """(samples int16 at RATE, words, phonemes) of one planned utterance."""
    from scipy.signal import resample_poly

    voice, scale = recipe["voice"], recipe["strength_scale"][item["strength"]]
    speaker = next(s for s in recipe["speakers"] if s["id"] == item["speaker"])
    deviation = voice["deviation"][item["shows"]["audio"]]
    value = {
        name: voice["neutral"][name]
        + scale * deviation[name]
        + speaker.get(name, 0)
        + voice["jitter"][name] * rng.standard_normal()
        for name in voice["neutral"]
    }
    tilt = value.pop("tilt")
    bounds = {"rate": (80, 400), "pitch": (0, 99), "range": (0, 99), "volume": (10, 200)}
    settings = {name: float(np.clip(value[name], *bounds[name])) for name in bounds}
    samples, words, phonemes = espeak.say(item["words"], speaker["voice"], item["seed"], **settings)

    common = math.gcd(espeak.rate, RATE)
    wave = resample_poly(samples / 32768, RATE // common, espeak.rate // common)
    wave = _tilt(wave, tilt)
    lead, trail = (int(RATE * s / 1000) for s in rng.uniform(*voice["lead_ms"], size=2))
    level = np.sqrt(np.mean(wave**2)) * 10 ** (-rng.uniform(*voice["snr_db"]) / 20)
    wave = np.pad(wave, (lead, trail))
    wave = wave + level * rng.standard_normal(len(wave))
    shift = lead / RATE
    return (
        (np.clip(wave, -1, 1) * 32767).round().astype(np.int16),
        [Word(w.text, w.start + shift, w.end + shift) for w in words],
        [Word(p.text, p.start + shift, p.end + shift) for p in phonemes],
    )


def _tilt(wave: np.ndarray, db: float) -> np.ndarray:
    """Raise (db > 0) or lower the top of the spectrum by a gain that grows linearly with the
    logarithm of frequency from 500 Hz to 8 kHz: the mark of vocal effort."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = next_fast_len(len(wave), real=True)
    hz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1.0)
    share = np.clip(np.log2(hz / 500) / np.log2(8000 / 500), 0, 1)
    return irfft(rfft(wave, n) * 10 ** (db * share / 20), n)[: len(wave)]
