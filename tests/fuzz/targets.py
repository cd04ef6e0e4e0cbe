"""What is fuzzed: each reader with good files to begin from, ways to damage these, and a call that
reads one to the last value. The good files are made by the fakes of `tests/corpora`."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from mmer_lib.corpora import iemocap, own
from mmer_lib.corpora.alignment import timed_words
from mmer_lib.corpora.files import read_wav
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.csd import open_sequence
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import Corpus, DataError, Findings
from mmer_lib.experiments.tables import read_table
from mmer_lib.features.text import Glove
from mmer_lib.store import load_ragged, save_ragged
from mmer_lib.training.runs import open_run, read_results
from tests.corpora import fake_iemocap, fake_mosi, fake_own
from tests.fuzz import mutate
from tests.fuzz.containers import csd_of, safetensors_of

Mutator = Callable[[bytes, Random, list[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: contents of good files.
        mutate: (content, rng, seeds) -> a damaged one.
        read: reads the file at a path as a user would, sounds and all.
        prepare: folder -> the path where the file belongs; what must lie beside it is put there.
        above: how many folders lie between the file and what a reader's message may name.
        times: bytes of memory that a byte of the file may take.
        module: of `mmer_lib`, whose coverage is looked at.
    """

    seeds: Callable[[], list[bytes]]
    mutate: Mutator
    read: Callable[[Path], object]
    prepare: Callable[[Path], Path]
    above: int = 0
    times: int = 300
    module: str = "mmer_lib.corpora"


