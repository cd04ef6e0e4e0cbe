"""Scores as the field reports them; every name says which convention it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmer_lib.data import DataError
from mmer_lib.training.settings import Settings


def scores_of(task: str, logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of a task: see `emotion_scores` and `sentiment_scores`."""
    return (emotion_scores if task == "emotion" else sentiment_scores)(logits, truth)


def emotion_scores(probabilities: Tensor, truth: Tensor) -> dict[str, float]:
    """Of probabilities or logits (N, C) and truth (N,): "wa", weighted = plain accuracy, and "ua",
    unweighted accuracy = mean recall over the classes that occur in `truth`."""
    from sklearn.metrics import accuracy_score, recall_score

    if not probabilities.isfinite().all():
        raise DataError("emotion_scores: scores that are not finite")
    p, y = probabilities.argmax(1).numpy(), truth.numpy()
    recall = recall_score(y, p, labels=truth.unique().numpy(), average="macro", zero_division=0)
    return {"wa": float(accuracy_score(y, p)), "ua": float(recall)}


def sentiment_scores(prediction: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of a regression of sentiment in [-3, 3]: prediction and truth (N,).

    Returns:
        mae: mean absolute error.
        corr: Pearson correlation; NaN (undefined) where either side is constant.
        acc2_has0, f1_has0: negative against non-negative (p >= 0, y >= 0), over all.
        acc2_non0, f1_non0: negative against positive (p > 0, y > 0), over y != 0.
        acc5, acc7: rounded (half to even) after clipping to [-2, 2] and [-3, 3].
        F1 is weighted by class frequency in the truth.
    """
    from scipy.stats import pearsonr

    if prediction.shape != truth.shape or not torch.stack([prediction, truth]).isfinite().all():
        raise DataError("sentiment_scores: other shapes, or values that are not finite")
    p, y = prediction.double().numpy(), truth.double().numpy()
    constant = p.min() == p.max() or y.min() == y.max()
    some = y != 0
    scores = {
        "mae": float(abs(p - y).mean()),
        "corr": math.nan if constant else float(pearsonr(p, y).statistic),
        **_two_class(p >= 0, y >= 0, "has0"),
        **_two_class(p[some] > 0, y[some] > 0, "non0"),
    }
    for bound in (2, 3):
        rounded_p, rounded_y = (v.clip(-bound, bound).round() for v in (p, y))
        scores[f"acc{2 * bound + 1}"] = float((rounded_p == rounded_y).mean())
    return scores


def legacy_scores(prediction: Tensor, truth: Tensor) -> dict[str, float]:
    """What some programs of the field report under the same names: prediction and truth (N,).

    Returns:
        acc2_pos: positive against all else (p > 0, y > 0), over all, zeros too.
        f1_has0_legacy, f1_non0_legacy: weighted F1 with prediction and truth exchanged, which
        weighs the classes by how often they are predicted (MulT and MISA call it so).
    """
    p, y = prediction.numpy(), truth.numpy()
    some = y != 0
    return {
        "acc2_pos": float(((p > 0) == (y > 0)).mean()),
        "f1_has0_legacy": sentiment_scores(truth, prediction)["f1_has0"],
        "f1_non0_legacy": _two_class(y[some] > 0, p[some] > 0, "non0")["f1_non0"],
    }


def _two_class(prediction, truth, name: str) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    if truth.size == 0:
        return {f"acc2_{name}": math.nan, f"f1_{name}": math.nan}
    return {
        f"acc2_{name}": float(accuracy_score(truth, prediction)),
        f"f1_{name}": float(f1_score(truth, prediction, average="weighted", zero_division=0)),
    }


def check_finite(epoch: int, losses: dict[str, float], logits: Tensor, settings: Settings) -> None:
    """A DataError where a mean loss of an epoch (from 0) or a logit of the development part is not
    finite; once an epoch, since what is not finite in one step stays so in the weights."""
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    bad += [] if logits.isfinite().all() else ["the predictions of the development part"]
    if bad:
        raise DataError(
            f"epoch {epoch + 1}: the training diverged; not finite: {', '.join(bad)}. Lower "
            f"learning_rate (now {settings.learning_rate:g}), or set clip, say to 1 (now "
            f"{settings.clip:g})"
        )
