"""The global branch, and BERT alone. Padding, gradients and saving: see the tests of their own."""

import numpy as np
import pytest
import torch

from mmer_lib.data import MODALITIES
from mmer_lib.models.multigranular import Bert, BertConfig, Multigranular, MultigranularConfig
from mmer_lib.models.muse import FUSIONS, Muse, MuseConfig
from tests.models import naive
from tests.models.common import CLOSE
from tests.models.test_muse import naive_muse
from tests.models.utterances import NAMES, batched, built, config_of, encoder, examples, garbled

GLOBAL = ("multigranular", "multigranular tuned", "bert", "bert tuned")


def at_cls(model, example):
    """e_BERT: as it was computed once, or by the library that the encoder comes from, alone."""
    if model.bert.encoder is None:
        return example.cls
    ids = torch.tensor(example.subwords)[None]
    return model.bert.encoder.model(input_ids=ids)[0][0, 0].detach().numpy()


def check(model, made):
    w = naive.weights(model)
    out = model(garbled(batched(made)))
    for row, example in enumerate(made):
        _, frames, _ = naive_muse(model, example, w)
        found = naive.multigranular(at_cls(model, example), frames[0], w)
        for name, expected in zip(("global", "local"), found[:2], strict=True):
            np.testing.assert_allclose(out.named[name][row].detach(), expected, **CLOSE)
        np.testing.assert_allclose(out.named["utterance"][row].detach(), frames[0], **CLOSE)
        np.testing.assert_allclose(out.logits[row].detach(), found[2], **CLOSE)
    muse = {"text", "frames", "frame_mask", "utterance"}
    assert set(out.named) == muse | {"global", "local"}


@pytest.mark.parametrize("name", ["multigranular", "multigranular tuned"])
@pytest.mark.parametrize("depths", [(1, 1, 2), (0, 0, 0), (2, 2, 1)])
def test_the_multigranular_model_agrees_with_its_equations(name, depths):
    layers = dict(zip(("text_layers", "cross_layers", "fusion_layers"), depths, strict=True))
    check(built(name, **layers), examples())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_multigranular_model_agrees_with_its_equations_in_every_fusion(fusion):
    check(built("multigranular", fusion=fusion), examples())


def test_it_may_hear_by_a_speech_encoder_too():
    check(built("multigranular", speech=encoder("wav2vec2"), stack=1), examples())


@pytest.mark.parametrize("name", ["bert", "bert tuned"])
def test_bert_alone_agrees_with_the_naive_one(name):
    model, made = built(name), examples()
    out, w = model(garbled(batched(made))), naive.weights(model)
    assert set(out.named) == {"utterance"}
    for row, example in enumerate(made):
        dense, logits = naive.bert_alone(at_cls(model, example), w)
        np.testing.assert_allclose(out.named["utterance"][row].detach(), dense, **CLOSE)
        np.testing.assert_allclose(out.logits[row].detach(), logits, **CLOSE)


def test_the_two_views_meet_in_one_width_whatever_theirs_are():
    model = built("multigranular")
    named = model(batched(examples())).named
    assert named["global"].shape == named["local"].shape == (3, 5)
    assert model.config.cls != model.config.width != 5


def test_the_views_that_are_compared_are_in_the_output():
    """L_emb_align takes them after the projection, where the widths agree (Eq. 14)."""
    for name in NAMES:
        model = built(name)
        named = model(batched(examples())).named
        assert model.compared == (("global", "local") if isinstance(model, Multigranular) else None)
        assert set(model.compared or ()) <= set(named)


def test_the_detailed_branch_is_muse():
    """With the weights of a MUSE, the detailed branch gives what that MUSE gives."""
    model, muse, batch = built("multigranular"), built("highway"), batched(examples())
    shared = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
    missing, _ = muse.load_state_dict(shared, strict=False)
    assert set(missing) == {"classifier.weight", "classifier.bias"}
    expected = muse(batch).named
    for name, value in expected.items():
        assert torch.equal(model(batch).named[name], value)


@pytest.mark.parametrize("name", GLOBAL)
def test_the_global_branch_does_not_depend_on_the_speech(name):
    model, batch = built(name), batched(examples())
    other = batch.to("cpu")
    other.frames = batch.frames + 1
    view = "utterance" if name.startswith("bert") else "global"
    assert torch.equal(model(batch).named[view], model(other).named[view])
    if view == "global":
        assert not torch.equal(model(batch).named["local"], model(other).named["local"])


def test_of_a_frozen_encoder_nothing_lies_in_the_model():
    frozen, tuned = built("bert"), built("bert tuned")
    assert not [k for k in frozen.state_dict() if k.startswith("bert.")]
    assert [k for k in tuned.state_dict() if k.startswith("bert.encoder.")]


@pytest.mark.parametrize("name", GLOBAL)
def test_dropout_works_in_training_only(name):
    model, batch = built(name), batched(examples())
    assert torch.equal(model(batch).logits, model(batch).logits)
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model(batch).logits, model(batch).logits)


def test_the_tuned_encoder_has_no_part_that_nothing_reads():
    names = [k for k, _ in built("bert tuned").named_parameters()]
    assert names and not [k for k in names if "pooler" in k]


def test_the_configurations_add_to_one_another():
    c = MultigranularConfig()
    assert isinstance(c, MuseConfig) and (c.cls, c.projection, c.encoder) == (384, 128, None)
    b = BertConfig()
    assert (b.cls, b.projection, b.encoder, b.classes) == (384, 128, None, 4)
    assert issubclass(Multigranular, Muse) and not issubclass(Bert, Muse)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_says_of_itself(name):
    cls, config = config_of(name)
    assert type(config) is cls.config_class
    assert set(cls.modalities) <= set(MODALITIES)
    assert ("audio" in cls.modalities) is (not name.startswith("bert"))
    assert cls.contrasted is None
    for field in cls.needs(config):
        assert hasattr(batched(examples()), field)
