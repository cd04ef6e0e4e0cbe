"""Pooling by word and excitement against their second reading, and, where it is to be had, the
authors' program."""

import warnings
from dataclasses import replace

import numpy as np
import torch

from benchmarks import programs
from mmer_lib.data import Batch
from mmer_lib.models.compared.li import Li, LiConfig, span_max, span_mean, spans
from tests.models import naive
from tests.models.cases import built
from tests.models.common import scrambled
from tests.models.references import program
from tests.models.utterances import batched, examples


def windows(x, w):
    """A window at every frame, zeros past the end, before every convolution."""
    for layer in naive.numbered(w, "windows.layers"):
        kernels, y = layer["weight"], np.zeros((len(x), len(layer["bias"])))
        for t in range(len(x)):
            for o, b in enumerate(layer["bias"]):
                reached = range(min(kernels.shape[2], len(x) - t))
                y[t, o] = b + sum(kernels[o, :, k] @ x[t + k] for k in reached)
        x = y
    return x


def li(e, w, config):
    frames = (e["frames"] - w["scale.mean"]) / w["scale.deviation"]
    x, n = windows(frames, w), len(e["words"])
    reach, heard = sum(config.kernels) - len(config.kernels), []
    for j, (start, stop) in enumerate(e["word_times"].astype("f4")):
        if np.isnan(start):
            first = j * len(x) // n
            last = max((j + 1) * len(x) // n, first + 1)
        else:
            first, last = int(start / config.hop + 1e-3), int(stop / config.hop + 1e-3) + 1
        own = x[max(first - reach, 0) : last] if first < min(last, len(x)) else np.zeros((0, 1))
        both = [own.mean(0), own.max(0)] if len(own) else np.zeros((2, x.shape[1]))
        heard.append(np.concatenate(both))
    heard, text = np.array(heard), naive.linear(e["words"], naive.part(w, "text"))
    excited = text * (1 + naive.sigmoid(naive.linear(heard, naive.part(w, "gate_text.0"))))
    gate = naive.sigmoid(naive.linear(e["words"], naive.part(w, "gate_speech.0")))
    fused = [excited, heard * (1 + gate)]
    fused = naive.bilstm(np.concatenate(fused, axis=1), naive.part(w, "fusion"))
    utterance = fused.max(0)
    logits = naive.linear(utterance[None], naive.part(w, "classifier"))[0]
    return {"text": text, "speech": heard, "fused": fused, "utterance": utterance, "logits": logits}


def test_it_depends_on_word_times_or_does_without():
    model, batch = built("li"), batched(examples())
    without = model(replace(batch, word_times=None)).logits
    nowhere = replace(batch, word_times=torch.full_like(batch.word_times, torch.nan))
    assert torch.equal(model(nowhere).logits, without)
    assert not torch.equal(model(batch).logits, without)


def test_words_hold_the_frames_of_their_time_and_of_the_utterance_only():
    words = torch.tensor([[False, False, False, True]])
    frames = torch.tensor([[False] * 10 + [True] * 2])
    times = torch.tensor([[[0.0, 0.03], [0.05, 0.2], [0.3, 0.4], [torch.nan] * 2]])
    begin, end = spans(times, words, frames, 0.01)
    assert begin.tolist() == [[0, 5, 10, 0]] and end.tolist() == [[4, 10, 10, 0]]
    begin, end = spans(None, words, frames, 0.01)
    assert begin.tolist() == [[0, 3, 6, 0]] and end.tolist() == [[3, 6, 10, 0]]


def test_mean_and_maximum_of_every_span():
    torch.manual_seed(0)
    x = torch.randn(2, 11, 3, dtype=torch.float64, requires_grad=True)
    pairs = [(b, e) for b in range(12) for e in range(b, 12)]
    begin, end = (torch.tensor(side).expand(2, -1) for side in zip(*pairs, strict=True))
    largest, mean = span_max(x, begin, end), span_mean(x, begin, end)
    for i, (b, e) in enumerate(pairs):
        own = x[:, b:e] if e > b else torch.zeros(2, 1, 3, dtype=torch.float64)
        assert torch.equal(largest[:, i], own.amax(1))
        torch.testing.assert_close(mean[:, i], own.mean(1))
    largest.sum().backward()
    expected = torch.zeros(2, 11, 3, dtype=torch.float64)
    for b, e in pairs:
        if e > b:
            at = x.detach()[:, b:e].argmax(1, keepdim=True) + b
            expected.scatter_add_(1, at, torch.ones_like(at, dtype=torch.float64))
    torch.testing.assert_close(x.grad, expected)


def test_with_equal_weights_the_authors_program_gives_the_same():
    hidden, vocabulary = 8, 12
    sizes = dict(words=3, bands=4, hop=0.01, width=6, units=5)
    config = LiConfig(**sizes, channels=(64, 128, hidden // 2))
    model = scrambled(Li(config))
    model.scale.mean.zero_()
    model.scale.deviation.fill_(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropout between layers, of which there is one
        theirs = program(programs.li, config, vocabulary).double().eval()
    vectors = torch.randn(vocabulary + 1, 3, dtype=torch.float64)
    ours = model.state_dict()
    lstm = {
        f"{k}{end}": ours[f"fusion.{way}.{k}"]
        for k in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        for way, end in (("ahead", ""), ("back", "_reverse"))
    }
    gate = torch.nn.functional.linear(
        vectors, ours["gate_speech.0.weight"], ours["gate_speech.0.bias"]
    )
    state = {"semantic_embed.weight": vectors, "acoustic_excit.weight": gate}
    state |= {f"fuse_lstm.{k}": v for k, v in lstm.items()}
    for mine, other in (
        ("text", "semantic_linear"),
        ("gate_text.0", "semantic_excit"),
        ("windows.layers.0", "acoustic_cnn1"),
        ("classifier", "classifier"),
        ("windows.layers.1", "acoustic_cnn2"),
        ("windows.layers.2", "acoustic_cnn3"),
    ):
        state |= {f"{other}.{k}": ours[f"{mine}.{k}"] for k in ("weight", "bias")}
    theirs.load_state_dict(state)
    frames, words = torch.randn(2, 40, 4, dtype=torch.float64), torch.tensor([[3, 7, 1], [5, 2, 0]])
    lengths = torch.tensor([3, 2])
    held = torch.zeros(2, 3, 40)  # words end before the last windows, which the program lacks
    times = torch.full((2, 3, 2), torch.nan)
    for row, word, begin, end in (
        (0, 0, 0, 9),
        (0, 1, 9, 20),
        (0, 2, 24, 31),
        (1, 0, 3, 7),
        (1, 1, 12, 30),
    ):
        held[row, word, begin : end + 1] = 1
        times[row, word] = torch.tensor([begin, end]) * 0.01
    mask = torch.arange(3) >= lengths[:, None]
    batch = Batch(
        torch.arange(2),
        words=vectors[words],
        word_mask=mask,
        frames=frames,
        frame_mask=torch.zeros(2, 40, dtype=torch.bool),
        word_times=times,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the program calls a sigmoid by its old name
        expected = theirs(frames, torch.tensor([40, 40]), words, lengths, held.double())
    torch.testing.assert_close(model(batch).logits, expected, rtol=0, atol=1e-5)
