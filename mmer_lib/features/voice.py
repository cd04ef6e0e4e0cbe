"""A trained speech encoder that comes in a package: Resemblyzer's, which tells voices apart.

Source: L. Wan, Q. Wang, A. Papir, I. L. Moreno, "Generalized End-to-End Loss for Speaker
Verification", ICASSP 2018; weights of github.com/resemble-ai/Resemblyzer (Apache-2.0). Only the
file of weights is read: the package's code never runs, and needs nothing that it names.
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution

import numpy as np

from mmer_lib.data import DataError
from mmer_lib.pretrained import import_torchaudio

RESEMBLYZER = "resemblyzer"
"""The name of this encoder, and of its package."""

_RATE, _WINDOW, _HOP, _BANDS, _WIDTH = 16000, 400, 160, 40, 256
_LOUDNESS = 10 ** (-30 / 20)  # root mean square that quiet sounds are raised to


def package() -> Distribution:
    """The installed package; a DataError where it is not."""
    try:
        return distribution(RESEMBLYZER)
    except PackageNotFoundError as error:
        raise DataError(
            "the package resemblyzer is not installed; only its weights are read, so get it "
            "without what it needs: pip install --no-deps resemblyzer==0.1.4"
        ) from error


def load_voice_encoder():
    """Its LSTM of three layers, frozen: (B, T, 40) -> states of the last layer (B, T, 256). The
    dense layer that makes one vector of an utterance is left out."""
    import torch

    path = package().locate_file("resemblyzer/pretrained.pt")
    held = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    weights = {k.removeprefix("lstm."): v for k, v in held.items() if k.startswith("lstm.")}
    with torch.device("meta"):  # draws no random numbers
        lstm = torch.nn.LSTM(_BANDS, _WIDTH, 3, batch_first=True)
    lstm.load_state_dict(weights, assign=True)
    return lstm.eval().requires_grad_(False)


def mel_spectrogram(samples: np.ndarray):
    """samples (N,) float32 at 16 kHz -> power in 40 mel bands, not as logarithms, a tensor
    (1 + N // 160, 40) float32: librosa's `melspectrogram`, frame i centred on sample 160 i."""
    import torch

    x, window = torch.from_numpy(samples), torch.hann_window(_WINDOW)
    spectrum = torch.stft(x, _WINDOW, _HOP, window=window, pad_mode="constant", return_complex=True)
    bank = import_torchaudio().functional.melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, _RATE / 2, _BANDS, _RATE, norm="slaney", mel_scale="slaney"
    )
    return spectrum.abs().square().T @ bank


def voice_states(lstm, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """samples (N,) float32 at 16 kHz -> states (T, 256) float32, one every 10 ms, and their times
    in seconds (T,). A sound under -30 dBFS is raised to it, as in training; pauses, which were cut
    out there, stay. A state has heard what came before, and nothing of what comes."""
    import torch

    loudness = max(float(np.sqrt(np.square(samples, dtype=np.float64).mean())), 1e-10)
    with torch.inference_mode():
        mel = mel_spectrogram(samples * np.float32(max(1.0, _LOUDNESS / loudness)))
        states = lstm(mel[None])[0][0].numpy()
    return states, np.arange(len(states)) * _HOP / _RATE
