from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmer_lib.batch import Batch
from mmer_lib.models.muse import Muse, MuseConfig, PhonemeCNN, SpeechPreNet, WordFusion

from . import naive
from .common import CLOSE, lengthened, moved, scrambled

SMALL = MuseConfig(
    words=5, bands=4, phonemes=9, width=8, heads=2, hidden=12, stack=2, phoneme_embedding=3,
    kernels=(2, 3, 4), filters=2, prenet_kernel=3, dropout=0.2,
)  # fmt: skip
SAME = dict(rtol=0, atol=1e-6)
WORDS, FRAMES = (4, 1, 3), (7, 3, 2)


def examples(words=WORDS, frames=FRAMES, seed=0):
    """Utterances as plain arrays; the second word of each has no phonemes, the third no vector."""
    rng, made = np.random.default_rng(seed), []
    for w, t in zip(words, frames, strict=True):
        ids = [rng.integers(1, SMALL.phonemes, rng.integers(1, 7)).tolist() for _ in range(w)]
        ids[1:2] = [[]] * len(ids[1:2])
        vectors, known = rng.normal(size=(w, SMALL.words)), np.arange(w) != 2
        made.append((vectors * known[:, None], known, ids, rng.normal(size=(t, SMALL.bands))))
    return made


def batched(made, dtype=torch.float64):
    """The same as a padded `Batch`, filled by hand."""
    w, t = max(len(e[0]) for e in made), max(len(e[3]) for e in made)
    p = max(len(ids) for e in made for ids in [[0], *e[2]])
    b = len(made)
    batch = Batch(
        torch.arange(b), torch.zeros(b, w, SMALL.words, dtype=dtype),
        torch.zeros(b, w, dtype=torch.bool), torch.ones(b, w, dtype=torch.bool),
        torch.zeros(b, w, p, dtype=torch.long), torch.zeros(b, t, SMALL.bands, dtype=dtype),
        torch.ones(b, t, dtype=torch.bool), emotion=torch.arange(b) % SMALL.classes,
    )  # fmt: skip
    for row, (vectors, known, ids, frames) in enumerate(made):
        batch.words[row, : len(vectors)] = torch.from_numpy(vectors)
        batch.known[row, : len(known)] = torch.from_numpy(known)
        batch.word_mask[row, : len(known)] = False
        for i, one in enumerate(ids):
            batch.phonemes[row, i, : len(one)] = torch.tensor(one, dtype=torch.long)
        batch.frames[row, : len(frames)] = torch.from_numpy(frames)
        batch.frame_mask[row, : len(frames)] = False
    return batch


def garbled(batch, words=2, frames=3, phonemes=2, garbage=1e3):
    """More padding on every axis, with garbage in all of it."""
    value = torch.tensor(garbage, dtype=batch.words.dtype)
    mask = batch.word_mask
    wide = F.pad(batch.phonemes, (0, phonemes))
    new = replace(batch)
    new.words, new.word_mask = lengthened(batch.words, mask, words, value)
    new.known, _ = lengthened(batch.known, mask, words, torch.tensor(True))
    new.phonemes, _ = lengthened(wide, mask, words, torch.tensor(SMALL.phonemes - 1))
    new.frames, new.frame_mask = lengthened(batch.frames, batch.frame_mask, frames, value)
    return new


def rows_of(batch, rows):
    """Some utterances of a batch, with the padding that they had."""
    return batch._map(lambda t: t[rows])


@pytest.fixture
def model():
    return scrambled(Muse(SMALL))


@pytest.fixture
def single(model):
    """In float32, as it is used."""
    return model.float()


def words_in(example, w):
    """One utterance up to the highway, naively."""
    vectors, known, ids, _ = example
    half = [naive.phoneme_vector(one, naive.part(w, "fusion.phonemes")) for one in ids]
    word = np.where(known[:, None], vectors, w["fusion.unknown"])
    return np.concatenate([half, word], axis=1)


def naive_muse(example, w, config, table):
    """Section 3.1 for one utterance -> text, frames and logits. `table` gives the positions."""
    u = words_in(example, w)
    for i in range(config.highway):
        u = naive.highway(u, naive.part(w, f"fusion.highway.{i}"))
    text = naive.conv_prenet(u, naive.part(w, "text_prenet"))
    text = text + w["text_positions.alpha"] * table(len(text))
    for i in range(config.text_layers):
        text = naive.transformer(text, naive.part(w, f"text_encoder.{i}"), config.heads)
    x = naive.speech_prenet(example[3], naive.part(w, "speech_prenet"), config.stack)
    x = x + w["speech_positions.alpha"] * table(len(x))
    for i in range(config.cross_layers):
        x = naive.transformer(x, naive.part(w, f"cross_modal.{i}"), config.heads, text)
    for i in range(config.fusion_layers):
        x = naive.transformer(x, naive.part(w, f"deep_fusion.{i}"), config.heads)
    return text, x, naive.linear(x[:1], naive.part(w, "classifier"))[0]


