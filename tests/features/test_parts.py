"""Parts of `extract` that not every model reads: sound, [CLS], sub-words, and own filterbanks."""

from dataclasses import replace

import numpy as np
import pytest

import mmer_lib.features.extract as features
from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.features import speech
from mmer_lib.features.extract import extract
from mmer_lib.features.text import BertWords
from tests.tiny import small_bert

TEXTS = ("the dogs bark", "a dog", "Oh, the very old dog saw the other dog go by again and again!")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return BertWords(small_bert(tmp_path_factory.mktemp("bert"), positions=64))


def utterance(i, text, rate=8000):
    wave = (0.1 * np.random.default_rng(i).standard_normal(rate)).astype("f4")
    return Utterance(f"u{i}", "ab"[i % 2], "s", text, waveform=lambda: wave, rate=rate)


@pytest.fixture
def corpus():
    return Corpus("tiny", "k1", tuple(utterance(i, t) for i, t in enumerate(TEXTS)))


@pytest.fixture
def framed():
    """The same with filterbanks of its own, three bands wide, and no sound."""
    rng = np.random.default_rng(0)
    us = tuple(
        Utterance(f"u{i}", "ab"[i % 2], "s", t, frames=rng.normal(4, 3, (5 + i, 3)).astype("f4"))
        for i, t in enumerate(TEXTS)
    )
    return Corpus("framed", "k1", us)


def get(corpus, *parts, **options):
    return extract(corpus, parts=parts, progress=False, **options)


def without(corpus, *names):
    """The last utterance lacks some fields."""
    us = corpus.utterances
    last = replace(us[-1], **dict.fromkeys(names))
    return replace(corpus, utterances=(*us[:-1], last))


# ----------------------------------------------------------------------- [CLS] and sub-words


def test_cls_and_subwords_are_those_of_the_encoder_that_was_given(corpus, bert):
    f = get(corpus, "cls", "subwords", encoder=bert)
    for i, text in enumerate(TEXTS):
        assert f.cls[i].shape == (12,) and f.cls[i].dtype == np.float32
        np.testing.assert_allclose(f.cls[i], bert.at_cls([text])[0], atol=1e-5)
        assert f.subwords[i].ndim == 1 and f.subwords[i].dtype == np.int64
        assert f.subwords[i].tolist() == bert.sentence(text).tolist()
    assert f.sizes == {"cls": 12, "subwords": len(bert.tokenizer)}
    assert (f.words, f.frames, f.sound) == (None, None, None)


