"""Reading attention, gates and similarities from outside a model, by hooks.

The models know nothing of this: a probe listens to the output of a submodule while the model
runs, and takes its hook away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.batch import Batch, Examples
from mmer_lib.corpora import Utterance, Word
from mmer_lib.features.speech import frame_times


@contextmanager
def record(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """While the context lasts, keep the latest output of each module under its name.

    >>> with record({"gate": model.gate.gate}) as seen:
    ...     model(batch)
    >>> seen["gate"]  # detached, on the CPU
    """
    seen: dict[str, Tensor] = {}

    def listener(name):
        def keep(_module, _inputs, output):
            seen[name] = output.detach().float().cpu()

        return keep

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(listener(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def look_inside_muse(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Run MUSE on a batch and return, on the CPU:

    - "cross_0", ...: attention from frames to words, (B, H, 1 + T, W); row 0 is the dummy frame.
      T counts stacked frames (`MuseConfig.stack`).
    - "gate_0", ...: highway gates T(u), (B, W, D); the phoneme half stands first.
    - "probabilities": (B, classes).
    """
    modules = {f"cross_{i}": layer.cross.weights for i, layer in enumerate(model.cross_modal)}
    modules |= {f"gate_{i}": layer.gate for i, layer in enumerate(model.fusion.highway)}
    with record(modules) as seen:
        output = model.eval()(batch)
    return {**seen, "probabilities": output.logits.float().softmax(-1).cpu()}


@torch.inference_mode()
def look_inside_mimic(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Run MIMIC on a batch and return, on the CPU: "gate" (B, 3 D) over [S, I, M], and every
    representation of its `Output` by name."""
    with record({"gate": model.gate.gate}) as seen:
        output = model.eval()(batch)
    return {**seen, **{k: v.float().cpu() for k, v in output.named.items()}}


def survey(
    look: Callable[[nn.Module, Batch], dict[str, Tensor]], model: nn.Module, examples: Examples
) -> Iterator[tuple[Utterance, dict[str, np.ndarray]]]:
    """Look inside a model utterance by utterance: pairs of an utterance and what `look` (one of
    the two above) sees of it, as arrays without the batch axis and without padding."""
    for row in examples.rows:
        inside = look(model, examples.collate([row]))
        yield examples.corpus.utterances[row], {k: v[0].numpy() for k, v in inside.items()}


def stacked_times(model: nn.Module, frames: int) -> np.ndarray:
    """Centre in seconds of each of `frames` stacked frames of a MUSE, (frames,)."""
    stack = model.config.stack
    return frame_times(frames * stack).reshape(frames, stack).mean(1)


def pairwise_cosine(vectors: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Cosine of every pair of named vectors, utterance by utterance: (B, D) each -> (B,) each."""
    names = list(vectors)
    return {
        (a, b): F.cosine_similarity(vectors[a], vectors[b], dim=-1)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }


def spoken_word(words: tuple[Word, ...], times: np.ndarray) -> np.ndarray:
    """For each time (T,) in seconds the position of the word then spoken, -1 in a pause."""
    at = np.full(len(times), -1)
    for i, word in enumerate(words):
        at[(times >= word.start) & (times < word.end)] = i
    return at


def attention_on_spoken_word(attention: np.ndarray, spoken: np.ndarray) -> tuple[float, float]:
    """How much of the attention of speech frames falls on the word that is being spoken.

    Args:
        attention: (T, W), rows sum to one. spoken: (T,) from `spoken_word`.

    Returns:
        mean weight on the spoken word, and the weight 1 / W of an indifferent reader.
    """
    real = spoken >= 0
    hits = attention[real, spoken[real]]
    return float(hits.mean()), 1 / attention.shape[1]
