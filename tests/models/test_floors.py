"""The two floors: counted and solved before training, which then changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from mmer_lib.data import Batch, DataError
from mmer_lib.models.compared.linear import (
    INPUTS,
    Linear,
    LinearConfig,
    logistic,
    pooled,
    ridge,
    simplex,
)
from mmer_lib.models.compared.majority import Majority, MajorityConfig
from mmer_lib.training.settings import PRESETS
from tests.models import naive, speech
from tests.models.common import scrambled
from tests.tiny import tiny, weights

SMALL = LinearConfig(**speech.SIZES, audio=2, vision=5, cls=6)
CHANGES = [
    {},
    {"classes": 1},
    {"inputs": "words,audio,vision"},
    {"inputs": ("cls", "audio"), "classes": 1},
    {"inputs": ["vision"]},
]
every = pytest.mark.parametrize("change", CHANGES, ids=str)


def built(change):
    model = scrambled(Linear(replace(SMALL, **change)))
    model.weights.copy_(torch.linspace(1, 2, len(model.weights)))
    model.weights.div_(model.weights.sum())
    return model


def labelled(emotions=(), sentiments=()):
    n = max(len(emotions), len(sentiments))
    return Batch(torch.arange(n), emotion=torch.tensor(emotions, dtype=torch.long),
                 sentiment=torch.tensor(sentiments, dtype=torch.float32))  # fmt: skip


# ------------------------------------------------------------------------------------- majority


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


def test_no_other_constant_has_a_lower_mean_absolute_error():
    truth = torch.tensor(np.random.default_rng(0).uniform(-3, 3, 41)).float()
    model = Majority(MajorityConfig(classes=1))
    model.solve([labelled(sentiments=truth.tolist())], [])
    errors = [(truth - value).abs().mean() for value in torch.linspace(-3, 3, 301)]
    assert (truth - model.answer).abs().mean() <= min(errors) + 1e-6


def test_the_majority_reads_nothing_and_has_a_gradient():
    assert Majority.needs(MajorityConfig()) == () and Majority.modalities == ()
    for classes in (1, 4):
        speech.learns_everywhere(Majority(MajorityConfig(classes)))
    with pytest.raises(DataError, match="classes is 0; at least 1"):
        MajorityConfig(0)


# --------------------------------------------------------------------------------------- linear


def linear(e, w, config):
    said, total = {}, 0.0
    for name, weight in zip(config.inputs, w["weights"], strict=True):
        x = e[name]
        if INPUTS[name][1] is not None:
            x = np.concatenate([x.mean(0), np.maximum(x.var(0), 1e-12) ** 0.5])
        x = (x - w[f"scale.{name}.mean"]) / w[f"scale.{name}.deviation"]
        z = naive.linear(x[None], naive.part(w, f"heads.{name}"))[0]
        said[f"z_{name}"] = z
        total = total + weight * (z if config.classes == 1 else naive.softmax(z))
    return {**said, "logits": total if config.classes == 1 else np.log(total)}


@every
def test_the_whole_forward_agrees_with_the_naive_one(change):
    model = built(change)
    w = naive.weights(model)
    speech.agrees(model, lambda e: linear(e, w, model.config))


@every
def test_padding_company_order_and_what_is_missing(change):
    speech.keeps_its_answers(built(change))
    speech.bears_what_is_missing(built(change))


@every
def test_it_depends_on_its_inputs_only_and_every_parameter_gets_a_gradient(change):
    model = built(change)
    assert model.modalities == tuple(dict.fromkeys(INPUTS[n][0] for n in model.config.inputs))
    for part in INPUTS:
        assert speech.depends_on(built(change), part) is (part in model.config.inputs), part
    speech.learns_everywhere(Linear(replace(SMALL, **change)))


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


def test_penalties_and_weights_do_best_on_the_development_part():
    """Words tell the class, frames do not: all weight goes to the words."""
    rng, parts = np.random.default_rng(0), []
    for n in (48, 24):
        made = speech.examples({k: (4,) * n for k in speech.LENGTHS}, seed=n)
        batch = speech.batched(made, torch.float32)
        batch.emotion = torch.from_numpy(rng.integers(0, 4, n))
        batch.words[..., 0] += 3 * batch.emotion[:, None]
        batch.words[..., 1] -= 3 * (batch.emotion[:, None] == 2)
        parts.append([batch])
    model = Linear(SMALL)
    model.solve(*parts)
    assert model.weights.sum() == pytest.approx(1) and model.weights[0] >= 0.8
    dev = parts[1][0]
    score = (model(dev).logits.argmax(1) == dev.emotion).float().mean()
    assert score > 0.8
    loss = torch.nn.functional.cross_entropy
    said = [z for z in (model(dev).named[f"z_{n}"].detach() for n in ("words", "frames"))]
    losses = [loss(model.average(said, w), dev.emotion) for w in simplex(2, 10)]
    assert loss(model(dev).logits, dev.emotion).item() == pytest.approx(min(losses).item())
    for penalty in SMALL.penalties:  # no other penalty does better on words alone
        other = Linear(replace(SMALL, inputs="words", penalties=(penalty,)))
        other.solve(*parts)
        assert loss(said[0], dev.emotion) <= loss(other(dev).named["z_words"], dev.emotion) + 1e-6


def test_the_weights_are_all_that_sum_to_one():
    grid = [tuple(w.tolist()) for w in simplex(2, 2)]
    assert grid == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert len(list(simplex(3, 10))) == 66


def test_what_is_pooled_of_one_position_has_no_deviation():
    batch = speech.batched(speech.examples())  # the second utterance has one word
    found = pooled(batch, "words")[1]
    torch.testing.assert_close(found[:3], batch.words[1, 0])
    assert (found[3:] <= 1e-6).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ()}, "some of words,cls,frames,audio,vision"),
        ({"inputs": ("words", "smell")}, "inputs 'words,smell'"),
        ({"penalties": ()}, "penalties is \\(\\); give a list"),
        ({"penalties": (0.0,)}, "above 0"),
        ({"steps": 0}, "steps is 0; at least 1"),
        ({"hop": 12.0}, "hop is 12; in seconds"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(change, message):
    with pytest.raises(DataError, match=message):
        replace(SMALL, **change)


# ------------------------------------------------------------------------------------- training


@pytest.mark.usefixtures("keep_cache")
def test_training_changes_nothing_and_sentiments_are_solved_too(small_corpus, tmp_path):
    for name in ("majority", "linear"):
        assert all(s.learning_rate == 0 for _, s in PRESETS[name].values())
        once = tiny(name, small_corpus, tmp_path / "once", max_epochs=1)
        assert weights(tiny(name, small_corpus, tmp_path / "twice", max_epochs=2)) == weights(once)
        assert weights(tiny(name, small_corpus, tmp_path / "seed", seed=1)) == weights(once)
    assert once.result["test"]["wa"] > 0.25 + 0.05
    task = {"task": "sentiment", "monitor": "mae", "mode": "min"}
    floor = tiny("majority", small_corpus, tmp_path / "a", **task)
    inputs = {"inputs": "words,audio,vision"}
    run = tiny("linear", small_corpus, tmp_path / "b", model_options=inputs, **task)
    assert run.result["test"]["mae"] < floor.result["test"]["mae"]
    train = [u.sentiment for u in map(small_corpus.utterances.__getitem__,
                                      small_corpus.splits(0).train)]  # fmt: skip
    assert float(floor.model.answer.detach()) == pytest.approx(np.median(train), abs=1e-6)
