"""Pickles: data come back; what is hostile, damaged or no pickle is refused and runs nothing."""

import copyreg
import functools
import gzip
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib.corpora import sandbox
from mmer_lib.corpora.mosi import unpickle
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError
from tests.corpora.fake_mosi import misa, mmsa, read_here

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.pkl"


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A file in the current folder that exists if anything was run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pwned"


def load(path, content: bytes):
    """As a user reads it: in a child process."""
    path.write_bytes(content)
    return load_pickle(path)


def read(path, content: bytes):
    """As a user reads it, in this process."""
    path.write_bytes(content)
    return read_here(unpickle.__name__, path, unpickle.REMEDY)


def plain(value):
    """What should come back of an object."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return np.asarray(value, value.dtype.newbyteorder("="))
    return value


def same(a, b) -> bool:
    """Equal, of the same types, and NaN like NaN."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


# ---------------------------------------------------------------------------------- data

letters = st.text(st.characters(exclude_categories=[]))
atoms = st.none() | st.booleans() | st.integers() | st.floats() | letters | st.binary()
keys = st.text() | st.integers()
dtypes = (
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.integer_dtypes(endianness="?")
    | hnp.boolean_dtypes()
    | hnp.unicode_string_dtypes(endianness="?", max_len=5)
    | hnp.byte_string_dtypes(max_len=5)
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
data = st.recursive(
    atoms | arrays | arrays.map(np.asfortranarray) | arrays.map(np.transpose),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(OrderedDict)
        | st.dictionaries(keys, inner, max_size=4).map(lambda d: defaultdict(list, d))
        | st.sets(keys, max_size=1)
        | st.frozensets(keys, max_size=1)
    ),
    max_leaves=12,
)


@quick
@given(content=data, protocol=st.sampled_from(PROTOCOLS))
def test_data_come_back_as_pickle_would_bring_them(path, content, protocol):
    assert same(read(path, pickle.dumps(content, protocol)), plain(content))


def test_arrays_of_the_field_come_back_from_the_child(path):
    objects = np.array([["a", None], [np.zeros(2), {"k": 1.5}]], object)
    scalars = [np.float32(1.5), np.int64(-3), np.str_("h\u00e9"), np.bool_(True)]
    mask = np.array([True, False])
    content = [mmsa(), misa(), objects, objects.T, scalars, mask, np.arange(3, dtype=">i2")]
    found = load(path, pickle.dumps(content))
    assert same(found, plain(content))


# {'id': u'v\xe9', 'words': 'caf\xe9', 'n': 3L, 'x': array([1., 2.], dtype=float32)}, protocol 2
PYTHON_2 = (
    b"\x80\x02}q\x00(U\x02idq\x01X\x03\x00\x00\x00v\xc3\xa9q\x02U\x05wordsq\x03U\x04caf\xe9q\x04"
    b"U\x01nq\x05\x8a\x01\x03U\x01xq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray"
    b"\nq\x08K\x00\x85q\tU\x01bq\n\x87q\x0bRq\x0c(K\x01K\x02\x85q\rcnumpy\ndtype\nq\x0eU\x02f4"
    b"q\x0fK\x00K\x01\x87q\x10Rq\x11(K\x03U\x01<q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    b"q\x13b\x89U\x08\x00\x00\x80?\x00\x00\x00@q\x14tq\x15bu."
)


def test_pickles_of_python_2_are_read_as_latin_1(path):
    expected = {"id": "v\u00e9", "words": "caf\u00e9", "n": 3, "x": np.array([1, 2], "f4")}
    assert same(read(path, PYTHON_2), plain(expected))


# ----------------------------------------------------------------------- no pickle, damaged


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"", mtime=0), "damaged, truncated or of another format"),
        (pickle.dumps(mmsa())[:5000], "damaged, truncated"),
        (b"N.N.", "damaged: more follows"),
    ],
)
def test_other_and_damaged_files_are_refused_with_what_to_do(path, content, message):
    with pytest.raises(DataError, match=rf"data.pkl: {message}"):
        load(path, content)


def test_a_missing_pickle_is_refused(path):
    for missing in (path, path.parent):
        with pytest.raises(DataError, match="no such file"):
            load_pickle(missing)


# --------------------------------------------------------------------------- names refused


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    MATRIX = np.matrix([[1]])

