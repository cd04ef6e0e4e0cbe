"""A training that is looked into: it is `fit`'s own, and what is recorded is what was seen."""

import json

import numpy as np
import pytest
import torch

from mmer_lib.book import replay as snapshots
from mmer_lib.book.explorer.training_replay import VIEWS
from mmer_lib.book.replay import chosen_places, in_plane, replay, told, watch
from mmer_lib.data import MODALITIES, DataError
from mmer_lib.experiments.tables import read_runs
from mmer_lib.probes.representations import pairwise_cosine
from tests.book.browser import ROOT
from tests.tiny import SMALL, tiny, weights

FILE = ROOT / "data" / "results" / "explorer" / "mimic-replay.json"
HOW = {"model_options": SMALL["mimic"], "device": "cpu", "progress": False, "max_epochs": 2}


@pytest.fixture(scope="module")
def watched(small_corpus, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return watch(small_corpus, **HOW)


@pytest.fixture
def sentiments(small_corpus, watched):
    return np.array([small_corpus.utterances[row].sentiment for row in watched.rows])


def test_the_training_is_that_of_fit(watched, small_corpus, keep_cache, tmp_path):
    run = tiny("mimic", small_corpus, tmp_path)
    assert weights(watched) == weights(run)
    assert watched.history == run.result["history"]
    assert watched.trace == run.result["trace"]
    assert watched.about["command"] == run.result["command"]
    other = tiny("mimic", small_corpus, tmp_path, seed=1)
    assert weights(other) != weights(run)


def test_what_is_seen_is_the_model_after_each_epoch(watched, sentiments, small_corpus):
    assert len(watched.seen) == 3 and watched.rows == list(small_corpus.splits(0).dev)
    for epoch, seen in enumerate(watched.seen):
        h = {m: torch.from_numpy(seen[f"h_{m}"]) for m in MODALITIES}
        whole = watched.trace["epoch"].index(epoch)
        for (a, b), cosine in pairwise_cosine(h).items():
            assert watched.trace[f"h {a}-{b}"][whole] == pytest.approx(
                float(cosine.mean()), abs=2e-5
            )
        joined = np.concatenate([seen[part] for part in "SIM"], axis=1)
        np.testing.assert_allclose(seen["F"], seen["gate"] * joined, atol=1e-6)
        if epoch:
            mae = np.abs(seen["prediction"] - sentiments).mean()
            assert watched.history[epoch - 1]["mae"] == pytest.approx(mae, abs=1e-5)


def test_the_same_number_of_every_sentiment_is_shown_where_there_are_so_many():
    scores = [0.2, -0.3, 2.6, 0.0, -2.2, 0.4, 2.5001]
    assert chosen_places(scores, 2) == [0, 1, 2, 4, 6]
    assert chosen_places(scores, 9) == list(range(7))


def test_the_plane_is_the_last_moments_and_the_share_is_what_it_holds():
    rng = np.random.default_rng(0)
    sentiments = rng.normal(size=40)
    last = rng.normal(size=(40, 3, 6)) * [9, 4, 1, 0.5, 0.2, 0.1]
    last[:, 0, 0] = -20 * sentiments  # the first mark falls along the longest axis: turned round
    first = rng.normal(size=(40, 3, 6)) + 3
    points, unit, share = in_plane(np.stack([first, last]), sentiments, [0, 3, 5])
    assert points.shape == (2, 3, 3, 2) and np.abs(points).max() == snapshots.STEPS
    centred = last.reshape(-1, 6) - last.reshape(-1, 6).mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    assert share[1] == pytest.approx((lengths[:2] ** 2).sum() / (lengths**2).sum())
    low = (first.reshape(-1, 6) @ axes[:2].T).var(0).sum() / first.reshape(-1, 6).var(0).sum()
    assert share[0] == pytest.approx(low) and 0 < low < share[1] < 1
    drawn = np.array([0, 3, 5])
    for moment, vectors in enumerate((first, last)):
        x = (vectors[drawn] - last.reshape(-1, 6).mean(0)) @ axes[:2].T
        np.testing.assert_allclose(np.abs(points[moment] * unit), np.abs(x), atol=0.6 * unit)
    assert np.corrcoef(points[1, :, 0, 0], sentiments[drawn])[0, 1] > 0.9


def test_what_is_told_is_what_was_seen(watched, sentiments):
    places = chosen_places(sentiments, 1)
    one = told(watched, sentiments, places)
    for epoch, seen in enumerate(watched.seen):
        for part, gate in zip("SIM", np.split(seen["gate"], 3, axis=1), strict=True):
            mean, sd = (values[epoch] for values in one["gates"][part])
            assert mean == pytest.approx(gate.mean(), abs=1e-4)
            assert sd == pytest.approx(gate.mean(1).std(), abs=1e-4)
    view = one["views"]["S"]
    points = np.array(view["points"]).reshape(3, len(places), 2) * view["unit"]
    for moment, seen in enumerate(watched.seen):  # no two are farther apart than in the space
        flat, whole = points[moment], seen["S"][places]
        apart = np.linalg.norm(flat[:, None] - flat, axis=-1)
        assert (apart <= np.linalg.norm(whole[:, None] - whole, axis=-1) + 3 * view["unit"]).all()
    assert one["best"] == 1 + int(np.argmin([h["mae"] for h in watched.history]))


def test_record_writes_what_replay_shows(small_corpus, keep_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "load", lambda name: small_corpus)
    monkeypatch.setattr(snapshots, "watch", lambda *a, **how: watch(*a, **{**HOW, **how}))
    file = tmp_path / "replay.json"
    made = snapshots.record(file, seed=3, device="cpu", progress=False)
    assert json.loads(file.read_text()) == json.loads(json.dumps(made))
    assert made["command"] == "mmer record mimic-replay --fold 0 --seed 3"
    commands = [one["command"] for one in made["trainings"].values()]
    assert all("--seed 3" in c for c in commands)
    assert ["contrastive=0.0" in c for c in commands] == [False, True]
    figure = replay(file, epoch=2)
    assert [t["name"] for t in figure.data["trainings"]] == list(snapshots.TRAININGS)
    assert figure.epoch == 2 and "seed 3" in figure.provenance and figure.tag == "recorded"
    with pytest.raises(DataError, match=r"x\.txt: give a name that ends in \.json"):
        snapshots.record(tmp_path / "x.txt")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"trainings": []}',
                                     '{"trainings": {"a": {}}, "utterances": []}'])  # fmt: skip
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    file = tmp_path / "replay.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(
        DataError, match=r"replay\.json: not what `mmer record mimic-replay` writes"
    ):
        replay(file)


