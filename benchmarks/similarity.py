"""Similarity through training on real recordings: `python -m benchmarks.similarity FILE`.

FILE is a list in MISA's layout (words, Facet, COVAREP by word; sentiment; name) of CMU-MOSI, such
as its 229 validation utterances of 10 speakers; it is a research corpus, so it is not in this
project. Folds are dealt by speaker, and every system is trained on every fold with every seed. The
runs, with their traces, are written as one JSON-lines file, as `mmer tables` does.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import Corpus, Utterance
from mmer_lib.experiments.tables import write_runs
from mmer_lib.store import digest
from mmer_lib.training.fit import fit

SYSTEMS = (
    ("mimic", {}),
    ("mimic", {"contrastive": 0.0}),
    ("mimic", {"decoupling": "none"}),
    ("misa", {}),
)
"""Models, and what is set otherwise."""

FOLDS = 5


def read(path: Path) -> Corpus:
    """The utterances of the file; speakers (videos) are dealt into five groups, largest first."""
    rows = load_pickle(path)
    speakers = [name.partition("[")[0] for _, _, name in rows]
    groups = dict.fromkeys(sorted(set(speakers), key=lambda s: (-speakers.count(s), s)))
    sizes = [0] * FOLDS
    for speaker in groups:
        groups[speaker] = smallest = sizes.index(min(sizes))
        sizes[smallest] += speakers.count(speaker)
    pairs = zip(rows, speakers, strict=True)
    utterances = tuple(
        Utterance(
            id=name,
            speaker=speaker,
            session=f"group {groups[speaker]}",
            text=" ".join(words),
            audio=np.nan_to_num(audio.astype(np.float32)),
            vision=np.nan_to_num(vision.astype(np.float32)),
            sentiment=float(np.ravel(label)[0]),
        )
        for ((_, vision, audio, words, *_), label, name), speaker in pairs
    )
    content = [(u.id, u.text, u.audio, u.vision, u.sentiment, u.session) for u in utterances]
    return Corpus("mosi-229", digest(content), utterances, extras={"arrays": ["audio", "vision"]})


def train(path: Path, name: str, changes: dict, fold: int, seed: int, out: Path) -> dict:
    corpus = read(path)
    result = fit(name, corpus, fold=fold, seed=seed, out=out, progress=False, **changes).result
    result = result | {"command": f"python -m benchmarks.similarity {path.name}"}
    return {k: v for k, v in result.items() if k != "history"}  # the trace says how it went


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/results/mosi-229.jsonl"))
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: in the cache)")
    given = parser.parse_args()
    asked = itertools.product(SYSTEMS, range(FOLDS), range(given.seeds))
    train_one = delayed(train)
    results = Parallel(given.workers, verbose=5)(
        train_one(given.file, name, changes, fold, seed, given.runs)
        for (name, changes), fold, seed in asked
    )
    write_runs(given.out, results)


if __name__ == "__main__":
    main()
