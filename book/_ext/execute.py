"""Run the chapters, several at a time, into the cache that jupyter-book and the tests read.

python book/_ext/execute.py     run what is not in the cache, or was run by another code
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from kernels import CopiedKernel, start
from myst_nb.core.read import read_myst_markdown_notebook
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from notebooks import BOOK, names
from tqdm import tqdm

ROOT = BOOK.parent
BUILD = ROOT / "_build"
KEY, LOG = BUILD / ".key", BUILD / "chapters.log"
AT_ONCE = min(4, os.cpu_count() or 1)
LONG = ("scaling", "muse-attention", "mimic-misa", "muse-attribution", "muse-fusion")
"""Chapters that begin first, since they take longest."""


def read(name: str) -> NotebookNode:
    """A chapter as MyST-NB reads it."""
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    return read_myst_markdown_notebook(text)


def cache() -> JupyterCacheAbstract:
    """What was run, as jupyter-book keeps it."""
    return get_cache(BUILD / ".jupyter_cache")


def executed(name: str) -> NotebookNode | None:
    """A chapter with its outputs; None if it was not run since it was changed."""
    try:
        return cache().merge_match_into_notebook(read(name))[1]
    except KeyError:
        return None


def sources() -> str:
    """Digest of all that the outputs of the chapters depend on beside the chapters."""
    paths = [ROOT / "requirements.lock"]
    for folder in ("mmer_lib", "data", "benchmarks/results"):
        paths += [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def outdated() -> bool:
    """Whether what was built is of other code; neither Sphinx nor the cache sees that."""
    return not KEY.exists() or KEY.read_text() != sources()


async def run(chapters: list[str], bar: tqdm) -> tuple[dict[str, float], dict[str, str]]:
    """Run chapters, `AT_ONCE` at a time, and keep those that end: seconds of each, and what went
    wrong with the others."""
    start({"OMP_NUM_THREADS": "1"})  # more are slower on what is so small
    places, seconds, errors = asyncio.Semaphore(AT_ONCE), {}, {}

    async def one(name: str) -> None:
        async with places:
            notebook, begun = read(name), time.perf_counter()
            client = NotebookClient(
                notebook,
                timeout=900,
                record_timing=False,  # which would change what the cache knows a chapter by
                kernel_name="python3",
                kernel_manager_class=CopiedKernel,
                resources={"metadata": {"path": str(BOOK)}},
            )
            with open(LOG, "a") as log:
                try:
                    await client.async_execute(stderr=log)
                except (CellExecutionError, DeadKernelError) as error:
                    errors[name] = str(error)
                    return
            seconds[name] = time.perf_counter() - begun
            bundle = CacheBundleIn(
                notebook,
                str(BOOK / f"{name}.md"),
                data={"execution_seconds": seconds[name]},
            )
            cache().cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            bar.update()

    await asyncio.gather(*map(one, chapters))
    return seconds, errors


def main() -> None:
    if outdated():
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir()
        KEY.write_text(sources())
    waiting = [name for name in names() if executed(name) is None]
    if not waiting:
        return
    waiting.sort(key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    with tqdm(total=len(waiting), unit=" chapters", disable=None, leave=False) as bar:
        seconds, errors = asyncio.run(run(waiting, bar))
    if errors:
        told = "\n".join(f"book/{name}.md: {error}" for name, error in errors.items())
        sys.exit(f"{told}\nWhat the kernels said: {LOG}")
    slowest = sorted(seconds, key=seconds.get, reverse=True)[:5]
    print(f"{len(waiting)} chapters; slowest:", *(f"{n} {seconds[n]:.0f} s" for n in slowest))


if __name__ == "__main__":
    main()
