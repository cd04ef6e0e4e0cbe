"""The reader of MOSI and MOSEI on made-up files in every format that people have, and on the real
words and labels where ``MMER_MOSI`` names their folder."""

import os
import re
import shutil
import warnings
from collections import Counter

import numpy as np
import pytest

from mmer_lib import corpora
from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.load import standard_folds
from mmer_lib.corpora.report import report
from mmer_lib.data import DataError
from mmer_lib.features.extract import extract
from mmer_lib.features.speech import average_by_word
from tests.corpora.fake_mosi import (
    FILES,
    PART,
    VIDEOS,
    assert_same,
    change_csd,
    load,
    mmsa,
    read_csd,
    write_csd,
    write_pickle,
    write_release,
    write_timed,
)

VIDEO = "tmZoasNr4rU"  # of the test part

pytestmark = pytest.mark.usefixtures("no_child")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A made-up folder of computational sequences that no test changes."""
    return write_release(tmp_path_factory.mktemp("mosi"))


@pytest.fixture
def release(tmp_path):
    """One to be changed."""
    return write_release(tmp_path / "mosi")


# ------------------------------------------------------------------- computational sequences


def test_every_field_is_what_was_written(whole):
    corpus, messages = load(whole.root)
    assert messages == [
        f"{whole.root.name}: left out: without words: 6 (03bSnISJMiM[2], "
        "0h-zjBukYpk[2], 1DmNV9C1hbY[2], WKA5OygbEKI[2], tmZoasNr4rU[2], ...); "
        "the others are read"
    ]
    assert [u.id for u in corpus.utterances] == [s.id for s in whole.spoken]
    for u, segment in zip(corpus.utterances, whole.spoken, strict=True):
        assert (u.speaker, u.session) == (segment.video, segment.video)
        assert u.sentiment == pytest.approx(segment.sentiment) and u.emotion is None
        assert u.text == " ".join(text for text, _, _ in segment.words)
        assert [tuple(word) for word in u.words] == segment.words
        assert (u.waveform, u.rate, u.frames) == (None, None, None)


def test_rows_of_sound_and_face_are_those_of_the_segment(whole):
    corpus, _ = load(whole.root)
    for u, segment in zip(corpus.utterances, whole.spoken, strict=True):
        for kind in ("audio", "vision"):
            rows, times = read_csd(whole.file(kind))[segment.video]
            middles = times.mean(axis=1)
            inside = (segment.start <= middles) & (middles < segment.end)
            found, at = getattr(u, kind), getattr(u, f"{kind}_times")
            assert found.dtype == np.float32 and at.dtype == np.float64 and len(at) > 3
            np.testing.assert_array_equal(found, rows[inside])
            np.testing.assert_array_equal(at, middles[inside] - segment.start)
        assert len(average_by_word(u.audio, u.audio_times, u.words)) == len(u.words)


def test_each_word_has_its_vector(whole):
    corpus, _ = load(whole.root)
    for u, segment in zip(corpus.utterances, whole.spoken, strict=True):
        rows, times = read_csd(whole.file("vectors"))[segment.video]
        row = {start: vector for (start, _), vector in zip(times, rows, strict=True)}
        expected = [row[segment.start + start] for _, start, _ in segment.words]
        np.testing.assert_array_equal(u.vectors, np.array(expected, "f4"))


def test_the_corpus_has_the_standard_split_and_says_what_it_is(whole):
    corpus, _ = load(whole.root)
    assert (corpus.name, corpus.vision_names) == ("mosi", ("smile", "frown"))
    for part, rows in corpus.splits(0)._asdict().items():
        assert {corpus.utterances[i].speaker for i in rows} == set(VIDEOS[part])
    counts = {"train": 9, "dev": 3, "test": 6}
    assert (corpus.extras["counts"], corpus.extras["repaired"]) == (counts, {})
    assert corpus.arguments == ["--data", "mosi", "--root", "DIR"]


def test_files_that_are_not_there_leave_their_fields_none(release):
    for kind in ("audio", "vision", "vectors"):
        release.file(kind).unlink()
    for u in load(release.root)[0].utterances:
        assert u.audio is u.audio_times is u.vision is u.vision_times is u.vectors is None
        assert u.words


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("vision", "CMU_MOSEI_VisualOpenFace2.csd"),
        ("labels", "Opinion Segment.csd"),
        ("words", "WORDS.csd"),
        ("labels", "All Labels.csd"),  # as the SDK calls its sequences
        ("vectors", "glove_vectors.csd"),
        ("audio", "COAVAREP.csd"),
        ("audio", "OpenSmile-emobase2010.csd"),
        ("vision", "FACET 4.2.csd"),
        ("vision", "OpenFace_2.csd"),
    ],
)
def test_files_are_known_by_parts_of_their_names(whole, release, kind, name):
    release.file(kind).rename(release.root / name)
    (release.root / f"._{name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    assert_same(load(release.root)[0], load(whole.root)[0])


def test_a_file_that_nothing_reads_is_named(release):
    (release.root / "CMU_MOSI_TimestampedPhones.csd").write_bytes(b"not read")
    _, messages = load(release.root)
    (told,) = [m for m in messages if "not read" in m]
    assert ".csd file that is not read: 1 (CMU_MOSI_TimestampedPhones.csd); names" in told


def test_vectors_stand_for_words_where_there_are_no_words(whole, release):
    """As in the SDK's aligned files, which have neither words nor a text."""
    release.file("words").unlink()
    corpus, messages = load(release.root)
    assert any("vectors without a file of words: 1 (CMU_MOSI_Timest" in m for m in messages)
    for u, v in zip(corpus.utterances, load(whole.root)[0].utterances, strict=True):
        assert u.text is None and {w.text for w in u.words} == {"?"}
        assert [w[1:] for w in u.words] == [w[1:] for w in v.words]
        for field in ("vectors", "audio", "audio_times", "vision", "vision_times"):
            np.testing.assert_array_equal(getattr(u, field), getattr(v, field))
    features = extract(corpus, parts=("words", "audio", "vision"), progress=False)
    assert [len(x) for x in features.audio] == [len(u.words) for u in corpus.utterances]
    with pytest.raises(DataError, match="has no text, which 'words' needs"):
        extract(corpus, "bert", parts=("words",), progress=False)


