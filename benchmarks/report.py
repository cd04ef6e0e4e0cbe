"""What every benchmark says of itself, and where it goes."""

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch

from benchmarks.measure import CLOCKS
from mmer_lib.training.runs import provenance

RESULTS = Path(__file__).parent / "results"


def parser_of(name: str, about: str, threads: int, clock: str, seconds: float):
    """The options that those benchmarks share which take the time of a step."""
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--clock", choices=CLOCKS, default=clock, help="cpu or wall time")
    parser.add_argument("--seconds", type=float, default=seconds, help="for each pair of steps")
    output = RESULTS / f"{name}.json"
    parser.add_argument("--output", type=Path, default=output, help="where the JSON goes")
    return parser


def heading(name: str, arguments: list[str] | None, device: str = "cpu") -> dict:
    """With which command, when, with what and on what something is measured."""
    typed = sys.argv[1:] if arguments is None else arguments
    info = Path("/proc/cpuinfo")  # where Linux says what the processor is called
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *typed]),
        **provenance(torch.device(device)),
        "processor": named[0] if named else "unknown",
    }


def write(result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)
