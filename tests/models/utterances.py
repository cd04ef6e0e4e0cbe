"""Utterances of speech and text for the tests of MUSE, its small configurations, and batches that
are filled by hand."""

import json
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from mmer_lib.data import Batch
from mmer_lib.models.multigranular import Bert, BertConfig, Multigranular, MultigranularConfig
from mmer_lib.models.muse import FUSIONS, Muse, MuseConfig
from mmer_lib.pretrained import import_torchaudio
from tests.models.common import lengthened, scrambled

SMALL = MuseConfig(
    words=5, bands=4, phonemes=9, width=8, heads=2, hidden=12, stack=2, phoneme_embedding=3,
    kernels=(2, 3, 4), filters=2, prenet_kernel=3, dropout=0.2,
)  # fmt: skip
SAME = dict(rtol=0, atol=2e-6)
WORDS, FRAMES = (4, 1, 3), (7, 3, 2)
SYMBOLS, CLS = 30, 16  # sub-words known to the text encoders, and the width of their vectors

_BERT = dict(
    vocab_size=SYMBOLS, hidden_size=CLS, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=24, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)  # fmt: skip
_DISTILBERT = dict(
    vocab_size=SYMBOLS, dim=CLS, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=24,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
_WAV2VEC = dict(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
    conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0,
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
    final_dropout=0.0,
)  # fmt: skip
WINDOW, HOP = 20, 10  # samples that one frame of these speech encoders sees, and to the next

NAMES = (
    *FUSIONS,
    "wav2vec group",
    "wav2vec layer",
    "hubert",
    "multigranular",
    "multigranular tuned",
    "bert",
    "bert tuned",
)
"""The configurations that all tests go through; see `built`."""


def encoder(kind, **changes):
    """Configuration of a small encoder of `transformers`, as JSON has it."""
    import_torchaudio()
    from transformers import AutoConfig

    known = {"bert": _BERT, "roberta": _BERT, "distilbert": _DISTILBERT}.get(kind, _WAV2VEC)
    return json.loads(json.dumps(AutoConfig.for_model(kind, **(known | changes)).to_dict()))


def config_of(name, **changes):
    """Model class and configuration of one of `NAMES`."""
    if name in FUSIONS:
        return Muse, replace(SMALL, **({"fusion": name} | changes))
    if name in ("wav2vec group", "wav2vec layer", "hubert"):
        kind = "hubert" if name == "hubert" else "wav2vec2"
        speech = encoder(kind, feat_extract_norm="layer" if name.endswith("layer") else "group")
        return Muse, replace(SMALL, stack=1, speech=speech, **changes)
    tuned = encoder("bert") if name.endswith("tuned") else None
    if name.startswith("multigranular"):
        small = {k: getattr(SMALL, k) for k in SMALL.__dataclass_fields__} | changes
        return Multigranular, MultigranularConfig(**small, cls=CLS, projection=5, encoder=tuned)
    kept = {k: v for k, v in changes.items() if k in BertConfig.__dataclass_fields__}
    return Bert, BertConfig(cls=CLS, projection=5, encoder=tuned, dropout=0.2, **kept)


def built(name, **changes):
    """One of `NAMES` with scrambled weights, in float64 and evaluation mode."""
    cls, config = config_of(name, **changes)
    return scrambled(cls(config))


@dataclass
class Example:
    """One utterance as plain arrays; names and shapes as in `Batch`, phonemes and sub-words as
    lists of numbers."""

    words: np.ndarray
    known: np.ndarray
    phonemes: list[list[int]]
    frames: np.ndarray
    cls: np.ndarray
    subwords: list[int]
    sound: np.ndarray


def examples(words=WORDS, frames=FRAMES, seed=0):
    """Utterances; the second word of each has no phonemes, the third no vector. From its sound a
    speech encoder makes as many frames as the filterbank has."""
    rng, made = np.random.default_rng(seed), []
    for w, t in zip(words, frames, strict=True):
        ids = [rng.integers(1, SMALL.phonemes, rng.integers(1, 7)).tolist() for _ in range(w)]
        ids[1:2] = [[]] * len(ids[1:2])
        vectors, known = rng.normal(size=(w, SMALL.words)), np.arange(w) != 2
        bank = rng.normal(size=(t, SMALL.bands))
        cls, subwords = rng.normal(size=CLS), rng.integers(3, SYMBOLS, w + 2).tolist()
        sound = rng.normal(0.1, 0.5, WINDOW + (t - 1) * HOP + int(rng.integers(HOP)))
        made.append(Example(vectors * known[:, None], known, ids, bank, cls, subwords, sound))
    return made


def _padded(rows, width, dtype):
    """rows (L_i, ...) -> (B, width, ...) and its mask (B, width)."""
    out = torch.zeros(len(rows), width, *np.shape(rows[0])[1:], dtype=dtype)
    mask = torch.ones(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        if len(row):
            out[i, : len(row)] = torch.as_tensor(np.asarray(row)).to(dtype)
        mask[i, : len(row)] = False
    return out, mask


def batched(made, dtype=torch.float64):
    """The same as a padded `Batch`, filled by hand."""

    def gather(name, kind):
        rows = [getattr(e, name) for e in made]
        return _padded(rows, max(1, *map(len, rows), 0), kind)

    b = Batch(torch.arange(len(made)), emotion=torch.arange(len(made)) % SMALL.classes)
    b.words, b.word_mask = gather("words", dtype)
    b.known, _ = gather("known", torch.bool)
    longest = max(len(ids) for e in made for ids in [[0], *e.phonemes])
    b.phonemes = torch.zeros(*b.word_mask.shape, longest, dtype=torch.long)
    for row, e in enumerate(made):
        for i, ids in enumerate(e.phonemes):
            b.phonemes[row, i, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    b.frames, b.frame_mask = gather("frames", dtype)
    b.cls = torch.tensor(np.stack([e.cls for e in made]), dtype=dtype)
    b.subwords, b.subword_mask = gather("subwords", torch.long)
    b.sound, b.sound_mask = gather("sound", dtype)
    return b


def garbled(batch, words=2, frames=3, phonemes=2, subwords=3, sound=25, garbage=1e3):
    """More padding on every axis, with garbage in all of it."""
    value = torch.tensor(garbage, dtype=batch.words.dtype)
    mask, new = batch.word_mask, replace(batch)
    wide = F.pad(batch.phonemes, (0, phonemes))
    new.words, new.word_mask = lengthened(batch.words, mask, words, value)
    new.known, _ = lengthened(batch.known, mask, words, torch.tensor(True))
    new.phonemes, _ = lengthened(wide, mask, words, torch.tensor(SMALL.phonemes - 1))
    new.frames, new.frame_mask = lengthened(batch.frames, batch.frame_mask, frames, value)
    no_such = torch.tensor(-SYMBOLS)
    ids = lengthened(batch.subwords, batch.subword_mask, subwords, no_such)
    new.subwords, new.subword_mask = ids
    new.sound, new.sound_mask = lengthened(batch.sound, batch.sound_mask, sound, value)
    return new


def only(batch, needs):
    """A batch with these fields and nothing else."""
    return Batch(batch.index, **{name: getattr(batch, name) for name in needs})


def rows_of(batch, rows):
    """Some utterances of a batch, with the padding that they had."""
    return batch._map(lambda t: t[rows])
