"""Hostile pickles: each is refused by name, at once, in little memory, and runs nothing."""

import copyreg
import datetime
import functools
import operator
import os
import pathlib
import pickle
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.pkl"


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A file in the current folder that exists if anything was run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pwned"


def read(path, content: bytes):
    path.write_bytes(content)
    return load_pickle(path)


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
    "exec": Call(exec, "open('pwned', 'w')"),
    "open": Call(open, "pwned", "w"),
    "getattr": Call(getattr, Call(__import__, "os"), "system"),
    "__import__": Call(__import__, "antigravity"),
    "Popen": Call(subprocess.Popen, ["touch", "pwned"]),
    "partial": functools.partial(os.system, "touch pwned"),
    "methodcaller": operator.methodcaller("system", "touch pwned"),
    "_reconstructor": Call(copyreg._reconstructor, list, object, None),
    "load": Call(np.load, "pwned"),
    "matrix": MATRIX,
    "recarray": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    "slice": slice(3),
    "bytearray": Call(bytearray, 10**12),
    "x?range": range(10**12),
    "date": datetime.date(2020, 1, 1),
    "PurePosixPath": pathlib.PurePosixPath("x"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_any_other_name_is_refused_by_name_and_nothing_is_run(path, sentinel, name, protocol):
    hostile = HOSTILE[name]
    message = rf"data.pkl: holds [\w.]+\.{name}, which is refused, .*; have the file saved as"
    for content in (hostile, [1, {"a": (hostile,)}], np.array([None, hostile, 1], object)[:2]):
        with pytest.raises(DataError, match=message):
            read(path, pickle.dumps(content, protocol))
    assert not sentinel.exists()


def test_a_torch_pickle_is_refused(path, sentinel):
    import torch

    tensor = torch.zeros(2)
    with pytest.raises(DataError, match=r"holds torch\._utils\._rebuild_tensor_v2, which is ref"):
        read(path, pickle.dumps({"train": tensor}))
    torch.save(tensor, path)
    with pytest.raises(DataError, match="a zip file, or one that torch saved; unpack it"):
        load_pickle(path)
    torch.save(tensor, path, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="saved by torch; save its arrays as a pickle"):
        load_pickle(path)
    legacy = path.read_bytes()
    with pytest.raises(DataError, match="does not end with its one object"):
        read(path, b"\x80\x03" + legacy[2:])  # not known by its first bytes


# --------------------------------------------------------------------- attacks by hand


def le(n: int, size: int) -> bytes:
    return n.to_bytes(size, "little")


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + le(len(value.encode()), 4) + value.encode()


NDARRAY = glob("numpy.core.multiarray", "_reconstruct") + b"(" + glob("numpy", "ndarray")
NDARRAY += b"(I0\nt" + text("b") + b"tR"


def dtype(name: str, state: bytes | None = None) -> bytes:
    state = state or b"(I3\n" + text("<") + b"NNNI-1\nI-1\nI0\nt"
    return glob("numpy", "dtype") + b"(" + text(name) + b"I00\nI01\ntR" + state + b"b"


def array(shape: str, kind: bytes, raw: bytes) -> bytes:
    return NDARRAY + b"(I1\n(" + shape.encode() + b"t" + kind + b"I00\n" + raw + b"tb"


SYSTEM = glob("os", "system") + b"(" + text("touch pwned") + b"tR"
NESTED = b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60))  # 2**60 when unfolded
BY_HAND = {
    "system": (SYSTEM + b".", r"holds os\.system,"),
    "system, dropped": (SYSTEM + b"0N.", r"holds os\.system,"),
    "dotted": (b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93.",
               r"holds numpy\.ndarray\.__class__,"),
    "dotted module": (text("a.b") + text("c") + b"\x93.", r"holds a\.b\.c,"),
    "dunder of an allowed module": (glob("_codecs", "lookup") + b".", r"holds _codecs\.lookup,"),
    "escape in a name": (glob("os\x1b[2J", "system\x07") + b".", r"os\\x1b\[2J\.system\\x07,"),
    "long name": (glob("a" * 10**6, "b") + b".", r"holds a{200}, which"),
    "instance": (b"(" + text("touch pwned") + b"ios\nsystem\n.", r"holds os\.system,"),
    "instance of an array": (b"(I3\ninumpy\nndarray\n.", r"an object of numpy\.ndarray"),
    "object": (b"(" + glob("os", "system") + text("x") + b"o.", r"holds os\.system,"),
    "object of a class": (b"(" + glob("builtins", "list") + b"o.", r"an object of a class \(OBJ\)"),
    "new object": (glob("builtins", "dict") + b")\x81.", r"an object of a class \(NEWOBJ\)"),
    "new object with names": (glob("builtins", "dict") + b")}\x92.", r"\(NEWOBJ_EX\)"),
    "persistent id": (b"Ppwned\n.", r"a persistent id \(PERSID\)"),
    "persistent id 2": (text("pwned") + b"Q.", r"a persistent id \(BINPERSID\)"),
    "extension": (b"\x82\x01.", r"an extension \(EXT1\)"),
    "extension 4": (b"\x84\x01\x00\x00\x00.", r"an extension \(EXT4\)"),
    "buffer": (b"\x97.", r"a buffer outside of the file \(NEXT_BUFFER\)"),
    "array called": (glob("numpy", "ndarray") + b"(I3\ntR.", r"a call of numpy\.ndarray"),
    "list called": (glob("builtins", "list") + b"(](NetR.", r"a call of builtins\.list"),
    "text called": (text("a") + b"(tR.", "a call of what is no function"),
    "name as data": (glob("_codecs", "encode") + b".", "a name in place of data"),
    "name in a list": (b"]" + glob("numpy", "dtype") + b"a.", "a name in place of data"),
    "encode elsewhere": (glob("_codecs", "encode") + b"(" + text("a") + text("rot13") + b"tR.",
                         "encode of anything but a text to Latin-1"),
    "encode bytes": (glob("_codecs", "encode") + b"(C\x01a" + text("latin1") + b"tR.",
                     "encode of anything but a text"),
    "subtype": (glob("numpy.core.multiarray", "_reconstruct") + b"(" + glob("numpy", "dtype")
                + b"(I0\nt" + text("b") + b"tR(tb.", "an array of another class"),
    "state of a list": (b"]}b.", r"a state \(BUILD\) for a list"),
    "state of a function": (glob("_codecs", "encode") + b"}b.", r"a state \(BUILD\) for a Name"),
    "array without state": (NDARRAY + b".", "an array or dtype without contents in place of data"),
    "array twice built": (array("I1\n", dtype("b1"), b"C\x01\x01") + b"(tb.", "BUILD"),
    "forged dtype": (dtype("V8", b"(I3\n" + text("|") + b"N(" + text("a") + b"t}" + text("a")
                           + b"(" + dtype("O8") + b"I0\ntsI8\nI1\nI0\nt") + b".", "type V8"),
    "structured": (dtype("i8", b"(I3\n" + text("|") + b"N(t}I8\nI1\nI0\nt") + b".", "a structured"),
    "subarray": (dtype("f4", b"(I3\n" + text("|") + b"(NtNNI8\nI1\nI0\nt") + b".", "a structured"),
    "objects of bytes": (array("I1\n", dtype("O8"), b"C\x08AAAAAAAA") + b".", "without its"),
    "objects too few": (array("I3\n", dtype("O8"), b"(Nl") + b".", "without its objects"),
    "scalar object": (glob("numpy.core.multiarray", "scalar") + b"(" + dtype("O8") + b"](NetR.",
                      "a scalar that is an object"),
    "array with an object": (array("I1\n", dtype("O8"), b"]" + SYSTEM + b"a") + b".", r"os\.sys"),
    "date": (dtype("M8") + b".", "an array of type M8"),
    "shape": (array("L1000000000000L\n", dtype("f4"), b"C\x00") + b".", "more items than the file"),
    "shapes": (array("I9\n" * 40, dtype("f4"), b"C\x00") + b".", "more items than the file"),
    "wide shape": (array("L1000000000000L\nI0\n", dtype("f4"), b"C\x00") + b".", "more items than"),
    "many axes": (array("I1\n" * 65, dtype("f4"), b"C\x04AAAA") + b".", "without dtype or shape"),
    "negative shape": (array("I-1\n", dtype("f4"), b"C\x04AAAA") + b".", "an impossible shape"),
    "too few bytes": (array("I3\n", dtype("f4"), b"C\x04AAAA") + b".", "of 12 bytes with 4"),
    "no truth": (array("I2\n", dtype("b1"), b"C\x02\x01\x07") + b".", "truth values other than"),
    "no letter": (array("I1\n", dtype("U1"), b"C\x04AAAA") + b".", "letters that Unicode does not"),
    "long bytes": (b"\x8e" + le(10**15, 8) + b"a.", "1000000000000000 bytes should follow, 2 are"),
    "long text": (b"X\xff\xff\xff\xffa.", "4294967295 bytes should follow"),
    "negative text": (b"T\xff\xff\xff\xffa.", "-1 bytes should follow"),
    "long frame": (b"\x80\x04\x95" + le(2**63, 8) + b"N.", "a frame that is longer than the file"),
    "many digits": (b"I" + b"9" * 10**5 + b"\n.", "damaged"),
    "deep": (b")" + b"\x85" * 10**5 + b".", "lie more than 100 deep"),
    "deep key": (b"})" + b"\x85" * 10**5 + b"Ns.", "a key, or an item of a set, that is neither"),
    "bomb": (NESTED + b".", "unfold to more than the file holds"),
    "bomb as key": (b"}" + NESTED + b"Ns.", "a key, or an item"),
    "bomb as keys": (b"}(" + NESTED + b"Nu.", "a key, or an item"),
    "bomb in a dict": (b"(" + NESTED + b"Nd.", "a key, or an item"),
    "bomb in a set": (b"\x8f(" + NESTED + b"\x90.", "a key, or an item"),
    "bomb in a frozenset": (b"(" + NESTED + b"\x91.", "a key, or an item"),
    "bomb in a made set": (glob("builtins", "set") + b"(](" + NESTED + b"etR.", "a key, or an"),
    "bomb in an OrderedDict": (glob("collections", "OrderedDict") + b"(](" + NESTED + b"N\x86etR.",
                               "a key, or an item"),
    "bomb as a name": (NESTED + text("a") + b"\x93.", "a name that is no text"),
    "bomb as a factory": (glob("collections", "defaultdict") + NESTED + b"\x85R.", "anything but"),
    "itself": (b"]q\x00h\x00a.", "containers that hold themselves"),
    "itself in a dict": (b"}q\x00Nh\x00s.", "containers that hold themselves"),
    "copies": (b"(" + text("a" * 10**5) + b"q\x00" + glob("_codecs", "encode") + b"q\x01"
               + text("latin1") + b"q\x02" + b"h\x01h\x00h\x02\x86R" * 10**4 + b"t.",
               "unfolds to more than the file holds"),
    "unhashable": (b"}]Ns.", "a key, or an item"),
    "future": (b"\x80\x06N.", "a protocol of the future"),
    "two objects": (b"NN.", "does not end with its one object"),
    "no object": (b".", "does not end with its one object"),
    "open mark": (b"(N.", "does not end with its one object"),
    "second pickle": (b"N.N.", "does not end with its one object"),
    "no end": (b"N", "1 bytes should follow, 0 are there"),
    "no such operation": (b"\xff.", r"no operation b'\\xff'"),
    "unknown place": (b"h\x07.", "KeyError"),
    "empty stack": (b"a.", "IndexError"),
    "no mark": (b"t.", "IndexError"),
    "odd items": (b"}(Nu.", "ValueError"),
    "append to a tuple": (b")Na.", "no list where there must be one"),
    "bad escape": (b'S"a\\q"\n.', "KeyError"),
    "no quotes": (b"Sabc\n.", "ValueError"),
    "no line": (b"Sabc", "a line without an end"),
}  # fmt: skip


