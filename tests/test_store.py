import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib import store
from mmer_lib.data import DataError

DTYPES = (np.float32, np.float64, np.int64, np.int16, np.bool_, np.uint8)
SHARED_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def lists_of_arrays(draw):
    """A dictionary of lists of arrays as save_arrays takes them."""
    arrays = {}
    for name in draw(st.sets(st.sampled_from("abcd"))):
        dtype = draw(st.sampled_from(DTYPES))
        width = draw(st.sampled_from([(), (0,), (1,), (5,)]))
        counts = draw(st.lists(st.integers(0, 6), max_size=5))
        arrays[name] = [draw(hnp.arrays(dtype, (n, *width))) for n in counts]
    return arrays


# --------------------------------------------------------------------------- lists of arrays


@SHARED_FOLDER
@given(arrays=lists_of_arrays())
def test_lists_of_arrays_come_back_bit_for_bit(tmp_path, arrays):
    path = tmp_path / "deep" / "x.safetensors"
    store.save_arrays(path, arrays, {"n": [1, "ä"]})
    loaded, metadata = store.load_arrays(path)
    assert metadata == {"n": [1, "ä"]}
    assert set(loaded) == set(arrays)
    for name, items in arrays.items():
        assert len(loaded[name]) == len(items)
        for old, new in zip(items, loaded[name], strict=True):
            assert old.dtype == new.dtype and old.shape == new.shape
            assert old.tobytes() == new.tobytes()
    assert os.listdir(path.parent) == [path.name]


def test_the_file_is_plain_safetensors_mapped_read_only(tmp_path):
    from safetensors.numpy import load_file

    store.save_arrays(tmp_path / "x", {"a": [np.arange(3), np.arange(2)]}, {})
    tensors = load_file(tmp_path / "x")
    assert tensors["a"].tolist() == [0, 1, 2, 0, 1]
    assert tensors["a/offsets"].tolist() == [0, 3, 5]
    first, second = store.load_arrays(tmp_path / "x")[0]["a"]
    assert not first.flags.owndata and not first.flags.writeable
    assert second.ctypes.data - first.ctypes.data == first.nbytes


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda content, keep=keep: content[:keep] for keep in (0, 5, 40, -1, -300)),
        lambda content: content + b"\0",
        lambda content: b"this is a letter to my aunt, not a tensor file",
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    store.save_arrays(path, {"a": [np.arange(100, dtype=np.float32)]}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"x\.safetensors.*delete this file"):
        store.load_arrays(path)


@pytest.mark.parametrize(
    "items",
    [
        [np.zeros(2, np.float32), np.zeros(2, np.float64)],
        [np.zeros((2, 3)), np.zeros((2, 4))],
    ],
)
def test_items_that_disagree_are_refused_and_nothing_is_written(tmp_path, items):
    with pytest.raises(ValueError, match="'a'"):
        store.save_arrays(tmp_path / "x", {"a": items}, {})
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(tmp_path / "x", {"x": float("nan")})
    assert not os.listdir(tmp_path)


def test_what_an_iterator_raises_is_not_taken_for_an_error_of_writing(tmp_path):
    (tmp_path / "x").write_bytes(b"before")

    def items():
        yield np.zeros(5)
        assert os.listdir(tmp_path) == ["x"], "what waits has no name, and goes with the process"
        raise FileNotFoundError("a.wav")

    with pytest.raises(FileNotFoundError, match=r"^a\.wav$"):
        store.save_arrays(tmp_path / "x", {"a": items()}, {})
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"before"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_full_disk_is_told_when_an_item_no_longer_fits(tmp_path, monkeypatch, size):
    """What waits for the end, and what is written at once."""
    monkeypatch.setattr(store, "TemporaryFile", lambda dir: open("/dev/full", "w+b"))
    with pytest.raises(DataError, match="x: cannot be written: No space left"):
        store.save_arrays(tmp_path / "x", {"a": [np.zeros(size)]}, {})
    assert not os.listdir(tmp_path)


