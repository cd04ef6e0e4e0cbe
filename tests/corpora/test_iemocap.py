"""The reader of IEMOCAP, on a made-up release, whole and damaged in every way."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from mmer_lib.corpora import iemocap
from mmer_lib.corpora import load as load_by_name
from mmer_lib.data import EMOTIONS, DataError, tokenise
from mmer_lib.features.extract import extract
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

OTHER_COUNTS = "ignore:iemocap. found"


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
    origins = corpus.extras["words"]
    assert sum(origins.values()) == 50 and set(origins) == {
        "as transcribed",
        "as aligned",
        "no words",
    }


def test_a_sound_alone_is_no_word(whole):
    corpus, _ = load(whole)
    laughs = [u for u in corpus.utterances if u.text == "[LAUGHTER]"]
    assert laughs and all(u.words == () for u in laughs)


def test_a_woman_and_a_man_speak_in_every_session(whole):
    corpus, _ = load(whole)
    speakers = {(u.session, u.speaker) for u in corpus.utterances}
    assert speakers == {(f"Session{n}", f"Ses0{n}{g}") for n in range(1, 6) for g in "FM"}


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


@pytest.mark.filterwarnings(OTHER_COUNTS, "ignore:no part-of-speech tagger")
def test_features_are_extracted_of_utterances_without_words_too(whole):
    corpus, _ = load(whole)
    features = extract(corpus, parts=("speech", "words", "phonemes", "audio"), progress=False)
    for i, u in enumerate(corpus.utterances):
        assert len(features.words[i]) == len(features.phonemes[i]) == len(u.words)
        assert len(features.audio[i]) == len(u.words) and len(features.frames[i])
    assert any(len(words) == 0 for words in features.words)


# ------------------------------------------------------------------------------------ key


@pytest.mark.parametrize(
    "alter",
    [
        lambda r, line: change(r.labels(line), b"\tneu\t", b"\tsad\t"),
        lambda r, line: change(r.labels(line), b"\tneu\t", b"\tfru\t"),
        lambda r, line: change(r.transcripts(line), b"]: ", b"]: Well, "),
        lambda r, line: r.alignment(line).write_text(wdseg([(3, 9, "WELL")])),
        lambda r, line: r.alignment(line).unlink(),
        lambda r, line: os.utime(r.sound(line), ns=(1, 1)),
        lambda r, line: soundfile.write(r.sound(line), np.zeros(20000), RATE),
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
    [
        ("nowhere", "no such folder"),
        ("file.zip", "no such folder"),
        ("empty", "holds no folder Session1 to Session5"),
    ],
)
def test_what_is_no_release_is_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / "file.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{name}: {message}.*; request IEMOCAP .* Session5"):
        iemocap.load(tmp_path / name)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("dialog/EmoEvaluation", "no such folder"),
        ("dialog/transcriptions", "no such folder"),
        ("sentences/wav", "no such folder"),
        ("dialog/EmoEvaluation/Ses*.txt", "holds no .txt file"),
        ("dialog/transcriptions/Ses*.txt", "holds no .txt file"),
    ],
)
def test_a_session_without_one_of_its_folders_or_files_is_refused(release, gone, words):
    for path in (release.root / "Session4").glob(gone):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with pytest.raises(DataError, match=rf"Session4/{gone.partition('/Ses')[0]}: {words}"):
        iemocap.load(release.root)


@pytest.mark.parametrize("part", ["labels", "transcripts"])
@pytest.mark.parametrize("content", [b"", b"\x00\x05\x16\x07\xff\xfe", b"% hello\n"])
def test_a_file_of_which_nothing_can_be_read_is_refused_by_name(release, part, content):
    path = getattr(release, part)(release.lines[0])
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: not one (label|utterance) can be read"):
        iemocap.load(release.root)


def test_a_release_without_any_sound_is_refused_and_says_why(release):
    for line in release.lines:
        release.sound(line).unlink()
    with pytest.raises(DataError, match=r"utterance without a sound file: 50 \(Ses01F"):
        iemocap.load(release.root)


def test_some_sessions_alone_are_read_and_the_counts_say_which(release):
    for n in (1, 3):
        shutil.rmtree(release.root / f"Session{n}")
    with pytest.warns(UserWarning, match=r"30 in all, in Session2, Session4, Session5\)"):
        assert len(iemocap.load(release.root, progress=False).utterances) == 30
