"""Sound to numbers: log-mel filterbank, prosody, and averages by word.

One grid of frames serves all of it: frame i covers samples ``i * hop`` to ``i * hop + window`` of
the 16 kHz signal, and a frame that would reach over the end does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mmer_lib.data import DataError, Word
from mmer_lib.pretrained import import_torchaudio

PROSODY = ("log_energy", "log_f0", "voicing", "centroid")
"""Columns of `prosody`."""

F0_RANGE = (60.0, 500.0)
"""Lowest and highest fundamental frequency that `prosody` looks for, in Hz."""

_RATES = (1000, 1_000_000)  # Hz; others are those of a damaged header, or meant in kHz
_RATIO = 1000  # a rate is p / q of the wanted one, with q up to this
_F0_REFERENCE = 50.0  # Hz; zero octaves, below F0_RANGE so that 0 only ever means unvoiced
_F0_WINDOW = 0.050  # seconds; three periods of the lowest voice
_F0_KEEP = 0.9  # of the highest peak: the first peak above it is the period (McLeod's k)
_VOICED = 0.5  # a frame whose peak is lower is unvoiced
_ENERGY_FLOOR = 1e-10  # mean square; -100 dB below full scale


@dataclass(frozen=True)
class FilterbankConfig:
    """Settings of the filterbank (MUSE, section 4.2): mel bands between 20 Hz and half the rate,
    length of a frame and distance of two in milliseconds, sampling rate in Hz."""

    bands: int = 128
    window_ms: float = 25.0
    hop_ms: float = 12.0
    rate: int = 16000

    @property
    def window(self) -> int:
        """Samples in a frame (rounded as torchaudio's Kaldi functions do)."""
        return int(self.rate * self.window_ms * 0.001)

    @property
    def hop(self) -> int:
        """Samples from a frame to the next."""
        return int(self.rate * self.hop_ms * 0.001)


DEFAULT = FilterbankConfig()


def prepare(waveform: np.ndarray, rate: int, config: FilterbankConfig = DEFAULT) -> np.ndarray:
    """One channel at the rate of `config`, (M,) float32, with zeros at the end where it is shorter
    than a window.

    Args:
        waveform: float samples in [-1, 1], shape (N,), (C, N) or (N, C); the shorter axis is
            taken as channels and averaged.
        rate: its sampling rate in Hz.

    Raises:
        DataError: empty, not finite, not floats, or a rate under 1000 Hz or over 1 MHz.
    """
    waveform = np.asarray(waveform)
    if not waveform.size:
        raise DataError("waveform is empty (no samples); leave this utterance out")
    if waveform.dtype.kind != "f":
        raise DataError(f"waveform holds {waveform.dtype}; divide 16-bit samples by 32768")
    if bad := waveform.size - np.isfinite(waveform).sum():
        raise DataError(
            f"waveform holds {bad} samples that are NaN or infinite; convert the recording again, "
            "or leave this utterance out"
        )
    if not _RATES[0] <= (rate or 0) <= _RATES[1]:
        raise DataError(
            f"waveform with a sampling rate of {rate}; expected {_RATES[0]} to {_RATES[1]} Hz (is "
            "the header damaged, or the rate in kHz?)"
        )
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=int(np.argmin(waveform.shape)))
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if rate != config.rate:
        import torch

        # The next ratio of small numbers is at most a two-thousandth (0.9 cent) away: torchaudio's
        # table grows with both, to gigabytes where the rates share no factor (44,101 to 16,000).
        ratio = Fraction(int(rate), config.rate).limit_denominator(_RATIO)
        resample = import_torchaudio().functional.resample
        waveform = resample(torch.from_numpy(waveform), ratio.numerator, ratio.denominator).numpy()
    return np.pad(waveform, (0, max(0, config.window - len(waveform))))


def filterbank(waveform: np.ndarray, rate: int, config: FilterbankConfig = DEFAULT) -> np.ndarray:
    """Log-mel filterbank by Kaldi's rules, (T, bands) float32, not normalised (MUSE, section 4.2).

    Samples lie in [-1, 1], not in Kaldi's 16-bit range, which lowers every value by 2 ln 32768 =
    20.8; none is under -15.94. With 128 bands at 16 kHz one near 70 Hz is narrower than the spacing
    of the spectrum: that column is always the floor. Args, errors: see `prepare`.
    """
    import torch

    bank = import_torchaudio().compliance.kaldi.fbank(
        torch.from_numpy(prepare(waveform, rate, config))[None],
        num_mel_bins=config.bands,
        frame_length=config.window_ms,
        frame_shift=config.hop_ms,
        sample_frequency=config.rate,
        window_type="hanning",
        dither=0.0,
    )
    return bank.numpy()


