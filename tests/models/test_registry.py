"""The faults found in the programs that the systems come from, looked for in every model of the
registry: parameters that nothing trains, padding that counts, lengths shared between modalities, a
batch of one that fails, tuning on test, runs that overwrite each other, pickled weights."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmer_lib.data import Batch
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.training import fit as training
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import open_run, truth_of
from mmer_lib.training.settings import PRESETS
from mmer_lib.training.trace import FILE
from tests.models.common import CLOSE, lengthened, moved, scrambled
from tests.tiny import (
    FILES,
    SENTIMENT,
    SMALL,
    SOLVED,
    TRACED,
    names,
    relabelled,
    spoilt,
    tiny,
    weights,
)

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]
every = pytest.mark.parametrize("name", list(MODELS))

WIDTHS = {"words": 5, "bands": 4, "audio": 3, "vision": 2, "cls": 6}
LENGTHS = {"words": (4, 1, 6, 2), "audio": (3, 2, 5, 7), "vision": (2, 6, 4, 1),
           "frames": (18, 9, 30, 5)}  # fmt: skip
"""Each modality of each utterance has its own; in the first, the words are the most."""

SILENT = ("key.bias",)
"""What shifts all scores of a softmax alike, so that it has no effect and gets no gradient."""
CENTRED = "text_prenet.convolutions"
"""Biases of these are taken off again by the batch norm that follows."""


def config_of(name):
    cls = model_class(name)
    widths = {k: v for k, v in WIDTHS.items() if k in cls.config_class.__dataclass_fields__}
    classes = 1 if name in SENTIMENT else 4
    return cls.config_class(**SMALL[name] | widths | {"classes": classes})


def built(name, seed=0):
    """With weights of every size, in float64."""
    return scrambled(model_class(name)(config_of(name)), seed)


def batch_of(lengths=LENGTHS, seed=0):
    """A padded batch of all that a model may read; words share the frames evenly."""
    rng, count = torch.Generator().manual_seed(seed), len(lengths["words"])
    parts = {}
    for part, each in lengths.items():
        steps, width = torch.arange(max(each)), WIDTHS["bands" if part == "frames" else part]
        parts[part] = torch.randn(count, max(each), width, generator=rng, dtype=torch.float64)
        parts[part.removesuffix("s") + "_mask"] = steps >= torch.tensor(each)[:, None]
    words, frames = (torch.tensor(lengths[p])[:, None] for p in ("words", "frames"))
    edges = torch.arange(max(lengths["words"]) + 1) * frames / words * 0.012
    shape = (count, max(lengths["words"]), 3)
    known = ~parts["word_mask"]
    known[0, 1] = False
    return Batch(
        torch.arange(count),
        **parts,
        known=known,
        phonemes=torch.randint(1, 70, shape, generator=rng),
        word_times=torch.stack([edges[:, :-1], edges[:, 1:]], -1).float(),
        cls=torch.randn(count, WIDTHS["cls"], generator=rng, dtype=torch.float64),
        emotion=torch.arange(count) % 3,
        sentiment=torch.linspace(-2, 3, count, dtype=torch.float64),
    )


def padded(batch, garbage=1e6):
    """More padding, of another length in each modality, with large numbers in all of it."""
    made, value = {}, torch.tensor(garbage, dtype=torch.float64)
    fillings = {"words": (3, value), "known": (3, torch.tensor(True)), "audio": (9, value),
                "phonemes": (3, torch.tensor(69)), "word_times": (3, torch.tensor(1e3)),
                "vision": (1, value), "frames": (14, value)}  # fmt: skip
    for part, (extra, filling) in fillings.items():
        word = part in ("known", "phonemes", "word_times")
        mask = "word_mask" if word else part.removesuffix("s") + "_mask"
        made[part], longer = lengthened(getattr(batch, part), getattr(batch, mask), extra, filling)
        made |= {} if word else {mask: longer}
    return replace(batch, **made)


def test_every_model_of_the_registry_is_here():
    assert set(SMALL) == set(MODELS) == set(PRESETS)


# ------------------------------------------------------------------------- what a model must do


@every
def test_every_parameter_gets_a_gradient_and_moves_or_has_no_effect(name):
    """With the losses of its preset, in one of ten models: in small layers a ReLU can die. None
    is frozen: only encoders that come trained have frozen parts (tests/models/test_gradients)."""
    reached, batch = set(), batch_of()
    for seed in range(10):
        torch.manual_seed(seed)
        config = config_of(name)
        still = {f.name for f in fields(config) if f.name.endswith("dropout")}
        off = {k: (0,) * 3 if isinstance(getattr(config, k), tuple) else 0.0 for k in still}
        model = model_class(name)(replace(config, **off)).double().train()
        before = {k: p.detach().clone() for k, p in model.named_parameters()}
        Learner(model, PRESETS[name]["fast"][1]).loss(batch)["loss"].backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        for key, p in model.named_parameters():
            assert p.requires_grad and p.grad is not None and p.grad.isfinite().all(), key
            silent = key.endswith(SILENT) or (key.startswith(CENTRED) and key.endswith("bias"))
            assert not silent or p.grad.abs().max() < 1e-12, key
            if silent or (p.grad.abs().max() > 1e-12 and key in moved(model, before)):
                reached.add(key)
        if len(reached) == len(before):
            break
    assert reached == {k for k, _ in model.named_parameters()}


@every
def test_padding_of_any_length_and_content_changes_nothing(name):
    model, batch = built(name), batch_of()
    plain = model(batch).logits
    assert plain.isfinite().all()
    for garbage in (1e6, -1e6):
        torch.testing.assert_close(model(padded(batch, garbage)).logits, plain, **CLOSE)


@every
@pytest.mark.parametrize("row", range(4))
def test_a_batch_of_one_is_answered_as_in_company(name, row):
    """Cut to its own lengths; and in training it gives a finite loss and gradient."""
    alone = batch_of()._map(lambda t: t[row : row + 1])
    for part, each in LENGTHS.items():
        mask = part.removesuffix("s") + "_mask"
        words = ("known", "phonemes", "word_times") if part == "words" else ()
        for field in (part, mask, *words):
            setattr(alone, field, getattr(alone, field)[:, : each[row]])
    model = built(name)
    expected = model(batch_of()).logits[row : row + 1]
    torch.testing.assert_close(model(alone).logits, expected, **CLOSE)
    loss = Learner(model.train(), PRESETS[name]["fast"][1]).train().loss(alone)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every
@pytest.mark.parametrize("part", list(LENGTHS))
def test_a_modality_is_read_to_its_own_last_step_and_no_further(name, part):
    """Whatever the lengths of the others: its last real step counts, in one of three models, since
    a maximum can leave it out. RAVEN, which moves words, hears nothing beyond the last word."""
    batch, last = batch_of(), torch.tensor(LENGTHS[part]) - 1
    counts = torch.full((4,), part in model_class(name).needs(config_of(name)))
    if name == "raven":
        counts &= last < torch.tensor(LENGTHS["words"])
    found = torch.zeros(4, dtype=torch.bool)
    for seed in range(3):
        model = built(name, seed)
        plain = model(batch).logits
        for row in range(4):
            value = getattr(batch, part).clone()
            value[row, last[row]] += 3
            other = model(replace(batch, **{part: value})).logits
            differs = (other - plain).abs().reshape(4, -1).amax(1) > 0
            assert not differs[torch.arange(4) != row].any()
            found[row] |= differs[row]
        if torch.equal(found, counts):
            break
    assert torch.equal(found, counts)


# ---------------------------------------------------------------------- what a training must do


@pytest.fixture(scope="module")
def trained(small_corpus, shared_cache, tmp_path_factory):
    """One tiny run of each model, and the folder of all runs."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMER_CACHE", str(shared_cache))
        return out, {name: tiny(name, small_corpus, out) for name in MODELS}


