"""What is followed through a training: cosines and places, and that following changes nothing."""

import numpy as np
import pytest

from mmer_lib.data import DataError
from mmer_lib.features.batches import Examples
from mmer_lib.probes.representations import representations
from mmer_lib.training import fit as training
from mmer_lib.training import trace
from mmer_lib.training.fit import build, examples_for, plan
from mmer_lib.training.loop import train
from mmer_lib.training.runs import open_run
from mmer_lib.training.trace import Trace, read_places
from tests.tiny import changes_for, weights

pytestmark = pytest.mark.usefixtures("keep_cache")
PAIRS = ("text-audio", "text-vision", "audio-vision")
NAMES = ("mimic", "misa", "mult")


@pytest.mark.parametrize("name, kinds", [("mimic", "h i i_low"), ("misa", "h i s")])
def test_the_trace_has_the_beginning_the_first_epoch_and_every_epoch(trained, name, kinds):
    """Three steps an epoch, two epochs."""
    run = trained[name]
    record = run.result["trace"]
    assert record["step"] == [0, 1, 2, 3, 6]
    assert record["epoch"] == pytest.approx([s / 3 for s in record["step"]], abs=1e-5)
    wanted = {f"{kind} {pair}" for kind in kinds.split() for pair in PAIRS}
    assert set(record) == {"step", "epoch"} | wanted
    assert all(len(record[name]) == 5 for name in wanted)
    assert all(-1 <= c <= 1 for name in wanted for c in record[name])
    assert wanted <= set(run.result["measures"])


def test_of_a_long_epoch_some_places_are_looked_at(small_corpus):
    built = build(plan("mimic", small_corpus, **changes_for("mimic")), progress=False)
    watcher = Trace(Examples(small_corpus, built.parts[1].features, built.parts[1].rows[:4]))
    for step in [*range(101), 200]:
        watcher(built.model, step, 100)
    steps = watcher.record["step"]
    assert steps == sorted(set(steps)) and len(steps) == 2 + 12 + 1
    assert {0, 100, 200} < set(steps) and len(watcher.places) == 3


@pytest.mark.parametrize("name", NAMES)
def test_places_are_those_of_the_first_of_the_development_part(trained, small_corpus, name):
    run = trained[name]
    assert run.model.traced
    rows, places = read_places(run.folder)
    assert rows == small_corpus.splits(0).dev[: trace.KEPT]
    assert len(places) == 3 and all(p.shape[0] == len(rows) for p in places)
    best = run.result["best_epoch"]
    named = representations(run.model, examples_for(run, small_corpus, rows))
    np.testing.assert_allclose(places[1 + best], named["S"].numpy(), rtol=2e-3, atol=2e-3)


def test_looking_changes_nothing(trained, small_corpus, tmp_path):
    planned = plan("mimic", small_corpus, out=tmp_path, **changes_for("mimic"))
    built = build(planned, progress=False)
    blind = train(built.model, built.parts, planned.settings, device="cpu", progress=False)
    assert blind.history == trained["mimic"].result["history"]
    assert weights(built) == weights(trained["mimic"])


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"modalities": ("text",), "parts": ("S", "M")}, set()),  # places, but no pair
        ({"parts": ("S", "M")}, {"h", "i"}),
    ],
)
def test_what_a_configuration_lacks_is_left_out(small_corpus, options, kinds):
    built = build(plan("mimic", small_corpus, **changes_for("mimic", options)), progress=False)
    watcher = training.Trace(built.parts[1])
    watcher(built.model.eval(), 0, 3)
    assert {n.split()[0] for n in watcher.record} == {"step", "epoch"} | kinds
    assert len(watcher.places) == 1


def test_a_damaged_trace_is_refused_and_the_run_opens_without_it(trained, tmp_path):
    folder = trained["mimic"].folder
    whole = (folder / trace.FILE).read_bytes()
    (tmp_path / trace.FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        read_places(tmp_path)
    assert open_run(folder).result["trace"]
