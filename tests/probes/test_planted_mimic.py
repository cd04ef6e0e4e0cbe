from types import SimpleNamespace

import numpy as np
import pytest

from mmer_lib.probes.planted_mimic import agreement, linear_reading


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
    scale, shift = np.array([1e3, 1e-3, 1, 5]), np.array([0, 7, -2, 1e3])
    wanted = train @ weights + 0.1 * rng.normal(size=300) + 3
    said = linear_reading(train * scale + shift, wanted, test * scale + shift)
    np.testing.assert_allclose(said, test @ weights + 3, atol=0.1)


def test_a_linear_reader_of_noise_says_about_the_mean():
    rng = np.random.default_rng(0)
    wanted = rng.normal(2, 1, 300)
    said = linear_reading(rng.normal(size=(300, 50)), wanted, rng.normal(size=(100, 50)))
    assert np.abs(said - wanted.mean()).max() < 0.5


def test_a_constant_column_is_no_trouble():
    train = np.column_stack([np.zeros(50), np.arange(50.0)])
    np.testing.assert_allclose(linear_reading(train, np.arange(50.0), train), range(50), atol=0.1)
