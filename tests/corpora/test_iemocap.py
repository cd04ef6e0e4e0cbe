"""The reader of IEMOCAP, on a made-up release, whole and damaged in every way."""

import os
import shutil
from unittest import mock

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.corpora import iemocap
from mmer_lib.corpora import load as load_by_name
from mmer_lib.corpora.iemocap import read_alignment, timed_words
from mmer_lib.data import EMOTIONS, DataError, Word, tokenise
from tests.corpora.fake_iemocap import (
    CLASSES,
    NOT_ONE_TO_ONE,
    RATE,
    change,
    in_order,
    load,
    spoken,
    wdseg,
)

# ---------------------------------------------------------------------------------- whole


def test_a_whole_release_is_read_without_a_complaint_but_the_counts(whole):
    corpus, messages = load(whole)
    assert messages == []
    assert [u.id for u in corpus.utterances] == [line.id for line in in_order(whole)]
    assert (corpus.name, corpus.synthetic, corpus.emotions) == ("iemocap", False, EMOTIONS)
    assert corpus.extras["counts"] == {"angry": 10, "happy": 20, "neutral": 10, "sad": 10}
    assert corpus.extras["left_out"] == {"label fru": 10, "label xxx": 10}


def test_every_field_is_what_was_written(whole):
    corpus, _ = load(whole)
    for u, line in zip(corpus.utterances, in_order(whole), strict=True):
        assert (u.speaker, u.session) == (line.speaker, f"Session{line.session}")
        assert (u.text, u.emotion, u.rate) == (line.text, CLASSES[line.label], RATE)
        samples = u.waveform()
        assert samples.dtype == np.float32 and samples.shape == (line.samples,)
        np.testing.assert_array_equal(samples, soundfile.read(whole.sound(line), dtype="f4")[0])
        assert [(w.start, w.end) for w in u.words] == [(a, b) for _, a, b in line.words]


def test_words_are_written_as_in_the_transcript_where_they_fit_the_alignment(whole):
    corpus, _ = load(whole)
    for u in corpus.utterances:
        texts = [w.text for w in u.words]
        if u.text == NOT_ONE_TO_ONE:
            assert texts == ["what", "a", "well", "known", "one"]
        else:
            assert texts == [w for w in tokenise(u.text) if w != "LAUGHTER"]
        assert u.words == () or u.text != "[LAUGHTER]"


def test_the_folder_above_will_do_and_the_door_by_name(whole, tmp_path):
    corpus, _ = load(whole)
    (tmp_path / "IEMOCAP_full_release").symlink_to(whole.root, target_is_directory=True)
    with pytest.warns(UserWarning, match="iemocap: found"):
        other = load_by_name("iemocap", tmp_path)
    assert other.key == corpus.key and len(other.utterances) == 50


def test_other_counts_than_the_published_are_said_with_both(whole):
    expected = r"found angry 10, happy 20, .*\(50 in all.*counts angry 1103, .*\(5531 in all\)"
    with pytest.warns(UserWarning, match=expected) as caught:
        iemocap.load(whole.root, progress=False)
    assert [w.filename for w in caught] == [__file__]
    assert sum(iemocap.COUNTS.values()) == 5531 and set(iemocap.COUNTS) == set(EMOTIONS)


# ------------------------------------------------------------------------------------ key


@pytest.mark.parametrize(
    "alter",
    [
        lambda r, line: change(r.labels(line), b"\tneu\t", b"\tsad\t"),
        lambda r, line: change(r.transcripts(line), b"]: ", b"]: Well, "),
        lambda r, line: r.alignment(line).write_text(wdseg([(3, 9, "WELL")])),
        lambda r, line: os.utime(r.sound(line), ns=(1, 1)),
    ],
)
def test_the_key_changes_with_the_content(release, alter):
    before = load(release)[0].key
    assert load(release)[0].key == before
    alter(release, spoken(release))
    assert load(release)[0].key != before


def test_the_key_does_not_tell_where_the_release_lies(whole, release):
    assert load(whole)[0].key == load(release)[0].key


# ------------------------------------------------------------------------------- no release


@pytest.mark.parametrize(
    ("name", "message"),
    [("file.zip", "no such folder"), ("empty", "holds no folder Session1 to Session5")],
)
def test_what_is_no_release_is_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / "file.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{name}: {message}.*; request IEMOCAP .* Session5"):
        iemocap.load(tmp_path / name)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("dialog/EmoEvaluation", "holds no .txt file"),
        ("dialog/transcriptions", "holds no .txt file"),
        ("sentences/wav", "no such folder"),
    ],
)
def test_a_session_without_one_of_its_folders_is_refused(release, gone, words):
    shutil.rmtree(release.root / "Session4" / gone)
    with pytest.raises(DataError, match=rf"Session4/{gone}: {words}"):
        iemocap.load(release.root)


