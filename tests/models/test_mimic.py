from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmer_lib.data import Batch, DataError
from mmer_lib.models.layers import Attention
from mmer_lib.models.mimic import Gate, Mimic, MimicConfig, TensorFusion
from tests.models import naive
from tests.models.common import CLOSE, lengthened, moved, scrambled

SMALL = MimicConfig(
    words=3, audio=4, vision=2, units=4, heads=2, bottleneck=6, pool=2, head=(7, 5), dropout=0.2
)
SAME = dict(rtol=0, atol=1e-6)
LENGTHS = {"words": (3, 1, 5), "audio": (7, 2, 1), "vision": (2, 6, 4)}
PARTS = ("words", "audio", "vision")
MODALITIES = ("text", "audio", "vision")


def examples(lengths=LENGTHS, seed=0):
    """Utterances as dicts of plain arrays, each modality with its own length."""
    rng = np.random.default_rng(seed)
    widths = {part: getattr(SMALL, part) for part in PARTS}
    rows = zip(*(lengths[part] for part in PARTS), strict=True)
    return [
        {p: rng.normal(size=(n, widths[p])) for p, n in zip(PARTS, row, strict=True)}
        for row in rows
    ]


def batched(made, dtype=torch.float64):
    """The same as a padded `Batch`, filled by hand."""
    parts = {}
    for part in PARTS:
        longest = max(len(e[part]) for e in made)
        x = torch.zeros(len(made), longest, getattr(SMALL, part), dtype=dtype)
        mask = torch.ones(len(made), longest, dtype=torch.bool)
        for row, e in enumerate(made):
            x[row, : len(e[part])] = torch.from_numpy(e[part])
            mask[row, : len(e[part])] = False
        parts |= {part: x, part.removesuffix("s") + "_mask": mask}
    b = len(made)
    labels = dict(emotion=torch.arange(b) % 4, sentiment=torch.linspace(-2, 3, b))
    return Batch(torch.arange(b), **parts, **labels)


def garbled(batch, extra=(2, 3, 4), garbage=1e3):
    """More padding in every modality, with garbage in all of it."""
    new, value = replace(batch), torch.tensor(garbage, dtype=batch.words.dtype)
    for part, n in zip(PARTS, extra, strict=True):
        name = part.removesuffix("s") + "_mask"
        x, mask = lengthened(getattr(batch, part), getattr(batch, name), n, value)
        setattr(new, part, x)
        setattr(new, name, mask)
    return new


