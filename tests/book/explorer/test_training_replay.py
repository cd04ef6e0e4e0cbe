"""What a replayed training leaves in a page, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import traitlets

from mmer_lib.book.explorer.training_replay import COMPARED, VIEWS, TrainingReplay
from tests.book.explorer.made import LASTS, PAIRS, SAID, training, training_replay


def test_a_page_has_all_of_every_training():
    data = training_replay().data
    assert [(u["text"], u["sentiment"]) for u in data["utterances"]] == list(SAID)
    for shown, (name, last) in zip(data["trainings"], LASTS.items(), strict=True):
        one = training(name)
        assert shown["name"] == name and shown["best"] == one.best
        np.testing.assert_allclose(shown["mae"], one.mae, rtol=1e-5)
        for part, (mean, sd) in one.gates.items():
            np.testing.assert_allclose(shown["gates"][part]["mean"], mean, rtol=1e-5)
            np.testing.assert_allclose(shown["gates"][part]["sd"], sd, rtol=1e-5)
        assert [shown["moments"][k] for k in shown["whole"]] == list(range(last + 1))
        assert 0.5 in shown["moments"]
        assert set(shown["similarity"]) == {"h", "i"}
        for kind, pairs in shown["similarity"].items():
            for pair in PAIRS:
                np.testing.assert_allclose(pairs[pair], one.similarity[f"{kind} {pair}"], rtol=1e-5)
        for view, v in one.views.items():
            there = shown["views"][view]
            np.testing.assert_array_equal(np.ravel(there["points"]), v.points.ravel())
            np.testing.assert_allclose(there["share"], v.share, rtol=1e-5)
    assert [v["name"] for v in data["views"]] == list(VIEWS)
    assert {v["name"]: v["compared"] for v in data["views"]} == COMPARED


def test_ranges_hold_the_curves_of_all_trainings():
    data = training_replay().data
    for kind, (low, high) in data["ranges"].items():
        values = [v for t in data["trainings"] for p in t["similarity"][kind].values() for v in p]
        assert low <= min(values) < low + 0.05 and high - 0.05 < max(values) <= high
    low, high = data["gates"]
    for t in data["trainings"]:
        for g in t["gates"].values():
            mean, sd = np.array(g["mean"]), np.array(g["sd"])
            assert low <= (mean - sd).min() + 1e-6 and (mean + sd).max() <= high + 1e-6


def test_it_opens_before_training_and_refuses_what_is_not_there():
    figure = training_replay()
    chosen = (figure.training, figure.view, figure.epoch, figure.utterance)
    assert chosen == ("with it", "h", 0, 0)
    figure.epoch, figure.view = 4, "F"
    for name, value in (("epoch", 5), ("epoch", -1), ("view", "M"), ("training", "none"),
                        ("utterance", len(SAID))):  # fmt: skip
        with pytest.raises(traitlets.TraitError, match=f"{name} is"):
            setattr(figure, name, value)
    with pytest.raises(traitlets.TraitError, match="epoch is 9"):
        training_replay(epoch=9)


def other_view(name="h", **changes):
    views = training("with it").views
    return {"views": {**views, name: replace(views[name], **changes)}}


def trace(**changes):
    return {"similarity": {**training("with it").similarity, **changes}}


SHORT = np.full(4, 0.5)


@pytest.mark.parametrize("changes, message", [
    ({"mae": np.ones((2, 2))}, r"mae is \(2, 2\)"),
    ({"mae": np.ones(1)}, r"mae is \(1,\)"),
    ({"mae": np.array([1, np.nan, 1, 1, 1])}, r"mae\[1\] is nan"),
    ({"best": 0}, "the best epoch is 0, of 4"),
    ({"best": 5}, "the best epoch is 5, of 4"),
    ({"views": {}}, "no views"),
    ({"views": {"Q": training("with it").views["S"]}}, "a view of h, i, S, F"),
    (other_view(points=np.zeros((5, 4, 2, 2), int)), r"points \(5, 4, 2, 2\)"),
    (other_view(share=SHORT), r"share \(4,\)"),
    (other_view(share=np.full(5, 1.1)), "not in 0 to 1"),
    (other_view(share=np.full(5, np.nan)), "not in 0 to 1"),
    ({"gates": {"S": (SHORT, SHORT)}}, "gates of S do not fit 5 moments"),
    (trace(epoch=[0, 0.5, 1, 2, 3, 3.5]), "lack one of 0 to 4"),
    (trace(epoch=[0, 0.5, 2, 1, 3, 4]), "lack one of 0 to 4"),
    (trace(**{"h text-audio": SHORT}), "h text-audio does not fit 6 moments"),
    ({"similarity": {"epoch": training("with it").similarity["epoch"]}}, "no similarity of h, i"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingReplay(SAID, {"one": training("with it", **changes)})


def test_nothing_and_trainings_that_differ_are_refused():
    whole = training("with it")
    for utterances, trainings in (([], {"one": whole}), (SAID, {})):
        with pytest.raises(ValueError, match="nothing to show"):
            TrainingReplay(utterances, trainings)
    less = training("with it", views={"S": whole.views["S"]})
    with pytest.raises(ValueError, match="differ in their views"):
        TrainingReplay(SAID, {"one": whole, "other": less})
    with pytest.raises(ValueError, match=r"points \(5, 4, 3, 2\).*\(5, 3, 3, 2\)"):
        TrainingReplay(SAID[:3], {"one": whole})
