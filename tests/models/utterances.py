"""Utterances of all that a model may read, each input with lengths of its own, and batches of them
that are filled by hand."""

import json
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from mmer_lib.data import Batch
from mmer_lib.pretrained import import_torchaudio
from tests.models.common import lengthened

SIZES = {"words": 5, "bands": 4, "audio": 4, "vision": 2, "cls": 16, "phonemes": 9}
"""Fields of a configuration that say how wide the inputs are here."""
WIDTHS = {"words": 5, "frames": 4, "audio": 4, "vision": 2}
LENGTHS = {"words": (4, 1, 3), "frames": (7, 9, 2), "audio": (7, 2, 1), "vision": (2, 6, 4)}
MODALITIES = {"text": "words", "audio": "audio", "vision": "vision"}
HOP = 0.01
SYMBOLS = 30  # sub-words known to the text encoders
WINDOW, SHIFT = 20, 10  # samples that one frame of these speech encoders sees, and to the next

_BERT = dict(
    vocab_size=SYMBOLS,
    hidden_size=SIZES["cls"],
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=24,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
_WAV2VEC = dict(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8, 8),
    conv_kernel=(10, 3),
    conv_stride=(5, 2),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
    mask_time_prob=0.0,
    mask_feature_prob=0.0,
    layerdrop=0.0,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
)


def encoder(kind, **changes):
    """Configuration of a small encoder of `transformers`, as JSON has it."""
    import_torchaudio()
    from transformers import AutoConfig

    known = {"bert": _BERT, "roberta": _BERT}.get(kind, _WAV2VEC)
    return json.loads(json.dumps(AutoConfig.for_model(kind, **(known | changes)).to_dict()))


def examples(seed=0, **lengths):
    """Utterances as dicts of arrays by the names of `Batch`, without padding; of each, the second
    word has no phonemes and no time, the third no vector. From its sound a speech encoder makes as
    many frames as the filterbank has."""
    rng, made = np.random.default_rng(seed), []
    count = len(next(iter(lengths.values()), LENGTHS["words"]))
    lengths = {part: each[:count] for part, each in LENGTHS.items()} | lengths
    for row in zip(*lengths.values(), strict=True):
        e = {p: rng.normal(size=(n, WIDTHS[p])) for p, n in zip(lengths, row, strict=True)}
        words, frames = len(e["words"]), len(e["frames"])
        e["known"] = np.arange(words) != 2
        e["words"] *= e["known"][:, None]
        e["phonemes"] = [rng.integers(1, 9, rng.integers(1, 7)).tolist() for _ in range(words)]
        e["phonemes"][1:2] = [[]] * len(e["phonemes"][1:2])
        e["word_times"] = np.sort(rng.uniform(0, frames * HOP, 2 * words)).reshape(words, 2)
        e["word_times"][1:2] = np.nan
        e["cls"] = rng.normal(size=SIZES["cls"])
        e["subwords"] = rng.integers(3, SYMBOLS, words + 2)
        samples = WINDOW + (frames - 1) * SHIFT + int(rng.integers(SHIFT)) if frames else 0
        e["sound"] = rng.normal(0.1, 0.5, samples)
        made.append(e)
    return made


def padded(rows, width, dtype):
    """rows (L_i, ...) -> (B, width, ...) and its mask (B, width)."""
    out = torch.zeros(len(rows), width, *np.shape(rows[0])[1:], dtype=dtype)
    mask = torch.ones(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.as_tensor(row).to(dtype)
        mask[i, : len(row)] = False
    return out, mask


def batched(made, dtype=torch.float64):
    """The same as a padded `Batch`."""
    count = len(made)
    b = Batch(
        torch.arange(count),
        emotion=torch.arange(count) % 4,
        sentiment=torch.linspace(-2, 3, count, dtype=dtype),
        cls=torch.tensor(np.stack([e["cls"] for e in made]), dtype=dtype),
    )
    kinds = dict.fromkeys((*WIDTHS, "sound"), dtype)
    for part, kind in (kinds | {"subwords": torch.long}).items():
        rows = [e[part] for e in made]
        x, mask = padded(rows, max(1, *map(len, rows), 0), kind)
        setattr(b, part, x)
        setattr(b, part.removesuffix("s") + "_mask", mask)
    longest = b.words.shape[1]
    b.known, _ = padded([e["known"] for e in made], longest, torch.bool)
    times, mask = padded([e["word_times"] for e in made], longest, torch.float32)
    b.word_times = times.masked_fill(mask.unsqueeze(-1), torch.nan)
    most = max(len(ids) for e in made for ids in [[0], *e["phonemes"]])
    b.phonemes = torch.zeros(count, longest, most, dtype=torch.long)
    for row, e in enumerate(made):
        for i, ids in enumerate(e["phonemes"]):
            b.phonemes[row, i, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    return b


def garbled(batch, garbage=1e3, words=2, frames=3, audio=4, vision=1, phonemes=2, subwords=3):
    """More padding on every axis, with garbage in all of it; sound in step with the frames."""
    new, value = replace(batch), torch.tensor(garbage, dtype=batch.words.dtype)
    wide = replace(batch, phonemes=F.pad(batch.phonemes, (0, phonemes)))
    fillings = {
        "words": (words, value),
        "known": (words, torch.tensor(True)),
        "phonemes": (words, torch.tensor(SIZES["phonemes"] - 1)),
        "word_times": (words, torch.tensor(torch.nan)),
        "frames": (frames, value),
        "audio": (audio, value),
        "vision": (vision, value),
        "subwords": (subwords, torch.tensor(-SYMBOLS)),
        "sound": (8 * frames, value),
    }
    for part, (extra, filling) in fillings.items():
        by_word = part in ("known", "phonemes", "word_times")
        mask = "word_mask" if by_word else part.removesuffix("s") + "_mask"
        x, longer = lengthened(getattr(wide, part), getattr(wide, mask), extra, filling)
        setattr(new, part, x)
        if not by_word:
            setattr(new, mask, longer)
    return new


def only(batch, needs):
    """A batch with these fields, labels, and nothing else."""
    labels = {name: getattr(batch, name) for name in ("emotion", "sentiment")}
    return Batch(batch.index, **labels, **{name: getattr(batch, name) for name in needs})


def changed(batch, part, row=0, at=0):
    """The batch with another value at one place of one utterance."""
    value = getattr(batch, part).clone()
    if part == "known":
        value[row, at] = ~value[row, at]
    elif part == "phonemes":
        value[row, at, 0] = value[row, at, 0] % 8 + 1
    elif part == "subwords":
        value[row, at] = value[row, at] % 20 + 1
    else:
        value[row, at] += 1
    return replace(batch, **{part: value})


def whole(config, lengths=(9, 9, 9), count=5, dtype=torch.float32):
    """Words, audio and vision of random numbers, as wide as a configuration says, no padding."""
    parts = {}
    for part, length in zip(MODALITIES.values(), lengths, strict=True):
        parts[part] = torch.randn(count, length, getattr(config, part), dtype=dtype)
        mask = part.removesuffix("s") + "_mask"
        parts[mask] = torch.zeros(count, length, dtype=torch.bool)
    return Batch(torch.arange(count), **parts)
