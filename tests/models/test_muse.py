from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmer_lib.models.muse import FUSIONS, Muse, MuseConfig, PhonemeCNN, SpeechPreNet, WordFusion
from mmer_lib.probes.hooks import record
from tests.models import naive
from tests.models.common import CLOSE, scrambled
from tests.models.utterances import HOP, SMALL, WINDOW, batched, built, config_of, examples, garbled

DEPTHS = ("text_layers", "cross_layers", "fusion_layers")


@pytest.fixture
def single():
    """In float32, as it is used."""
    return scrambled(Muse(SMALL)).float()


def fused(example, w, fusion):
    """One utterance up to the encoder pre-net, naively."""
    e = example
    return naive.fused_words(e.words, e.known, e.phonemes, naive.part(w, "fusion"), fusion)


def positions_of(model):
    """Positions as the layer has them (float32; checked in test_layers), so that 1e-9 can be
    asked."""

    def table(length):
        layer = model.text_positions
        blank = torch.zeros(1, length, layer.width, dtype=torch.float64)
        return (layer(blank)[0] / layer.alpha).detach().numpy()

    return table


def heard(model, example):
    """What the speech pre-net reads: the filterbank, or what the speech encoder makes of the sound
    when this utterance is alone."""
    if model.speech_encoder is None:
        return example.frames
    sound = torch.from_numpy(example.sound)[None]
    states, _ = model.speech_encoder(sound, torch.zeros(sound.shape, dtype=torch.bool))
    return states[0].detach().numpy()


def naive_muse(model, example, w):
    c = model.config
    u = fused(example, w, c.fusion)
    return naive.muse(u, heard(model, example), w, c.heads, c.stack, positions_of(model))


def check_whole(model, made):
    """A batch with garbage in its padding against one utterance at a time."""
    w = naive.weights(model)
    with record(model.alignments()) as seen:
        out = model(garbled(batched(made)))
    assert set(out.named) == {"text", "frames", "frame_mask", "utterance"}
    for row, example in enumerate(made):
        text, frames, maps = naive_muse(model, example, w)
        for name, expected in (("text", text), ("frames", frames)):
            found = out.named[name][row, : len(expected)].detach()
            np.testing.assert_allclose(found, expected, **CLOSE)
        assert (~out.named["frame_mask"][row]).sum() == len(frames)
        assert not out.named["frame_mask"][row, : len(frames)].any()
        np.testing.assert_allclose(out.named["utterance"][row].detach(), frames[0], **CLOSE)
        logits = naive.linear(frames[:1], naive.part(w, "classifier"))[0]
        np.testing.assert_allclose(out.logits[row].detach(), logits, **CLOSE)
        for i, expected in enumerate(maps):
            found = seen[f"cross_{i}"][row, :, : len(frames), : len(text)]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len(seen) == model.config.cross_layers


# ------------------------------------------------------------------ against the second reading


def test_phoneme_vector_agrees_with_its_equation():
    layer = scrambled(PhonemeCNN(SMALL))
    made = examples(words=(4, 6, 3))
    w = naive.weights(layer)
    for row, example in zip(layer(batched(made).phonemes), made, strict=True):
        expected = [naive.phoneme_vector(ids, w) for ids in example.phonemes]
        np.testing.assert_allclose(row[: len(expected)].detach(), expected, **CLOSE)


def test_a_word_without_phonemes_gives_zeros():
    layer = scrambled(PhonemeCNN(SMALL))
    assert (layer(torch.zeros(1, 2, 3, dtype=torch.long)) == 0).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_word_fusion_agrees_with_its_equations(fusion):
    model, made = built(fusion), examples()
    w, widths = naive.weights(model), {"word": 5, "phoneme": 6}
    for row, example in zip(model.fusion(batched(made)), made, strict=True):
        u = fused(example, w, fusion)
        assert u.shape[1] == model.fusion.width == widths.get(fusion, 11)
        np.testing.assert_allclose(row[: len(u)].detach(), u, **CLOSE)


