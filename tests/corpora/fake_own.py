"""Small corpora of one's own, as tables and as arrays; nobody said this."""

import csv

import numpy as np
import soundfile

from mmer_lib.data import EMOTIONS

HEADER = ("audio", "text", "label", "speaker")


def noise(i, samples=4000):
    return (0.1 * np.random.default_rng(i).standard_normal(samples)).astype("f4")


def rows_of(n, speakers=4, labels=EMOTIONS):
    """Lines of a good table: every speaker says every label in turn."""
    return [
        [
            f"wavs/{i}.wav",
            f"word {i}, said",
            labels[i // speakers % len(labels)],
            f"p{i % speakers}",
        ]
        for i in range(n)
    ]


def write(folder, rows, header=HEADER, delimiter=",", encoding="utf-8", sounds=True):
    """metadata.csv and its sound files; the table's path."""
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        if sounds and row and not (folder / row[0]).exists():
            soundfile.write(folder / row[0], noise(i), 16000, "FLOAT")
    with open(folder / "metadata.csv", "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return folder / "metadata.csv"


def arrays(n=16, speakers=4, labels=EMOTIONS, **more):
    rows = rows_of(n, speakers, labels)
    given = {
        "text": [row[1] for row in rows],
        "label": [row[2] for row in rows],
        "speaker": [row[3] for row in rows],
        "waveforms": [noise(i) for i in range(n)],
        "rate": 16000,
    }
    return {**given, **more}


def with_column(name, values, n=16, speakers=4):
    rows = rows_of(n, speakers)
    return [[*row, value] for row, value in zip(rows, values, strict=True)], (*HEADER, name)
