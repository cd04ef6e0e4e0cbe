"""The command `mmer`: make the data, train, fill the papers' tables, predict.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmer_lib import __version__
from mmer_lib.data import DataError
from mmer_lib.training.named_values import pairs, typed_as, value_of

_MODELS = ("muse", "muse-multigranular", "bert", "yoon", "xu", "li", "ssl",
           "mimic", "misa", "tfn", "lmf", "mfn", "mv-lstm", "mult", "raven", "mfm", "iccn",
           "majority", "linear")  # fmt: skip
_TABLES = ("muse-1", "muse-2", "muse-3", "muse-losses", "muse-ideals", "muse-toggles",
           "mimic-1", "mimic-2", "mimic-3", "mimic-parts", "mimic-toggles",
           "mimic-dynamics", "compare")  # fmt: skip
_CORPORA = "demo (synthetic), iemocap, mosi, mosei, or a table of your own (CSV)"


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input ends with one line on standard error and exit code 2."""
    arguments = _parser().parse_args(argv)
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
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmer", description="Multimodal emotion recognition.")
    parser.add_argument("--version", action="version", version=f"mmer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="make or read a corpus and report on it")
    data.add_argument("data", metavar="NAME", help=f"{_CORPORA}; or convert")
    data.add_argument("files", nargs="*", type=Path, metavar="FILE",
                      help="of convert: a pickle of MOSI or MOSEI, and the safe file to write "
                      "(.safetensors)")  # fmt: skip
    _add_reading(data)
    data.set_defaults(run=_data)

    train = commands.add_parser("train", help="train a model on one fold and test it")
    train.add_argument("model", choices=_MODELS)
    _add_training(train)
    train.add_argument("--fold", type=int, default=0, help="session held out for testing")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--preset", choices=["fast", "paper"], default="fast")
    train.add_argument("--devices", type=int, default=1, help="processes that train together, "
                       "one a CPU or GPU (default: 1)")  # fmt: skip
    train.set_defaults(run=_train)

    tables = commands.add_parser("tables", help="train and print a table of a paper, or the one "
                                 "that compares all systems")  # fmt: skip
    tables.add_argument("table", choices=_TABLES)
    _add_training(tables)
    tables.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED",
                        help="(default: 0 1 2)")  # fmt: skip
    tables.add_argument("--folds", type=int, nargs="+", metavar="FOLD",
                        help="(default: all; 0 1 on the demo corpus)")  # fmt: skip
    tables.add_argument("--preset", choices=["fast", "paper"],
                        help="(default: paper; fast on the demo corpus)")  # fmt: skip
    tables.add_argument("--workers", type=int, default=1, help="processes that train at once")
    tables.add_argument("--cluster", choices=["local", "slurm"],
                        help="where they run (default: on this machine)")  # fmt: skip
    tables.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE",
                        help="parameter of submitit for slurm, such as partition=gpu or "
                        "timeout_min=600 (repeatable)")  # fmt: skip
    tables.add_argument("--task", choices=["emotion", "sentiment"], help="of compare (default: "
                        "what the corpus has labels for)")  # fmt: skip
    tables.add_argument("--models", nargs="+", metavar="MODEL", help="of compare (default: all)")
    tables.add_argument("--speech-encoder", metavar="NAME", help="of compare: name or folder of "
                        "the encoder that SSL hears through (default: untrained)")  # fmt: skip
    tables.set_defaults(run=_tables)

    record = commands.add_parser("record", help="train, and record what an interactive figure of "
                                 "the book shows")  # fmt: skip
    figures = record.add_subparsers(required=True, metavar="FIGURE")
    for name, model in (("muse-toggles", "MUSE"), ("mimic-toggles", "MIMIC")):
        toggles = figures.add_parser(name, help=f"every combination of {model}'s parts")
        toggles.add_argument("file", type=Path, help="what to write (.json)")
        toggles.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED",
                             help="(default: 0 1 2)")  # fmt: skip
        toggles.add_argument("--folds", type=int, nargs="+", metavar="FOLD",
                             help="(default: 0 1)")  # fmt: skip
        _add_machine(toggles)
        toggles.add_argument("--workers", type=int, default=1, help="processes that train at once")
        toggles.set_defaults(run=_record_toggles, table=name)
    replay = figures.add_parser("mimic-replay", help="MIMIC after every epoch of a training, with "
                                "and without its regulariser")  # fmt: skip
    replay.add_argument("file", type=Path, help="what to write (.json)")
    replay.add_argument("--seed", type=int, default=0)
    replay.add_argument("--fold", type=int, default=0, help="session held out for testing")
    replay.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    replay.add_argument("--quiet", action="store_true", help="no progress")
    replay.set_defaults(run=_record_replay)

    predict = commands.add_parser("predict", help="class probabilities for a wav and its words")
    predict.add_argument("wav", type=Path)
    predict.add_argument("text", help="what is said, in quotes")
    predict.add_argument("--run", dest="folder", type=Path, help="folder of a finished training "
                         "of muse (default: the fast one on the demo corpus, trained "
                         "first if it is not there)")  # fmt: skip
    predict.set_defaults(run=_predict)
    return parser