@pytest.mark.parametrize("part", ["cls", "subwords", "sound"])
def test_a_new_part_is_computed_once(corpus, bert, own_cache, monkeypatch, part):
    first = get(corpus, part, encoder=bert)
    (path,) = (own_cache / "features").iterdir()
    assert path.name.startswith(f"tiny-{part}-")
    monkeypatch.setattr(features, "_compute", None)
    second = get(corpus, part, encoder=BertWords(bert.name))
    assert second.key == first.key and second.sizes == first.sizes
    for a, b in zip(getattr(first, part), getattr(second, part), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("part", ["cls", "subwords"])
def test_the_key_follows_the_encoder_and_its_weights(corpus, bert, tmp_path, part):
    same = small_bert(tmp_path / "same", positions=64)
    other = small_bert(tmp_path / "other", seed=1, positions=64)
    key = get(corpus, part, encoder=bert).key
    assert get(corpus, part, encoder=BertWords(same)).key == key, "the folder's name is no matter"
    assert get(corpus, part, encoder=BertWords(other)).key != key
    assert get(replace(corpus, key="k2"), part, encoder=bert).key != key


def test_the_encoder_of_cls_is_not_that_of_the_words(corpus, bert):
    f = get(corpus, "words", "cls", encoder=bert)
    assert f.words[0].shape == (3, 50) and f.cls[0].shape == (12,)
    words = get(corpus, "words", "cls", text=bert, encoder=bert)
    assert words.words[0].shape == (3, 12) and words.key != f.key
    assert get(corpus, "words", encoder=bert).key == get(corpus, "words").key


def test_a_text_that_is_too_long_is_cut_for_cls_and_named_for_words(corpus, tmp_path):
    short = BertWords(small_bert(tmp_path, positions=16))
    f = get(corpus, "cls", "subwords", encoder=short)
    assert [len(s) for s in f.subwords] == [9, 4, 16] and f.cls[2].shape == (12,)
    with pytest.raises(DataError, match=r"'u2'.*the model takes 16"):
        get(corpus, "words", text=short)


@pytest.mark.parametrize(
    ("part", "name"),
    [("cls", "text"), ("subwords", "text"), ("words", "text"), ("phonemes", "text"),
     ("sound", "waveform"), ("sound", "rate")],
)  # fmt: skip
def test_a_field_that_a_part_lacks_is_named_before_anything_is_computed(
    corpus, own_cache, part, name
):
    with pytest.raises(DataError, match=f"'u2' has no {name}, which '{part}' needs. Leave"):
        get(without(corpus, name), part)
    assert not own_cache.exists()


def test_a_corpus_without_any_text_gives_its_sound(corpus):
    us = tuple(replace(u, text=None) for u in corpus.utterances)
    f = get(replace(corpus, utterances=us), "sound", "speech")
    assert len(f.sound) == len(f.frames) == 3 and f.words is None


def test_an_empty_text_has_a_cls_and_two_subwords(corpus, bert):
    us = tuple(replace(u, text="") for u in corpus.utterances)
    f = get(replace(corpus, utterances=us), "cls", "subwords", encoder=bert)
    assert [len(s) for s in f.subwords] == [2, 2, 2]
    assert np.isfinite(f.cls[0]).all() and f.cls[0].any()


# ----------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_sound_is_at_16_khz(rate):
    one = Corpus("one", f"{rate}", (utterance(3, "a", rate),))  # a second
    (sound,) = get(one, "sound").sound
    assert sound.dtype == np.float32 and abs(len(sound) - 16000) <= 1
    np.testing.assert_array_equal(sound, speech.prepare(one.utterances[0].waveform(), rate))


def test_sound_of_two_channels_is_averaged_and_short_sound_filled_up():
    rng = np.random.default_rng(0)
    stereo = rng.uniform(-1, 1, (600, 2)).astype("f4")
    us = (
        replace(utterance(0, "a", 16000), waveform=lambda: stereo),
        replace(utterance(1, "a", 16000), waveform=lambda: stereo[:9, 0]),
    )
    sound = get(Corpus("odd", "k", us), "sound").sound
    np.testing.assert_allclose(sound[0], stereo.mean(1), atol=1e-6)
    assert len(sound[1]) == 400 and not sound[1][9:].any()


def test_sound_that_cannot_be_used_is_reported_with_its_utterance(corpus):
    us = (*corpus.utterances[:2], replace(corpus.utterances[2], waveform=lambda: np.zeros(0)))
    with pytest.raises(DataError, match="utterance 'u2': waveform is empty"):
        get(replace(corpus, utterances=us), "sound")


# ------------------------------------------------------------------------ filterbanks of its own


def test_own_frames_are_used_as_they_are(framed, own_cache):
    f = get(framed, "speech", normalisation="none")
    for u, frames in zip(framed.utterances, f.frames, strict=True):
        np.testing.assert_array_equal(frames, u.frames)
    assert f.sizes == {"speech": 3} and not own_cache.exists()


def test_own_frames_are_normalised_as_asked(framed):
    by_utterance = get(framed, "speech").frames
    by_speaker = get(framed, "speech", normalisation="speaker").frames
    for u, frames in zip(framed.utterances, by_utterance, strict=True):
        np.testing.assert_array_equal(frames, speech.normalise(u.frames))
    together = np.concatenate([by_speaker[0], by_speaker[2]])  # both by speaker a
    np.testing.assert_allclose(together.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(together.std(0), 1, atol=1e-4)
    np.testing.assert_array_equal(by_speaker[1], by_utterance[1])  # all that b says


def test_the_key_of_own_frames_follows_corpus_and_normalisation(framed, corpus):
    asked = {
        get(framed, "speech").key,
        get(replace(framed, key="k2"), "speech").key,
        get(framed, "speech", normalisation="none").key,
        get(framed, "speech", "words").key,
        get(framed, "words").key,
        get(corpus, "speech").key,
    }
    assert len(asked) == 6
    assert get(framed, "speech").key in asked


def test_own_frames_take_the_place_of_sound_in_nothing_else(framed, corpus):
    us = tuple(
        replace(u, waveform=v.waveform, rate=v.rate)
        for u, v in zip(framed.utterances, corpus.utterances, strict=True)
    )
    f = get(replace(framed, utterances=us), "speech", "sound", normalisation="none")
    np.testing.assert_array_equal(f.frames[1], us[1].frames)
    np.testing.assert_array_equal(f.sound[1], get(corpus, "sound").sound[1])
    with pytest.raises(DataError, match="'u0' has no waveform, which 'sound' needs"):
        get(framed, "speech", "sound")


def test_a_corpus_that_brings_frames_for_some_utterances_only_is_refused(framed, corpus):
    with pytest.raises(DataError, match="'u2' has no frames, which 'speech' needs"):
        get(without(framed, "frames"), "speech")
    us = (corpus.utterances[0], *framed.utterances[1:])
    with pytest.raises(DataError, match=r"'u[01]'"):
        get(replace(framed, utterances=us), "speech")
    us = tuple(replace(u, frames=np.ones((4, 3), "f4") if i else None)
               for i, u in enumerate(corpus.utterances))  # fmt: skip
    with pytest.raises(DataError, match=r"'u[01]'.*frames"):  # u0 has sound, but no frames
        get(replace(corpus, utterances=us), "speech")


@pytest.mark.parametrize(
    "wrong",
    [np.ones((4, 2)), np.ones(4), np.zeros((0, 3)), np.full((4, 3), np.nan)],
    ids=["another width", "one axis", "none", "NaN"],
)
def test_own_frames_that_cannot_be_used_are_reported_with_their_utterance(framed, wrong):
    wrong = wrong.astype("f4")
    us = (*framed.utterances[:2], replace(framed.utterances[2], frames=wrong))
    with pytest.raises(DataError, match="'u2'"):
        get(replace(framed, utterances=us), "speech", normalisation="none")


def test_own_frames_in_double_precision_become_single(framed):
    us = tuple(replace(u, frames=u.frames.astype("f8")) for u in framed.utterances)
    frames = get(replace(framed, utterances=us), "speech", normalisation="none").frames
    assert {f.dtype for f in frames} == {np.dtype("f4")}
