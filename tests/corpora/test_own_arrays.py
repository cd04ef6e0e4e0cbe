"""Arrays of one's own, and the folds and splits of any corpus of one's own."""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.corpora import own
from mmer_lib.data import DataError, Word
from mmer_lib.training.fit import plan
from tests.corpora.fake_own import arrays, noise, rows_of, with_column, write

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


def test_groups_have_about_as_many_utterances():
    speakers = ["a"] * 10 + ["b", "c", "d", "e", "f"] * 2
    corpus = own.from_arrays(**arrays(20, speaker=speakers, label=["x", "y"] * 10))
    assert sorted(Counter(u.session for u in corpus.utterances).values()) == [2, 2, 2, 4, 10]


def test_too_few_speakers_are_refused_with_the_remedy(folder):
    path = write(folder, rows_of(16, 2))
    message = r"2 speakers \(p0, p1\) and no split; folds need three or more.* train, dev and test"
    with pytest.raises(DataError, match=message):
        own.from_table(path)


def test_too_few_sessions_are_refused():
    with pytest.raises(DataError, match=r"2 sessions \(a, b\) and no split"):
        own.from_arrays(**arrays(speakers=4, session=["a", "b"] * 8))


def test_a_speaker_in_two_sessions_is_refused():
    message = r"speakers in several sessions.* leak: 1 \(p1: b \(item 1\) and c \(item 5\)\); give"
    with pytest.raises(DataError, match=message):
        own.from_arrays(**arrays(session=["a", "b", "c", "d", "a", "c", *"cdabcdabcd"]))


def test_the_first_few_speakers_in_two_sessions_are_named():
    speakers = [f"p{i % 8}" for i in range(16)]
    message = r"leak: 8 \(p0: a \(item 0\) and c \(item 8\), p1: .*, p4: [^p]*, \.\.\.\); give"
    with pytest.raises(DataError, match=message):
        own.from_arrays(**arrays(speaker=speakers, session=[*"abababab", *"cdcdcdcd"]))


def test_a_speaker_in_two_parts_of_a_split_is_refused_unless_it_is_meant_so(folder):
    values = ["train", "dev", "test", "train"] * 3 + ["test", "dev", "test", "train"]
    path = write(folder, *with_column("split", values))
    message = r"speaker in more than one part of the split: 1 \(p0: test, train\); it leaks: give "
    with pytest.raises(DataError, match=message + r".*shared_speakers=True \(--shared-speakers\)"):
        own.from_table(path)
    with pytest.raises(DataError, match=f"own: {message}"):
        own.from_arrays(**arrays(split=values))
    with pytest.warns(UserWarning, match="scores will not tell of new speakers"):
        meant = own.from_arrays(**arrays(split=values), shared_speakers=True)
    assert meant.splits(0).test == [2, 6, 10, 12, 14]


