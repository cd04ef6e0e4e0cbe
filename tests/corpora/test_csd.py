"""Computational sequences: what is written comes back, what is damaged is refused by name."""

import struct
import time

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib.corpora import sandbox
from mmer_lib.corpora.mosi import csd
from mmer_lib.corpora.mosi.csd import read_sequence
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import write_csd

TIMES = np.array([[0.0, 0.5], [0.5, 0.75], [0.5, 0.5]])
ROWS = np.arange(6, dtype="f4").reshape(3, 2)
DEEP = '{"a": ' + "[" * 100_000

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "CMU_MOSI_COVAREP.csd"


def rows_of(path, id="a"):
    return read_sequence(path).rows[id]


def refused(path, message):
    with pytest.raises(DataError, match=rf"CMU_MOSI_COVAREP.csd: .*{message}.*; download it again"):
        read_sequence(path)


def read_here(path):
    """As the child reads it, in this process: features and intervals by id."""
    rows, _, _ = csd.read(path, lambda array: array)
    return {id: csd.Rows(features, intervals) for id, features, intervals in rows}


# ---------------------------------------------------------------------------------- whole


@quick
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
    floats = st.floats(-1e6, 1e6, allow_subnormal=False)
    times = data.draw(hnp.arrays("f8", (len(rows), 2), elements=floats))
    times.sort(axis=1)
    how = {"chunks": True, "compression": "gzip"} if packed and len(rows) else {}
    write_csd(path, {"a": (rows, times), "b[3]": (rows, times)}, **how)
    found = read_here(path)
    assert list(found) == ["a", "b[3]"]
    for features, intervals in found.values():
        assert features.dtype == np.float32 and intervals.dtype == np.float64
        np.testing.assert_array_equal(features, rows.astype("f4"))
        np.testing.assert_array_equal(intervals, times)


def test_numbers_and_texts_come_back_from_the_child(path):
    write_csd(path, {"a": (ROWS, TIMES), "b[3]": (ROWS[:0], TIMES[:0])})
    sequence = read_sequence(path)
    assert sequence.path == path and list(sequence.rows) == ["a", "b[3]"]
    np.testing.assert_array_equal(sequence.rows["a"].features, ROWS)
    np.testing.assert_array_equal(sequence.rows["a"].intervals, TIMES)
    assert sequence.rows["b[3]"].features.shape == (0, 2)
    words = np.array([[b"sp"], ["caf\u00e9".encode()], [b"caf\xe9"]])
    write_csd(path, {"a": (words, TIMES)})
    assert rows_of(path).features[:, 0].tolist() == ["sp", "caf\u00e9", "caf\ufffd"]
    words = np.array([["a"], ["b" * 300], [""]], object)
    write_csd(path, {"a": (words.astype(h5py.string_dtype()), TIMES)})
    assert rows_of(path).features[:, 0].tolist() == ["a", "b" * 300, ""]
    write_csd(path, {"a": (words.astype("S9")[:0], TIMES[:0])})
    assert rows_of(path).features.shape == (0, 1)


def test_infinities_of_features_are_left_for_the_reader_to_count(path):
    write_csd(path, {"a": (np.array([[np.nan], [-np.inf], [1e300]]), TIMES)})
    np.testing.assert_array_equal(rows_of(path).features[:, 0], [np.nan, -np.inf, np.inf])


@pytest.mark.parametrize(
    ("told", "names"),
    [('["f0", "vuv"]', ("f0", "vuv")), ("asdfasdf", ()), ("[1, 2]", ()), ("{}", ()), (DEEP, ())],
)
def test_column_names_are_read_where_the_metadata_tells_them(path, told, names):
    write_csd(path, {"a": (ROWS, TIMES)}, metadata={"dimension names": told})
    assert read_sequence(path).names == names


# -------------------------------------------------------------------------------- damaged


@pytest.mark.parametrize(
    ("features", "intervals", "message"),
    [
        (None, TIMES, "'features' is missing"),
        (ROWS, None, "'intervals' is missing"),
        (ROWS, TIMES[:2], "intervals float64 (2, 2) for features (3, 2)"),
        (ROWS, np.zeros(3), "intervals of shape (3,), expected rows and columns"),
        (ROWS[:, :0], TIMES, "features of shape (3, 0)"),
        (np.float32(1), TIMES, "features of shape ()"),
        (ROWS, TIMES[:, ::-1], "row 0 lasts from 0.5 to 0.0"),
        (ROWS, np.array([[0, 1], [np.nan, 1], [0, 1]]), "row 1 lasts from nan to 1.0"),
        (ROWS, np.array([[0, 1], [0, 1], [0, np.inf]]), "row 2 lasts from 0.0 to inf"),
        (ROWS.astype("c8"), TIMES, "features of type complex64"),
        (ROWS, np.array([[b"0", b"1"]] * 3), "intervals |S1"),
    ],
)
def test_an_id_that_does_not_fit_is_dropped_with_the_reason(path, features, intervals, message):
    write_csd(path, {"a": (ROWS, TIMES), "vid": (features, intervals), "z": (ROWS, TIMES)})
    rows, _, damaged = csd.read(path, lambda array: array)
    assert [id for id, *_ in rows] == ["a", "z"]
    ((id, reason),) = damaged
    assert id == "vid" and message in reason


def test_a_file_without_a_whole_id_is_refused(path):
    write_csd(path, {"vid": (ROWS, None)})
    refused(path, "vid: 'intervals' is missing")


def test_a_missing_file_is_refused(path):
    with pytest.raises(DataError, match="no such file"):
        read_sequence(path)


