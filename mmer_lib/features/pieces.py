"""A corpus piece by piece: what would be large if all of it were in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

CHUNK = 64
"""Items that a text encoder gets at a time."""

WINDOW = 32 * CHUNK
"""Items among which those of like length are looked for, to make a chunk."""


def in_threads(function: Callable, items: Sequence, title: str, progress: bool) -> Iterator:
    """function(item) for every item, in order, on all cores, with a bar in the terminal.

    In threads, since a waveform's callable need not be picklable; each with one thread of torch,
    since those that wait for one another at every small operation are slower by far.
    """
    import torch
    from joblib import Parallel, delayed
    from tqdm import tqdm

    def compute() -> Iterator:
        yield from map(function, items[:1])  # loads what it needs before there are threads
        pool = Parallel(cores, backend="threading", return_as="generator")
        yield from pool(delayed(function)(item) for item in items[1:])

    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from tqdm(compute(), title, len(items), leave=False, disable=not progress)
    finally:
        torch.set_num_threads(cores)


def in_chunks(
    function: Callable[[list], Sequence],
    items: Sequence,
    length: Callable[[Any], int],
    title: str,
    progress: bool,
) -> Iterator:
    """What `function` gives for all items, in their order, called with lists of at most `CHUNK` of
    like `length`, on all cores."""
    chunks = []
    for begin in range(0, len(items), WINDOW):
        window = range(begin, min(begin + WINDOW, len(items)))
        order = sorted(window, key=lambda i: length(items[i]))
        chunks += [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]

    def compute(chunk: list[int]) -> zip:
        return zip(chunk, function([items[i] for i in chunk]), strict=True)

    waiting, due = {}, 0
    for pairs in in_threads(compute, chunks, title, progress):
        waiting.update(pairs)
        while due in waiting:
            yield waiting.pop(due)
            due += 1
