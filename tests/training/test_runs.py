import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer_lib.data import Corpus, DataError, Utterance
from mmer_lib.models.base import Model
from mmer_lib.models.compared.li import Li, LiConfig
from mmer_lib.models.compared.linear import Linear, LinearConfig
from mmer_lib.models.compared.majority import Majority, MajorityConfig
from mmer_lib.models.compared.misa import Misa, MisaConfig
from mmer_lib.models.compared.ssl import Ssl, SslConfig
from mmer_lib.models.compared.xu import Xu, XuConfig
from mmer_lib.models.compared.yoon import Yoon, YoonConfig
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.multigranular import Bert, BertConfig, Multigranular, MultigranularConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.runs import (
    Run,
    open_run,
    provenance,
    read_results,
    save_run,
    source_hash,
    truth_of,
)
from mmer_lib.training.settings import Settings
from tests.tiny import FILES, SMALL, interrupted, names

SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max", warmup=0.1)
ENCODER = {"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
           "num_attention_heads": 2, "intermediate_size": 8}  # fmt: skip


def model_of(name):
    torch.manual_seed(3)
    sizes = {"words": 5, "bands": 6, "width": 8, "hidden": 8, "filters": 2, "kernels": (1, 3)}
    if name == "muse":
        return Muse(MuseConfig(**sizes))
    if name == "muse-multigranular":
        return Multigranular(MultigranularConfig(**sizes, encoder=ENCODER, cls=8, projection=4))
    if name == "bert":
        return Bert(BertConfig(cls=5, projection=4))
    if name == "misa":
        small = {"units": 2, "width": 4, "hidden": 4}
        return Misa(MisaConfig(words=5, audio=4, vision=3, **small))
    if name == "yoon":
        return Yoon(YoonConfig(words=5, bands=6, audio=4, units=4))
    if name == "xu":
        return Xu(XuConfig(words=5, bands=6, units=4))
    if name == "li":
        return Li(LiConfig(words=5, bands=6, channels=(2, 2, 2), width=4, units=4))
    if name == "ssl":
        return Ssl(SslConfig(encoder=ENCODER, cls=8, audio=4))
    if name == "majority":
        return Majority(MajorityConfig())
    if name == "linear":
        return Linear(LinearConfig(words=5, bands=6))
    if name in ("tfn", "lmf", "mfn", "mv-lstm", "mult", "raven", "mfm", "iccn"):
        cls = model_class(name)
        return cls(cls.config_class(words=5, audio=4, vision=3, **SMALL[name]))
    return Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))


def run_of(name, folder, result=None):
    model = model_of(name)
    for layer in model.scalings().values():
        layer.fit(np.random.default_rng(0).normal(3, 2, (9, len(layer.mean))).astype("f4"))
    return Run(name, folder, model.eval(), SETTINGS, result or {"test": {"wa": 0.5}})


@pytest.fixture(params=list(MODELS))
def saved(request, tmp_path):
    run = run_of(request.param, tmp_path / "run")
    save_run(run)
    return run


# ------------------------------------------------------------------------------- there and back


def test_a_run_comes_back_bit_for_bit(saved):
    again = open_run(str(saved.folder))
    assert again.name == saved.name and again.settings == saved.settings
    assert again.result == saved.result and again.model.config == saved.model.config
    assert not again.model.training and type(again.model) is type(saved.model)
    old, new = saved.model.state_dict(), again.model.state_dict()
    assert list(old) == list(new)
    for k in old:
        assert old[k].dtype == new[k].dtype and torch.equal(old[k], new[k]), k
    assert names(saved.folder) == FILES


def test_the_models_own_from_pretrained_opens_the_same(saved, capsys):
    again = open_run(saved.folder).model
    assert capsys.readouterr() == ("", ""), "opening a run prints"
    alone = type(saved.model).from_pretrained(saved.folder)
    assert alone.config == again.config and not alone.training
    assert {k: v.tolist() for k, v in alone.state_dict().items()} == {
        k: v.tolist() for k, v in again.state_dict().items()
    }


