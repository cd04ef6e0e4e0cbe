"""The command `mmer`: make the data, train, predict.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmer_lib import __version__
from mmer_lib.corpora import EMOTIONS, MODALITIES, DataError

_MODELS = ("muse", "mimic")


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

    data = commands.add_parser("data", help="make a corpus and report on it")
    data.add_argument("name", choices=["demo"])
    data.set_defaults(run=_data)

    train = commands.add_parser("train", help="train a model on one fold and test it")
    train.add_argument("model", choices=_MODELS)
    train.add_argument("--data", default="demo", help="corpus (default: demo, synthetic)")
    train.add_argument("--fold", type=int, default=0, help="session held out for testing")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--preset", choices=["fast", "paper"], default="fast")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    train.add_argument("--max-epochs", type=int, help="stop after so many epochs")
    train.add_argument("--out", type=Path, help="folder of all runs (default: in the cache)")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="class probabilities for a wav and its words")
    predict.add_argument("wav", type=Path)
    predict.add_argument("text", help="what is said, in quotes")
    predict.add_argument("--run", dest="folder", type=Path, help="folder of a finished training "
                         "of muse (default: the fast one on the demo corpus)")  # fmt: skip
    predict.set_defaults(run=_predict)
    return parser


def _data(arguments) -> None:
    from itertools import combinations

    from mmer_lib.corpora import load
    from mmer_lib.corpora.observer import observer

    corpus = load(arguments.name)
    print(f"{corpus.name}: {len(corpus.utterances)} synthetic utterances in "
          f"{len(corpus.sessions)} sessions, {corpus.extras['path']}")  # fmt: skip
    print(f"sha256 of sound, faces and times: {corpus.extras['sha256']}")
    print("\nThe best that an observer of these modalities could reach:")
    print(f"{'':<22}{'WA':>7}{'MAE':>7}{'Corr':>7}{'Acc-2':>7}{'Acc-7':>7}")
    for count in (1, 2, 3):
        for modalities in combinations(MODALITIES, count):
            s = observer(corpus.extras["recipe"], modalities).expected
            row = (s["wa"], s["mae"], s["corr"], s["acc2_non0"], s["acc7"])
            print(f"{' + '.join(modalities):<22}" + "".join(f"{v:7.3f}" for v in row))


def _train(arguments) -> None:
    from mmer_lib.corpora import load
    from mmer_lib.training import fit

    changes = {} if arguments.max_epochs is None else {"max_epochs": arguments.max_epochs}
    run = fit(
        arguments.model,
        load(arguments.data),
        fold=arguments.fold,
        seed=arguments.seed,
        preset=arguments.preset,
        device=arguments.device,
        out=arguments.out,
        progress=not arguments.quiet,
        **changes,
    )
    r = run.result
    print(f"{r['model']} on {r['data']}{' (synthetic)' if r['synthetic'] else ''}, "
          f"fold {r['fold']}, seed {r['seed']}, preset {r['preset']}: {r['epochs']} epochs "
          f"in {r['seconds']:.0f} s on {r['device']} ({r['time']})")  # fmt: skip
    scores = (f"{k} {v:.3f}" if v is not None else f"{k} undefined" for k, v in r["test"].items())
    print(f"held-out session, {r['sizes']['test']} utterances: " + ", ".join(scores))
    print(run.folder)


def _predict(arguments) -> None:
    from mmer_lib.corpora import load
    from mmer_lib.predict import predict
    from mmer_lib.runs import open_run
    from mmer_lib.training import fit

    run = open_run(arguments.folder) if arguments.folder else fit("muse", load("demo"))
    if run.result["synthetic"]:
        print("(trained on synthetic speech: try it, do not rely on it)")
    probabilities = predict(run, arguments.wav, arguments.text)
    for emotion, p in zip(EMOTIONS, probabilities, strict=True):
        print(f"{emotion:<8} {p:6.1%}  {'#' * round(40 * p)}")


if __name__ == "__main__":
    sys.exit(main())
