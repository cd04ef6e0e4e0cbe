"""What MUSE's output depends on."""

from contextlib import contextmanager

import pytest
import torch

from tests.models.cases import built
from tests.models.utterances import batched, changed, examples

TEXT = ("words", "known", "phonemes", "subwords", "cls")
SPEECH = ("frames", "sound")


def read_by(model, batch, parts=TEXT + SPEECH):
    """The parts whose change moves the first utterance; no change may move the others."""
    before, found = model(batch).logits, set()
    for part in parts:
        difference = (model(changed(batch, part)).logits - before).abs().amax(1)
        assert (difference[1:] == 0).all(), part
        assert difference[0] == 0 or difference[0] > 1e-9, part
        found |= {part} if difference[0] else set()
    return found


# --------------------------------------------------------------------- the way of the text


@contextmanager
def silenced(module, rows):
    """An attention that reads nothing in these rows."""

    def hush(_module, _inputs, weights):
        weights = weights.clone()
        weights[:, :, rows] = 0.0
        return weights

    handle = module.register_forward_hook(hush)
    try:
        yield
    finally:
        handle.remove()


EVERY, DUMMY, OTHERS = slice(None), slice(0, 1), slice(1, None)


def reads_text(model, batch):
    return bool(read_by(model, batch, ("words", "phonemes")))


@pytest.mark.parametrize("fusion", ["highway", "word", "phoneme"])
@pytest.mark.parametrize("deep", [0, 2])
def test_without_cross_modal_layers_nothing_reads_the_text(fusion, deep):
    model = built("muse", fusion=fusion, cross_layers=0, fusion_layers=deep, align=0.0)
    found = read_by(model, batched(examples()))
    assert found == ({"frames"} if deep else set())  # the dummy frame alone hears nothing


def test_without_cross_modal_layers_the_multigranular_model_reads_text_by_its_global_branch():
    model = built("muse-multigranular", cross_layers=0, align=0.0)
    assert read_by(model, batched(examples())) == {"frames", "cls"}


def test_after_one_cross_modal_layer_the_text_comes_by_the_dummys_own_row():
    """Self-attention stands before the cross-attention: with one such layer and no deep fusion,
    what the frames read never reaches the dummy position."""
    model, batch = built("muse", cross_layers=1, fusion_layers=0), batched(examples())
    cross = model.cross_modal[0].cross.weights
    handle = cross.register_forward_hook(lambda *_: None)  # the maps are written down, as below
    before = model(batch).logits
    handle.remove()
    with silenced(cross, OTHERS):
        assert torch.equal(model(batch).logits, before)
        assert reads_text(model, batch)
    with silenced(cross, DUMMY):
        assert read_by(model, batch) == {"frames"}


def test_deep_fusion_brings_what_the_frames_have_read_to_the_dummy():
    model, batch = built("muse", cross_layers=1, fusion_layers=1), batched(examples())
    cross = model.cross_modal[0].cross.weights
    with silenced(cross, DUMMY):
        assert reads_text(model, batch)
    with silenced(cross, EVERY):
        assert read_by(model, batch) == {"frames"}
