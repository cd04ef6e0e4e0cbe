"""Tables of one's own; errors name the row and the column."""

import os
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.corpora import own
from mmer_lib.data import EMOTIONS, DataError, Word
from mmer_lib.features.extract import extract
from mmer_lib.training.fit import fit, plan
from tests.corpora.fake_own import arrays, noise, rows_of, with_column, write

# ----------------------------------------------------------------------------- good tables


@pytest.mark.parametrize(
    ("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8"), ("|", "utf-8")]
)
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


def test_columns_may_have_other_names_and_others_are_ignored(folder):
    header = ("emotion", "file", "who", "age", "said", "room", "name", "valence")
    rows = [
        [r[2], r[0], r[3], "30", r[1], f"room {r[3]}", f"n{i}", str(3 * (-1) ** i)]
        for i, r in enumerate(rows_of(16))
    ]
    write(folder, rows_of(16))
    path = write(folder, rows, header, sounds=False)
    fields = ("label", "audio", "speaker", "text", "session", "id", "sentiment")
    names = dict(zip(fields, [name for name in header if name != "age"], strict=True))
    corpus = own.from_table(path, **names, name="diary")
    assert corpus.name == "diary" and corpus.sessions == [f"room p{k}" for k in range(4)]
    assert [u.id for u in corpus.utterances] == [f"n{i}" for i in range(16)]
    assert {u.sentiment for u in corpus.utterances} == {3, -3}


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
    with pytest.raises(DataError, match="no such table in this folder; it needs metadata"):
        own.from_table(tmp_path)


TWICE = ("audio", "text", "text", "speaker")
BAD_TABLES = {
    "cp1252": ({"encoding": "cp1252"}, "line 4: not UTF-8"),
    "utf-16": ({"encoding": "utf-16"}, "line 1: not UTF-8"),
    "column twice": ({"header": TWICE}, "more than one column 'text'"),
    "empty": ({"header": (), "rows": []}, "no column 'audio', 'text'"),
    "no rows": ({"rows": []}, "no rows"),
    "too few cells": ({"rows": changed(more=[["wavs/1.wav", "hi", "sad"]])}, "cells: 1 (row 18)"),
    "too many cells": ({"rows": changed(more=[[*"abcde"]])}, "cells: 1 (row 18)"),
    "empty audio": ({"rows": changed((2, 0, " "))}, "column 'audio' is empty: 1 (row 4)"),
    "empty label": ({"rows": changed((2, 2, "nan"))}, "column 'label' is empty: 1 (row 4: nan)"),
    "sound twice": ({"rows": changed((7, 0, "wavs/2.wav"))}, "1 (row 4 and row 9: wavs/2.wav)"),
    "two speakers": ({"rows": rows_of(16, 2)}, "2 speakers (p0, p1) and no split"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_table_that_cannot_be_used_is_refused_with_column_and_row(folder, kind):
    how, words = BAD_TABLES[kind]
    write(folder, rows_of(16))
    how = {"rows": changed((2, 1, "sp\u00e4ter")), "sounds": False, **how}
    refused(write(folder, **how), words)


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
    path = write(folder, rows_of(16), ("Audio", "text", "mood", "Spea ker"))
    advice = "audio='...', label='...', speaker='...' (--column audio=... --column label=..."
    refused(path, "no column 'audio', 'label', 'speaker' (there are Audio, text, mood,", advice)
    names = {"audio": "Audio", "label": "mood", "speaker": "Spea ker"}
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


@pytest.mark.parametrize("name", ["a/b", "", "demo"])
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(DataError, match="say name="):
        own.from_arrays(**arrays(), name=name)


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


# ------------------------------------------------------------------------- folds and splits


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=3, max_size=60).filter(lambda s: len(set(s)) > 2))
def test_no_speaker_stands_in_two_parts_of_a_fold(speakers):
    n = len(speakers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = ["ab"[i % 2] for i in range(n)]
        corpus = own.from_arrays(**arrays(n, n, speaker=speakers, label=labels))
    assert len(corpus.sessions) == min(5, len(set(speakers)))
    tested = []
    for fold in range(len(corpus.sessions)):
        split = corpus.splits(fold)
        parts = [{corpus.utterances[i].speaker for i in part} for part in split]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
        tested += split.test
    assert sorted(tested) == list(range(n))
    sizes = Counter(u.session for u in corpus.utterances)
    assert max(sizes.values()) - min(sizes.values()) <= max(Counter(speakers).values())


def test_speakers_are_dealt_the_same_way_in_any_order():
    given = arrays(40, 8)
    turned = {k: v[::-1] if isinstance(v, list) else v for k, v in given.items()}
    homes = [
        {u.speaker: u.session for u in own.from_arrays(**one).utterances} for one in (given, turned)
    ]
    assert homes[0] == homes[1]


TWO_SESSIONS = ["a", "b", "c", "d", "a", "c", *"cdabcdabcd"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"session": ["a", "b"] * 8}, r"2 sessions \(a, b\) and no split"),
        ({"speaker": ["p", "q"] * 8}, r"2 speakers \(p, q\) and no split"),
        ({"session": TWO_SESSIONS}, "speaker 'p1' stands in sessions 'b' and 'c'"),
        ({"label": ["sad"] * 16}, r"one class only \(sad\)"),
        ({"split": ["train", "val"] * 8}, "no utterance in test"),
    ],
)
def test_what_gives_no_folds_or_parts_is_refused(change, words):
    with pytest.raises(DataError, match=f"own: .*{words}"):
        own.from_arrays(**arrays(**change))