def test_the_report_tells_what_was_found_and_how_wide(release):
    release.file("vision").unlink()
    told = report(load(release.root)[0]).splitlines()
    assert "text: 18 of 18 utterances" in told
    assert "vectors: 18 of 18 utterances, 4 columns" in told
    assert "audio: 18 of 18 utterances, 3 columns" in told
    assert "vision: none of 18 utterances" in told


def test_an_id_of_another_width_is_left_out_and_told(release):
    rows, times = read_csd(release.file("audio"))[VIDEO]
    change_csd(release.file("audio"), VIDEO, rows[:, :2], times)
    corpus, messages = load(release.root)
    assert corpus.extras["left_out"]["without audio"] == 3
    assert any(f"({VIDEO}: 2 columns, the first id has 3); left out" in m for m in messages)


def test_words_that_reach_out_of_a_segment_are_cut_and_belong_to_their_middle(release):
    video = release.segments[0].video
    change_csd(
        release.file("labels"),
        video,
        intervals=np.array([[1.5, 3.5625], [3.6875, 4.75], [4.75, 5.0], [5.0, 7.5]], "f4"),
    )
    one, two = load(release.root)[0].utterances[:2]
    assert [word.text for word in one.words] == ["oh", "this", "movie", "isnt", "really", "great"]
    assert one.words[-1][1:] == (1.75, 2.0)  # um begins at 3.5, its middle lies between the two
    assert two.words[0] == ("2011s", 0.0625, 0.3125)
    change_csd(
        release.file("labels"),
        video,
        intervals=np.array([[1.5, 3.6875], [3.6875, 4.75], [4.75, 5.0], [5.0, 7.5]], "f4"),
    )
    assert load(release.root)[0].utterances[0].words[-1] == ("um", 2.0, 2.1875)