# ------------------------------------------------------------------------- files and folders


def test_interrupted_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    store.write_bytes(path, b"old")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(store.os, step, lambda *args: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(DataError, match=rf"{path}: cannot be written: full\. Free some"):
                store.write_bytes(path, b"new")
            with pytest.raises(DataError, match="full"):
                store.save_arrays(path, {"a": [np.zeros(9)]}, {})
    with pytest.raises(KeyboardInterrupt), store.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_that_cannot_be_is_refused_and_one_that_can_is_not_made(tmp_path):
    (tmp_path / "letter").write_text("Dear aunt")
    for folder in (tmp_path / "letter", tmp_path / "letter" / "deep" / "down"):
        with pytest.raises(DataError, match=f"^{folder}: letter is a file, not a folder; name"):
            store.check_folder(folder)
        with pytest.raises(DataError, match="letter is a file"):
            store.write_bytes(folder / "x", b"")
    store.check_folder(tmp_path / "new" / "deep")
    store.check_folder(tmp_path)
    assert os.listdir(tmp_path) == ["letter"]


# ---------------------------------------------------------------------------------- digests


@dataclass
class Settings:
    a: int
    b: tuple


def test_digest_tells_different_things_apart():
    plain = [None, True, 1, 1.0, "1", b"1", "", b"", [], {}, [1], [[1]], {"a": 1}, ["a", 1]]
    arrays = [np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), np.ones(2)]
    others = [Settings(1, (2,)), Settings(2, (2,)), Path("a"), "a"]
    alike = [[["a", 1]], ["path", "a"], ["bytes", "x"], {"a": 1, "b": 2}]
    things = plain + arrays + others + alike
    assert len({store.digest(thing) for thing in things}) == len(things)
    assert store.digest("a", "b") != store.digest("ab") != store.digest("b", "a")
    assert store.digest() != store.digest([])


def test_digest_does_not_depend_on_order_of_keys_or_kind_of_sequence():
    assert store.digest({"a": 1, "b": 2}) == store.digest({"b": 2, "a": 1})
    assert store.digest((1, 2)) == store.digest([1, 2])
    assert store.digest(np.float64(0.5)) == store.digest(0.5)
    turned = np.arange(6).reshape(2, 3).T
    assert store.digest(turned) == store.digest(turned.copy())
    known = "16de7a1832d2088a2d30423d753ee271ffb4fa30228a109fba48b9edbe50824f"
    assert store.digest({"b": 1, "a": b"x"}, 0.1) == known, "on every machine"


def test_digest_refuses_what_it_cannot_take():
    for wrong in (object(), {1: 2}, {1, 2}, lambda: 0, np.array([object()])):
        with pytest.raises(TypeError):
            store.digest(wrong)


def test_the_digest_of_a_source_follows_all_that_it_imports(tmp_path, monkeypatch):
    """Of two modules one imports a third, within a function, that imports a fourth."""
    sources = {
        "one": "def f():\n    from mmer_lib.room import three",
        "two": "import numpy",
        "room/three": "from mmer_lib import four",
        "four": "x = 1",
    }
    monkeypatch.setattr(store, "__file__", str(tmp_path / "mmer_lib" / "store.py"))

    def digests(**changes):
        for name, text in (sources | changes).items():
            path = tmp_path / "mmer_lib" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        store.source_digest.cache_clear()
        return [store.source_digest(f"mmer_lib.{name}") for name in ("one", "two", "four")]

    first = digests()
    assert first == digests() and len(set(first)) == 3
    changed = digests(four="x = 2")
    assert [a == b for a, b in zip(first, changed, strict=True)] == [False, True, False]
    changed = digests(two="import scipy")
    assert [a == b for a, b in zip(first, changed, strict=True)] == [True, False, True]
    store.source_digest.cache_clear()
