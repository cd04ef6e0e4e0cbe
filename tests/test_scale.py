"""What is done a piece at a time equals what is done at once, and holds a piece at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from benchmarks import growth
from mmer_lib import store as cache
from mmer_lib import store as ragged_file
from mmer_lib.data import Corpus, DataError, Utterance, moments
from mmer_lib.features import pieces
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features, extract
from mmer_lib.features.pieces import Each, in_chunks, in_threads, lengths
from mmer_lib.models.compared.linear import Linear
from mmer_lib.models.layers import Standardise
from mmer_lib.models.mimic import Mimic
from mmer_lib.probes.representations import mean_cosines
from mmer_lib.store import _checksum, load_ragged, ragged_writer
from mmer_lib.training import trace
from mmer_lib.training.fit import fit_scaling
from tests.models import speech
from tests.models.test_floors import SMALL
from tests.models.test_registry import LENGTHS, batch_of, config_of
from tests.test_store import ragged

SHARED_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def pieces_of(rng, count, width, most=12):
    """`count` arrays (n, width) float32 with means and scales far apart; some without rows."""
    scale = 10.0 ** rng.uniform(-3, 3)
    return [
        (scale * rng.normal(size=(rng.integers(0 if i else 1, most), width)) - 13.8).astype("f4")
        for i in range(count)
    ]


def traced(function, *args):
    """Most bytes that Python and numpy hold at a time during a call."""
    tracemalloc.start()
    function(*args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# ------------------------------------------------------------------------------- the writer


def written_at_once(path, arrays, metadata):
    """A ragged file by way of one large array a name."""
    tensors = {}
    for name, items in arrays.items():
        flat = np.concatenate(items) if items else np.zeros(0, np.float32)
        tensors[name] = np.ascontiguousarray(flat)
        tensors[name + "/offsets"] = np.cumsum([0, *map(len, items)], dtype=np.int64)
    header = {"metadata": json.dumps(metadata), "checksum": _checksum(tensors)}
    save_file(tensors, path, header)


def parts_of(path):
    """Header as ordered pairs, and all bytes after it. The two texts of "__metadata__" come in any
    order, by safetensors."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start], object_pairs_hook=list)
    return [(k, sorted(v) if k == "__metadata__" else v) for k, v in header], content[start:]


@SHARED_FOLDER
@given(arrays=ragged())
def test_the_writer_leaves_the_file_that_is_made_at_once(tmp_path, arrays):
    metadata = {"size": 3, "of": ["ä", None]}
    with ragged_writer(tmp_path / "new", arrays) as writer:
        longest = max(map(len, arrays.values()), default=0)
        for i in range(longest):  # the names in turn
            for name, items in arrays.items():
                for item in items[i : i + 1]:
                    writer.append(name, item)
        writer.metadata.update(metadata)
    written_at_once(tmp_path / "old", arrays, metadata)
    assert parts_of(tmp_path / "new") == parts_of(tmp_path / "old")
    found, told = load_ragged(tmp_path / "old", verify=True)
    assert told == metadata and cache.digest(found) == cache.digest(arrays)


def test_a_file_that_fails_in_the_middle_is_not_there(tmp_path):
    (tmp_path / "x").write_bytes(b"before")
    with (
        pytest.raises(ValueError, match="disagree"),
        ragged_writer(tmp_path / "x", "a") as w,
    ):
        w.append("a", np.zeros(5))
        assert os.listdir(tmp_path) == ["x"], "what waits on the disk has no name"
        w.append("a", np.zeros((5, 1)))
    with pytest.raises(TypeError), ragged_writer(tmp_path / "x", "a") as w:
        w.metadata["size"] = object()
    with (
        pytest.raises(ValueError, match="is taken"),
        ragged_writer(tmp_path, ["a/offsets"]),
    ):
        pass
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"before"


def test_what_the_body_raises_is_not_taken_for_an_error_of_writing(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"^a\.wav$"),
        ragged_writer(tmp_path / "x", "a") as writer,
    ):
        writer.append("a", np.zeros(5))
        raise FileNotFoundError("a.wav")
    assert not os.listdir(tmp_path)


@LINUX
def test_a_full_disk_is_told_when_an_item_no_longer_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(ragged_file, "TemporaryFile", lambda dir: open("/dev/full", "w+b"))
    for size in (10, 100_000):  # what waits for the end, and what is written at once
        with pytest.raises(DataError, match="x: cannot be written: No space left"):
            ragged_file.save_ragged(tmp_path / "x", {"a": [np.zeros(size)]}, {})
    assert not os.listdir(tmp_path)


