"""Corpora: each reader turns files (or a recipe) into `Utterance`s. Importing this package loads no
other module of ours: the child processes of `sandbox` rest on that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmer_lib.data import Corpus

NAMES = ("demo", "iemocap", "mosi", "mosei")
"""The corpora that `load` knows by name; any other name is the path of a table."""


def load(name: str, /, root: str | Path | None = None, as_written: bool = False, **table) -> Corpus:
    """Load a corpus by name, or a table of one's own by its path.

    Args:
        name: ``demo`` (synthetic, made on first use), ``iemocap``, ``mosi``, ``mosei``, in whatever
            case, or a path.
        root: the folder of the release; of MOSI and MOSEI a file will do, see `mosi.load`.
        as_written: of the ``.csd`` files of MOSI and MOSEI, leave the times of words as they are.
        table: of a table the names of columns and the corpus, as `own.from_table` takes them.

    Raises:
        DataError: unknown name; a root that is missing, or given where there is none; names for
            what is no table; what the reader of the corpus raises.
    """
    from mmer_lib.data import DataError

    name = name.lower() if name.lower() in NAMES else name
    root = Path(root).expanduser() if root is not None else None
    if name in NAMES and table:
        raise DataError(f"{name}: no table of your own; leave out {', '.join(table)}")
    if as_written and name not in ("mosi", "mosei"):
        raise DataError(f"{name}: as_written (--as-written) is for mosi and mosei; leave it out")
    if name in ("iemocap", "mosi", "mosei") and root is None:
        raise DataError(f"{name}: name the folder of the release (root, --root)")
    if name == "iemocap":
        from mmer_lib.corpora import iemocap

        return iemocap.load(root)
    if name in ("mosi", "mosei"):
        from mmer_lib.corpora.mosi import load as mosi

        return mosi.load(root, name, as_written=as_written)
    if root is not None:
        raise DataError(f"{name}: has no release; leave out the root {str(root)!r}")
    if name == "demo":
        from mmer_lib.corpora.demo import demo

        return demo.load()
    from mmer_lib.corpora import own

    if Path(name).expanduser().exists():
        return own.from_table(name, **table)
    if Path(name).suffix or Path(name).name != name:
        raise DataError(f"{name}: no such file or folder; --data takes the path of a table")
    raise DataError(
        f"unknown corpus {name!r}; known: {', '.join(NAMES)}, or a table of your own (CSV, "
        "or the folder with its metadata.csv)"
    )