@pytest.mark.parametrize("part", ["labels", "transcripts"])
@pytest.mark.parametrize("content", [b"", b"% hello\n"])
def test_a_file_of_which_nothing_can_be_read_is_refused_by_name(release, part, content):
    path = getattr(release, part)(release.lines[0])
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: not one line can be read"):
        iemocap.load(release.root)


def test_some_sessions_alone_are_read_and_the_counts_say_which(release):
    for n in (1, 3):
        shutil.rmtree(release.root / f"Session{n}")
    with pytest.warns(UserWarning, match=r"30 in all, in Session2, Session4, Session5\)"):
        assert len(iemocap.load(release.root, progress=False).utterances) == 30


# --------------------------------------------------------------------- damaged: left out


def without_transcript(release, line):
    change(release.transcripts(line), f"{line.id} ".encode(), b"Ses09Z ")


NO_SOUND = "without a sound that can be read"


def without_samples(release, line):
    soundfile.write(release.sound(line), np.zeros(0), RATE)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_transcript, "without transcript"),
        (lambda r, line: r.sound(line).unlink(), NO_SOUND),
        (without_samples, NO_SOUND),
        (lambda r, line: r.sound(line).write_bytes(b"RIFF"), NO_SOUND),
    ],
)
def test_what_cannot_be_used_is_left_out_counted_and_named(release, damage, reason):
    line = in_order(release)[0]
    damage(release, line)
    corpus, messages = load(release)
    assert len(corpus.utterances) == 49 and corpus.extras["left_out"][reason] == 1
    assert any(f"left out: {reason}: 1 ({line.id}" in message for message in messages)


# -------------------------------------------------------------------------- damaged: kept


def test_a_sound_shorter_than_its_label_is_kept_and_counted(release):
    line = max(release.used, key=lambda line: line.samples)
    path = release.sound(line)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 3000])  # header as it was
    assert line.samples > 12000
    corpus, messages = load(release)
    (utterance,) = [u for u in corpus.utterances if u.id == line.id]
    assert utterance.waveform().shape == (3000,)
    assert any(f"sound shorter than its label says: 1 ({line.id})" in m for m in messages)


GOOD = [(0, 9, "<s>"), (10, 19, "HELLO"), (20, 29, "</s>")]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        wdseg(GOOD).replace(" Total score:     -987654", ""),
        wdseg([(0, 9, "<s>"), (9, 12, "HELLO")]),
        wdseg([(0, 9, "<s>"), (10, 40, "<sil>")]),
        wdseg([(100000, 100009, "HELLO")]),
        wdseg(GOOD).replace("HELLO", ""),
    ],
)
def test_a_damaged_alignment_leaves_words_without_times(release, content):
    line = spoken(release)
    if content is None:
        release.alignment(line).unlink()
    else:
        release.alignment(line).write_text(content)
    corpus, (message,) = load(release)
    (utterance,) = [u for u in corpus.utterances if u.id == line.id]
    assert utterance.words is None and len(corpus.utterances) == 50
    assert f"word alignment: 1 ({line.id}); kept" in message


# --------------------------------------------------------------------- damaged: ambiguous


def test_an_utterance_labelled_in_two_files_is_refused_with_both(release):
    line = release.lines[0]
    path = release.labels(line)
    shutil.copy(path, path.with_name(f"{path.stem} copy.txt"))
    names = rf"EmoEvaluation/{path.stem} copy.txt line \d+ and .*EmoEvaluation/{path.name} line \d"
    with pytest.raises(DataError, match=rf"labelled twice, .*{names}"):
        iemocap.load(release.root)


# --------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        ("labels", b"[6.29 - 7.00]\tSes01F_impro01_F009\n"),
        ("transcripts", b"\x93quoted\x94\n"),
    ],
)
def test_odd_lines_are_counted_with_their_file(release, part, odd):
    path = getattr(release, part)(release.lines[0])
    path.write_bytes(path.read_bytes() + odd + odd)
    _, (message,) = load(release)
    assert f"line of a {part[:-1].replace('label', 'label file')}" in message
    assert ": 2 (Session1/dialog/" in message and path.name in message


@pytest.mark.parametrize("text", [" Excuse me.", ""])
def test_a_transcript_without_its_time_or_text_is_a_transcript(release, text):
    line = spoken(release)
    path = release.transcripts(line)
    (whole,) = [x for x in path.read_bytes().split(b"\n") if x.startswith(line.id.encode())]
    change(path, whole, f"{line.id}:{text}".encode())
    corpus, messages = load(release)
    (utterance,) = [u for u in corpus.utterances if u.id == line.id]
    assert messages == [] and utterance.text == text.strip()
    assert bool(utterance.words) == bool(text)


def test_windows_1252_and_utf_8_give_the_same_text(whole):
    corpus, _ = load(whole)
    texts = {n: {u.text for u in corpus.utterances if u.session == f"Session{n}"} for n in (2, 3)}
    assert any("café" in t for t in texts[3]) and any("“right”; isn’t" in t for t in texts[3])
    assert texts[2] & texts[3]


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
    assert [round(100 * w.start) for w in words] == [10 * i for i in range(len(words))]