def test_a_process_killed_while_it_writes_leaves_nothing(tmp_path):
    code = """
import sys, numpy as np
from mmer_lib.store import ragged_writer
with ragged_writer(sys.argv[1], ["a"]) as writer:
    for _ in range(100):
        writer.append("a", np.zeros((1000, 8)))
    print("here", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"here\n"
        child.send_signal(signal.SIGKILL)
    assert not os.listdir(tmp_path)


def test_the_writer_and_the_reader_hold_one_item_at_a_time(tmp_path):
    """Items of 80 kB. Of each, 8 bytes stay, where it ends, which may be copied as they grow."""

    def write(count):
        with ragged_writer(tmp_path / "x", ["a"]) as writer:
            for i in range(count):
                writer.append("a", np.full((100, 100), i, np.float64))

    def read(verify):
        arrays, _ = load_ragged(tmp_path / "x", verify)
        return sum(float(item[0, 0]) for item in arrays["a"])

    write(2)  # what is imported late
    few = traced(write, 50)
    read_few = traced(read, True)
    many = traced(write, 1000)
    assert many < 1.1 * few + 24 * 950 < 1e6
    assert traced(read, True) < read_few + 10_000 < 200_000


# --------------------------------------------------------------------------- lazy sequences


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(-8, 8), st.slices(6))
def test_lazy_sequences_read_as_lists_do(counts, i, some):
    flat = np.arange(2.0 * sum(counts)).reshape(-1, 2)
    expected = np.split(flat, np.cumsum(counts)[:-1]) if counts else []
    items = ragged_file.Ragged(flat, np.cumsum([0, *counts]))
    doubled = Each(np.add, items, expected)
    assert len(items) == len(doubled) == len(expected) and bool(items) is bool(expected)
    for one, other, known in zip(items, doubled, expected, strict=True):
        np.testing.assert_array_equal(one, known)
        np.testing.assert_array_equal(other, 2 * known)
    assert cache.digest(items[some]) == cache.digest(expected[some])
    assert lengths(doubled, range(len(counts))) == counts
    if -len(counts) <= i < len(counts):
        np.testing.assert_array_equal(items[np.int64(i)], expected[i])
    else:
        with pytest.raises(IndexError):
            items[i]


def test_lengths_of_examples_compute_nothing():
    frames = [np.zeros((n, 3), "f4") for n in (4, 2, 7)]
    features = Features(frames=Each(pytest.fail, frames))
    us = tuple(Utterance(f"u{i}", "p", "s", "") for i in range(3))
    assert Examples(Corpus("mine", "k", us), features, [2, 0]).lengths() == [7, 4]


# ------------------------------------------------------------------ statistics and normalising


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


def test_scaling_is_fitted_on_pieces_as_on_the_whole_training_part():
    rng = np.random.default_rng(0)
    features = Features(frames=pieces_of(rng, 30, 5), audio=pieces_of(rng, 30, 2))
    layers = {"frames": Standardise(5), "audio": Standardise(2)}
    model, rows = SimpleNamespace(scalings=lambda: layers), [*range(25, 3, -2)]
    us = tuple(Utterance(f"u{i}", "p", "s", "") for i in range(30))
    examples = Examples(Corpus("mine", "k", us), features, rows)
    fit_scaling(model, examples, SimpleNamespace(frames="train"))
    for name, layer in layers.items():
        together = np.concatenate([getattr(features, name)[r] for r in rows])
        mean, deviation = together.mean(0, dtype=np.float64), together.std(0, dtype=np.float64)
        assert torch.equal(layer.mean, torch.from_numpy(mean).float())
        assert torch.equal(layer.deviation, torch.from_numpy(deviation).float())


def normalised(bank):
    bank = bank.astype(np.float64)
    centred = bank - bank.mean(axis=0)
    return (centred / np.maximum(bank.std(axis=0), 1e-5)).astype(np.float32)


@pytest.mark.parametrize("width", [2, 40])
def test_lazy_normalisation_is_that_of_everything_at_once(width):
    """By speaker: all that one says in one large array. A column that does not vary is there."""
    rng = np.random.default_rng(width)
    banks = [np.concatenate([b, b[:1]]) for b in pieces_of(rng, 40, width, 90) if len(b)]
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


# ------------------------------------------------------------------------------ computing


def test_threads_keep_the_order_and_do_not_run_ahead_of_who_takes():
    started, before = [], torch.get_num_threads()
    first = threading.Event()

    def compute(i):
        started.append(i)
        if i == 1:  # the first comes when a second thread, if there is one, has gone on
            first.set()
        if i == 0:
            first.wait(0.2)
        return i

    most = pieces._AHEAD * before
    for taken, result in enumerate(in_threads(compute, range(300), "numbers", False)):
        assert result == taken and len(started) <= taken + 1 + most
    assert torch.get_num_threads() == before


def test_an_error_in_a_thread_stops_all_and_so_does_who_takes_no_more():
    before, started = torch.get_num_threads(), []

    def compute(i):
        started.append(i)
        return 1 / (i - 5)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(compute, range(1000), "numbers", False))
    results = in_threads(compute, range(1000), "numbers", False)
    next(results)
    results.close()
    assert len(started) < 100 and torch.get_num_threads() == before


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
def test_chunks_are_of_like_length_and_give_the_order_back(monkeypatch, count):
    monkeypatch.setattr(pieces, "CHUNK", 4)
    monkeypatch.setattr(pieces, "WINDOW", 8)
    texts = ["x" * n for n in np.random.default_rng(count).permutation(count)]
    seen = []

    def function(chunk):
        seen.append(chunk)
        return [text + "!" for text in chunk]

    assert list(in_chunks(function, texts, "texts", False)) == [text + "!" for text in texts]
    in_windows = [sorted(texts[i : i + 8], key=len) for i in range(0, count, 8)]
    expected = [w[i : i + 4] for w in in_windows for i in range(0, len(w), 4)]
    assert sorted(seen) == sorted(expected)


def test_features_of_a_corpus_are_computed_in_memory_that_does_not_grow_with_it():
    """Sound of a second, 64 kB an utterance: 1.3 MB, and twenty times that. Of memory, what the
    results that wait take; and of an utterance more, 100 bytes at most."""

    def corpus(count):
        us = tuple(
            Utterance(f"u{i}", "p", "s", "", waveform=partial(np.full, 16000, 0.5), rate=16000)
            for i in range(count)
        )
        return Corpus("grows", f"{count}", us)

    def compute(given):
        features = extract(given, parts=("sound",), progress=False)
        assert all(len(sound) == 16000 for sound in features.sound)

    few, many = corpus(20), corpus(400)
    compute(corpus(2))  # what is imported late
    waiting = 64_000 * (2 + pieces._AHEAD) * torch.get_num_threads()
    assert traced(compute, few) < 20 * 64_000 + 1e6
    assert traced(compute, many) < 3 * waiting + 100 * 400 + 5e5 < 0.5 * 400 * 64_000


# ---------------------------------------------------------------------------- models


class Watched:
    """Hands out batches, and counts how many of those before are still there when one is asked
    for."""

    def __init__(self):
        self.handed, self.most = [], 0

    def __call__(self, batch):
        self.most = max(self.most, sum(ref() is not None for ref in self.handed))
        self.handed.append(weakref.ref(batch))
        return batch


def test_the_linear_floor_reads_one_batch_at_a_time():
    watched, rng = Watched(), np.random.default_rng(0)

    def batches(count):
        for seed in range(count):
            batch = speech.batched(
                speech.examples({k: (4,) * 8 for k in speech.LENGTHS}, seed=seed), torch.float32
            )
            batch.emotion = torch.from_numpy(rng.integers(0, 4, 8))
            yield watched(batch)

    model = Linear(SMALL)
    model.solve(batches(6), batches(3))
    assert len(watched.handed) == 9 and watched.most <= 1


def test_the_trace_looks_at_one_batch_at_a_time(monkeypatch):
    model, watched, made = Mimic(config_of("mimic")), Watched(), batch_of(LENGTHS)
    chunks = [[*range(i, i + 4)] for i in (8, 0, 4)]
    monkeypatch.setattr(trace, "LengthBuckets", lambda *_, **__: chunks)
    examples = MagicMock(rows=range(12), __len__=lambda _: 12)
    single = made._map(lambda t: t.float() if t.is_floating_point() else t)
    examples.collate = lambda rows: watched(single._map(torch.clone))
    means, places = mean_cosines(model, examples, kept=3)
    assert len(watched.handed) == 3 and watched.most <= 1
    assert set(means) >= {"h text-audio", "i audio-vision"} and places.shape[0] == 3


# -------------------------------------------------------------------------- the benchmark


def test_the_growing_corpus_is_the_same_each_time_and_of_the_true_form():
    one, two = growth.corpus_of(25), growth.corpus_of(50)
    for u, v in zip(one.utterances, two.utterances, strict=False):
        np.testing.assert_array_equal(u.waveform(), v.waveform())
        assert (u.words, u.emotion, u.sentiment) == (v.words, v.emotion, v.sentiment)
        assert u.text == " ".join(w.text for w in u.words)
        assert u.words[-1].end < len(u.waveform()) / u.rate < 2 and np.ptp(u.waveform()) < 2
    assert len({u.emotion for u in two.utterances}) == 4
    assert all(len(part) == 10 for part in two.splits(0)[1:])
    assert one.key != two.key


@LINUX
def test_the_watch_sees_memory_that_is_taken_and_given_back():
    with growth.watching(0.0005) as found:
        taken = np.ones(5_000_000)
        for _ in range(20):
            growth.resident()
            threading.Event().wait(0.002)
        del taken
    assert 39e6 < found["anonymous"] < 60e6 and found["resident"] > 39e6


def test_growth_is_told_from_the_two_largest_sizes():
    few, many = {"cpu": 2.0, "anonymous": 1_000}, {"cpu": 44.0, "anonymous": 3_000}
    sizes = {"1": many, "10": few, "110": many}
    found = {count: dict.fromkeys(growth.STEPS, size) for count, size in sizes.items()}
    assert growth.growth(found)["MIMIC"] == {"time": 2.0, "memory": 3.0, "bytes": 20.0}
