"""Files of corpora that fuzzing, and reading for it, found to break their readers: most raised
something else than a DataError, took the memory or never ended. Each is as small as shows it."""

import re
import resource
import struct
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.corpora import files, iemocap, own
from mmer_lib.corpora.alignment import read_alignment, written_words
from mmer_lib.corpora.files import read_wav
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.csd import open_sequence
from mmer_lib.data import Corpus, DataError, Findings, Utterance, tokenise
from mmer_lib.features.text import Glove
from tests.corpora import fake_iemocap, fake_mosi, fake_own
from tests.fuzz.conftest import DEEP

pytestmark = pytest.mark.usefixtures("bounded")


# ------------------------------------------------------------------------- sequences (.csd)


@pytest.fixture
def csd(tmp_path):
    times = np.array([[0.0, 1.0], [1.0, 2.0]])
    fake_mosi.write_csd(tmp_path / "a.csd", {"v": (np.zeros((2, 3), "f4"), times)})
    return tmp_path / "a.csd"


def replaced(path, where, make):
    """Another thing in the place of a group or an array."""
    with h5py.File(path, "r+") as file:
        (root,) = file.values()
        parent, _, name = where.rpartition("/")
        parent = root[parent] if parent else root
        if name in parent:
            del parent[name]
        make(parent, name)


def refused(path):
    with open_sequence(path) as sequence:
        for id in sequence.ids:
            sequence.rows(id)


def test_an_array_in_place_of_the_videos_is_refused(csd):
    """Its rows were taken for videos: a million million of them."""
    replaced(csd, "data", lambda g, n: g.create_dataset(n, (10**12,), "f4", chunks=(1000,)))
    with pytest.raises(DataError, match=r"a\.csd: 'data' holds no videos"):
        refused(csd)


@pytest.mark.parametrize(
    "make",
    [
        lambda g, n: g.create_dataset(n, (1, 10**9), "S9", chunks=(1, 1000)),
        lambda g, n: g.create_dataset(n, data=[[DEEP]], dtype=h5py.string_dtype()),
        lambda g, n: g.create_dataset(n, data=[DEEP], dtype=h5py.string_dtype()),
        lambda g, n: g.create_dataset(n, data=[1.5]),
        lambda g, n: g.create_group(n),
    ],
)
def test_metadata_of_any_size_and_depth_names_no_columns(csd, make):
    replaced(csd, "metadata/dimension names", make)
    with open_sequence(csd) as sequence:
        assert sequence.names == () and sequence.rows("v").features.shape == (2, 3)


def test_metadata_in_another_file_is_not_read(csd, tmp_path):
    other = tmp_path / "other.csd"
    fake_mosi.write_csd(other, {}, "r", {"dimension names": '["x", "y", "z"]'})
    replaced(csd, "metadata", lambda g, n: g.__setitem__(n, h5py.ExternalLink(other, "r/metadata")))
    with open_sequence(csd) as sequence:
        assert sequence.names == ()


def test_a_file_that_unfolds_to_over_a_hundred_times_its_size_is_refused(tmp_path):
    """Of 20 ids each is small enough for itself."""
    rows = np.zeros((400_000, 2), "f4")
    times = np.zeros((400_000, 2))
    how = {"chunks": (100_000, 2), "compression": "gzip", "compression_opts": 9}
    fake_mosi.write_csd(tmp_path / "a.csd", {f"v{i}": (rows, times) for i in range(20)}, **how)
    with pytest.raises(DataError, match=r"a\.csd: v\d+: .*unfolds to over 100 times its size"):
        refused(tmp_path / "a.csd")


def test_deflate_in_deflate_is_refused(csd):
    def make(group, name):
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((1000, 2))
        how.set_deflate(9)
        how.set_deflate(9)
        space = h5py.h5s.create_simple((1000, 2))
        h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, how)

    replaced(csd, "data/v/features", make)
    with pytest.raises(DataError, match=r"a\.csd: v: features .*larger than the file could hold"):
        refused(csd)


def test_a_chunk_that_is_larger_than_the_file_could_hold_is_refused(csd):
    def make(group, name):
        group.create_dataset(name, (2, 3), "f4", maxshape=(None, 3), chunks=(10**8, 3),
                             compression="gzip")  # fmt: skip

    replaced(csd, "data/v/features", make)
    with pytest.raises(DataError, match=r"a\.csd: v: features .*larger than the file could hold"):
        refused(csd)