HOSTILE = {
    "system": Call(os.system, "touch pwned"),
    "eval": Call(eval, "open('pwned', 'w')"),
    "open": Call(open, "pwned", "w"),
    "getattr": Call(getattr, Call(__import__, "os"), "system"),
    "Popen": Call(subprocess.Popen, ["touch", "pwned"]),
    "partial": functools.partial(os.system, "touch pwned"),
    "_reconstructor": Call(copyreg._reconstructor, list, object, None),
    "load": Call(np.load, "pwned"),
    "matrix": MATRIX,
    "bytearray": Call(bytearray, 10**12),
}


@pytest.mark.parametrize("protocol", [0, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_any_other_name_is_refused_by_name_and_nothing_is_run(path, sentinel, name, protocol):
    hostile = HOSTILE[name]
    for content in (hostile, [1, {"a": (hostile,)}], np.array([None, hostile, 1], object)[:2]):
        with pytest.raises(DataError, match=rf"holds [\w.]+\.{name}, which is refused"):
            read(path, pickle.dumps(content, protocol))
    assert not sentinel.exists()


def test_the_user_is_told_the_file_the_name_and_the_remedy(path, sentinel):
    message = r"data\.pkl: holds posix\.system, which is refused, since it could run code; downl"
    with pytest.raises(DataError, match=message):
        load(path, pickle.dumps({"train": HOSTILE["system"]}))
    assert not sentinel.exists()


def test_what_torch_saves_is_refused(path):
    import torch

    with pytest.raises(DataError, match=r"holds torch\._utils\._rebuild_tensor_v2, which is ref"):
        load(path, pickle.dumps({"train": torch.zeros(2)}))
    for zipped in (True, False):
        torch.save(torch.zeros(2), path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(DataError, match="damaged"):
            load_pickle(path)


# --------------------------------------------------------------------- attacks by hand


def le(n: int, size: int) -> bytes:
    return n.to_bytes(size, "little")


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + le(len(value.encode()), 4) + value.encode()


NDARRAY = glob("numpy.core.multiarray", "_reconstruct") + b"(" + glob("numpy", "ndarray")
NDARRAY += b"(I0\nt" + text("b") + b"tR"
STATE = b"(I3\n" + text("<") + b"NNNI-1\nI-1\nI0\nt"


def dtype(name: str, state: bytes = STATE) -> bytes:
    return glob("numpy", "dtype") + b"(" + text(name) + b"I00\nI01\ntR" + state + b"b"


def array(shape: str, kind: bytes, raw: bytes) -> bytes:
    return NDARRAY + b"(I1\n(" + shape.encode() + b"t" + kind + b"I00\n" + raw + b"tb"


SYSTEM = glob("os", "system") + b"(" + text("touch pwned") + b"tR"
ENCODE = glob("_codecs", "encode")
FORGED = b"(I3\n" + text("|") + b"N(" + text("a") + b"t}" + text("a") + b"(" + dtype("O8")
FORGED += b"I0\ntsI8\nI1\nI0\nt"
FIELDS = b"(I3\n" + text("|") + b"N(t}I8\nI1\nI0\nt"
SUBARRAY = b"(I3\n" + text("|") + b"(NtNNI8\nI1\nI0\nt"
SCALAR = glob("numpy.core.multiarray", "scalar")
BY_HAND = {
    "system": (SYSTEM, r"os\.system"),
    "dotted": (b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93", "__class__"),
    "dunder of an allowed module": (glob("_codecs", "lookup"), r"_codecs\.lookup"),
    "long name": (glob("a" * 10**6, "b"), r"holds a{200}, which"),
    "instance of an array": (b"(I3\ninumpy\nndarray\n", "not callable"),
    "new object": (glob("builtins", "dict") + b")\x81", "NEWOBJ"),
    "persistent id": (b"Ppwned\n", "a persistent id"),
    "extension": (b"\x82\x01", "extension"),
    "buffer": (b"\x97", "buffer"),
    "array called": (glob("numpy", "ndarray") + b"(I3\ntR", "not callable"),
    "name as data": (ENCODE, "holds a _Call, which is refused"),
    "encode elsewhere": (ENCODE + b"(" + text("a") + text("rot13") + b"tR", "but Latin-1"),
    "state of a list": (b"]}b", "__dict__"),
    "state of a function": (ENCODE + b"}b", "not callable"),
    "array without state": (NDARRAY, "not producing an array"),
    "forged dtype": (dtype("V8", FORGED), "type V8"),
    "structured": (dtype("i8", FIELDS), "a structured array"),
    "subarray": (dtype("f4", SUBARRAY), "a structured array"),
    "objects of bytes": (array("I1\n", dtype("O8"), b"C\x08AAAAAAAA"), "cannot reshape"),
    "array with an object": (array("I1\n", dtype("O8"), b"]" + SYSTEM + b"a"), r"os\.system"),
    "dtype that is none": (array("I1\n", text("f4"), b"C\x04AAAA"), "no attribute"),
    "shape": (array("L1000000000000L\n", dtype("f4"), b"C\x00"), "with 0 bytes"),
    "wide and empty": (array("L1000000000000L\nI0\n", dtype("f4"), b"C\0"), "with 0 bytes"),
    "many axes": (array("I1\n" * 65, dtype("f4"), b"C\x04AAAA"), "dimension"),
    "negative shape": (array("I-1\n", dtype("f4"), b"C\x04AAAA"), r"shape \(-1,\) with 4 bytes"),
    "too few bytes": (array("I3\n", dtype("f4"), b"C\x04AAAA"), r"shape \(3,\) with 4 bytes"),
    "no letter": (array("I1\n", dtype("U1"), b"C\x04AAAA"), "character"),
    "deep": (b")" + b"\x85" * 10**5, "recursion"),
    "itself": (b"]q\x00h\x00a", "Circular"),
    "tuple as a key": (b"})Ns", "keys must be str"),
}


@pytest.mark.parametrize("attack", BY_HAND)
def test_attacks_are_refused_and_run_nothing(path, sentinel, attack):
    content, message = BY_HAND[attack]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=message):
            read(path, content + b".")
    assert not sentinel.exists()


NESTED = b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60))  # 2**60 when unfolded
COPIES = text("a" * 10**5) + b"q\x00" + ENCODE + b"q\x01" + text("latin1") + b"q\x02"
SAME_HASH = b"".join(pickle.dumps(i * (2**61 - 1), 2)[2:-1] + b"N" for i in range(60_000))
BOMBS = {
    "nested": (NESTED, "unfolds to more than the file|did not end well"),
    "nested as a key": (b"}" + NESTED + b"Ns", "did not end well"),
    "copies": (b"(" + COPIES + b"h\x01h\x00h\x02\x86R" * 10**5 + b"t", "too much memory"),
    "long bytes": (b"\x8e" + le(10**13, 8) + b"a", "too much memory"),
    "keys of the same hash": (b"\x80\x02}(" + SAME_HASH + b"u", "did not end well in 2 s"),
    "one array for all": (pickle.dumps([np.zeros(10**5)] * 10**4, 4)[:-1], "over 100 times"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_the_child_alone(path, monkeypatch, bomb):
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    monkeypatch.setattr(sandbox, "MEMORY", 2**30)
    content, message = BOMBS[bomb]
    begun = time.monotonic()
    with pytest.raises(DataError, match=rf"data.pkl: .*({message}).*; download it again"):
        load(path, content + b".")
    assert time.monotonic() - begun < 60


def test_the_child_imports_little(path):
    """Not torch, which takes seconds and gigabytes of address space."""
    code = "import sys, mmer_lib.corpora.mosi.unpickle, mmer_lib.corpora.mosi.csd; "
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_in_the_current_folder_is_not_imported(path, sentinel):
    for name in ("numpy.py", "json.py", "mmer_lib.py"):
        sentinel.with_name(name).write_text("open('pwned', 'w')")
    assert load(path, pickle.dumps([1])) == [1]
    assert not sentinel.exists()


# ------------------------------------------------------------------------- random programs

operations = st.sampled_from(
    [bytes([c]) for c in b"()]}.NJKMGUTXVSILFtdlaesubcRqrphgjQPio0123"]
    + [bytes([c]) for c in b"\x80\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94"]
    + [b"\x8c\x01a", b"K\x01", b"h\x00", b"q\x00", b"C\x04\0\0\0\0", NDARRAY, dtype("f4"), ENCODE]
    + [glob("builtins", "set"), glob("collections", "OrderedDict"), SCALAR, glob("os", "system")]
)


@quick
@given(st.lists(operations, max_size=40).map(b"".join) | st.binary(max_size=200))
def test_random_programs_give_data_or_an_exception(path, sentinel, program):
    try:
        read(path, program + b".")
    except DataError as error:
        assert "SystemError" not in str(error)
    assert not sentinel.exists()
