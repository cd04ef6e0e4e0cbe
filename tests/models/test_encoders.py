"""Encoders of `transformers` with random weights against the library that they come from."""

import numpy as np
import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.models.encoders import SpeechEncoder, TextEncoder
from mmer_lib.pretrained import build
from tests.models.common import lengthened, scrambled
from tests.models.utterances import SHIFT, SIZES, SYMBOLS, WINDOW, encoder

TEXTS = ("bert", "roberta")
SPEECH = [("wav2vec2", "group"), ("wav2vec2", "layer"), ("hubert", "group"), ("hubert", "layer")]
LENGTHS = (300, 145, 20)
SAME = dict(rtol=0, atol=2e-6)


def text_encoder(kind):
    return scrambled(TextEncoder(encoder(kind))).float()


def speech_encoder(kind, norm, **changes):
    return scrambled(SpeechEncoder(encoder(kind, feat_extract_norm=norm, **changes))).float()


def sentences(lengths=(6, 3, 1), seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, SYMBOLS, (len(lengths), max(lengths)), generator=generator)
    return ids, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def sounds(lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 0.2 + 0.5 * torch.randn(len(lengths), max(lengths), generator=generator)
    return x, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def windows(samples, config):
    """How many times the convolutions fit, one after the other, and where each frame's window
    begins and ends in the sound; counted by hand."""
    spans = [(n, n + 1) for n in range(samples)]
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
        starts = range(0, len(spans) - kernel + 1, stride)
        spans = [(spans[s][0], spans[s + kernel - 1][1]) for s in starts]
    return spans


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_encoder_gives_the_vector_at_the_first_subword(kind):
    model, (ids, mask) = text_encoder(kind), sentences()
    out = model(ids, mask)
    assert out.shape == (3, SIZES["cls"])
    for row, (one, padding) in enumerate(zip(ids, mask, strict=True)):
        alone = model.model(input_ids=one[~padding][None]).last_hidden_state
        torch.testing.assert_close(out[row], alone[0, 0], **SAME)
    whole = model.model(input_ids=ids[:1]).last_hidden_state[0]
    assert (whole[1:] - out[0]).abs().amax(1).min() > 1e-3  # not the vector of another place


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("garbage", [0, 1, SYMBOLS - 1, 10**9, -7])
def test_padding_changes_no_text(kind, garbage):
    model, (ids, mask) = text_encoder(kind), sentences()
    longer, long_mask = lengthened(ids, mask, 4, torch.tensor(garbage))
    torch.testing.assert_close(model(longer, long_mask), model(ids, mask), **SAME)


def test_a_text_without_subwords_is_finite():
    ids, nothing = torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool)
    assert text_encoder("bert")(ids, nothing).isfinite().all()


@pytest.mark.parametrize("kind, norm", SPEECH)
def test_a_speech_encoder_agrees_with_its_library_on_one_sound_at_a_time(kind, norm):
    """Zero mean and unit variance over the sound, as the library's own feature extractor has it."""
    from transformers import Wav2Vec2FeatureExtractor

    prepare = Wav2Vec2FeatureExtractor(do_normalize=True)
    model, (x, mask) = speech_encoder(kind, norm), sounds()
    x[1] *= 1e-3  # so quiet that what is added to the variance counts
    out, frame_mask = model(x, mask)
    for row, (one, padding) in enumerate(zip(x, mask, strict=True)):
        ready = prepare(one[~padding].numpy(), sampling_rate=16000, return_tensors="pt")
        expected = model.model(ready.input_values).last_hidden_state[0]
        assert (~frame_mask[row]).sum() == len(expected)
        torch.testing.assert_close(out[row, : len(expected)], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind, norm", SPEECH)
def test_frames_are_counted_by_hand(kind, norm):
    config = encoder(kind, feat_extract_norm=norm)
    model, (x, mask) = speech_encoder(kind, norm), sounds()
    out, frame_mask = model(x, mask)
    expected = [len(windows(n, config)) for n in LENGTHS]
    assert expected == [1 + (n - WINDOW) // SHIFT for n in LENGTHS] and expected[-1] == 1
    assert (~frame_mask).sum(1).tolist() == expected
    assert out.shape == (3, expected[0], 16) and frame_mask.shape == (3, expected[0])
    assert (frame_mask == (torch.arange(expected[0]) >= torch.tensor(expected)[:, None])).all()
    assert (out[frame_mask] == 0).all()


@pytest.mark.parametrize(
    "kernels, strides", [((10, 3), (5, 2)), ((10, 3, 3, 2), (5, 2, 2, 2)), ((4, 1), (3, 1))]
)
def test_a_frames_time_is_the_middle_of_its_window(kernels, strides):
    sizes = dict(conv_dim=(8,) * len(kernels), conv_kernel=kernels, conv_stride=strides)
    config = encoder("wav2vec2", **sizes)
    found = SpeechEncoder(config).frame_times(6)
    expected = [(a + b) / 2 / 16000 for a, b in windows(400, config)[:6]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind, norm", SPEECH)
@pytest.mark.parametrize("garbage", [0.0, 1e3, float("nan")])
def test_padding_changes_no_sound(kind, norm, garbage):
    model, (x, mask) = speech_encoder(kind, norm), sounds()
    plain, plain_mask = model(x, mask)
    longer, long_mask = lengthened(x, mask, 77, torch.tensor(garbage))
    out, frame_mask = model(longer, long_mask)
    count = plain.shape[1]
    torch.testing.assert_close(out[:, :count], plain, rtol=0, atol=1e-5)
    assert torch.equal(frame_mask[:, :count], plain_mask) and frame_mask[:, count:].all()


@pytest.mark.parametrize("kind, norm", SPEECH)
def test_silence_is_finite(kind, norm):
    model, mask = speech_encoder(kind, norm), torch.zeros(1, 100, dtype=torch.bool)
    out, _ = model(torch.zeros(1, 100), mask)
    out.sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert out.isfinite().all() and grads and all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize(
    "config, named",
    [
        ({}, "model_type"),
        ({"hidden_size": 16}, "model_type"),
        ({"model_type": "no-such-thing"}, "no-such-thing"),
        ({"model_type": "bert", "num_hidden_layers": "many"}, "num_hidden_layers"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused_by_name(config, named):
    with pytest.raises(DataError, match=named):
        build(config)


def test_a_text_encoder_does_not_pass_as_a_speech_encoder():
    with pytest.raises(DataError, match="bert"):
        SpeechEncoder(encoder("bert"))
