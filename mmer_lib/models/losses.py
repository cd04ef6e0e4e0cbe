"""Losses beyond cross-entropy and squared error. Scalars; masks are True for padding.

Shapes: B utterances, H heads, T frames, W words, D width.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(shared: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Instance-level contrastive regulariser on S (MIMIC, Eq. 12): shared (B, D); labels (B,)
    classes, rounded scores, or numbers of utterances of which two views are given (the loss of
    SimCLR, Chen et al., 2020). 0 where no two labels are alike."""
    unit = F.normalize(shared.float(), dim=-1)
    alone = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    with torch.autocast(unit.device.type, enabled=False):  # a product in half precision is coarse
        cosine = unit @ unit.T  # (B, B)
    scores = (cosine / temperature).masked_fill(alone, -1e9)
    log_share = scores - scores.logsumexp(dim=1, keepdim=True)
    same = (labels[:, None] == labels[None, :]) & ~alone
    positives = same.sum(1)
    each = -log_share.masked_fill(~same, 0.0).sum(1) / positives.clamp(min=1)
    return each.sum() / (positives > 0).sum().clamp(min=1)


def diagonal_ideal(frame_mask: Tensor, word_mask: Tensor, spread: float = 0.2) -> Tensor:
    """The ideal attention of MUSE, Eq. 9, without word times: frame t of T looks at the word near
    t/T of the sentence, by a Gaussian of `spread`, a share of the utterance (guided attention,
    Tachibana et al., 2018). frame_mask (B, T), word_mask (B, W) -> (B, T, W)."""
    frames = _middles(frame_mask)[:, :, None]  # (B, T, 1)
    words = _middles(word_mask)[:, None, :]  # (B, 1, W)
    scores = -(frames - words).square() / (2 * spread**2)
    padding = word_mask[:, None, :]
    return scores.masked_fill(padding, -1e9).softmax(-1).masked_fill(padding, 0.0)


def _middles(mask: Tensor) -> Tensor:
    """Middle of every position as a share of the real length: mask (B, L) -> (B, L)."""
    count = (~mask).sum(1, keepdim=True).clamp(min=1)
    return (torch.arange(mask.shape[1], device=mask.device) + 0.5) / count


def forced_ideal(
    frame_times: Tensor, word_times: Tensor, word_mask: Tensor, leak: float = 0.1
) -> tuple[Tensor, Tensor]:
    """The ideal attention of MUSE, Eq. 9, from word times: a frame looks at the word that is being
    spoken; a share `leak` is spread over all words, so that no weight is zero.

    frame_times (T,) and word_times (B, W, 2), start and end, in seconds, NaN where unknown;
    word_mask (B, W) -> (B, T, W); and (B, T), True where a word is being spoken: other rows
    (pauses) have no ideal.
    """
    times = frame_times[None, :, None]
    start, end = word_times[:, None, :, 0], word_times[:, None, :, 1]  # (B, 1, W)
    spoken = (times >= start) & (times < end) & ~word_mask[:, None, :]  # (B, T, W)
    real = (~word_mask)[:, None, :].float()
    hits = spoken.sum(-1, keepdim=True)
    ideal = (1 - leak) * spoken / hits.clamp(min=1) + leak * real / real.sum(-1, True).clamp(min=1)
    return ideal, hits.squeeze(-1) > 0


def alignment(
    attention: Tensor, ideal: Tensor, counted: Tensor, word_mask: Tensor, over: str = "frame"
) -> Tensor:
    """L_align (MUSE, Eq. 9): KL(mean over the heads || ideal) of the frames that count.

    The mean is `over` every "frame" of the batch alike; or over the frames of each "utterance",
    then over the utterances that have any; "word" is the latter, each utterance also divided by
    its number of words, as the 1 / (T T') of Eq. 9 says.

    attention (B, H, T, W) without the dummy frame; ideal (B, T, W); counted (B, T), True for frames
    that count; word_mask (B, W). 0 where no frame counts.
    """
    mean = attention.float().mean(1)
    padding = word_mask[:, None, :]
    ratio = mean.clamp(min=1e-9).log() - ideal.float().clamp(min=1e-9).log()
    divergence = (mean * ratio).masked_fill(padding, 0.0).sum(-1)  # (B, T)
    counted = counted & ~word_mask.all(1, keepdim=True)
    if over == "frame":
        return (divergence * counted).sum() / counted.sum().clamp(min=1)
    frames = counted.sum(1)  # T of Eq. 9
    words = (~word_mask).sum(1) if over == "word" else torch.ones_like(frames)  # T' of Eq. 9
    each = (divergence * counted).sum(1) / (frames * words).clamp(min=1)
    return each.sum() / (frames > 0).sum().clamp(min=1)


def embedding_alignment(first: Tensor, second: Tensor) -> Tensor:
    """L_emb_align (MUSE, Eq. 14), averaged over the utterances: (B, D) each."""
    return (first.float() - second.float()).square().sum(-1).mean()


def difference(shared: list[Tensor], individual: list[Tensor], fixed_norms: bool = False) -> Tensor:
    """Soft orthogonality of what modalities share and what each has alone, and of what two have
    alone (MISA's L_diff): one (B, D) a modality, in the same order.

    MISA writes the sum of the squares of X^T Y; its authors' program takes their mean, to which the
    published weights belong. With `fixed_norms`, as in that program, no gradient goes through the
    lengths that the rows are divided by; without, which is ours, the gradient is that of the value.
    """

    def unit(x: Tensor) -> Tensor:
        x = (x - x.mean(0)).float()
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-12)
        return x / (norm.detach() if fixed_norms else norm)

    s, i = ([unit(x) for x in xs] for xs in (shared, individual))
    with torch.autocast(shared[0].device.type, enabled=False):
        pairs = [*zip(s, i, strict=True), *itertools.combinations(i, 2)]
        return torch.stack([(x.T @ y).square().mean() for x, y in pairs]).sum()
