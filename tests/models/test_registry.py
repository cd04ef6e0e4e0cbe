"""What a training makes of every model of the registry: scales and closed forms see the training
part alone, the test part is never seen, and a run holds no pickle."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmer_lib.features.batches import Examples, loader
from mmer_lib.models.registry import MODELS
from mmer_lib.training import fit as training
from mmer_lib.training.runs import open_run
from tests.tiny import SMALL, ears, relabelled, spoilt, tiny, weights

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]
every = pytest.mark.parametrize("name", list(MODELS))
each_kind = pytest.mark.parametrize(
    "name", ["muse", "muse-multigranular", "bert", "mimic", "misa", "mfm", "linear"]
)
"""One model of each kind that training treats otherwise than others."""


def ready(name, corpus, out, **changes):
    """A small model of every kind, built and not trained."""
    changes |= {"listener": ears()} if name == "ssl" else {}
    planned = training.plan(name, corpus, out=out, **SMALL[name], **changes)
    return planned, training.build(planned, progress=False)


def trained(name, corpus, out, steps=3):
    """The weights after a few steps of the loop, and the answers to the development part."""
    planned, built = ready(name, corpus, out, max_epochs=1, batch_size=32)
    train, dev, _ = built.parts
    train = Examples(corpus, train.features, train.rows[: 32 * steps])
    done = training.train(built.model, (train, dev), planned.settings, device="cpu", progress=False)
    return built.model.state_dict(), done.history


@each_kind
def test_training_never_sees_the_test_part(small_corpus, monkeypatch, tmp_path, name):
    """With noise for its features and other labels: the same weights, the same scores."""
    test, extract = small_corpus.splits(0).test, training.extract
    state, history = trained(name, small_corpus, tmp_path)
    monkeypatch.setattr(training, "extract", lambda *a, **k: spoilt(extract(*a, **k), test))
    other, again = trained(name, relabelled(small_corpus, test), tmp_path)
    assert all(torch.equal(value, other[key]) for key, value in state.items())
    assert again == history


@every
def test_scaling_is_fitted_on_the_training_rows(small_corpus, tmp_path, name):
    planned, built = ready(name, small_corpus, tmp_path)
    features, rows = built.parts[0].features, planned.split.train
    for source, layer in built.model.scalings().items():
        train = np.concatenate([getattr(features, source)[r] for r in rows]).astype("f8")
        np.testing.assert_allclose(layer.mean.numpy(), train.mean(0), rtol=1e-3, atol=1e-3)
        moving = train.std(0) > 1e-3
        np.testing.assert_allclose(layer.deviation.numpy()[moving], train.std(0)[moving], rtol=1e-3)
    batch = next(iter(loader(built.parts[2], 8, shuffle=False)))
    assert built.model.eval()(batch).logits.isfinite().all()


@pytest.mark.parametrize("name", ["muse", "mimic", "linear"])
def test_a_run_holds_no_pickle_and_is_opened_without_one(small_corpus, tmp_path, monkeypatch, name):
    run = tiny(name, small_corpus, tmp_path, max_epochs=1)
    suffixes = {p.suffix for p in run.folder.rglob("*") if p.is_file()}
    assert suffixes <= {".json", ".safetensors"}
    state = load_file(run.folder / "model.safetensors")
    assert {k: v.numpy().tobytes() for k, v in state.items()} == weights(run)
    for module, reader in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        monkeypatch.setattr(module, reader, lambda *a, **k: pytest.fail("unpickled"))
    assert weights(open_run(run.folder)) == weights(run)
