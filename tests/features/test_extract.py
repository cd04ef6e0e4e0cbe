from dataclasses import replace

import numpy as np
import pytest

import mmer_lib.features.extract as features
from mmer_lib.data import Corpus, DataError, Utterance, Word
from mmer_lib.features import phonemes, speech
from mmer_lib.features.extract import PARTS, extract
from mmer_lib.features.text import BertWords, Glove

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")

ALL = ("frames", "sound", "words", "known", "cls", "subwords", "phonemes", "audio", "vision")
SENTENCES = ("I don't know", "really ?", "the unbelievable mmerly dog slept")


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
    us = tuple(utterance(i, s) for i, s in enumerate(SENTENCES))
    return Corpus("tiny", "k1", us)


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_every_part_has_its_shape(corpus):
    f = extract(corpus, progress=False)
    for i, u in enumerate(corpus.utterances):
        w = len(u.words)
        assert f.frames[i].shape == (speech.DEFAULT.frames(5000 * w), 128)
        assert f.words[i].shape == (w, 50) and f.known[i].shape == (w,)
        assert f.audio[i].shape == (w, 132) and f.vision[i].shape == (w, 6)
        assert f.phonemes[i].dtype == np.int64 and len(f.phonemes[i]) == w
        assert f.known[i].dtype == bool
        assert f.sound[i].shape == (5000 * w,) and f.sound[i].dtype == np.float32
        assert f.cls[i].shape == (384,) and f.cls[i].dtype == np.float32
        assert f.subwords[i].dtype == np.int64 and len(f.subwords[i]) >= w + 2
    assert f.sizes == {
        "speech": 128, "sound": 1, "words": 50, "cls": 384, "subwords": 30522, "phonemes": 71,
        "audio": 132, "vision": 6,
    }  # fmt: skip
    assert f.known[1].tolist() == [True, False]


def test_each_part_is_what_its_own_function_gives(corpus):
    f = extract(corpus, progress=False)
    phonemizer, glove, bert = phonemes.Phonemizer(), Glove(), BertWords()
    for i, u in enumerate(corpus.utterances):
        bank = speech.filterbank(u.waveform(), u.rate)
        times = speech.frame_times(len(bank))
        np.testing.assert_array_equal(f.frames[i], speech.normalise(bank))
        voice = speech.prosody(u.waveform(), u.rate)
        np.testing.assert_array_equal(
            f.audio[i], speech.average_by_word(np.hstack([bank, voice]), times, u.words)
        )
        np.testing.assert_array_equal(
            f.vision[i], speech.average_by_word(u.vision, u.vision_times, u.words)
        )
        assert np.isfinite(f.vision[i]).all()
        np.testing.assert_array_equal(f.sound[i], speech.prepare(u.waveform(), u.rate))
        np.testing.assert_array_equal(f.subwords[i], bert.sentence(u.text))
        np.testing.assert_allclose(f.cls[i], bert.at_cls([u.text])[0], atol=1e-5)
        words = [w.text for w in u.words]
        np.testing.assert_array_equal(f.words[i], glove.vectors(words)[0])
        codes = phonemizer.encode(words)
        assert f.phonemes[i].shape[1] == max(len(c) for c in codes)
        for row, code in zip(f.phonemes[i], codes, strict=True):
            assert row[row > 0].tolist() == code.tolist() == row[: len(code)].tolist()


def test_the_second_time_nothing_is_computed(corpus, monkeypatch, own_cache):
    first = extract(corpus, progress=False)
    assert len(list((own_cache / "features").glob("tiny-*.safetensors"))) == 8
    assert len(list((own_cache / "features").iterdir())) == 8
    monkeypatch.setattr(features, "_compute", None)
    second = extract(corpus, progress=False)
    assert second.key == first.key and second.sizes == first.sizes
    for name in ALL:
        same(getattr(first, name), getattr(second, name))


def test_only_what_is_asked_for_is_computed(corpus, own_cache):
    f = extract(corpus, parts=("words",), progress=False)
    assert f.frames is None and f.audio is None and f.words is not None
    assert [p.name.split("-")[1] for p in (own_cache / "features").iterdir()] == ["words"]
    speech_alone = extract(corpus, parts=("speech",), progress=False)
    audio_alone = extract(corpus, parts=("audio",), progress=False)
    both = extract(replace(corpus, key="k2"), parts=("speech", "audio"), progress=False)
    same(speech_alone.frames, both.frames)
    same(audio_alone.audio, both.audio)


def test_the_key_follows_content_settings_and_parts(corpus, monkeypatch):
    only = ("words", "vision")
    keys = [
        extract(corpus, parts=only, progress=False).key,
        extract(corpus, parts=("words",), progress=False).key,
        extract(replace(corpus, key="k2"), parts=only, progress=False).key,
        extract(corpus, text="bert", parts=only, progress=False).key,
    ]
    monkeypatch.setattr(features, "VISION_VERSION", 99)
    keys.append(extract(corpus, parts=only, progress=False).key)
    assert len(set(keys)) == 5
    assert extract(corpus, parts=("vision", "words"), progress=False).key == keys[-1]


