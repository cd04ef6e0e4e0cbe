"""The reader of MOSI and MOSEI on files that are damaged, incomplete or not what they seem."""

import shutil

import numpy as np
import pytest

from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import (
    FILES,
    PART,
    change_csd,
    load,
    mmsa,
    read_csd,
    write_csd,
    write_pickle,
    write_release,
)

pytestmark = pytest.mark.usefixtures("no_child")

VIDEO = "tmZoasNr4rU"  # of the test part


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "mosi")


# --------------------------------------------------------------------------- where it lies


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder or file; name a folder with the .csd files"),
        ("empty", "holds neither .csd files nor MISA's pickles; name a folder"),
        ("words.csd", "one .csd file is not a corpus; name the folder"),
        ("mosi.zip", "a zip file, or one that torch saved, unpack it"),
        ("mosi.safetensors", "damaged, or not made by mosi.convert; convert the pickle again"),
        ("other", r"0 files train.pkl, expected one; name a single pickle itself"),
    ],
)
def test_what_is_no_corpus_is_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    write_pickle(tmp_path / "other" / "aligned_50.pkl", mmsa())
    for file in ("words.csd", "mosi.zip", "mosi.safetensors"):
        (tmp_path / file).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        mosi.load(tmp_path / name, "mosi")


def test_another_name_is_refused(release):
    with pytest.raises(DataError, match="unknown corpus 'mosy'; known: mosi, mosei"):
        mosi.load(release.root, "mosy")


def test_the_folds_of_the_other_corpus_leave_nothing(release):
    message = r"no utterance in train and dev and test; take whole files\n"
    message += r"mosi: left out: video in no standard fold: 6 \(03bSnISJMiM"
    with pytest.raises(DataError, match=message):
        mosi.load(release.root, "mosei", progress=False)


# ------------------------------------------------------------------- computational sequences


@pytest.mark.parametrize("kind", ["labels", "words"])
def test_a_folder_without_labels_or_words_is_refused(release, kind):
    release.file(kind).unlink()
    with pytest.raises(DataError, match=rf"mosi: no \.csd file of {kind}"):
        mosi.load(release.root, "mosi")


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        ("vision", "CMU_MOSI_Visual_OpenFace_2.csd"),
        ("words", "CMU_MOSI_ModifiedTimestampedWords.csd"),
        ("labels", "CMU_MOSEI_LabelsEmotions.csd"),
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


def test_rows_that_end_before_the_segment_leave_it_out(release):
    rows, times = read_csd(release.file("audio"))[VIDEO]
    change_csd(release.file("audio"), VIDEO, rows[:24], times[:24])  # 3 s
    corpus, messages = load(release.root)
    assert corpus.extras["left_out"]["without audio"] == 2
    assert any(f"without audio: 2 ({VIDEO}[1], {VIDEO}[3])" in m for m in messages)


def test_words_without_a_vector_get_zeros_and_are_told(release):
    rows, times = read_csd(release.file("vectors"))[VIDEO]
    change_csd(release.file("vectors"), VIDEO, rows[1:], times[1:])
    corpus, messages = load(release.root)
    first = next(u for u in corpus.utterances if u.speaker == VIDEO)
    assert not first.vectors[0].any() and first.vectors[1:].any(axis=1).all()
    assert any(f"words that have no vector: 1 ({VIDEO}[0]); zeros for these" in m for m in messages)


def test_a_segment_without_duration_has_no_words(release):
    change_csd(
        release.file("labels"),
        VIDEO,
        intervals=np.array([[1.5, 1.5], [3.5, 4.75], [4.75, 5.0], [5.0, 7.5]], "f4"),
    )
    corpus, _ = load(release.root)
    assert corpus.extras["left_out"] == {"without words": 7}


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
    assert f"{FILES[kind]}: 4 values NaN or infinite, in utterances: 1 ({VIDEO}[3]); repl" in told
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
        (lambda release: labels_with(release, -4), rf"{VIDEO}\[1\]: sentiment -4"),
        (lambda release: labels_with(release, np.inf), rf"{VIDEO}\[1\]: sentiment inf"),
        (without_dev, "mosi: no utterance in dev"),
        (aligned_twice, r"03bSnISJMiM\[0\]: 4 labels"),
        (overlapping, rf"{VIDEO}\[\d+\]: segments overlap"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(release, damage, words):
    damage(release)
    with pytest.raises(DataError, match=words):
        mosi.load(release.root, "mosi", progress=False)
