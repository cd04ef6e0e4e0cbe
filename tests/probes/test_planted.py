from types import SimpleNamespace

import numpy as np
import pytest

from mmer_lib.data import MODALITIES
from mmer_lib.probes.planted import agreement, factors, linear_reading, readable

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


def read_out(train, train_labels, test, test_labels):
    labels = {"factor": train_labels}, {"factor": test_labels}
    return readable({"vectors": (train, test)}, labels)["vectors", "factor"]


def test_what_stands_there_is_read_and_what_does_not_is_at_chance():
    rng = np.random.default_rng(0)
    train, test = rng.choice(list("abcd"), 400), rng.choice(list("abcd"), 400)
    assert read_out(coded(train), train, coded(test, seed=1), test) > 0.99
    noise = rng.normal(size=(800, 6))
    assert abs(read_out(noise[:400], train, noise[400:], test) - 0.25) < 0.1


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


def utterance(text, audio, vision):
    shows = {"text": text, "audio": audio, "vision": vision}
    return SimpleNamespace(planted=SimpleNamespace(shows=shows))


@pytest.mark.parametrize(
    ("shows", "wanted"),
    [
        (("happy", "happy", "happy"), "agree"),
        (("sad", "neutral", "sad"), "agree"),
        (("happy", "angry", "neutral"), "contradict"),
        (("happy", "happy", "angry"), "contradict"),
        (("happy", "neutral", "neutral"), "too few"),
        (("neutral", "neutral", "neutral"), "too few"),
    ],
)
def test_modalities_agree_where_all_shown_emotions_are_one(shows, wanted):
    assert agreement(utterance(*shows)) == wanted


def test_a_linear_reader_finds_what_is_linear_whatever_its_scale():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(300, 4)), rng.normal(size=(100, 4))
    weights = np.array([1.0, -2, 0, 0.5])
    scale, shift = np.array([1e3, 1e-3, 0, 5]), np.array([0, 7, -2, 1e3])
    wanted = train @ weights + 0.1 * rng.normal(size=300) + 3
    said = linear_reading(train * scale + shift, wanted, test * scale + shift)
    np.testing.assert_allclose(said, test @ weights + 3, atol=0.1)