def normalise(
    bank: np.ndarray, statistics: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Each column to mean 0 and variance 1, (T, D) -> (T, D) float32, zeros where it does not vary:
    over the utterance, or by `statistics`, means and standard deviations (D,) float64."""
    bank = np.asarray(bank, dtype=np.float64)
    mean, deviation = statistics or (bank.mean(axis=0), bank.std(axis=0))
    return ((bank - mean) / np.maximum(deviation, 1e-5)).astype(np.float32)


def frame_times(n: int, config: FilterbankConfig = DEFAULT) -> np.ndarray:
    """Centre of each of `n` frames in seconds, float64, shape (n,)."""
    return (np.arange(n) * config.hop + config.window / 2) / config.rate


def prosody(waveform: np.ndarray, rate: int, config: FilterbankConfig = DEFAULT) -> np.ndarray:
    """Four voice measures on the frames of `filterbank`, float32, shape (T, 4).

    Columns (`PROSODY`):
        log_energy: natural logarithm of the mean square (floor 1e-10, -23.0).
        log_f0: octaves above 50 Hz of the fundamental between 60 and 500 Hz, 0 where unvoiced.
        voicing: peak of the normalised autocorrelation, 0 to 1.
        centroid: centre of gravity of the power spectrum in kHz, 0 in silence.

    The fundamental is found as by McLeod and Wyvill (2005, "A smarter way to find pitch"), on 50 ms
    around the centre of each frame, since 25 ms hold too few periods of a low voice.
    """
    import torch

    samples = torch.from_numpy(prepare(waveform, rate, config))
    frames = samples.unfold(0, config.window, config.hop)  # (T, window)
    frames = frames - frames.mean(dim=1, keepdim=True)
    energy = frames.square().mean(dim=1)
    power = torch.fft.rfft(frames * torch.hann_window(config.window)).abs().square()  # (T, K)
    khz = torch.linspace(0, config.rate / 2000, power.shape[1])
    centroid = (power @ khz) / power.sum(dim=1).clamp(min=1e-30)
    log_f0, voicing = _pitch(samples, config)
    sounds = energy > _ENERGY_FLOOR
    columns = (
        energy.clamp(min=_ENERGY_FLOOR).log(),
        torch.where(sounds & (voicing >= _VOICED), log_f0, 0.0),
        torch.where(sounds, voicing, 0.0),
        torch.where(sounds, centroid, 0.0),
    )
    return torch.stack(columns, dim=1).numpy()


def _pitch(samples, config: FilterbankConfig):
    """Octaves above 50 Hz (T,) and height of the peak (T,), for every frame, voiced or not."""
    import torch

    size = int(config.rate * _F0_WINDOW)
    before = (size - config.window) // 2
    after = size - config.window - before
    padded = torch.nn.functional.pad(samples, (before, after))
    frames = padded.unfold(0, size, config.hop)  # (T, size)
    low = int(config.rate / F0_RANGE[1])
    high = int(config.rate / F0_RANGE[0]) + 1
    curve = _square_difference(frames - frames.mean(dim=1, keepdim=True), high + 2)
    peaks = (curve[:, 1:-1] > curve[:, :-2]) & (curve[:, 1:-1] >= curve[:, 2:])
    heights = torch.where(peaks, curve[:, 1:-1], -1.0)[:, low - 1 : high]  # lags low..high
    best = heights.amax(dim=1, keepdim=True)
    lag = low + (heights >= _F0_KEEP * best.clamp(min=0)).int().argmax(dim=1)  # first of them
    left, middle, right = curve.gather(1, lag[:, None] + torch.arange(-1, 2)).unbind(1)
    bend = 2 * middle - left - right
    lag = lag + torch.where(bend > 0, (right - left) / (2 * bend.clamp(min=1e-12)), 0.0)
    return torch.log2(config.rate / lag / _F0_REFERENCE), best[:, 0].clamp(0, 1)


def _square_difference(frames, lags: int):
    """McLeod's normalised function of each frame (T, N) at lags 0..lags-1, in [-1, 1]:
    2 sum x[j] x[j+lag] / sum (x[j]^2 + x[j+lag]^2), sums over the samples that overlap."""
    import torch
    from scipy.fft import next_fast_len

    size = frames.shape[1]
    n = next_fast_len(size + lags, real=True)
    products = torch.fft.irfft(torch.fft.rfft(frames, n).abs().square(), n)[:, :lags]
    total = torch.nn.functional.pad(frames.square().cumsum(dim=1), (1, 0))  # (T, N + 1)
    head = total[:, size - lags + 1 :].flip(1)  # energy of x[0 : N-lag]
    tail = total[:, -1:] - total[:, :lags]  # energy of x[lag : N]
    return 2 * products / (head + tail).clamp(min=1e-12)


def audio_by_word(waveform: np.ndarray, rate: int, words: Sequence[Word]) -> np.ndarray:
    """Filterbank (128, not normalised) and `PROSODY` (4), averaged over words: (W, 132) float32."""
    samples = prepare(waveform, rate)
    frames = np.hstack([filterbank(samples, DEFAULT.rate), prosody(samples, DEFAULT.rate)])
    return average_by_word(frames, frame_times(len(frames)), words)


def average_by_word(frames: np.ndarray, times: np.ndarray, words: Sequence[Word]) -> np.ndarray:
    """Mean of the frames inside each word, (T, D) at times (T,) -> (W, D) float32: how MIMIC's
    word-level audio and vision come about (section 4.1).

    A frame belongs to a word when ``start <= time < end``. A word without a frame takes the
    frame nearest to its middle (the earlier of two). Frames that hold a NaN (dropped video) count
    as not there; where none is left, a DataError.
    """
    frames, times = np.asarray(frames), np.asarray(times, dtype=np.float64)
    there = ~np.isnan(frames).any(axis=1) & np.isfinite(times)
    order = np.flatnonzero(there)[np.argsort(times[there], kind="stable")]
    frames, times = frames[order], times[order]
    if not len(frames):
        raise DataError(
            "no frames to average (none at all, or every one holds a NaN, as where no face was "
            "found); leave this utterance out"
        )
    means = np.zeros((len(words), frames.shape[1]), dtype=np.float32)
    for mean, word in zip(means, words, strict=True):
        first, last = np.searchsorted(times, [word.start, word.end])
        if first >= last:
            first = np.abs(times - (word.start + word.end) / 2).argmin()
            last = first + 1
        mean[:] = frames[first:last].mean(axis=0, dtype=np.float64)
    return means
