"""MIMIC against its second reading; the algebra of decoupling; what it depends on."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmer_lib.data import DataError
from mmer_lib.models.layers import masked_mean
from mmer_lib.models.losses import contrastive, difference
from mmer_lib.models.mimic import Mimic, MimicConfig, TensorFusion
from tests.models import naive
from tests.models.cases import built, config_of, every_change, lengths_for
from tests.models.common import CLOSE, scrambled
from tests.models.utterances import LENGTHS, MODALITIES, batched, examples


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("pool", [1, 2, 3, 6])
def test_pooling_before_the_product_gives_the_whole_products_numbers_and_gradients(count, pool):
    config = config_of("mimic", pool=pool, modalities=tuple(MODALITIES)[:count], decoupling="none")
    layer = scrambled(TensorFusion(config))
    raw = torch.randn(count, 4, 6, dtype=torch.float64, requires_grad=True)
    out = layer(*F.relu(raw))
    (mine,) = torch.autograd.grad(out.sin().sum(), raw)
    letters = "ijk"[:count]
    whole = torch.einsum(",".join(f"b{x}" for x in letters) + f"->b{letters}", *F.relu(raw))
    pooled = getattr(F, f"max_pool{count}d")(whole.unsqueeze(1), pool).flatten(1)
    plain = layer.project(pooled)
    (expected,) = torch.autograd.grad(plain.sin().sum(), raw)
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(mine, expected)
    assert mine.abs().max() > 0
    for row in range(4):
        vectors = F.relu(raw[:, row]).detach().numpy()
        loops = naive.tensor_fusion(*vectors, w=naive.weights(layer), pool=pool)
        np.testing.assert_allclose(out[row].detach(), loops, **CLOSE)


def test_it_has_the_papers_third_of_a_million_parameters():
    config = MimicConfig(words=300, audio=74, vision=47)
    assert sum(p.numel() for p in Mimic(config).parameters()) == 303_457
    assert config == MimicConfig() and config.width == 64 and config.bottleneck == 16


def test_other_depths_with_larger_pools_round_to_the_papers_number_as_well():
    """Table 3 says .3 M; the paper gives neither the depth of the stack nor the pool."""
    sizes = {}
    for layers, pool in product((1, 2, 3), (1, 2, 4, 8, 16)):
        model = Mimic(MimicConfig(layers=layers, pool=pool))
        sizes[layers, pool] = sum(p.numel() for p in model.parameters())
    fits = {k: n for k, n in sizes.items() if round(n / 1e6, 1) == 0.3}
    assert fits == {(1, 2): 303_457, (2, 4): 321_377, (2, 8): 314_209, (2, 16): 313_313}


@drawn(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=20, deadline=None)
def test_individual_parts_sum_to_zero_and_their_norms_decide_their_cosines(seed, scale):
    """cos(i_a, i_b) = (|i_c|^2 - |i_a|^2 - |i_b|^2) / (2 |i_a| |i_b|), whatever the h_m are."""
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(3, 8, generator=generator, dtype=torch.float64)
    named = Mimic(config_of("mimic")).decouple(dict(zip(MODALITIES, h, strict=True)))
    i = torch.stack([named[f"i_{m}"] for m in MODALITIES])
    assert i.sum(0).abs().max() <= 1e-14 * scale * 8
    n = i.norm(dim=1)
    for a, b in combinations(range(3), 2):
        expected = (n[3 - a - b] ** 2 - n[a] ** 2 - n[b] ** 2) / (2 * n[a] * n[b])
        torch.testing.assert_close(F.cosine_similarity(i[a], i[b], dim=0), expected)


@every_change("mimic")
def test_only_the_modalities_that_it_reads_have_parameters(change):
    model = built("mimic", **change)
    assert tuple(model.encoders) == model.config.modalities


def test_frames_of_different_lengths_cannot_be_decoupled_together():
    model, batch = built("mimic", level="frame"), batched(examples())
    with pytest.raises(DataError, match=r"level 'frame'.*audio has 7 steps, another 4"):
        model(batch)


def test_a_step_that_one_modality_lacks_does_not_count():
    """At the level of frames, a step without vision gives what cutting it off gives."""
    lengths = dict.fromkeys(LENGTHS, (4, 4))
    model, batch = built("mimic", level="frame"), batched(examples(**lengths))
    batch.vision_mask[0, 3] = True
    cut = replace(batch)
    for name in model.needs(model.config):
        setattr(cut, name, getattr(batch, name)[:1])
    whole, alone = model(batch), model(cut)
    torch.testing.assert_close(whole.logits[:1], alone.logits)
    assert (whole.named["S"][0] - whole.named["S"][1]).abs().max() > 1e-6


@pytest.mark.parametrize("classes", [1, 4])
def test_the_regulariser_reads_s_with_the_labels_of_the_task(classes):
    model, batch = built("mimic", classes=classes, temperature=0.5), batched(examples())
    batch.emotion = torch.tensor([1, 1, 0])
    labels = batch.sentiment.round() if classes == 1 else batch.emotion
    output = model(batch)
    losses = model.losses(batch, output)
    assert losses["contrastive"] == contrastive(output.named["S"], labels, 0.5)
    assert (losses["contrastive"] > 0) == (classes == 4)  # no two sentiments are alike
    without = built("mimic", classes=classes, contrastive=0.0)
    assert "contrastive" not in without.losses(batch, output)


def test_deeper_encoders_only_add_parameters():
    shallow, deep = (dict(built("mimic", layers=n).named_parameters()) for n in (1, 3))
    assert shallow.keys() == {name for name in deep if ".above." not in name}
    added = {name.split(".above.")[1] for name in deep.keys() - shallow.keys()}
    weights = {name.split(".lstm.")[1] for name in shallow if ".text.lstm." in name}
    assert added == {f"{n}.{name}" for n in (0, 1) for name in weights}


@pytest.mark.parametrize("change", [{}, {"level": "frame"}, {"decoupling": "orthogonal"}], ids=str)
def test_the_views_of_the_regulariser_are_two_dropped_passes(change):
    lengths = lengths_for(change)
    model, batch = built("mimic", positives="views", **change), batched(examples(**lengths))
    model.train()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    output = model(batch)
    loss = model.losses(batch, output)["contrastive"]
    first, again = output.named["S"], output.named["S_again"]
    assert (first - again).abs().max() > 1e-3
    rows, both = torch.arange(len(first)).repeat(2), torch.cat([first, again])
    assert loss == contrastive(both, rows, model.config.temperature) and loss > 0
    torch.set_rng_state(state)
    for view in (first, again):
        h, lacking = model.encode(batch)
        S = model.decouple(h)["S"]
        torch.testing.assert_close(S if lacking is None else masked_mean(S, lacking), view)
    learning = [p for p in model.encoders.parameters() if p.requires_grad]
    for view in (first, again):  # both are learned from
        grads = torch.autograd.grad(loss, view, retain_graph=True)[0]
        assert (grads.abs().amax(1) > 0).all()
    grads = torch.autograd.grad(loss, learning)
    assert all(g.isfinite().all() for g in grads) and all(g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("change", [{"positives": "class"}, {"contrastive": 0.0}], ids=str)
def test_without_views_there_is_no_second_pass(change):
    model = built("mimic", **{"positives": "views", **change}).train()
    assert "S_again" not in model(batched(examples())).named


def test_views_do_not_change_the_answer_of_a_trained_model_and_positives_by_class_draw_nothing():
    views, plain = built("mimic", positives="views"), built("mimic", dropout=0.0)
    batch = batched(examples())
    state = torch.get_rng_state()
    output, expected = views(batch), plain.train()(batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert output.named.keys() == expected.named.keys()
    assert torch.equal(output.logits, expected.logits)
    S = output.named["S"]
    rows = torch.arange(len(S)).repeat(2)
    assert views.losses(batch, output)["contrastive"] == contrastive(S.repeat(2, 1), rows)


def test_two_views_of_one_utterance_have_nothing_to_be_told_apart_from():
    model = built("mimic", positives="views").train()
    batch = batched(examples()[:1])
    loss = model.losses(batch, model(batch))["contrastive"]
    loss.backward()
    grads = [p.grad for p in model.encoders.parameters() if p.grad is not None]
    assert loss == 0 and all((g == 0).all() for g in grads)


def test_learned_projections_are_drawn_apart():
    model = built("mimic", decoupling="orthogonal", difference=0.3)
    batch = batched(examples())
    output = model(batch)
    s, i = ([output.named[f"{x}_{m}"] for m in MODALITIES] for x in "si")
    assert model.losses(batch, output)["difference"] == difference(s, i)
