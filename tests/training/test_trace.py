"""What is followed through a training: cosines and places, and that following changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.data import DataError
from mmer_lib.models.mimic import Mimic
from mmer_lib.probes.representations import cosines, mean_cosines, pairwise_cosine, representations
from mmer_lib.training import fit as training
from mmer_lib.training import trace
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import open_run
from mmer_lib.training.trace import read_places
from tests.tiny import TRACED, tiny, weights

pytestmark = pytest.mark.usefixtures("keep_cache")
PAIRS = ("text-audio", "text-vision", "audio-vision")


@pytest.fixture(scope="module")
def trained(small_corpus, shared_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return {name: tiny(name, small_corpus, out, batch_size=8) for name in TRACED}


@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**20))
def test_pairwise_cosine_is_numpys(rows, width, count, seed):
    rng = np.random.default_rng(seed)
    arrays = {f"v{i}": rng.normal(size=(rows, width)).astype("f4") for i in range(count)}
    found = pairwise_cosine({k: torch.from_numpy(v) for k, v in arrays.items()})
    assert len(found) == count * (count - 1) // 2
    for (a, b), cosine in found.items():
        x, y = arrays[a].astype("f8"), arrays[b].astype("f8")
        norm = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        np.testing.assert_allclose(cosine.numpy(), (x * y).sum(1) / norm, atol=1e-4)


@pytest.mark.parametrize("name, kinds", [("mimic", "h i i_low"), ("misa", "h i s")])
def test_the_trace_has_the_beginning_the_first_epoch_and_every_epoch(trained, name, kinds):
    run = trained[name]
    record, per_epoch = run.result["trace"], 96 // 8
    steps = record["step"]
    assert steps == sorted(set(steps)) and steps[0] == 0
    assert [s for s in steps if s % per_epoch == 0] == [0, per_epoch, 2 * per_epoch]
    assert sum(0 < s < per_epoch for s in steps) > 5
    assert record["epoch"] == pytest.approx([s / per_epoch for s in steps], abs=1e-5)
    wanted = {f"{kind} {pair}" for kind in kinds.split() for pair in PAIRS}
    assert set(record) == {"step", "epoch"} | wanted
    assert all(len(record[name]) == len(steps) for name in wanted)
    assert all(-1 <= c <= 1 for name in wanted for c in record[name])
    assert wanted <= set(run.result["measures"])


def test_the_mean_of_mimics_individual_cosines_is_where_the_algebra_puts_it(trained):
    record = trained["mimic"].result["trace"]
    means = np.mean([record[f"i {pair}"] for pair in PAIRS], axis=0)
    assert (means >= -0.5 - 1e-5).all() and (means <= -1 / 3 + 1e-5).all()
    assert min(min(record[f"i_low {pair}"]) for pair in PAIRS) >= 0


@pytest.mark.parametrize("name", TRACED)
def test_places_are_those_of_the_first_of_the_development_part(trained, small_corpus, name):
    run = trained[name]
    rows, places = read_places(run.folder)
    assert rows == small_corpus.splits(0).dev[: trace.KEPT]
    assert len(places) == 3 and all(p.shape[0] == len(rows) for p in places)
    best = run.result["best_epoch"]
    named = representations(run.model, examples_for(run, small_corpus, rows))
    np.testing.assert_allclose(places[1 + best], named["S"].numpy(), rtol=2e-3, atol=2e-3)


def test_representations_come_in_the_order_that_was_asked_for(trained, small_corpus):
    run = trained["mimic"]
    rows = small_corpus.splits(0).test
    one = representations(run.model, examples_for(run, small_corpus, rows))
    other = representations(run.model, examples_for(run, small_corpus, rows[::-1]), batch_size=5)
    for name in one:
        torch.testing.assert_close(other[name].flip(0), one[name], rtol=1e-5, atol=1e-5)
    run.model.train()
    representations(run.model, examples_for(run, small_corpus, rows[:3]))
    assert run.model.training
    run.model.eval()


def test_looking_changes_nothing(trained, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Mimic, "traced", {})
    blind = tiny("mimic", small_corpus, tmp_path, batch_size=8)
    assert weights(blind) == weights(trained["mimic"])
    assert blind.result["history"] == trained["mimic"].result["history"]
    assert "trace" not in blind.result and not (blind.folder / trace.FILE).exists()


def test_one_modality_has_places_but_no_cosines(small_corpus, tmp_path):
    options = {"modalities": ("text",), "parts": ("S", "M")}
    run = tiny("mimic", small_corpus, tmp_path, options, max_epochs=1)
    assert set(run.result["trace"]) == {"step", "epoch"}
    assert len(read_places(run.folder)[1]) == 2


def test_a_representation_that_a_configuration_lacks_is_left_out(small_corpus, tmp_path):
    run = tiny("mimic", small_corpus, tmp_path, {"parts": ("S", "M")}, max_epochs=1)
    assert {n.split()[0] for n in run.result["trace"]} == {"step", "epoch", "h", "i"}
    named = {f"h_{m}": torch.eye(3)[:1] for m in ("text", "audio")}
    assert cosines(run.model, named) == {"h text-audio": torch.ones(1)}


def test_means_and_places_are_those_of_all_at_once(trained, small_corpus):
    run = trained["mimic"]
    examples = examples_for(run, small_corpus, small_corpus.splits(0).dev)
    named = representations(run.model, examples)
    means, places = mean_cosines(run.model, examples, kept=5)
    assert means == pytest.approx(
        {k: v.double().mean().item() for k, v in cosines(run.model, named).items()}, rel=1e-6
    )
    torch.testing.assert_close(places, named["S"][:5])
    assert mean_cosines(run.model, examples)[1] is None


def test_a_damaged_trace_is_refused_and_the_run_opens_without_it(trained, tmp_path):
    folder = trained["mimic"].folder
    whole = (folder / trace.FILE).read_bytes()
    (tmp_path / trace.FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        read_places(tmp_path)
    assert open_run(folder).result["trace"]


def test_a_weight_without_its_loss_is_refused_before_training(small_corpus):
    for change, message in (
        ({"similarity": 1.0}, "similarity is 1.0, but this mimic"),
        ({"difference": 0.1}, "difference is 0.1, but this mimic"),
    ):
        with pytest.raises(DataError, match=message):
            training.prepare("mimic", small_corpus, **change)
    orthogonal = {"decoupling": "orthogonal"}
    training.prepare("mimic", small_corpus, model_options=orthogonal, difference=0.3)
    with pytest.raises(DataError, match="set decoder to False"):
        training.prepare("misa", small_corpus, reconstruction=0.0)
    plan = training.prepare(
        "misa", small_corpus, model_options={"decoder": False}, reconstruction=0.0
    )
    assert replace(plan.config, decoder=True) != plan.config
    with pytest.raises(DataError, match=r"reconstruction is 1\.0, but this misa"):
        training.prepare("misa", small_corpus, model_options={"decoder": False})