def test_sequences_aligned_to_labels_are_read_alike(whole, release):
    """What the SDK deploys after aligning to the labels: every id is ``video[i]``."""
    for kind in FILES:
        entries = {}
        for segment in release.segments:
            rows, times = read_csd(release.file(kind))[segment.video]
            middles = times.mean(axis=1)
            inside = (segment.start <= middles) & (middles < segment.end)
            if kind == "labels":
                inside = np.arange(len(rows)) == int(segment.id[-2])
            if inside.any():
                entries[segment.id] = rows[inside], times[inside]
        metadata = {"dimension names": '["smile", "frown"]'} if kind == "vision" else None
        write_csd(release.file(kind), entries, metadata=metadata)
    assert_same(load(release.root)[0], load(whole.root)[0])


def test_the_first_of_seven_columns_is_the_sentiment(whole, release):
    labels = read_csd(release.file("labels"))
    sevens = {v: (np.concatenate([y, np.full((4, 6), 9)], 1), t) for v, (y, t) in labels.items()}
    write_csd(release.file("labels"), sevens)
    assert_same(load(release.root)[0], load(whole.root)[0])


# ------------------------------------------------------------------------ words too early


def test_words_that_stand_one_row_too_early_are_moved_and_told(tmp_path):
    said = write_timed(tmp_path / "early", early=True)
    corpus, (message,) = load(tmp_path / "early")
    n = corpus.extras["repaired"]["words.csd: words one row too early"]
    assert n > 1000
    assert f"words one row too early: 1 (words.csd, {n} words); each has the interval" in message
    for u in corpus.utterances:
        assert u.text.split() == said[u.speaker]
        assert all(w.end - w.start == len(w.text) * 0.0625 for w in u.words)


def test_words_that_stand_where_they_should_stay(tmp_path):
    said = write_timed(tmp_path / "right", early=False)
    corpus, messages = load(tmp_path / "right")
    assert messages == [] and {u.speaker: u.text.split() for u in corpus.utterances} == said
    write_timed(tmp_path / "early", early=True)
    assert_same(corpus, load(tmp_path / "early")[0])


def test_such_words_that_are_aligned_to_labels_already_are_kept_and_told(tmp_path):
    write_timed(tmp_path, early=True)
    for name in ("words.csd", "labels.csd"):
        entries = read_csd(tmp_path / name)
        write_csd(tmp_path / name, {f"{video}[0]": rows for video, rows in entries.items()})
    corpus, (message,) = load(tmp_path)
    assert corpus.extras["repaired"] == {}
    assert "words one row too early: 1 (words.csd, " in message and "; kept, since" in message


def test_such_words_stay_as_they_are_written_if_one_asks(tmp_path):
    write_timed(tmp_path, early=True)
    moved, _ = load(tmp_path)
    with pytest.warns(UserWarning) as caught:
        corpus = corpora.load("mosi", tmp_path, as_written=True)
    assert any("; kept as written, as you ask" in str(w.message) for w in caught)
    assert corpus.extras["repaired"] == {} and corpus.key != moved.key
    assert corpus.arguments == [*moved.arguments, "--as-written"]
    rows = read_csd(tmp_path / "words.csd")
    for u in corpus.utterances:  # the intervals are those of rows 100 to 199, the words not
        assert u.text.split() == [w.decode() for w in rows[u.speaker][0][99:199, 0] if w != b"sp"]


