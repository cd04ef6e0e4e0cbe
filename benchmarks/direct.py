"""MUSE trained the straightforward way: the paper's batch of four in the order of the file, or in a
new one every epoch, features computed whenever they are read, no buckets, torch's own modules, a
plain loop."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.plain import PlainMuse
from mmer_lib.data import Batch, Corpus, Split, pad
from mmer_lib.features import speech
from mmer_lib.features.extract import phoneme_matrix, word_list
from mmer_lib.features.phonemes import Phonemizer
from mmer_lib.features.text import Glove
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training.metrics import emotion_scores


class Reader:
    """Batches of a corpus, made on the spot."""

    def __init__(self, corpus: Corpus, size: int = 4):
        self.corpus, self.size = corpus, size
        self.glove, self.phonemizer = Glove(), Phonemizer()

    def batch(self, rows: Sequence[int]) -> Batch:
        found = [self.corpus.utterances[row] for row in rows]
        words, known = zip(*[self.glove.vectors(word_list(u)) for u in found], strict=True)
        symbols = [phoneme_matrix(self.phonemizer.encode(word_list(u))) for u in found]
        banks = [speech.normalise(speech.filterbank(u.waveform(), u.rate)) for u in found]
        batch = Batch(torch.tensor(rows))
        batch.words, batch.word_mask = pad(words)
        batch.known, _ = pad(known)
        batch.phonemes, _ = pad(symbols)
        batch.frames, batch.frame_mask = pad(banks)
        classes = self.corpus.emotions
        batch.emotion = torch.tensor([classes.index(u.emotion) for u in found])
        return batch

    def batches(self, rows: Sequence[int]) -> Iterator[Batch]:
        for begin in range(0, len(rows), self.size):
            yield self.batch(rows[begin : begin + self.size])


def train(
    corpus: Corpus,
    split: Split,
    config: MuseConfig,
    rate: float,
    epochs: int,
    target: float,
    shuffled: bool = False,
) -> list[dict]:
    """-> after each epoch "seconds" since the start, and "wa" of the development part; it ends when
    that reaches the target. `shuffled`: another order in every epoch, not that of the file."""
    torch.manual_seed(0)
    rng, rows = np.random.default_rng(0), np.array(split.train)
    begun, reader, history = time.perf_counter(), Reader(corpus), []
    model = PlainMuse(Muse(config))
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    while len(history) < epochs and not (history and history[-1]["wa"] >= target):
        model.train()
        order = rng.permutation(rows) if shuffled else rows
        for batch in reader.batches(order.tolist()):
            optimiser.zero_grad()
            F.cross_entropy(model(batch), batch.emotion).backward()
            optimiser.step()
        model.eval()
        with torch.inference_mode():
            pairs = [(model(b), b.emotion) for b in reader.batches(split.dev)]
        logits, truth = (torch.cat(part) for part in zip(*pairs, strict=True))
        wa = emotion_scores(logits, truth)["wa"]
        history.append({"seconds": time.perf_counter() - begun, "wa": float(np.round(wa, 4))})
    return history
