"""What a frozen speech encoder says of a sound: the "BERT-like" audio features of MIMIC's B^TS."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mmer_lib.data import DataError, Utterance
from mmer_lib.features.speech import average_by_word, prepare
from mmer_lib.features.text import BertWords
from mmer_lib.features.voice import RESEMBLYZER, load_voice_encoder, package, voice_states
from mmer_lib.pretrained import build, frame_grid, load_pretrained

UNTRAINED = "untrained"
"""The name of a small wav2vec 2.0 with random weights (seed 0), where no trained one is at hand."""

_SMALL = {
    "model_type": "wav2vec2",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "conv_dim": (64,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


class SpeechStates:
    """wav2vec 2.0 or its like, frozen: the last hidden state of every frame.

    Args:
        name: a model's name or folder for `transformers`, `voice.RESEMBLYZER` or `UNTRAINED`. It
            loads at first use.
    """

    def __init__(self, name: str):
        self.name = name

    @cached_property
    def identity(self) -> str:
        """What model this is, for cache keys (of a folder: its files' content)."""
        if self.name == RESEMBLYZER:
            return f"{RESEMBLYZER} {package().version}"
        return self.name if self.name == UNTRAINED else BertWords(self.name).identity

    @cached_property
    def model(self):
        """The model of transformers, or the LSTM of `voice`, frozen, in evaluation mode."""
        import torch

        if self.name == RESEMBLYZER:
            return load_voice_encoder()
        if self.name == UNTRAINED:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = build(_SMALL)
        else:
            model = load_pretrained("AutoModel", self.name)
        model.eval().requires_grad_(False)
        if not hasattr(model, "feature_extractor"):
            raise DataError(f"{self.name}: reads no sound; name wav2vec2 or its like")
        return model

    def __call__(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """samples (N,) float32 at 16 kHz -> states (T, D) float32 and the time in seconds of the
        centre of each, (T,). The sound gets mean 0 and variance 1, as these encoders expect, and
        zeros at its end where it is shorter than one window (not so for `voice.RESEMBLYZER`: see
        `voice.voice_states`)."""
        import torch

        if self.name == RESEMBLYZER:
            return voice_states(self.model, samples)
        window, hop = frame_grid(self.model.config)
        sound = torch.from_numpy(np.pad(samples, (0, max(0, window - len(samples)))))
        sound = (sound - sound.mean()) * torch.rsqrt(sound.var(correction=0) + 1e-7)
        with torch.inference_mode():
            states = self.model(sound[None]).last_hidden_state[0].float().numpy()
        return states, (np.arange(len(states)) * hop + window / 2) / 16000

    def of_utterance(self, u: Utterance) -> np.ndarray:
        """The states of an utterance, averaged over its words (W, D), or all of them (T, D) where
        it has no word times; float32."""
        states, times = self(prepare(u.waveform(), u.rate))
        return states if u.words is None else average_by_word(states, times, u.words)
