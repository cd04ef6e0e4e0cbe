"""Files that fuzzing, and reading for it, found to break their readers: most raised something else
than a DataError, took the memory or never ended. Each is as small as shows it. (Those of pickles
and .csd files stand in `tests/corpora`.)"""

import json
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.corpora import files, iemocap, own
from mmer_lib.corpora.files import read_wav
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.data import Corpus, DataError, Utterance, tokenise
from mmer_lib.features.text import Glove
from mmer_lib.store import load_arrays, save_arrays
from mmer_lib.training.runs import open_run
from tests.corpora import fake_iemocap, fake_mosi, fake_own
from tests.fuzz.targets import in_time, save_small_run

DEEP = '{"a": ' + "[" * 100_000
"""JSON deeper than Python reads."""


@pytest.fixture(autouse=True)
def bounded():
    """No test may take as long as a hang would."""
    with in_time(20):
        yield


# ---------------------------------------------------------------------------- feature files


def with_header(path, change):
    """A feature file whose header was changed."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    made = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + content[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["a"].update(dtype="BF16"),
        lambda h: h.pop("a/offsets"),
        lambda h: h["a/offsets"].update(dtype="F64"),
        lambda h: h.update(__metadata__=None),
        lambda h: h["__metadata__"].update(metadata=DEEP),
    ],
)
def test_a_feature_file_with_a_wrong_header_is_refused(tmp_path, change):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": [np.zeros((2, 3), "f4"), np.zeros((1, 3), "f4")]}, {"x": 1})
    with_header(path, change)
    with pytest.raises(DataError, match=r"a\.safetensors: .*delete this file"):
        load_arrays(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sentiments", 9.0),
        ("sentiments", 10**400),
        ("left_out", {"a": "b"}),
    ],
)
def test_a_safe_file_with_other_values_is_refused(tmp_path, name, value):
    path = tmp_path / "safe.safetensors"
    mosi.convert(fake_mosi.write_pickle(tmp_path / "a.pkl", fake_mosi.misa()), path)

    def change(header):
        told = json.loads(header["__metadata__"]["metadata"])
        told[name] = [value, *told[name][1:]] if name == "sentiments" else value
        header["__metadata__"]["metadata"] = json.dumps(told)

    with_header(path, change)
    with pytest.raises(DataError, match=r"safe\.safetensors: damaged"):
        mosi.load(path, "mosi", progress=False)


# ------------------------------------------------------------------------------------- runs


@pytest.fixture
def run(tmp_path):
    save_small_run(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"units": 20_000}),
        ("config.json", {"heads": 0}),
        ("result.json", "null"),
        ("result.json", DEEP),
    ],
)
def test_a_run_with_a_giant_or_impossible_configuration_or_no_result_is_refused(run, file, changes):
    """Before a model is made."""
    path = run / file
    text = changes
    if isinstance(changes, dict):
        text = json.dumps({**json.loads(path.read_text()), **changes})
    path.write_text(text)
    with pytest.raises(DataError, match="damaged or contradict each other"):
        open_run(run)


# ----------------------------------------------------------------------------------- sound


def test_a_sound_named_raw_is_refused(tmp_path):
    """libsndfile then asks for a rate."""
    path = tmp_path / "a.raw"
    soundfile.write(path, fake_own.noise(0), 16000, "PCM_16", format="WAV")
    with pytest.raises(DataError, match=r"a\.raw: not readable as sound"):
        read_wav(path)


def test_a_header_that_claims_more_samples_than_there_are_takes_no_memory(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, fake_own.noise(0), 16000)
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] | 15, 255, 255, 255, 255])  # of STREAMINFO: 2**36 - 1
    path.write_bytes(content)
    try:
        assert len(read_wav(path)[0]) <= 4000
    except DataError as error:
        assert "a.flac: not readable as sound" in str(error)


def test_packed_silence_that_fills_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST", 2**22)
    soundfile.write(tmp_path / "a.flac", np.zeros(2**22 + 1, "f4"), 16000)
    with pytest.raises(DataError, match=r"a\.flac: over 4,194,304 samples; cut the recording"):
        read_wav(tmp_path / "a.flac")


def test_names_that_no_file_can_have_are_told_with_their_line(tmp_path):
    rows = fake_own.rows_of(16)
    fake_own.write(tmp_path, rows)
    rows[3][0], rows[4][0] = "x" * 5000, "a\0b"
    table = fake_own.write(tmp_path, rows, sounds=False)
    with pytest.raises(DataError, match=r"(?s)audio.: no such file in .*row 5: xxx.*row 6: a"):
        own.from_table(table)


# ------------------------------------------------------------------------------------ text


@st.composite
def labelled(draw):
    """Utterances whose sessions and classes are drawn; every session has one at least."""
    sessions = draw(st.integers(3, 6))
    places = [*range(sessions), *draw(st.lists(st.integers(0, sessions - 1), max_size=20))]
    classes = draw(st.lists(st.sampled_from("abc"), min_size=len(places), max_size=len(places)))
    utterances = tuple(
        Utterance(str(i), f"p{s}", f"s{s}", "a", emotion=c)
        for i, (s, c) in enumerate(zip(places, classes, strict=True))
    )
    return Corpus("own", "", utterances, emotions=tuple(sorted(set(classes))))


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


def test_a_session_for_each_of_thousands_does_not_take_the_square_of_them():
    n = 6000
    speakers = [f"p{i}" for i in range(n)]
    frames = [np.zeros((1, 2), "f4")] * n
    corpus = own.from_arrays(
        ["a"] * n, ["a", "b"] * (n // 2), speakers, frames=frames, session=speakers
    )
    assert len(corpus.sessions) == n


@pytest.mark.parametrize(
    "line", ["Ses01F" + "_F" * 60_000, "[" + "9" * 120_000, "Ses01F_a_F0" + " " * 120_000 + "x"]
)
def test_a_long_line_takes_time_in_proportion(tmp_path, line):
    release = fake_iemocap.write_dialogue(tmp_path)
    for path in (release.labels(release.lines[0]), release.transcripts(release.lines[0])):
        path.write_text(f"{line}\n{path.read_text()}")
    with pytest.warns(UserWarning, match="line of a "):
        assert len(iemocap.load(tmp_path, progress=False).utterances) == 4


@pytest.mark.parametrize("text", ["[" * 200_000, "a" + "\u0300\u0327" * 100_000])
def test_a_long_text_takes_time_in_proportion(text):
    """Brackets that never close; marks that Unicode orders by moving each past the others."""
    assert len(tokenise(text)) <= 1000


def test_frames_of_more_digits_than_time_has_are_refused(tmp_path):
    path = tmp_path / "a.wdseg"
    for digits in ("9" * 400, "9" * 5000):
        path.write_text(fake_iemocap.wdseg([]).replace("Word", f"Word\n0 {digits} -1 A"))
        with pytest.raises(DataError, match=r"a\.wdseg: the line .* does not follow"):
            iemocap.read_alignment(path)


@pytest.mark.parametrize("value", ["1e308", "1e400"])
def test_a_vector_that_float32_cannot_hold_is_refused(tmp_path, value):
    (tmp_path / "glove.txt").write_text(f"the 1 2 3\na 1 {value} 3\n")
    with pytest.raises(DataError, match=r"glove\.txt, line 2: not a word and the 3"):
        Glove(tmp_path / "glove.txt").vectors(["a"])