def test_a_speaker_in_two_parts_of_a_split_is_refused_unless_it_is_meant_so(folder):
    values = ["train", "dev", "Validation", "train"] * 3 + ["test", "dev", "val", "train"]
    path = write(folder, *with_column("split", values))
    words = r"more than one part of the split: 1 \(p0: train"
    with pytest.raises(DataError, match=rf"{words}.*shared_speakers=True \(--shared-speakers\)"):
        own.from_table(path)
    with pytest.raises(DataError, match=f"own: .*{words}"):
        own.from_arrays(**arrays(split=values))
    with pytest.warns(UserWarning, match=words) as caught:
        corpus = own.from_table(path, shared_speakers=True)
    assert {w.filename for w in caught} == {__file__}
    assert corpus.splits(0).test == [12] and corpus.splits(0).dev == [1, 2, 5, 6, 9, 10, 13, 14]
    with pytest.raises(DataError, match="comes with one split"):
        corpus.splits(1)


@pytest.mark.filterwarnings("error")
def test_a_good_corpus_gives_no_warning(table):
    own.from_table(table)
    own.from_arrays(**arrays())


# --------------------------------------------------------------------------------- arrays


def test_arrays_come_through():
    words = [[("word", 0.0, 0.1), ("said", 0.1, 0.25)]] * 16
    frames = [np.full((i + 1, 40), i, np.float64) for i in range(16)]
    given = arrays(words=words, frames=frames, ids=range(16), sentiment=[2, -2] * 8)
    corpus = own.from_arrays(**given, session=[f"s{i % 4}" for i in range(16)])
    for i, u in enumerate(corpus.utterances):
        assert (u.id, u.session, u.rate, u.sentiment) == (str(i), f"s{i % 4}", 16000, 2 * (-1) ** i)
        assert u.words == (Word("word", 0.0, 0.1), Word("said", 0.1, 0.25))
        assert u.frames.dtype == np.float32 and u.frames.shape == (i + 1, 40)
        assert u.waveform() is given["waveforms"][i]


def test_frames_alone_are_enough_and_classes_may_be_numbers():
    given = arrays(labels=(0, 1, 2), frames=np.ones((16, 5, 8), "f4"), waveforms=None, rate=None)
    corpus = own.from_arrays(**given)
    assert corpus.emotions == ("0", "1", "2")
    assert all(u.waveform is None and u.rate is None for u in corpus.utterances)