# ------------------------------------------------------------------ against the second reading


def test_phoneme_vector_agrees_with_its_equation():
    layer = scrambled(PhonemeCNN(SMALL))
    made = examples(words=(4, 6, 3))
    w = naive.weights(layer)
    for row, example in zip(layer(batched(made).phonemes), made, strict=True):
        expected = [naive.phoneme_vector(ids, w) for ids in example[2]]
        np.testing.assert_allclose(row[: len(expected)].detach(), expected, **CLOSE)


def test_a_word_without_phonemes_gives_zeros():
    layer = scrambled(PhonemeCNN(SMALL))
    assert (layer(torch.zeros(1, 2, 3, dtype=torch.long)) == 0).all()


def test_word_fusion_agrees_with_its_equations(model):
    made, w = examples(), naive.weights(model)
    for row, example in zip(model.fusion(batched(made)), made, strict=True):
        u = words_in(example, w)
        for i in range(2):
            u = naive.highway(u, naive.part(w, f"fusion.highway.{i}"))
        np.testing.assert_allclose(row[: len(u)].detach(), u, **CLOSE)


@pytest.mark.parametrize("stack", [1, 3, 6])
def test_speech_prenet_agrees_with_the_naive_one(stack):
    layer = scrambled(SpeechPreNet(replace(SMALL, stack=stack)))
    made, w = examples(frames=(7, 1, 6)), naive.weights(layer)
    batch = batched(made)
    out, mask = layer(batch.frames, batch.frame_mask)
    for row, padding, example in zip(out, mask, made, strict=True):
        expected = naive.speech_prenet(example[3], w, stack)
        assert (~padding).sum() == len(expected) == 1 + -(-len(example[3]) // stack)
        assert not padding[: len(expected)].any()
        np.testing.assert_allclose(row[: len(expected)].detach(), expected, **CLOSE)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"stack": 1},
        {"stack": 3},
        {"stack": 6},
        {"kernels": (1, 5), "highway": 1, "heads": 4},
        {"text_layers": 2, "cross_layers": 2, "fusion_layers": 1},
        {"text_layers": 0, "cross_layers": 0, "fusion_layers": 0, "highway": 0},
    ],
)
def test_the_whole_forward_agrees_with_the_naive_one(change):
    config = replace(SMALL, **change)
    model = scrambled(Muse(config))

    def table(length):
        """As the layer has it (float32; checked in test_layers), so that 1e-9 can be asked."""
        blank = torch.zeros(1, length, config.width, dtype=torch.float64)
        layer = model.text_positions
        return (layer(blank)[0] / layer.alpha).detach().numpy()

    made, w = examples(), naive.weights(model)
    out = model(garbled(batched(made)))
    assert set(out.named) == {"text", "frames", "utterance"}
    for row, example in enumerate(made):
        text, frames, logits = naive_muse(example, w, config, table)
        for name, expected in (("text", text), ("frames", frames)):
            found = out.named[name][row, : len(expected)].detach()
            np.testing.assert_allclose(found, expected, **CLOSE)
        np.testing.assert_allclose(out.named["utterance"][row].detach(), frames[0], **CLOSE)
        np.testing.assert_allclose(out.logits[row].detach(), logits, **CLOSE)


# ------------------------------------------------------------------------- what it depends on


def test_the_defaults_are_the_papers():
    c = MuseConfig()
    assert (c.words, c.bands, c.classes, c.width, c.heads) == (300, 128, 4, 128, 4)
    assert (c.text_layers, c.cross_layers, c.fusion_layers, c.highway) == (1, 1, 2, 2)
    assert (c.stack, c.kernels) == (1, (2, 3, 4))


@pytest.mark.parametrize("part", ["words", "phonemes", "frames", "known"])
def test_the_output_depends_on_every_input(model, part):
    batch = batched(examples())
    other, value = replace(batch), getattr(batch, part).clone()
    if part == "known":
        value[0, 0] = False
    elif part == "phonemes":
        value[0, 0, 0] = value[0, 0, 0] % (SMALL.phonemes - 1) + 1
    else:
        value[0, 0] += 1
    setattr(other, part, value)
    difference = (model(batch).logits - model(other).logits).abs().amax(1)
    assert difference[0] > 1e-6
    assert (difference[1:] == 0).all()


def test_the_vector_of_an_unknown_word_is_not_read(model):
    batch = batched(examples())
    other = replace(batch, words=batch.words + 5.0 * ~batch.known.unsqueeze(-1))
    assert torch.equal(model(batch).logits, model(other).logits)


