"""Losses beyond cross-entropy and squared error."""

from __future__ import annotations

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
