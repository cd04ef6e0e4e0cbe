"""What a corpus brings beside what a model reads: refused, or said, before anything is trained."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mmer_lib.corpora import own
from mmer_lib.data import DataError
from mmer_lib.training import fit as training
from mmer_lib.training.fit import build, examples_for, plan
from tests.corpora.fake_own import arrays, noise
from tests.tiny import tiny, with_frames, with_utterances

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

STEPS = {"hop": 0.01, "window": 0.025}


def bank(bands, frames=30, seed=0):
    return np.random.default_rng(seed).normal(1, 2, (frames, bands)).astype("f4")


# ---------------------------------------------------------------------------- the filterbank


@pytest.mark.parametrize("option", [{"bands": 40}, {"hop": 0.01}])
def test_another_filterbank_than_the_computed_one_is_refused(small_corpus, option):
    with pytest.raises(DataError, match=r"demo: .* filterbank has 128 bands every 12 ms"):
        plan("muse", small_corpus, **option)


def test_a_filterbank_that_agrees_may_be_described_and_need_not_be(small_corpus):
    assert plan("muse", small_corpus, bands=128, hop=0.012, window=0.025).config.bands == 128
    for name in ("bert", "mimic"):  # which read none
        assert plan(name, with_frames(small_corpus, 7))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hop": 0.01}, "demo: brings frames; say how far apart and how long"),
        ({**STEPS, "bands": 8}, "its filterbank has 7 bands .*; the model is for 8"),
    ],
)
def test_frames_of_a_corpus_need_a_hop_and_a_window_and_their_bands(small_corpus, given, message):
    with pytest.raises(DataError, match=message):
        plan("muse", with_frames(small_corpus, 7), **given)


# ---------------------------------------------------------------------------- new utterances


@pytest.fixture(scope="module")
def run40(small_corpus, shared_cache, tmp_path_factory):
    """A tiny MUSE on frames of 40 bands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        out = tmp_path_factory.mktemp("runs")
        return tiny("muse", with_frames(small_corpus, 40), out, max_epochs=1, **STEPS)


def test_new_utterances_count_as_those_of_the_corpus(run40, small_corpus):
    """With and without labels the same comes out, alone and among others."""
    corpus = with_frames(small_corpus, 40)
    u = corpus.utterances[5]
    new = own.from_arrays(["what a day", u.text], frames=[bank(40), u.frames])
    _, there = run40.predict(examples_for(run40, corpus, [5]))
    for rows in ([1], [0, 1]):
        index, here = run40.predict(examples_for(run40, new, rows))
        assert sorted(index) == rows and here.shape == (len(rows), 4)
        np.testing.assert_allclose(here[index == 1].numpy(), there.numpy(), atol=1e-5)


def test_another_number_of_bands_is_refused_with_both_numbers(run40, small_corpus):
    new = own.from_arrays(["hello"], frames=[bank(64)])
    with pytest.raises(DataError, match=r"own: its filterbank has 64 bands .* is for 40"):
        examples_for(run40, new, [0])
    with pytest.raises(DataError, match=r"demo: .* 128 bands .*; the model is for 40 bands every"):
        examples_for(run40, small_corpus, [0])


def test_a_run_on_frames_by_speaker_needs_speakers(run40):
    by_speaker = replace(run40, settings=replace(run40.settings, frames="speaker"))
    given = {"text": ["hello", "there"], "frames": [bank(40), bank(40, seed=1)]}
    with pytest.raises(DataError, match="own: no speakers; this run normalises frames by speaker"):
        examples_for(by_speaker, own.from_arrays(**given), [0])
    assert len(examples_for(by_speaker, own.from_arrays(**given, speaker=["a", "a"]), [0])) == 1


# ---------------------------------------------------------------------------- what is doubtful


def warnings_of(corpus, **changes):
    """What building a training warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        training.build(plan("muse", corpus, **changes), progress=False)
    return [str(w.message) for w in caught if str(w.message).startswith(corpus.name)]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mimic", {}, ["GloVe"]),
        ("muse-multigranular", {"tune": False}, ["GloVe", "MiniLM"]),
        ("bert", {"tune": False}, ["MiniLM"]),
        ("muse", {"text": "bert"}, []),
    ],
)
def test_a_run_of_the_papers_preset_says_what_it_reads_instead(small_corpus, name, change, said):
    planned = plan(name, small_corpus, preset="paper", **change)
    assert [note.split()[0] for note in planned.instead] == said
    assert plan(name, small_corpus, **change).instead == []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(planned, progress=False)
    notes = [str(w.message) for w in caught if "preset 'paper' reads" in str(w.message)]
    assert len(notes) == bool(said) and all(word in notes[0] for word in said)


def test_words_without_vectors_are_a_warning_where_they_are_most():
    texts = [f"wörtlich gesprochenes hello zzqx{i}" for i in range(16)]
    (message,) = warnings_of(own.from_arrays(**arrays(text=texts)))
    assert "75% of the words have no vector (wörtlich, gesprochenes, zzqx0" in message
    assert warnings_of(own.from_arrays(**arrays(text=["hello zzqx"] * 16))) == []


@pytest.mark.parametrize("frames", ["train", "speaker"])
def test_silent_utterances_and_texts_without_a_word_are_a_warning(frames):
    waves = [np.zeros(4000, "f4") if i in (2, 9) else noise(i) for i in range(16)]
    texts = [{2: "... ?!", 8: "😀 👍🏽"}.get(i, "hello") for i in range(16)]
    corpus = own.from_arrays(**arrays(text=texts, waveforms=waves))
    wordless, silent = warnings_of(corpus, frames=frames)
    assert "utterances without words: 2 (2, 8)" in wordless
    assert "silent utterances: 2 (2, 9)" in silent


# ------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("wrong", [3.01, float("nan")])
def test_a_sentiment_outside_the_range_is_refused_by_utterance(small_corpus, wrong):
    corpus = with_utterances(
        small_corpus, lambda i, u: replace(u, sentiment=wrong if i == 40 else u.sentiment)
    )
    message = f"'{corpus.utterances[40].id}' has sentiment {wrong}; give numbers in \\[-3, 3\\]"
    with pytest.raises(DataError, match=message):
        plan("mimic", corpus)
    assert plan("muse", corpus)  # which does not read it


def test_an_emotion_that_is_no_class_of_the_corpus_is_named(small_corpus):
    strange = with_utterances(
        small_corpus, lambda i, u: replace(u, emotion="excited") if i == 40 else u
    )
    with pytest.raises(DataError, match=rf"'{strange.utterances[40].id}'.*excited"):
        plan("bert", strange)


def test_forced_alignment_needs_word_times(small_corpus):
    untimed = with_utterances(small_corpus, lambda i, u: replace(u, words=()))
    with pytest.raises(DataError, match="no utterance has word times"):
        plan("muse", untimed, ideal="forced")
    assert plan("muse", untimed)
