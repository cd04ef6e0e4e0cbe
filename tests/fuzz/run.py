"""Fuzz readers by coverage, with atheris: ``python -m tests.fuzz.run --runs 20000 csv sound``.

Every target runs in a process of its own, from the seeds of `targets`; inputs that reach new code
of ours are kept and damaged further (not code in a child process, which atheris does not see). What
breaks an invariant is kept under ``--found`` and ends the target.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="of `targets`, default all")
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "mmer-found")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        fuzz(arguments.inside, arguments)
        return
    from tests.fuzz.targets import TARGETS  # not before `fuzz` has told atheris what to look at

    arguments.found.mkdir(parents=True, exist_ok=True)
    broken = []
    for name in arguments.targets or list(TARGETS):
        print(f"== {name}", flush=True)
        runs = arguments.runs // (50 if TARGETS[name].child else 1)
        options = [f"--runs={runs}", f"--seed={arguments.seed}", f"--found={arguments.found}"]
        with tempfile.TemporaryDirectory() as folder:
            more = {"MMER_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.run", "--inside", name, *options],
                cwd=folder,
                env={**os.environ, **more, "OMP_NUM_THREADS": "1"},
                check=False,
            )
        if done.returncode:
            broken.append(name)
    if broken:
        sys.exit(f"broken: {', '.join(broken)}; the inputs lie in {arguments.found}")


def fuzz(name: str, arguments: argparse.Namespace) -> None:
    """Fuzz in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["mmer_lib"]):
        from tests.fuzz.targets import LARGEST, TARGETS, damage, read

    target, here = TARGETS[name], Path.cwd()
    for folder in ("where", "seeds"):
        (here / folder).mkdir()
    path = target.place(here / "where")
    seeds = [path.read_bytes(), *target.seeds()]
    for i, seed in enumerate(seeds):
        (here / "seeds" / str(i)).write_bytes(seed)

    def mutate(content: bytes, most: int, number: int) -> bytes:
        return damage(content, Random(number), seeds)[:most]

    options = [
        f"-runs={arguments.runs}",
        f"-seed={arguments.seed}",
        f"-max_len={LARGEST}",
        "-timeout=60",
        "-rss_limit_mb=3000",
        f"-artifact_prefix={arguments.found}/{name}-",
        str(here / "seeds"),
    ]
    once = lambda content: read(target, here / "where", path, content)  # noqa: E731
    atheris.Setup([name, *options], once, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