def test_as_written_is_for_mosi_and_mosei_alone():
    for name in ("demo", "iemocap", "table.csv"):
        with pytest.raises(DataError, match=r"as_written .* is for mosi and mosei"):
            corpora.load(name, as_written=True)


def test_vectors_with_the_intervals_of_such_words_move_with_them(tmp_path):
    write_timed(tmp_path, early=True)
    words = read_csd(tmp_path / "words.csd")
    length = {v: np.array([[len(w)] for w in rows[:, 0]], "f4") for v, (rows, _) in words.items()}
    write_csd(tmp_path / "wordvectors.csd", {v: (length[v], words[v][1]) for v in words})
    for u in load(tmp_path)[0].utterances:
        assert u.vectors[:, 0].tolist() == [len(word.text) for word in u.words]


# ------------------------------------------------------------------------------------ key


def test_the_key_tells_of_content_alone(whole, release, tmp_path):
    key = load(whole.root)[0].key
    assert load(release.root)[0].key == key
    release.file("audio").rename(release.root / "covarep.csd")
    assert load(release.root)[0].key == key
    changes = {"labels": (4, 1), "vision": (36, 2)}
    for kind, shape in changes.items():
        changed = tmp_path / kind
        shutil.copytree(whole.root, changed)
        change_csd(changed / FILES[kind], "tmZoasNr4rU", np.full(shape, 0.2, "f4"))
        assert load(changed)[0].key != key


# --------------------------------------------------------------------------------- counts


def test_other_counts_than_the_published_are_told_with_both(whole):
    expected = (
        r"mosi: found train 9, dev 3, test 6 \(18 in all\), left out 6 without words; publi.*"
    )
    expected += r"are train 1284, dev 229, test 686 \(2199 in all\)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mosi.load(whole.root, "mosi", progress=False)
    assert re.search(expected, str(caught[-1].message))
    assert {w.filename for w in caught} == {__file__}


def test_the_standard_folds_are_those_of_the_sdk():
    counts = {name: Counter(standard_folds(name).values()) for name in mosi.COUNTS}
    assert counts == {
        "mosi": {"train": 52, "dev": 10, "test": 31},
        "mosei": {"train": 2249, "dev": 300, "test": 678},
    }
    assert all(standard_folds("mosi")[video] == part for video, part in PART.items())
    assert not standard_folds("mosi").keys() & standard_folds("mosei").keys()


# ------------------------------------------------------------------------------- real MOSI


@pytest.mark.skipif("MMER_MOSI" not in os.environ, reason="MMER_MOSI names MOSI's .csd files")
def test_the_real_mosi_has_its_counts_and_words():
    with pytest.warns(UserWarning, match=r"2WGyTLYerpo\[43\], VCslbP0mgZI\[0\]"):
        corpus = mosi.load(os.environ["MMER_MOSI"], "mosi", progress=False)
    assert corpus.extras["left_out"] == {"without words": 2}
    assert corpus.extras["counts"] == {"train": 1282, "dev": 229, "test": 686}
    early = "CMU_MOSI_ModifiedTimestampedWords.csd: words one row too early"
    assert corpus.extras["repaired"] == {early: 42691}
    assert {u.speaker for u in corpus.utterances} == set(standard_folds("mosi"))
    first, second = corpus.utterances[:2]
    assert (first.id, first.text) == ("03bSnISJMiM[0]", "anyhow it was really good")
    assert first.sentiment == pytest.approx(2.4) and second.text.endswith("prepared")
    words = [word for u in corpus.utterances for word in u.words]
    assert len(words) == 27649 and all(0 <= w.start <= w.end for w in words)


