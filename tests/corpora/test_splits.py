import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.data import Corpus, DataError, Utterance


def corpus_of(pairs):
    """A corpus of (speaker, session) pairs."""
    us = (
        Utterance(f"u{i}", speaker, session, "hello") for i, (speaker, session) in enumerate(pairs)
    )
    return Corpus("mine", "k", tuple(us))


@st.composite
def corpora(draw):
    sessions = draw(st.integers(3, 7))
    sizes = [draw(st.integers(1, 3)) for _ in range(sessions)]
    pairs = [(f"p{s}-{k}", f"s{s}") for s, size in enumerate(sizes) for k in range(size)]
    repeated = [p for p in pairs for _ in range(draw(st.integers(1, 4)))]
    return corpus_of(draw(st.permutations(repeated)))


@given(corpora())
def test_folds_cover_everything_once_and_share_no_speaker(corpus):
    us, tested = corpus.utterances, []
    for fold in range(len(corpus.sessions)):
        parts = corpus.splits(fold)
        assert sorted(itertools.chain(*parts)) == list(range(len(us)))
        train, dev, test = ({us[i].speaker for i in part} for part in parts)
        assert train and dev and test and not (train & dev or train & test or dev & test)
        (session,) = {us[i].session for i in parts.test}
        tested.append(session)
    assert tested == corpus.sessions


def test_the_demo_corpus_splits_sixty_twenty_twenty(small_corpus):
    tests = []
    for fold in range(5):
        parts = small_corpus.splits(fold)
        assert [len(p) for p in parts] == [96, 32, 32]
        tests += parts.test
        for part in parts:
            emotions = [small_corpus.utterances[i].emotion for i in part]
            assert len(set(np.unique(emotions, return_counts=True)[1])) == 1
    assert sorted(tests) == list(range(160))


def test_a_speaker_in_two_sessions_is_refused_by_name():
    corpus = corpus_of([("ann", "1"), ("ben", "2"), ("cora", "3"), ("ben", "3")])
    with pytest.raises(DataError, match=r"'ben'.*'2' and '3'"):
        corpus.splits(0)


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_out_of_range_is_refused(fold):
    corpus = corpus_of([("a", "1"), ("b", "2"), ("c", "3")])
    with pytest.raises(DataError, match=f"fold {fold} does not exist; choose 0 to 2"):
        corpus.splits(fold)
