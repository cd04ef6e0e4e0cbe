"""MOSI and MOSEI from pickles of MMSA and MISA, and the safe file that they are converted to."""

import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.mosi.load import convert
from mmer_lib.corpora.mosi.reading import Reading
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import assert_same, load, misa, mmsa, write_pickle

pytestmark = pytest.mark.usefixtures("no_child")

COUNTS = {"train": 9, "dev": 3, "test": 6}


# ----------------------------------------------------------------------------------- MMSA


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("aligned", [True, False])
def test_pickles_of_mmsa_lose_their_padding(tmp_path, aligned, protocol):
    content = mmsa(aligned)
    corpus, messages = load(write_pickle(tmp_path / "mosi.pkl", content, protocol))
    assert messages == [] and corpus.extras["counts"] == COUNTS
    utterances = iter(corpus.utterances)
    for rows in content.values():
        lengths = {
            name: rows["text_bert"][:, 1].sum(axis=1).astype(int)
            for name in ("text", "audio", "vision")
        }
        if not aligned:
            lengths |= {name: rows[f"{name}_lengths"] for name in ("audio", "vision")}
        for i, id in enumerate(rows["id"]):
            u = next(utterances)
            assert (u.id, u.text) == (id, rows["raw_text"][i])
            assert u.speaker == u.session == id.partition("$_$")[0]
            assert u.sentiment == rows["regression_labels"][i]
            assert u.words is u.audio_times is u.vision_times is None
            for name, field in (("text", "vectors"), ("audio", "audio"), ("vision", "vision")):
                found, n = getattr(u, field), lengths[name][i]
                assert found.dtype == np.float32 and found.flags.writeable
                np.testing.assert_array_equal(found, rows[name][i, :n])


def test_texts_may_be_lists_and_labels_too_and_doubles_become_floats(tmp_path):
    content, other = mmsa(), mmsa()
    for part in other.values():
        part["raw_text"] = part["raw_text"].tolist()
        part["regression_labels"] = part["regression_labels"].tolist()
        part["id"] = np.array(part["id"], object)
        part["audio"] = part["audio"].astype("f8")
    one, _ = load(write_pickle(tmp_path / "one.pkl", content))
    two, _ = load(write_pickle(tmp_path / "two.pkl", other))
    assert_same(one, two)
    assert one.key == two.key


# ----------------------------------------------------------------------------------- MISA


def expected_of_misa(content):
    for part in ("train", "dev", "test"):
        for (_, vision, audio, words), label, id in content[part]:
            yield part, id, vision, audio, words, float(label[0, 0])


@pytest.mark.parametrize("columns", [1, 7])
@pytest.mark.parametrize("folder", [True, False])
def test_pickles_of_misa_are_read(tmp_path, folder, columns):
    content, path = misa(columns), tmp_path / "misa.pkl"
    if folder:
        path = tmp_path / "misa"
        for part in content:
            write_pickle(path / f"{part}.pkl", content[part])
    else:
        write_pickle(path, content)
    corpus, messages = load(path)
    assert messages == [] and corpus.extras["counts"] == {"train": 6, "dev": 2, "test": 4}
    for u, (_, id, vision, audio, words, label) in zip(
        corpus.utterances, expected_of_misa(content), strict=True
    ):
        assert (u.id, u.speaker, u.text) == (id, id.partition("[")[0], " ".join(words))
        assert u.sentiment == label and u.vectors is None and u.words is None
        np.testing.assert_array_equal(u.vision, vision.astype("f4"))
        np.testing.assert_array_equal(u.audio, audio.astype("f4"))


def test_words_of_misa_may_be_written_out_and_the_part_called_valid(tmp_path):
    content = misa()
    written = {
        "valid" if part == "dev" else part: [
            ((item[0][3], *item[0][1:3]), *item[1:]) for item in items
        ]
        for part, items in content.items()
    }
    one, _ = load(write_pickle(tmp_path / "one.pkl", content))
    two, _ = load(write_pickle(tmp_path / "two.pkl", written))
    assert_same(one, two)


