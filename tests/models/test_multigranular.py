"""The global branch, and BERT alone."""

import pytest
import torch

from mmer_lib.models.losses import embedding_alignment
from tests.models import naive
from tests.models.cases import agrees, built, every_change
from tests.models.test_muse import naive_muse
from tests.models.utterances import batched, changed, examples

GLOBAL = (("muse-multigranular", {}), ("muse-multigranular", {"encoder": "bert"}), ("bert", {}))


def at_cls(model, e):
    """e_BERT: as it was computed once, or by the library that the encoder comes from, alone."""
    if model.bert.encoder is None:
        return e["cls"]
    ids = torch.tensor(e["subwords"])[None]
    return model.bert.encoder.model(input_ids=ids)[0][0, 0].detach().numpy()


@every_change("muse-multigranular")
def test_the_multigranular_model_agrees_with_its_equations(change):
    model = built("muse-multigranular", **change)
    w = naive.weights(model)

    def reading(e):
        text, frames, _ = naive_muse(model, e, w)
        named = {"text": text, "frames": frames, "utterance": frames[0]}
        views = naive.multigranular(at_cls(model, e), frames[0], w)
        return named | dict(zip(("global", "local", "logits"), views, strict=True))

    agrees(model, reading)


@every_change("bert")
def test_bert_alone_agrees_with_the_naive_one(change):
    model = built("bert", **change)
    w = naive.weights(model)
    names = ("utterance", "logits")
    agrees(model, lambda e: dict(zip(names, naive.bert_alone(at_cls(model, e), w), strict=True)))


def test_the_two_views_meet_in_one_width_and_are_compared_there():
    model, batch = built("muse-multigranular"), batched(examples())
    output = model(batch)
    views = output.named["global"], output.named["local"]
    assert all(view.shape == (3, 5) for view in views)
    assert model.losses(batch, output)["embedding"] == embedding_alignment(*views)


def test_the_detailed_branch_is_muse():
    """With the weights of a MUSE, the detailed branch gives what that MUSE gives."""
    model, muse, batch = built("muse-multigranular"), built("muse"), batched(examples())
    shared = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
    missing, _ = muse.load_state_dict(shared, strict=False)
    assert set(missing) == {"classifier.weight", "classifier.bias"}
    for name, value in muse(batch).named.items():
        assert torch.equal(model(batch).named[name], value)


@pytest.mark.parametrize("name, change", GLOBAL)
def test_the_global_branch_does_not_depend_on_the_speech(name, change):
    model, batch = built(name, **change), batched(examples())
    before, after = model(batch).named, model(changed(batch, "frames")).named
    view = "utterance" if name == "bert" else "global"
    assert torch.equal(before[view], after[view])
    assert view == "utterance" or not torch.equal(before["local"], after["local"])


def test_of_a_frozen_encoder_nothing_lies_in_the_model_and_of_a_tuned_one_no_unread_part():
    frozen, tuned = built("bert"), built("bert", encoder="bert")
    assert not [k for k in frozen.state_dict() if k.startswith("bert.")]
    names = [k for k in tuned.state_dict() if k.startswith("bert.encoder.")]
    assert names and not [k for k in names if "pooler" in k]