# -------------------------------------------------------------------------- the recorded file


@pytest.fixture(scope="module")
def made():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_the_recorded_file_is_whole(made):
    assert FILE.stat().st_size < 600_000
    assert list(made["trainings"]) == list(snapshots.TRAININGS) and made["synthetic"] is True
    assert 80 <= len(made["utterances"]) <= 150
    scores = np.round([sentiment for _, sentiment in made["utterances"]])
    assert np.bincount((scores + 3).astype(int)).max() == snapshots.PER_SCORE
    for one in made["trainings"].values():
        assert one["git"] and not one["git"].endswith("+") and one["device"] and one["versions"]
        moments = len(one["mae"])
        assert moments > 10 and np.isfinite(one["mae"]).all()
        assert one["best"] == 1 + int(np.argmin(one["mae"][1:]))
        assert list(one["views"]) == list(VIEWS)
        for view in one["views"].values():
            points, share = np.array(view["points"]), np.array(view["share"])
            assert points.shape == (moments, len(made["utterances"]) * len(view["marks"]) * 2)
            assert np.abs(points).max() == snapshots.STEPS and len(share) == moments
            assert ((share > 0) & (share <= 1)).all() and share[-1] > share[0]
        apart = np.array(one["views"]["i"]["points"]).reshape(moments, -1, 3, 2)
        assert np.abs(apart.sum(2)).max() <= 2  # the i of an utterance sum to zero, to the rounding
        for mean, sd in one["gates"].values():
            assert len(mean) == len(sd) == moments
            assert 0 < min(mean) <= max(mean) < 1 and min(sd) >= 0
    replay(FILE)


def test_the_recorded_trainings_are_runs_that_are_recorded_too(made):
    where = {k: made[k] for k in ("fold", "seed", "preset")}
    recorded = read_runs(ROOT / "data" / "results", model="mimic", data="demo", **where)
    results = recorded.to_dict("records")
    for one in made["trainings"].values():
        (run,) = [r for r in results if r["command"] == one["command"]]
        assert run["data_key"] == made["data_key"] and run["epochs"] == len(one["mae"]) - 1
        assert run["trace"].keys() == one["similarity"].keys()
        for name, values in run["trace"].items():
            np.testing.assert_allclose(one["similarity"][name], values, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(one["mae"][1:], [h["mae"] for h in run["history"]], atol=1e-4)
        assert one["best"] == run["best_epoch"] + 1
