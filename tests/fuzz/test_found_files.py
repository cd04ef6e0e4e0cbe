"""Feature files, runs, results and pickles that fuzzing, and reading for it, found to break their
readers. Each is as small as shows it."""

import json
import pickle
import struct

import numpy as np
import pytest

from mmer_lib.corpora.mosi import load as mosi
from mmer_lib.corpora.mosi.unpickle import load_pickle
from mmer_lib.data import DataError
from mmer_lib.experiments.tables import read_table
from mmer_lib.store import load_ragged, save_ragged
from mmer_lib.training.runs import open_run, read_results, save_run
from tests.corpora import fake_mosi
from tests.fuzz.conftest import DEEP
from tests.training.test_runs import run_of

pytestmark = pytest.mark.usefixtures("bounded")

# ------------------------------------------------------------------------------ feature files


def with_header(path, change):
    """A feature file of 2 + 1 rows whose header was changed."""
    save_ragged(path, {"a": [np.zeros((2, 3), "f4"), np.zeros((1, 3), "f4")]}, {"x": 1})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    made = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + content[8 + length :])
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["a"].pop("dtype"),
        lambda h: h["a"].update(dtype=["F32"]),
        lambda h: h["a"].update(dtype="BF16"),
        lambda h: h["a"].update(shape=[2, 2]),
        lambda h: h["a"].update(shape=[-1, 3]),
        lambda h: h["a"].update(shape="33"),
        lambda h: h["a"].update(data_offsets=7),
        lambda h: h["a"].update(data_offsets=[0, 36, 72]),
        lambda h: h.update(a=[1]),
        lambda h: h.pop("a/offsets"),
        lambda h: h["a/offsets"].update(shape=[1, 3]),
        lambda h: h["a/offsets"].update(dtype="F64"),
        lambda h: h.update(__metadata__=None),
        lambda h: h["__metadata__"].pop("metadata"),
        lambda h: h["__metadata__"].update(metadata=5),
        lambda h: h["__metadata__"].update(metadata="[1]"),
        lambda h: h["__metadata__"].update(metadata=DEEP),
    ],
)
def test_a_feature_file_with_a_wrong_header_is_refused(tmp_path, change):
    path = with_header(tmp_path / "a.safetensors", change)
    for verify in (True, False):
        with pytest.raises(DataError, match=r"a\.safetensors: .*delete this file"):
            load_ragged(path, verify)


def test_a_feature_file_with_a_header_that_is_too_deep_is_refused(tmp_path):
    content = DEEP.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    with pytest.raises(DataError, match=r"a\.safetensors: truncated or not a feature file"):
        load_ragged(path)


@pytest.mark.parametrize("ends", [[0, 2, 4], [0, 5, 3], [-1, 2, 3], [1, 2, 3], [0, 2, 2**62]])
def test_offsets_that_do_not_divide_the_rows_are_refused(tmp_path, ends):
    path = with_header(tmp_path / "a.safetensors", lambda header: header)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    begin, end = json.loads(content[8 : 8 + length])["a/offsets"]["data_offsets"]
    made = content[: 8 + length + begin] + np.array(ends, "<i8").tobytes()
    path.write_bytes(made + content[8 + length + end :])
    with pytest.raises(DataError, match="truncated or not a feature file"):
        load_ragged(path)


@pytest.mark.parametrize(
    "change",
    [
        {"sentiments": [float("nan")]},
        {"sentiments": [10**400]},
        {"sentiments": ["1"]},
        {"left_out": {"a": "b"}},
        {"repaired": [1]},
    ],
)
def test_a_safe_file_with_other_values_is_refused(tmp_path, change):
    path = tmp_path / "safe.safetensors"
    mosi.convert(fake_mosi.write_pickle(tmp_path / "a.pkl", fake_mosi.misa()), path)
    arrays, told = load_ragged(path)
    arrays = {name: [item.copy() for item in items] for name, items in arrays.items()}
    for name, value in change.items():
        told[name] = value + told[name][1:] if name == "sentiments" else value
    path.write_bytes(b"")
    _save(path, arrays, told)
    with pytest.raises(DataError, match=r"safe\.safetensors: damaged, or not made by mosi\.conv"):
        mosi.load(path, "mosi", progress=False)


def _save(path, arrays, told):
    """`save_ragged`, which itself refuses NaN."""
    save_ragged(path, arrays, {"x": 1})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["metadata"] = json.dumps(told)
    made = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + content[8 + length :])


def test_a_safe_file_of_whole_numbers_is_refused(tmp_path):
    path = tmp_path / "safe.safetensors"
    mosi.convert(fake_mosi.write_pickle(tmp_path / "a.pkl", fake_mosi.misa()), path)
    arrays, told = load_ragged(path)
    whole = {name: [item.astype("i4") for item in items] for name, items in arrays.items()}
    save_ragged(path, whole, told)
    with pytest.raises(DataError, match="damaged, or not made by mosi"):
        mosi.load(path, "mosi", progress=False)