@pytest.mark.parametrize("attack", BY_HAND)
def test_attacks_are_refused_at_once_and_in_little_memory(path, sentinel, attack):
    content, message = BY_HAND[attack]
    begin = time.process_time()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError, match=rf"data.pkl: .*{message}.*; (have|download)"):
                read(path, content)
        assert tracemalloc.get_traced_memory()[1] < 30e6 + 40 * len(content)
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 20 and not sentinel.exists()  # not of other processes


def test_a_far_place_in_the_memo_takes_no_memory(path):
    tracemalloc.start()
    assert read(path, b"Nr" + le(2**32 - 1, 4) + b".") is None
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_an_extension_that_the_process_knows_is_refused_too(path, sentinel):
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(DataError, match=r"an extension \(EXT1\)"):
            read(path, b"\x82\xf0(" + text("touch pwned") + b"tR.")
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert not sentinel.exists()


def test_nothing_is_imported(path):
    sys.modules.pop("antigravity", None)
    with pytest.raises(DataError, match=r"antigravity\.geohash"):
        read(path, glob("antigravity", "geohash") + b".")
    assert "antigravity" not in sys.modules


operations = st.lists(
    st.sampled_from([
        *(bytes([c]) for c in b"()]}.NJKMGUTXVSILFtdlaesubcRqrphgjQPio0123"),
        *(bytes([c]) for c in b"\x80\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94"),
        b"\x8c\x01a", b"K\x01", b"h\x00", b"q\x00", b"C\x04\0\0\0\0",
        glob("numpy", "ndarray"), glob("builtins", "set"), dtype("f4"), dtype("O8"), NDARRAY,
        glob("collections", "OrderedDict"), glob("collections", "defaultdict"), text("latin1"),
        glob("numpy._core.multiarray", "scalar"), glob("_codecs", "encode"), glob("os", "system"),
        glob("numpy._core.numeric", "_frombuffer"),
    ]), max_size=40,
)  # fmt: skip


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations)
def test_random_programs_give_data_or_a_data_error(path, program):
    try:
        pickle.dumps(read(path, b"".join(program) + b"."))
    except DataError:
        pass
