"""The reader of IEMOCAP on a made-up release that is damaged, line by line and file by file."""

import shutil

import numpy as np
import pytest
import soundfile

from mmer_lib.corpora import iemocap
from mmer_lib.data import DataError
from tests.corpora.fake_iemocap import RATE, change, in_order, load, spoken, wdseg

# --------------------------------------------------------------------- damaged: left out


def without_transcript(release, line):
    change(release.transcripts(line), f"{line.id} ".encode(), b"Ses09Z ")


def without_samples(release, line):
    soundfile.write(release.sound(line), np.zeros(0), RATE)


@pytest.mark.parametrize(
    ("damage", "reason", "problem"),
    [
        (without_transcript, "without transcript", "label without a transcript"),
        (lambda r, line: r.sound(line).unlink(), "without sound", "without a sound file"),
        (without_samples, "empty sound", "empty sound"),
    ],
)
def test_what_cannot_be_used_is_left_out_counted_and_the_first_named(
    release, damage, reason, problem
):
    lines = in_order(release)[:12]
    for line in lines:
        damage(release, line)
    corpus, messages = load(release)
    assert len(corpus.utterances) == 38 and corpus.extras["left_out"][reason] == 12
    (message,) = [m for m in messages if f"{problem}: 12" in m]
    assert lines[0].id in message and lines[4].id in message and lines[5].id not in message


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all" * 100])
def test_unreadable_sounds_are_left_out_and_tried_again(release, content):
    line = spoken(release)
    good = release.sound(line).read_bytes()
    release.sound(line).write_bytes(content)
    for _ in range(2):
        corpus, (message,) = load(release)
        assert len(corpus.utterances) == 49 and corpus.extras["left_out"]["unreadable sound"] == 1
        assert f"unreadable sound: 1 ({line.id}); left out" in message
    release.sound(line).write_bytes(good)
    assert len(load(release)[0].utterances) == 50


def test_a_sound_that_cannot_be_read_any_more_is_named_when_it_is_called_for(release):
    corpus, _ = load(release)
    first = corpus.utterances[0]
    path = release.sound(in_order(release)[0])
    path.write_bytes(b"gone")
    with pytest.raises(DataError, match=f"{path.name}: not readable as sound"):
        first.waveform()
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: no such file"):
        first.waveform()


# -------------------------------------------------------------------------- damaged: kept


def clip(path, share):
    samples, rate = soundfile.read(path)
    n = int(np.ceil(share * len(samples)))
    samples[:n] = np.where(np.arange(n) % 2, 32767 / 32768, -1)
    soundfile.write(path, samples, rate, "PCM_16")


def test_clipped_sounds_are_kept_and_counted(release):
    first, second = in_order(release)[:2]
    clip(release.sound(first), 0.02)
    clip(release.sound(second), 0.005)
    for _ in range(2):  # the second time from the cache
        corpus, (message,) = load(release)
        assert len(corpus.utterances) == 50
        assert f"more than 1% of its samples at full scale: 1 ({first.id}); kept" in message


def test_a_sound_shorter_than_its_label_is_kept_and_counted(release):
    line = max(release.used, key=lambda line: line.samples)
    path = release.sound(line)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 3000])  # header as it was
    assert line.samples > 12000
    corpus, messages = load(release)
    (utterance,) = [u for u in corpus.utterances if u.id == line.id]
    assert utterance.waveform().shape == (3000,)
    assert any(f"sound shorter than its label says: 1 ({line.id})" in m for m in messages)


def test_sounds_are_read_once(whole, release, monkeypatch):
    load(release)
    monkeypatch.setattr(iemocap, "_examine", lambda path: pytest.fail("read again"))
    load(release)
    load(whole)  # a copy with the same times of change


def test_without_alignments_words_have_no_times(release):
    for n in range(1, 6):
        shutil.rmtree(release.root / f"Session{n}/sentences/ForcedAlignment")
    corpus, (message,) = load(release)
    silent = sum(u.words == () for u in corpus.utterances)
    assert all(u.words is None or u.text == "[LAUGHTER]" for u in corpus.utterances)
    assert f"utterance without a word alignment: {50 - silent} (" in message
    assert corpus.extras["words"] == {"without times": 50 - silent, "no words": silent}


GOOD = [(0, 9, "<s>"), (10, 19, "HELLO"), (20, 29, "</s>")]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "HELLO 0.1 0.2\n",
        wdseg(GOOD).replace(" Total score:     -987654", ""),
        wdseg([(0, 9, "<s>"), (9, 12, "HELLO")]),
        wdseg([(0, 9, "<s>"), (10, 40, "<sil>")]),
        wdseg([(100000, 100009, "HELLO")]),
        wdseg(GOOD).replace("19", "1,9"),
        wdseg(GOOD).replace("HELLO", ""),
    ],
)
def test_a_damaged_alignment_leaves_words_without_times(release, content):
    line = spoken(release)
    release.alignment(line).write_text(content)
    corpus, (message,) = load(release)
    (utterance,) = [u for u in corpus.utterances if u.id == line.id]
    assert utterance.words is None and len(corpus.utterances) == 50
    assert f"damaged word alignment: 1 ({line.id}); kept" in message


# --------------------------------------------------------------------- damaged: ambiguous


def test_an_utterance_labelled_in_two_files_is_refused_with_both(release):
    line = release.lines[0]
    path = release.labels(line)
    shutil.copy(path, path.with_name(f"{path.stem} copy.txt"))
    names = rf"EmoEvaluation/{path.stem} copy.txt line \d+ and .*EmoEvaluation/{path.name} line \d"
    with pytest.raises(DataError, match=rf"labelled twice, .*{names}"):
        iemocap.load(release.root)


def test_a_transcript_that_comes_twice_is_refused_where_it_differs(release):
    line = spoken(release)
    path = release.transcripts(line)
    copy = path.with_name(f"z {path.name}")
    shutil.copy(path, copy)
    load(release)
    change(copy, f": {line.text}".encode(), b": Otherwise.")
    with pytest.raises(
        DataError, match=rf"two transcripts, .*{path.name} line \d+ and .*{copy.name}"
    ):
        iemocap.load(release.root)


def test_a_label_in_the_folder_of_another_session_is_not_taken(release):
    line = spoken(release)
    change(release.labels(line), line.id.encode(), line.id.replace("Ses01", "Ses02").encode())
    corpus, (message,) = load(release)
    assert len(corpus.utterances) == 49 and "label file that gives no label: 1" in message


# --------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        ("labels", b"[6.29 - 7.00]\tSes01F_impro01_F009\n"),
        ("labels", b"\xff\xfe\x00\n"),
        ("transcripts", b"X: hello\n"),
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
