"""Word alignments: written and read back, and how they meet transcripts."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.iemocap import RATE, read_alignment, timed_words
from mmer_lib.data import Word
from tests.corpora.fake_iemocap import wdseg

TOKENS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", min_size=1, max_size=8).filter(
    lambda t: t.strip("'")
)
NOISES = st.sampled_from(["<s>", "</s>", "<sil>", "++NOISE++", "++LAUGHTER++"])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(1, 200),
            st.one_of(TOKENS, NOISES),
            st.sampled_from(["", "(2)", "(13)"]),
        )
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_written_alignment_reads_back(parts, end):
    rows, words, frame = [], [], 0
    for gap, length, token, variant in parts:
        first, last = frame + gap, frame + gap + length - 1
        noise = token[0] in "<+"
        rows.append((first, last, token if noise else token + variant))
        if not noise:
            words.append(Word(token, first / 100, (last + 1) / 100))
        frame = last + 1
    content = wdseg(rows).replace("\n", end).encode()
    with mock.patch("pathlib.Path.read_bytes", lambda self: content):
        assert read_alignment("a.wdseg") == words


@pytest.mark.parametrize(
    ("transcript", "tokens", "expected"),
    [
        ("Um, NO!", "UM NO", ["Um", "NO"]),
        ("[BREATHING] naïve  -- o'clock.", "NAIVE O'CLOCK", ["naïve", "o'clock"]),
        ("It's 5.", "IT'S FIVE", ["it's", "five"]),
        ("yes yes", "YES", ["yes"]),
        ("", "NOISE", []),
        ("[LAUGHTER] [BREATHING]", "", []),
    ],
)
def test_how_transcript_and_alignment_meet(tmp_path, transcript, tokens, expected):
    rows = [(10 * i, 10 * i + 9, token) for i, token in enumerate(tokens.split())]
    (tmp_path / "a.wdseg").write_text(wdseg(rows))
    words = timed_words(transcript, tmp_path / "a.wdseg", 1.0)
    assert [w.text for w in words] == expected
    assert [round(w.start * RATE) for w in words] == [10 * i for i in range(len(words))]
