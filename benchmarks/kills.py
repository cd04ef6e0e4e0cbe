"""Kills work at random moments, again and again, and compares what is there in the end with what
the same work leaves that is never killed: `python -m benchmarks.kills 30`.

Every piece of work runs in a process of its own, which is ended by SIGKILL. An attempt is killed
after a time drawn from 0 to `SPAN` times what undisturbed work takes, or ends before; the next goes
on in the same folder, until one ends. Then a new folder is begun, until there were as many kills as
were asked for. Between attempts nothing is cleaned up.
"""

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.originals import processor
from mmer_lib import corpora
from mmer_lib.corpora.demo import demo
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.sweep import run_table
from mmer_lib.features.extract import extract
from mmer_lib.store import load_ragged, save_ragged, write_bytes, write_json
from mmer_lib.training import checkpoints
from mmer_lib.training.fit import fit
from mmer_lib.training.runs import provenance

OUTPUT = Path(__file__).parent / "results" / "kills.json"
SPAN = 1.25
PATIENCE = 10
"""Work that has not ended after so many times what it takes is taken to hang."""
PARTS = ("speech", "sound", "words", "phonemes", "audio", "vision")
TIMES = ("seconds", "time")
"""Fields of a result that differ from run to run."""

MUSE = {"width": 16, "hidden": 32, "stack": 8, "phoneme_embedding": 8, "filters": 4}
MIMIC = {"units": 8, "bottleneck": 4}
SMALL = {"device": "cpu", "progress": False, "max_epochs": 4, "batch_size": 4}
TABLE = Table(
    "kills", "Two small models", (
        Row("narrow", "mimic", {**MIMIC, "units": 4}), Row("wide", "mimic", MIMIC),
    ), "wide", ("mae",), ("mae",),
)  # fmt: skip


# ------------------------------------------------------------------------------ pieces of work


def files(folder: Path, corpus) -> None:
    """JSON, plain and ragged files, each written where it is missing and read where it is there."""
    for i in range(8):
        rng, path = np.random.default_rng(i), folder / f"{i}.json"
        content = {"numbers": rng.normal(size=20_000).tolist()}
        plain, arrays = rng.bytes(2_000_000), [rng.normal(size=(n, 64)) for n in range(0, 200, 10)]
        if not path.exists():
            write_json(path, content)
        assert json.loads(path.read_text()) == content
        if not path.with_suffix(".bin").exists():
            write_bytes(path.with_suffix(".bin"), plain)
        assert path.with_suffix(".bin").read_bytes() == plain
        if not path.with_suffix(".safetensors").exists():
            save_ragged(path.with_suffix(".safetensors"), {"a": arrays}, {"number": i})
        load_ragged(path.with_suffix(".safetensors"), verify=True)


def speech(folder: Path, corpus) -> None:
    """The demo corpus of two speakers, made anew: each speaks in a process of its own."""
    os.environ["MMER_CACHE"] = str(folder)
    recipe = corpus.extras["recipe"]
    few = {"speakers": recipe["speakers"][:2], "per_speaker_and_emotion": 1}
    demo.load({**recipe, **few}, progress=False)


def features(folder: Path, corpus) -> None:
    """Every part that needs no text encoder."""
    os.environ["MMER_CACHE"] = str(folder)
    extract(corpus, parts=PARTS, progress=False)


def training(name: str, options: dict, folder: Path, corpus) -> None:
    """A training with a checkpoint after every epoch."""
    checkpoints.SHARE = float("inf")
    fit(name, corpus, out=folder, model_options=options, **SMALL)


def sweep(folder: Path, corpus) -> None:
    """A table of two rows and two folds."""
    checkpoints.SHARE = float("inf")
    corpora.load = lambda *_, **__: corpus  # in this process alone
    run_table(TABLE, "demo", seeds=(0,), folds=(0, 1), out=folder, **SMALL)


KINDS: dict[str, Callable] = {
    "files": files,
    "corpus": speech,
    "features": features,
    "muse": functools.partial(training, "muse", MUSE),
    "mimic": functools.partial(training, "mimic", MIMIC),
    "sweep": sweep,
}


