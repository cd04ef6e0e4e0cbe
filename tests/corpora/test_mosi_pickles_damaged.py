"""Pickles of MMSA and MISA, and safe files, that are damaged or not what they should be."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.load import convert
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import load, misa, mmsa, write_pickle, write_release

pytestmark = pytest.mark.usefixtures("no_child")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mosi.pkl"


def refused(path, content, message):
    with pytest.raises(DataError, match=message):
        load(write_pickle(path, content))


# ----------------------------------------------------------------------------------- MMSA


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("id", None, "'id' is missing"),
        ("audio", None, "'audio' is missing"),
        ("regression_labels", None, "'regression_labels' is missing"),
        ("raw_text", ["a"], "'raw_text' has 1 items and 'id' 6; take a whole file"),
        ("raw_text", "abcdef", "'raw_text' is a str"),
        ("raw_text", [1] * 6, "raw_text is a int, expected a text"),
        ("id", [["a"]] * 6, "id is a list, expected a text"),
        ("audio", np.zeros((5, 6, 3)), "'audio' has 5 items"),
        ("audio", np.zeros((6, 3)), r"'audio' of shape \(6, 3\), expected \(N, L, D\) with N 6"),
        ("audio", np.zeros((6, 9, 3)), "'audio' has 9 rows and the mask of text_bert 6, without"),
        ("audio", np.zeros((6, 6, 4)), "audio of width 4, before it 3"),
        ("audio", [np.zeros((6, 3))] * 6, "'audio' of shape of a list"),
        ("vision", np.full((6, 6, 2), "a"), "'vision' of shape of a list, expected"),
        ("text_bert", np.zeros((6, 2, 6)), r"'text_bert' of shape .*, expected \(N, 3, L\)"),
        ("regression_labels", ["good"] * 6, "regression_labels: not numbers"),
        ("regression_labels", [[1], [1, 2]] * 3, "regression_labels: not numbers"),
        ("regression_labels", np.full(6, 4.0), "sentiment 4 is not in"),
        ("audio_lengths", [3, -1, 3, 3, 3, 3], "audio_lengths that are negative or NaN"),
    ],
)
def test_fields_of_mmsa_that_do_not_fit_are_refused_by_name(path, field, value, message):
    content = mmsa()
    content["test"][field] = value
    if value is None:
        del content["test"][field]
    refused(path, content, rf"mosi.pkl(: test)?: .*{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a pickle of MMSA or MISA"),
        ({}, "holds a dict with nothing; expected"),
        ({"train": {}, "test": {}}, "holds a dict with train, test; expected"),
        ({"train": [], "dev": [], "valid": [], "test": []}, "holds a dict with train, dev, valid"),
        ({"train": 1, "dev": 1, "test": 1}, "train: a int; expected"),
        ({"train": [], "dev": [], "test": []}, "no utterance in train and dev and test"),
        ({1: {}, b"x": {}}, "holds a dict with 1, x; expected"),
    ],
)
def test_pickles_of_another_format_are_refused(path, content, message):
    refused(path, content, rf"mosi.pkl: {message}")


def noise_behind(content):
    part = content["test"]
    row = int(np.flatnonzero(part["text_bert"][:, 1].sum(axis=1) < 6)[0])
    part["audio"][row, 5] = 1, np.nan, 0


def too_long(content):
    content["test"]["audio_lengths"] = [500, *[3] * 5]


def id_twice(content):
    content["test"]["id"][1] = content["test"]["id"][0]


def leak(content):
    content["test"]["id"][0] = "03bSnISJMiM$_$99"


def swapped(content):
    content["valid"], content["test"] = content["test"], content["valid"]


def unknown_video(content):
    content["train"]["id"][0] = "a_video$_$1"


def no_video(content):
    content["test"]["id"][0] = "tmZoasNr4rU_1"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (noise_behind, "audio: rows behind the utterance's length that are not 0: 1"),
        (too_long, "audio_lengths: more than the 6 rows that are there: 1"),
        (id_twice, "left out: an id that is there already: 1"),
        (leak, r"video in more than one part of the split: 1 \(03bSnISJMiM\)"),
        (swapped, "video in another part than the standard one: 3"),
        (unknown_video, r"video in no standard fold: 1 \(a_video\)"),
        (no_video, r"id that names no video: 1 \(tmZoasNr4rU_1\)"),
    ],
)
def test_what_is_odd_is_told(path, change, problem):
    content = mmsa()
    change(content)
    corpus, messages = load(write_pickle(path, content))
    assert any(re.search(problem, message) for message in messages)
    assert corpus.extras["repaired"] == {}
    assert len(corpus.utterances) == 18 - (change is id_twice)


def test_utterances_without_rows_text_or_label_are_left_out(path):
    content = mmsa(aligned=False)
    part = content["train"]
    part["audio_lengths"][0] = 0
    part["text_bert"][1] = 0
    part["raw_text"] = [*part["raw_text"][:2].tolist(), "", " ", *part["raw_text"][4:].tolist()]
    part["regression_labels"][5] = np.nan
    corpus, _ = load(write_pickle(path, content))
    assert corpus.extras["left_out"] == {
        "without rows of a modality": 2,
        "without words": 2,
        "without label": 1,
    }
    assert corpus.extras["counts"]["train"] == 4


@pytest.mark.parametrize("without", ["train", "test"])
def test_parts_with_and_without_vectors_are_refused(path, without):
    """Nothing that some utterances have is dropped."""
    content = mmsa()
    del content[without]["text"]
    refused(path, content, r"vectors of width .*None.*one set of features")
    with pytest.raises(DataError, match="one set of features"):
        convert(path, path.with_suffix(".safetensors"))
    assert not path.with_suffix(".safetensors").exists()


# ----------------------------------------------------------------------------------- MISA


def item(vision=None, audio=None, actual=(["hi"],), label=1.0, id="tmZoasNr4rU[9]"):
    """((words, vision, audio, actual_words), label, id); `actual` is () or (actual_words,)."""
    vision = np.ones((1, 2)) if vision is None else vision
    audio = np.ones((1, 3)) if audio is None else audio
    return ([0], vision, audio, *actual), label, id


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (None, "a NoneType; expected"),
        ((1, 2), "a list of 2; expected"),
        (((1, 2), 1.0, "a[0]"), "a list of 2; expected"),
        ((np.ones((1, 2)), 1.0, "a[0]"), "a ndarray; expected"),
        (item(actual=()), "words are indices into a vocabulary .* there are no actual_words; make"),
        (item(actual=([3],)), "words is a int, expected a text"),
        (item(actual=("hi",)), "words are a str"),
        (item(actual=(np.array("hi"),)), "words are a str"),
        (item(vision=np.ones(2)), r"vision of shape \(2,\)"),
        (item(vision=np.ones((1, 9))), "vision of width 9, before it 2"),
        (item(audio=np.ones((0, 3))), r"audio of shape \(0, 3\)"),
        (item(audio=[[1.0]]), "audio of shape list"),
        (item(audio=np.full((1, 3), "a")), "audio of shape list; expected numbers"),
        (item(label="x"), "label: not numbers"),
        (item(label=[]), "label: not numbers"),
        (item(label=10**400), "label: not numbers"),
        (item(label=9.0), "sentiment 9 is not in"),
        (item(id=7), "id is a int, expected a text"),
    ],
)
def test_items_of_misa_that_do_not_fit_are_refused(path, odd, message):
    content = misa()
    content["test"][1] = odd
    refused(path, content, rf"mosi.pkl.*{message}")


def test_a_hostile_pickle_in_the_folder_of_misa_is_refused(tmp_path):
    for part, items in misa().items():
        write_pickle(tmp_path / f"{part}.pkl", items)
    (tmp_path / "test.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(DataError, match=r"test.pkl: holds os\.system, which is refused"):
        mosi.load(tmp_path, "mosi")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    make=st.sampled_from([mmsa, lambda: mmsa(aligned=False), misa]),
    odd=st.sampled_from(
        [
            None,
            0,
            "x",
            [],
            {},
            (),
            np.zeros(0),
            np.zeros((6, 6, 2)),
            np.array(None),
            [None] * 6,
            ["x"] * 6,
            [["x"]] * 6,
            np.zeros((6, 3, 6)),
            b"x",
            {"a": 1},
        ]
    ),
    data=st.data(),
)
def test_odd_things_anywhere_give_a_corpus_or_a_data_error(path, make, odd, data):
    content = make()
    part = content[data.draw(st.sampled_from(sorted(content)))]
    if isinstance(part, dict):
        part[data.draw(st.sampled_from(sorted(part)))] = odd
    else:
        (words, *rest), label, id = part[0]
        fields = [words, *rest, label, id]
        fields[data.draw(st.integers(0, len(fields) - 1))] = odd
        part[0] = tuple(fields[:4]), *fields[4:]
    try:
        load(write_pickle(path, content))
    except DataError:
        pass


# ------------------------------------------------------------------------------ safe file


@pytest.fixture
def safe(path):
    convert(write_pickle(path, mmsa(clips=1)), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_safe_file_is_refused(safe, share):
    content = safe.read_bytes()
    safe.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"mosi.safetensors: damaged, or not made by mosi\.convert"):
        mosi.load(safe, "mosi")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("mosi.pkl", "mosi.pkl", "give a name that ends in .safetensors"),
        ("nowhere.pkl", "a.safetensors", "name a pickle, or the folder of MISA's pickles"),
        ("csd", "a.safetensors", "name a pickle, or the folder of MISA's pickles"),
        ("text.pkl", "a.safetensors", "damaged, truncated or of another"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_written(tmp_path, source, target, message):
    write_pickle(tmp_path / "mosi.pkl", mmsa())
    before = (tmp_path / "mosi.pkl").read_bytes()
    write_release(tmp_path / "csd")
    (tmp_path / "text.pkl").write_text("hello")
    with pytest.raises(DataError, match=message):
        convert(tmp_path / source, tmp_path / target)
    assert not (tmp_path / "a.safetensors").exists()
    assert (tmp_path / "mosi.pkl").read_bytes() == before