@pytest.mark.parametrize("where", ["data/v/features", "metadata/dimension names"])
def test_a_text_that_says_it_is_longer_than_the_file_takes_no_memory(csd, where):
    """HDF5 makes room for as many letters as the reference to the text says."""
    texts = np.array([["oh"], ["yes"]], object) if where.startswith("data") else ["[]"]
    at = []

    def make(group, name):
        at.append(group.create_dataset(name, data=texts, dtype=h5py.string_dtype()).id.get_offset())

    replaced(csd, where, make)
    with open_sequence(csd) as sequence:
        before = sequence.rows("v").features[:, 0].tolist()
        assert before == (["oh", "yes"] if where.startswith("data") else [0, 0])
    content = bytearray(csd.read_bytes())
    content[at[0] : at[0] + 4] = struct.pack("<I", 2**30)
    csd.write_bytes(content)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if where.startswith("data"):
        with pytest.raises(DataError, match=r"a\.csd: v: with the letters of features"):
            refused(csd)
    else:
        with open_sequence(csd) as sequence:
            assert sequence.names == ()
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
    assert more < 200_000 or sys.platform != "linux"  # where it is in kB


letters = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
any_texts = st.lists(st.lists(letters, min_size=3, max_size=3), min_size=1, max_size=40)


@given(any_texts, st.none() | st.tuples(st.integers(1, 7), st.integers(1, 3)), st.integers(0, 40))
def test_texts_of_any_length_are_those_that_hdf5_reads(texts, chunks, changed):
    """Of some, another text is written in their place afterwards, so that heaps have gaps."""
    texts, chunks = np.array(texts, object), chunks and tuple(np.minimum(chunks, len(texts)))
    with tempfile.TemporaryDirectory() as folder:
        path, times = Path(folder) / "a.csd", np.zeros((len(texts), 2))
        fake_mosi.write_csd(path, {"v": (np.zeros((len(texts), 3), "f4"), times)})

        def make(group, name):
            data = group.create_dataset(name, data=texts, chunks=chunks, dtype=h5py.string_dtype())
            data[:changed] = texts[:changed] + "!"

        replaced(path, "data/v/features", make)
        with h5py.File(path) as file:
            (root,) = file.values()
            known = root["data/v/features"].asstr()[()]
        with open_sequence(path) as sequence:
            assert sequence.rows("v").features.tolist() == known.tolist()


def with_texts(csd):
    """The file with texts of any length, and where their heap begins."""
    at = []

    def make(group, name):
        texts = np.array([["oh"], ["yes"]], object)
        at.append(group.create_dataset(name, data=texts, dtype=h5py.string_dtype()).id.get_offset())

    replaced(csd, "data/v/features", make)
    content = bytearray(csd.read_bytes())
    return content, *struct.unpack_from("<4xQ", content, at[0])


@pytest.mark.parametrize("size", [0, 8, 2**63])
def test_a_heap_of_texts_that_does_not_go_on_is_refused(csd, size):
    """HDF5 goes round in circles: a free piece without a size leads to itself."""
    content, heap = with_texts(csd)
    pieces = (int.from_bytes(content[heap + 8 : heap + 16], "little") - 16) // 16
    content[heap + 16 : heap + 16 + 16 * pieces] = struct.pack("<HHIQ", 0, 0, 0, size) * pieces
    csd.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csd: a text is not where the file says"):
        refused(csd)


@pytest.mark.parametrize("at, what", [(0, b"GCOX"), (4, b"\2"), (8, struct.pack("<Q", 2**40))])
def test_texts_without_a_heap_are_refused(csd, at, what):
    content, heap = with_texts(csd)
    content[heap + at : heap + at + len(what)] = what
    csd.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csd: no texts are where the file says"):
        refused(csd)


def test_lists_of_numbers_in_place_of_texts_are_refused(csd):
    kind = h5py.vlen_dtype(np.int32)
    replaced(csd, "data/v/features", lambda g, n: g.create_dataset(n, (2, 1), kind))
    with pytest.raises(DataError, match=r"a\.csd: '.*features' holds neither numbers nor texts"):
        refused(csd)


