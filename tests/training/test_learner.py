"""Losses, hooks, the optimiser and encoders that are trained along."""

import math
from dataclasses import replace

import lightning as L
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmer_lib.data import DataError
from mmer_lib.features.batches import Examples
from mmer_lib.models import losses
from mmer_lib.probes.hooks import record
from mmer_lib.training import fit as training
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import open_run
from mmer_lib.training.settings import AUXILIARIES
from tests.tiny import (
    OWN_LOSSES,
    OWN_LOSSES_OFF,
    SMALL,
    each_kind,
    every,
    small_bert,
    small_wav2vec,
    tiny,
    weights,
    with_utterances,
)

pytestmark = [
    pytest.mark.usefixtures("keep_cache"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory):
    return small_wav2vec(tmp_path_factory.mktemp("wav2vec"))


def untrained(name, corpus, model_options=None, **changes):
    """(a small model in evaluation mode, settings, all of the corpus), as a training begins."""

    class Caught(Exception):
        pass

    def catch(_trainer, learner, train, _dev, **_):
        raise Caught(learner, train.dataset.features)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Caught) as caught:
        patch.setattr(L.Trainer, "fit", catch)
        tiny(name, corpus, "nowhere", model_options, **changes)
    learner, features = caught.value.args
    everyone = Examples(corpus, features, range(len(corpus.utterances)))
    return learner.model.eval(), learner.settings, everyone


def attention_of(model, batch):
    """Attention of every cross-modal layer, read by hooks set here."""
    seen = {}
    handles = [
        layer.cross.weights.register_forward_hook(lambda m, x, y, i=i: seen.update({i: y}))
        for i, layer in enumerate(model.cross_modal)
    ]
    output = model(batch)
    for handle in handles:
        handle.remove()
    return [seen[i] for i in range(len(model.cross_modal))], output


# -------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("ideal", ["diagonal", "forced"])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_loss_of_muse_is_equation_15(small_corpus, ideal, layers):
    model, settings, examples = untrained(
        "muse-multigranular", small_corpus, {"cross_layers": layers, "stack": 4},
        align=0.3, embedding=0.07, ideal=ideal,
    )  # fmt: skip
    batch = examples.collate(range(12))
    found = Learner(model, settings).loss(batch)
    assert set(found) == {"task", "align", "embedding", "loss"}

    maps, output = attention_of(model, batch)
    assert found["task"].item() == pytest.approx(
        F.cross_entropy(output.logits, batch.emotion).item(), rel=1e-5
    )
    frame_mask = output.named["frame_mask"][:, 1:]  # without the dummy frame
    if ideal == "diagonal":
        wanted, counted = losses.diagonal_ideal(frame_mask, batch.word_mask), ~frame_mask
    else:
        first, hop = 0.025 / 2 + 1.5 * 0.012, 4 * 0.012  # the middle of four frames
        times = first + hop * torch.arange(frame_mask.shape[1])
        wanted, spoken = losses.forced_ideal(times, batch.word_times, batch.word_mask)
        counted = spoken & ~frame_mask
    assert 0 < counted.sum() < counted.numel()
    each = [losses.alignment(a[:, :, 1:], wanted, counted, batch.word_mask) for a in maps]
    assert len(each) == layers and each[0] > 0
    assert found["align"].item() == pytest.approx(sum(each).item() / layers, rel=1e-5)
    assert found["embedding"].item() == pytest.approx(
        losses.embedding_alignment(output.named["global"], output.named["local"]).item(), rel=1e-5
    )
    total = found["task"] + 0.3 * found["align"] + 0.07 * found["embedding"]
    assert found["loss"].item() == pytest.approx(total.item(), rel=1e-6)