def test_two_speakers_with_a_split_are_enough(folder):
    values = [{0: "train", 1: "Validation"}[i % 2] if i < 14 else "test" for i in range(16)]
    path = write(folder, *with_column("split", values, speakers=4))
    with pytest.warns(UserWarning, match="speaker in more than one part") as caught:
        corpus = own.from_table(path, shared_speakers=True)
    assert corpus.splits(0).test == [14, 15] and corpus.splits(0).dev == [1, 3, 5, 7, 9, 11, 13]
    expected = "one part of the split: 2 (p2: test, train, p3: dev, test); scores"
    assert expected in str(caught[0].message)
    assert {w.filename for w in caught} == {__file__}
    with pytest.raises(DataError, match="comes with one split"):
        corpus.splits(1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_a_part_without_utterances_is_refused(part):
    others = [p for p in ("train", "val", "test") if own.PARTS[p] != part]
    with pytest.raises(DataError, match=f"the split has no utterance in {part}"):
        own.from_arrays(**arrays(split=others * 8), shared_speakers=True)


def test_a_class_without_a_training_utterance_is_a_warning():
    split = ["train"] * 8 + ["dev"] * 4 + ["test"] * 4
    with pytest.warns(UserWarning) as caught:
        own.from_arrays(**arrays(speaker=[f"p{i}" for i in range(16)], split=split))
    (message,) = [str(w.message) for w in caught]
    expected = "own: class without a training utterance: 2 (neutral, fold 0, sad, fold 0); a model"
    assert expected in message


@pytest.mark.filterwarnings("error")
def test_a_good_corpus_gives_no_warning(table):
    own.from_table(table)
    own.from_arrays(**arrays())


def test_one_class_alone_is_refused():
    with pytest.raises(DataError, match=r"own: one class only \(sad\)"):
        own.from_arrays(**arrays(label=["sad"] * 16))


# --------------------------------------------------------------------------------- arrays


def test_arrays_come_through():
    words = [[("word", 0.0, 0.1), ("said", 0.1, 0.25)]] * 16
    frames = [np.full((i + 1, 40), i, np.float64) for i in range(16)]
    given = arrays(words=words, frames=frames, ids=range(16), sentiment=[0.5] * 16)
    corpus = own.from_arrays(**given, session=[f"s{i % 4}" for i in range(16)])
    for i, u in enumerate(corpus.utterances):
        assert (u.id, u.session, u.rate, u.sentiment) == (str(i), f"s{i % 4}", 16000, 0.5)
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
        {"sentiment": [1] * 16},
        {"label": ["sad", "happy"] * 8},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keys = [own.from_arrays(**arrays(**change)).key for change in changes]
    assert len(set(keys)) == len(keys) and own.from_arrays(**arrays()).key == keys[0]


def test_the_key_changes_with_the_groups_of_speakers(monkeypatch):
    before = own.from_arrays(**arrays())
    monkeypatch.setattr(own, "_dealt", lambda speakers: [f"room {s}" for s in speakers])
    assert own.from_arrays(**arrays()).key != before.key


def one_bad(good, bad):
    """Sixteen good items, but for the third."""
    return [bad if i == 2 else good for i in range(16)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ["sad"] * 15}, r"lengths differ \(text 16, label 15, speaker 16, wave"),
        ({"waveforms": [noise(0)] * 17}, "waveforms 17"),
        ({"waveforms": None}, "no sound; give waveforms"),
        ({"rate": None}, "waveforms with rate None; give it in Hz"),
        ({"rate": 0}, "waveforms with rate 0"),
        ({"rate": float("nan")}, "waveforms with rate nan"),
        ({"rate": 16}, "waveforms with rate 16, under 1000; give it in Hz, not in kHz"),
        ({"rate": 44.1}, "waveforms with rate 44.1, under 1000"),
        ({"speaker": None}, "labels without speakers"),
        ({"label": one_bad("sad", float("nan"))}, r"label is empty: 1 \(item 2\)"),
        ({"label": one_bad("sad", np.float32("nan"))}, r"label is empty: 1 \(item 2\)"),
        ({"label": np.array(one_bad("sad", np.nan))}, r"label is empty: 1 \(item 2: nan\)"),
        ({"speaker": one_bad("hi", pd.NA)}, r"speaker is empty: 1 \(item 2\)"),
        ({"text": one_bad("hi", float("nan"))}, r"text is empty: 1 \(item 2\)"),
        ({"waveforms": one_bad(noise(0), [])}, r"waveforms: wrong shape: 1 \(item 2: \(0,\)\)"),
        ({"waveforms": one_bad(noise(0), np.ones((2, 2, 2)))}, r"item 2: \(2, 2, 2\)"),
        ({"waveforms": one_bad(noise(0), np.ones(9, "i2"))}, r"item 2: int16\); .*by 32768"),
        ({"waveforms": one_bad(noise(0), [np.nan, 1])}, r"waveforms: NaN or infinite: 1 \(item 2"),
        ({"waveforms": one_bad(noise(0), 9000 * noise(1))}, "waveforms: far too loud: 1 .* 32768"),
        ({"frames": one_bad(np.ones((3, 4)), np.ones((0, 4)))}, r"frames: wrong shape: 1 \(item 2"),
        ({"frames": one_bad(np.ones((3, 4)), np.ones(4))}, r"item 2: \(4,\)\); expected \(T"),
        ({"frames": one_bad(np.ones((3, 4)), [[1.0], [1.0, 2.0]])}, r"frames: wrong shape: 1"),
        ({"frames": one_bad(np.ones((3, 4)), np.ones((3, 5)))}, r"not as many bands .*item 2: 5"),
        ({"frames": one_bad(np.ones((3, 4)), np.full((3, 4), np.inf))}, "frames: NaN or infinite"),
        ({"frames": one_bad(np.ones((3, 4)), np.full((3, 4), 1e300))}, "frames: NaN or infinite"),
        ({"frames": one_bad(np.ones((3, 4)), np.full((3, 4), "x"))}, "frames: wrong type"),
        ({"words": one_bad([], [("a", 0.5, 0.2)])}, r"times run backwards: 1 \(item 2\)"),
        ({"words": one_bad([], [("a", 1, 2), ("b", 0, 2)])}, "times run backwards"),
        ({"words": one_bad([], [("a", -1, 2)])}, "times run backwards"),
        ({"words": one_bad([], [("a", np.nan, 2)])}, "times run backwards"),
        ({"words": one_bad([], [("a", 0, np.inf)])}, "times run backwards"),
        ({"words": one_bad([], ["hello"])}, r"words: not \(word, start, end\): 1 \(item 2\)"),
        ({"words": one_bad([], None)}, r"words: not \(word, start, end\): 1 \(item 2\)"),
        ({"text": one_bad("hi", " ")}, r"text is empty: 1 \(item 2\); fill it in"),
        ({"speaker": one_bad("hi", None)}, r"speaker is empty: 1 \(item 2\)"),
        ({"ids": [*range(15), 3]}, r"ids is there twice: 1 \(item 3 and item 15: 3\)"),
        ({"split": one_bad("train", "x")}, r"split: unknown part: 1 \(item 2: x\)"),
        ({"sentiment": one_bad(0, 3.1)}, r"sentiment: no sentiment: 1 \(item 2: 3.1\)"),
        ({k: [] for k in ("text", "label", "speaker", "waveforms")}, "no utterances"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(change, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=message):
            own.from_arrays(**arrays(**change))


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
    with pytest.raises(DataError, match="text is empty"):
        own.from_arrays([""], frames=[np.ones((9, 40))])


@pytest.mark.filterwarnings("error")
def test_without_labels_speakers_and_a_split_are_kept():
    corpus = own.from_arrays(**arrays(label=None, split=["train", "dev"] * 7 + ["test"] * 2))
    assert [u.speaker for u in corpus.utterances[:4]] == ["p0", "p1", "p2", "p3"]
    assert corpus.splits(0).test == [14, 15]