def test_a_video_that_is_a_link_to_nowhere_is_told(tmp_path):
    path = fake_mosi.write_release(tmp_path).file("words")
    with h5py.File(path, "r+") as file:
        (root,) = file.values()
        id = next(iter(root["data"]))
        del root["data"][id]
        root["data"][id] = h5py.SoftLink("/nowhere")
    with pytest.raises(DataError, match=rf"{path.name}: '{id}' is a link to elsewhere"):
        mosi.load(tmp_path, "mosi", progress=False)


def test_a_video_whose_name_is_not_utf8_is_refused(csd):
    with h5py.File(csd, "r+") as file:
        (root,) = file.values()
        root["data"].create_group(b"caf\xe9")
    with pytest.raises(DataError, match=r"a\.csd: the name of a video is not UTF-8"):
        refused(csd)


def test_texts_of_any_length_that_are_packed_are_refused(csd):
    def make(group, name):
        group.create_dataset(name, data=np.array([["a"], ["b"]], object), chunks=(1, 1),
                             compression="gzip", dtype=h5py.string_dtype())  # fmt: skip

    replaced(csd, "data/v/features", make)
    with pytest.raises(DataError, match=r"a\.csd: texts of any length that are packed"):
        refused(csd)


def test_many_short_texts_count_as_what_python_takes_for_them(tmp_path):
    rows, times = np.full((200_000, 1), b"a"), np.zeros((200_000, 2))
    how = {"chunks": True, "compression": "gzip"}
    fake_mosi.write_csd(tmp_path / "a.csd", {f"v{i}": (rows, times) for i in range(5)}, **how)
    with pytest.raises(DataError, match=r"a\.csd: v\d: "):
        refused(tmp_path / "a.csd")


@pytest.mark.parametrize("late", [1e308, 1e8])
def test_intervals_that_last_for_months_are_refused(csd, late):
    fake_mosi.change_csd(csd, "v", intervals=np.array([[0, 1], [1, late]]))
    with pytest.raises(DataError, match=r"a\.csd: v: row 1 lasts from 1\.0 to 1"):
        refused(csd)


def test_segments_that_all_take_the_same_rows_are_refused(tmp_path):
    """Each would have a copy of its own."""
    release = fake_mosi.write_release(tmp_path)
    video = release.segments[0].video
    n = 3000
    fake_mosi.change_csd(release.file("labels"), video, np.ones((n, 1), "f4"),
                         np.tile([0.0, 9.0], (n, 1)))  # fmt: skip
    with pytest.raises(DataError, match=rf"{video}: segments overlap so that they take every row"):
        mosi.load(tmp_path, "mosi", progress=False)


# ----------------------------------------------------------------------------------- sound


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "a.wav", fake_own.noise(0), 16000)
    return tmp_path / "a.wav"


def test_a_sound_named_raw_is_refused(wav):
    """libsndfile then asks for a rate."""
    raw = wav.rename(wav.with_suffix(".raw"))
    with pytest.raises(DataError, match=r"a\.raw: not readable as sound"):
        read_wav(raw)


def test_a_header_that_claims_more_samples_than_there_are_takes_no_memory(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, fake_own.noise(0), 16000)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] | 15, 255, 255, 255, 255])  # of STREAMINFO: 2**36 - 1
    path.write_bytes(content)
    try:
        samples, _ = read_wav(path)
        assert len(samples) <= 4000
    except DataError as error:
        assert "a.flac: not readable as sound" in str(error)


def test_packed_silence_that_fills_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST", 2**22)
    soundfile.write(tmp_path / "a.flac", np.zeros(2**22 + 1, "f4"), 16000)
    assert (tmp_path / "a.flac").stat().st_size < 2**17
    with pytest.raises(DataError, match=r"a\.flac: over 4,194,304 samples; cut the recording"):
        read_wav(tmp_path / "a.flac")


def test_a_name_that_no_file_can_have_is_told_with_its_line(folder):
    rows = fake_own.rows_of(16)
    table = fake_own.write(folder, rows)
    rows[3][0], rows[4][0] = "x" * 5000, "a\0b"
    table = fake_own.write(folder, rows, sounds=False)
    with pytest.raises(DataError, match=r"(?s)audio.: no such file in .*line 5: xxx.*line 6: a"):
        own.from_table(table)
    with pytest.raises(DataError, match="no such file"):
        read_wav("y" * 5000)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


