import numpy as np
import pytest
import torch

from mmer_lib.data import Batch
from mmer_lib.models.multigranular import Multigranular, MultigranularConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.probes.attribution import (
    baseline_scores,
    integrated_gradients,
    untrained_twin,
)

W, P, T = 4, 5, 13
SIZES = dict(words=6, bands=7, width=8, heads=2, hidden=8, stack=3, filters=3, phoneme_embedding=4)


def trained_like(seed=0):
    """A MUSE with larger weights than it begins with, a bias everywhere and a scaling, so that no
    input is lost on it; in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Muse(MuseConfig(**SIZES)).double().eval()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2.0) if p.dim() > 1 else p.add_(0.1 * torch.randn_like(p))
            model.fusion.phonemes.embedding.weight[0] = 0  # padding
            model.speech_prenet.scale.mean.normal_(std=0.3)
            model.speech_prenet.scale.deviation.uniform_(0.5, 2)
    return model


def batch_of(count=1, seed=1):
    g = torch.Generator().manual_seed(seed)
    phonemes = torch.randint(1, 70, (count, W, P), generator=g)
    phonemes[:, :, 3:] = 0
    return Batch(
        index=torch.arange(count),
        words=torch.randn(count, W, 6, generator=g, dtype=torch.float64),
        known=torch.ones(count, W, dtype=torch.bool),
        word_mask=torch.zeros(count, W, dtype=torch.bool),
        phonemes=phonemes,
        frames=torch.randn(count, T, 7, generator=g, dtype=torch.float64),
        frame_mask=torch.zeros(count, T, dtype=torch.bool),
    )


def score_along(model, batch, target, alpha):
    """Score and its gradients at one point of the path, by hand: embedding weights are looked up
    outside the model, which reads them through a changed embedding layer."""
    embedding = model.fusion.phonemes.embedding
    sounds = embedding.weight.detach()[batch.phonemes[0]]  # (W, P, E)
    mean = model.speech_prenet.scale.mean.expand_as(batch.frames)
    leaves = [
        (alpha * batch.words).requires_grad_(),
        (alpha * sounds).requires_grad_(),
        (mean + alpha * (batch.frames - mean)).requires_grad_(),
    ]
    fields = {**vars(batch), "words": leaves[0], "frames": leaves[2]}
    forward, embedding.forward = embedding.forward, lambda ids: leaves[1]
    try:
        score = model(Batch(**fields)).logits[0, target]
        gradients = torch.autograd.grad(score, leaves)
    finally:
        embedding.forward = forward
    ways = (batch.words, sounds, batch.frames - mean)
    return score.item(), [g * way for g, way in zip(gradients, ways, strict=True)]


@pytest.mark.parametrize("target", [0, 3])
def test_the_credits_sum_to_the_score_less_that_of_the_baseline(target):
    model, batch = trained_like(), batch_of()
    found = integrated_gradients(model, batch, target, steps=256)
    whole = found.score - found.baseline
    assert abs(whole) > 0.05
    assert found.text + found.speech == pytest.approx(whole, abs=5e-3 * max(1, abs(whole)))
    assert found.delta == pytest.approx(found.text + found.speech - whole, abs=1e-5)
    assert found.words.shape == found.phonemes.shape == (W,) and found.frames.shape == (T,)
    with torch.no_grad():
        assert found.score == pytest.approx(model(batch).logits[0, target].item())
    assert found.baseline == pytest.approx(score_along(model, batch, target, 0.0)[0])
    assert found.baseline == pytest.approx(baseline_scores(model, batch)[target].item())


def test_it_is_the_integral_that_a_plain_riemann_sum_gives():
    model, batch = trained_like(), batch_of()
    found = integrated_gradients(model, batch, 2, steps=250)
    sums = None
    for alpha in (np.arange(250) + 0.5) / 250:
        _, parts = score_along(model, batch, 2, float(alpha))
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
    words, phonemes, frames = (s / 250 for s in sums)
    close = dict(atol=2e-3, rtol=1e-2)
    np.testing.assert_allclose(found.words, words[0].sum(-1), **close)
    np.testing.assert_allclose(found.phonemes, phonemes.sum((1, 2)), **close)
    np.testing.assert_allclose(found.frames, frames[0].sum(-1), **close)


def test_what_is_unknown_or_padding_gets_nothing():
    model, batch = trained_like(), batch_of()
    batch.known[0, 1] = False
    batch.phonemes[0, 2] = 0
    batch.word_mask[0, 3:], batch.frame_mask[0, 9:] = True, True
    found = integrated_gradients(model, batch, 0, steps=16)
    assert ((found.words != 0) == [True, False, True, False]).all()
    assert ((found.phonemes != 0) == [True, True, False, False]).all()
    assert (found.frames[9:] == 0).all() and (found.frames[:9] != 0).all()


def test_a_sound_that_is_not_read_and_a_text_that_is_not_read_get_nothing():
    model, batch = trained_like(), batch_of()
    with torch.no_grad():
        for layer in model.cross_modal:  # words never reach the frames
            layer.cross.out.weight.zero_()
    found = integrated_gradients(model, batch, 0, steps=16)
    np.testing.assert_array_equal(found.by_word, 0)
    assert np.abs(found.frames).sum() > 0

    model = trained_like()
    with torch.no_grad():
        model.speech_prenet.scale.deviation.fill_(torch.inf)
    found = integrated_gradients(model, batch, 0, steps=16)
    np.testing.assert_array_equal(found.frames, 0)
    assert np.abs(found.by_word).sum() > 0


def test_model_and_batch_stay_as_they_were():
    model, batch = trained_like().train(), batch_of()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    fields = {k: v.clone() for k, v in vars(batch).items() if v is not None}
    first = integrated_gradients(model, batch, 0, steps=4)
    second = integrated_gradients(model, batch, 0, steps=4)
    for k, v in model.state_dict().items():
        assert torch.equal(v, weights[k]), k
    assert all(torch.equal(getattr(batch, k), v) for k, v in fields.items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    np.testing.assert_array_equal(first.frames, second.frames)  # no dropout


@pytest.mark.parametrize(
    ("cls", "config"),
    [(Muse, MuseConfig(**SIZES)), (Multigranular, MultigranularConfig(**SIZES, projection=4))],
)
def test_a_twin_has_the_shape_and_the_scaling_but_not_the_weights(cls, config):
    torch.manual_seed(7)
    model = cls(config)
    model.speech_prenet.scale.fit(np.random.default_rng(0).normal(3, 2, (50, 7)))
    torch.manual_seed(5)
    twin, drawn = untrained_twin(model), torch.rand(3)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert type(twin) is cls and twin.config == config and not twin.training
    assert torch.equal(twin.speech_prenet.scale.mean, model.speech_prenet.scale.mean)
    assert torch.equal(twin.speech_prenet.scale.deviation, model.speech_prenet.scale.deviation)
    for module in ("classifier", "speech_prenet.layers.0", "fusion.phonemes.embedding"):
        ours, theirs = (m.get_submodule(module).weight for m in (model, twin))
        assert not torch.equal(ours, theirs), module
    again, other = untrained_twin(model), untrained_twin(model, seed=1)
    assert torch.equal(again.classifier.weight, twin.classifier.weight)
    assert not torch.equal(other.classifier.weight, twin.classifier.weight)
