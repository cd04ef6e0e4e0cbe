import json
import math

import numpy as np
import pytest
import torch

from mmer_lib.corpora import Corpus, DataError, Utterance
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.runs import (
    Run,
    Settings,
    model_class,
    open_run,
    provenance,
    read_results,
    save_run,
    source_hash,
    truth_of,
)

SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max", warmup=0.1)


def run_of(name, folder, result=None):
    torch.manual_seed(3)
    if name == "muse":
        model = Muse(MuseConfig(words=5, bands=6, width=8, hidden=8, filters=2, kernels=(1, 3)))
    else:
        model = Mimic(MimicConfig(words=5, audio=4, vision=3, units=2, heads=2, bottleneck=4))
    for layer in model.scalings().values():
        layer.fit(np.random.default_rng(0).normal(3, 2, (9, len(layer.mean))).astype("f4"))
    return Run(name, folder, model.eval(), SETTINGS, result or {"test": {"wa": 0.5}})


@pytest.fixture(params=["muse", "mimic"])
def saved(request, tmp_path):
    run = run_of(request.param, tmp_path / "run")
    save_run(run)
    return run


def test_a_run_comes_back_bit_for_bit(saved):
    again = open_run(str(saved.folder))
    assert again.name == saved.name and again.settings == saved.settings
    assert again.result == saved.result and again.model.config == saved.model.config
    assert not again.model.training and type(again.model) is type(saved.model)
    old, new = saved.model.state_dict(), again.model.state_dict()
    assert list(old) == list(new)
    for k in old:
        assert old[k].dtype == new[k].dtype and torch.equal(old[k], new[k]), k
    assert sorted(p.name for p in saved.folder.iterdir()) == [
        "config.json", "model.safetensors", "result.json",
    ]  # fmt: skip


def test_saving_again_gives_the_same_bytes(saved):
    before = {p.name: p.read_bytes() for p in saved.folder.iterdir()}
    save_run(open_run(saved.folder))
    assert before == {p.name: p.read_bytes() for p in saved.folder.iterdir()}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "result.json"])
def test_a_missing_file_is_named(saved, name):
    (saved.folder / name).unlink()
    with pytest.raises(DataError, match=f"no {name}; give the folder of a finished"):
        open_run(saved.folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_run(tmp_path / "nowhere")


def change_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def test_weights_of_another_width_are_refused(saved):
    change_config(saved.folder, lambda c: c["config"].update(words=9))
    with pytest.raises(DataError, match=r"model\.safetensors does not fit config\.json"):
        open_run(saved.folder)


def test_weights_of_another_model_are_refused(tmp_path):
    save_run(run_of("muse", tmp_path / "a"))
    save_run(run_of("mimic", tmp_path / "b"))
    weights = (tmp_path / "b" / "model.safetensors").read_bytes()
    (tmp_path / "a" / "model.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match="does not fit"):
        open_run(tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(model="bert"),
        lambda c: c["config"].update(colour="red"),
        lambda c: c["settings"].update(colour="red"),
        lambda c: c.pop("settings"),
    ],
)
def test_a_configuration_of_another_version_is_refused_with_the_folder(saved, change):
    change_config(saved.folder, change)
    with pytest.raises(DataError):
        open_run(saved.folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "result.json"])
def test_a_truncated_file_is_refused_with_its_name(saved, name):
    path = saved.folder / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=name):
        open_run(saved.folder)


def test_nan_is_saved_as_null(tmp_path):
    nan = float("nan")
    result = {"test": {"corr": nan, "mae": 1.0}, "history": [{"corr": nan}, {"corr": math.inf}]}
    save_run(run_of("mimic", tmp_path / "run", result))
    text = (tmp_path / "run" / "result.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text
    assert open_run(tmp_path / "run").result == {
        "test": {"corr": None, "mae": 1.0}, "history": [{"corr": None}, {"corr": None}],
    }  # fmt: skip


def test_a_write_that_fails_leaves_no_result(tmp_path):
    run = run_of("mimic", tmp_path / "run", {"test": object()})
    with pytest.raises(TypeError):
        save_run(run)
    with pytest.raises(DataError, match=r"no result\.json"):
        open_run(tmp_path / "run")


def test_an_unknown_model_is_refused():
    with pytest.raises(DataError, match="unknown model 'bert'; known: muse, mimic"):
        model_class("bert")


def test_truth_follows_the_rows_and_the_task():
    us = tuple(
        Utterance(f"u{i}", "p", "s", "", emotion=e, sentiment=y)
        for i, (e, y) in enumerate([("sad", -1.5), ("angry", 0.5), ("happy", 2.0)])
    )
    corpus = Corpus("mine", "k", us)
    assert truth_of(corpus, [2, 0], "emotion").tolist() == [1, 3]
    assert truth_of(corpus, [2, 1], "sentiment").tolist() == [2.0, 0.5]


def test_provenance_is_json_and_names_device_and_versions():
    made = json.loads(json.dumps(provenance(torch.device("cpu"))))
    assert made["device"].startswith("CPU") and made["versions"]["torch"] == torch.__version__
    assert source_hash().startswith(made["source"]) and len(made["source"]) == 16
    assert source_hash() == source_hash()


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