def test_pauses_are_no_words_of_misa_either(tmp_path):
    content = misa()
    (indices, vision, audio, words), label, id = content["test"][0]
    content["test"][0] = (indices, vision, audio, ["sp", *words, "", "sp"]), label, id
    (indices, vision, audio, words), label, id = content["test"][1]
    content["test"][1] = (indices, vision, audio, ["sp"]), label, id
    corpus, (message,) = load(write_pickle(tmp_path / "mosi.pkl", content))
    assert "sp" not in " ".join(u.text for u in corpus.utterances).split()
    assert corpus.extras["left_out"] == {"without words": 1} and id in message


@pytest.mark.parametrize("value", [0x7FF0000000000001, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000])
def test_what_float32_cannot_hold_counts_as_mended_without_a_warning_of_numpy(value):
    """A NaN that signals, the largest double, infinity."""
    rows = np.array([[0, value]], np.uint64).view(np.float64)
    reading = Reading("a.pkl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reading.repair(rows, "audio", "v[0]").tolist() == [[0, 0]]
    assert reading.repaired == {"audio": 1}


# -------------------------------------------------------------------------------- convert


@pytest.mark.parametrize("make", [mmsa, lambda: mmsa(aligned=False), misa])
def test_a_converted_pickle_is_the_same_corpus(tmp_path, make):
    source, target = (
        write_pickle(tmp_path / "mosi.pkl", make()),
        tmp_path / "a" / "mosi.safetensors",
    )
    convert(source, target)
    one, two = load(source)[0], load(target)[0]
    assert_same(one, two)
    assert one.key == two.key and two.extras["root"] == str(target)
    assert {**one.extras, "root": ""} == {**two.extras, "root": ""}
    assert os.listdir(target.parent) == ["mosi.safetensors"]


def test_what_was_mended_is_told_once_and_its_count_kept(tmp_path):
    content = mmsa()
    content["train"]["audio"][0, 0, :2] = np.nan, -np.inf
    source, target = write_pickle(tmp_path / "mosi.pkl", content), tmp_path / "mosi.safetensors"
    with pytest.warns(UserWarning, match="audio: 2 values NaN or infinite, in utterances: 1"):
        convert(source, target)
    corpus, messages = load(target)
    assert corpus.extras["repaired"] == {"audio": 2} and messages == []
    assert_same(corpus, load(source)[0])


def test_a_file_that_is_there_is_never_lost(tmp_path):
    source, target = write_pickle(tmp_path / "mosi.pkl", mmsa()), tmp_path / "mosi.safetensors"
    convert(source, target)
    written = target.read_bytes()
    stamp = target.stat().st_mtime_ns
    convert(source, target)  # the same again
    assert target.stat().st_mtime_ns == stamp
    for other in (mmsa(seed=1), misa()):
        with pytest.raises(DataError, match="is there with other content"):
            convert(write_pickle(tmp_path / "other.pkl", other), target)
    assert target.read_bytes() == written
    target.write_bytes(b"something else")
    with pytest.raises(DataError, match="is there with other content"):
        convert(source, target)
    assert target.read_bytes() == b"something else"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_lengths_texts_and_labels_survive_conversion(tmp_path, data):
    content, words = misa(), st.lists(st.text(min_size=1), min_size=1, max_size=4)
    for items in content.values():
        for i, (_, _, id) in enumerate(items):
            a, v, label = data.draw(
                st.tuples(st.integers(1, 5), st.integers(1, 5), st.floats(-3, 3))
            )
            texts = ["x", *data.draw(words)]
            rows = np.full((v, 2), label), np.full((a, 3), -label)
            items[i] = (([0], *rows, texts), np.array([[label]]), id)
    source, target = write_pickle(tmp_path / "mosi.pkl", content), tmp_path / "mosi.safetensors"
    target.unlink(missing_ok=True)
    convert(source, target)
    one, two = load(source)[0], load(target)[0]
    assert_same(one, two)
    assert one.key == two.key


def test_the_key_tells_the_corpus_and_the_split(tmp_path):
    content = mmsa()
    one, _ = load(write_pickle(tmp_path / "one.pkl", content))
    mosei, _ = load(tmp_path / "one.pkl", "mosei")
    other, _ = load(
        write_pickle(
            tmp_path / "two.pkl", {**content, "valid": content["test"], "test": content["valid"]}
        )
    )
    assert len({one.key, mosei.key, other.key}) == 3
