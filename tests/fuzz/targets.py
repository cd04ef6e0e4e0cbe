"""What is fuzzed: each reader with good files to begin from, one generic way to damage them, and
what must hold whatever a file holds."""

from __future__ import annotations

import io
import os
import pickle
import signal
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from mmer_lib.corpora import iemocap, own
from mmer_lib.corpora.files import read_wav
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.csd import read_sequence
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import Corpus, DataError
from mmer_lib.features.text import Glove
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.store import load_arrays, save_arrays
from mmer_lib.training.runs import Run, open_run, save_run
from mmer_lib.training.settings import Settings
from tests.corpora import fake_iemocap, fake_mosi, fake_own

LARGEST = 1 << 16
"""Bytes of an input."""

SECONDS = 20
"""Of computing that an input may take in this process."""

MARKER = "pwned"
"""A file that a payload in the seeds would make in the current folder."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        place: folder -> the path of a good file there, with what must lie beside it.
        read: reads the file at a path as a user would, sounds and all.
        seeds: contents of further good files.
        child: whether it reads in a child process, which takes a moment to start.
    """

    place: Callable[[Path], Path]
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]] = list
    child: bool = False


# ------------------------------------------------------------------------------ good files


class Payload:
    """Unpickled by `pickle.load`, it leaves the marker."""

    def __reduce__(self):
        return eval, (f"open({MARKER!r}, 'w').close()",)


