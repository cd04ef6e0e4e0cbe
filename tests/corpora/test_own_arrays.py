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
from tests.corpora.fake_own import arrays, noise, with_column, write

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


TWO_SESSIONS = ["a", "b", "c", "d", "a", "c", *"cdabcdabcd"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"session": ["a", "b"] * 8}, r"2 sessions \(a, b\) and no split"),
        ({"speaker": ["p", "q"] * 8}, r"2 speakers \(p, q\) and no split"),
        ({"session": TWO_SESSIONS}, r"sessions.*: 1 \(p1: b \(item 1\) and c \(item 5\)\)"),
        ({"label": ["sad"] * 16}, r"one class only \(sad\)"),
        ({"split": ["train", "val"] * 8}, "no utterance in test"),
        ({"split": ["val", "test"] * 8}, "no utterance in train"),
        ({"split": ["train", "test"] * 8}, "no utterance in dev"),
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


def test_a_class_without_a_training_utterance_is_a_warning():
    split = ["train"] * 8 + ["dev"] * 4 + ["test"] * 4
    with pytest.warns(UserWarning) as caught:
        own.from_arrays(**arrays(speaker=[f"p{i}" for i in range(16)], split=split))
    (message,) = [str(w.message) for w in caught]
    assert "class without a training utterance: 2 (neutral, fold 0, sad, fold 0)" in message


@pytest.mark.filterwarnings("error")
def test_a_good_corpus_gives_no_warning(table):
    own.from_table(table)
    own.from_arrays(**arrays())


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


def one_bad(good, bad):
    """Sixteen good items, but for the third."""
    return [bad if i == 2 else good for i in range(16)]


BANDS = np.ones((3, 4))
BAD_ITEMS = [  # argument, good items, the third one, words of the message
    ("label", "sad", float("nan"), "label is empty"),
    ("label", "sad", np.float32("nan"), "label is empty"),
    ("speaker", "hi", pd.NA, "speaker is empty"),
    ("speaker", "hi", None, "speaker is empty"),
    ("text", "hi", float("nan"), "text is empty"),
    ("text", "hi", " ", "text is empty"),
    ("split", "train", "x", "split: unknown part"),
    ("sentiment", 0, 3.1, "no sentiment"),
    ("waveforms", noise(0), [], "waveforms: wrong shape"),
    ("waveforms", noise(0), np.ones((2, 2, 2)), "waveforms: wrong shape"),
    ("waveforms", noise(0), np.ones(9, "i2"), "int16.*by 32768"),
    ("waveforms", noise(0), [np.nan, 1], "waveforms: NaN or infinite"),
    ("waveforms", noise(0), 9000 * noise(1), "waveforms: far too loud.*32768"),
    ("frames", BANDS, np.ones((0, 4)), "frames: wrong shape"),
    ("frames", BANDS, np.ones(4), "frames: wrong shape"),
    ("frames", BANDS, [[1.0], [1.0, 2.0]], "frames: wrong shape"),
    ("frames", BANDS, np.ones((3, 5)), "not as many bands"),
    ("frames", BANDS, np.full((3, 4), 1e300), "frames: NaN or infinite"),
    ("frames", BANDS, np.full((3, 4), "x"), "frames: wrong type"),
    ("words", [], [("a", 0.5, 0.2)], "times run backwards"),
    ("words", [], [("a", 1, 2), ("b", 0, 2)], "times run backwards"),
    ("words", [], [("a", -1, 2)], "times run backwards"),
    ("words", [], [("a", np.nan, 2)], "times run backwards"),
    ("words", [], [("a", 0, np.inf)], "times run backwards"),
    ("words", [], ["hello"], "words: not"),
    ("words", [], None, "words: not"),
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
        ({"waveforms": [noise(0)] * 17}, "waveforms 17"),
        ({"waveforms": None}, "no sound"),
        ({"rate": None}, "rate None"),
        ({"rate": 0}, "rate 0"),
        ({"rate": float("nan")}, "rate nan"),
        ({"rate": 44.1}, "rate 44.1.*not in kHz"),
        ({"speaker": None}, "labels without speakers"),
        ({"ids": [*range(15), 3]}, r"ids is there twice: 1 \(item 3 and item 15: 3\)"),
        ({k: [] for k in ("text", "label", "speaker", "waveforms")}, "no utterances"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(change, words):
    with pytest.raises(DataError, match=f"own: .*{words}"):
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
