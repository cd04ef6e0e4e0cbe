"""Losses beyond cross-entropy and squared error: MUSE's two alignments, MIMIC's regulariser, the
three of MISA, and what MFM and ICCN measure of their own representations."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(shared: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Instance-level contrastive regulariser on S (MIMIC, Eq. 12).

    For an utterance i and each other utterance j of the same label, -log of the softmax, over all
    k != i, of cosine(S_i, S_k) / temperature at j; averaged over i's positives, then over the
    utterances that have one. Utterances alone in their label are left out.

    Args:
        shared: S, (B, D).
        labels: (B,) classes, or rounded scores for a regression.

    Returns:
        scalar; 0 where no utterance has a positive.
    """
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
    """An ideal attention for Eq. 9 of MUSE without word times: words follow one another at an
    even pace, so frame t of T looks at the word near t/T of the sentence.

    The weights of a row fall as a Gaussian of `spread` (a share of the utterance) around that
    place, and are positive for every word, as in guided attention (Tachibana et al., 2018).

    Args:
        frame_mask (B, T), word_mask (B, W): True = padding.

    Returns:
        (B, T, W), rows sum to one over the words; zeros for padded words.
    """
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
    """An ideal attention for Eq. 9 of MUSE from word times: a frame looks at the word that is being
    spoken; a share `leak` is spread over all words, so that no weight is zero.

    Args:
        frame_times: (T,) seconds. word_times: (B, W, 2) start and end in seconds, NaN where
            unknown. word_mask: (B, W), True = padding.

    Returns:
        (B, T, W), rows sum to one over the words; and (B, T), True where a word is being spoken.
        Other rows (pauses) have no ideal and do not count.
    """
    times = frame_times[None, :, None]
    start, end = word_times[:, None, :, 0], word_times[:, None, :, 1]  # (B, 1, W)
    spoken = (times >= start) & (times < end) & ~word_mask[:, None, :]  # (B, T, W)
    real = (~word_mask)[:, None, :].float()
    hits = spoken.sum(-1, keepdim=True)
    ideal = (1 - leak) * spoken / hits.clamp(min=1) + leak * real / real.sum(-1, True).clamp(min=1)
    return ideal, hits.squeeze(-1) > 0


def alignment(attention: Tensor, ideal: Tensor, counted: Tensor, word_mask: Tensor) -> Tensor:
    """L_align (MUSE, Eq. 9): KL(A || ideal) of each frame's attention over the words, averaged
    over the frames that count.

    A is the mean over the heads, so that single heads are free to look elsewhere.

    Args:
        attention: (B, H, T, W), without the dummy frame. ideal: (B, T, W), positive for real words.
        counted: (B, T), True for frames that count. word_mask: (B, W), True = padding.

    Returns:
        scalar; 0 where no frame counts.
    """
    mean = attention.float().mean(1)
    padding = word_mask[:, None, :]
    ratio = mean.clamp(min=1e-9).log() - ideal.float().clamp(min=1e-9).log()
    divergence = (mean * ratio).masked_fill(padding, 0.0).sum(-1)  # (B, T)
    counted = counted & ~word_mask.all(1, keepdim=True)
    return (divergence * counted).sum() / counted.sum().clamp(min=1)


def embedding_alignment(first: Tensor, second: Tensor) -> Tensor:
    """L_emb_align (MUSE, Eq. 14): squared distance of two projected vectors (B, D), averaged over
    the utterances."""
    return (first.float() - second.float()).square().sum(-1).mean()