def _written(content: bytes, name: str) -> Callable[[Path], Path]:
    def place(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return place


def _pickles() -> list[bytes]:
    objects = [fake_mosi.mmsa(False, 1), fake_mosi.misa(), {"train": [Payload()]}, [1.5, None]]
    return [pickle.dumps(o, protocol) for o in objects for protocol in (0, 2, 5)]


def _safe(folder: Path) -> Path:
    source = fake_mosi.write_pickle(folder.parent / "source.pkl", fake_mosi.mmsa(clips=1))
    mosi.convert(source, folder / "a.safetensors")
    return folder / "a.safetensors"


def _sequences(folder: Path) -> Path:
    return fake_mosi.write_release(folder).file("words")


def _features(folder: Path) -> Path:
    arrays = {"a": [np.ones((3, 2), "f4"), np.zeros((0, 2), "f4")], "b": [np.arange(3)]}
    save_arrays(folder / "a.safetensors", arrays, {"x": [1, None, "y"]})
    return folder / "a.safetensors"


def save_small_run(folder: Path) -> None:
    model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    settings = Settings("sentiment", 1e-3, 4, 2, 1, "mae", "min")
    save_run(Run("mimic", folder, model.eval(), settings, {"test": {"wa": 0.5}}))


def _run(part: str) -> Callable[[Path], Path]:
    def place(folder: Path) -> Path:
        save_small_run(folder / "run")
        return folder / "run" / part

    return place


def _release(kind: str) -> Callable[[Path], Path]:
    """The file of one utterance in a small release of IEMOCAP."""

    def place(folder: Path) -> Path:
        release = fake_iemocap.write_dialogue(folder / "release")
        line = next(line for line in release.lines if line.label == "neu" and line.words)
        return getattr(release, kind)(line)

    return place


def _tables() -> list[bytes]:
    split = fake_own.with_column("split", ["train"] * 8 + ["dev"] * 4 + ["test"] * 4)
    sentiment = fake_own.with_column("sentiment", [str(i / 8) for i in range(16)])
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for (rows, header), by in ((split, ","), (sentiment, ";")):
            made.append(fake_own.write(Path(folder), rows, header, by).read_bytes())
    return made


def _sounds() -> list[bytes]:
    made = []
    kinds = (("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"))
    for form, subtype in (*kinds, ("MP3", "MPEG_LAYER_III"), ("CAF", "ALAC_16")):
        file = io.BytesIO()
        soundfile.write(file, fake_own.noise(0, 400), 16000, subtype, format=form)
        made.append(file.getvalue())
    return made


GLOVE = b"the 0.1 0.2\ndon't -1 2e-3\ncaf\xc3\xa9 1 1\n. . . 1 2"


# ----------------------------------------------------------------------------------- reading


def _load_mosi(path: Path) -> Corpus:
    return mosi.load(path.parent if path.suffix == ".csd" else path, "mosi", progress=False)


def _load_iemocap(path: Path) -> None:
    root = next(parent for parent in path.parents if parent.name == "release")
    for utterance in iemocap.load(root, progress=False).utterances:
        utterance.waveform()


def _load_table(path: Path) -> None:
    for utterance in own.from_table(path, name="fuzzed").utterances:
        utterance.waveform()


def _read_glove(path: Path) -> None:
    vectors, known = Glove(path).vectors(["the", "don't", "unknown"])
    assert np.isfinite(vectors).all() and not vectors[~known].any()


TARGETS = {
    "pickle": Target(_written(_pickles()[0], "a.pkl"), load_pickle, _pickles, child=True),
    "mosi-pickle": Target(_written(_pickles()[0], "a.pkl"), _load_mosi, _pickles, child=True),
    "csd": Target(_sequences, read_sequence, child=True),
    "mosi-words": Target(_sequences, _load_mosi, child=True),
    "mosi-safe": Target(_safe, _load_mosi),
    "features": Target(_features, load_arrays),
    **{
        f"run-{part.split('.')[0]}": Target(_run(part), lambda path: open_run(path.parent))
        for part in ("config.json", "run.json", "result.json", "model.safetensors")
    },
    "iemocap-labels": Target(_release("labels"), _load_iemocap),
    "iemocap-transcripts": Target(_release("transcripts"), _load_iemocap),
    "iemocap-alignment": Target(_release("alignment"), _load_iemocap),
    "iemocap-sound": Target(_release("sound"), _load_iemocap, _sounds),
    "csv": Target(
        lambda folder: fake_own.write(folder, fake_own.rows_of(16)), _load_table, _tables
    ),
    "glove": Target(_written(GLOVE, "glove.txt"), _read_glove),
    "sound": Target(_written(_sounds()[0], "a.wav"), read_wav, _sounds),
}
"""By name."""


# ------------------------------------------------------------------------------------ damage

_NUMBERS = (0, 1, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
_TOKENS = (
    *b"nan -inf 1e400 -1 -0.5 null true {} [] [LAUGHTER] [3] $_$ sp , ; | ../../etc/passwd".split(),
    *(b"", b" ", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[2J", b'"'),
    *(b"9" * 30, b"9" * 5000, b"x" * 3000, b"[" * 5000, b'{"a":' * 2000),
    *(b"a\xcc\x80\xcc\xa7" * 20, b"cos\nsystem\n", b"/dev/zero"),
)


def damage(data: bytes, rng: Random, seeds: list[bytes]) -> bytes:
    """One to four changes: bytes flipped, cut off, left out, repeated, taken from another file, or
    a number or a token in their place (of texts most often in the place of a word)."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        words = [i for i, byte in enumerate(data) if byte in b' \t\n,;:[]{}"']
        at = rng.choice(words) + 1 if words and rng.random() < 0.5 else rng.randint(0, len(data))
        end = min([i for i in words if i > at], default=len(data))
        kind = rng.randrange(8)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + rng.randbytes(rng.choice((1, 1, 8))) + data[at + 1 :]
        elif kind == 2:
            number = rng.choice(_NUMBERS).to_bytes(8, rng.choice(("little", "big")))
            size = rng.choice((1, 2, 4, 8))
            data = data[:at] + number[:size] + data[at + size :]
        elif kind == 3:
            data = data[:at] + data[rng.randint(at, len(data)) :]
        elif kind == 4:
            data = data[:at] + data[at : at + 2000] * rng.choice((2, 50)) + data[at + 2000 :]
        elif kind == 5:
            other = rng.choice(seeds)
            start = rng.randint(0, len(other))
            data = data[:at] + other[start : start + rng.choice((8, 500))] + data[at:]
        else:
            data = data[:at] + rng.choice(_TOKENS) + data[end:]
        data = data[:LARGEST]
    return data


# ------------------------------------------------------------------------------ what must hold


class Broken(AssertionError):
    """An invariant does not hold."""


@contextmanager
def in_time(seconds: float):
    """Raises:
    Broken: so many seconds of computing have passed.
    """

    def late(*_):
        raise Broken(f"still reading after {seconds:g} s of computing")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _files(folder: Path) -> set[str]:
    return {os.path.join(where, f) for where, _, files in os.walk(folder) for f in files}


def read(target: Target, folder: Path, path: Path, content: bytes) -> str:
    """Let the target's reader read a file of this content at `path` in `folder`: "read", or
    "refused" by a `DataError` that names it, in time, with nothing run and nothing written.

    Raises:
        Broken: an invariant does not hold. What the reader raises beside a DataError.
    """
    path.write_bytes(content)
    before, outcome = _files(folder), "read"
    with in_time(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # of numpy: a number that means nothing
        try:
            target.read(path)
        except DataError as error:
            outcome = "refused"
            names = {path.name, *path.relative_to(folder).parts, folder.name}
            if not any(name in str(error) for name in names):
                raise Broken(f"the message names no file: {error}") from error
    if _files(folder) != before:
        raise Broken(f"files were made: {_files(folder) ^ before}")
    if os.path.exists(MARKER):
        os.remove(MARKER)
        raise Broken("code in the file was run")
    return outcome
