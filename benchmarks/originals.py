"""Times our models beside public programs: `python -m benchmarks.originals --help`; README.md."""

import platform
import warnings

import torch

from benchmarks.measure import compared, measured
from benchmarks.pairs import BATCH, LENGTH, PAIRS
from benchmarks.programs import Missing
from benchmarks.report import heading, parser_of, write
from benchmarks.straightforward import PARTS, learning


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
    parser = parser_of("originals", __doc__, threads=1, clock="cpu", seconds=3.0)
    parser.add_argument("--only", nargs="*", default=[*PAIRS, *PARTS], help="names of rows")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    warnings.filterwarnings("ignore", category=UserWarning)  # the programs' old usage
    warnings.filterwarnings("ignore", category=FutureWarning)
    result = {
        **heading("originals", arguments),
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
    write(result, chosen.output)


if __name__ == "__main__":
    main()
