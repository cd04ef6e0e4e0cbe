"""Times our models beside public programs: `python -m benchmarks.originals --help`; README.md."""

import argparse
import json
import platform
import shlex
import sys
import warnings
from pathlib import Path

import torch

from benchmarks.measure import CLOCKS, compared, measured
from benchmarks.pairs import BATCH, LENGTH, PAIRS
from benchmarks.programs import Missing
from benchmarks.straightforward import PARTS, learning
from mmer_lib.training.runs import provenance

OUTPUT = Path(__file__).parent / "results" / "originals.json"


def processor() -> str:
    """Name of the CPU, where Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def line_of(name: str, found: dict) -> str:
    """One row of the table: medians of the ratios, their quartiles in brackets."""
    cells = []
    for what in ("train", "inference"):
        low, middle, high = found[what]["ratio"]
        cells.append(f"{middle:6.2f} [{low:.2f}, {high:.2f}]")
    cells.append(f"{found['memory']['ratio']:6.2f}")
    cells += [
        f"{1000 * found[what][who][1]:8.1f}"
        for what in ("train", "inference")
        for who in ("ours", "theirs")
    ]
    return f"{name:26}" + "  ".join(cells)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.originals", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="cpu or wall time")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each training time")
    parser.add_argument("--only", nargs="*", default=[*PAIRS, *PARTS], help="names of rows")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    warnings.filterwarnings("ignore", category=UserWarning)  # the programs' old usage
    warnings.filterwarnings("ignore", category=FutureWarning)
    typed = sys.argv[1:] if arguments is None else arguments
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.originals", *typed]),
        **provenance(torch.device("cpu")),
        "processor": processor(),
        "system": platform.system(),
        "clock": chosen.clock,
        "batch": BATCH,
        "length": LENGTH,
        "ratio": "ours / theirs, [first quartile, median, third quartile]",
        "originals": {},
        "straightforward": {},
        "missing": {},
    }
    print(
        f"{'ours / theirs':26}{'training step':22}{'inference':22}{'memory':8}"
        "ms: step ours, theirs; inference ours, theirs"
    )
    for name in [name for name in PAIRS if name in chosen.only]:
        torch.manual_seed(0)
        try:
            pair = PAIRS[name]()
        except Missing as missing:
            result["missing"][name] = str(missing)
            print(f"{name:26}left out: {missing}")
            continue
        result["originals"][name] = found = measured(pair, chosen.clock, chosen.seconds)
        print(line_of(name, found), flush=True)
    print("\nours / the straightforward way, forward and backward")
    for name in [name for name in PARTS if name in chosen.only]:
        torch.manual_seed(0)
        part = PARTS[name](BATCH, LENGTH)
        calls = learning(part.weights, part.ours), learning(part.weights, part.plain)
        found = compared(calls, chosen.clock, chosen.seconds / 4)
        result["straightforward"][name] = found
        low, middle, high = found["ratio"]
        print(f"{name:44}{middle:6.2f} [{low:.2f}, {high:.2f}]", flush=True)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(chosen.output)


if __name__ == "__main__":
    main()
