"""Fuzz a reader by coverage, with atheris: ``python -m tests.fuzz.run --runs 200000 pickle csv``.

Every target runs in a process of its own, from the seeds of `targets`, damaged by its own mutator;
inputs that reach new edges of our code are kept and damaged further. What breaks an invariant is
kept under ``--found``, once for each place in the code, and the run goes on; a hang, a crash of the
interpreter or memory beyond the bound ends it. The figures go to `benchmarks/results/fuzz.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
_FINAL = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_HARD = 3000  # MB of the process at which it is ended
_END = 100_000  # bytes of what a target says that are looked at
_SPARE = 60  # seconds for an input at which it is ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="of `targets`, default all")
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each (%(default)s)")
    parser.add_argument("--seconds", type=int, default=0, help="at most, for each (0: no limit)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "mmer-found")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        fuzz(arguments.inside, arguments)
        return
    from tests.fuzz.targets import TARGETS  # not before `fuzz` has told atheris what to look at

    ended = False
    for name in arguments.targets or list(TARGETS):
        told = process(name, arguments)
        record(arguments.output, name, told)
        print(name, json.dumps(told), flush=True)
        ended = ended or bool(told["findings"]) or told["ended"] is not None
    sys.exit(int(ended))


# ------------------------------------------------------------------------ one target, inside


def fuzz(name: str, arguments: argparse.Namespace) -> None:
    """Fuzz in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["mmer_lib"]):
        from tests.fuzz.invariants import bound, read
        from tests.fuzz.mutate import LARGEST
        from tests.fuzz.targets import TARGETS

    target, here = TARGETS[name], Path.cwd()
    seeds, path = target.seeds(), target.prepare(here / "where")
    (here / "seeds").mkdir()
    for i, seed in enumerate(seeds):
        (here / "seeds" / str(i)).write_bytes(seed)
        read(target, path, seed)
    outcomes: Counter[str] = Counter()
    places: dict[str, int] = {}

    def once(content: bytes) -> None:
        before = peak_memory()
        try:
            outcome = read(target, path, content)
        except Exception as error:
            outcome = "broken"
            place = _place(error)
            if len(content) < places.get(place, LARGEST + 1):
                places[place] = len(content)
                _keep(arguments.found, name, place, content)
        if (more := peak_memory() - before) > bound(target, len(content)):
            place = f"memory: {more >> 20} MB for {len(content)} bytes"
            places[place] = len(content)
            _keep(arguments.found, name, place, content)
        outcomes[outcome] += 1
        if outcomes.total() % 100 == 0 or outcome == "broken":
            told = {"outcomes": outcomes, "places": places}
            (here / "told.json").write_text(json.dumps(told), encoding="utf-8")

    def mutator(content: bytes, most: int, number: int) -> bytes:
        rng = Random(number)
        other = content if rng.random() < 0.9 else rng.choice(seeds)
        return target.mutate(other, rng, seeds)[:most]

    limit = [f"-max_total_time={arguments.seconds}"] if arguments.seconds else []
    options = [
        f"-runs={arguments.runs}", *limit, f"-seed={arguments.seed}", f"-max_len={LARGEST}",
        f"-timeout={_SPARE}", f"-rss_limit_mb={_HARD}", "-len_control=0", "-verbosity=1",
        f"-artifact_prefix={here}/", "-print_final_stats=1", str(here / "seeds"),
    ]  # fmt: skip
    atheris.Setup([name, *options], once, custom_mutator=mutator)
    atheris.Fuzz()


def peak_memory() -> int:
    """Most bytes that this process has taken so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _place(error: Exception) -> str:
    """What was raised, and by which line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "mmer_lib" in frame.filename] or frames
    what = str(error)[:60] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno} {what}"


def _keep(folder: Path, name: str, place: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{re.sub(r'[^a-zA-Z0-9]+', '-', place)}").write_bytes(content)


# ----------------------------------------------------------------------- one target, outside


def process(name: str, arguments: argparse.Namespace) -> dict:
    """Fuzz a target in a process of its own; what came of it."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # faster than a disk
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        options = [f"--{k}={getattr(arguments, k)}" for k in ("runs", "seconds", "seed", "found")]
        call = [sys.executable, "-m", "tests.fuzz.run", "--inside", name, *options]
        more = {"MMER_CACHE": f"{folder}/cache", "TMPDIR": folder, "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1"}  # fmt: skip
        begun = time.monotonic()
        with open(Path(folder) / "log", "w+b") as log:
            done = subprocess.run(
                call, cwd=folder, env={**os.environ, **more}, stdout=log, stderr=log, check=False
            )
            seconds = time.monotonic() - begun
            log.seek(max(0, log.tell() - _END))  # libraries may have said gigabytes before
            said = log.read().decode(errors="replace")
        told = {"outcomes": {}, "places": {}}
        if (Path(folder) / "told.json").is_file():
            told = json.loads((Path(folder) / "told.json").read_text(encoding="utf-8"))
        ends = [p for p in Path(folder).iterdir() if re.match("crash|timeout|oom|leak", p.name)]
        for end in ends:
            _keep(arguments.found, name, end.name, end.read_bytes())
    final = _FINAL.search(said)
    if final is None:
        print(said[-3000:], file=sys.stderr)
    return {
        "runs": int(final[1]) if final else sum(told["outcomes"].values()),
        "seconds": round(seconds, 1),
        "edges": int(final[2]) if final else None,
        "features": int(final[3]) if final else None,
        "kept": int(final[4]) if final else None,
        "outcomes": told["outcomes"],
        "findings": sorted(told["places"]),
        "ended": None if final else f"exit {done.returncode}, {[end.name for end in ends]}",
    }


def record(path: Path, name: str, told: dict) -> None:
    """Put a target's figures in the place of its earlier ones."""
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    told = {
        **told,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {"python": platform.python_version(),
                     **{n: version(n) for n in ("atheris", "h5py", "numpy", "soundfile")}},
    }  # fmt: skip
    there[name] = told
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(there, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
