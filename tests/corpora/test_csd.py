"""Computational sequences: what is written comes back, what is damaged is refused by name."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib.corpora.mosi.csd import open_sequence
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import write_csd

TIMES = np.array([[0.0, 0.5], [0.5, 0.75], [0.5, 0.5]])
ROWS = np.arange(6, dtype="f4").reshape(3, 2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "CMU_MOSI_COVAREP.csd"


def read(path, id="a"):
    with open_sequence(path) as sequence:
        return sequence.rows(id)


# ---------------------------------------------------------------------------------- whole


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=hnp.arrays(
        st.sampled_from(["f4", "f8", "i4", "f2"]),
        st.tuples(st.integers(0, 5), st.integers(1, 4)),
        elements={"min_value": -100, "max_value": 100},
    ),
    packed=st.booleans(),
    data=st.data(),
)
def test_what_is_written_comes_back(path, rows, packed, data):
    times = data.draw(
        hnp.arrays("f8", (len(rows), 2), elements=st.floats(-1e6, 1e6, allow_subnormal=False))
    )
    times.sort(axis=1)
    write_csd(
        path,
        {"a": (rows, times), "b[3]": (rows, times)},
        **({"compression": "gzip"} if packed else {}),
    )
    with open_sequence(path) as sequence:
        assert sequence.ids == ["a", "b[3]"] and "a" in sequence and "b" not in sequence
        for id in sequence.ids:
            features, intervals = sequence.rows(id)
            assert features.dtype == np.float32 and intervals.dtype == np.float64
            np.testing.assert_array_equal(features, rows.astype("f4"))
            np.testing.assert_array_equal(intervals, times)


def test_words_are_texts_with_every_letter(path):
    words = np.array([[b"sp"], ["caf\u00e9".encode()], [b"caf\xe9"]])
    write_csd(path, {"a": (words, TIMES)})
    assert read(path).features[:, 0].tolist() == ["sp", "caf\u00e9", "caf\ufffd"]


def test_words_of_any_length_are_texts_too(path):
    words = np.array([["a"], ["b" * 300], [""]], object)
    write_csd(path, {"a": (words.astype(h5py.string_dtype()), TIMES)})
    assert read(path).features[:, 0].tolist() == ["a", "b" * 300, ""]


def test_middles_lie_between_start_and_end(path):
    write_csd(path, {"a": (ROWS, TIMES)})
    np.testing.assert_array_equal(read(path).middles, [0.25, 0.625, 0.5])


@pytest.mark.parametrize(
    ("told", "names"),
    [('["f0", "vuv"]', ("f0", "vuv")), ("asdfasdf", ()), ("null", ()), ("[1, 2]", ()), ("{}", ())],
)
def test_column_names_are_read_where_the_metadata_tells_them(path, told, names):
    write_csd(path, {"a": (ROWS, TIMES)}, metadata={"dimension names": told})
    with open_sequence(path) as sequence:
        assert sequence.names == names


def test_metadata_may_be_missing(path):
    write_csd(path, {"a": (ROWS, TIMES)})
    with h5py.File(path, "a") as file:
        del file["a name/metadata"]
    assert len(read(path).features) == 3


def test_infinities_of_features_are_left_for_the_reader_to_count(path):
    write_csd(path, {"a": (np.array([[np.nan], [-np.inf], [1e300]]), TIMES)})
    np.testing.assert_array_equal(read(path).features[:, 0], [np.nan, -np.inf, np.inf])


# -------------------------------------------------------------------------------- damaged


@pytest.mark.parametrize(
    ("features", "intervals", "message"),
    [
        (None, TIMES, "'features' is missing"),
        (ROWS, None, "'intervals' is missing"),
        (ROWS, TIMES[:2], r"intervals \(2, 2\) for features \(3, 2\)"),
        (ROWS, np.zeros((3, 3)), r"intervals \(3, 3\)"),
        (ROWS, np.zeros(3), r"intervals of shape \(3,\), expected rows and columns"),
        (ROWS[:, 0], TIMES, r"features of shape \(3,\)"),
        (ROWS[:, :0], TIMES, r"features of shape \(3, 0\)"),
        (ROWS[None], TIMES, r"features of shape \(1, 3, 2\)"),
        (np.float32(1), TIMES, r"features of shape \(\)"),
        (ROWS, TIMES[:, ::-1], "row 0 lasts from 0.5 to 0.0"),
        (ROWS, np.array([[0, 1], [np.nan, 1], [0, 1]]), "row 1 lasts from nan to 1.0"),
        (ROWS, np.array([[0, 1], [0, 1], [0, np.inf]]), "row 2 lasts from 0.0 to inf"),
        (ROWS.astype("c8"), TIMES, "features of type complex64"),
        (ROWS, np.array([[b"0", b"1"]] * 3), r"intervals of type \|S1"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_with_file_and_id(path, features, intervals, message):
    write_csd(path, {"vid": (features, intervals), "z": (ROWS, TIMES)})
    with pytest.raises(DataError, match=rf"CMU_MOSI_COVAREP.csd: vid: {message}.*; download"):
        read(path, "vid")
    assert len(read(path, "z").features) == 3


def test_another_number_of_columns_than_before_is_refused(path):
    write_csd(path, {"a": (ROWS, TIMES), "b": (ROWS[:, :1], TIMES)})
    with open_sequence(path) as sequence:
        sequence.rows("a")
        with pytest.raises(DataError, match="b: 1 columns, before it 2"):
            sequence.rows("b")


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n", b"\x80\x04N."])
def test_what_is_not_hdf5_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"COVAREP.csd: file cannot be read .*damaged; download"):
        read(path)


def test_a_missing_file_is_refused(path):
    with pytest.raises(DataError, match="no such file"):
        read(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(path, share):
    write_csd(path, {str(i): (np.ones((200, 3)), np.zeros((200, 2))) for i in range(5)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_changed_bytes_give_data_or_a_data_error(path, at):
    write_csd(path, {"a": (ROWS, TIMES), "b": (np.array([[b"x"]] * 3), TIMES)})
    content = bytearray(path.read_bytes())
    for share, value in at:
        content[int(share * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        with open_sequence(path) as sequence:
            for id in sequence.ids:
                sequence.rows(id)
    except DataError:
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.create_group("second"), r"holds 2 groups \(a name, second\), not one"),
        (lambda f: f.pop("a name"), "holds 0 groups"),
        (lambda f: f["a name"].pop("data"), "a name: 'data' is missing"),
        (lambda f: f["a name/data"].clear(), "holds no video"),
    ],
)
def test_groups_that_are_not_those_of_the_sdk_are_refused(path, change, message):
    write_csd(path, {"a": (ROWS, TIMES)})
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_group_in_place_of_an_array_is_refused(path):
    write_csd(path, {"a": (None, TIMES)})
    with h5py.File(path, "a") as file:
        file.create_group("a name/data/a/features")
    with pytest.raises(DataError, match="a: features of shape"):
        read(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.csd", "/x"), h5py.SoftLink("/a name")])
def test_links_to_elsewhere_are_not_followed(path, link):
    write_csd(path, {"a": (None, TIMES)})
    with h5py.File(path, "a") as file:
        file["a name/data/a/features"] = link
    with pytest.raises(DataError, match=r"'features' is (missing|a link to elsewhere)"):
        read(path)


def test_rows_in_another_file_are_not_followed(path, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(24))
    write_csd(path, {"a": (None, TIMES)})
    with h5py.File(path, "a") as file:
        where = [(str(tmp_path / "secret"), 0, 24)]
        file["a name/data/a"].create_dataset("features", (3, 2), "f4", external=where)
    with pytest.raises(DataError, match="lie in another file, which is not followed"):
        read(path)


def test_more_rows_than_the_file_could_hold_are_not_read(path):
    write_csd(path, {"a": (None, TIMES)})
    with h5py.File(path, "a") as file:
        file["a name/data/a"].create_dataset("features", (10**12, 74), "f4", chunks=(1000, 74))
    with pytest.raises(DataError, match=r"\(1000000000000, 74\) are larger than the file could"):
        read(path)
