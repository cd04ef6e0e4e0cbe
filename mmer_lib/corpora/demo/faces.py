"""Action-unit tracks of the demo corpus: a speaker's resting face, an expression that rises and
stays, lips that follow the sound, blinks, noise, and frames that the tracker loses."""

from __future__ import annotations

import hashlib
import math

import numpy as np


def draw_face(item: dict, recipe: dict, wave: np.ndarray, rate: int, rng: np.random.Generator):
    """(action units (F, 17) float32 on 0-5, times (F,) in seconds) of one utterance."""
    face, units = recipe["face"], recipe["face"]["units"]
    seconds = len(wave) / rate
    times = np.arange(1, int(seconds * face["rate"])) / face["rate"]
    peaks = np.zeros(len(units))
    for unit, peak in face["peaks"][item["shows"]["vision"]].items():
        peaks[units.index(unit)] = peak
    peaks *= recipe["strength_scale"][item["strength"]]
    peaks *= np.clip(1 + face["peak_jitter"] * rng.standard_normal(len(units)), 0.3, None)
    begin, rise = rng.uniform(*face["onset"]) * seconds, rng.uniform(*face["rise_s"])
    envelope = 1 / (1 + np.exp(-(times - begin - rise / 2) * 8 / rise))
    tracks = _resting_face(item["speaker"], recipe) + envelope[:, None] * peaks
    tracks += _slow_noise(len(times), len(units), face["frame_noise"], rng)
    loudness = _loudness(wave, rate, times)  # lips part and the jaw drops in speech
    tracks[:, units.index("AU25")] += 12 * loudness
    tracks[:, units.index("AU26")] += 6 * loudness
    for blink in times[rng.random(len(times)) < 0.25 / face["rate"]]:
        tracks[np.abs(times - blink) < 0.08, units.index("AU45")] += 3
    kept = ~_runs(len(times), face["dropped"], rng)
    kept[0] = True  # a face is seen at least once
    return np.clip(tracks, 0, 5)[kept].astype(np.float32), times[kept].astype(np.float32)


def _resting_face(speaker: str, recipe: dict) -> np.ndarray:
    seed = [recipe["seed"], int(hashlib.sha256(speaker.encode()).hexdigest()[:8], 16)]
    rest = np.random.default_rng(seed).standard_normal(len(recipe["face"]["units"]))
    return recipe["face"]["speaker_baseline"] * np.abs(rest)


def _slow_noise(rows: int, columns: int, sd: float, rng, keep: float = 0.9) -> np.ndarray:
    noise = sd * rng.standard_normal((rows, columns))
    for t in range(1, rows):
        noise[t] = keep * noise[t - 1] + math.sqrt(1 - keep**2) * noise[t]
    return noise


def _loudness(wave: np.ndarray, rate: int, times: np.ndarray) -> np.ndarray:
    """Root mean square of the 40 ms around each time."""
    half = rate // 50
    total = np.concatenate([[0.0], np.cumsum(wave**2)])
    at = (times * rate).astype(int)
    end, begin = np.minimum(at + half, len(wave)), np.maximum(at - half, 0)
    return np.sqrt(np.maximum(total[end] - total[begin], 0) / (2 * half))


def _runs(n: int, share: float, rng, length: int = 4) -> np.ndarray:
    """A mask of n frames with about `share` of them True, in runs of `length`."""
    begins = rng.random(n) < share / length
    return np.convolve(begins, np.ones(length))[:n] > 0
