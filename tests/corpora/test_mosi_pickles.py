"""MOSI and MOSEI from pickles of MMSA and MISA, and the safe file that they are converted to."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.load import convert
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import assert_same, load, misa, mmsa, write_pickle, write_release

pytestmark = pytest.mark.usefixtures("no_child")

COUNTS = {"train": 9, "dev": 3, "test": 6}


# ----------------------------------------------------------------------------------- MMSA


@pytest.mark.parametrize("aligned", [True, False])
def test_pickles_of_mmsa_lose_their_padding(tmp_path, aligned):
    content = mmsa(aligned)
    corpus, messages = load(write_pickle(tmp_path / "mosi.pkl", content))
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


def in_front(content: dict) -> dict:
    """The same with the padding of every sequence in front of its rows."""
    for part in content.values():
        n = {"text": part["text_bert"][:, 1].sum(axis=1).astype(int)}
        for name in ("text", "audio", "vision"):
            lengths = part.get(f"{name}_lengths", n["text"])
            rows = zip(part[name], lengths, strict=True)
            part[name] = np.stack([np.roll(x, len(x) - k, axis=0) for x, k in rows])
        part["text_bert"] = np.stack(
            [np.roll(x, 6 - k, axis=1) for x, k in zip(part["text_bert"], n["text"], strict=True)]
        )
    return content


def without(content: dict, *fields: str) -> dict:
    return {p: {k: v for k, v in part.items() if k not in fields} for p, part in content.items()}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_padding_in_front_is_found_and_told(tmp_path, aligned, mask):
    gone = () if mask else ("text_bert", "audio_lengths", "vision_lengths")
    one, _ = load(write_pickle(tmp_path / "one.pkl", mmsa(aligned)))
    content = without(in_front(mmsa(aligned)), *gone)
    two, messages = load(write_pickle(tmp_path / "two.pkl", content))
    assert_same(one, two)
    assert messages == [
        "two.pkl: sequence padded in front: 9 (train audio, train vision, train text, dev audio, "
        "dev vision, ...); cut off there"
    ]


def test_text_vectors_without_a_mask_end_where_zeros_begin(tmp_path):
    """GloVe alone, and lengths of audio and vision, as extractors of features write them."""
    one, _ = load(write_pickle(tmp_path / "one.pkl", mmsa(aligned=False)))
    content = without(mmsa(aligned=False), "text_bert")
    content["config"] = {"text": {"model": "glove"}}
    two, messages = load(write_pickle(tmp_path / "two.pkl", content))
    assert_same(one, two)
    assert messages == []


def test_a_row_of_zeros_is_no_padding_where_an_aligned_sequence_goes_on(tmp_path):
    content = without(in_front(mmsa()), "text_bert")
    rows = content["test"]["audio"]
    rows[:, -1] = 0
    corpus, _ = load(write_pickle(tmp_path / "mosi.pkl", content))
    for u in corpus.utterances:
        assert len(u.audio) == len(u.vision) == len(u.vectors)


def test_a_modality_may_be_missing_and_the_part_be_called_val(tmp_path):
    one, _ = load(write_pickle(tmp_path / "one.pkl", mmsa()))
    content = without(mmsa(), "vision")
    content["val"] = content.pop("valid")
    two, messages = load(write_pickle(tmp_path / "two.pkl", content))
    assert messages == [] and one.fixed == two.fixed
    for u, v in zip(one.utterances, two.utterances, strict=True):
        assert replace(u, vision=None, audio=None, vectors=None) == replace(
            v, audio=None, vectors=None
        )
        np.testing.assert_array_equal(u.audio, v.audio)


# ---------------------------------------------------------------------- MulT and MultiBench


@pytest.mark.filterwarnings("ignore:two.pkl")
@pytest.mark.parametrize("ids", [True, False])
def test_pickles_of_mult_have_vectors_in_place_of_text(tmp_path, ids):
    one, _ = load(write_pickle(tmp_path / "one.pkl", mmsa()))
    content = in_front(mmsa())
    for part in content.values():
        part["labels"] = part["regression_labels"][:, None, None]
        named = [(*id.split("$_$"), "9.5") for id in part["id"]]
        part["id"] = np.array(named, object)
    keep = {"vision", "text", "audio", "labels"} | ({"id"} if ids else set())
    content = without(content, *(content["train"].keys() - keep))
    two, messages = load(write_pickle(tmp_path / "two.pkl", content))
    assert two.extras["counts"] == COUNTS
    for u, v in zip(one.utterances, two.utterances, strict=True):
        assert v.text is None and u.sentiment == v.sentiment
        assert not ids or (f"{u.id}$_$9.5", u.speaker) == (v.id, v.speaker)
        for field in ("vectors", "audio", "vision"):
            np.testing.assert_array_equal(getattr(u, field), getattr(v, field))
    assert any("id that names no video: 18 (train 0, " in m for m in messages) is not ids
    convert(tmp_path / "two.pkl", tmp_path / "two.safetensors")
    assert_same(two, load(tmp_path / "two.safetensors")[0])


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
    with pytest.warns(UserWarning, match="audio: values NaN or infinite, in utterances: 1"):
        convert(source, target)
    corpus, messages = load(target)
    assert corpus.extras["repaired"] == {"audio": 2} and messages == []
    assert_same(corpus, load(source)[0])


def test_a_file_that_is_there_is_never_lost(tmp_path):
    source, target = write_pickle(tmp_path / "mosi.pkl", mmsa()), tmp_path / "mosi.safetensors"
    target.write_bytes(b"something else")
    with pytest.raises(DataError, match="of a file that is not there"):
        convert(source, target)
    assert target.read_bytes() == b"something else"


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
        ("audio", None, "'vectors': 8}, before it .*'audio': 3"),
        ("raw_text", ["a"], "is shorter"),
        ("raw_text", [1] * 6, "AttributeError"),
        ("id", [7] * 6, "TypeError"),
        ("audio", np.zeros((7, 6, 3)), "is longer"),
        ("audio", np.zeros((6, 3)), "AxisError"),
        ("audio", np.zeros((6, 9, 3)), "no utterance in test"),
        ("audio", np.zeros((6, 6, 4)), "'audio': 4.*before it .*'audio': 3"),
        ("vision", np.full((6, 6, 2), "a"), "AttributeError"),
        ("regression_labels", ["good"] * 6, "could not convert string to float: 'good'"),
        ("regression_labels", [[1], [1, 2]] * 3, "inhomogeneous"),
        ("regression_labels", np.zeros((6, 4, 2)), "8 numbers a label, expected a sentiment"),
        ("regression_labels", np.full(6, 4.0), "sentiment 4 is not in"),
    ],
)
def test_fields_of_mmsa_that_do_not_fit_are_refused(path, field, value, message):
    content = mmsa()
    content["test"][field] = value
    if value is None:
        del content["test"][field]
    refused(path, content, rf"mosi.pkl(: test)?: .*{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no part; expected a pickle of MMSA, MulT"),
        ({"train": {}, "test": {}}, "holds train, test; expected"),
        ({"train": [], "dev": [], "valid": [], "test": []}, "holds train, dev, valid"),
        ({"train": 1, "dev": 1, "test": 1}, "train: TypeError: 'int' .*; expected"),
        ({"train": [], "dev": [], "test": []}, "no utterance in train and dev and test"),
    ],
)
def test_pickles_of_another_format_are_refused(path, content, message):
    refused(path, content, rf"mosi.pkl: {message}")


def noise_behind(content):
    part = content["test"]
    row = int(np.flatnonzero(part["text_bert"][:, 1].sum(axis=1) < 6)[0])
    part["audio"][row, 5] = 1, np.nan, 0


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
        (noise_behind, "audio: rows of padding that are not 0: 1"),
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
    refused(path, content, r"vectors.*one set of features")
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
        (None, "item 1: TypeError"),
        (((1, 2), 1.0, "a[0]"), "item 1: ValueError: not enough values"),
        (item(actual=()), "words are indices into a vocabulary .*; make it with actual_words"),
        (item(actual=([3],)), "item 1: AttributeError"),
        (item(vision=np.ones((1, 9))), "'vision': 9.*before it .*'vision': 2"),
        (item(audio=np.full((1, 3), "a")), "could not convert string"),
        (item(label=[]), "item 1: ValueError: 0 numbers a label"),
        (item(label=10**400), "item 1: OverflowError"),
        (item(label=9.0), "sentiment 9 is not in"),
        (item(id=7), "item 1: TypeError"),
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


ODD = [None, 0, "x", [], {}, (), [None] * 6, ["x"] * 6, [["x"]] * 6, b"x", {"a": 1}]
ODD += [np.zeros(0), np.zeros((6, 6, 2)), np.array(None), np.zeros((6, 3, 6))]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    make=st.sampled_from([mmsa, lambda: mmsa(aligned=False), misa]),
    odd=st.sampled_from(ODD),
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
        ("nowhere.pkl", "a.safetensors", "o such file"),
        ("csd", "a.safetensors", "holds no part; expected a pickle"),
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
