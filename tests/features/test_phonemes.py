import warnings

import numpy as np
import pytest

from mmer_lib.features.phonemes import PHONEMES, Phonemizer

pytestmark = pytest.mark.filterwarnings("ignore:no part-of-speech tagger")


def phonemizer(tagged=False):
    made = Phonemizer()
    made.tagged = tagged
    return made


def say(word):
    (phonemes,) = phonemizer()([word])
    return " ".join(phonemes)


def test_phonemes_are_those_of_g2p():
    import nltk

    original = nltk.download
    say("a")
    assert nltk.download is original
    from g2p_en.g2p import G2p

    listed = G2p()
    assert PHONEMES == ("<pad>", *listed.phonemes[4:])
    assert len(set(PHONEMES)) == len(PHONEMES) == 71
    in_dictionary = {p for ways in listed.cmu.values() for way in ways for p in way}
    assert in_dictionary <= set(PHONEMES)


@pytest.mark.parametrize(
    ("word", "phonemes"),
    [
        ("happy", "HH AE1 P IY0"),
        ("don't", "D OW1 N T"),
        ("don\u2019t", "D OW1 N T"),
        ("“dog”", "D AO1 G"),
        ("'dog'", "D AO1 G"),
        ("'cause", "K AH0 Z"),
        ("42", "F AO1 R T IY0 T UW1"),
        ("1,000", "W AH1 N TH AW1 Z AH0 N D"),
        ("3rd", "TH ER1 D"),
        ("", ""),
        ("'", ""),
        ("😀", ""),
        ("你好", ""),
    ],
)
def test_words(word, phonemes):
    assert say(word) == phonemes


@pytest.mark.parametrize("word", ["mmerly", "café's", "dog-mmerly", "9" * 40])
def test_words_outside_the_dictionary_have_a_sound(word):
    (phonemes,) = phonemizer()([word])
    assert phonemes and set(phonemes) <= set(PHONEMES[1:])


def test_encode_points_into_phonemes():
    p = phonemizer()
    words = ["I'm", "mmerly", "😀", "happy"]
    codes = p.encode(words)
    assert [c.dtype for c in codes] == [np.int64] * 4
    assert [tuple(PHONEMES[i] for i in c) for c in codes] == p(words)
    assert codes[2].shape == (0,)


def test_homographs_without_a_tagger_are_announced_once():
    p = phonemizer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        p(["happy", "dog"])
        assert not caught
        said = [p(["use", "Use,", "dog"]), p(["close"]), p(["use"])]
    assert [str(w.message).count("homographs") for w in caught] == [1]
    assert "'use'" in str(caught[0].message)
    assert said[0][0] == said[0][1] == said[2][0] == ("Y", "UW1", "S")


def test_homographs_with_a_tagger_follow_the_sentence(monkeypatch):
    import nltk

    seen = []

    def tag(words):
        seen.append(words)
        return [(w, "VB" if i and words[i - 1] == "to" else "NN") for i, w in enumerate(words)]

    monkeypatch.setattr(nltk, "pos_tag", tag)
    p = phonemizer(tagged=True)
    verb = p("I want to use, it".split())[3]
    noun = p("the Use of it".split())[1]
    assert (verb, noun) == (("Y", "UW1", "Z"), ("Y", "UW1", "S"))
    assert seen == [["i", "want", "to", "use", "it"], ["the", "use", "of", "it"]]
    assert p(["dog"]) and len(seen) == 2