def difference(shared: list[Tensor], individual: list[Tensor]) -> Tensor:
    """Soft orthogonality of what modalities share and what each has alone, and of what two have
    alone (MISA's L_diff).

    Of two (B, D) matrices, each column centred over the batch and then each row scaled to length
    one, the mean square of the entries of X^T Y (D, D); summed over all pairs. MISA writes the sum
    of the squares, its authors' program takes their mean, to which the published weights belong.

    Args:
        shared, individual: one (B, D) a modality, in the same order.

    Returns:
        scalar.
    """
    s, i = (
        [F.normalize((x - x.mean(0)).float(), dim=1) for x in xs] for xs in (shared, individual)
    )
    with torch.autocast(shared[0].device.type, enabled=False):
        pairs = [*zip(s, i, strict=True), *itertools.combinations(i, 2)]
        return torch.stack([(x.T @ y).square().mean() for x, y in pairs]).sum()


def moment_discrepancy(vectors: list[Tensor], moments: int = 5) -> Tensor:
    """Central moment discrepancy of every two of some samples, and its mean over the pairs (MISA's
    L_sim; Zellinger et al., 2017).

    ||E(X) - E(Y)|| + sum over k = 2 ... moments of ||C_k(X) - C_k(Y)||, with C_k the k-th central
    moment of each coordinate over the batch. Coordinates lie in [0, 1], where the factors of the
    definition are one.

    Args:
        vectors: two or more (B, D).

    Returns:
        scalar.
    """
    each = []
    for x in vectors:
        centre = x.float().mean(0)
        powers = [(x.float() - centre).pow(k).mean(0) for k in range(2, moments + 1)]
        each.append(torch.stack([centre, *powers]))  # (moments, D)
    pairs = itertools.combinations(each, 2)
    distances = [torch.linalg.vector_norm(a - b, dim=1).sum() for a, b in pairs]
    return torch.stack(distances).mean()


def reconstruction(found: list[Tensor], given: list[Tensor]) -> Tensor:
    """Mean squared error of what is rebuilt of each modality, averaged over the modalities (MISA's
    L_recon).

    Args:
        found, given: one (B, D) a modality.

    Returns:
        scalar.
    """
    pairs = zip(found, given, strict=True)
    return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in pairs]).mean()


def normal_discrepancy(z: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between a sample z (B, Z) and the standard normal
    distribution, with the kernel exp(-d^2 / Z^2) of a distance d (MFM): a scalar.

    Its authors draw as many normal vectors; here the mean over all draws is taken, which for this
    kernel can be written down. The gradient is the mean of theirs, without the noise.
    """
    z = z.float() if z.dtype != torch.float64 else z
    width = z.shape[1]
    scale = float(width**2)
    distances = (z.unsqueeze(1) - z.unsqueeze(0)).square().sum(-1)  # (B, B)
    cross = (1 + 2 / scale) ** (-width / 2) * torch.exp(-z.square().sum(1) / (scale + 2))
    normal = (1 + 4 / scale) ** (-width / 2)
    return normal + torch.exp(-distances / scale).mean() - 2 * cross.mean()


def canonical_correlations(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Canonical correlations of two samples of B vectors, largest first, with `ridge` added to the
    variance of every coordinate (ICCN's loss is their sum; Andrew et al., 2013).

    They are the singular values of L_x^-1 C_xy L_y^-T, where C = L L^T (Cholesky). That is as good
    as C^-1/2 and has a gradient where variances are equal, as the ridge makes them for the
    directions that a small batch leaves empty. Computed in float64.

    Args:
        x, y: (B, K). One utterance correlates with nothing: zeros.

    Returns:
        (K,) in [0, 1).
    """
    kind = x.dtype
    with torch.autocast(x.device.type, enabled=False):
        x, y = ((v - v.mean(0)).double() for v in (x, y))
        count = max(len(x) - 1, 1)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        lower_x, lower_y = (torch.linalg.cholesky(v.T @ v / count + ridge * eye) for v in (x, y))
        shared = torch.linalg.solve_triangular(lower_x, x.T @ y / count, upper=False)
        shared = torch.linalg.solve_triangular(lower_y, shared.T, upper=False)
        found = torch.linalg.svdvals(shared)
        return (found * (found > 1e-9)).to(kind)  # at 0 the gradient has no one direction
