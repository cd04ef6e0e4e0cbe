"""Record what the interactive figures of the chapters show.

python -m mmer_lib.book.record muse-toggles FILE      every combination of MUSE's parts, trained
python -m mmer_lib.book.record mimic-toggles FILE     every combination of MIMIC's
python -m mmer_lib.book.record mimic-replay FILE      MIMIC after every epoch of two trainings
"""

from __future__ import annotations

import argparse
import sys

from mmer_lib.book import replay, switches
from mmer_lib.data import DataError


def main(arguments: list[str] | None = None) -> None:
    """What the command line asks for.

    Raises:
        SystemExit: what cannot be recorded, in a line.
    """
    parser = argparse.ArgumentParser("python -m mmer_lib.book.record", description=__doc__)
    parser.add_argument("figure", choices=(*switches.MODELS, replay.NAME))
    parser.add_argument("file", help="the JSON file to write")
    parser.add_argument("--device", default="auto", help='"cpu", "cuda", ...')
    parser.add_argument("--quiet", action="store_true", help="no progress")
    many = parser.add_argument_group("of the combinations")
    many.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    many.add_argument("--folds", type=int, nargs="+", help="default: all of the demo corpus")
    many.add_argument("--workers", type=int, default=1, help="processes")
    many.add_argument("--out", help="folder of all runs; default: in the cache")
    one = parser.add_argument_group("of mimic-replay")
    one.add_argument("--fold", type=int, default=0)
    one.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    shared = {"device": given.device, "progress": not given.quiet}
    try:
        if given.figure == replay.NAME:
            replay.record(given.file, given.fold, given.seed, **shared)
        else:
            more = {name: getattr(given, name) for name in ("seeds", "folds", "workers", "out")}
            switches.record(given.figure, given.file, **more, **shared)
    except DataError as error:
        sys.exit(f"error: {error}")
    print(given.file)


if __name__ == "__main__":
    main()