@every
def test_training_never_sees_the_test_part(trained, small_corpus, monkeypatch, tmp_path, name):
    """With noise for its features and other labels: the same weights, the same choice of epoch."""
    run, test, extract = trained[1][name], small_corpus.splits(0).test, training.extract
    monkeypatch.setattr(training, "extract", lambda *a, **k: spoilt(extract(*a, **k), test))
    changed, task = relabelled(small_corpus, test), run.settings.task
    assert not torch.equal(truth_of(changed, test, task), truth_of(small_corpus, test, task))
    other = tiny(name, changed, tmp_path)
    assert weights(other) == weights(run)
    for key in ("dev", "best_epoch", "epochs", "history"):
        assert other.result[key] == run.result[key], key


@every
def test_scaling_is_fitted_on_the_training_rows(trained, small_corpus, name):
    run, rows = trained[1][name], small_corpus.splits(0).train
    features = training.examples_for(run, small_corpus, rows).features
    scalings = run.model.scalings()
    known = {**{key: {"audio", "vision"} for key in SENTIMENT}, "bert": set(), "ssl": {"audio"}}
    known |= {key: set() for key in SOLVED}
    assert set(scalings) == known.get(name, {"frames"})
    for source, layer in scalings.items():
        train = np.concatenate([getattr(features, source)[r] for r in rows]).astype("f8")
        np.testing.assert_allclose(layer.mean.numpy(), train.mean(0), rtol=1e-3, atol=1e-3)
        moving = train.std(0) > 1e-3
        np.testing.assert_allclose(layer.deviation.numpy()[moving], train.std(0)[moving], rtol=1e-3)


def folder_of(name, corpus, out, **changes):
    """Where this run would be written; nothing is trained."""

    class Stop(Exception):
        pass

    def stop(folder):
        if folder.parent == out:
            raise Stop(folder)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop) as caught:
        patch.setattr(training, "check_folder", stop)
        tiny(name, corpus, out, **changes)
    return caught.value.args[0]


@every
def test_every_seed_fold_and_setting_has_a_folder_of_its_own(trained, small_corpus, tmp_path, name):
    run, relabel = trained[1][name], relabelled(small_corpus, [0])
    found = [folder_of(name, small_corpus, tmp_path, **change) for change in (
        {}, {"seed": 1}, {"seed": 2}, {"fold": 1}, {"batch_size": 7}, {"max_epochs": 3},
    )]  # fmt: skip
    assert found[0].name == run.folder.name and len({f.name for f in found}) == len(found)
    assert folder_of(name, replace(relabel, key="other"), tmp_path).name != run.folder.name


def test_a_second_run_leaves_the_first_as_it_was(trained, small_corpus):
    out, runs = trained
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    other = tiny("mimic", small_corpus, out, seed=1, max_epochs=1)
    assert other.folder.parent == out and other.folder != runs["mimic"].folder
    assert all(p.read_bytes() == data for p, data in before.items())


@every
def test_a_run_holds_no_pickle_and_is_opened_without_one(trained, monkeypatch, name):
    run = trained[1][name]
    assert names(run.folder) == [*FILES, *([FILE] if name in TRACED else [])]
    state = load_file(run.folder / "model.safetensors")
    assert {k: v.numpy().tobytes() for k, v in state.items()} == weights(run)
    for module, reader in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"),
                           (torch, "load")):  # fmt: skip
        monkeypatch.setattr(module, reader, lambda *a, **k: pytest.fail("unpickled"))
    assert weights(open_run(run.folder)) == weights(run)