# --------------------------------------------------------------------------- where it lies


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder or file; name a folder with the .csd files"),
        ("empty", "holds neither .csd files nor MISA's pickles; name a folder"),
        ("words.csd", "one .csd file is not a corpus; name the folder"),
        ("mosi.zip", "damaged, truncated or of another format"),
        ("mosi.safetensors", "damaged, or not made by mosi.convert; convert the pickle again"),
        ("other", "holds no part; expected a pickle of MMSA"),
    ],
)
def test_what_is_no_corpus_is_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    write_pickle(tmp_path / "other" / "aligned_50.pkl", mmsa())
    for file in ("words.csd", "mosi.zip", "mosi.safetensors"):
        (tmp_path / file).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        mosi.load(tmp_path / name, "mosi")


def test_the_folds_of_the_other_corpus_leave_nothing(release):
    message = r"no utterance in train and dev and test; take whole files\n"
    message += r"mosi: left out: video in no standard fold: 6 \(03bSnISJMiM"
    with pytest.raises(DataError, match=message):
        mosi.load(release.root, "mosei", progress=False)


# ------------------------------------------------------------------- computational sequences


@pytest.mark.parametrize("kind", ["labels", "words"])
def test_a_folder_without_labels_or_words_is_refused(release, kind):
    release.file(kind).unlink()
    release.file("vectors").unlink()
    with pytest.raises(DataError, match=rf"no \.csd file of {kind} among .*known hold: labels or"):
        mosi.load(release.root, "mosi")


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        ("vision", "CMU_MOSI_Visual_OpenFace_2.csd"),
        ("words", "CMU_MOSI_ModifiedTimestampedWords.csd"),
        ("audio", "CMU_MOSI_openSMILE_IS09.csd"),
    ],
)
def test_two_files_of_a_kind_are_refused_with_both_names(release, kind, second):
    shutil.copy(release.file(kind), release.root / second)
    with pytest.raises(DataError, match=f"2 files of {kind}.*") as caught:
        mosi.load(release.root, "mosi")
    assert second in str(caught.value) and FILES[kind] in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_refused_by_name(release, kind):
    whole = release.file(kind).read_bytes()
    release.file(kind).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{FILES[kind]}: .*download it again"):
        mosi.load(release.root, "mosi", progress=False)


