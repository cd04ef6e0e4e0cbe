"""Time and memory as a corpus grows: `python -m benchmarks.growth --help`; README.md. Linux only.

Every step runs in a process of its own, on one thread of torch. Seconds are of CPU, of all threads
together, which other programs disturb less. Memory is what is the process's own ("anonymous",
RssAnon): not the pages of files that are read, which the system takes back where memory is short
and which are given beside it, as part of all that is resident (VmRSS).
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import RESULTS, heading, write
from mmer_lib.data import EMOTIONS, Corpus, Utterance, Word
from mmer_lib.features.extract import extract
from mmer_lib.training.fit import fit

RATE, WORD = 16000, 0.3  # Hz; seconds a word
VOCABULARY = tuple(
    "the dog runs over a small green hill and nobody sees where it was going today "
    "because people walk home late when rain falls on every street of this old town".split()
)
PARTS = ("speech", "audio", "words", "phonemes")
WARM = 40  # utterances on which a step is done once before it counts


def corpus_of(count: int) -> Corpus:
    """`count` utterances of 2 to 5 words, 0.7 to 1.6 seconds, by 10 speakers in 5 sessions. A
    waveform is made whenever it is read."""
    return Corpus("growth", f"growth {count}", tuple(map(_utterance, range(count))), synthetic=True)


def _utterance(i: int) -> Utterance:
    rng = np.random.default_rng(i)
    texts = rng.choice(VOCABULARY, size=rng.integers(2, 6)).tolist()
    words = tuple(
        Word(text, round(k * WORD + 0.05, 3), round((k + 1) * WORD, 3))
        for k, text in enumerate(texts)
    )
    return Utterance(
        f"growth-{i:06d}",
        f"speaker {i % 10}",
        f"session {i % 5}",
        " ".join(texts),
        words,
        partial(_wave, i, round(RATE * (words[-1].end + 0.1))),
        RATE,
        emotion=EMOTIONS[i // 5 % 4],
        sentiment=round(float(rng.uniform(-3, 3)), 1),
    )


def _wave(seed: int, samples: int) -> np.ndarray:
    """Three harmonics of a voice, and noise."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * rng.uniform(80, 250) * np.arange(samples) / RATE
    tone = sum(np.sin(k * angle) / k for k in (1, 2, 3))
    return (0.1 * tone + 0.01 * rng.standard_normal(samples)).astype(np.float32)


def _extract(corpus: Corpus, normalisation: str = "none") -> None:
    extract(corpus, parts=PARTS, progress=False, normalisation=normalisation)


def _train(corpus: Corpus, name: str, folder: str, **options) -> None:
    """One epoch, with all that comes before and after it. The features are there."""
    fit(name, corpus, device="cpu", out=folder, progress=False, max_epochs=1, **options)


STEPS: dict[str, Callable[[Corpus, str], None]] = {
    "features": lambda corpus, _: _extract(corpus),
    "opening": lambda corpus, _: _extract(corpus, "utterance"),
    "opening, by speaker": lambda corpus, _: _extract(corpus, "speaker"),
    "MUSE, scaled on the training part": lambda c, folder: _train(c, "muse", folder),
    "MUSE, by utterance": lambda c, folder: _train(c, "muse", folder, frames="utterance"),
    "MIMIC": lambda c, folder: _train(c, "mimic", folder, modalities=("text", "audio")),
}
"""What is measured, in this order; a later step finds the features of the first."""


def resident() -> np.ndarray:
    """(anonymous, all) resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = dict(line.split(":", 1) for line in status)
    return np.array([1024 * int(sizes[k].split()[0]) for k in ("RssAnon", "VmRSS")])


@contextmanager
def watching(every: float = 0.005) -> Iterator[dict[str, float]]:
    """Yields what holds, in the end, seconds ("cpu", "wall") and the most memory above the start
    ("anonymous", "resident"), in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    start, done, found = resident(), threading.Event(), {}
    peaks = [start]

    def watch() -> None:
        while not done.wait(every):
            peaks.append(np.maximum(peaks.pop(), resident()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.process_time(), time.perf_counter()
    try:
        yield found
    finally:
        found["cpu"] = time.process_time() - begun[0]
        found["wall"] = time.perf_counter() - begun[1]
        done.set()
        watcher.join()
        above = np.maximum(peaks[0], resident()) - start
        found["anonymous"], found["resident"] = map(int, above)


def measure(count: int, step: str, cache: str) -> dict[str, float]:
    """A step on `count` utterances in this process, after one on a few, which is not counted."""
    corpus = corpus_of(count)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMER_CACHE"] = folder
        STEPS[step](corpus_of(WARM), f"{folder}/runs")
        os.environ["MMER_CACHE"] = cache
        with watching() as found:
            STEPS[step](corpus, f"{folder}/runs")
    return found


def apart(function: Callable, *arguments):
    """function(*arguments) in a new process, a copy of this one, so that nothing is imported."""
    copies = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, copies) as pool:
        return pool.submit(function, *arguments).result()


def metadata_size(count: int) -> float:
    """Bytes of memory an utterance of the corpus takes before a feature is read."""
    tracemalloc.start()
    corpus = corpus_of(count)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(corpus.utterances)


def grown(counts: list[int]) -> dict[str, dict[str, dict]]:
    """count -> step -> what `measure` finds in a new process; and "file", bytes of features."""
    found: dict[str, dict[str, dict]] = {}
    for count in counts:
        found[str(count)] = sizes = {}
        with tempfile.TemporaryDirectory() as cache:
            for step in STEPS:
                sizes[step] = apart(measure, count, step, cache)
                print(f"{count:8d}  {step:36}{line_of(sizes[step], count)}", flush=True)
            sizes["file"] = sum(p.stat().st_size for p in Path(cache, "features").iterdir())
    return found


def line_of(found: dict[str, float], count: int) -> str:
    return (
        f"{found['cpu']:8.1f} s  {1000 * found['cpu'] / count:8.2f} ms/utterance  "
        f"{found['anonymous'] / 1e6:8.1f} MB  {found['resident'] / 1e6:8.1f} MB"
    )


def growth(found: dict[str, dict[str, dict]]) -> dict[str, dict[str, float]]:
    """From the last size but one to the largest, by step: "time", the ratio of the seconds an
    utterance; "memory", that of the peaks; "bytes", by what the peak grew for each utterance more.
    """
    (few, before), (many, after) = [(int(n), sizes) for n, sizes in found.items()][-2:]
    return {
        step: {
            "time": after[step]["cpu"] / many / (before[step]["cpu"] / few),
            "memory": after[step]["anonymous"] / before[step]["anonymous"],
            "bytes": (after[step]["anonymous"] - before[step]["anonymous"]) / (many - few),
        }
        for step in STEPS
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    output = RESULTS / "growth.json"
    parser.add_argument("--output", type=Path, default=output, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # what is imported late, is now
        os.environ["MMER_CACHE"] = folder
        _extract(corpus_of(WARM))
    found = grown(chosen.sizes)
    result = {
        **heading("growth", arguments),
        "memory": "bytes above the start of the step: anonymous (RssAnon), resident (VmRSS)",
        "sizes": found,
        "corpus": metadata_size(chosen.sizes[-1]),
        "growth": growth(found),
    }
    for step, change in result["growth"].items():
        print(
            f"{step:36}time x {change['time']:.2f}  peak x {change['memory']:.2f}, "
            f"{change['bytes']:.0f} bytes an utterance"
        )
    print(f"the corpus itself: {result['corpus']:.0f} bytes an utterance")
    write(result, chosen.output)


if __name__ == "__main__":
    main()
