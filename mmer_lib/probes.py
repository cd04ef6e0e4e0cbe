"""Reading attention, gates and similarities from outside a model, by hooks.

The models know nothing of this: a probe listens to the output of a submodule while the model
runs, and takes its hook away afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmer_lib.batch import Batch, Examples, loader
from mmer_lib.corpora import Utterance, Word
from mmer_lib.hooks import record
from mmer_lib.models.layers import masked_mean
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
    """Run MIMIC on a batch and return, on the CPU: "gate" (B, 3 D) over [S, I, M], or over those
    that are fused, (B, L, 3 D) at the level of frames, where the model has a gate; and every
    representation of its `Output` by name."""
    with record({} if model.gate is None else {"gate": model.gate.gate}) as seen:
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


@dataclass(frozen=True)
class Stream:
    """What becomes of the frames on their way through a MUSE, for N utterances.

    Attributes:
        rows: (N,) positions in the corpus.
        dummy, frames: the dummy frame's vector (N, D) after each part, and the mean of the real
            frames' vectors. Parts are "input" (frames with their positions), then, as the data
            goes, "self_0", "cross_0", "cross_0_ff", ..., "deep_0", "deep_0_ff", ...: two
            attentions and the feed-forward network of each cross-modal layer, attention and
            feed-forward network of each deep-fusion layer; each with its residual and norm.
        written: (N, 2) for each part but the first: the length of what it adds as a share of the
            length of what it is added to, of the dummy frame and of the mean real frame.
    """

    rows: np.ndarray
    dummy: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    written: dict[str, np.ndarray]


def stream_modules(model: Muse) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Every part of `Stream.written`: the module that writes, and the norm after it."""
    found = {}
    for i, layer in enumerate(model.cross_modal):
        found[f"self_{i}"] = layer.attention, layer.norm
        found[f"cross_{i}"] = layer.cross, layer.cross_norm
        found[f"cross_{i}_ff"] = layer.feed_forward, layer.feed_forward_norm
    for i, layer in enumerate(model.deep_fusion):
        found[f"deep_{i}"] = layer.attention, layer.norm
        found[f"deep_{i}_ff"] = layer.feed_forward, layer.feed_forward_norm
    return found


@torch.inference_mode()
def frame_stream(model: Muse, examples: Examples, batch_size: int = 64) -> Stream:
    """Follow the dummy frame and the real frames of some utterances through a MUSE."""
    modules = stream_modules(model)
    parts = ["input", *modules]
    listened = {"input": model.speech_positions}
    for name, (writer, norm) in modules.items():
        listened |= {f"added by {name}": writer, name: norm}
    rows, dummy, frames = [], {p: [] for p in parts}, {p: [] for p in parts}
    written = {p: [] for p in modules}
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
    """What a MUSE says of one utterance when a word falls silent.

    A silent word keeps its place in the sentence; its word vector is zero, its
    phonemes are padding. The sound stays as it is.

    Returns:
        (1 + W, classes), probabilities of the whole utterance, then without each
        word in turn.

    Raises:
        ValueError: a batch of more than one.
    """
    if len(batch) != 1:
        raise ValueError(f"a batch of {len(batch)}; this takes one utterance")
    count = batch.word_mask.shape[1]
    many = batch._map(lambda t: t.expand(1 + count, *t.shape[1:]).clone())
    for i in range(count):
        for part in (many.words, many.phonemes):
            if part is not None:
                part[1 + i, i] = 0
    return model.eval()(many).logits.float().softmax(-1).cpu()


def skipped(*modules: nn.Module):
    """While the context lasts, each module gives its first input back as it is."""
    return _answering(modules, lambda _module, inputs, _output: inputs[0])


def silenced(*modules: nn.Module):
    """While the context lasts, each module gives zeros."""
    return _answering(modules, lambda _module, _inputs, output: torch.zeros_like(output))


