"""What is done a piece at a time equals what is done at once, and holds a piece at a time."""

import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.data import Corpus, Utterance, moments
from mmer_lib.features import pieces
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features, Normalised, extract
from mmer_lib.features.pieces import in_chunks, in_threads


def pieces_of(rng, count, width, most=12):
    """`count` arrays (n, width) float32 with means and scales far apart; some without rows."""
    scale = 10.0 ** rng.uniform(-3, 3)
    return [
        (scale * rng.normal(size=(rng.integers(0 if i else 1, most), width)) - 13.8).astype("f4")
        for i in range(count)
    ]


def test_features_of_a_corpus_are_computed_in_memory_that_does_not_grow_with_it():
    """Sound of a second, 64 kB an utterance: 26 MB in all."""

    def corpus(count):
        us = tuple(
            Utterance(f"u{i}", "p", "s", "", waveform=partial(np.full, 16000, 0.5), rate=16000)
            for i in range(count)
        )
        return Corpus("grows", f"{count}", us)

    def compute(given):
        features = extract(given, parts=("sound",), progress=False)
        assert all(len(sound) == 16000 for sound in features.sound)

    compute(corpus(2))  # what is imported late
    tracemalloc.start()
    compute(corpus(400))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * 400 * 64_000


def test_lengths_of_examples_compute_nothing():
    frames = [np.zeros((n, 3), "f4") for n in (4, 2, 7)]
    features = Features(frames=Normalised(frames, "no statistics of theirs"))
    us = tuple(Utterance(f"u{i}", "p", "s", "") for i in range(3))
    assert Examples(Corpus("mine", "k", us), features, [2, 0]).lengths() == [7, 4]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 140), st.sampled_from([8, 3000]))
def test_moments_of_pieces_are_those_of_numpy(seed, count, width, most):
    parts = pieces_of(np.random.default_rng(seed), count, width, most)
    together = np.concatenate(parts)
    known = together.mean(0, dtype=np.float64), together.std(0, dtype=np.float64)
    for found, expected in zip(moments(parts), known, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        if width > 1:  # of one column alone numpy adds pairs of sums
            np.testing.assert_array_equal(found, expected)


def normalised(bank):
    bank = bank.astype(np.float64)
    centred = bank - bank.mean(axis=0)
    return (centred / np.maximum(bank.std(axis=0), 1e-5)).astype(np.float32)


def test_lazy_normalisation_is_that_of_everything_at_once():
    """By speaker: all that one says in one large array. A column that does not vary is there."""
    rng = np.random.default_rng(0)
    banks = [np.concatenate([b, b[:1]]) for b in pieces_of(rng, 40, 40, 90) if len(b)]
    for bank in banks:
        bank[:, 0] = -15.94
    us = tuple(
        Utterance(f"u{i}", f"speaker {rng.integers(4)}", "s", "", frames=bank)
        for i, bank in enumerate(banks)
    )
    corpus = Corpus("framed", "k", us)
    get = partial(extract, corpus, parts=("speech",), progress=False)
    by_utterance, by_speaker = get().frames, get(normalisation="speaker").frames
    assert by_utterance[0] is not by_utterance[0], "nothing is kept"
    for i, bank in enumerate(banks):
        np.testing.assert_array_equal(by_utterance[i], normalised(bank))
        own = [k for k, u in enumerate(us) if u.speaker == us[i].speaker]
        begin = sum(len(banks[k]) for k in own if k < i)
        together = normalised(np.concatenate([banks[k] for k in own]))
        np.testing.assert_array_equal(by_speaker[i], together[begin : begin + len(bank)])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_keep_the_order_and_give_torch_back_its_own(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    late = threading.Event()

    def compute(i):
        if i == 1:  # comes last of the first three
            late.wait(0.2)
        if i == 3:
            late.set()
        return i

    try:
        assert list(in_threads(compute, range(300), "numbers", False)) == [*range(300)]
        with pytest.raises(ZeroDivisionError):
            list(in_threads(lambda i: 1 / (i - 5), range(1000), "numbers", False))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
def test_chunks_are_of_like_length_and_give_the_order_back(monkeypatch, count):
    monkeypatch.setattr(pieces, "CHUNK", 4)
    monkeypatch.setattr(pieces, "WINDOW", 8)
    texts = ["x" * n for n in np.random.default_rng(count).permutation(count)]
    seen = []

    def function(chunk):
        seen.append(chunk)
        return [text + "!" for text in chunk]

    assert list(in_chunks(function, texts, len, "texts", False)) == [text + "!" for text in texts]
    in_windows = [sorted(texts[i : i + 8], key=len) for i in range(0, count, 8)]
    expected = [w[i : i + 4] for w in in_windows for i in range(0, len(w), 4)]
    assert sorted(seen) == sorted(expected)