@pytest.mark.parametrize(
    ("kind", "other", "found"),
    [("words", "audio", "numbers"), ("audio", "words", "texts"), ("labels", "words", "texts")],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(release, kind, other, found):
    shutil.copy(release.file(other), release.file(kind))
    message = rf"{FILES[kind]}: \S+: the features are {found}; its name says otherwise"
    with pytest.raises(DataError, match=message):
        mosi.load(release.root, "mosi", progress=False)


@pytest.mark.parametrize("kind", ["words", "vectors", "audio", "vision"])
def test_segments_that_a_file_says_nothing_of_are_left_out_and_counted(release, kind):
    entries = read_csd(release.file(kind))
    del entries[VIDEO]
    write_csd(release.file(kind), entries)
    corpus, messages = load(release.root)
    reason = f"without {kind}"
    assert corpus.extras["counts"] == {"train": 9, "dev": 3, "test": 3}
    assert corpus.extras["left_out"][reason] == 3 + (kind == "words") * 6
    assert (
        any(f"left out: {reason}" in m and f"{VIDEO}[0]" in m for m in messages) or kind == "words"
    )


def test_a_damaged_id_is_left_out_and_told_and_the_others_are_read(release):
    for kind, left_out in (("audio", {"without audio": 3}), ("labels", {"damaged labels": 1})):
        whole = release.file(kind).read_bytes()
        entries = read_csd(release.file(kind))
        entries[VIDEO] = entries[VIDEO][0], None
        write_csd(release.file(kind), entries)
        corpus, messages = load(release.root)
        assert corpus.extras["counts"] == {"train": 9, "dev": 3, "test": 3}
        assert left_out.items() <= corpus.extras["left_out"].items()
        told = f"damaged in {FILES[kind]}: 1 ({VIDEO}: 'intervals' is missing)"
        assert any(told in message for message in messages)
        release.file(kind).write_bytes(whole)


def test_words_without_a_vector_get_zeros_and_are_told(release):
    rows, times = read_csd(release.file("vectors"))[VIDEO]
    change_csd(release.file("vectors"), VIDEO, rows[1:], times[1:])
    corpus, messages = load(release.root)
    first = next(u for u in corpus.utterances if u.speaker == VIDEO)
    assert not first.vectors[0].any() and first.vectors[1:].any(axis=1).all()
    assert any(f"words that have no vector: 1 ({VIDEO}[0]); zeros for these" in m for m in messages)


@pytest.mark.parametrize("kind", ["audio", "vision", "vectors"])
def test_values_that_are_not_finite_are_counted_told_once_and_zero(release, kind):
    before, _ = load(release.root)
    rows, times = read_csd(release.file(kind))[VIDEO]
    broken, at = rows.astype("f8"), np.flatnonzero((times[:, 0] >= 5) & (times[:, 1] < 7))[:4]
    broken[at, 0] = np.nan, np.inf, -np.inf, 1e300
    change_csd(release.file(kind), VIDEO, broken, times)
    corpus, messages = load(release.root)
    assert corpus.extras["repaired"] == {FILES[kind]: 4}
    (told,) = [m for m in messages if "NaN" in m]
    assert f"{FILES[kind]}: values NaN or infinite, in utterances: 1 ({VIDEO}[3]); repl" in told
    for one, two in zip(before.utterances, corpus.utterances, strict=True):
        old, new = getattr(one, kind), getattr(two, kind)
        changed = old != new
        assert changed.sum() == (4 if two.id == f"{VIDEO}[3]" else 0)
        assert not changed[:, 1:].any() and not new[changed].any()


def test_labels_that_are_not_numbers_leave_their_segment_out(release):
    labels, times = read_csd(release.file("labels"))[VIDEO]
    labels[0] = np.nan
    change_csd(release.file("labels"), VIDEO, labels, times)
    corpus, messages = load(release.root)
    assert corpus.extras["left_out"]["without label"] == 1 and len(corpus.utterances) == 17
    assert any(f"without label: 1 ({VIDEO}[0])" in m for m in messages)


def test_videos_in_no_fold_are_left_out_and_counted(release):
    for kind in FILES:
        entries = read_csd(release.file(kind))
        entries["a_video_more"] = entries[VIDEO]
        write_csd(release.file(kind), entries)
    corpus, messages = load(release.root)
    assert len(corpus.utterances) == 18
    assert corpus.extras["left_out"]["video in no standard fold"] == 4
    assert any("video in no standard fold: 1 (a_video_more)" in m for m in messages)


def labels_with(release, value):
    labels, times = read_csd(release.file("labels"))[VIDEO]
    labels[1] = value
    change_csd(release.file("labels"), VIDEO, labels, times)


def without_dev(release):
    labels = read_csd(release.file("labels"))
    write_csd(release.file("labels"), {v: labels[v] for v in labels if PART[v] != "dev"})


def aligned_twice(release):
    labels = {f"{v}[0]": rows for v, rows in read_csd(release.file("labels")).items()}
    write_csd(release.file("labels"), labels)


def overlapping(release):
    """Each segment would have a copy of all rows."""
    labels, times = np.ones((3000, 1), "f4"), np.tile([0.0, 9.0], (3000, 1))
    change_csd(release.file("labels"), VIDEO, labels, times)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda release: labels_with(release, 3.01), rf"{VIDEO}\[1\]: sentiment 3.01"),
        (lambda release: labels_with(release, np.inf), rf"{VIDEO}\[1\]: sentiment inf"),
        (without_dev, "mosi: no utterance in dev"),
        (aligned_twice, r"03bSnISJMiM\[0\]: 4 labels"),
        (overlapping, rf"{VIDEO}: segments overlap"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(release, damage, words):
    damage(release)
    with pytest.raises(DataError, match=words):
        mosi.load(release.root, "mosi", progress=False)