def _add_reading(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder (of mosi and mosei: or file) of a corpus's release",
    )
    command.add_argument("--as-written", action="store_true", help="leave words that stand one row "
                         "too early in a .csd file of mosi or mosei where they are")  # fmt: skip
    command.add_argument("--column", action="append", default=[], metavar="FIELD=NAME",
                         help="column of your table that holds a field: audio, text, label, "
                         "speaker, session, split, id or sentiment (repeatable)")  # fmt: skip
    command.add_argument("--name", metavar="NAME", help="what to call the corpus of your table "
                         "(default: as the table or its folder)")  # fmt: skip
    command.add_argument("--shared-speakers", action="store_true", help="take the split of your "
                         "table although speakers stand in two of its parts")  # fmt: skip


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", default="demo", help=f"{_CORPORA} (default: demo)")
    _add_reading(command)
    _add_machine(command)
    command.add_argument("--max-epochs", type=int, help="stop after so many epochs")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="a setting of the training, or (train) an option of the model, such "
                         "as learning_rate=1e-4 or fusion=concat (repeatable)")  # fmt: skip


def _add_machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.add_argument("--out", type=Path, help="folder of all runs (default: in the cache)")
    command.add_argument("--quiet", action="store_true", help="no progress")


# ----------------------------------------------------------------------------- NAME=VALUE


def _changes(arguments, options: dict) -> tuple[dict, dict]:
    """(settings of the training, options of the model) that the command line changes; `options`
    are the fields of the model's configuration. What neither has is left for `fit` to refuse."""
    from mmer_lib.training.settings import Settings

    settings, given = Settings.__dataclass_fields__, pairs(arguments.set, "--set")
    if arguments.max_epochs is not None:
        if "max_epochs" in given:
            raise DataError("--set max_epochs: --max-epochs says so already")
        given["max_epochs"] = str(arguments.max_epochs)
    changed = {k: typed_as(k, v, settings) for k, v in given.items() if k in settings}
    rest = {k: v for k, v in given.items() if k not in settings}
    return changed, {
        k: typed_as(k, v, options) if k in options else value_of(v) for k, v in rest.items()
    }


# ------------------------------------------------------------------------------- commands


def _reading(arguments) -> dict:
    """How to read the corpus, as `corpora.load` takes it: names of a table of one's own, or
    words as they are written."""
    from mmer_lib.corpora.metadata import FIELDS

    columns = pairs(arguments.column, "--column", "FIELD=NAME")
    for field in columns:
        if field not in FIELDS:
            raise DataError(f"--column {field}: no field of a table; known: {', '.join(FIELDS)}")
    named = {} if arguments.name is None else {"name": arguments.name}
    flags = {k: True for k in ("as_written", "shared_speakers") if getattr(arguments, k)}
    return {**columns, **named, **flags}


def _corpus(arguments):
    from mmer_lib.corpora import load

    return load(arguments.data, arguments.root, **_reading(arguments))


def _data(arguments) -> None:
    if arguments.data == "convert":
        _convert(arguments.files)
        return
    if arguments.files:
        raise DataError(f"{arguments.files[0]}: only `mmer data convert` takes files")
    from mmer_lib.corpora.report import report

    print(report(_corpus(arguments)))


def _convert(files: list[Path]) -> None:
    from mmer_lib.corpora.mosi.load import convert

    if len(files) != 2:
        raise DataError("write: mmer data convert FILE.pkl FILE.safetensors")
    convert(*files)
    print(files[1])


