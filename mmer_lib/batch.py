"""From features to padded batches.

Shapes in one notation: B utterances, W words, P phonemes a word, T frames, D width.
Masks follow torch: True = padding. Lengths belong to a modality: each has its own mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mmer_lib.corpora import Corpus, DataError, Utterance
from mmer_lib.features import Features
from mmer_lib.features.pieces import lengths


@dataclass
class Batch:
    """Tensors of B utterances; a part that the features lack is None.

    Attributes:
        index: (B,) positions in the corpus.
        words, known, word_mask: word vectors (B, W, D); (B, W) True where the word has a vector;
            (B, W).
        phonemes: (B, W, P) symbol numbers, 0 = padding.
        frames, frame_mask: filterbank (B, T, 128), (B, T).
        audio, audio_mask: acoustic features averaged over words (B, W, D), (B, W).
        vision, vision_mask: action units averaged over words (B, W, D), (B, W).
        cls: (B, D) a text encoder's vector at [CLS].
        subwords, subword_mask: sub-word numbers of a text encoder (B, S), (B, S).
        sound, sound_mask: samples at 16 kHz (B, N), (B, N).
        word_times: (B, W, 2) start and end of each word in seconds, NaN where unknown.
        emotion: (B,) positions in the corpus's `emotions`.
        sentiment: (B,) in [-3, 3].
    """

    index: Tensor
    words: Tensor | None = None
    known: Tensor | None = None
    word_mask: Tensor | None = None
    phonemes: Tensor | None = None
    frames: Tensor | None = None
    frame_mask: Tensor | None = None
    audio: Tensor | None = None
    audio_mask: Tensor | None = None
    vision: Tensor | None = None
    vision_mask: Tensor | None = None
    cls: Tensor | None = None
    subwords: Tensor | None = None
    subword_mask: Tensor | None = None
    sound: Tensor | None = None
    sound_mask: Tensor | None = None
    word_times: Tensor | None = None
    emotion: Tensor | None = None
    sentiment: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def _map(self, function) -> Batch:
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in present.items() if v is not None})

    def to(self, device, non_blocking: bool = True) -> Batch:
        """A copy on a device (a real copy only where it has to be)."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def share(self, rank: int, ranks: int) -> Batch:
        """What one of several processes computes of this batch: utterances in order, as many for
        each; where they run out, empty ones, of which everything is padding."""
        if ranks == 1:
            return self
        size = -(-len(self) // ranks)

        def cut(name: str, rows: Tensor) -> Tensor:
            mine = rows[rank * size : (rank + 1) * size]
            empty = (size - len(mine), *rows.shape[1:])
            return torch.cat([mine, rows.new_full(empty, name.endswith("_mask"))])

        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: cut(k, v) for k, v in present.items() if v is not None})

    def pin_memory(self) -> Batch:
        return self._map(Tensor.pin_memory)


_TORCH = {np.dtype(n): getattr(torch, n) for n in ("bool", "int64", "float32", "float64")}