def test_a_sound_named_raw_in_a_table_is_told_with_its_line(folder):
    rows = fake_own.rows_of(16)
    fake_own.write(folder, rows)
    rows[0][0] = "wavs/0.raw"
    (folder / "wavs/0.wav").rename(folder / "wavs/0.raw")
    with pytest.raises(DataError, match=r"not readable as sound: 1 \(line 2: wavs/0\.raw\)"):
        own.from_table(fake_own.write(folder, rows, sounds=False))


# ------------------------------------------------------------------------------------ text


@st.composite
def labelled(draw):
    """Utterances whose sessions and classes are drawn; every session has one at least."""
    sessions = draw(st.integers(3, 6))
    places = [*range(sessions), *draw(st.lists(st.integers(0, sessions - 1), max_size=20))]
    classes = draw(st.lists(st.sampled_from("abc"), min_size=len(places), max_size=len(places)))
    us = [Utterance(str(i), f"p{s}", f"s{s}", "a", emotion=c)
          for i, (s, c) in enumerate(zip(places, classes, strict=True))]  # fmt: skip
    return Corpus("own", "", tuple(us), emotions=tuple(sorted(set(classes))))


@given(labelled())
def test_folds_without_a_class_are_those_whose_training_part_lacks_it(corpus):
    """Found without going through all utterances for each of many sessions."""
    expected = [
        (fold, emotion)
        for fold in range(len(corpus.sessions))
        for emotion in corpus.emotions
        if all(corpus.utterances[row].emotion != emotion for row in corpus.splits(fold).train)
    ]
    assert own._untrained(corpus) == expected


def test_a_session_for_each_of_thousands_does_not_take_the_square_of_them(tmp_path):
    n = 6000
    columns = [[f"word {i}" for i in range(n)], ["a" if i % 2 else "b" for i in range(n)],
               [f"p{i}" for i in range(n)]]  # fmt: skip
    corpus = own.from_arrays(*columns, frames=[np.zeros((1, 2), "f4")] * n, session=columns[2])
    assert len(corpus.sessions) == n


@pytest.mark.parametrize("line", ["Ses01F" + "_F" * 60_000, "[" + "9" * 120_000,
                                  "Ses01F_a_F0" + " " * 120_000 + "x"])  # fmt: skip
def test_a_long_line_takes_time_in_proportion(tmp_path, line):
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "a.txt"
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n[0 - 1]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n")
    (label,) = iemocap._labels(path, findings := Findings("iemocap"))
    assert label.id == "Ses01F_impro01_F000" and len(findings.places) == 1
    path.write_text(f"{line}\n[0 - 1]\tSes01F_impro01_F000 [0-1]: Hm.\nSes01F_impro01_F000: Hm.\n")
    assert [t[:2] for t in iemocap._transcripts(path, findings)] == [("Ses01F_impro01_F000", "Hm.")]


@pytest.mark.parametrize("text", ["[" * 200_000, "a" + "\u0300\u0327" * 100_000])
def test_a_long_text_takes_time_in_proportion(text):
    """Brackets that never close; marks that Unicode orders by moving each past the others."""
    assert len(written_words(text)) <= 1000 and len(tokenise(text)) <= 1000


def test_frames_of_more_digits_than_time_has_are_refused(tmp_path):
    path = tmp_path / "a.wdseg"
    for digits in ("9" * 400, "9" * 5000):
        path.write_text(fake_iemocap.wdseg([]).replace("Word", f"Word\n0 {digits} -1 A"))
        with pytest.raises(DataError, match=r"a\.wdseg: the line .* does not follow"):
            read_alignment(path)


@pytest.mark.parametrize("value", ["1e308", "-3.5e38", "1e400", "nan", "1_0"])
def test_a_vector_that_float32_cannot_hold_is_refused(tmp_path, value):
    path = tmp_path / "glove.txt"
    path.write_text(f"the 1 2 3\na 1 {value} 3\n")
    assert Glove(path).vectors(["the"])[1].all()
    if value == "1_0":
        pytest.skip("Python reads it as 10")
    with pytest.raises(DataError, match=re.escape("glove.txt, line 2: a field is not a finite")):
        Glove(path).vectors(["a"])