class Given(nn.Module):
    """Stands in for an encoder: whatever comes in, these vectors (B, D) come out."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, x, mask):
        return self.vectors


def individual(vectors):
    """i_t, i_a, i_v (3, D) as the model makes them of h_t, h_a, h_v (3, D)."""
    model = Mimic(replace(SMALL, units=vectors.shape[1] // 2)).to(vectors.dtype)
    for m, h in zip(MODALITIES, vectors, strict=True):
        model.encoders[m] = Given(h[None])
    named = model(batched(examples({p: (1,) for p in PARTS}))).named
    return torch.cat([named[f"i_{m}"] for m in MODALITIES])


def cosines(i):
    return [F.cosine_similarity(i[a], i[b], dim=0).item() for a, b in combinations(range(3), 2)]


# ------------------------------------------------------------------ against the second reading


CHANGES = [
    {},
    {"classes": 4},
    {"pool": 3},
    {"pool": 1, "heads": 1},
    {"pool": 6},
    {"modalities": ("text", "vision")},
    {"modalities": ("audio", "vision"), "classes": 4},
    {"modalities": ("text",), "parts": ("S", "M")},
    {"modalities": ("vision",), "decoupling": "none"},
    {"modalities": ("audio",), "decoupling": "orthogonal"},
    {"parts": ("I", "M")},
    {"parts": ("S",)},
    {"parts": ("I",)},
    {"parts": ("M",), "gate": False},
    {"gate": False},
    {"decoupling": "orthogonal"},
    {"decoupling": "none"},
    {"decoupling": "none", "modalities": ("text", "audio"), "parts": ("S", "I")},
]
LEVEL = {"level": "frame"}
EVERY = CHANGES + [change | LEVEL for change in CHANGES]


def made_for(config, lengths=LENGTHS, seed=0):
    """`examples`, of one length in every modality where the level is that of frames."""
    if config.level == "frame":
        lengths = dict.fromkeys(PARTS, lengths["words"])
    return examples(lengths, seed)


def read(config, e):
    """The inputs of an utterance by modality, those that the configuration reads."""
    given = dict(zip(MODALITIES, (e[part] for part in PARTS), strict=True))
    return {m: given[m] for m in config.modalities}


@pytest.mark.parametrize("change", EVERY, ids=str)
def test_the_whole_forward_agrees_with_the_naive_one(change):
    config = replace(SMALL, **change)
    model, made = scrambled(Mimic(config)), made_for(config)
    w = naive.weights(model)
    extra = (2, 2, 2) if config.level == "frame" else (2, 3, 4)
    out = model(garbled(batched(made), extra))
    for row, e in enumerate(made):
        expected = naive.mimic(read(config, e), w, config)
        logits = expected.pop("logits")
        found = out.logits[row].detach().numpy()
        np.testing.assert_allclose(found, logits[0] if config.classes == 1 else logits, **CLOSE)
        assert set(out.named) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(out.named[name][row].detach(), value, **CLOSE)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("pool", [1, 2, 3, 6])
def test_pooling_before_the_product_gives_the_whole_products_numbers_and_gradients(count, pool):
    config = replace(SMALL, pool=pool, modalities=MODALITIES[:count], decoupling="none")
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


def test_an_open_gate_passes_all_and_a_shut_gate_nothing():
    layer, x = Gate(4), torch.randn(2, 4)
    for bias, expected in ((1e4, x), (-1e4, 0 * x)):
        nn.init.constant_(layer.gate[0].bias, bias)
        torch.testing.assert_close(layer(x), expected)


def test_it_has_the_papers_third_of_a_million_parameters():
    config = MimicConfig(words=300, audio=74, vision=47)
    assert sum(p.numel() for p in Mimic(config).parameters()) == 303_457
    assert config == MimicConfig() and config.width == 64 and config.bottleneck == 16


# -------------------------------------------------------------------------------- the algebra


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=20, deadline=None)
def test_the_individual_parts_sum_to_zero(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(3, 8, generator=generator, dtype=torch.float64)
    assert individual(h).sum(0).abs().max() <= 1e-14 * scale * 8


def test_the_individual_parts_of_real_inputs_sum_to_zero():
    named = scrambled(Mimic(SMALL))(batched(examples())).named
    total = sum(named[f"i_{m}"] for m in MODALITIES)
    assert total.abs().max() < 1e-14


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_norms_alone_decide_the_cosines(seed):
    """cos(i_a, i_b) = (|i_c|^2 - |i_a|^2 - |i_b|^2) / (2 |i_a| |i_b|), whatever the h_m are."""
    generator = torch.Generator().manual_seed(seed)
    i = individual(torch.randn(3, 8, generator=generator, dtype=torch.float64))
    n = i.norm(dim=1).tolist()
    for (a, b), found in zip(combinations(range(3), 2), cosines(i), strict=True):
        c = 3 - a - b
        assert abs(found - (n[c] ** 2 - n[a] ** 2 - n[b] ** 2) / (2 * n[a] * n[b])) < 1e-12


@given(seed=st.integers(0, 10**6), share=st.floats(-0.45, 0.95), size=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_with_equal_norms_every_cosine_is_minus_a_half(seed, share, size):
    """Three vectors of one length and one pairwise cosine (`share`), on top of any common part:
    their i_m have equal norms."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    corners = torch.linalg.qr(rows).Q.T  # (3, 8), orthonormal
    gram = (1 - share) * torch.eye(3, dtype=torch.float64) + share
    h = size * torch.linalg.cholesky(gram) @ corners
    h = h + size * torch.randn(8, generator=generator, dtype=torch.float64)
    i = individual(h)
    torch.testing.assert_close(i.norm(dim=1), i.norm(dim=1).mean().expand(3))
    np.testing.assert_allclose(cosines(i), -0.5, atol=1e-9)


def test_equal_norms_of_the_aligned_vectors_are_not_enough():
    """It is the norms of the i_m that have to be equal, not those of the h_m."""
    turn = torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    h = F.pad(torch.stack([turn.cos(), turn.sin()], dim=1), (0, 6))
    assert min(cosines(individual(h))) < -0.9 and max(cosines(individual(h))) > 0.9