def test_the_key_changes_with_the_content_of_arrays():
    changes = (
        {},
        {"rate": 8000},
        {"text": ["other"] * 16},
        {"ids": range(1, 17)},
        {"waveforms": [noise(i + 1) for i in range(16)]},
        {"session": ["a", "b", "c", "d"] * 4},
        {"frames": np.ones((16, 3, 2))},
        {"frames": np.zeros((16, 3, 2))},
        {"words": [[("a", 0, 1)]] * 16},
        {"words": [[("a", 0, 0.5)]] * 16},
        {"sentiment": [1, -2] * 8},
        {"label": ["sad", "happy"] * 8},
        {"audio": np.ones((16, 3, 2))},
        {"vision": np.ones((16, 3, 2))},
        {"vision": np.ones((16, 3, 2)), "vision_times": [[0, 1, 2]] * 16},
        {"vectors": np.ones((16, 3, 2))},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keys = [own.from_arrays(**arrays(**change)).key for change in changes]
    assert len(set(keys)) == len(keys) and own.from_arrays(**arrays()).key == keys[0]


def one_bad(good, bad):
    """Sixteen good items, but for the third."""
    return [bad if i == 2 else good for i in range(16)]


BANDS = np.ones((3, 4))
BAD_ITEMS = [  # argument, good items, the third one, words of the message
    ("label", "sad", np.float32("nan"), "label is empty"),
    ("speaker", "hi", pd.NA, "speaker is empty"),
    ("text", "hi", None, "text is empty"),
    ("waveforms", noise(0), [], "waveforms: wrong shape"),
    ("waveforms", noise(0), np.ones(9, "i2"), "int16.*by 32768"),
    ("waveforms", noise(0), [np.nan, 1], "waveforms: NaN or infinite"),
    ("waveforms", noise(0), 9000 * noise(1), "waveforms: far too loud.*32768"),
    ("frames", BANDS, np.ones(4), "frames: wrong shape"),
    ("frames", BANDS, np.ones((3, 5)), "not as many columns"),
    ("words", [], [("a", 0.5, 0.2)], "times run backwards"),
    ("words", [], [("a", 1, 2), ("b", 0, 2)], "times run backwards"),
    ("words", [], [("a", -1, 2)], "times run backwards"),
    ("words", [], [("a", np.nan, 2)], "times run backwards"),
    ("audio", BANDS, np.ones((3, 5)), "audio: not as many columns"),
    ("vision", BANDS, [["no", "face"]], "vision: wrong type"),
    ("vision", BANDS, BANDS * np.nan, "vision: NaN"),
    ("vectors", BANDS, np.ones((0, 4)), "vectors: wrong shape"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("argument", "good", "bad", "words"), BAD_ITEMS)
def test_items_that_cannot_be_used_are_named(argument, good, bad, words):
    with pytest.raises(DataError, match=words) as caught:
        own.from_arrays(**arrays(**{argument: one_bad(good, bad)}))
    assert "1 (item 2" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": ["sad"] * 15}, r"lengths differ \(text 16, label 15"),
        ({"rate": None}, "rate None"),
        ({"rate": 44.1}, "rate 44.1.*not in kHz"),
        ({"speaker": None}, "labels without speakers"),
        ({"speaker": None, "label": None, "sentiment": [1.0] * 16}, "labels without speakers"),
        ({"ids": [*range(15), 3]}, r"ids is there twice: 1 \(item 3 and item 15: 3\)"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(change, words):
    with pytest.raises(DataError, match=f"own: .*{words}"):
        own.from_arrays(**arrays(**change))


# ------------------------------------------------------------------- features for MIMIC

SCORES = {"label": None, "waveforms": None, "rate": None, "sentiment": [-2.0, 1.0] * 8}
TINY = {"units": 8, "heads": 2, "max_epochs": 1, "progress": False}


def rows(i, count, width):
    return np.random.default_rng(i).standard_normal((count, width))


@pytest.mark.filterwarnings("error")
def test_mimic_trains_on_features_by_word_and_with_times(tmp_path):
    """Audio by word, vision with times, word vectors; sentiment alone, folds by speakers."""
    words = [[("word", 0.0, 0.1), ("said", 0.1, 0.25)]] * 16
    faces = [rows(i, 5, 3) for i in range(16)]
    faces[3][2] = np.nan  # no face in this frame
    corpus = own.from_arrays(
        **arrays(**SCORES),
        words=words,
        vectors=[rows(i, 2, 6) for i in range(16)],
        audio=[rows(i, 2, 4) for i in range(16)],
        vision=faces,
        vision_times=[[0.0, 0.05, 0.1, 0.15, 0.2]] * 16,
        vision_names=("AU01", "AU02", "AU12"),
    )
    assert (corpus.emotions, corpus.vision_names) == ((), ("AU01", "AU02", "AU12"))
    assert len(corpus.sessions) == 4 and corpus.utterances[0].audio_times is None
    features = extract(corpus, parts=("words", "audio", "vision"), progress=False)
    assert features.sizes == {"words": 6, "audio": 4, "vision": 3}
    np.testing.assert_array_equal(features.audio[5], rows(5, 2, 4).astype("f4"))
    np.testing.assert_allclose(features.vision[3][1], faces[3][3:].mean(axis=0), rtol=1e-6)
    run = fit("mimic", corpus, out=tmp_path, **TINY)
    assert np.isfinite(run.result["test"]["mae"])


@pytest.mark.parametrize("part", ["text", "vision"])
def test_one_modality_is_enough(tmp_path, part):
    more = {"vision": [rows(i, 4, 3) for i in range(16)]} if part == "vision" else {}
    corpus = own.from_arrays(**arrays(**SCORES), **more)
    wanted = {"modalities": (part,), "parts": ("S", "M"), **TINY}
    assert fit("mimic", corpus, out=tmp_path, **wanted).result["epochs"] == 1


def test_times_that_are_not_one_a_row_are_named():
    times = one_bad([0, 1, 2], [0, 1])
    words = r"vision_times: not one for each row: 1 \(item 2\); give vision as many"
    with pytest.raises(DataError, match=words):
        own.from_arrays(**arrays(**SCORES), vision=[BANDS] * 16, vision_times=times)


# -------------------------------------------------------------------------- without labels


@pytest.mark.filterwarnings("error")
def test_without_labels_there_is_nothing_to_train_on():
    corpus = own.from_arrays(["hello there"], frames=[np.ones((9, 40))])
    (one,) = corpus.utterances
    assert (one.emotion, one.speaker, one.text, corpus.emotions) == (None, "", "hello there", ())
    with pytest.raises(DataError, match="folds by session need at least three"):
        corpus.splits(0)
    with pytest.raises(DataError):
        plan("muse", corpus)


@pytest.mark.filterwarnings("error")
def test_without_labels_speakers_and_a_split_are_kept():
    corpus = own.from_arrays(**arrays(label=None, split=["train", "dev"] * 7 + ["test"] * 2))
    assert [u.speaker for u in corpus.utterances[:4]] == ["p0", "p1", "p2", "p3"]
    assert corpus.splits(0).test == [14, 15]