@pytest.mark.parametrize("kept", [0, 8, 0.1, 0.99])
def test_a_truncated_file_is_refused(path, kept):
    write_csd(path, {str(i): (np.ones((200, 3)), np.zeros((200, 2))) for i in range(5)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    refused(path, "truncated")


def put(where, make):
    """A change of the file: another thing in the place of a group or an array."""

    def change(file):
        parent, _, name = where.rpartition("/")
        if where in file:
            del file[where]
        make(file[parent or "/"], name)

    return change


def dataset(*arguments, **more):
    return lambda group, name: group.create_dataset(name, *arguments, **more)


def link(target):
    return lambda group, name: group.__setitem__(name, target)


ROOT, FEATURES, NAMES = "a name", "a name/data/a/features", "a name/metadata/dimension names"
WRONG = {
    "two groups": (put("second", h5py.Group.create_group), "holds 2 groups, not one"),
    "no data": (lambda f: f[ROOT].pop("data"), "'data' is missing"),
    "no video": (lambda f: f[f"{ROOT}/data"].clear(), "'data' holds no video"),
    "array of videos": (put(f"{ROOT}/data", dataset((10**12,), "f4", chunks=(9,))), "no video"),
    "group as array": (put(FEATURES, h5py.Group.create_group), "a: features of shape"),
    "soft link": (put(FEATURES, link(h5py.SoftLink("/a name"))), "a link to elsewhere"),
    "external link": (put(FEATURES, link(h5py.ExternalLink("x", "/x"))), "a link to elsewhere"),
    "another file": (
        put(FEATURES, dataset((3, 2), "f4", external=[("/etc/passwd", 0, 24)])),
        "lie in another file, which is not followed",
    ),
    "virtual": (
        put(FEATURES, lambda g, n: g.create_virtual_dataset(n, h5py.VirtualLayout((3, 2), "f4"))),
        "lie in another file",
    ),
    "lists": (put(FEATURES, dataset((3, 2), h5py.vlen_dtype(np.int32))), "features of type object"),
}
DROPPED = {
    "array as video": (put(f"{ROOT}/data/b", dataset(data=[1])), "'features' is missing"),
    "video elsewhere": (put(f"{ROOT}/data/b", link(h5py.SoftLink("/n"))), "a link to elsewhere"),
    "not UTF-8": (lambda f: f[f"{ROOT}/data"].create_group(b"caf\xe9"), "is not UTF-8"),
}


@pytest.mark.parametrize("kind", [*WRONG, *DROPPED])
def test_what_is_not_as_the_sdk_writes_it_is_refused_or_dropped(path, kind):
    change, message = {**WRONG, **DROPPED}[kind]
    write_csd(path, {"a": (ROWS, TIMES)})
    with h5py.File(path, "a") as file:
        change(file)
    if kind in WRONG:
        refused(path, message)
    else:
        sequence = read_sequence(path)
        assert list(sequence.rows) == ["a"] and message in sequence.damaged[0][1]


@pytest.mark.parametrize(
    "make", [dataset((1, 10**9), "S9", chunks=(1, 1000)), link(h5py.ExternalLink("x.csd", "/x"))]
)
def test_metadata_that_name_no_columns_do_no_harm(path, make):
    write_csd(path, {"a": (ROWS, TIMES)}, metadata={"dimension names": "[]"})
    with h5py.File(path, "a") as file:
        put(NAMES, make)(file)
    assert read_sequence(path).names == ()


# ---------------------------------------------------------------------------------- bombs

ZEROS = {"chunks": (100_000, 2), "compression": "gzip", "compression_opts": 9}


@pytest.fixture
def small(monkeypatch):
    """Little memory and time."""
    monkeypatch.setattr(sandbox, "SECONDS", 3)
    monkeypatch.setattr(sandbox, "MEMORY", 2**30)


def test_more_rows_than_the_memory_holds_end_the_child(path, small):
    write_csd(path, {"a": (None, TIMES)})
    with h5py.File(path, "a") as file:
        put(FEATURES, dataset((10**12, 74), "f4", chunks=(1000, 74)))(file)
    refused(path, "takes too much memory")


def test_a_file_that_unfolds_to_over_a_hundred_times_its_size_is_refused(path, small):
    """Each of 20 ids is small enough for itself."""
    rows, times = np.zeros((400_000, 2), "f4"), np.zeros((400_000, 2))
    write_csd(path, {f"v{i}": (rows, times) for i in range(20)}, **ZEROS)
    refused(path, "unfolds to over 100 times its size")


def with_texts(path):
    """The file's bytes with texts of any length, where these are referred to, and their heap."""
    texts = np.array([["oh"], ["yes"], [""]], object)
    write_csd(path, {"a": (texts.astype(h5py.string_dtype()), TIMES)})
    with h5py.File(path) as file:
        at = file[FEATURES].id.get_offset()
    content = bytearray(path.read_bytes())
    return content, at, struct.unpack_from("<4xQ", content, at)[0]


def test_a_text_that_says_it_is_longer_than_the_file_ends_the_child(path, small):
    content, at, _ = with_texts(path)
    content[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    refused(path, "memory|read")


@pytest.mark.parametrize("size", [0, 8])
def test_hdf5_that_goes_round_in_circles_is_ended(path, small, size):
    """A free piece of the heap that leads to itself."""
    content, _, heap = with_texts(path)
    pieces = (int.from_bytes(content[heap + 8 : heap + 16], "little") - 16) // 16
    content[heap + 16 : heap + 16 + 16 * pieces] = struct.pack("<HHIQ", 0, 0, 0, size) * pieces
    path.write_bytes(content)
    begun = time.monotonic()
    refused(path, "did not end well in 3 s of computing|Can't synchronously read")
    assert time.monotonic() - begun < 60
