import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmer_lib.data import Batch, Word
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.probes.attention import (
    alignment_error,
    attention_on_spoken_word,
    distance_to_words,
    entropy,
    preference,
    spoken_word,
)
from mmer_lib.probes.inside import (
    attention_modules,
    look_inside_mimic,
    look_inside_muse,
    part_modules,
    survey,
)
from tests.tiny import three_examples

B, W, P, T = 3, 5, 4, 12


@pytest.fixture
def muse():
    torch.manual_seed(0)
    return Muse(MuseConfig(words=6, bands=7, width=8, heads=2, hidden=8, stack=3, filters=2))


@pytest.fixture
def mimic():
    torch.manual_seed(0)
    return Mimic(MimicConfig(words=6, audio=4, vision=3, units=4, heads=2, bottleneck=4))


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    word_mask = torch.arange(W) >= torch.tensor([[W], [3], [1]])
    frame_mask = torch.arange(T) >= torch.tensor([[T], [9], [4]])
    phonemes = torch.randint(1, 70, (B, W, P), generator=g).masked_fill(word_mask[..., None], 0)
    return Batch(
        index=torch.arange(B),
        words=torch.randn(B, W, 6, generator=g),
        known=torch.rand(B, W, generator=g) > 0.3,
        word_mask=word_mask,
        phonemes=phonemes,
        frames=torch.randn(B, T, 7, generator=g),
        frame_mask=frame_mask,
        audio=torch.randn(B, W, 4, generator=g),
        audio_mask=word_mask,
        vision=torch.randn(B, W, 3, generator=g),
        vision_mask=word_mask,
    )


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_inside_muse(muse, batch):
    inside = look_inside_muse(muse, batch)
    assert hooks(muse) == 0
    cross = inside["cross_0"]
    assert cross.shape == (B, 2, 1 + T // 3, W)
    torch.testing.assert_close(cross.sum(-1), torch.ones(B, 2, 1 + T // 3))
    assert (cross[1, :, :, 3:] == 0).all() and (cross[2, :, :, 1:] == 0).all()
    for k in ("self_0", "deep_0", "deep_1"):
        assert inside[k].shape == (B, 2, 1 + T // 3, 1 + T // 3)
        torch.testing.assert_close(inside[k].sum(-1), torch.ones(B, 2, 1 + T // 3))
        assert (inside[k][2, :, :, 3:] == 0).all()
    assert inside["text_0"].shape == (B, 2, W, W)
    assert (inside["text_0"][1, :, :, 3:] == 0).all()
    for k in ("gate_0", "gate_1"):
        assert inside[k].shape == (B, W, muse.fusion.width)
        assert (inside[k] >= 0).all() and (inside[k] <= 1).all()
    for k in ("fusion", "text_prenet", "text_encoder_0"):
        assert inside[f"norm_{k}"].shape == (B, W)
    for k in ("speech_prenet", "cross_modal_0", "deep_fusion_0", "deep_fusion_1"):
        assert inside[f"norm_{k}"].shape == (B, 1 + T // 3)
    named = {*attention_modules(muse), *(f"norm_{k}" for k in part_modules(muse))}
    assert set(inside) == named | {"gate_0", "gate_1", "probabilities"}
    torch.testing.assert_close(inside["probabilities"].sum(-1), torch.ones(B))
    with torch.no_grad():
        logits = muse.eval()(batch).logits
    torch.testing.assert_close(inside["probabilities"], logits.softmax(-1))
    frames = muse(batch).named["frames"].detach()
    torch.testing.assert_close(inside["norm_deep_fusion_1"], frames.norm(dim=-1))


def test_only_what_a_muse_has_is_looked_at(batch):
    sizes = dict(words=6, bands=7, width=8, heads=2, hidden=8, filters=2)
    depths = dict(text_layers=0, cross_layers=2, fusion_layers=0, fusion="concat")
    inside = look_inside_muse(Muse(MuseConfig(**sizes, **depths)), batch)
    maps = {k for k in inside if not k.startswith("norm_")}
    assert maps == {"self_0", "cross_0", "self_1", "cross_1", "probabilities"}


def test_inside_mimic(mimic, batch):
    inside = look_inside_mimic(mimic, batch)
    with torch.no_grad():
        output = mimic.eval()(batch)
    assert hooks(mimic) == 0 and inside["gate"].shape == (B, 3 * 8)
    assert set(inside) == {"gate", *output.named}
    fused = torch.cat([inside["S"], inside["I"], inside["M"]], -1)
    torch.testing.assert_close(inside["gate"] * fused, inside["F"])
    three = [inside[f"i_{m}"] for m in ("text", "audio", "vision")]
    torch.testing.assert_close(sum(three), torch.zeros(B, 8), atol=1e-5, rtol=0)


@pytest.fixture
def examples():
    return three_examples()


def test_a_survey_goes_utterance_by_utterance_without_padding(muse, examples):
    pairs = list(survey(look_inside_muse, muse, examples))
    assert [u.id for u, _ in pairs] == ["u2", "u0"]
    for (u, inside), row, words, frames in zip(pairs, [2, 0], (3, 2), (1, 3), strict=True):
        assert inside["cross_0"].shape == (2, 1 + frames, words)
        assert inside["probabilities"].shape == (4,), u
        alone = look_inside_muse(muse, examples.collate([row]))
        for k, v in inside.items():
            np.testing.assert_array_equal(v, alone[k][0].numpy())


WORDS = (Word("a", 0.1, 0.3), Word("b", 0.3, 0.5), Word("c", 0.7, 0.8))


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.lists(st.floats(-1, 7)))
def test_the_spoken_word_by_a_loop(gaps, times):
    edges = np.cumsum([0, *gaps])
    words = tuple(Word("w", a, b) for a, b in itertools.pairwise(edges))
    expected = [next((i for i, w in enumerate(words) if w.start <= t < w.end), -1) for t in times]
    assert spoken_word(words, np.array(times)).tolist() == expected


def test_attention_on_the_spoken_word():
    spoken = np.array([-1, 0, 0, 1, 2])
    attention = np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0.25, 0.5, 0.25], [0.3, 0.3, 0.4]])
    on, indifferent = attention_on_spoken_word(attention, spoken)
    assert on == pytest.approx((1 + 0.5 + 0.5 + 0.4) / 4) and indifferent == pytest.approx(1 / 3)
    even = np.full((5, 3), 1 / 3)
    assert attention_on_spoken_word(even, spoken) == pytest.approx((1 / 3, 1 / 3))


def test_the_distance_to_a_word_is_zero_while_it_is_spoken():
    times = np.array([0.0, 0.1, 0.2, 0.6, 1.0])
    expected = [[0.1, 0.3, 0.7], [0, 0.2, 0.6], [0, 0.1, 0.5], [0.3, 0.1, 0.1], [0.7, 0.5, 0.2]]
    np.testing.assert_allclose(distance_to_words(WORDS, times), expected, atol=1e-12)


def test_the_alignment_error_is_in_milliseconds_and_leaves_pauses_out():
    times = np.array([0.0, 0.2, 0.4, 0.6, 0.75])  # frames 0 and 3 are pauses
    perfect = np.eye(3)[[2, 0, 1, 0, 2]]  # what the pauses read does not count
    assert alignment_error(perfect, WORDS, times)[0] == 0
    wrong = np.eye(3)[[0, 1, 0, 0, 2]]
    found, indifferent = alignment_error(wrong, WORDS, times)
    assert found == pytest.approx(1000 * (0.1 + 0.1 + 0) / 3)
    even = np.full((5, 3), 1 / 3)
    assert alignment_error(even, WORDS, times) == pytest.approx((indifferent, indifferent))
    spoken = distance_to_words(WORDS, times[[1, 2, 4]])
    assert indifferent == pytest.approx(1000 * spoken.mean())


def test_entropy_is_a_share_of_the_largest():
    rows = np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(entropy(rows), [1, 0, 0.5], atol=1e-9)
    assert entropy(np.ones((2, 3, 1))).shape == (2, 3)
    assert (entropy(np.ones((5, 1))) == 0).all()


def test_preference_is_one_for_the_indifferent():
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    assert preference(weights, np.array([3])) == pytest.approx(1.6)
    assert preference(weights, np.array([True, False, False, True])) == pytest.approx(1.0)
    assert np.isnan(preference(weights, np.zeros(4, bool)))
