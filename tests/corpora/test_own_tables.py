"""Tables as people and their programs leave them, and the files that they name."""

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile

from mmer_lib.corpora import load, own
from mmer_lib.data import DataError, Word
from mmer_lib.features.extract import extract
from mmer_lib.training.fit import fit
from tests.corpora.fake_own import HEADER, arrays, noise, rows_of, with_column, write

TINY = {"units": 8, "heads": 2, "max_epochs": 1, "progress": False}


# ------------------------------------------------------------------ one recording, many rows


def segments(folder, speakers):
    """Sixteen rows of a quarter of a second each, from a recording of every two speakers."""
    rows = [
        [f"wavs/{i // 2 % 2}.wav", "hello there", "ab"[i // 4 % 2], f"p{i % speakers}", i, i + 1]
        for i in range(16)
    ]
    for row in rows:
        row[4:] = [f"{0.25 * row[4]:g}".replace(".", ","), f"{0.25 * row[5]:g}"]
    path = write(folder, rows, (*HEADER, "start", "end"), delimiter=";")
    for i in range(2):
        soundfile.write(folder / f"wavs/{i}.wav", noise(i, 16 * 4000), 16000, "FLOAT")
    return path


@pytest.mark.filterwarnings("ignore:.*recording in more than one")
def test_segments_of_a_recording_are_read_by_their_times(folder):
    corpus = own.from_table(segments(folder, 4))
    for i, u in enumerate(corpus.utterances):
        whole = noise(i // 2 % 2, 16 * 4000)
        np.testing.assert_array_equal(u.waveform(), whole[4000 * i : 4000 * (i + 1)])
    assert corpus.utterances[1].id == "wavs/0.wav 0,25 0.5"


def test_a_recording_in_two_parts_is_told(folder):
    words = r"recording in more than one session: 2 \(wavs/0.wav: group \d \(row 2\) and group"
    with pytest.warns(UserWarning, match=words):
        own.from_table(segments(folder, 4))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("0", "9", r"shorter than start and end say: 1 \(row 4: wavs/2.wav\)"),
        ("0.2", "0.1", r"column 'end': no time: 1 \(row 4: 0.1\)"),
        ("now", "0.1", r"column 'start': no time: 1 \(row 4: now\)"),
    ],
)
def test_times_that_are_none_are_named(folder, start, end, words):
    rows = [[*row, "0", "0.25"] for row in rows_of(16)]
    rows[2][4:] = start, end
    with pytest.raises(DataError, match=words):
        own.from_table(write(folder, rows, (*HEADER, "start", "end")))


def test_the_same_sound_twice_and_a_start_without_an_end_are_refused(folder):
    rows = [[*row, i] for i, row in enumerate(rows_of(16))]
    rows[5][0] = rows[2][0]
    words = "'audio' is there twice.*row 4 and row 7: wavs/2.wav.*or its start and end, in seconds"
    with pytest.raises(DataError, match=words):
        own.from_table(write(folder, rows, (*HEADER, "id")))
    path = write(folder, *with_column("start", range(16)))
    with pytest.raises(DataError, match=r"without one for end; give both, or say start=None"):
        own.from_table(path)
    assert len(own.from_table(path, start=None).utterances) == 16


# -------------------------------------------------------------------- names that look the same


def test_letters_composed_or_not_are_the_same_in_names_of_speakers_and_files(folder):
    forms = [unicodedata.normalize(form, "J\u00f6rg") for form in ("NFC", "NFD")]
    rows = rows_of(16)
    for i, row in enumerate(rows):
        row[3] = forms[i // 8] if row[3] == "p0" else row[3]
    rows[1][0] = f"wavs/{forms[1]}.wav"
    path = write(folder, rows)
    (folder / rows[1][0]).rename(folder / f"wavs/{forms[0]}.wav")
    corpus = own.from_table(path)
    assert {u.speaker for u in corpus.utterances} == {forms[0], "p1", "p2", "p3"}
    np.testing.assert_array_equal(corpus.utterances[1].waveform(), noise(1))


def test_speakers_that_differ_in_case_alone_are_told():
    who = ["anna", "Anna", "ben", "cora"] * 4
    with pytest.warns(UserWarning, match=r"speakers that differ in case alone: 1 \(Anna, anna\)"):
        own.from_arrays(**arrays(speaker=who))


# --------------------------------------------------------------------------- labels in arrays


def test_bytes_are_text_and_numbers_are_sorted_as_numbers():
    given = {"text": [b"h\xc3\xb6r zu"] * 16, "label": np.array([b"happy", b"sad"] * 8)}
    corpus = own.from_arrays(**arrays(**given))
    assert corpus.emotions == ("happy", "sad") and corpus.utterances[0].text == "h\u00f6r zu"
    with pytest.raises(DataError, match="bytes that are not UTF-8"):
        own.from_arrays(**arrays(text=[b"h\xf6r"] * 16))
    with pytest.warns(UserWarning, match="class without a training utterance"):
        corpus = own.from_arrays(**arrays(24, label=[*range(12)] * 2))
    assert corpus.emotions == tuple(map(str, range(12)))


def test_two_of_the_four_classes_are_weighed_alone(folder, tmp_path):
    corpus = own.from_table(write(folder, rows_of(16, labels=("Sad", "happy"))))
    assert corpus.emotions == ("happy", "sad")
    run = fit("bert", corpus, out=tmp_path, max_epochs=1, class_weights=True, progress=False)
    assert np.isfinite(run.result["test"]["ua"])


# --------------------------------------------------------------------------- scale of sentiment


@pytest.mark.parametrize("values", [(0, 1, 2, 3), (-1, -0.5, 0.5, 1), (-3, -2, -1, 0)])
def test_sentiment_that_seems_to_have_another_scale_is_told(values):
    words = rf"unusual range: 1 \(from {min(values)} to {max(values)}\); if the scale is another"
    with pytest.warns(UserWarning, match=words):
        own.from_arrays(**arrays(sentiment=values * 4))


@pytest.mark.filterwarnings("error")
def test_sentiment_of_another_scale_is_rescaled(folder):
    stars = [1, 2, 3, 4, 5, 3, 3, 3] * 2
    with pytest.raises(DataError, match=r"from 1 to 5.*scale=\(1, 5\) \(--scale 1 5\)"):
        own.from_arrays(**arrays(sentiment=stars))
    path = write(folder, *with_column("sentiment", stars))
    for corpus in (
        own.from_arrays(**arrays(sentiment=stars), scale=(1, 5)),
        own.from_table(path, scale=(1, 5)),
    ):
        assert [u.sentiment for u in corpus.utterances[:5]] == [-3, -1.5, 0, 1.5, 3]
    assert corpus.arguments == ["--data", "DIR/metadata.csv", "--scale", "1", "5"]
    with pytest.raises(DataError, match=r"no sentiment: 2 \(item 4: 5.*numbers in \[1, 4\]"):
        own.from_arrays(**arrays(sentiment=stars), scale=(1, 4))
    own.from_arrays(**arrays(sentiment=[0, 1, 2, 3] * 4), scale=(-3, 3))  # meant so


# --------------------------------------------------------------------- tables of other programs


@pytest.mark.filterwarnings("error")
def test_tables_of_spreadsheets_are_read(folder):
    scores = ["-1,5", "0,5", "2", "-3"] * 4
    corpus = own.from_table(write(folder, *with_column("sentiment", scores), delimiter=";"))
    assert [u.sentiment for u in corpus.utterances[:4]] == [-1.5, 0.5, 2, -3]
    rows = [[row[0].replace("/", "\\"), *row[1:]] for row in rows_of(16)]
    corpus = own.from_table(write(folder, rows, sounds=False))
    np.testing.assert_array_equal(corpus.utterances[3].waveform(), noise(3))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("remark", ["# recorded in May, and June", "sep=,"])
def test_remarks_before_the_names_of_columns_are_passed_over(folder, remark):
    path = write(folder, rows_of(16))
    path.write_text(f"{remark}\n{path.read_text()}wavs/1.wav,too few\n")
    with pytest.raises(DataError, match=r"too few or too many cells: 1 \(row 19\)"):
        own.from_table(path)
    path.write_text(path.read_text().rpartition("wavs")[0])
    assert len(own.from_table(path).utterances) == 16


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"
NOT_TABLES = [
    ("book.xlsx", b"PK\x03\x04\x14\x00", "a spreadsheet's file.*save the sheet as 'CSV UTF-8'"),
    ("book.xls", b"\xd0\xcf\x11\xe0\xa1", "a spreadsheet's file"),
    ("lfs.csv", POINTER, "a pointer of Git LFS.*'git lfs pull'"),
    ("x.json", b'[{"audio": "a.wav"}]', r"no column 'text', 'label', 'speaker' \(there are audio"),
    ("x.jsonl", b'{"audio": ', "not JSON with one row an utterance"),
]


@pytest.mark.parametrize(("name", "content", "words"), NOT_TABLES)
def test_what_is_no_table_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {words}"):
        own.from_table(tmp_path / name)


def test_a_pointer_in_place_of_a_sound_is_named(folder):
    path = write(folder, rows_of(16))
    (folder / "wavs/3.wav").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"pointer of Git LFS.*1 \(row 5: wavs/3.wav\); fetch it"):
        own.from_table(path)


# --------------------------------------------------------------- columns that mean something else


@pytest.mark.filterwarnings("error")
def test_columns_that_mean_something_else_are_left_out(folder):
    header = (*HEADER, "session", "split", "id", "sentiment")
    path = write(folder, [[*row, "morning", "eval", "x", "great"] for row in rows_of(16)], header)
    with pytest.raises(DataError, match="unknown part"):
        own.from_table(path)
    out = dict.fromkeys(("session", "split", "id", "sentiment"))
    corpus = own.from_table(path, **out)
    assert len(corpus.sessions) == 4 and corpus.fixed is None
    assert corpus.utterances[0].sentiment is None
    assert corpus.key == own.from_table(path, **dict.fromkeys(out, "")).key
    assert corpus.arguments[2:4] == ["--column", "session="]


def test_names_of_corpora_in_any_case_and_home(folder, monkeypatch):
    with pytest.raises(DataError, match="iemocap: name the folder of the release"):
        load("IEMOCAP")
    write(folder, rows_of(16))
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(load("~/mine").utterances) == len(own.from_table("~/mine").utterances) == 16


# ---------------------------------------------------------------------- Hugging Face's habits


def test_metadata_in_json_lines_with_names_of_hugging_face(folder):
    write(folder, rows_of(16)).unlink()
    names = ("file_name", "transcription", "emotion", "speaker_id")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows_of(16)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    assert own.from_table(folder).name == "mine"
    for corpus, u in zip([own.from_table(folder)] * 16, rows_of(16), strict=True):
        assert [u[0], u[2]] in [[one.id, one.emotion] for one in corpus.utterances]


def test_a_table_a_part_is_a_split_and_dev_is_taken_from_train(folder):
    rows = rows_of(24, 6)
    write(folder, rows).unlink()
    for part, speakers in (("train", "p0 p1 p2 p3 p4"), ("test", "p5")):
        lines = [row for row in rows if row[3] in speakers.split()]
        write(folder, lines, sounds=False).rename(folder / f"{part}.csv")
    words = r"the split has no dev part: 1 \(speakers p4\); 4 utterances of train are taken"
    with pytest.warns(UserWarning, match=words):
        corpus = own.from_table(folder)
    who = [{corpus.utterances[i].speaker for i in part} for part in corpus.fixed]
    assert who == [{"p0", "p1", "p2", "p3"}, {"p4"}, {"p5"}]
    assert corpus.arguments == ["--data", "DIR/mine"]
    (folder / "test.csv").write_text("audio,text,label,speaker\nnone.wav,hi,sad,p5\n")
    with pytest.raises(DataError, match=r"no such file in .*: 1 \(test.csv, row 2: none.wav\)"):
        own.from_table(folder)


# --------------------------------------------------------------------------- files of features


def openface(path, seconds, lost=()):
    """A file as OpenFace writes it: 20 frames a second, some without a face."""
    n = round(20 * seconds)
    frame = pd.DataFrame({"frame": range(1, n + 1), " face_id": 0})
    frame[" timestamp"] = np.arange(n) / 20
    frame[" confidence"], frame[" success"] = 0.98, [int(i not in lost) for i in range(n)]
    frame[" pose_Tx"] = 12.5
    for k, unit in enumerate(("AU01", "AU12", "AU45")):
        frame[f" {unit}_r"], frame[f" {unit}_c"] = np.arange(n) + 100.0 * k, 1.0
    frame.to_csv(path, index=False)


def with_faces(folder, words=False, **times):
    """A table of faces and acoustic features (no sound), with a sentiment."""
    folder.mkdir()
    rows = []
    for i, (_, text, _, speaker) in enumerate(rows_of(16)):
        openface(folder / f"face{i}.csv", 1.0, lost=(0, 3))
        np.save(folder / f"audio{i}.npy", np.random.default_rng(i).standard_normal((2, 4)))
        said = pd.DataFrame({"word": ["a", "b"], "start": [0, 0.25], "end": [0.25, 0.5]})
        said.to_csv(folder / f"words{i}.csv", index=False)
        score = 3 * (-1) ** (i // 4)
        rows.append([f"audio{i}.npy", f"face{i}.csv", text, speaker, score, f"words{i}.csv"])
    header = ["audio", "vision", "text", "speaker", "sentiment", "words"]
    table = pd.DataFrame(rows, columns=header)
    table.drop(columns=[] if words else "words").to_csv(folder / "metadata.csv", index=False)
    return folder / "metadata.csv"


@pytest.mark.filterwarnings("ignore:no part-of-speech tagger")
def test_mimic_trains_on_a_table_of_openface_and_arrays(folder, tmp_path):
    path = with_faces(folder)
    with pytest.warns(UserWarning, match="OpenFace's intensities of 3 action units: 16") as caught:
        corpus = own.from_table(path)
    assert any(
        "rows without a face, or with gaps: 16 (row 2: face0.csv" in str(w.message) for w in caught
    )
    u = corpus.utterances[0]
    assert corpus.vision_names == ("AU01_r", "AU12_r", "AU45_r") and u.vision_times is None
    np.testing.assert_array_equal(u.vision[:3], [[k, k + 100, k + 200] for k in (1, 2, 4)])
    assert u.vision.shape == (18, 3) and u.audio.shape == (2, 4) and u.waveform is None
    run = fit("mimic", corpus, out=tmp_path, **TINY)
    assert np.isfinite(run.result["test"]["mae"])


@pytest.mark.filterwarnings("ignore:.*OpenFace's intensities")
def test_with_words_faces_keep_their_times(folder):
    corpus = own.from_table(with_faces(folder, words=True))
    u = corpus.utterances[0]
    assert u.words == (Word("a", 0, 0.25), Word("b", 0.25, 0.5))
    assert u.vision.shape == (20, 3) and np.isnan(u.vision[[0, 3]]).all()
    features = extract(corpus, parts=("vision",), progress=False)
    np.testing.assert_allclose(features.vision[0][:, 0], [(1 + 2 + 4) / 3, 7])


@pytest.mark.filterwarnings("ignore:.*(OpenFace's intensities|without a face)")
def test_segments_take_their_rows_of_a_face(folder):
    path = with_faces(folder)
    table = pd.read_csv(path).assign(vision="face0.csv")
    with pytest.raises(DataError, match=r"audio is there twice|'audio' is there twice"):
        own.from_table(write_table(path, table.assign(audio="audio0.npy")))
    table["start"], table["end"] = np.arange(16) / 20 + 0.18, np.arange(16) / 20 + 0.23
    corpus = own.from_table(write_table(path, table))
    assert [u.vision[:, 0].tolist() for u in corpus.utterances[:3]] == [[4], [5], [6]]


def test_a_table_of_text_alone_and_csv_without_names_of_columns(folder):
    path = with_faces(folder)
    table = pd.read_csv(path)
    for i in range(16):
        np.savetxt(folder / f"face{i}.csv", np.eye(3) * i, delimiter=",")
    corpus = own.from_table(path)
    assert corpus.utterances[2].vision.tolist() == (np.eye(3) * 2).tolist()
    corpus = own.from_table(write_table(path, table[["text", "speaker", "sentiment"]]), audio=None)
    assert corpus.utterances[0].id == "row 2" and corpus.utterances[0].vision is None


def write_table(path, table):
    table.to_csv(path, index=False)
    return path


def damaged(text):
    def write(path):
        path.write_bytes(text)

    return write


BAD_FILES = [
    ("face3.csv", damaged(b""), "not readable as CSV"),
    ("face3.csv", damaged(b"a,b\n1,2\n"), "vision: not as many columns as the first"),
    ("face3.csv", damaged(b"a,b,c\n1,2,no\n"), "vision: wrong type"),
    ("face3.csv", lambda path: openface(path, 0.2, range(4)), "'vision': no face, or no rows"),
    ("audio3.npy", damaged(b"1,2"), "not an array of numbers"),
    ("audio3.npy", lambda path: np.save(path, [{}]), "not an array of numbers"),
    ("audio3.npy", lambda path: path.unlink(), "'audio': no such file"),
    ("words3.csv", damaged(b"a,b\n1,2\n"), "no columns word, start, end"),
    ("words3.csv", damaged(b"word,start,end\nhi,now,2\n"), "words: times run backwards"),
]


@pytest.mark.parametrize(("file", "damage", "words"), BAD_FILES)
def test_files_of_features_that_cannot_be_used_are_named(folder, file, damage, words):
    path = with_faces(folder, words=file.startswith("words"))
    damage(folder / file)
    with pytest.raises(DataError, match=rf"{words}.*1 \(row 5") as caught:
        own.from_table(path)
    assert str(path) in str(caught.value)