def test_every_attention_map_sums_to_one_and_leaves_padding_out(model):
    maps, masks = {}, {}
    batch = garbled(batched(examples()))
    for name, module in model.named_modules():
        if name.endswith("weights"):
            module.register_forward_hook(lambda _m, _a, out, name=name: maps.update({name: out}))
    with torch.no_grad():
        model(batch)
        _, frames = model.speech_prenet(batch.frames, batch.frame_mask)
    for name, rows in maps.items():
        reads_words = name.startswith("text_encoder") or ".cross." in name
        masks[name] = batch.word_mask if reads_words else frames
        assert (rows.masked_select(masks[name][:, None, None, :]) == 0).all()
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
    assert len(maps) == 1 + 2 + 2


# ------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize("garbage", [1e3, float("nan")])
@pytest.mark.parametrize("stack", [1, 2, 3, 6])
def test_padding_changes_nothing(stack, garbage):
    model = scrambled(Muse(replace(SMALL, stack=stack))).float()
    batch = batched(examples(), torch.float32)
    plain = model(batch)
    padded = model(garbled(batch, words=3, frames=8, phonemes=4, garbage=garbage))
    torch.testing.assert_close(padded.logits, plain.logits, **SAME)
    for row, length in enumerate(WORDS):
        one, other = (o.named["text"][row, :length] for o in (plain, padded))
        torch.testing.assert_close(one, other, **SAME)


def test_company_and_order_change_nothing(single):
    made = examples(words=(4, 1, 3, 6), frames=(7, 3, 2, 12))
    together = single(batched(made, torch.float32)).logits
    for order in ([3, 1, 0, 2], [2], [1, 3]):
        some = single(batched([made[i] for i in order], torch.float32)).logits
        torch.testing.assert_close(some, together[order], **SAME)


def test_an_utterance_without_words_does_not_hear_its_company(single):
    made = examples(words=(0, 4, 1))
    alone = single(garbled(batched(made[:1], torch.float32), words=1)).logits
    together = single(batched(made, torch.float32)).logits
    torch.testing.assert_close(together[:1], alone, **SAME)


def test_training_learns_nothing_from_padding():
    gradients, states = [], []
    for garble in (False, True):
        torch.manual_seed(0)
        model = Muse(replace(SMALL, dropout=0.0)).train()
        batch = batched(examples(), torch.float32)
        batch = garbled(batch) if garble else batch
        F.cross_entropy(model(batch).logits, batch.emotion).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters()})
        states.append(dict(model.named_buffers()))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


# ----------------------------------------------------------------------------------- training


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("words, frames", [(3, 5), (1, 1)])
def test_a_batch_of_one_works(training, words, frames):
    torch.manual_seed(0)
    model = Muse(SMALL).train(training)
    batch = batched(examples((words,), (frames,)), torch.float32)
    logits = model(batch).logits
    F.cross_entropy(logits, batch.emotion).backward()
    assert logits.shape == (1, 4) and logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def without_effect(name):
    """A shift of all scores of a softmax, or of all that a batch norm centres, changes nothing;
    so the gradient of these is zero by the algebra."""
    return name.endswith("key.bias") or ("convolutions" in name and name.endswith("bias"))


def test_every_parameter_gets_a_gradient_and_moves():
    torch.manual_seed(0)
    model = Muse(replace(SMALL, dropout=0.0)).train()
    batch = batched(examples(), torch.float32)
    assert batch.known.any() and not batch.known[~batch.word_mask].all()
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        centred = without_effect(name) and "phonemes" not in name
        assert centred or p.grad.abs().max() > 1e-7, name
    optimiser.step()
    assert moved(model, before) >= {k for k in before if not without_effect(k) or "phonemes" in k}


@pytest.mark.parametrize("all_known", [True, False])
def test_the_unknown_vector_learns_from_unknown_words_only(all_known):
    torch.manual_seed(0)
    model, batch = Muse(SMALL), batched(examples(), torch.float32)
    if all_known:  # padding stays "not known", and must not count
        batch.known = ~batch.word_mask
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    assert bool((model.fusion.unknown.grad == 0).all()) is all_known


def test_an_unknown_word_uses_the_learned_vector():
    config = replace(SMALL, highway=0)
    fusion = WordFusion(config)
    with torch.no_grad():
        fusion.unknown.copy_(torch.arange(5.0))
    batch = batched(examples(), torch.float32)
    out = fusion(batch)[..., -5:]
    assert torch.equal(out[0, 2], torch.arange(5.0))
    assert torch.equal(out[0, [0, 1, 3]], batch.words[0, [0, 1, 3]])


def test_a_few_steps_fit_a_handful_of_utterances():
    torch.manual_seed(0)
    model = Muse(replace(SMALL, dropout=0.0)).train()
    batch = batched(examples(), torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
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


def test_the_scaling_of_the_frames_can_be_fitted(single):
    layer = single.scalings()["frames"]
    batch = batched(examples(), torch.float32)
    before = single(batch).logits
    layer.fit(np.random.default_rng(0).normal(3, 2, (50, SMALL.bands)))
    assert not torch.allclose(single(batch).logits, before)
