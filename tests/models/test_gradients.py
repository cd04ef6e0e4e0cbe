"""Every parameter learns, except where it is frozen on purpose or the algebra forbids it."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmer_lib.models.muse import FUSIONS, Muse
from tests.models.common import moved
from tests.models.utterances import NAMES, batched, config_of, examples

LAYERS = ("text_layers", "cross_layers", "fusion_layers")
DEPTHS = [(1, 1, 2), (2, 2, 1), (0, 1, 0), (1, 0, 1), (0, 0, 0)]
WIDE = dict(width=16, hidden=32, filters=8, dropout=0.0)  # in small layers, a ReLU can die
KINDS = ("highway", "multigranular", "multigranular tuned", "wav2vec layer")
FROZEN = "speech_encoder.model.feature_extractor."
TEXT = ("fusion.", "text_prenet.", "text_positions.", "text_encoder.")


def learner(name, seed=0, **changes):
    """A model in training mode, in float64, without dropout, and its batch."""
    cls, config = config_of(name, **changes)
    torch.manual_seed(seed)
    model = cls(replace(config, dropout=0.0)).double().train()
    return model, batched(examples(words=(4, 5, 3, 6), frames=(7, 3, 5, 8)))


def without_effect(name):
    """A shift of all scores of a softmax, or of all that a batch norm centres, changes nothing;
    and the vector that covers frames in pre-training is not used. So the gradient of these is zero
    by the algebra."""
    keys = name.endswith(("key.bias", "k_proj.bias"))
    centred = name.startswith("text_prenet.convolutions") and name.endswith("bias")
    return keys or centred or name.endswith("masked_spec_embed")


def out_of_reach(name, config):
    """Nothing reads the text without cross-modal layers; and without any attention the dummy frame
    stays by itself."""
    if config.cross_layers:
        return False
    unread = name.startswith(TEXT)
    return unread or (config.fusion_layers == 0 and name.startswith("speech_encoder."))


def check(model, batch):
    """The parameters without a gradient are those that the algebra names, no more and no fewer."""
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            assert name.startswith(FROZEN) and p.grad is None, name
            continue
        none = without_effect(name)
        none |= isinstance(model, Muse) and out_of_reach(name, model.config)
        size = 0.0 if p.grad is None else float(p.grad.abs().max())
        assert size < 1e-13 if none else size > 1e-9, (name, size)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("depths", DEPTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_every_configuration_gets_a_gradient(kind, depths, fusion):
    layers = dict(zip(LAYERS, depths, strict=True))
    check(*learner(kind, fusion=fusion, **WIDE, **layers))


@pytest.mark.parametrize("name", ["bert", "bert tuned", "wav2vec group", "hubert"])
def test_every_parameter_of_the_other_models_gets_a_gradient(name):
    changes = {} if name.startswith("bert") else WIDE
    check(*learner(name, **changes))


@pytest.mark.parametrize("name", ["wav2vec group", "wav2vec layer", "hubert"])
def test_what_is_frozen_is_the_entry_of_the_speech_encoder_and_nothing_else(name):
    model, _ = learner(name)
    frozen = {k for k, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {k for k, _ in model.named_parameters() if k.startswith(FROZEN)}
    assert frozen


@pytest.mark.parametrize("name", NAMES)
def test_a_step_moves_every_parameter_that_has_a_gradient_and_none_that_is_frozen(name):
    model, batch = learner(name, **({} if name.startswith("bert") else WIDE))
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    optimiser.step()
    learn = {k for k, p in model.named_parameters() if p.requires_grad and not without_effect(k)}
    assert moved(model, before) >= learn
    assert not any(k.startswith(FROZEN) for k in moved(model, before))
