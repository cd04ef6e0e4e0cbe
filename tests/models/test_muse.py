"""MUSE against its second reading; the times of its frames, unknown words."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmer_lib.data import DataError
from mmer_lib.models.losses import alignment, diagonal_ideal
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.models.registry import model_class
from mmer_lib.probes import record
from mmer_lib.probes.inside import attention_modules
from tests.models import naive
from tests.models.cases import agrees, built, config_of, every_change
from tests.models.utterances import HOP, SHIFT, WINDOW, batched, changed, examples, garbled


def fused(e, w, fusion):
    """One utterance up to the encoder pre-net, naively."""
    return naive.fused_words(e["words"], e["known"], e["phonemes"], naive.part(w, "fusion"), fusion)


def positions_of(model):
    """Positions as the layer has them (float32; checked in test_layers), so that 1e-9 can be
    asked."""

    def table(length):
        layer = model.text_positions
        blank = torch.zeros(1, length, layer.width, dtype=torch.float64)
        return (layer(blank)[0] / layer.alpha).detach().numpy()

    return table


def heard(model, e):
    """What the speech pre-net reads: the filterbank, or what the speech encoder makes of the sound
    when this utterance is alone."""
    if model.speech_encoder is None:
        return e["frames"]
    sound = torch.from_numpy(e["sound"])[None]
    states, _ = model.speech_encoder(sound, torch.zeros(sound.shape, dtype=torch.bool))
    return states[0].detach().numpy()


def naive_muse(model, e, w, sentence=0.0):
    c = model.config
    u = fused(e, w, c.fusion)
    return naive.muse(u, heard(model, e), w, c.heads, c.stack, positions_of(model), sentence)


def check_whole(model, made=None):
    """Outputs, and the attention from frames to words."""
    w, maps = naive.weights(model), []

    def reading(e):
        text, frames, attention = naive_muse(model, e, w)
        maps.append(attention)
        logits = naive.linear(frames[:1], naive.part(w, "classifier"))[0]
        return {"text": text, "frames": frames, "utterance": frames[0], "logits": logits}

    with record({k: m for k, m in attention_modules(model).items() if "cross" in k}) as seen:
        _, out = agrees(model, reading, made)
    assert len(seen) == model.config.cross_layers
    for row, attention in enumerate(maps):
        for i, expected in enumerate(attention):
            found = seen[f"cross_{i}"][row, :, : expected.shape[1], : expected.shape[2]]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
            real = ~out.named["frame_mask"][row]
            assert real.sum() == expected.shape[1] and real[: expected.shape[1]].all()


@every_change("muse")
def test_the_whole_forward_agrees_with_the_naive_one(change):
    check_whole(built("muse", **change))


def test_the_defaults_are_the_papers():
    c = MuseConfig()
    assert (c.words, c.bands, c.classes, c.width, c.heads) == (300, 128, 4, 128, 4)
    assert (c.text_layers, c.cross_layers, c.fusion_layers, c.highway) == (1, 1, 2, 2)
    assert (c.stack, c.kernels, c.fusion, c.speech) == (1, (2, 3, 4), "highway", None)
    assert (c.hop, c.window) == (0.012, 0.025)


@pytest.mark.parametrize("stack", [1, 2, 3])
def test_a_frames_time_is_the_middle_of_what_it_holds(stack):
    model = Muse(config_of("muse", stack=stack, window=0.03))
    expected = []
    for frame in range(4):
        first = frame * stack * HOP
        last = (frame * stack + stack - 1) * HOP + 0.03
        expected.append((first + last) / 2)
    np.testing.assert_allclose(model.frame_times(4), expected, rtol=0, atol=1e-12)


def test_with_a_speech_encoder_the_times_of_the_frames_are_its_own():
    model = built("muse", speech="group", stack=1, hop=0.9, window=0.9)
    expected = [(i * SHIFT + WINDOW / 2) / 16000 for i in range(5)]
    np.testing.assert_allclose(model.frame_times(5), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("all_known", [True, False])
def test_the_unknown_vector_learns_from_unknown_words_only(all_known):
    torch.manual_seed(0)
    model, batch = Muse(config_of("muse")), batched(examples(), torch.float32)
    if all_known:  # padding stays "not known", and must not count
        batch.known = ~batch.word_mask
    F.cross_entropy(model(batch).logits, batch.emotion).backward()
    assert bool((model.fusion.unknown.grad == 0).all()) is all_known


@pytest.mark.parametrize("ideal", ["diagonal", "forced"])
def test_in_training_the_maps_are_there_for_the_loss_and_a_probe_reads_the_same(ideal):
    model, batch = built("muse", ideal=ideal, cross_layers=2, dropout=0.0), batched(examples())
    cross = {k: m for k, m in attention_modules(model).items() if "cross" in k}
    with record(cross, graph=True) as seen:
        output = model(batch)
    assert "cross_0" not in output.named and "align" not in model.losses(batch, output)
    output.named.update(seen)
    losses = model.losses(batch, output)
    assert list(losses) == ["task", "align"] and losses["align"] > 0
    losses["align"].backward()
    assert all(layer.cross.query.weight.grad.any() for layer in model.cross_modal)
    training = model.train()(batch)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(training.named[name].shape == rows.shape for name, rows in seen.items())
    assert list(model.losses(batch, training)) == ["task", "align"]


def test_without_the_loss_no_map_is_written_down():
    model = built("muse", align=0.0).train()
    assert not [name for name in model(batched(examples())).named if name.startswith("cross")]


@pytest.mark.parametrize("name", ["muse", "muse-multigranular"])
def test_the_loss_teaches_every_cross_modal_layer_and_nothing_after_it(name):
    torch.manual_seed(0)
    config = config_of(name, cross_layers=2, width=16, dropout=0.0)
    model, batch = model_class(name)(config).train(), batched(examples(), torch.float32)
    optimiser, found = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(60):
        optimiser.zero_grad()
        loss = model.losses(batch, model(batch))["align"]
        loss.backward()
        assert all(p.grad is None for p in model.deep_fusion[-1].feed_forward.parameters())
        assert all(p.grad is None for p in model.classifier.parameters())
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < 0.1 * found[0]


@pytest.mark.parametrize("over", ["frame", "utterance", "word"])
def test_the_loss_is_averaged_over_what_the_configuration_says(over):
    model = built("muse", align_over=over, cross_layers=2, dropout=0.0).train()
    batch = batched(examples())
    output = model(batch)
    mask = output.named["frame_mask"][:, 1:]
    ideal = diagonal_ideal(mask, batch.word_mask)
    maps = [output.named[f"cross_{i}"][:, :, 1:] for i in (0, 1)]
    each = [alignment(map_, ideal, ~mask, batch.word_mask, over) for map_ in maps]
    torch.testing.assert_close(model.losses(batch, output)["align"], sum(each) / 2)


def spoken_by(model, batch):
    """The filterbank from the words, in training, as in evaluation: no dropout, norms as saved."""
    model.train()
    for norm in model.text_prenet.norms:
        norm.eval()
    return model.losses(batch, model(batch))


@pytest.mark.parametrize("stack, cross_layers, count", [(1, 1, 3), (2, 2, 3), (3, 1, 1)])
def test_the_loss_of_synthesis_agrees_with_the_naive_one(stack, cross_layers, count):
    model = built("muse", tts=0.5, stack=stack, cross_layers=cross_layers, dropout=0.0)
    w, made = naive.weights(model), examples()[:count]
    errors = []
    for e in made:
        u = fused(e, w, "highway")
        found = naive.mel_of(u, len(e["frames"]), w, 2, stack, positions_of(model))
        scale = naive.part(w, "speech_prenet.scale")
        true = (e["frames"] - scale["mean"]) / scale["deviation"]
        errors += [np.mean((a - b) ** 2) for a, b in zip(found, true, strict=True)]
    losses = spoken_by(model, garbled(batched(made)))
    assert list(losses) == ["task", "align", "tts"]
    np.testing.assert_allclose(losses["tts"].item(), np.mean(errors), rtol=1e-5)


def test_the_loss_of_synthesis_teaches_the_text_side_and_never_hears_the_sound():
    model, batch = built("muse", wide=True, tts=0.5, dropout=0.0), batched(examples())
    spoken_by(model, batch)["tts"].backward()
    for part in (model.fusion, model.text_prenet, model.text_encoder, model.cross_modal, model.mel):
        # the bias of keys moves no softmax
        named = {n: p for n, p in part.named_parameters() if not n.endswith("key.bias")}
        assert [n for n, p in named.items() if p.grad is None or not p.grad.any()] == []
    for part in (model.speech_prenet, model.deep_fusion, model.classifier):
        assert all(p.grad is None for p in part.parameters())
    other = changed(batch, "frames")
    assert torch.equal(model(batch).named["mel"], model(other).named["mel"])
    assert not torch.equal(model(batch).named["mel"], model(changed(batch, "words")).named["mel"])


def test_without_synthesis_nothing_is_built_for_it_and_with_it_the_rest_is_the_same():
    found, batch = [], batched(examples(), torch.float32)
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        model = Muse(config_of("muse", tts=weight)).train()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        torch.manual_seed(0)
        output = model(batch)
        found.append((state, output, model.losses(batch, output)))
    (state, output, losses), (more, same, others) = found
    assert set(more) - set(state) == {"mel.weight", "mel.bias"}
    assert all(torch.equal(more[name], value) for name, value in state.items())
    assert torch.equal(same.logits, output.logits)
    assert "mel" not in output.named and list(losses) == ["task", "align"]
    assert all(torch.equal(others[name], loss) for name, loss in losses.items())
    assert "mel" not in model.eval()(batch).named


@pytest.mark.parametrize("change", [{"speech": "group", "stack": 1}, {"cross_layers": 0}])
def test_synthesis_needs_the_filterbank_and_a_layer_that_reads_the_words(change):
    with pytest.raises(DataError, match="it needs the filterbank"):
        config_of("muse", tts=0.5, align=0.0, **change)


def reads(model, batch):
    """Which parts move the answer."""
    before = model(batch).logits
    parts = ("words", "phonemes", "frames")
    return {p for p in parts if not torch.equal(model(changed(batch, p)).logits, before)}


@pytest.mark.parametrize(
    "deep, silent, heard",
    [
        (0, slice(1, None), {"words", "phonemes", "frames"}),
        (0, slice(0, 1), {"frames"}),
        (1, slice(0, 1), {"words", "phonemes", "frames"}),
        (1, slice(None), {"frames"}),
    ],
)
def test_without_deep_fusion_the_text_comes_by_the_dummys_own_row_alone(deep, silent, heard):
    """Self-attention stands before the one cross-attention, so what the frames read needs a layer
    more to reach the dummy position. `silent` are the rows that read nothing."""

    def hush(_module, _inputs, weights):
        weights = weights.clone()
        weights[:, :, silent] = 0.0
        return weights

    model, batch = built("muse", cross_layers=1, fusion_layers=deep), batched(examples())
    model.cross_modal[0].cross.weights.register_forward_hook(hush)
    assert reads(model, batch) == heard