def named(name: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    return prepare


def _use(corpus: Corpus) -> Corpus:
    """Read what is read when it is called for."""
    for utterance in corpus.utterances:
        if utterance.waveform is not None:
            utterance.waveform()
    return corpus


# ---------------------------------------------------------------------------------- pickles


class _Payload:
    """Unpickled by `pickle.load`, it leaves the marker."""

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return eval, ("open('pwned', 'w').close()",)


def _objects() -> list:
    return [
        *(fake_mosi.mmsa(aligned, clips=1) for aligned in (True, False)),
        fake_mosi.misa(), fake_mosi.misa(7),
    ]  # fmt: skip


def _pickles() -> list[bytes]:
    return [pickle.dumps(o, protocol) for o in _objects() for protocol in (0, 2, 4, 5)]


def _any_pickles() -> list[bytes]:
    return [pickle.dumps(o, protocol) for o in _any_objects() for protocol in (0, 2, 4, 5)]


def _any_objects() -> list:
    return [
        {"a": [1, -2.5, "text", b"bytes", None, True, 2**70, 1j, (1, 2), {3}, frozenset({4})]},
        np.arange(6.0).reshape(2, 3), np.array(["a", "bc"]), np.array([None, "x", 1], object),
        [np.float32(1), np.dtype(">i8"), np.bool_(True)], _Payload(), {"train": [_Payload()]},
    ]  # fmt: skip


def pickled(trees: list) -> Mutator:
    """A changed object pickled, or changed operations."""
    values = (*mutate._VALUES, _Payload(), 2.0**70, np.float64(1), np.arange(3))

    def change(data: bytes, rng: Random, others: list[bytes]) -> bytes:
        if rng.random() < 0.5:
            return mutate.bytes_of(data, rng, others)
        try:
            tree = mutate.changed(rng.choice(trees), rng, values)
            return pickle.dumps(tree, rng.choice((0, 2, 4, 5)))[: mutate.LARGEST]
        except RecursionError:
            return b")" + b"\x85" * 5000 + b"."

    return change


def _load_mosi(path: Path) -> Corpus:
    return mosi.load(path, "mosi", progress=False)


def _convert(path: Path) -> None:
    """To a safe file, which then reads the same."""
    with tempfile.TemporaryDirectory() as folder:
        safe = Path(folder) / "safe.safetensors"
        try:
            mosi.convert(path, safe)
        except DataError:
            assert not safe.exists()
            raise
        fake_mosi.assert_same(_load_mosi(path), _load_mosi(safe))


# ------------------------------------------------------------------------ other containers


def _made(write: Callable[[Path], object], name: str = "made") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _placed(prepare: Callable[[Path], Path]) -> list[bytes]:
    """The good file that lies where the fuzzed one will."""
    with tempfile.TemporaryDirectory() as folder:
        return [prepare(Path(folder)).read_bytes()]


def _sequences() -> list[bytes]:
    """Small: two videos of a part."""
    rng, entries = np.random.default_rng(0), {}
    for id in fake_mosi.PART:
        entries[id] = fake_mosi.regular(rng, 2, 0.5, 3.0)
    words = {id: (np.array([[b"oh"], [b"sp"]] * 3), times) for id, (_, times) in entries.items()}
    labels = {id: (rows[:1, :1], np.array([[0.0, 3.0]])) for id, (rows, _) in entries.items()}
    names = {"dimension names": '["smile", "frown"]'}
    return [
        _made(lambda path: fake_mosi.write_csd(path, entries, metadata=names)),
        _made(lambda path: fake_mosi.write_csd(path, entries, chunks=True, compression="gzip")),
        _made(lambda path: fake_mosi.write_csd(path, words)),
        _made(lambda path: fake_mosi.write_csd(path, labels)),
    ]


def _read_sequence(path: Path) -> None:
    with open_sequence(path) as sequence:
        for id in sequence.ids:
            assert len(sequence.rows(id).middles) == len(sequence.rows(id).features)


def _sequence_folder(kind: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        seeds = _sequences()
        for name, content in zip(("audio", "vision", "words", "labels"), seeds, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / fake_mosi.FILES[name]).write_bytes(content)
        return folder / fake_mosi.FILES[kind]

    return prepare


def _read_folder(path: Path) -> Corpus:
    return mosi.load(path.parent, "mosi", progress=False)


def _safe_files() -> list[bytes]:
    def write(content: dict) -> Callable[[Path], None]:
        def convert(path: Path) -> None:
            source = fake_mosi.write_pickle(path.with_suffix(".pkl"), content)
            mosi.convert(source, path)

        return convert

    return [_made(write(o), "safe.safetensors") for o in _objects()[:3]]


def _feature_files() -> list[bytes]:
    arrays = {"a": [np.arange(6, dtype="f4").reshape(3, 2), np.zeros((0, 2), "f4")],
              "b": [np.arange(3), np.arange(2)], "c": []}  # fmt: skip
    return [_made(lambda path: save_ragged(path, arrays, {"x": [1, None, "y"]})), *_safe_files()]


def _read_ragged(path: Path) -> None:
    load_ragged(path, verify=True)


def _read_ragged_unverified(path: Path) -> None:
    """What a feature file is opened with every day."""
    arrays, _ = load_ragged(path)
    for items in arrays.values():
        for item in items:
            item.tobytes()


# ------------------------------------------------------------------------------------ runs


def _run_folder(part: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        from tests.training.test_runs import run_of, save_run

        save_run(run_of("mimic", folder / "run"))
        return folder / "run" / part

    return prepare


def _run_files(part: str) -> Callable[[], list[bytes]]:
    return lambda: _placed(_run_folder(part))


def _open_run(path: Path) -> None:
    run = open_run(path.parent)
    run.result.get("test")


def _results() -> list[bytes]:
    result = {"model": "mimic", "data": "demo", "fold": 0, "seed": 1, "config": {"words": 5},
              "settings": {"task": "emotion"}, "test": {"wa": 0.5}}  # fmt: skip
    return [json.dumps(r).encode() for r in (result, {**result, "test": None})]


def _tables() -> list[bytes]:
    row = {"label": "a", "model": "mimic", "n": 1, "runs": [{"fold": 0, "seed": 1, "wa": 0.5}]}
    return [json.dumps({"table": "mimic-1", "corpus": "demo", "rows": [row, row]}).encode()]


# -------------------------------------------------------------------------- IEMOCAP, tables


def _one_dialogue(folder: Path) -> fake_iemocap.Line:
    """Session 1 of the fake, its first dialogue; the neutral utterance of the woman."""
    release = fake_iemocap.Release(folder)
    rng, name = np.random.default_rng(0), "Ses01F_impro01"
    lines = [fake_iemocap._line(1, name, g, k, rng) for g in "FM" for k in (0, 2, 5)]
    release.lines += lines
    fake_iemocap._write_dialog(release, lines)
    for line in lines:
        fake_iemocap._write_sound(release.sound(line), line, rng)
    return next(line for line in lines if line.label == "neu" and line.words)


def _release_file(kind: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        line = _one_dialogue(folder / "release")
        return getattr(fake_iemocap.Release(folder / "release"), kind)(line)

    return prepare


def _release_seed(kind: str) -> Callable[[], list[bytes]]:
    return lambda: _placed(_release_file(kind))


def _load_iemocap(path: Path) -> Corpus:
    root = next(parent for parent in path.parents if parent.name == "release")
    return iemocap.load(root, progress=False)


def _table_folder(folder: Path) -> Path:
    return fake_own.write(folder, fake_own.rows_of(16))


def _table_seeds() -> list[bytes]:
    more = fake_own.with_column("split", ["train"] * 8 + ["dev"] * 4 + ["test"] * 4)
    sentiments = fake_own.with_column("sentiment", [str(i / 8) for i in range(16)])
    tables = ((fake_own.rows_of(16), fake_own.HEADER), more, sentiments)
    return [
        _made(lambda path, t=table, by=separator: fake_own.write(path.parent, *t, delimiter=by),
              "metadata.csv")
        for table in tables for separator in ",;"
    ]  # fmt: skip


def _load_table(path: Path) -> Corpus:
    return _use(own.from_table(path, name="fuzzed"))


def _vectors() -> list[bytes]:
    lines = [f"{word} {' '.join(f'{i - 0.5 * k:.3f}' for k in range(4))}"
             for i, word in enumerate(("the", "a", "don't", "n't", "do", "caf\u00e9"))]  # fmt: skip
    return ["\n".join(lines).encode(), ("\n".join(lines) + "\n. . . 1 2 3 4\n").encode()]


def _read_glove(path: Path) -> None:
    glove = Glove(path)
    words = [*glove._table.index, "don't", "unknown"][:200]
    vectors, known = glove.vectors(words)
    assert vectors.shape == (len(words), glove.width) and np.isfinite(vectors).all()
    assert not vectors[~known].any()


def _sounds() -> list[bytes]:
    wave = (0.3 * np.sin(np.arange(400) / 9)).astype("f4")
    kinds = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("WAV", "IMA_ADPCM"),
             ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
             ("CAF", "ALAC_16"), ("NIST", "PCM_16"), ("W64", "PCM_16")]  # fmt: skip
    made = []
    for form, subtype in kinds:
        for samples in (wave, np.stack([wave, wave], axis=1)):
            file = io.BytesIO()
            soundfile.write(file, samples, 16000, subtype, format=form)
            made.append(file.getvalue())
    return made


JSON = mutate.json_of


def _labels(path: Path) -> None:
    iemocap._labels(path, Findings("iemocap"))


def _transcripts(path: Path) -> None:
    iemocap._transcripts(path, Findings("iemocap"))


def _alignment(path: Path) -> None:
    for text in ("Excuse me.", "[LAUGHTER] I don't - I can't."):
        timed_words(text, path, 9.0)


TARGETS = {
    "pickle": Target(_any_pickles, pickled(_any_objects()), load_pickle, named("data.pkl")),
    "mosi-pickle": Target(_pickles, pickled(_objects()), _load_mosi, named("data.pkl")),
    "convert": Target(_pickles, pickled(_objects()), _convert, named("data.pkl")),
    "csd": Target(_sequences, csd_of, _read_sequence, named("data.csd"), times=1200),
    **{f"mosi-{kind}": Target(_sequences, csd_of, _read_folder, _sequence_folder(kind), times=1200)
       for kind in ("words", "labels", "audio")},
    "mosi-safe": Target(_safe_files, safetensors_of, _load_mosi, named("data.safetensors")),
    "features": Target(_feature_files, safetensors_of, _read_ragged, named("a.safetensors"),
                       module="mmer_lib.store"),
    "features-unverified": Target(_feature_files, safetensors_of, _read_ragged_unverified,
                                  named("a.safetensors"), module="mmer_lib.store"),
    **{f"run-{part.split('.')[0]}": Target(_run_files(part), how, _open_run, _run_folder(part),
                                           module="mmer_lib.training.runs")
       for part, how in (("config.json", JSON), ("run.json", JSON), ("result.json", JSON),
                         ("model.safetensors", safetensors_of))},
    "results": Target(_results, JSON, lambda path: read_results(path.parent), named("a.json"),
                      module="mmer_lib.training.runs"),
    "table": Target(_tables, JSON, read_table, named("a.json"),
                    module="mmer_lib.experiments.tables"),
    **{f"iemocap-{kind}": Target(_release_seed(kind), mutate.text_of(separators), _load_iemocap,
                                 _release_file(kind), above)
       for kind, separators, above in (("labels", "\t [", 3), ("transcripts", " :[", 3),
                                       ("alignment", " \t", 4))},
    **{kind: Target(_release_seed(kind), mutate.text_of(separators), reader, _release_file(kind))
       for kind, separators, reader in (("labels", "\t [", _labels),
                                        ("transcripts", " :[", _transcripts),
                                        ("alignment", " \t", _alignment))},
    "iemocap-sound": Target(_sounds, mutate.bytes_of, lambda path: _use(_load_iemocap(path)),
                            _release_file("sound"), 4),
    "csv": Target(_table_seeds, mutate.text_of(",;\""), _load_table, _table_folder),
    "glove": Target(_vectors, mutate.text_of(" "), _read_glove, named("glove.txt"),
                    module="mmer_lib.features.text"),
    "sound": Target(_sounds, mutate.bytes_of, read_wav, named("a.wav"),
                    module="mmer_lib.corpora.files"),
}  # fmt: skip
"""By name."""
