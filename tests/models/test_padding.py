"""Neither padding, nor what stands in it, nor the company of a batch changes an answer."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.models.common import scrambled
from tests.models.utterances import NAMES, SAME, WORDS, batched, built, config_of, examples, garbled

MUSES = [n for n in NAMES if not n.startswith("bert")]


def single(name, **changes):
    """In float32, as it is used."""
    return built(name, **changes).float()


def agree(found, expected, rows=slice(None)):
    torch.testing.assert_close(found.logits, expected.logits[rows], **SAME)


def more(batch, **how):
    return garbled(batch, words=3, frames=8, phonemes=4, subwords=5, sound=120, **how)


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name, garbage):
    model, batch = single(name), batched(examples(), torch.float32)
    plain, padded = model(batch), model(more(batch, garbage=garbage))
    agree(padded, plain)
    if name in MUSES:
        real = ~plain.named["frame_mask"]
        longer = padded.named["frame_mask"][:, : real.shape[1]]
        assert torch.equal(longer, ~real) and padded.named["frame_mask"][:, real.shape[1] :].all()
        for row, length in enumerate(WORDS):
            one, other = (o.named["text"][row, :length] for o in (plain, padded))
            torch.testing.assert_close(one, other, **SAME)
            one, other = (o.named["frames"][row, : real[row].sum()] for o in (plain, padded))
            torch.testing.assert_close(one, other, **SAME)


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("stack", [1, 3, 6])
def test_padding_changes_nothing_however_many_frames_are_stacked(stack, garbage):
    model, batch = single("highway", stack=stack), batched(examples(), torch.float32)
    agree(model(more(batch, garbage=garbage)), model(batch))


@pytest.mark.parametrize("name", MUSES)
@pytest.mark.parametrize("depths", [(0, 0, 0), (0, 1, 0), (2, 2, 1), (1, 0, 1)])
def test_padding_changes_nothing_at_any_depth(name, depths):
    layers = dict(zip(("text_layers", "cross_layers", "fusion_layers"), depths, strict=True))
    model, batch = single(name, **layers), batched(examples(), torch.float32)
    agree(model(more(batch, garbage=float("nan"))), model(batch))


@pytest.mark.parametrize("name", NAMES)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=8, deadline=None)
def test_an_utterance_is_answered_as_if_it_were_alone(name, sizes, seed):
    words, frames = zip(*sizes, strict=True)
    model, made = single(name), examples(words, frames, seed)
    together = model(more(batched(made, torch.float32)))
    for row, example in enumerate(made):
        agree(model(batched([example], torch.float32)), together, [row])


@pytest.mark.parametrize("name", NAMES)
def test_company_and_order_change_nothing(name):
    model, made = single(name), examples(words=(4, 1, 3, 6), frames=(7, 3, 2, 12))
    together = model(batched(made, torch.float32))
    for order in ([3, 1, 0, 2], [2], [1, 3]):
        agree(model(batched([made[i] for i in order], torch.float32)), together, order)


@pytest.mark.parametrize("name", MUSES)
def test_an_utterance_without_words_does_not_hear_its_company(name):
    model, made = single(name), examples(words=(0, 4, 1))
    alone = model(garbled(batched(made[:1], torch.float32), words=1))
    together = model(batched(made, torch.float32))
    assert together.logits.isfinite().all()
    agree(alone, together, slice(0, 1))


@pytest.mark.parametrize("name", NAMES)
def test_training_learns_nothing_from_padding(name):
    gradients, states = [], []
    cls, config = config_of(name)
    for garble in (False, True):
        torch.manual_seed(0)
        model = cls(replace(config, dropout=0.0)).train()
        batch = batched(examples(), torch.float32)
        batch = more(batch) if garble else batch
        F.cross_entropy(model(batch).logits, batch.emotion).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
        states.append(dict(model.named_buffers()))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words, frames", [(3, 5), (1, 1)])
def test_a_batch_of_one_works(name, words, frames, training):
    cls, config = config_of(name)
    torch.manual_seed(0)
    model = cls(config).train(training)
    batch = batched(examples((words,), (frames,)), torch.float32)
    logits = model(batch).logits
    F.cross_entropy(logits, batch.emotion).backward()
    assert logits.shape == (1, 4) and logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_one_class_gives_one_number_an_utterance(name):
    cls, config = config_of(name)
    model = scrambled(cls(replace(config, classes=1)))
    assert model(batched(examples())).logits.shape == (3,)
