"""Reading attention, gates and similarities from outside a model, by hooks."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmer_lib.data import Batch, Utterance
from mmer_lib.features.batches import Examples, loader
from mmer_lib.models.layers import masked_mean, record
from mmer_lib.models.muse import Muse


def attention_modules(model: Muse) -> dict[str, nn.Module]:
    """Every attention of a MUSE by name, in the order of the data: "text_0", ... (B, H, W, W);
    "self_0", ... (B, H, 1 + T, 1 + T) and "cross_0", ... (B, H, 1 + T, W) of the cross-modal
    layers; "deep_0", ... (B, H, 1 + T, 1 + T)."""
    found = {f"text_{i}": layer.attention for i, layer in enumerate(model.text_encoder)}
    for i, layer in enumerate(model.cross_modal):
        found |= {f"self_{i}": layer.attention, f"cross_{i}": layer.cross}
    found |= {f"deep_{i}": layer.attention for i, layer in enumerate(model.deep_fusion)}
    return {name: attention.weights for name, attention in found.items()}


def part_modules(model: Muse) -> dict[str, nn.Module]:
    """The parts of a MUSE by name, in the order of the data; each gives (B, W, D) or
    (B, 1 + T, D): "fusion", "text_prenet", "text_encoder_0", ..., "speech_prenet",
    "cross_modal_0", ..., "deep_fusion_0", ..."""
    found = {"fusion": model.fusion, "text_prenet": model.text_prenet}
    found |= {f"text_encoder_{i}": layer for i, layer in enumerate(model.text_encoder)}
    found |= {"speech_prenet": model.speech_prenet.layers[-1]}
    found |= {f"cross_modal_{i}": layer for i, layer in enumerate(model.cross_modal)}
    found |= {f"deep_fusion_{i}": layer for i, layer in enumerate(model.deep_fusion)}
    return found


@torch.inference_mode()
def look_inside_muse(model: Muse, batch: Batch) -> dict[str, Tensor]:
    """Run MUSE on a batch and return, on the CPU:

    - every attention map of `attention_modules`; of a map from frames, row 0 is the dummy frame.
      T counts stacked frames (`MuseConfig.stack`).
    - "gate_0", ...: highway gates T(u), (B, W, D); the phoneme half stands first.
    - `norm_` and the name of each of `part_modules`: Euclidean norms of its vectors, (B, W) or
      (B, 1 + T).
    - "probabilities": (B, classes).
    """
    parts = part_modules(model)
    gates = {f"gate_{i}": layer.gate for i, layer in enumerate(model.fusion.highway)}
    with record({**attention_modules(model), **gates, **parts}) as seen:
        output = model.eval()(batch)
    norms = {f"norm_{name}": seen.pop(name).norm(dim=-1) for name in parts}
    return {**seen, **norms, "probabilities": output.logits.float().softmax(-1).cpu()}


@torch.inference_mode()
def look_inside_mimic(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Run MIMIC on a batch and return, on the CPU: "gate", if it has one, (B, 3 D) over [S, I, M],
    or over those that are fused, (B, L, 3 D) at the level of frames; and all that its `Output`
    names."""
    with record({} if model.gate is None else {"gate": model.gate.gate}) as seen:
        output = model.eval()(batch)
    return {**seen, **{k: v.float().cpu() for k, v in output.named.items()}}


def survey(
    look: Callable[[nn.Module, Batch], dict[str, Tensor]], model: nn.Module, examples: Examples
) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
    """Pairs of an utterance and what `look` (one of the two above) sees of it by itself, as arrays
    without the batch axis."""
    for row in examples.rows:
        inside = look(model, examples.collate([row]))
        yield examples.corpus.utterances[row], {k: v[0].numpy() for k, v in inside.items()}


@dataclass(frozen=True)
class Stream:
    """What becomes of the frames on their way through a MUSE, for N utterances, by part: "input"
    (frames with their positions), then "self_0", "cross_0", "cross_0_ff", ..., "deep_0",
    "deep_0_ff", ...: attentions and feed-forward networks, each with its residual and norm.

    Attributes:
        rows: (N,) positions in the corpus.
        dummy, frames: (N, D) the dummy frame's vector after each part, and the mean of the real
            frames' vectors.
        written: (N, 2) for each part but the first: the length of what it adds as a share of the
            length of what it is added to, of the dummy frame and of the mean real frame.
    """

    rows: np.ndarray
    dummy: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    written: dict[str, np.ndarray]


@torch.inference_mode()
def frame_stream(model: Muse, examples: Examples, batch_size: int = 64) -> Stream:
    """Follow the dummy frame and the real frames of some utterances through a MUSE."""
    modules = {}  # what writes, and the norm after it
    for i, layer in enumerate(model.cross_modal):
        modules[f"self_{i}"] = layer.attention, layer.norm
        modules[f"cross_{i}"] = layer.cross, layer.cross_norm
        modules[f"cross_{i}_ff"] = layer.feed_forward, layer.feed_forward_norm
    for i, layer in enumerate(model.deep_fusion):
        modules[f"deep_{i}"] = layer.attention, layer.norm
        modules[f"deep_{i}_ff"] = layer.feed_forward, layer.feed_forward_norm
    parts, listened = ["input", *modules], {"input": model.speech_positions}
    for name, (writer, norm) in modules.items():
        listened |= {f"added by {name}": writer, name: norm}
    rows, dummy, frames, written = ([], *(defaultdict(list) for _ in range(3)))
    for batch in loader(examples, batch_size, shuffle=False):
        with record(listened) as seen:
            output = model.eval()(batch)
        mask = output.named["frame_mask"][:, 1:]
        rows.append(batch.index)
        for part in parts:
            dummy[part].append(seen[part][:, 0])
            frames[part].append(masked_mean(seen[part][:, 1:], mask))
        for before, part in itertools.pairwise(parts):
            share = seen[f"added by {part}"].norm(dim=-1) / seen[before].norm(dim=-1)  # (B, 1 + T)
            real = masked_mean(share[:, 1:, None], mask)
            written[part].append(torch.cat([share[:, :1], real], dim=1))
    found = ({k: torch.cat(v).numpy() for k, v in d.items()} for d in (dummy, frames, written))
    return Stream(torch.cat(rows).numpy(), *found)


@torch.inference_mode()
def without_each_word(model: Muse, batch: Batch) -> Tensor:
    """Probabilities (1 + W, classes) of one utterance, then without each word in turn: it keeps its
    place, its vector is zero, its phonemes are padding. The sound stays as it is."""
    count = batch.word_mask.shape[1]
    many = batch._map(lambda t: t.expand(1 + count, *t.shape[1:]).clone())
    for i in range(count):
        for part in (many.words, many.phonemes):
            if part is not None:
                part[1 + i, i] = 0
    return model.eval()(many).logits.float().softmax(-1).cpu()


def skipped(*modules: nn.Module) -> ExitStack:
    """While the context lasts, each module gives its first input back as it is."""
    return _answering(modules, lambda _module, inputs, _output: inputs[0])


def silenced(*modules: nn.Module) -> ExitStack:
    """While the context lasts, each module gives zeros."""
    return _answering(modules, lambda _module, _inputs, output: torch.zeros_like(output))


def _answering(modules: Iterable[nn.Module], answer: Callable) -> ExitStack:
    handles = ExitStack()
    for module in modules:
        handles.enter_context(module.register_forward_hook(answer))
    return handles