def pad(items: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Items (L_i, ...) -> (B, L, ...) padded with zeros, and its mask (B, L).

    Every axis is padded to the longest, at least to one position, so that nothing is empty.
    """
    shape = [max(1, *sizes) for sizes in zip(*([*a.shape, 1] for a in items), strict=True)][:-1]
    # Torch's memory begins at multiples of 64 bytes, numpy's anywhere; sums of products are done in
    # another order, and rounded otherwise, where they begin elsewhere.
    padded = torch.zeros(len(items), *shape, dtype=_TORCH[items[0].dtype])
    mask = torch.ones(len(items), shape[0], dtype=torch.bool)
    for row, real, item in zip(padded.numpy(), mask.numpy(), items, strict=True):
        row[tuple(map(slice, item.shape))] = item
        real[: len(item)] = False
    return padded, mask


class Examples(Dataset):
    """Chosen utterances of a corpus with their features; `examples[i]` is a position in the corpus
    and `collate` makes batches of them."""

    def __init__(self, corpus: Corpus, features: Features, rows: Sequence[int]):
        self.corpus, self.features, self.rows = corpus, features, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> int:
        return self.rows[i]

    def lengths(self) -> list[int]:
        """The length that decides what a batch costs: of the sound if there is any, else of the
        text."""
        f = self.features
        for parts in (f.sound, f.frames, f.words, f.phonemes, f.subwords):
            if parts is not None:
                return lengths(parts, self.rows)
        return [1] * len(self.rows)

    def collate(self, rows: Sequence[int]) -> Batch:
        """Positions in the corpus -> `Batch`."""
        f, batch = self.features, Batch(index=torch.tensor(rows))
        if f.words is not None:
            batch.words, batch.word_mask = pad([f.words[r] for r in rows])
            batch.known, _ = pad([f.known[r] for r in rows])
        if f.phonemes is not None:
            batch.phonemes, mask = pad([f.phonemes[r] for r in rows])
            batch.word_mask = mask if batch.word_mask is None else batch.word_mask
        if f.cls is not None:
            batch.cls = torch.tensor(np.stack([f.cls[r] for r in rows]))
        for name in ("frames", "audio", "vision", "subwords", "sound"):
            if (part := getattr(f, name)) is not None:
                padded, mask = pad([part[r] for r in rows])
                setattr(batch, name, padded)
                setattr(batch, name.removesuffix("s") + "_mask", mask)
        utterances = [self.corpus.utterances[r] for r in rows]
        if batch.word_mask is not None:
            batch.word_times = _word_times(utterances, batch.word_mask)
        if all(u.emotion is not None for u in utterances):
            classes = self.corpus.emotions
            batch.emotion = torch.tensor([classes.index(u.emotion) for u in utterances])
        if all(u.sentiment is not None for u in utterances):
            batch.sentiment = torch.tensor([u.sentiment for u in utterances], dtype=torch.float32)
        return batch


def _word_times(utterances: Sequence[Utterance], word_mask: Tensor) -> Tensor:
    """(B, W, 2) in seconds, NaN for padding and for utterances without word times."""
    times = torch.full((*word_mask.shape, 2), torch.nan)
    for row, utterance in zip(times.numpy(), utterances, strict=True):
        if utterance.words:
            row[: len(utterance.words)] = [(w.start, w.end) for w in utterance.words]
    return times


class LengthBuckets(Sampler[list[int]]):
    """Batches of neighbours in length, so that little is padding; in training, batches and their
    members change with every epoch.

    Shuffled items are cut into groups of `group` batches, each group is sorted by length and cut
    into batches, and the batches are shuffled.
    """

    def __init__(self, lengths, batch_size: int, shuffle: bool, seed: int = 0, group: int = 20):
        self.lengths = np.asarray(lengths)
        self.batch_size, self.shuffle, self.seed, self.group = batch_size, shuffle, seed, group
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        n, size = len(self.lengths), self.batch_size
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            yield from (order[i : i + size].tolist() for i in range(0, n, size))
            return
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order, span = rng.permutation(n), size * self.group
        groups = [order[i : i + span] for i in range(0, n, span)]
        ordered = np.concatenate([g[np.argsort(self.lengths[g], kind="stable")] for g in groups])
        batches = [ordered[i : i + size] for i in range(0, n, size)]
        yield from (batches[i].tolist() for i in rng.permutation(len(batches)))


def loader(examples: Examples, batch_size: int, shuffle: bool, seed: int = 0) -> DataLoader:
    """A DataLoader over length buckets, with pinned memory where there is a GPU.

    Raises:
        DataError: no examples.
    """
    if not len(examples):
        raise DataError(f"{examples.corpus.name}: a part of this fold has no utterances")
    buckets = LengthBuckets(examples.lengths(), batch_size, shuffle, seed)
    return DataLoader(
        examples,
        batch_sampler=buckets,
        collate_fn=examples.collate,
        pin_memory=torch.cuda.is_available(),
    )