def test_the_configuration_is_the_models_alone(saved):
    config, run = (
        json.loads((saved.folder / f"{n}.json").read_text(encoding="utf-8"))
        for n in ("config", "run")
    )
    assert set(config) == set(type(saved.model.config).__dataclass_fields__)
    assert run == {"model": saved.name, "settings": asdict(SETTINGS)}


def test_saving_again_gives_the_same_bytes(saved):
    before = {p.name: p.read_bytes() for p in saved.folder.iterdir()}
    save_run(open_run(saved.folder))
    assert before == {p.name: p.read_bytes() for p in saved.folder.iterdir()}


def test_nan_is_saved_as_null(tmp_path):
    nan = float("nan")
    result = {"test": {"corr": nan, "mae": 1.0}, "history": [{"corr": nan}, {"corr": math.inf}]}
    save_run(run_of("mimic", tmp_path / "run", result))
    text = (tmp_path / "run" / "result.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text
    assert open_run(tmp_path / "run").result == {
        "test": {"corr": None, "mae": 1.0}, "history": [{"corr": None}, {"corr": None}],
    }  # fmt: skip


# --------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    (saved.folder / name).unlink()
    with pytest.raises(DataError, match=f"no {name}; give the folder of a finished"):
        open_run(saved.folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_run(tmp_path / "nowhere")


def refused(folder):
    """Opening is refused with the folder and the remedy."""
    with pytest.raises(DataError) as caught:
        open_run(folder)
    assert str(folder) in str(caught.value)
    assert "delete the folder and train again" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-9], lambda b: b"\xff\xfe" + b],
                         ids=["empty", "truncated", "not UTF-8"])  # fmt: skip
def test_a_damaged_file_is_refused(saved, name, damage):
    path = saved.folder / name
    path.write_bytes(damage(path.read_bytes()))
    refused(saved.folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config", {"words": 9}),
        ("config", {"words": "many"}),
        ("config", {"width": -4}),
        ("config", {"heads": 3}),
        ("config", {"fusion": "sum"}),
        ("run", {"model": "mimic"}),
        ("run", {"model": "gpt"}),
        ("run", {"settings": {"colour": "red"}}),
        ("run", {"settings": []}),
        ("run", {"settings": {**asdict(SETTINGS), "colour": "red"}}),
    ],
)
def test_files_that_contradict_each_other_or_this_version_are_refused(tmp_path, name, change):
    save_run(run_of("muse", tmp_path / "run"))
    path = tmp_path / "run" / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **change}), encoding="utf-8")
    refused(tmp_path / "run")


@pytest.mark.parametrize("name", ["config", "run"])
@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_json_of_another_shape_is_refused(tmp_path, name, content):
    save_run(run_of("muse", tmp_path / "run"))
    (tmp_path / "run" / f"{name}.json").write_text(content, encoding="utf-8")
    refused(tmp_path / "run")


def test_weights_of_another_model_are_refused(tmp_path):
    save_run(run_of("muse", tmp_path / "a"))
    save_run(run_of("mimic", tmp_path / "b"))
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    refused(tmp_path / "a")


@pytest.mark.parametrize("change", [lambda c: c.pop("heads"), lambda c: c.update(colour="red")])
def test_a_configuration_with_other_fields_is_not_filled_up_in_silence(tmp_path, change):
    """Without its number of heads, weights would fit another model than was trained."""
    run = run_of("muse", tmp_path / "run")
    save_run(run)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")
    refused(tmp_path / "run")


# -------------------------------------------------------------------------- an interrupted save


