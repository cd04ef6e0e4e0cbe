"""MulT against a second reading and its authors' program."""

import numpy as np
import pytest
import torch

from benchmarks import programs
from mmer_lib.models.compared.mult import Mult, MultConfig, Stream
from mmer_lib.probes import record
from tests.models import naive
from tests.models.cases import built, config_of, given
from tests.models.common import CLOSE, scrambled
from tests.models.naive import part
from tests.models.references import program
from tests.models.utterances import MODALITIES, batched, examples, garbled, whole

SMALL = config_of("mult")


def embedded(x):
    """sqrt(D) x, sines in the first half, cosines in the second, positions from 1."""
    width, rows = x.shape[1], []
    for place, row in enumerate(x, start=1):
        angles = [place * 10000 ** (-k / (width // 2 - 1)) for k in range(width // 2)]
        rows.append(np.sqrt(width) * row + np.concatenate([np.sin(angles), np.cos(angles)]))
    return np.array(rows)


def attention(asks, read, w, heads, causal):
    width, mixed = asks.shape[1], np.zeros_like(asks)
    q, k, v = (
        asks_or_read @ w["project.weight"][i * width : (i + 1) * width].T
        + w["project.bias"][i * width : (i + 1) * width]
        for i, asks_or_read in enumerate((asks, read, read))
    )
    size = width // heads
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(len(asks)):
            open_to = [
                j for j in range(len(read)) if not causal or j <= i + abs(len(asks) - len(read))
            ]
            row = naive.softmax(np.array([q[i, own] @ k[j, own] / np.sqrt(size) for j in open_to]))
            mixed[i, own] = sum(a * v[j, own] for a, j in zip(row, open_to, strict=True))
    return naive.linear(mixed, part(w, "out"))


def stream(x, memory, w, config):
    x, memory = embedded(x), None if memory is None else embedded(memory)
    for layer in naive.numbered(w, "layers"):
        asks = naive.layer_norm(x, part(layer, "norm"))
        read = asks if memory is None else naive.layer_norm(memory, part(layer, "norm"))
        x = x + attention(asks, read, part(layer, "attention"), config.heads, config.causal)
        y = naive.layer_norm(x, part(layer, "feed_forward_norm"))
        y = naive.relu(naive.linear(y, part(layer, "feed_forward.0")))
        x = x + naive.linear(y, part(layer, "feed_forward.3"))
    return naive.layer_norm(x, part(w, "norm"))


def mult(e, w, config):
    x, found = {}, {}
    for m, rows in given(e).items():
        if m != "text":
            rows = (rows - w[f"scale.{m}.mean"]) / w[f"scale.{m}.deviation"]
        kernel = w[f"convolutions.{m}.weight"]
        x[m] = naive.convolution(rows, {"weight": kernel, "bias": np.zeros(len(kernel))})
    for m in MODALITIES:
        read = [
            stream(x[m], x[n], part(w, f"crossmodal.{m}_{n}"), config) for n in MODALITIES if n != m
        ]
        joined = np.concatenate(read, axis=1)
        found[f"h_{m}"] = stream(joined, None, part(w, f"selves.{m}"), config)[-1]
    found["S"] = sum(found[f"h_{m}"] for m in MODALITIES) / 3
    found["F"] = np.concatenate([found[f"h_{m}"] for m in MODALITIES])
    y = naive.relu(naive.linear(found["F"][None], part(w, "head.0")))
    y = found["F"] + naive.linear(y, part(w, "head.3"))
    return {**found, "logits": naive.linear(y, part(w, "classifier"))[0]}


@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_step_alone_is_that_of_the_whole_with_its_gradients(layers):
    stream = scrambled(Stream(6, layers, SMALL, 0.0))
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(5) >= torch.tensor([5, 2, 1])[:, None]
    bias = torch.zeros(3, 1, 5, 5, dtype=torch.float64).masked_fill(mask[:, None, None], -1e9)
    present = torch.ones(3, 1, 1, 1, dtype=torch.float64)
    whole = stream.embed(x)
    for layer in stream.layers:
        whole = layer(whole, None, bias, present)
    whole = stream.norm(whole)[torch.arange(3), torch.tensor([4, 1, 0])]
    found = stream.last(x, mask, bias, present)
    torch.testing.assert_close(found, whole, **CLOSE)
    wanted = [x, *stream.parameters()]
    mine = torch.autograd.grad(found.sin().sum(), wanted)
    torch.testing.assert_close(mine, torch.autograd.grad(whole.sin().sum(), wanted), **CLOSE)


@pytest.mark.parametrize("causal", [True, False])
def test_a_step_does_not_look_ahead_where_it_may_not(causal):
    model, batch = built("mult", causal=causal), garbled(batched(examples()))
    maps = {k: s.layers[0].attention.weights for k, s in model.crossmodal.items()}
    with record(maps) as seen, torch.no_grad():
        model(batch)
    masks = {"text": batch.word_mask, "audio": batch.audio_mask, "vision": batch.vision_mask}
    for name, rows in seen.items():
        m, n = name.split("_")
        assert rows.shape == (3, SMALL.heads, masks[m].shape[1], masks[n].shape[1])
        for row in range(3):
            long, wide = int((~masks[m][row]).sum()), int((~masks[n][row]).sum())
            real = rows[row, 0, :long, :wide]
            ahead = torch.ones(long, wide).triu(1 + abs(long - wide)).bool()
            assert ((real == 0) == (ahead & causal)).all()


def test_the_authors_program_with_equal_weights_gives_equal_outputs():
    torch.manual_seed(0)
    theirs, ours = program(programs.mult, MultConfig()).eval(), Mult(MultConfig()).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    missing, unknown = ours.load_state_dict(renamed(theirs.state_dict()), strict=False)
    assert not unknown and all(name.startswith("scale.") for name in missing)
    for lengths in ((20, 20, 20), (7, 20, 12)):
        batch = whole(ours.config, lengths, 4)
        with torch.no_grad():
            expected = theirs(batch.words, batch.audio, batch.vision)[0].squeeze(-1)
            torch.testing.assert_close(ours(batch).logits, expected, rtol=1e-4, atol=1e-5)


def renamed(state):
    """The authors' names as ours."""
    letters = {"l": "text", "a": "audio", "v": "vision"}
    parts = {
        "self_attn.in_proj_": "attention.project.",
        "self_attn.out_proj.": "attention.out.",
        "fc1.": "feed_forward.0.",
        "fc2.": "feed_forward.3.",
        "layer_norms.0.": "norm.",
        "layer_norms.1.": "feed_forward_norm.",
        "layer_norm.": "norm.",
    }
    made = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        for theirs, ours in parts.items():
            rest = rest.replace(theirs, ours)
        words = head.split("_")
        if words[0] == "trans":
            m = letters[words[1]]
            to = f"selves.{m}" if words[2] == "mem" else f"crossmodal.{m}_{letters[words[3][0]]}"
            made[f"{to}.{rest}"] = value
        elif head.startswith("proj_"):
            made[f"convolutions.{letters[words[1]]}.{rest}"] = value
        else:
            to = {"proj1": "head.0", "proj2": "head.3", "out_layer": "classifier"}[head]
            made[f"{to}.{rest}"] = value
    return {k: v for k, v in made.items() if not k.endswith(("version", "_float_tensor"))}
