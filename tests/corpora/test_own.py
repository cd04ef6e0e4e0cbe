"""Tables of one's own; errors name the row and the column."""

import os

import numpy as np
import pytest
import soundfile

from mmer_lib.corpora import own
from mmer_lib.data import EMOTIONS, DataError
from mmer_lib.features.extract import extract
from tests.corpora.fake_own import arrays, noise, rows_of, with_column, write

# ----------------------------------------------------------------------------- good tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_is_read_as_it_stands(folder, delimiter, encoding):
    rows = rows_of(16)
    rows[0][1] = 'He said: "no, später; \tyes"\nand left'
    rows[3][2] = " Angry "
    path = write(folder, rows, delimiter=delimiter, encoding=encoding)
    corpus = own.from_table(path)
    assert (corpus.name, corpus.synthetic, corpus.emotions) == ("mine", False, EMOTIONS)
    for i, (u, row) in enumerate(zip(corpus.utterances, rows, strict=True)):
        assert (u.id, u.text, u.speaker) == (row[0], row[1], row[3])
        assert u.emotion == row[2].strip().lower() and u.rate == 16000
        assert u.words is u.frames is u.sentiment is None
        np.testing.assert_array_equal(u.waveform(), noise(i))
        assert u.waveform().dtype == np.float32


def test_a_folder_stands_for_its_table(table):
    assert own.from_table(table.parent).key == own.from_table(str(table)).key


def test_columns_may_have_other_names_and_others_are_ignored(folder):
    header = ("emotion", "file", "who", "age", "said", "room", "name", "valence")
    rows = [
        [r[2], r[0], r[3], "30", r[1], f"room {r[3]}", f"n{i}", "-1.5"]
        for i, r in enumerate(rows_of(16))
    ]
    write(folder, rows_of(16))
    path = write(folder, rows, header, sounds=False)
    names = {
        "audio": "file",
        "text": "said",
        "label": "emotion",
        "speaker": "who",
        "session": "room",
        "id": "name",
        "sentiment": "valence",
    }
    corpus = own.from_table(path, **names, name="diary")
    assert corpus.name == "diary" and corpus.sessions == [f"room p{k}" for k in range(4)]
    assert [u.id for u in corpus.utterances] == [f"n{i}" for i in range(16)]
    assert {u.sentiment for u in corpus.utterances} == {-1.5}


def test_any_rate_and_stereo_are_read(table, folder):
    stereo = np.stack([noise(0), noise(1)], axis=1)
    soundfile.write(folder / "wavs/0.wav", stereo, 8000, "FLOAT")
    first = own.from_table(table).utterances[0]
    assert first.rate == 8000
    np.testing.assert_array_equal(first.waveform(), stereo)


def test_other_classes_are_sorted(folder):
    path = write(folder, rows_of(16, labels=("calm", "Angry", "bored", "happy")))
    corpus = own.from_table(path)
    assert corpus.emotions == ("Angry", "bored", "calm", "happy")
    assert {u.emotion for u in corpus.utterances} == set(corpus.emotions)


def test_the_key_changes_with_the_content(folder, table):
    keys = [own.from_table(table).key]
    soundfile.write(folder / "wavs/3.wav", noise(99, 5000), 16000)
    keys.append(own.from_table(table).key)
    os.utime(folder / "wavs/3.wav", ns=(1, 1))
    keys.append(own.from_table(table).key)
    rows = rows_of(16)
    for column, value in ((1, "other"), (2, "sad"), (3, "p1")):
        rows[0][column] = value
        keys.append(own.from_table(write(folder, rows)).key)
    assert len(set(keys)) == len(keys) and own.from_table(table).key == keys[-1]


def test_the_key_does_not_tell_where_the_table_lies(table, folder, tmp_path):
    before = own.from_table(table).key
    folder.rename(tmp_path / "yours")
    corpus = own.from_table(tmp_path / "yours")
    assert corpus.key == before and corpus.name == "yours"


# ------------------------------------------------------------------------------ bad tables


def refused(path, *words, **options):
    with pytest.raises(DataError) as caught:
        own.from_table(path, **options)
    for word in (str(path), *words):
        assert word in str(caught.value)


def changed(*cells, more=()):
    """Good rows but for some cells (row, column, value), and rows after them."""
    rows = rows_of(16)
    for row, column, value in cells:
        rows[row][column] = value
    return [*rows, *more]