@pytest.mark.parametrize("without", ["train", "test"])
def test_parts_with_and_without_vectors_are_refused(tmp_path, without):
    """`convert` took what the first utterance has, and dropped the vectors of the others."""
    content = fake_mosi.mmsa()
    del content[without]["text"]
    path = fake_mosi.write_pickle(tmp_path / "a.pkl", content)
    for read in (
        lambda: mosi.load(path, "mosi"),
        lambda: mosi.convert(path, tmp_path / "a.safetensors"),
    ):
        with pytest.raises(DataError, match=r"vectors of width .*None.*one set of features"):
            read()
    assert not (tmp_path / "a.safetensors").exists()


def test_labels_that_are_complex_are_refused(tmp_path):
    """Their real part was taken, with a warning."""
    content = fake_mosi.mmsa()
    content["test"]["regression_labels"] = content["test"]["regression_labels"].astype("c8")
    path = fake_mosi.write_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(DataError, match="test: regression_labels: not numbers"):
        mosi.load(path, "mosi")


# ----------------------------------------------------------------------------- runs, results


@pytest.fixture
def run(tmp_path):
    save_run(run_of("mimic", tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("width", "value"), [("units", 20_000), ("bottleneck", 3000), ("vision", 10**9)]
)
def test_a_configuration_of_a_giant_model_is_refused_before_it_is_made(run, width, value):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, width: value}))
    with pytest.raises(DataError, match=r"asks for a model larger than model\.safetensors"):
        open_run(run)


@pytest.mark.parametrize("name", ["heads", "pool"])
def test_a_configuration_that_divides_by_zero_is_refused(run, name):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, name: 0}))
    with pytest.raises(DataError, match="damaged or contradict each other"):
        open_run(run)


@pytest.mark.parametrize("content", ["[]", '"text"', "1", "null", DEEP])
def test_a_result_that_is_none_is_refused(run, content):
    (run / "result.json").write_text(content)
    with pytest.raises(DataError, match="damaged or contradict each other"):
        open_run(run)


@pytest.mark.parametrize(("name", "value"), [("text", 5), ("learning_rate", "1"), ("tune", None)])
def test_settings_of_other_types_are_refused(run, name, value):
    saved = json.loads((run / "run.json").read_text())
    saved["settings"][name] = value
    (run / "run.json").write_text(json.dumps(saved))
    with pytest.raises(DataError, match=f"damaged or contradict .*setting {name} is no"):
        open_run(run)


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"5", b"{", b"\xff", b'{"model": 1}', b'{"fold": [0], "seed": 1}', DEEP.encode()],
)
def test_a_file_that_is_no_recorded_result_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json: no recorded result"):
        read_results(tmp_path)


def test_results_of_other_runs_need_not_be_whole(tmp_path):
    (tmp_path / "a.json").write_text('{"model": "a", "fold": 1, "seed": 0}')
    (tmp_path / "b.json").write_text('{"model": "b"}')
    assert [r["fold"] for r in read_results(tmp_path, model="a")] == [1]


def test_a_table_that_is_too_deep_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(DEEP)
    with pytest.raises(DataError, match=r"a\.json: damaged"):
        read_table(tmp_path / "a.json")


# --------------------------------------------------------------------------------- pickles


def test_one_array_that_many_utterances_share_is_refused(tmp_path):
    """100 kB that would be copied for every utterance: gigabytes."""
    rows = np.zeros((1, 100_000), "i1")
    content = {part: [((["a"], rows, rows), 1.0, f"{part}{i}[0]") for i in range(1000)]
               for part in ("train", "dev", "test")}  # fmt: skip
    path = fake_mosi.write_pickle(tmp_path / "a.pkl", content)
    with pytest.raises(DataError, match="unfold to more than the file holds"):
        load_pickle(path)


def test_one_text_that_many_utterances_share_is_refused(tmp_path):
    path = fake_mosi.write_pickle(tmp_path / "a.pkl", ["a" * 100_000] * 10_000)
    with pytest.raises(DataError, match="unfold to more than the file holds"):
        load_pickle(path)


COLLIDING = {
    "whole numbers": lambda n: [i * (2**61 - 1) for i in range(n)],
    "complex": lambda n: [complex(-1_000_003 * i, i) for i in range(n)],
}


@pytest.mark.parametrize("kind", COLLIDING)
@pytest.mark.parametrize("container", ["dict", "set", "sets"])
def test_keys_with_the_same_hash_do_not_take_for_ever(tmp_path, kind, container):
    keys = COLLIDING[kind](12_000)
    if container == "dict":
        pairs = b"".join(pickle.dumps(key, 2)[2:-1] + b"N" for key in keys)
        content = b"\x80\x02}(" + pairs + b"u."
    elif container == "set":
        content = b"\x80\x04\x8f(" + b"".join(pickle.dumps(k, 2)[2:-1] for k in keys) + b"\x90."
    else:
        keys = b"".join(pickle.dumps(k, 2)[2:-1] for k in keys[:2000])
        content = b"\x80\x04(" + (b"(" + keys + b"\x91") * 20 + b"l."
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pkl: over 10000 keys that are neither text nor"):
        load_pickle(tmp_path / "a.pkl")