def test_modalities_that_agree_have_no_individual_part():
    h = torch.randn(8, dtype=torch.float64).expand(3, 8)
    assert individual(h).abs().max() < 1e-15


# ------------------------------------------------------------------------- what it depends on


@pytest.mark.parametrize("part", PARTS)
def test_the_output_depends_on_every_modality(part):
    model, batch = scrambled(Mimic(SMALL)), batched(examples())
    other = replace(batch)
    value = getattr(batch, part).clone()
    value[1, 0] += 1
    setattr(other, part, value)
    difference = (model(batch).logits - model(other).logits).abs()
    assert difference[1] > 1e-6 and difference[0] == difference[2] == 0


@pytest.mark.parametrize("part", PARTS)
def test_one_modality_leaves_the_encoders_of_the_others_alone(part):
    model, batch = scrambled(Mimic(SMALL)), batched(examples())
    changed = replace(batch, **{part: getattr(batch, part) + 1})
    before, after = model(batch).named, model(changed).named
    for p, m in zip(PARTS, MODALITIES, strict=True):
        assert torch.equal(before[f"h_{m}"], after[f"h_{m}"]) is (p != part)


def test_attention_leaves_padding_out():
    model, batch, maps = scrambled(Mimic(SMALL)), garbled(batched(examples())), []
    for encoder in model.encoders.values():
        assert isinstance(encoder.attention, Attention)
        encoder.attention.weights.register_forward_hook(lambda _m, _a, out: maps.append(out))
    model(batch)
    for rows, mask in zip(
        maps, (batch.word_mask, batch.audio_mask, batch.vision_mask), strict=True
    ):
        assert (rows.masked_select(mask[:, None, None, :]) == 0).all()
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))


@pytest.mark.parametrize("change", EVERY, ids=str)
def test_only_the_modalities_that_it_reads_are_needed_and_have_parameters(change):
    config = replace(SMALL, **change)
    model, batch = scrambled(Mimic(config)), batched(made_for(config))
    needs = Mimic.needs(config)
    kept = replace(batch, **{f: None for f in Mimic.needs(SMALL) if f not in needs})
    torch.testing.assert_close(model(kept).logits, model(batch).logits)
    assert set(model.encoders) == set(config.modalities)
    assert len(needs) == 2 * len(config.modalities)
    assert set(model.scalings()) == set(config.modalities) - {"text"}


def test_frames_of_different_lengths_cannot_be_decoupled_together():
    model, batch = scrambled(Mimic(replace(SMALL, **LEVEL))), batched(examples())
    with pytest.raises(DataError, match=r"level 'frame'.*audio has 7 steps, another 5"):
        model(batch)


def test_a_step_that_one_modality_lacks_does_not_count():
    """At the level of frames, a step without vision gives what cutting it off gives."""
    config = replace(SMALL, **LEVEL)
    model, batch = scrambled(Mimic(config)), batched(made_for(config, {"words": (4, 4)}))
    batch.vision_mask[0, 3] = True
    cut = replace(batch)
    for name in Mimic.needs(config):
        setattr(cut, name, getattr(batch, name)[:1])
    whole, alone = model(batch), model(cut)
    torch.testing.assert_close(whole.logits[:1], alone.logits)
    assert (whole.named["S"][0] - whole.named["S"][1]).abs().max() > 1e-6


# ------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("change", EVERY, ids=str)
def test_padding_changes_nothing_in_any_configuration(change, garbage):
    config = replace(SMALL, **change)
    model, batch = scrambled(Mimic(config)), batched(made_for(config))
    plain, padded = model(batch), model(garbled(batch, (3, 3, 3), garbage))
    torch.testing.assert_close(padded.logits, plain.logits, **CLOSE)
    torch.testing.assert_close(padded.named, plain.named, **CLOSE)


