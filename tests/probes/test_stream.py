"""The frames' way through a MUSE, and what changes when a word or a layer is taken away."""

import numpy as np
import pytest
import torch
from torch import nn

from mmer_lib.models.layers import masked_mean
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.probes.inside import frame_stream, skipped, without_each_word
from tests.models.common import scrambled
from tests.tiny import three_examples

SIZES = dict(words=6, bands=7, width=8, heads=2, hidden=8, filters=2)
PARTS = ("input", "self_0", "cross_0", "cross_0_ff", "deep_0", "deep_0_ff", "deep_1", "deep_1_ff")


@pytest.fixture
def muse():
    torch.manual_seed(0)
    return scrambled(Muse(MuseConfig(**SIZES, stack=3))).float()


@pytest.fixture
def examples():
    return three_examples()


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_the_stream_is_the_models_own_in_any_batch(muse, examples):
    streams = [frame_stream(muse, examples, size) for size in (1, 2)]
    for stream in streams:
        assert hooks(muse) == 0
        assert tuple(stream.dummy) == tuple(stream.frames) == PARTS
        for i, row in enumerate(stream.rows):
            with torch.no_grad():
                named = muse(examples.collate([int(row)])).named
            np.testing.assert_allclose(
                stream.dummy["deep_1_ff"][i], named["utterance"][0], atol=1e-5
            )
            mean = masked_mean(named["frames"][:, 1:], named["frame_mask"][:, 1:])[0]
            np.testing.assert_allclose(stream.frames["deep_1_ff"][i], mean, atol=1e-5)
    one, two = (np.argsort(s.rows) for s in streams)
    for part, values in streams[0].written.items():
        np.testing.assert_allclose(values[one], streams[1].written[part][two], rtol=1e-4)


def test_what_is_written_is_the_length_of_what_is_added(muse, examples):
    stream = frame_stream(muse, examples)
    assert tuple(stream.written) == PARTS[1:]
    row = int(stream.rows[0])
    layers = [muse.cross_modal[0].cross, muse.deep_fusion[1].feed_forward]
    inputs = {}
    handles = [
        layer.register_forward_hook(lambda m, args, out: inputs.update({m: (args[0], out)}))
        for layer in layers
    ]
    with torch.no_grad():
        muse(examples.collate([row]))
    for handle in handles:
        handle.remove()
    for layer, part in zip(layers, ("cross_0", "deep_1_ff"), strict=True):
        x, added = inputs[layer]
        share = (added.norm(dim=-1) / x.norm(dim=-1))[0]
        expected = [share[0], share[1:].mean()]
        np.testing.assert_allclose(stream.written[part][0], expected, rtol=1e-4)


def test_a_silent_word_is_one_without_vector_and_phonemes(muse, examples):
    batch = examples.collate([0])
    before = {k: v.clone() for k, v in vars(batch).items() if v is not None}
    found = without_each_word(muse, batch)
    assert found.shape == (3, 4)
    for k, v in before.items():
        torch.testing.assert_close(getattr(batch, k), v, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        expected = [muse(batch).logits.softmax(-1)[0]]
        for i in range(2):
            one = examples.collate([0])
            one.words[0, i], one.phonemes[0, i] = 0, 0
            expected.append(muse(one).logits.softmax(-1)[0])
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])


@pytest.mark.parametrize("fusion", ["word", "phoneme"])
def test_words_fall_silent_in_models_that_read_one_half(fusion, examples):
    model = scrambled(Muse(MuseConfig(**SIZES, fusion=fusion))).float()
    batch = examples.collate([0])
    unread = {"word": "phonemes", "phoneme": "words"}[fusion]
    both = without_each_word(model, batch)
    setattr(batch, unread, None)
    torch.testing.assert_close(without_each_word(model, batch), both)


def test_a_skipped_module_hands_on_what_it_was_given(muse, examples):
    batch = examples.collate([2, 0])
    with torch.no_grad():
        before = muse(batch)
        with skipped(*muse.deep_fusion):
            assert hooks(muse) == 2
            during = muse(batch)
        after = muse(batch)
    assert hooks(muse) == 0 and torch.equal(before.logits, after.logits)
    assert not torch.allclose(before.logits, during.logits)
    muse.deep_fusion = nn.ModuleList()
    with torch.no_grad():
        torch.testing.assert_close(muse(batch).logits, during.logits)
