import io
from base64 import b64decode
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.book.explorer.scrubber import PICTURE, Heard, spoken, told_of
from mmer_lib.data import Word
from mmer_lib.features.speech import filterbank
from tests.book.explorer.made import HEARD, scrubber

quick = settings(max_examples=30, deadline=None)  # the first call imports torchaudio
GAPS = st.lists(st.tuples(st.floats(0, 0.5), st.floats(0.01, 1)), min_size=1, max_size=8)


def decoded(address):
    kind, text = address.split(";base64,")
    return kind, io.BytesIO(b64decode(text))


@given(GAPS, st.lists(st.floats(-1, 12), min_size=1, max_size=20))
def test_the_spoken_word_is_the_one_that_has_begun_and_not_ended(gaps, times):
    words, now = [], 0.0
    for pause, length in gaps:
        words.append(Word("x", now + pause, now + pause + length))
        now = words[-1].end
    for t, at in zip(times, spoken(np.array(times), words), strict=True):
        there = [i for i, w in enumerate(words) if w.start <= t < w.end]
        assert ([at] if at >= 0 else []) == there


@quick
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 9), st.integers(0))
def test_every_map_is_there_and_its_mean_comes_first(layers, heads, frames, count, seed):
    rng = np.random.default_rng(seed)
    maps = {f"layer {k}": rng.dirichlet(np.ones(count), (heads, 1 + frames)) for k in range(layers)}
    words = [Word(f"w{k}", k / 9, (k + 1) / 9) for k in range(count)]
    data = told_of([Heard(words, np.zeros(1600), 16000, (np.arange(frames) + 0.5) / 9, maps)])
    shown = np.array(data["utterances"][0]["maps"])  # (layers, 1 + heads, 1 + T, W)
    assert data["layers"] == list(maps) and data["heads"] == ["mean", *range(1, heads + 1)]
    for found, weights in zip(shown, maps.values(), strict=True):
        np.testing.assert_allclose(found[1:], weights, atol=5.1e-4)
        np.testing.assert_allclose(found[0], weights.mean(0), atol=5.1e-4)


@quick
@given(st.integers(0), st.sampled_from([8000, 16000, 22050]))
def test_the_sound_is_the_utterances(seed, rate):
    rng = np.random.default_rng(seed)
    t = np.arange(rate // 4) / rate
    samples = (0.7 * np.sin(2 * np.pi * rng.uniform(100, 900) * t)).astype(np.float32)
    told = told_of([replace(HEARD[0], samples=samples, rate=rate)])["utterances"][0]
    kind, file = decoded(told["sound"])
    found, its_rate = soundfile.read(file)
    assert (kind, its_rate) == ("data:audio/wav", 16000)
    assert len(found) == pytest.approx(16000 * told["seconds"], abs=1)
    if rate == 16000:
        np.testing.assert_allclose(found, samples, atol=1 / 16000)


def test_the_picture_is_the_filterbank():
    for one, told in zip(HEARD, scrubber().data["utterances"], strict=True):
        kind, file = decoded(told["picture"]["image"])
        image = plt.imread(file)[::-1, :, :3]  # the foot is the lowest band
        bank = filterbank(one.samples, one.rate, PICTURE).T
        assert kind == "data:image/png" and image.shape == (64, bank.shape[1], 3)
        scaled = (bank - bank.min()) / np.ptp(bank)
        np.testing.assert_allclose(image, plt.colormaps["magma"](scaled)[..., :3], atol=0.03)
        first, last = told["picture"]["from"], told["picture"]["to"]
        assert last - first == pytest.approx(0.012 * bank.shape[1], rel=1e-4)
        assert 0 < first < 0.012 and abs(last - told["seconds"]) < 0.03


def test_it_opens_in_the_middle_of_what_was_chosen():
    assert (scrubber().frame, scrubber(utterance=1).frame) == (6, 2)
    assert scrubber(frame=0).frame == 0


def test_only_what_there_is_can_be_chosen():
    figure = scrubber(layer=1, head=3)
    for name, count in (("utterance", 2), ("layer", 2), ("head", 4)):
        for bad in (-1, count):
            with pytest.raises(traitlets.TraitError, match=f"there are {count} {name}s"):
                setattr(figure, name, bad)
    with pytest.raises(traitlets.TraitError):
        figure.frame = -1
    assert (figure.layer, figure.head) == (1, 3)


FIRST = HEARD[0]
ONE = next(iter(FIRST.maps.values()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ()}, "11 frames and 0 words"),
        ({"times": []}, "0 frames and 4 words"),
        ({"times": FIRST.times[::-1]}, "times must rise at an even distance"),
        ({"times": FIRST.times**2}, "times must rise at an even distance"),
        ({"words": [Word("x", 0.2, 0.2), *FIRST.words[1:]]}, "does not end after its start"),
        ({"samples": 2 * np.ones(1600)}, r"in \[-1, 1\]"),
        ({"samples": np.ones((2, 1600))}, "one row of numbers"),
        ({"samples": np.ones(0)}, "waveform is empty"),
        ({"rate": 0}, "sampling rate of 0"),
        ({"maps": {}}, "no map of attention"),
        ({"maps": {"a": ONE[:, 1:]}}, r"a is \(3, 11, 4\), not \(heads, 12, 4\)"),
        ({"maps": {"a": ONE[0]}}, r"a is \(12, 4\), not"),
        ({"maps": {"a": 2 * ONE}}, "a: weights must sum to 1"),
        ({"maps": {"a": np.where(ONE == ONE, np.nan, 0)}}, "a: weights must sum to 1"),
        ({"maps": {"a": ONE + np.array([1, -1, 0, 0])}}, "a: .*none below 0"),
        ({"maps": {"a": ONE}}, "must be the same everywhere"),
        ({"maps": {"layer 1": ONE[:2], "layer 2": ONE}}, "must be the same everywhere"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        told_of([replace(FIRST, **change), HEARD[1]])


def test_something_must_be_shown():
    with pytest.raises(ValueError, match="no utterances"):
        told_of([])
