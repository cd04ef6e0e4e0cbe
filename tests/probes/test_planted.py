import numpy as np
import pytest

from mmer_lib.data import MODALITIES
from mmer_lib.probes.planted import factors, read_out, readable

pytestmark = pytest.mark.usefixtures("keep_cache")


def test_the_factors_are_what_the_recipe_planted(small_corpus):
    rows = small_corpus.splits(0).test
    found = factors(small_corpus, rows)
    assert set(found) == {"emotion", "topic", "speaker", *(f"{m} shows" for m in MODALITIES)}
    for i, row in enumerate(rows):
        u = small_corpus.utterances[row]
        assert found["emotion"][i] == u.emotion and found["topic"][i] in u.text
        for m in MODALITIES:
            carries = u.planted.roles[m] == "carries"
            assert (found[f"{m} shows"][i] == u.emotion) or not carries
    assert len(set(found["speaker"])) == 2


def coded(labels, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    classes = sorted(set(labels))
    return np.eye(len(classes))[[classes.index(x) for x in labels]] + rng.normal(
        0, noise, (len(labels), len(classes))
    )


def test_what_stands_there_is_read_and_what_does_not_is_at_chance():
    rng = np.random.default_rng(0)
    train, test = rng.choice(list("abcd"), 400), rng.choice(list("abcd"), 400)
    assert read_out(coded(train), train, coded(test, seed=1), test) > 0.99
    noise = rng.normal(size=(800, 6))
    assert abs(read_out(noise[:400], train, noise[400:], test) - 0.25) < 0.1


def test_rare_classes_count_as_much_as_common_ones():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    assert read_out(np.zeros((100, 2)), labels, np.zeros((100, 2)), labels) == 0.5


def test_speakers_of_another_session_are_read_within_it():
    train, test = np.array(["a", "b"] * 20), np.array(["c", "d"] * 20)
    assert read_out(np.zeros((40, 2)), train, coded(test), test) > 0.99


def test_every_representation_meets_every_factor(small_corpus):
    split = small_corpus.splits(0)
    labels = tuple(factors(small_corpus, rows) for rows in (split.train, split.test))
    emotion = tuple(coded(x["emotion"]) for x in labels)
    nothing = tuple(np.zeros((len(x["emotion"]), 2)) for x in labels)
    found = readable({"emotion": emotion, "nothing": nothing}, labels)
    assert len(found) == 2 * 6
    assert found["emotion", "emotion"] > 0.99 and found["nothing", "emotion"] == 0.25
    shown = found["emotion", "audio shows"]  # a part of the utterances carry it in the voice
    assert 0.25 < shown < 0.99