def small_corpus(folder: Path):
    """40 utterances of the demo corpus, made with their features in `folder`, which is the cache
    from now on. Work that begins afterwards has all that is imported for that."""
    os.environ["MMER_CACHE"] = str(folder)
    recipe = demo.read_recipe()
    recipe["per_speaker_and_emotion"] = 1
    corpus = demo.load(recipe, progress=False)
    torch.set_num_threads(1)
    extract(corpus, parts=PARTS, progress=False)
    return corpus


# --------------------------------------------------------------------------- killing, comparing


def begun(kind: str, folder: Path, corpus) -> multiprocessing.Process:
    """A piece of work in a process of its own, which has one thread, and none of the threads and
    locks that this one may hold: it comes from a server that has imported all and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.kills"])
    process = context.Process(
        target=_quietly, args=(KINDS[kind], folder, corpus, os.environ["MMER_CACHE"])
    )
    process.start()
    return process


def _quietly(work: Callable, folder: Path, corpus, cache: str) -> None:
    os.environ["MMER_CACHE"] = cache  # which the server of the processes does not know
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(None):
        work(folder, corpus)


def killed(kind: str, kills: int, seed: int, where: Path, corpus) -> dict:
    """Kill so often; what came of it.

    Returns:
        kills: made. ended: pieces of work that then came to their end, to be compared. different:
        those of which anything in the end differs from the work that was never killed. left: names
        of temporary files that are there in the end. seconds: of undisturbed work.
    """
    rng = np.random.default_rng(seed)
    whole = begun(kind, where / "never", corpus)
    begin = time.perf_counter()  # the server of the processes has started
    whole.join()
    assert whole.exitcode == 0, f"{kind} fails without being killed"
    seconds = time.perf_counter() - begin
    expected = content(where / "never")
    made = {"kills": 0, "ended": 0, "different": 0, "left": [], "seconds": round(seconds, 2)}
    while made["kills"] < kills:
        folder, process = where / str(made["ended"]), None
        while process is None or process.exitcode:
            process = begun(kind, folder, corpus)
            enough = made["kills"] >= kills
            process.join(PATIENCE * (5 + seconds) if enough else rng.uniform(0, SPAN * seconds))
            if process.is_alive():
                process.kill()
                made["kills"] += 1
            process.join()
            assert not (enough and process.exitcode), f"{kind} hangs"
            assert process.exitcode in (0, -9), f"{kind} fails after {made['kills']} kills"
        made["ended"] += 1
        made["different"] += content(folder) != expected
        made["left"] += leftovers(folder)
    return made


def content(folder: Path) -> dict:
    """What all files of a folder hold, by path, but for times, logs and the files of locks."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            found[name] = _timeless(json.loads(path.read_text("utf-8")))
        elif path.suffix == ".safetensors" and path.name != "model.safetensors":
            arrays, about = load_ragged(path, verify=True)  # its header may be in another order
            found[name] = {k: [a.tobytes() for a in v] for k, v in arrays.items()}, about
        elif path.suffix != ".lock":
            found[name] = path.read_bytes()
    return found


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> list[str]:
    """Temporary files and checkpoints."""
    return [p.name for p in folder.rglob("*") if p.name[0] == "." or p.name == checkpoints.FILE]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.kills", description=__doc__)
    parser.add_argument("kills", type=int, help="of each kind of work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(KINDS), help="kinds of work")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    typed = sys.argv[1:] if arguments is None else arguments
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.kills", *typed]),
        **provenance(torch.device("cpu")), "processor": processor(), "kinds": {},
    }  # fmt: skip
    print(f"{'work':10}{'kills':>7}{'ended':>7}{'different':>11}{'left':>6}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as folder:
        corpus = small_corpus(Path(folder) / "cache")
        for kind in chosen.only:
            made = killed(kind, chosen.kills, chosen.seed, Path(folder) / kind, corpus)
            result["kinds"][kind] = made
            print(f"{kind:10}{made['kills']:7}{made['ended']:7}{made['different']:11}"
                  f"{len(made['left']):6}{made['seconds']:9.1f}", flush=True)  # fmt: skip
            write_json(chosen.output, result)
    print(chosen.output)


if __name__ == "__main__":
    main()
