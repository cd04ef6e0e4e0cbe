"""Two processes train together, over gloo, on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard

from mmer_lib.features.batches import LengthBuckets, loader
from tests.tiny import FILES, SMALL, names, tiny
from tests.training.conftest import fresh, linear_parts
from tests.training.test_loop import SETTINGS
from tests.training.two_processes import DEV

ROOT = Path(__file__).parents[2]
HOW = {"max_epochs": 4, "batch_size": 16, "dropout": 0.0}


@pytest.fixture(scope="module")
def together(small_corpus, shared_cache, tmp_path_factory):
    """(what each process found, the folder of the run)."""
    folder = tmp_path_factory.mktemp("two")
    sets = [f"--set={name}={value}" for name, value in (SMALL["mimic"] | HOW).items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = f"-m tests.training.two_processes {folder} train mimic --out {folder / 'runs'}"
    command = [*launch, *command.split(), "--device", "cpu", "--quiet", *sets]
    own = {"MMER_CACHE": str(shared_cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **own}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)], run


def test_gradients_are_the_mean_of_those_of_both_batches(together):
    batches = loader(linear_parts(DEV)[0], SETTINGS.batch_size, shuffle=True, seed=0)
    batches.batch_sampler.short_last = True
    batches, naive = list(batches), []
    for batch in batches[:2]:  # the first process takes the first, the second the second
        model = fresh()
        model.total(model.losses(batch, model(batch))).backward()
        naive.append({name: p.grad for name, p in model.named_parameters()})
    assert any(not torch.allclose(naive[0][name], naive[1][name]) for name in naive[0])
    for found in together[0]:
        for name, gradient in found["gradients"].items():
            torch.testing.assert_close(gradient, (naive[0][name] + naive[1][name]) / 2)


@pytest.mark.usefixtures("keep_cache")
def test_both_end_with_one_result_which_is_that_of_accumulated_batches(
    together, small_corpus, tmp_path
):
    (one, two), folder = together
    assert one["weights"].keys() == two["weights"].keys()
    for name, value in one["weights"].items():
        assert torch.equal(value, two["weights"][name]), name
    assert one["history"] == two["history"]
    assert names(folder) == [*FILES, "trace.safetensors"]
    result = json.loads((folder / "result.json").read_text())
    assert result["devices"] == 2 and result["epochs"] == 4
    alone = tiny("mimic", small_corpus, tmp_path, accumulate=2, **HOW).result
    for ours, theirs in zip(result["history"], alone["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    losses = [epoch["loss"] for epoch in result["history"]]
    assert losses[-1] < losses[0] < 10


def test_the_development_part_is_scored_once(together):
    """As many utterances as there are, in spite of two processes that take equally many."""
    _, dev = linear_parts(DEV)
    wanted = sorted(dev.corpus.utterances[row].sentiment for row in dev.rows)
    for found in together[0]:
        assert sorted(found["truth"].tolist()) == pytest.approx(wanted)


@pytest.mark.parametrize("count", [30, 31, 33, 5])
def test_no_utterance_is_left_out_of_an_epoch(count):
    """Wherever shuffling puts the batch that is not full; `accelerate` fills it up with others."""
    for seed in range(9):
        order = LengthBuckets([1] * count, 8, shuffle=True, seed=seed)
        order.short_last = True
        taken = []
        for process in range(2):
            order.epoch = 0
            taken.append(list(BatchSamplerShard(order, 2, process)))
        assert {row for batches in taken for batch in batches for row in batch} == set(range(count))
        assert len(taken[0]) == len(taken[1]) == -(-count // 16)