@pytest.mark.parametrize("stack", [1, 3, 6])
def test_speech_prenet_agrees_with_the_naive_one(stack):
    layer = scrambled(SpeechPreNet(replace(SMALL, stack=stack)))
    made, w = examples(frames=(7, 1, 6)), naive.weights(layer)
    batch = batched(made)
    out, mask = layer(batch.frames, batch.frame_mask)
    for row, padding, example in zip(out, mask, made, strict=True):
        expected = naive.speech_prenet(example.frames, w, stack)
        assert (~padding).sum() == len(expected) == 1 + -(-len(example.frames) // stack)
        assert not padding[: len(expected)].any()
        np.testing.assert_allclose(row[: len(expected)].detach(), expected, **CLOSE)


@pytest.mark.parametrize("depths", [*product(range(3), repeat=3)])
def test_the_whole_forward_agrees_with_the_naive_one_at_every_depth(depths):
    changes = dict(zip(DEPTHS, depths, strict=True))
    check_whole(built("highway", **changes), examples(words=(3, 1), frames=(5, 2)))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("depths", [(1, 1, 2), (0, 2, 0)])
def test_the_whole_forward_agrees_with_the_naive_one_in_every_fusion(fusion, depths):
    changes = dict(zip(DEPTHS, depths, strict=True))
    check_whole(built(fusion, **changes), examples())


@pytest.mark.parametrize(
    "change",
    [
        {"stack": 1},
        {"stack": 3},
        {"stack": 6},
        {"kernels": (1, 5), "highway": 1, "heads": 4},
        {"highway": 0},
    ],
)
def test_the_whole_forward_agrees_with_the_naive_one_in_other_sizes(change):
    check_whole(built("highway", **change), examples())


@pytest.mark.parametrize("name", ["wav2vec group", "wav2vec layer"])
def test_a_speech_encoder_takes_the_filterbanks_place(name):
    model = built(name)
    check_whole(model, examples())
    assert not model.scalings() and SMALL.speech is None


# ------------------------------------------------------------------------------- the highway


def with_gates(model, bias):
    for layer in model.fusion.highway:
        nn.init.constant_(layer.gate[0].bias, bias)
    return model


def test_with_its_gates_shut_the_highway_is_the_concatenation():
    highway = with_gates(built("highway"), -1e4)
    concat = built("concat")
    shared = {k: v for k, v in highway.state_dict().items() if ".highway." not in k}
    concat.load_state_dict(shared)
    batch = batched(examples())
    assert torch.equal(highway.fusion(batch), concat.fusion(batch))
    assert torch.equal(highway(batch).logits, concat(batch).logits)


def test_with_its_gates_open_the_highway_is_its_transformations():
    highway, batch = with_gates(built("highway"), 1e4), batched(examples())
    u = with_gates(built("highway"), -1e4).fusion(batch)
    first, second = highway.fusion.highway
    assert torch.equal(highway.fusion(batch), second.transform(first.transform(u)))


# ------------------------------------------------------------------------------ the frames


def test_the_defaults_are_the_papers():
    c = MuseConfig()
    assert (c.words, c.bands, c.classes, c.width, c.heads) == (300, 128, 4, 128, 4)
    assert (c.text_layers, c.cross_layers, c.fusion_layers, c.highway) == (1, 1, 2, 2)
    assert (c.stack, c.kernels, c.fusion, c.speech) == (1, (2, 3, 4), "highway", None)
    assert (c.hop, c.window) == (0.012, 0.025)


@pytest.mark.parametrize("stack", [1, 2, 3])
def test_a_frames_time_is_the_middle_of_what_it_holds(stack):
    model = Muse(replace(SMALL, stack=stack, hop=0.01, window=0.03))
    expected = []
    for frame in range(4):
        first = frame * stack * 0.01
        last = (frame * stack + stack - 1) * 0.01 + 0.03
        expected.append((first + last) / 2)
    np.testing.assert_allclose(model.frame_times(4), expected, rtol=0, atol=1e-12)


def test_with_a_speech_encoder_the_times_of_the_frames_are_its_own():
    model = built("wav2vec group", hop=0.9, window=0.9)
    expected = [(i * HOP + WINDOW / 2) / 16000 for i in range(5)]
    np.testing.assert_allclose(model.frame_times(5), expected, rtol=0, atol=1e-12)


def test_the_scaling_of_the_frames_can_be_fitted(single):
    layer = single.scalings()["frames"]
    batch = batched(examples(), torch.float32)
    before = single(batch).logits
    layer.fit(np.random.default_rng(0).normal(3, 2, (50, SMALL.bands)))
    assert not torch.allclose(single(batch).logits, before)


# -------------------------------------------------------------------------- unknown words


@pytest.mark.parametrize("all_known", [True, False])
def test_the_unknown_vector_learns_from_unknown_words_only(all_known):
    torch.manual_seed(0)
    model, batch = Muse(SMALL), batched(examples(), torch.float32)
    if all_known:  # padding stays "not known", and must not count
        batch.known = ~batch.word_mask
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    assert bool((model.fusion.unknown.grad == 0).all()) is all_known


def test_an_unknown_word_uses_the_learned_vector():
    fusion = WordFusion(replace(SMALL, fusion="concat"))
    with torch.no_grad():
        fusion.unknown.copy_(torch.arange(5.0))
    batch = batched(examples(), torch.float32)
    out = fusion(batch)[..., -5:]
    assert torch.equal(out[0, 2], torch.arange(5.0))
    assert torch.equal(out[0, [0, 1, 3]], batch.words[0, [0, 1, 3]])


# ----------------------------------------------------------------------------------- training


@pytest.mark.parametrize("name", ["highway", "wav2vec layer", "multigranular tuned", "bert"])
def test_a_few_steps_fit_a_handful_of_utterances(name):
    torch.manual_seed(0)
    cls, config = config_of(name)
    model = cls(replace(config, dropout=0.0)).train()
    batch = batched(examples(), torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(batch).logits, batch.emotion)
        loss.backward()
        optimiser.step()
    assert loss < 0.05
    assert model.eval()(batch).logits.argmax(1).tolist() == batch.emotion.tolist()


def test_evaluation_is_deterministic_and_leaves_the_statistics_alone(single):
    batch = batched(examples(), torch.float32)
    before = {k: v.clone() for k, v in single.state_dict().items()}
    assert torch.equal(single(batch).logits, single(batch).logits)
    assert all(torch.equal(v, before[k]) for k, v in single.state_dict().items())