@pytest.mark.parametrize("at", ["save_pretrained", *FILES])
def test_an_interrupted_save_leaves_no_result_and_no_rest(tmp_path, monkeypatch, at):
    run = run_of("muse-multigranular", tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(DataError, match="disk full"):
        interrupted(patch, at)
        save_run(run)
    assert set(names(run.folder)) <= set(FILES) - {"result.json", at}
    with pytest.raises(DataError, match="no "):
        open_run(run.folder)
    save_run(run)
    assert open_run(run.folder).result == run.result and names(run.folder) == FILES


def test_a_result_that_is_not_json_is_not_begun(tmp_path):
    run = run_of("mimic", tmp_path / "run", {"test": object()})
    with pytest.raises(TypeError):
        save_run(run)
    with pytest.raises(DataError, match=r"no result\.json"):
        open_run(tmp_path / "run")


# -------------------------------------------------------------------------------- the rest of it


def test_an_unknown_model_is_refused():
    with pytest.raises(DataError, match="unknown model 'gpt'; known: muse, muse-multigranular, be"):
        model_class("gpt")
    classes = [model_class(n) for n in MODELS]
    names = ("muse", "muse-multigranular", "bert", "mimic", "misa")
    assert [model_class(n) for n in names] == [Muse, Multigranular, Bert, Mimic, Misa]
    assert len(set(classes)) == len(MODELS) and all(issubclass(c, Model) for c in classes)


def test_truth_follows_the_rows_the_task_and_the_classes():
    us = tuple(
        Utterance(f"u{i}", "p", "s", "", emotion=e, sentiment=y)
        for i, (e, y) in enumerate([("sad", -1.5), ("angry", 0.5), ("happy", 2.0)])
    )
    corpus = Corpus("mine", "k", us)
    assert truth_of(corpus, [2, 0], "emotion").tolist() == [1, 3]
    assert truth_of(corpus, [2, 1], "sentiment").tolist() == [2.0, 0.5]
    own = replace(corpus, emotions=("sad", "happy", "angry"))
    assert truth_of(own, [2, 0], "emotion").tolist() == [1, 0]


def test_provenance_is_json_and_names_device_and_versions():
    made = json.loads(json.dumps(provenance(torch.device("cpu"))))
    assert made["device"].startswith("CPU") and made["versions"]["torch"] == torch.__version__


EVERY = set(MODELS)


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("models/base.py", EVERY), ("models/encoders.py", EVERY), ("features/text.py", EVERY),
        ("learner.py", EVERY), ("checkpoints.py", EVERY), ("hooks.py", EVERY),
        ("losses.py", EVERY), ("batch.py", EVERY),
        ("corpora/__init__.py", EVERY), ("corpora/demo.py", set()), ("presets.py", set()),
        ("cli.py", set()), ("predict.py", set()),
        ("models/muse.py", {"muse", "muse-multigranular", "bert", "ssl"}),
        ("models/yoon.py", {"yoon"}),
        ("models/spans.py", {"li"}), ("models/streams.py", {"mult"}),
        ("models/mfn.py", {"mfn", "mfm"}),
    ],
)  # fmt: skip
def test_the_digest_of_the_source_follows_what_decides_a_training(monkeypatch, file, counts):
    fresh, original = source_hash.__wrapped__, Path.read_bytes  # not what this process remembers
    before = {name: fresh(name) for name in MODELS}
    changed = Path(training.__file__).parent / file
    assert changed.is_file()
    monkeypatch.setattr(
        Path, "read_bytes", lambda p: original(p) + (b"\n# changed" if p == changed else b"")
    )
    assert {name for name in MODELS if fresh(name) != before[name]} == counts


def test_recorded_results_are_chosen_by_field_in_order_of_fold_and_seed(tmp_path):
    made = [("muse", 1, 0), ("muse", 0, 2), ("mimic", 0, 0), ("muse", 0, 1)]
    for i, (model, fold, seed) in enumerate(made):
        result = {"model": model, "fold": fold, "seed": seed, "preset": "fast"}
        (tmp_path / f"{i}.json").write_text(json.dumps(result), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a result", encoding="utf-8")
    found = read_results(tmp_path, model="muse", preset="fast")
    assert [(r["fold"], r["seed"]) for r in found] == [(0, 1), (0, 2), (1, 0)]
    assert len(read_results(str(tmp_path))) == 4
    for folder, where in ((tmp_path, {"model": "bert"}), (tmp_path / "none", {})):
        with pytest.raises(DataError, match="no recorded result"):
            read_results(folder, **where)