@contextmanager
def _answering(modules: Iterable[nn.Module], answer: Callable) -> Iterator[None]:
    handles = [module.register_forward_hook(answer) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def distance_to_words(words: tuple[Word, ...], times: np.ndarray) -> np.ndarray:
    """Seconds from each time (T,) to each word (T, W); 0 while the word is being spoken."""
    start, end = np.array([(w.start, w.end) for w in words]).T
    before, after = start[None] - times[:, None], times[:, None] - end[None]
    return np.maximum(np.maximum(before, after), 0.0)


def alignment_error(
    attention: np.ndarray, words: tuple[Word, ...], times: np.ndarray
) -> tuple[float, float]:
    """How far in time from a speech frame are the words that it attends to.

    Args:
        attention: (T, W), rows sum to one. times: (T,) in seconds.

    Returns:
        milliseconds, the mean over the frames during which a word is spoken of the
        expected distance under the attention (0: all weight on the spoken word);
        and the same of an indifferent reader, who spreads his weight evenly.
    """
    spoken = spoken_word(words, times) >= 0
    distance = distance_to_words(words, times)[spoken]
    return (
        float(1000 * (attention[spoken] * distance).sum(-1).mean()),
        float(1000 * distance.mean()),
    )


def entropy(attention: np.ndarray) -> np.ndarray:
    """Entropy of each row of (..., W) as a share of the largest, log W: 1 is indifferent, 0 looks
    at one word. A row over one word alone gives 0."""
    width = attention.shape[-1]
    if width == 1:
        return np.zeros(attention.shape[:-1])
    safe = np.clip(attention, 1e-12, None)
    return -(attention * np.log(safe)).sum(-1) / np.log(width)


def overlap(maps: np.ndarray) -> np.ndarray:
    """How much of their attention heads spend alike: maps (H, T, W), rows sum to one -> (H, H),
    the mean over the frames of the weight that two rows share. 1: the same map, 0: never the same
    word."""
    return np.minimum(maps[:, None], maps[None]).sum(-1).mean(-1)


def preference(weights: np.ndarray, chosen: np.ndarray) -> float:
    """How often more than an indifferent reader some positions are read: the mean weight at the
    positions or in the mask `chosen` over the mean of all weights (L,). 1 is indifferent; NaN
    where nothing is chosen."""
    picked = weights[chosen]
    return float(picked.mean() / weights.mean()) if picked.size else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two rankings (N,); NaN where one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def stacked_mean(values: np.ndarray, stack: int) -> np.ndarray:
    """Filterbank frames to the frames of a model that reads `stack` neighbours as one, by their
    mean: (T, ...) -> (T / stack, ...), the last one over what is left."""
    edges = np.arange(0, len(values), stack)
    counts = np.diff([*edges, len(values)])
    sums = np.add.reduceat(values, edges, axis=0, dtype=np.float64)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


@torch.inference_mode()
def influence(layer: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    """How far each position of a sequence reaches.

    Args:
        layer: gives (1, L, D) of (1, L, inputs). x: (1, L, inputs).

    Returns:
        (L, L): entry [i, j] is the norm of the change of output j when input i is set to zeros.
    """
    whole, rows = layer(x), []
    for i in range(x.shape[1]):
        without = x.clone()
        without[:, i] = 0
        rows.append((layer(without) - whole)[0].norm(dim=-1))
    return torch.stack(rows).float().cpu().numpy()


def bootstrap(
    values: np.ndarray, others: np.ndarray | None = None, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values (N,) with the 95% interval of the bootstrap over them: (mean, low, high).

    With others (M,), the difference of the two means, each group drawn anew.
    """
    rng = np.random.default_rng(seed)

    def means(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        drawn = x[rng.integers(len(x), size=(draws, len(x)))].mean(1)
        return np.concatenate([[x.mean()], drawn])  # the data's own first

    found = means(values) if others is None else means(values) - means(others)
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return float(found[0]), float(low), float(high)
