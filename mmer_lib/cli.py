"""The command `mmer`: make the data, train, fill the papers' tables, predict.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import ast
import signal
import sys
import warnings
from pathlib import Path

from mmer_lib import __version__
from mmer_lib.data import DataError

CORPORA = "demo (synthetic), iemocap, mosi, mosei, or a table of your own (CSV)"
FIELDS = ("audio", "text", "label", "speaker", "session", "split", "id", "sentiment")


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input ends with a line on standard error and exit code 2, Ctrl-C with a
    line and 130, SIGTERM with a line and 143."""
    arguments = parser().parse_args(argv)

    def terminate(*_):
        raise KeyboardInterrupt("terminated")

    before, form = signal.signal(signal.SIGTERM, terminate), warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"mmer: {message}\n"  # no source lines
    try:
        arguments.run(arguments)
    except DataError as error:
        print(f"mmer: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"mmer: {error.name} is not installed; this command needs the extra 'data': "
            "pip install 'mmer[data]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as end:
        what = str(end) or "interrupted"
        print(f"mmer: {what}; the same command goes on where it was", file=sys.stderr)
        return 143 if end.args else 130
    finally:
        signal.signal(signal.SIGTERM, before)
        warnings.formatwarning = form
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mmer", description="Multimodal emotion recognition.")
    top.add_argument("--version", action="version", version=f"mmer {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="make or read a corpus and report on it")
    data.add_argument("data", metavar="NAME", help=CORPORA)
    add_reading(data)
    data.set_defaults(run=run_data)

    convert = commands.add_parser("convert", help="make a safe file of a pickle of MOSI or MOSEI")
    convert.add_argument("pickle", type=Path)
    convert.add_argument("safe", type=Path, help="the file to write (.safetensors)")
    convert.set_defaults(run=run_convert)

    train = commands.add_parser("train", help="train a model on one fold and test it")
    train.add_argument("model", help="muse, muse-multigranular, bert, mimic, misa, ...")
    add_training(train)
    train.add_argument("--fold", type=int, default=0, help="session held out for testing")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--preset", choices=["fast", "paper"], default="fast")
    train.set_defaults(run=run_train)

    tables = commands.add_parser(
        "tables", help="train and print a table of a paper, or the one that compares all systems"
    )
    tables.add_argument("table", help="muse-1, muse-2, muse-3, mimic-1, ..., compare")
    add_training(tables)
    tables.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    tables.add_argument("--folds", type=int, nargs="+", help="(default: all; 0 1 on the demo)")
    tables.add_argument("--preset", choices=["fast", "paper"], help="(default: paper; demo: fast)")
    tables.add_argument("--workers", type=int, default=1, help="processes that train at once")
    tables.add_argument(
        "--slurm",
        type=setting,
        nargs="*",
        metavar="NAME=VALUE",
        help="make jobs of the workers, with options of sbatch, such as partition=gpu time=600 "
        "(minutes)",
    )
    tables.add_argument("--task", choices=["emotion", "sentiment"], help="of compare")
    tables.add_argument("--models", nargs="+", metavar="MODEL", help="of compare (default: all)")
    tables.add_argument(
        "--speech-encoder",
        metavar="NAME",
        help="of compare: the encoder that SSL hears through, such as resemblyzer (default: an "
        "untrained one)",
    )
    tables.set_defaults(run=run_tables)

    predict = commands.add_parser("predict", help="class probabilities for a wav and its words")
    predict.add_argument("wav", type=Path)
    predict.add_argument("text", help="what is said, in quotes")
    predict.add_argument(
        "--run",
        dest="folder",
        type=Path,
        help="folder of a finished training of muse (default: the fast one on the demo corpus, "
        "trained first if it is not there)",
    )
    predict.set_defaults(run=run_predict)
    return top


def add_reading(command: argparse.ArgumentParser) -> None:
    """Options that say how a corpus is read."""
    command.add_argument("--root", type=Path, metavar="DIR", help="folder or file of a release")
    command.add_argument(
        "--as-written",
        action="store_true",
        help="leave words that stand one row too early in a .csd file where they are",
    )
    command.add_argument(
        "--column",
        type=pair,
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help=f"column of your table that holds a field: {', '.join(FIELDS)} (repeatable)",
    )
    command.add_argument("--name", help="of the corpus (default: as your table or its folder)")
    scale = "of your table's sentiment, if not -3 3"
    command.add_argument("--scale", nargs=2, type=float, metavar=("LOW", "HIGH"), help=scale)
    command.add_argument(
        "--shared-speakers",
        action="store_true",
        help="take the split of your table although speakers stand in two of its parts",
    )


def add_training(command: argparse.ArgumentParser) -> None:
    """Options that say what is trained on, where, and how."""
    command.add_argument("--data", default="demo", help=f"{CORPORA} (default: demo)")
    add_reading(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.add_argument("--out", type=Path, help="folder of all runs (default: in the cache)")
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.add_argument(
        "--max-epochs",
        dest="set",
        type=lambda epochs: setting(f"max_epochs={epochs}"),
        action="append",
        default=[],
        metavar="N",
        help="stop after so many epochs",
    )
    command.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the training or an option of the model, as fusion=concat (repeatable)",
    )


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE")
    return name, value


def setting(text: str) -> tuple[str, object]:
    """A number, a boolean, a tuple, ... as Python writes it; anything else is a string."""
    name, value = pair(text)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def reading_of(arguments) -> dict:
    """How to read the corpus, as `corpora.load` takes it."""
    columns = dict(arguments.column)
    if unknown := ", ".join(columns.keys() - set(FIELDS)):
        raise DataError(f"--column {unknown}: no field of a table; known: {', '.join(FIELDS)}")
    others = {k: getattr(arguments, k) for k in ("name", "as_written", "scale", "shared_speakers")}
    return columns | {k: v for k, v in others.items() if v}


def corpus_of(arguments):
    from mmer_lib.corpora import load

    return load(arguments.data, arguments.root, **reading_of(arguments))


# ------------------------------------------------------------------------------- commands


def run_data(arguments) -> None:
    from mmer_lib.corpora.report import report

    print(report(corpus_of(arguments)))


def run_convert(arguments) -> None:
    from mmer_lib.corpora.mosi.load import convert

    convert(arguments.pickle, arguments.safe)
    print(arguments.safe)


def run_train(arguments) -> None:
    from mmer_lib.training.fit import fit

    corpus = corpus_of(arguments)
    how = {k: getattr(arguments, k) for k in ("fold", "seed", "preset", "device", "out")}
    how["progress"] = not arguments.quiet
    run = fit(arguments.model, corpus, **how, **dict(arguments.set))
    r = run.result
    print(
        f"{r['model']} on {r['data']}{' (synthetic)' if r['synthetic'] else ''}, fold {r['fold']}, "
        f"seed {r['seed']}, preset {r['preset']}: {r['epochs']} epochs in {r['seconds']:.0f} s on "
        f"{r['devices']} x {r['device']} ({r['time']})"
    )
    scores = (f"{k} {v:.3f}" if v is not None else f"{k} undefined" for k, v in r["test"].items())
    part = "test part" if corpus.fixed is not None else "held-out session"
    print(f"{part}, {r['sizes']['test']} utterances: {', '.join(scores)}")
    if r["instead"]:
        print(f"read {' and '.join(r['instead'])}")
    print(run.folder)


def run_tables(arguments) -> None:
    from mmer_lib.experiments.compare import compare, tasks_of
    from mmer_lib.experiments.sweep import run_table
    from mmer_lib.experiments.tables import as_text, table_file
    from mmer_lib.store import cache_dir

    names = ("root", "seeds", "folds", "preset", "out", "device", "workers")
    how = {name: getattr(arguments, name) for name in names} | dict(arguments.set)
    how |= {"progress": not arguments.quiet, "reading": reading_of(arguments)}
    how["slurm"] = None if arguments.slurm is None else dict(arguments.slurm)
    systems = {"models": arguments.models, "speech_encoder": arguments.speech_encoder}
    if arguments.table != "compare" and (arguments.task or any(systems.values())):
        raise DataError("--task, --models, --speech-encoder: are for the table compare")
    if arguments.table == "compare":
        tasks = [arguments.task] if arguments.task else tasks_of(corpus_of(arguments))
        tables = (compare(task, arguments.data, **systems, **how) for task in tasks)
    else:
        tables = [run_table(arguments.table, arguments.data, **how)]
    for table in tables:
        print(as_text(table))
        print(table_file((arguments.out or cache_dir() / "runs") / "tables", table))


def run_predict(arguments) -> None:
    from mmer_lib.corpora import load
    from mmer_lib.training.fit import fit
    from mmer_lib.training.predict import predict
    from mmer_lib.training.runs import open_run

    if arguments.folder:
        run = open_run(arguments.folder)
    else:
        print("(no --run: the fast muse on the demo corpus, trained first if it is not there yet)")
        run = fit("muse", load("demo"))
    if run.result["synthetic"]:
        print("(trained on synthetic speech: try it, do not rely on it)")
    probabilities = predict(run, arguments.wav, arguments.text)
    for emotion, p in zip(run.result["emotions"], probabilities, strict=True):
        print(f"{emotion:<8} {p:6.1%}  {'#' * round(40 * p)}")


if __name__ == "__main__":
    sys.exit(main())
