"""A corpus piece by piece: what would be large if all of it were in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmer_lib.store import Lazy

CHUNK = 64
"""Items that a text encoder gets at a time."""

WINDOW = 32 * CHUNK
"""Items among which those of like length are looked for, to make a chunk."""

_AHEAD = 4  # results that may wait to be taken, by core


class Each(Lazy):
    """``map(function, *sequences)`` as a sequence: an item is computed whenever it is asked for.
    The sequences are equally long."""

    def __init__(self, function: Callable[..., Any], *sequences: Sequence):
        self.function, self.sequences = function, sequences

    def __len__(self) -> int:
        return len(self.sequences[0])

    def _item(self, i: int) -> Any:
        return self.function(*(sequence[i] for sequence in self.sequences))


def lengths(items: Sequence[np.ndarray], rows: Iterable[int]) -> list[int]:
    """Number of rows of some items. Those of an `Each` are not computed for it, but taken to have
    as many rows as what they are computed from."""
    while isinstance(items, Each):
        items = items.sequences[0]
    return [len(items[i]) for i in rows]


def in_chunks(
    function: Callable[[list], Sequence], items: Sequence, title: str, progress: bool
) -> Iterator:
    """What `function` gives for all items, in their order, called with lists of at most `CHUNK` of
    like length, on all cores."""
    chunks = []
    for begin in range(0, len(items), WINDOW):
        window = range(begin, min(begin + WINDOW, len(items)))
        order = sorted(window, key=lambda i: len(items[i]))
        chunks += [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]

    def compute(chunk: list[int]) -> zip:
        return zip(chunk, function([items[i] for i in chunk]), strict=True)

    made, due = {}, 0
    for pairs in in_threads(compute, chunks, title, progress):
        made.update(pairs)
        while due in made:
            yield made.pop(due)
            due += 1


def in_threads(function: Callable, items: Sequence, title: str, progress: bool) -> Iterator:
    """function(item) for every item, in order, on all cores, one thread of torch each; few results
    at a time wait to be taken.

    Threads, since torch lets go of the interpreter while it works and a waveform's callable need
    not be picklable. One thread of torch each, since several that wait for one another at every
    small operation are slower by far on a busy machine.
    """
    with _one_torch_thread() as cores, ThreadPoolExecutor(cores) as pool:
        try:
            results = _ahead(pool, function, items, _AHEAD * cores)
            yield from bar(results, title, progress, len(items))
        finally:
            pool.shutdown(cancel_futures=True)


def _ahead(pool: Executor, function: Callable, items: Iterable, most: int) -> Iterator:
    waiting = deque()
    for item in items:
        if len(waiting) == most:
            yield waiting.popleft().result()
        waiting.append(pool.submit(function, item))
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _one_torch_thread() -> Iterator[int]:
    """Torch keeps to one thread; yields how many it used before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def bar(items: Iterable, title: str, progress: bool, total: int | None = None) -> Iterator:
    """The same items, with a bar of them in the terminal from the first on."""
    from tqdm import tqdm

    yield from tqdm(items, desc=title, total=total, disable=not progress, leave=False)