def test_the_loss_of_mimic_is_its_equation_15(small_corpus):
    model, settings, examples = untrained("mimic", small_corpus, contrastive=0.4, temperature=0.3)
    batch = examples.collate(range(20))
    found = Learner(model, settings).loss(batch)
    output = model(batch)
    task = (output.logits - batch.sentiment).square().mean()
    regulariser = losses.contrastive(output.named["S"], batch.sentiment.round(), 0.3)
    assert set(found) == {"task", "contrastive", "loss"} and regulariser > 0
    assert found["task"].item() == pytest.approx(task.item(), rel=1e-5)
    assert found["contrastive"].item() == pytest.approx(regulariser.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((task + 0.4 * regulariser).item(), rel=1e-5)


def test_what_has_no_weight_is_not_computed(small_corpus, monkeypatch):
    for name in ("alignment", "embedding_alignment", "contrastive", "diagonal_ideal"):
        monkeypatch.setattr(f"mmer_lib.training.learner.{name}", lambda *a: pytest.fail("computed"))
    for name in ("moment_discrepancy", "difference", "reconstruction"):
        monkeypatch.setattr(f"mmer_lib.training.learner.{name}", lambda *a: pytest.fail("computed"))
    none = dict.fromkeys(("align", "embedding", "contrastive", *AUXILIARIES), 0.0)
    for name in SMALL:
        options = {"decoder": False} if name == "misa" else OWN_LOSSES_OFF.get(name, {})
        model, settings, examples = untrained(name, small_corpus, options, **none)
        found = Learner(model, settings).loss(examples.collate(range(6)))
        assert set(found) == {"task", "loss"} and found["loss"] == found["task"]


def test_without_align_nothing_listens_and_with_it_nothing_stays(small_corpus, tmp_path):
    listeners = []
    for align in (0.0, 0.1):
        model, settings, examples = untrained("muse", small_corpus, align=align)
        attention = model.cross_modal[0].cross.weights
        spy = model.classifier.register_forward_hook(
            lambda *a, seen=attention: listeners.append(len(seen._forward_hooks))
        )
        learner, batch = Learner(model, settings), examples.collate(range(4))
        learner.loss(batch)
        with pytest.raises(TypeError):  # a batch that ends in the middle of the model
            learner.loss(replace(batch, frames=None))
        assert not attention._forward_hooks
        spy.remove()
    assert listeners == [0, 1]
    run = tiny("muse", small_corpus, tmp_path, align=0.0, max_epochs=1)
    assert set(run.result["history"][0]) == {"epoch", "wa", "ua", "loss", "loss_task"}


@each_kind
def test_the_history_has_the_parts_of_the_loss(small_corpus, tmp_path, name):
    run = tiny(name, small_corpus, tmp_path, max_epochs=1)
    s, (line,) = run.settings, run.result["history"]
    parts = [k.removeprefix("loss_") for k in line if k.startswith("loss_")]
    known = ("contrastive", *AUXILIARIES, "align", "embedding")
    own = OWN_LOSSES.get(name, ())  # come weighted
    assert parts == ["task", *(k for k in known if getattr(s, k)), *own]
    weights = {"task": 1.0, **dict.fromkeys(own, 1.0)}
    total = sum((weights[k] if k in weights else getattr(s, k)) * line[f"loss_{k}"] for k in parts)
    assert line["loss"] == pytest.approx(total, rel=1e-5)
    assert not any(k.startswith("loss") for k in run.result["dev"])


def test_align_reaches_the_attention_and_only_what_stands_before_it(small_corpus):
    model, settings, examples = untrained("muse", small_corpus, align=1.0)
    Learner(model, settings).loss(examples.collate(range(8)))["align"].backward()
    reached = {k.split(".")[0] for k, p in model.named_parameters() if p.grad is not None}
    assert {"fusion", "text_prenet", "speech_prenet", "cross_modal"} <= reached
    assert not {"deep_fusion", "classifier"} & reached
    assert model.cross_modal[0].cross.query.weight.grad.abs().sum() > 0
    assert model.cross_modal[0].cross.value.weight.grad is None


# ------------------------------------------------------------------------- attention and its ideal


def divergence(run, corpus):
    """Mean KL(attention || ideal) on the training part, with loops and without `losses`."""
    rows, found = corpus.splits(0).train, []
    batch = training.examples_for(run, corpus, rows).collate(rows)
    with torch.no_grad(), record(run.model.alignments()) as maps:
        frame_mask = run.model(batch).named["frame_mask"][:, 1:]
    attention = maps["cross_0"].mean(1)[:, 1:].double().numpy()  # (B, T, W)
    times = run.model.frame_times(frame_mask.shape[1]).numpy()
    for i in range(len(rows)):
        frames, words = int((~frame_mask[i]).sum()), int((~batch.word_mask[i]).sum())
        for t in range(frames):
            if run.settings.ideal == "diagonal":
                place = (np.arange(words) + 0.5) / words - (t + 0.5) / frames
                ideal = np.exp(-(place**2) / (2 * 0.2**2))
                ideal /= ideal.sum()
            else:
                start, end = batch.word_times[i, :words].numpy().T
                hit = (start <= times[t]) & (times[t] < end)
                if not hit.any():
                    continue
                ideal = 0.9 * hit / hit.sum() + 0.1 / words
            a = attention[i, t, :words]
            found.append((a * np.log(a / ideal)).sum())
    return np.mean(found)


@pytest.mark.parametrize(("ideal", "share"), [("diagonal", 0.6), ("forced", 0.99)])
def test_align_draws_attention_to_its_ideal(small_corpus, tmp_path, ideal, share):
    """After five epochs the divergence is smaller by two fifths (diagonal), by a hundredth at
    least (forced, which small models are slow to learn), than in a training without it."""
    options = {"ideal": ideal, "learning_rate": 5e-3, "batch_size": 16, "max_epochs": 5,
               "monitor": "loss", "mode": "min"}  # fmt: skip
    with_it, without = (
        divergence(tiny("muse", small_corpus, tmp_path, align=a, **options), small_corpus)
        for a in (5.0, 0.0)
    )
    assert with_it < share * without


def test_forced_takes_the_utterances_that_have_word_times(small_corpus, tmp_path):
    half = with_utterances(
        small_corpus, lambda i, u: u if i % 2 else replace(u, words=None), "half"
    )
    model, settings, examples = untrained("muse", half, align=0.1, ideal="forced")
    learner, timed, others = Learner(model, settings), [1, 3, 5, 7], [0, 2]
    alone = learner.loss(examples.collate(timed))
    mixed = learner.loss(examples.collate(timed + others))
    neither = learner.loss(examples.collate(others))
    assert (
        alone["align"].item() == pytest.approx(mixed["align"].item(), rel=1e-4) and alone["align"]
    )
    assert neither["align"] == 0 and neither["loss"] == neither["task"]
    run = tiny("muse", half, tmp_path, ideal="forced", max_epochs=1)
    assert math.isfinite(run.result["history"][0]["loss_align"])
    assert all(p.isfinite().all() for p in run.model.parameters())


def test_forced_without_any_word_times_is_refused(small_corpus, tmp_path):
    plain = with_utterances(small_corpus, lambda i, u: replace(u, words=None), "plain")
    with pytest.raises(DataError, match=r"no utterance has word times.*align to 0"):
        tiny("muse", plain, tmp_path, ideal="forced")
    run = tiny("muse", plain, tmp_path, ideal="forced", align=0.0, max_epochs=1)
    assert "loss_align" not in run.result["history"][0]
    assert "loss_align" in tiny("muse", plain, tmp_path, max_epochs=1).result["history"][0]


@pytest.mark.parametrize(
    ("name", "options"),
    [("muse", {"cross_layers": 0}), ("bert", {}), ("mimic", {})],
)
def test_align_without_attention_to_words_is_refused_before_training(
    small_corpus, tmp_path, monkeypatch, name, options
):
    monkeypatch.setattr(training, "run_training", lambda *a: pytest.fail("trained"))
    with pytest.raises(DataError, match=r"align is 0.1, but this .*set it to 0"):
        tiny(name, small_corpus, tmp_path, align=0.1, model_options=options)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------- encoders that learn


@pytest.mark.parametrize("name", ["bert", "muse-multigranular"])
def test_an_encoder_that_is_tuned_begins_as_it_was_saved_and_changes(
    small_corpus, tmp_path, bert, name
):
    """With a vanishing rate it is still the saved one, and with a real one it is not."""
    from transformers import AutoModel

    saved = {k: v for k, v in AutoModel.from_pretrained(bert).state_dict().items()
             if not k.startswith("pooler")}  # fmt: skip
    moved = {}
    for rate in (1e-12, 1e-2):
        run = tiny(name, small_corpus, tmp_path, encoder=bert, tune=True, max_epochs=1,
                   encoder_learning_rate=rate)  # fmt: skip
        state = run.model.bert.encoder.model.state_dict()
        assert set(state) == set(saved) and run.model.config.cls == 12
        moved[rate] = max((state[k].float() - v.float()).abs().max() for k, v in saved.items())
    assert moved[1e-12] < 1e-7 and moved[1e-2] > 1e-3
    assert weights(open_run(run.folder)) == weights(run)


def test_an_encoder_that_is_not_tuned_is_no_part_of_the_model(small_corpus, tmp_path, bert):
    run = tiny("bert", small_corpus, tmp_path, encoder=bert, max_epochs=1)
    assert run.model.bert.encoder is None and run.model.config.encoder is None
    assert run.model.config.cls == 12 and "cls" in run.model.needs(run.model.config)
    assert run.model.project[0].weight.shape == (8, 12)


def test_wav2vec_is_trained_along_but_for_its_convolutions(small_corpus, tmp_path, wav2vec):
    from transformers import AutoModel

    run = tiny("muse", small_corpus, tmp_path, wav2vec=wav2vec, model_options={"stack": 1},
               align=0.1, ideal="forced", max_epochs=1, encoder_learning_rate=1e-2)  # fmt: skip
    config, found = run.model.config, run.model.speech_encoder.model.state_dict()
    assert config.speech["hidden_size"] == 8 and not run.model.scalings()
    moved = {k for k, v in AutoModel.from_pretrained(wav2vec).state_dict().items()
             if not torch.equal(v, found[k])}  # fmt: skip
    assert any(k.startswith("encoder.") for k in moved)
    assert not any(k.startswith("feature_extractor") for k in moved)
    rows, logits = run.predict(training.examples_for(run, small_corpus, range(9)))
    assert logits.shape == (9, 4) and logits.isfinite().all() and len(rows) == 9
    assert run.result["history"][0]["loss_align"] > 0


# ------------------------------------------------------------------------------- the optimiser


@pytest.mark.parametrize(("rate", "expected"), [(3e-5, 3e-5), (0.0, 1e-3)])
def test_encoders_have_a_learning_rate_of_their_own(
    small_corpus, bert, wav2vec, monkeypatch, tmp_path, rate, expected
):
    groups, original = [], Learner.configure_optimizers

    def spy(self):
        made = original(self)
        assert isinstance(made, torch.optim.AdamW)  # no schedule
        for group in made.param_groups:
            names = {id(p): k for k, p in self.model.named_parameters()}
            groups.append((group["lr"], {names[id(p)] for p in group["params"]}))
        self.trainable = {k for k, p in self.model.named_parameters() if p.requires_grad}
        groups.append(self.trainable)
        return made

    monkeypatch.setattr(Learner, "configure_optimizers", spy)
    tiny("muse-multigranular", small_corpus, tmp_path, encoder=bert, tune=True, wav2vec=wav2vec,
         model_options={"stack": 1}, max_epochs=1, encoder_learning_rate=rate,
         learning_rate=1e-3, warmup=0.0)  # fmt: skip
    (first, own), (second, pretrained), trainable = groups
    assert (first, second) == (1e-3, expected)
    assert all(k.startswith(("bert.encoder.", "speech_encoder.")) for k in pretrained)
    assert not any(k.startswith(("bert.encoder.", "speech_encoder.")) for k in own)
    assert own | pretrained == trainable and not own & pretrained
    assert not any("feature_extractor" in k for k in trainable)


@every
def test_the_optimiser_holds_every_parameter_once(small_corpus, name):
    model, settings, _ = untrained(name, small_corpus, warmup=0.0)
    optimiser = Learner(model, settings).configure_optimizers()
    ids = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def test_the_learning_rate_rises_then_falls_to_zero(small_corpus, tmp_path, monkeypatch, bert):
    """In every group, each from its own height."""
    rates, original = [], Learner.training_step

    def spy(self, *args):
        rates.append([g["lr"] for g in self.optimizers().param_groups])
        return original(self, *args)

    monkeypatch.setattr(Learner, "training_step", spy)
    tiny("bert", small_corpus, tmp_path, max_epochs=8, patience=8, warmup=0.25,
         learning_rate=1e-3, encoder=bert, tune=True, encoder_learning_rate=1e-4)  # fmt: skip
    assert len(rates) == 8 * 3
    for height, line in zip((1e-3, 1e-4), np.array(rates).T, strict=True):
        top = int(np.argmax(line))
        assert 4 <= top <= 6 and line[top] == pytest.approx(height)
        assert (np.diff(line[: top + 1]) > 0).all() and (np.diff(line[top + 1 :]) < 0).all()
        assert min(line) > 0 and line[-1] < 0.1 * height


@pytest.mark.parametrize("changes", [{"batch_size": 96}, {"warmup": 1.0}])
def test_a_training_that_only_warms_up_ends_well(small_corpus, tmp_path, changes):
    """One step in all, or a rate that rises to the end."""
    run = tiny("bert", small_corpus, tmp_path, max_epochs=1, **changes)
    assert run.result["epochs"] == 1


def test_a_learner_needs_no_trainer_to_give_its_loss(small_corpus):
    model, settings, examples = untrained("muse", small_corpus, align=0.0)
    batch = examples.collate(range(6))
    found = Learner(model, settings).loss(batch)
    share = model(batch).logits.log_softmax(-1)[torch.arange(6), batch.emotion]
    assert found["loss"].item() == pytest.approx(-share.mean().item(), rel=1e-5)
