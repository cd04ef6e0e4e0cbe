import pytest

from mmer_lib.book.explorer.live import LiveToggles


@pytest.fixture
def live(run, small_corpus):
    """The switches of the `run` of a test's own file."""
    return LiveToggles(run, small_corpus, small_corpus.splits(0).test[:2], epochs=2)