@pytest.mark.parametrize("garbage", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize("extra", [(1, 0, 0), (0, 9, 0), (0, 0, 5), (25, 25, 25)])
def test_padding_changes_nothing(extra, garbage):
    model, batch = scrambled(Mimic(SMALL)).float(), batched(examples(), torch.float32)
    plain, padded = model(batch), model(garbled(batch, extra, garbage))
    torch.testing.assert_close(padded.logits, plain.logits, **SAME)
    torch.testing.assert_close(padded.named, plain.named, **SAME)


@pytest.mark.parametrize("change", EVERY, ids=str)
def test_company_and_order_change_nothing_in_any_configuration(change):
    config = replace(SMALL, **change)
    model, made = scrambled(Mimic(config)), made_for(config)
    together = model(batched(made)).logits
    for order in ([2, 0], [1]):
        some = model(batched([made[i] for i in order])).logits
        torch.testing.assert_close(some, together[order], **CLOSE)


def test_company_and_order_change_nothing():
    model = scrambled(Mimic(replace(SMALL, classes=4))).float()
    made = examples({"words": (3, 1, 5, 9), "audio": (7, 2, 1, 3), "vision": (2, 6, 4, 12)})
    together = model(batched(made, torch.float32)).logits
    for order in ([3, 1, 0, 2], [2], [1, 3]):
        some = model(batched([made[i] for i in order], torch.float32)).logits
        torch.testing.assert_close(some, together[order], **SAME)


def test_a_modality_that_an_utterance_lacks_gives_nothing_of_its_own():
    """No vision at all: finite, and the same in any company."""
    model = scrambled(Mimic(SMALL)).float()
    made = examples({**LENGTHS, "vision": (0, 6, 4)})
    together = model(batched(made, torch.float32))
    alone = model(garbled(batched(made[:1], torch.float32), extra=(0, 0, 1)))
    assert (together.named["h_vision"][0] == 0).all() and together.logits.isfinite().all()
    torch.testing.assert_close(alone.logits, together.logits[:1], **SAME)


def test_training_learns_nothing_from_padding():
    gradients = []
    for garble in (False, True):
        torch.manual_seed(0)
        model = Mimic(replace(SMALL, dropout=0.0)).train()
        batch = batched(examples(), torch.float32)
        batch = garbled(batch) if garble else batch
        F.mse_loss(model(batch).logits, batch.sentiment).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


# ----------------------------------------------------------------------------------- training


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("classes, shape", [(1, (1,)), (4, (1, 4))])
def test_a_batch_of_one_works(training, classes, shape):
    torch.manual_seed(0)
    model = Mimic(replace(SMALL, classes=classes)).train(training)
    batch = batched(examples({p: (1,) for p in PARTS}), torch.float32)
    logits = model(batch).logits
    logits.sum().backward()
    assert logits.shape == shape and logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("change", EVERY, ids=str)
def test_every_parameter_gets_a_gradient_and_moves(change):
    torch.manual_seed(0)
    sizes = {p: getattr(SMALL, p) for p in PARTS}
    change = {k: v for k, v in change.items() if k not in ("pool", "heads")}
    model = Mimic(MimicConfig(**sizes, **change)).train()  # wide: in SMALL, ReLUs can die
    batch = batched(made_for(model.config), torch.float32)
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=10.0)
    logits = model(batch).logits
    if model.config.classes == 1:
        F.mse_loss(logits, batch.sentiment).backward()
    else:
        F.cross_entropy(logits, batch.emotion).backward()
    # a key's bias shifts all scores of a softmax alike: its gradient is zero by the algebra
    learn = {k for k in before if not k.endswith("key.bias")}
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert name not in learn or p.grad.abs().max() > 1e-9, name
    optimiser.step()
    assert moved(model, before) >= learn


def test_a_few_steps_fit_a_handful_of_utterances():
    torch.manual_seed(0)
    model = Mimic(MimicConfig(**{p: getattr(SMALL, p) for p in PARTS})).train()
    batch = batched(examples(), torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        loss = F.mse_loss(model(batch).logits, batch.sentiment)
        loss.backward()
        optimiser.step()
    assert loss < 0.05


def test_the_scalings_belong_to_audio_and_vision():
    model, batch = scrambled(Mimic(SMALL)).float(), batched(examples(), torch.float32)
    before = model(batch).named
    assert set(model.scalings()) == {"audio", "vision"}
    model.scalings()["audio"].fit(np.random.default_rng(0).normal(3, 2, (50, SMALL.audio)))
    after = model(batch).named
    for m in MODALITIES:
        assert torch.equal(before[f"h_{m}"], after[f"h_{m}"]) is (m != "audio")