def _train(arguments) -> None:
    from mmer_lib.models.registry import model_class
    from mmer_lib.training.fit import fit

    fields = model_class(arguments.model).config_class.__dataclass_fields__
    changes, options = _changes(arguments, fields)
    corpus = _corpus(arguments)
    run = fit(
        arguments.model,
        corpus,
        fold=arguments.fold,
        seed=arguments.seed,
        preset=arguments.preset,
        device=arguments.device,
        out=arguments.out,
        progress=not arguments.quiet,
        model_options=options,
        devices=arguments.devices,
        **changes,
    )
    r = run.result
    print(f"{r['model']} on {r['data']}{' (synthetic)' if r['synthetic'] else ''}, "
          f"fold {r['fold']}, seed {r['seed']}, preset {r['preset']}: {r['epochs']} epochs "
          f"in {r['seconds']:.0f} s on {r['devices']} x {r['device']} ({r['time']})")  # fmt: skip
    scores = (f"{k} {v:.3f}" if v is not None else f"{k} undefined" for k, v in r["test"].items())
    part = "test part" if corpus.fixed is not None else "held-out session"
    print(f"{part}, {r['sizes']['test']} utterances: " + ", ".join(scores))
    print(run.folder)


def _tables(arguments) -> None:
    from mmer_lib.experiments.sweep import RunsFailed, run_table
    from mmer_lib.experiments.tables import as_text, table_file
    from mmer_lib.store import cache_dir

    changes, unknown = _changes(arguments, {})
    if unknown:
        raise DataError(f"--set {next(iter(unknown))}: no setting of a training; the options of "
                        "the models are what the rows of a table differ in")  # fmt: skip
    slurm = {k: value_of(v) for k, v in pairs(arguments.slurm, "--slurm").items()}
    if arguments.table == "compare":
        _compare(arguments, slurm, changes)
        return
    for option in ("task", "models", "speech_encoder"):
        if getattr(arguments, option):
            raise DataError(f"--{option.replace('_', '-')}: is for the table compare")
    try:
        table = run_table(
            arguments.table,
            arguments.data,
            arguments.root,
            arguments.seeds,
            arguments.folds,
            arguments.preset,
            arguments.device,
            arguments.out,
            arguments.workers,
            arguments.cluster,
            slurm,
            progress=not arguments.quiet,
            reading=_reading(arguments),
            **changes,
        )
    except RunsFailed as error:
        print(as_text(error.table))
        raise
    print(as_text(table))
    print(table_file((arguments.out or cache_dir() / "runs") / "tables", table))


def _compare(arguments, slurm: dict, changes: dict) -> None:
    from mmer_lib.experiments.compare import compare, tasks_of
    from mmer_lib.experiments.sweep import Machines
    from mmer_lib.experiments.tables import as_text, table_file
    from mmer_lib.store import cache_dir

    machines = Machines(
        arguments.device, arguments.workers, arguments.cluster, slurm, not arguments.quiet
    )
    for task in [arguments.task] if arguments.task else tasks_of(_corpus(arguments)):
        table = compare(
            task,
            arguments.data,
            arguments.root,
            arguments.models,
            arguments.seeds,
            arguments.folds,
            arguments.preset,
            arguments.out,
            machines,
            arguments.speech_encoder,
            _reading(arguments),
            **changes,
        )
        print(as_text(table))
        print(table_file((arguments.out or cache_dir() / "runs") / "tables", table))


def _record_toggles(arguments) -> None:
    from mmer_lib.book.switches import record

    record(
        arguments.table,
        arguments.file,
        arguments.out,
        folds=arguments.folds,
        seeds=arguments.seeds,
        device=arguments.device,
        workers=arguments.workers,
        progress=not arguments.quiet,
    )
    print(arguments.file)


def _record_replay(arguments) -> None:
    from mmer_lib.book.replay import record

    record(
        arguments.file,
        arguments.fold,
        arguments.seed,
        arguments.device,
        progress=not arguments.quiet,
    )
    print(arguments.file)


def _predict(arguments) -> None:
    from mmer_lib.corpora import load
    from mmer_lib.training.fit import fit
    from mmer_lib.training.predict import predict
    from mmer_lib.training.runs import open_run

    if not arguments.folder:
        print("(no --run: the fast muse on the demo corpus, trained first if it is not there yet)",
              flush=True)  # fmt: skip
    run = open_run(arguments.folder) if arguments.folder else fit("muse", load("demo"))
    if run.result["synthetic"]:
        print("(trained on synthetic speech: try it, do not rely on it)")
    probabilities = predict(run, arguments.wav, arguments.text)
    for emotion, p in zip(run.result["emotions"], probabilities, strict=True):
        print(f"{emotion:<8} {p:6.1%}  {'#' * round(40 * p)}")


if __name__ == "__main__":
    sys.exit(main())
