"""A trained speech encoder that comes in a package: Resemblyzer's, which tells voices apart.

Source: L. Wan, Q. Wang, A. Papir, I. L. Moreno, "Generalized End-to-End Loss for Speaker
Verification", ICASSP 2018; weights of github.com/resemble-ai/Resemblyzer (Apache-2.0). Only the
file of weights is read: the package's code never runs.
"""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

from mmer_lib.data import DataError
from mmer_lib.pretrained import import_torchaudio

RESEMBLYZER = "resemblyzer"
"""The name of this encoder, and of its package."""


def package():
    """The installed package; a DataError where it is not."""
    try:
        return distribution(RESEMBLYZER)
    except PackageNotFoundError as error:
        raise DataError(
            "the package resemblyzer is not installed; only its weights are read, so get it "
            "without what it needs: pip install --no-deps resemblyzer==0.1.4"
        ) from error


def load_voice_encoder():
    """Its LSTM, frozen: mel bands (B, T, 40) -> states of the last of three layers (B, T, 256)."""
    import torch

    path = package().locate_file("resemblyzer/pretrained.pt")
    held = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    weights = {k.removeprefix("lstm."): v for k, v in held.items() if k.startswith("lstm.")}
    with torch.device("meta"):  # draws no random numbers
        lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict(weights, assign=True)
    return lstm.eval().requires_grad_(False)


def mel_spectrogram(samples: np.ndarray):
    """samples (N,) float32 at 16 kHz -> power in 40 mel bands, not as logarithms, a tensor
    (1 + N // 160, 40) float32: librosa's `melspectrogram`, frame i centred on sample 160 i."""
    import torch

    x, window = torch.from_numpy(samples), torch.hann_window(400)
    spectrum = torch.stft(x, 400, 160, window=window, pad_mode="constant", return_complex=True)
    scale = {"norm": "slaney", "mel_scale": "slaney"}
    bank = import_torchaudio().functional.melscale_fbanks(201, 0.0, 8000.0, 40, 16000, **scale)
    return spectrum.abs().square().T @ bank


def voice_states(lstm, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """samples (N,) float32 at 16 kHz -> states (T, 256) float32, one every 10 ms, and their times
    in seconds (T,). A sound under -30 dBFS is raised to it, as in training; pauses, which were cut
    out there, stay. A state has heard what came before, and nothing of what comes."""
    import torch

    level = max(float(np.sqrt(np.square(samples, dtype=np.float64).mean())), 1e-10)
    with torch.inference_mode():
        mel = mel_spectrogram(samples * np.float32(max(1.0, 10**-1.5 / level)))
        states = lstm(mel[None])[0][0].numpy()
    return states, np.arange(len(states)) / 100
