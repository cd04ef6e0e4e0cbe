"""The two floors: counted and solved before training, which then changes nothing."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from mmer_lib.data import Batch
from mmer_lib.features.batches import loader
from mmer_lib.models.compared import floors
from mmer_lib.models.compared.floors import (
    MASKS,
    Linear,
    Majority,
    MajorityConfig,
    logistic,
    pooled,
    ridge,
)
from mmer_lib.training.fit import build, plan
from tests.models import naive
from tests.models.cases import config_of
from tests.models.utterances import LENGTHS, batched, examples


def labelled(emotions=(), sentiments=()):
    n = max(len(emotions), len(sentiments))
    return Batch(
        torch.arange(n),
        emotion=torch.tensor(emotions, dtype=torch.long),
        sentiment=torch.tensor(sentiments, dtype=torch.float32),
    )


def test_the_majority_class_is_that_of_the_training_part():
    model = Majority(MajorityConfig(classes=4))
    model.solve([labelled([2, 0, 2]), labelled([1, 2])], [labelled([3, 3, 3])])
    logits = model(Batch(torch.arange(3))).logits
    shares = torch.tensor([0.2, 0.2, 0.6, 0.1])  # none is as a half
    torch.testing.assert_close(logits.exp(), shares.expand(3, -1))
    assert logits.argmax(1).tolist() == [2, 2, 2]


def test_the_median_is_that_of_the_training_part():
    model = Majority(MajorityConfig(classes=1))
    model.solve([labelled(sentiments=[-3, 1.0]), labelled(sentiments=[2.5, 2.0])], [])
    assert model(Batch(torch.arange(2))).logits.tolist() == [1.5, 1.5]


def linear(e, w, config):
    said, total = {}, 0.0
    for name, weight in zip(config.inputs, w["weights"], strict=True):
        x = e[name]
        if MASKS[name] is not None:
            x = np.concatenate([x.mean(0), np.maximum(x.var(0), 1e-12) ** 0.5])
        x = (x - w[f"scale.{name}.mean"]) / w[f"scale.{name}.deviation"]
        z = naive.linear(x[None], naive.part(w, f"heads.{name}"))[0]
        said[f"z_{name}"] = z
        total = total + weight * (z if config.classes == 1 else naive.softmax(z))
    return {**said, "logits": total if config.classes == 1 else np.log(total)}


def data(classes, n=60, width=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    x = (x - x.mean(0)) / x.std(0)
    y = x @ rng.normal(size=(width, classes)) + rng.normal(size=(n, classes))
    return x, y[:, 0] if classes == 1 else y.argmax(1)


@pytest.mark.parametrize("penalty", [0.001, 0.1, 10.0])
def test_both_regressions_are_those_of_scikit_learn(penalty):
    x, y = data(1)
    weight, bias = ridge(torch.tensor(x), torch.tensor(y), penalty)
    known = Ridge(alpha=penalty * len(x)).fit(x, y)
    np.testing.assert_allclose(weight[0], known.coef_, atol=1e-9)
    assert float(bias) == pytest.approx(known.intercept_)
    x, y = data(4)
    weight, bias = logistic(torch.tensor(x), torch.tensor(y), 4, penalty)
    known = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-10, max_iter=5000).fit(x, y)
    shares = (torch.tensor(x) @ weight.T + bias).softmax(-1)
    np.testing.assert_allclose(shares, known.predict_proba(x), atol=2e-4)


def test_penalties_and_weights_do_best_on_the_development_part(monkeypatch):
    """Words tell the class, frames do not: all weight goes to the words."""
    rng, parts = np.random.default_rng(0), []
    for n in (48, 24):
        batch = batched(examples(n, **dict.fromkeys(LENGTHS, (4,) * n)), torch.float32)
        batch.emotion = torch.from_numpy(rng.integers(0, 4, n))
        batch.words[..., 0] += 3 * batch.emotion[:, None]
        batch.words[..., 1] -= 3 * (batch.emotion[:, None] == 2)
        parts.append([batch])
    model = Linear(config_of("linear"))
    model.solve(*parts)
    assert model.weights.sum() == pytest.approx(1) and model.weights[0] >= 0.8
    dev = parts[1][0]
    score = (model(dev).logits.argmax(1) == dev.emotion).float().mean()
    assert score > 0.8
    loss = torch.nn.functional.cross_entropy
    said = [z for z in (model(dev).named[f"z_{n}"].detach() for n in ("words", "frames"))]
    grid = torch.tensor([(n, 10 - n) for n in range(11)]) / 10
    losses = [loss(model.average(said, w), dev.emotion) for w in grid]
    assert loss(model(dev).logits, dev.emotion).item() == pytest.approx(min(losses).item())
    for penalty in floors.PENALTIES:  # no other penalty does better on words alone
        monkeypatch.setattr(floors, "PENALTIES", (penalty,))
        other = Linear(config_of("linear", inputs="words"))
        other.solve(*parts)
        assert loss(said[0], dev.emotion) <= loss(other(dev).named["z_words"], dev.emotion) + 1e-6


def test_what_is_pooled_of_one_position_has_no_deviation():
    batch = batched(examples())  # the second utterance has one word
    found = pooled(batch, "words")[1]
    torch.testing.assert_close(found[:5], batch.words[1, 0])
    assert (found[5:] <= 1e-6).all()


@pytest.mark.parametrize("task", ["emotion", "sentiment"])
@pytest.mark.usefixtures("keep_cache")
def test_both_floors_are_solved_on_the_training_part_and_have_no_rate(small_corpus, tmp_path, task):
    change = {"task": task, "monitor": "loss", "mode": "min"}
    errors = []
    for name in ("majority", "linear"):
        planned = plan(name, small_corpus, out=tmp_path, **change)
        assert planned.settings.learning_rate == 0
        ready = build(planned, progress=False)
        batch = next(iter(loader(ready.parts[2], 200, shuffle=False)))
        errors.append(ready.model.losses(batch, ready.model(batch))["task"].item())
        if name == "majority" and task == "sentiment":
            truth = [small_corpus.utterances[row].sentiment for row in planned.split.train]
            assert float(ready.model.answer.detach()) == pytest.approx(np.median(truth), abs=1e-6)
    assert errors[1] < errors[0]
