"""A training that is looked into: it is `fit`'s own, and what is recorded is what was seen."""

import json

import numpy as np
import pytest
import torch

from mmer_lib.book import record, replay
from mmer_lib.book.explorer.training_replay import VIEWS
from mmer_lib.data import MODALITIES, DataError
from mmer_lib.probes.representations import pairwise_cosine
from tests.book.browser import ROOT
from tests.tiny import SMALL, tiny, weights

FILE = ROOT / "data" / "results" / "explorer" / "mimic-replay.json"
TINY = {**SMALL["mimic"], "max_epochs": 2}


@pytest.fixture(scope="module")
def watched(small_corpus, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return replay.train_watched(small_corpus, device="cpu", progress=False, **TINY)


@pytest.fixture
def sentiments(small_corpus):
    return np.array([small_corpus.utterances[row].sentiment for row in small_corpus.splits(0).dev])


def test_the_training_is_that_of_fit(watched, small_corpus, keep_cache, tmp_path):
    run, (watched, _) = tiny("mimic", small_corpus, tmp_path), watched
    assert weights(watched) == weights(run)
    for same in ("history", "trace", "key", "test"):
        assert watched.result[same] == run.result[same]


def test_every_moment_is_the_model_after_its_epoch(watched, sentiments):
    run, moments = watched
    trace = run.result["trace"]
    assert len(moments) == 3
    for epoch, seen in enumerate(moments):
        h = {m: torch.from_numpy(seen[f"h_{m}"]) for m in MODALITIES}
        whole = trace["epoch"].index(epoch)
        for (a, b), cosine in pairwise_cosine(h).items():
            assert trace[f"h {a}-{b}"][whole] == pytest.approx(float(cosine.mean()), abs=2e-5)
        joined = np.concatenate([seen[part] for part in "SIM"], axis=1)
        np.testing.assert_allclose(seen["F"], seen["gate"] * joined, atol=1e-6)
        if epoch:
            mae = np.abs(seen["prediction"] - sentiments).mean()
            assert run.result["history"][epoch - 1]["mae"] == pytest.approx(mae, abs=1e-5)


def test_the_same_number_of_every_sentiment_is_shown_where_there_are_so_many():
    scores = [0.2, -0.3, 2.6, 0.0, -2.2, 0.4, 2.5001]
    assert replay.chosen_places(scores, 2) == [0, 1, 2, 4, 6]
    assert replay.chosen_places(scores, 9) == list(range(7))


def test_the_plane_is_the_last_moments_and_the_share_is_what_it_holds():
    rng = np.random.default_rng(0)
    sentiments = rng.normal(size=40)
    last = rng.normal(size=(40, 3, 6)) * [9, 4, 1, 0.5, 0.2, 0.1]
    last[:, 0, 0] = -20 * sentiments  # the first mark falls along the longest axis: turned round
    first = rng.normal(size=(40, 3, 6)) + 3
    points, unit, share = replay.in_plane(np.stack([first, last]), sentiments, [0, 3, 5])
    assert points.shape == (2, 3, 3, 2) and np.abs(points).max() == replay.STEPS
    centred = last.reshape(-1, 6) - last.reshape(-1, 6).mean(0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    assert share[1] == pytest.approx((lengths[:2] ** 2).sum() / (lengths**2).sum())
    drawn = np.array([0, 3, 5])
    for moment, vectors in enumerate((first, last)):
        x = (vectors[drawn] - last.reshape(-1, 6).mean(0)) @ axes[:2].T
        np.testing.assert_allclose(np.abs(points[moment] * unit), np.abs(x), atol=0.6 * unit)
    assert np.corrcoef(points[1, :, 0, 0], sentiments[drawn])[0, 1] > 0.9


def test_the_command_writes_what_replay_shows(small_corpus, keep_cache, tmp_path, monkeypatch):
    train_watched = replay.train_watched
    monkeypatch.setattr(replay, "load", lambda name: small_corpus)
    monkeypatch.setattr(
        replay, "train_watched", lambda *a, **how: train_watched(*a, **{**TINY, **how})
    )
    file = tmp_path / "replay.json"
    record.main(["mimic-replay", str(file), "--seed", "3", "--device", "cpu", "--quiet"])
    recorded = json.loads(file.read_text())
    commands = [one["command"] for one in recorded["trainings"].values()]
    assert all("--seed 3" in command for command in commands)
    assert ["contrastive=0.0" in command for command in commands] == [False, True]
    figure = replay.replay(file, epoch=2)
    assert [t["name"] for t in figure.data["trainings"]] == list(replay.TRAININGS)
    assert "seed 3" in figure.provenance and figure.tag == "recorded"


def test_what_cannot_be_recorded_is_said_in_a_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise DataError("no such device")

    monkeypatch.setattr(replay, "record", refuse)
    with pytest.raises(SystemExit, match="error: no such device"):
        record.main(["mimic-replay", str(tmp_path / "x.json")])


@pytest.mark.parametrize("content", [None, "{", "[]", '{"trainings": {"a": {}}, "utterances": []}'])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    file = tmp_path / "replay.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=r"replay\.json: not a record of mimic-replay"):
        replay.replay(file)


def test_the_recorded_file_is_whole_and_is_shown():
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    assert list(recorded["trainings"]) == list(replay.TRAININGS)
    for one in recorded["trainings"].values():
        moments = len(one["mae"])
        assert one["best"] == 1 + int(np.argmin(one["mae"][1:]))
        assert list(one["views"]) == list(VIEWS)
        for view in one["views"].values():
            points, share = np.array(view["points"]), np.array(view["share"])
            assert points.shape == (moments, len(recorded["utterances"]) * len(view["marks"]) * 2)
            assert ((share > 0) & (share <= 1)).all()
        apart = np.array(one["views"]["i"]["points"]).reshape(moments, -1, 3, 2)
        assert np.abs(apart.sum(2)).max() <= 2  # the i of an utterance sum to zero, to the rounding
    figure = replay.replay(FILE)
    assert len(figure.data["utterances"]) == len(recorded["utterances"])
