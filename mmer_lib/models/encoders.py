"""Encoders of `transformers` as parts of a model. A configuration comes as a dict: a model is
built, saved and loaded without asking a hub; `training.fit` puts in weights that were trained.

Shapes: B utterances, S sub-words, N samples, T frames, D width. Masks: True = padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer_lib.data import DataError
from mmer_lib.models.layers import unpadded


class TextEncoder(nn.Module):
    """BERT or its like: the vector at [CLS] (MUSE, Eq. 10)."""

    def __init__(self, config: dict):
        from mmer_lib.pretrained import build

        super().__init__()
        self.model = build(config)

    def forward(self, subwords: Tensor, mask: Tensor) -> Tensor:
        """subwords (B, S), mask (B, S) -> (B, D)."""
        ids = subwords.masked_fill(mask, self.model.config.pad_token_id or 0)
        attended = (~mask).long()
        if self.model._supports_sdpa and not unpadded(mask):
            # of the scores (B, 1, S, S): nobody waits to see whether anything is padding
            scores = torch.zeros_like(mask, dtype=self.model.dtype)
            scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min / 2)
            attended = scores[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        return self.model(input_ids=ids, attention_mask=attended).last_hidden_state[:, 0]


class SpeechEncoder(nn.Module):
    """wav2vec 2.0 or its like, on raw sound at 16 kHz (MUSE, section 5).

    The convolutions at its entry stay as they are, as in its authors' fine-tuning. Encoders that
    normalise over time there ("feat_extract_norm": "group") read one utterance at a time, since
    padding would enter their statistics, and wait for the device to know how long it is. The others
    wait once a step, as `transformers` looks whether anything is padding. In training nothing is
    masked (SpecAugment).
    """

    def __init__(self, config: dict):
        from mmer_lib.pretrained import build, frame_grid

        super().__init__()
        self.model = build(config)
        if not hasattr(self.model, "feature_extractor"):
            raise DataError(f"{config['model_type']!r} reads no sound; name wav2vec2 or its like")
        if getattr(self.model.config, "add_adapter", False):
            raise DataError("add_adapter is set; padding would pass its convolutions. Leave it out")
        self.window, self.hop = frame_grid(self.model.config)  # of a frame, in samples
        self.model.feature_extractor._freeze_parameters()
        self.model.config.apply_spec_augment = False
        if hasattr(self.model, "masked_spec_embed"):
            self.model.masked_spec_embed.requires_grad_(False)
        self.alone = getattr(self.model.config, "feat_extract_norm", "layer") == "group"

    def frame_times(self, count: int) -> Tensor:
        """Centre in seconds of each of `count` frames at 16 kHz, (count,)."""
        steps = torch.arange(count, dtype=torch.float64, device=self.model.device)
        return (steps * self.hop + self.window / 2) / 16000

    def forward(self, sound: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """sound (B, N), mask (B, N) -> (B, T, D) and its mask (B, T)."""
        real = ~mask
        count = real.sum(1, keepdim=True).clamp(min=1)
        sound = sound.masked_fill(mask, 0.0)
        sound = (sound - sound.sum(1, keepdim=True) / count).masked_fill(mask, 0.0)
        sound = sound * torch.rsqrt(sound.square().sum(1, keepdim=True) / count + 1e-7)
        frames = self.model._get_feat_extract_output_lengths(real.sum(1))  # (B,)
        if self.alone:
            lengths = real.sum(1).clamp(min=self.window).tolist()  # waits for the device
            each = [self.model(x[None, :n]) for x, n in zip(sound, lengths, strict=True)]
            each = [one.last_hidden_state[0] for one in each]
            states = nn.utils.rnn.pad_sequence(each, batch_first=True)  # (B, T, D)
        else:
            states = self.model(sound, attention_mask=real.long()).last_hidden_state
        steps = torch.arange(states.shape[1], device=states.device)
        frame_mask = steps >= frames[:, None]
        return states.masked_fill(frame_mask.unsqueeze(-1), 0.0), frame_mask
