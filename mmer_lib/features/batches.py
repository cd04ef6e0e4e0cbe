"""From features to padded batches; shapes and masks as in `mmer_lib.data`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from mmer_lib.data import Batch, Corpus, DataError, pad
from mmer_lib.features.extract import Features


class Examples:
    """Chosen utterances of a corpus (`rows`, positions in it) with their features."""

    def __init__(self, corpus: Corpus, features: Features, rows: Sequence[int]):
        self.corpus, self.features, self.rows = corpus, features, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self) -> list[int]:
        """The length that decides what a batch costs: of the sound if there is any, else of the
        text."""
        f = self.features
        for part in (f.sound, f.frames, f.words, f.phonemes, f.subwords):
            if part is not None:
                raw = getattr(part, "raw", part)  # not normalised for it
                return [len(raw[row]) for row in self.rows]
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
            batch.word_times = torch.full((*batch.word_mask.shape, 2), torch.nan)
            for times, u in zip(batch.word_times.numpy(), utterances, strict=True):
                if u.words:
                    times[: len(u.words)] = [(w.start, w.end) for w in u.words]
        if all(u.emotion is not None for u in utterances):
            classes = self.corpus.emotions
            batch.emotion = torch.tensor([classes.index(u.emotion) for u in utterances])
        if all(u.sentiment is not None for u in utterances):
            batch.sentiment = torch.tensor([u.sentiment for u in utterances], dtype=torch.float32)
        return batch


GROUP = 20
"""Batches among which neighbours in length are looked for."""


class LengthBuckets(Sampler[list[int]]):
    """Batches of neighbours in length, so that little is padding; in training, batches and their
    members change with every epoch.

    Shuffled items are cut into groups of `GROUP` batches, each group is sorted by length and cut
    into batches, and the batches are shuffled. Without `shuffle` all are sorted.

    With `short_last` the batch that is not full stands at the end, as several processes need it.
    """

    def __init__(self, lengths, batch_size: int, shuffle: bool, seed: int = 0):
        self.lengths = np.asarray(lengths)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch, self.short_last = 0, False

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
        order, span = rng.permutation(n), size * GROUP
        groups = [order[i : i + span] for i in range(0, n, span)]
        ordered = np.concatenate([g[np.argsort(self.lengths[g], kind="stable")] for g in groups])
        batches = [ordered[i : i + size] for i in range(0, n, size)]
        batches = [batches[i].tolist() for i in rng.permutation(len(batches))]
        if self.short_last:
            batches.sort(key=len, reverse=True)
        yield from batches


def loader(examples: Examples, batch_size: int, shuffle: bool, seed: int = 0) -> DataLoader:
    """A DataLoader over length buckets, with pinned memory where there is a GPU."""
    if not len(examples):
        raise DataError(f"{examples.corpus.name}: a part of this fold has no utterances")
    buckets = LengthBuckets(examples.lengths(), batch_size, shuffle, seed)
    return DataLoader(
        examples.rows,
        batch_sampler=buckets,
        collate_fn=examples.collate,
        pin_memory=torch.cuda.is_available(),
    )