def test_bert_words_come_without_cls(corpus):
    f = extract(corpus, text="bert", parts=("words",), progress=False)
    expected = BertWords().encode([[w.text for w in u.words] for u in corpus.utterances])
    for i, (vectors, _) in enumerate(expected):
        np.testing.assert_allclose(f.words[i], vectors, atol=1e-5)
    assert f.sizes == {"words": 384} and f.known[0].all() and f.cls is None


def test_a_damaged_cache_file_is_named(corpus, own_cache):
    extract(corpus, parts=("vision",), progress=False)
    (path,) = (own_cache / "features").iterdir()
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}.*delete this file"):
        extract(corpus, parts=("vision",), progress=False)
    path.unlink()
    extract(corpus, parts=("vision",), progress=False)


def test_text_without_word_times_gives_words_and_phonemes_only(corpus):
    u = Utterance("plain", "a", "s", "Well, I don't know!", waveform=lambda: np.ones(9000), rate=1)
    plain = Corpus("plain", "k", (u,))
    f = extract(plain, parts=("words", "phonemes"), progress=False)
    assert len(f.words[0]) == len(f.phonemes[0]) == 4
    for part in ("audio", "vision"):
        with pytest.raises(DataError, match=f"'plain' has no words, which '{part}' needs.*times"):
            extract(plain, parts=(part,), progress=False)


@pytest.mark.parametrize(
    ("part", "name"),
    [("speech", "waveform"), ("speech", "rate"), ("audio", "waveform"), ("vision", "vision")],
)
def test_a_lacking_field_is_named_before_anything_is_computed(corpus, own_cache, part, name):
    us = (*corpus.utterances[:2], replace(corpus.utterances[2], **{name: None}))
    with pytest.raises(DataError, match=f"'u2' has no {name}, which '{part}' needs"):
        extract(replace(corpus, utterances=us), parts=("words", part), progress=False)
    assert not own_cache.exists()


def test_bad_data_is_reported_with_its_utterance_and_leaves_no_file(corpus, own_cache):
    us = (*corpus.utterances[:2], replace(corpus.utterances[2], waveform=lambda: np.zeros(0)))
    with pytest.raises(DataError, match="utterance 'u2': waveform is empty"):
        extract(replace(corpus, utterances=us), parts=("speech",), progress=False)
    assert not list((own_cache / "features").iterdir())


@pytest.mark.parametrize("rows", [0, 4])
def test_a_video_in_which_no_face_was_found_is_named(corpus, own_cache, rows):
    """No rows, or rows of NaN, as OpenFace's are read where it found nobody."""
    faceless = replace(
        corpus.utterances[1], vision=np.full((rows, 6), np.nan), vision_times=np.arange(rows) / 30
    )
    us = (corpus.utterances[0], faceless)
    message = "utterance 'u1': no frames to average .*no face was found.; leave this utterance out"
    with pytest.raises(DataError, match=message):
        extract(replace(corpus, utterances=us), parts=("vision",), progress=False)
    assert not list((own_cache / "features").iterdir())


def test_ten_thousand_words_are_all_read_and_cut_for_cls(corpus):
    sentence = "the quick brown fox jumped over mmerly dogs 42 times"
    long = replace(corpus.utterances[0], text=" ".join([sentence] * 1000), words=None)
    f = extract(replace(corpus, utterances=(long,)), progress=False,
                parts=("words", "phonemes", "cls", "subwords"))  # fmt: skip
    short = extract(replace(corpus, utterances=(replace(long, text=sentence),), key="short"),
                    progress=False, parts=("words", "phonemes"))  # fmt: skip
    same(f.words, [np.tile(short.words[0], (1000, 1))])
    same(f.phonemes, [np.tile(short.phonemes[0], (1000, 1))])
    assert len(f.subwords[0]) == 512 and np.isfinite(f.cls[0]).all()


def test_unknown_parts_and_texts_and_empty_corpora(corpus):
    with pytest.raises(DataError, match="unknown part 'smell'; known: speech"):
        extract(corpus, parts=("smell",))
    with pytest.raises(DataError, match="unknown text 'elmo'"):
        extract(corpus, text="elmo", parts=("words",))
    with pytest.raises(DataError, match="no utterances"):
        extract(replace(corpus, utterances=()))


def test_an_utterance_without_words(corpus):
    us = (*corpus.utterances, replace(corpus.utterances[0], id="quiet", words=(), text=""))
    f = extract(replace(corpus, utterances=us), progress=False)
    assert f.words[3].shape == (0, 50) and f.audio[3].shape == (0, 132)
    assert f.phonemes[3].shape == (0, 1)


def test_phoneme_matrix():
    rows = [np.array([3, 4]), np.array([], dtype=np.int64), np.array([5])]
    assert features.phoneme_matrix(rows).tolist() == [[3, 4], [0, 0], [5, 0]]
    assert features.phoneme_matrix([]).shape == (0, 1)
    assert features.phoneme_matrix(rows[1:2]).tolist() == [[0]]


def test_progress_bar_on_and_off(corpus, capfd):
    extract(corpus, parts=("vision",), progress=True)
    assert "vision" in capfd.readouterr().err
    extract(replace(corpus, key="k3"), parts=("vision",), progress=False)
    assert capfd.readouterr().err == ""


def test_parts_are_all_covered():
    assert set(PARTS) == set(features._NEEDS)
