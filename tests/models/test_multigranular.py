"""The global branch, and BERT alone."""

import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.models.losses import embedding_alignment
from tests.models import naive
from tests.models.cases import agrees, built, config_of, every_change
from tests.models.test_muse import naive_muse
from tests.models.utterances import batched, examples


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
        early = model.config.join == "early"
        sentence = naive.linear(at_cls(model, e)[None], naive.part(w, "project_global"))[0]
        text, frames, _ = naive_muse(model, e, w, sentence if early else 0.0)
        named = {"text": text, "frames": frames, "utterance": frames[0]}
        if early:
            logits = naive.linear(frames[:1], naive.part(w, "classifier"))[0]
            return named | {"global": sentence, "logits": logits}
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


def test_a_sentence_that_joins_early_has_no_second_view():
    with pytest.raises(DataError, match=r"embedding is 0.1; join 'early' has no second view"):
        config_of("muse-multigranular", join="early", embedding=0.1)


def test_of_a_frozen_encoder_nothing_lies_in_the_model_and_of_a_tuned_one_no_unread_part():
    frozen, tuned = built("bert"), built("bert", encoder="bert")
    assert not [k for k in frozen.state_dict() if k.startswith("bert.")]
    names = [k for k in tuned.state_dict() if k.startswith("bert.encoder.")]
    assert names and not [k for k in names if "pooler" in k]