def test_a_table_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.csv", "no such table")
    with pytest.raises(DataError, match=r"metadata\.csv: no such table"):
        own.from_table(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    refused(tmp_path / "t.csv", "empty")


BAD_TABLES = {
    "cp1252": ({"encoding": "cp1252"}, "line 4: not UTF-8"),
    "utf-16": ({"encoding": "utf-16"}, "UTF-16"),
    "utf-16-le": ({"encoding": "utf-16-le"}, "UTF-16"),
    "utf-16-be": ({"encoding": "utf-16-be"}, "UTF-16"),
    "column twice": (
        {"header": ("audio", "text", "text", "speaker")},
        "more than one column 'text'",
    ),
    "no rows": ({"rows": []}, "no rows"),
    "too few cells": ({"rows": changed(more=[["wavs/1.wav", "hi", "sad"]])}, "cells: 1 (row 18)"),
    "too many cells": ({"rows": changed(more=[[*"abcde"]])}, "cells: 1 (row 18)"),
    "empty audio": ({"rows": changed((2, 0, " "))}, "column 'audio' is empty: 1 (row 4)"),
    "empty text": ({"rows": changed((2, 1, ""))}, "column 'text' is empty: 1 (row 4)"),
    "empty label": ({"rows": changed((2, 2, "nan"))}, "column 'label' is empty: 1 (row 4: nan)"),
    "empty speaker": ({"rows": changed((2, 3, "NaN"))}, "'speaker' is empty: 1 (row 4: NaN)"),
    "sound twice": ({"rows": changed((7, 0, "wavs/2.wav"))}, "1 (row 4 and row 9: wavs/2.wav)"),
    "two speakers": ({"rows": rows_of(16, 2)}, "2 speakers (p0, p1) and no split"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_table_that_cannot_be_used_is_refused_with_column_and_row(folder, kind):
    how, words = BAD_TABLES[kind]
    write(folder, rows_of(16))
    refused(
        write(folder, **{"rows": changed((2, 1, "sp\u00e4ter")), "sounds": False, **how}), words
    )


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("id", ["a", "b", "a", *range(13)], ["'id' is there twice: 1 (row 2 and row 4: a)"]),
        (
            "split",
            ["train", "dev", "test", "Trainn", *["train"] * 11, "nan"],
            ["'split': unknown part: 1 (row 5: Trainn)", "'split' is empty: 1 (row 17: nan)"],
        ),
        ("session", ["a", "b", "c", "nan"] * 4, ["'session' is empty: 4 (row 5: nan"]),
        (
            "sentiment",
            ["4", "nan", "good", "-3.1", *["1.5"] * 12],
            ["no sentiment: 4 (row 2: 4, row 3: nan, row 4: good, row 5: -3.1)"],
        ),
    ],
)
def test_values_that_mean_nothing_are_named_by_row(folder, column, values, words):
    refused(write(folder, *with_column(column, values)), *words)


def test_missing_columns_are_named_with_those_that_are_there(folder):
    path = write(folder, rows_of(16), ("Audio", "text", "emotion", "Spea ker"))
    advice = "--column audio=Audio --column label=... --column 'speaker=Spea ker'"
    refused(path, "no column 'audio', 'label', 'speaker'", "audio='Audio', label='...'", advice)
    names = {"audio": "Audio", "label": "emotion", "speaker": "Spea ker"}
    refused(path, "no column 'group'", **names, session="group")
    assert len(own.from_table(path, **names).utterances) == 16


def test_empty_cells_and_rows_that_spreadsheets_leave_do_no_harm(folder):
    write(folder, rows_of(16))
    rows = changed(more=[["", "", "", ""], ["", "", "", "", ""], []])
    rows[7] += ["", ""]
    assert len(own.from_table(write(folder, rows, sounds=False)).utterances) == 16


def test_all_problems_are_said_at_once(folder):
    write(folder, rows_of(16))
    (folder / "wavs/1.wav").unlink()
    (folder / "wavs/2.wav").write_bytes(b"no sound")
    soundfile.write(folder / "wavs/3.wav", np.zeros(0), 16000)
    refused(
        write(folder, changed((5, 1, "")), sounds=False),
        "no such file in",
        "1 (row 3: wavs/1.wav)",
        "not readable as sound: 1 (row 4: wavs/2.wav)",
        "no samples: 1 (row 5: wavs/3.wav)",
        "column 'text' is empty: 1 (row 7)",
    )


def test_many_places_are_cut_short(folder):
    rows = changed(*[(i, 1, "") for i in range(2, 12)])
    refused(write(folder, rows), "'text' is empty: 10 (row 4, row 5, row 6, row 7, row 8, ...)")


@pytest.mark.parametrize("name", ["a/b", "", " ", "../x", "demo", "iemocap"])
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(DataError, match="say name="):
        own.from_arrays(**arrays(), name=name)


@pytest.mark.parametrize("file", ["metadata.csv", "my table.csv"])
def test_a_name_that_nobody_gave_is_refused_too(tmp_path, file):
    path = write(tmp_path / "my data", rows_of(16))
    path = path.rename(path.with_name(file))
    refused(path, "the name 'my ", "--name ...")
    assert own.from_table(path, name="mine").name == "mine"


def test_nan_may_be_said(folder):
    rows = changed((0, 1, "nan"))  # a grandmother
    assert own.from_table(write(folder, rows)).utterances[0].text == "nan"


# ------------------------------------------------------------ what is wrong inside a sound file


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.full(9000, 9.0, "f4"), "far too loud"),
        (np.array([0.1, np.nan] * 99, "f4"), "NaN or infinite"),
    ],
)
def test_a_sound_that_cannot_be_used_is_refused_by_file_when_it_is_read(
    table, folder, samples, message
):
    soundfile.write(folder / "wavs/1.wav", samples, 16000, "FLOAT")
    corpus = own.from_table(table)
    with pytest.raises(DataError, match=rf"wavs/1\.wav: .*{message}"):
        corpus.utterances[1].waveform()
    with pytest.raises(DataError, match=rf"utterance 'wavs/1\.wav': .*{message}"):
        extract(corpus, parts=("speech",), progress=False)
