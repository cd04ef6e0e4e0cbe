import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer_lib import store as cache
from mmer_lib import store as ragged_files
from mmer_lib.data import DataError

DTYPES = (np.float32, np.float64, np.int64, np.int16, np.bool_, np.uint8)


@st.composite
def ragged(draw):
    """A dictionary of lists of arrays as save_ragged takes them."""
    arrays = {}
    for name in draw(st.sets(st.sampled_from("abcd"))):
        dtype = draw(st.sampled_from(DTYPES))
        width = draw(st.sampled_from([(), (0,), (1,), (5,)]))
        lengths = draw(st.lists(st.integers(0, 6), max_size=5))
        arrays[name] = [draw(hnp.arrays(dtype, (n, *width))) for n in lengths]
    return arrays


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arrays=ragged())
def test_ragged_comes_back_bit_for_bit(tmp_path, arrays):
    path = tmp_path / "deep" / "x.safetensors"
    ragged_files.save_ragged(path, arrays, {"n": [1, "ä"]})
    loaded, metadata = ragged_files.load_ragged(path, verify=True)
    assert metadata == {"n": [1, "ä"]}
    assert set(loaded) == set(arrays)
    for name, items in arrays.items():
        assert len(loaded[name]) == len(items)
        for old, new in zip(items, loaded[name], strict=True):
            assert old.dtype == new.dtype and old.shape == new.shape
            assert old.tobytes() == new.tobytes()
    assert os.listdir(path.parent) == [path.name]


def test_loaded_items_are_views_of_one_mapping(tmp_path):
    path = tmp_path / "x"
    ragged_files.save_ragged(path, {"a": [np.ones((2, 3)), np.zeros((4, 3))]}, {})
    (first, second), _ = ragged_files.load_ragged(path)[0]["a"], None
    assert not first.flags.owndata and not first.flags.writeable
    assert second.ctypes.data - first.ctypes.data == first.nbytes


def test_the_file_is_plain_safetensors(tmp_path):
    from safetensors.numpy import load_file

    ragged_files.save_ragged(tmp_path / "x", {"a": [np.arange(3), np.arange(2)]}, {})
    tensors = load_file(tmp_path / "x")
    assert tensors["a"].tolist() == [0, 1, 2, 0, 1]
    assert tensors["a/offsets"].tolist() == [0, 3, 5]


def _saved(tmp_path):
    path = tmp_path / "x.safetensors"
    ragged_files.save_ragged(path, {"a": [np.arange(100, dtype=np.float32)]}, {})
    return path


@pytest.mark.parametrize("keep", [0, 5, 40, -1, -300])
def test_truncated_file_is_refused_without_verify(tmp_path, keep):
    path = _saved(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(DataError, match=r"x\.safetensors.*delete this file"):
        ragged_files.load_ragged(path)


def test_foreign_and_lengthened_files_are_refused(tmp_path):
    path = _saved(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError):
        ragged_files.load_ragged(path)
    path.write_bytes(b"this is a letter to my aunt, not a tensor file")
    with pytest.raises(DataError):
        ragged_files.load_ragged(path)


def test_one_flipped_bit_is_found_by_verify(tmp_path):
    path = _saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    ragged_files.load_ragged(path)
    with pytest.raises(DataError, match=r"x\.safetensors.*checksum.*delete this file"):
        ragged_files.load_ragged(path, verify=True)


@pytest.mark.parametrize(
    "items",
    [
        [np.zeros(2, np.float32), np.zeros(2, np.float64)],
        [np.zeros((2, 3)), np.zeros((2, 4))],
        [np.zeros((2, 3)), np.zeros(3)],
        [np.zeros((1, 1, 1))],
        [np.array(["a"])],
    ],
)
def test_items_that_disagree_are_refused_and_nothing_is_written(tmp_path, items):
    with pytest.raises(ValueError, match="'a'"):
        ragged_files.save_ragged(tmp_path / "x", {"a": items}, {})
    assert not os.listdir(tmp_path)


def test_interrupted_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    cache.write_bytes(path, b"old")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(cache.os, step, lambda *args: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(DataError, match=rf"{path}: cannot be written: full\. Free some"):
                cache.write_bytes(path, b"new")
            with pytest.raises(DataError, match="full"):
                ragged_files.save_ragged(path, {"a": [np.zeros(9)]}, {})
    with pytest.raises(KeyboardInterrupt), cache.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_write_json(tmp_path):
    path = tmp_path / "a" / "x.json"
    cache.write_json(path, {"ä": [1, None]})
    assert json.loads(path.read_text("utf-8")) == {"ä": [1, None]}
    for wrong in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises((ValueError, TypeError)):
            cache.write_json(path, wrong)
    assert json.loads(path.read_text("utf-8")) == {"ä": [1, None]}


@dataclass
class Settings:
    a: int
    b: tuple


@dataclass
class OtherSettings:
    a: int
    b: tuple


def test_digest_tells_different_things_apart():
    things = [
        None, True, 1, 1.0, "1", b"1", "", b"", [], {}, [1], [[1]], {"a": 1}, ["a", 1],
        [["a", 1]], Path("a"), "a", ["path", "a"], Settings(1, (2,)), OtherSettings(1, (2,)),
        Settings(2, (2,)), np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), np.ones(2),
        ["bytes", "x"], {"a": 1, "b": 2},
    ]  # fmt: skip
    assert len({cache.digest(thing) for thing in things}) == len(things)
    assert cache.digest("a", "b") != cache.digest("ab") != cache.digest("b", "a")
    assert cache.digest() != cache.digest([])


def test_digest_does_not_depend_on_order_of_keys_or_kind_of_sequence():
    assert cache.digest({"a": 1, "b": 2}) == cache.digest({"b": 2, "a": 1})
    assert cache.digest((1, 2)) == cache.digest([1, 2])
    assert cache.digest(np.float64(0.5)) == cache.digest(0.5)
    assert cache.digest(np.arange(6).reshape(2, 3).T) == cache.digest(
        np.arange(6).reshape(2, 3).T.copy()
    )


def test_digest_is_the_same_in_another_process():
    code = "from mmer_lib.store import digest; print(digest({'b': 1, 'a': b'x'}, 0.1))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.getcwd()},
    )
    assert out.stdout.strip() == cache.digest({"b": 1, "a": b"x"}, 0.1)


def test_digest_refuses_what_it_cannot_take():
    for wrong in (object(), {1: 2}, {1, 2}, lambda: 0, np.array([object()])):
        with pytest.raises(TypeError):
            cache.digest(wrong)


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("MMER_CACHE", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    monkeypatch.delenv("MMER_CACHE")
    assert "mmer" in cache.cache_dir().parts


def test_a_folder_that_cannot_be_is_refused_and_one_that_can_is_not_made(tmp_path):
    (tmp_path / "letter").write_text("Dear aunt")
    for folder in (tmp_path / "letter", tmp_path / "letter" / "deep" / "down"):
        with pytest.raises(DataError, match=f"^{folder}: letter is a file, not a folder; name"):
            cache.check_folder(folder)
        with pytest.raises(DataError, match="letter is a file"):
            cache.write_bytes(folder / "x", b"")
    cache.check_folder(tmp_path / "new" / "deep")
    cache.check_folder(tmp_path)
    assert os.listdir(tmp_path) == ["letter"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_where_nothing_can_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"nothing can be written in .*; name another"):
        cache.check_folder(tmp_path / "new")
    cache.check_folder(tmp_path)  # what is there can be read
