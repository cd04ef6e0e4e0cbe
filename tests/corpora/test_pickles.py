"""Pickles of data come back; what is damaged, or no pickle, is refused."""

import gzip
import pickle
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import misa, mmsa

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.pkl"


def read(path, content: bytes):
    path.write_bytes(content)
    return load_pickle(path)


def same(a, b) -> bool:
    """Equal, of the same types, and NaN like NaN."""
    if isinstance(a, np.ndarray | np.generic):
        if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.hasobject:
            return all(map(same, a.ravel(), b.ravel()))
        return a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


# ---------------------------------------------------------------------------------- data

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),
    st.binary(),
    st.complex_numbers(),
)
keys = st.one_of(st.text(), st.integers(), st.binary(), st.tuples(st.text(), st.integers()))
arrays = hnp.arrays(
    st.one_of(
        hnp.floating_dtypes(endianness="?"),
        hnp.integer_dtypes(endianness="?"),
        hnp.boolean_dtypes(),
        hnp.unicode_string_dtypes(endianness="?", max_len=5),
        hnp.byte_string_dtypes(max_len=5),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
data = st.recursive(
    st.one_of(atoms, arrays, arrays.map(np.asfortranarray), arrays.map(lambda a: a.dtype)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=4).map(lambda d: defaultdict(list, d)),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
    max_leaves=12,
)


@quick
@given(content=data, protocol=st.sampled_from(PROTOCOLS))
def test_data_comes_back_as_pickle_would_bring_it(path, content, protocol):
    assert same(read(path, pickle.dumps(content, protocol)), content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_and_arrays_of_objects_come_back(path, protocol):
    objects = np.array([["a", None, [1, "b"]], [np.zeros(2), {"k": 1}, 2.5]], object)
    content = [
        objects,
        objects.T,
        np.float32(1.5),
        np.int64(-3),
        np.str_("h\u00e9"),
        np.bool_(True),
    ]
    assert same(read(path, pickle.dumps(content, protocol)), content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("make", [mmsa, misa])
def test_the_pickles_of_the_field_come_back(path, make, protocol):
    assert same(read(path, pickle.dumps(make(), protocol)), make())


def test_what_is_shared_stays_shared_and_arrays_are_read_only(path):
    rows = np.ones(3)
    first, second = read(path, pickle.dumps([rows, rows]))
    assert first is second and not first.flags.writeable


PYTHON_2 = [
    # {'id': u'v\xe9', 'words': 'caf\xe9', 'n': 3L, 'x': array([1., 2.], dtype=float32)}, protocol 0
    b"(dp0\nS'id'\np1\nVv\\u00e9\np2\nsS'words'\np3\nS'caf\\xe9'\np4\nsS'n'\np5\nL3L\nsS'x'\np6\n"
    b"cnumpy.core.multiarray\n_reconstruct\np7\n(cnumpy\nndarray\np8\n(I0\ntp9\nS'b'\np10\ntp11\nRp12\n"
    b"(I1\n(I2\ntp13\ncnumpy\ndtype\np14\n(S'f4'\np15\nI0\nI1\ntp16\nRp17\n(I3\nS'<'\np18\nNNNI-1\nI-1\n"
    b"I0\ntp19\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np20\ntp21\nbs.",
    # the same in protocol 2
    b"\x80\x02}q\x00(U\x02idq\x01X\x03\x00\x00\x00v\xc3\xa9q\x02U\x05wordsq\x03U\x04caf\xe9q\x04U\x01nq\x05"
    b"\x8a\x01\x03U\x01xq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\t"
    b"U\x01bq\n\x87q\x0bRq\x0c(K\x01K\x02\x85q\rcnumpy\ndtype\nq\x0eU\x02f4q\x0fK\x00K\x01\x87q\x10Rq\x11"
    b"(K\x03U\x01<q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x13b\x89U\x08\x00\x00\x80?\x00\x00\x00@"
    b"q\x14tq\x15bu.",
]  # fmt: skip


@pytest.mark.parametrize("content", PYTHON_2)
def test_pickles_of_python_2_are_read_as_latin_1(path, content):
    expected = {"id": "v\u00e9", "words": "caf\u00e9", "n": 3, "x": np.array([1, 2], "f4")}
    found = read(path, content)
    assert same(dict(sorted(found.items())), dict(sorted(expected.items())))


# --------------------------------------------------------------------------- other formats


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"", mtime=0), r"compressed by gzip; unpack it first \(gunzip\)"),
        (b"BZh91AY", "compressed by bzip2; unpack"),
        (b"\xfd7zXZ\x00", "compressed by xz; unpack"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file; name the folder"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs; fetch"),
        (b"<!DOCTYPE html>", "damaged, or not a pickle"),
        (b"", "empty; download it again"),
    ],
    ids=["gzip", "bzip2", "xz", "HDF5", "git-lfs", "HTML", "empty"],
)
def test_other_files_are_refused_with_what_to_do(path, content, message):
    with pytest.raises(DataError, match=rf"data.pkl: {message}"):
        read(path, content)


def test_zip_files_and_missing_ones_are_refused(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.pkl", pickle.dumps([1]))
    with pytest.raises(DataError, match="a zip file"):
        load_pickle(path)
    for missing in (path.with_name("nowhere.pkl"), path.parent):
        with pytest.raises(DataError, match="no such file"):
            load_pickle(missing)


WHOLE = [pickle.dumps([misa(), mmsa(clips=1)["test"], {1, "a"}], p) for p in (0, 2, 4, 5)]


@pytest.mark.parametrize("content", WHOLE)
def test_a_truncated_pickle_is_refused(path, content):
    for end in range(1, len(content), len(content) // 40):
        with pytest.raises(DataError, match="damaged"):
            read(path, content[:end])


@quick
@given(st.binary(min_size=1, max_size=200))
def test_random_bytes_give_data_or_a_data_error(path, content):
    try:
        read(path, content)
    except DataError:
        pass


@quick
@given(
    content=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes_of_a_pickle_give_data_or_a_data_error(path, content, changes):
    content = bytearray(content)
    for share, value in changes:
        content[int(share * (len(content) - 1))] = value
    try:
        read(path, bytes(content))
    except DataError:
        pass
