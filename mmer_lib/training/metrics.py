"""Scores as the field reports them, on torchmetrics.

Every name says which convention it is: see `sentiment_scores`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmer_lib.data import DataError


def emotion_scores(probabilities: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of a classifier: probabilities or logits (N, C), truth (N,).

    Returns:
        wa: weighted accuracy = plain accuracy. ua: unweighted accuracy = mean recall over the
        classes that occur in `truth`.

    Raises:
        DataError: nothing to score, or a score that is not finite (the model has diverged).
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_recall

    if truth.numel() == 0 or not torch.isfinite(probabilities).all():
        raise DataError("emotion_scores: nothing to score, or scores that are not finite")
    classes = probabilities.shape[1]
    recalls = multiclass_recall(probabilities, truth, classes, average=None)
    occurs = torch.bincount(truth, minlength=classes) > 0
    return {
        "wa": float(multiclass_accuracy(probabilities, truth, classes, average="micro")),
        "ua": float(recalls[occurs].mean()),
    }


def sentiment_scores(prediction: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of a regression of sentiment in [-3, 3]: prediction and truth (N,).

    Returns:
        mae: mean absolute error.
        corr: Pearson correlation; NaN (undefined) where either side is constant.
        acc2_has0, f1_has0: negative against non-negative (p >= 0, y >= 0), over all.
        acc2_non0, f1_non0: negative against positive (p > 0, y > 0), over y != 0.
        acc5, acc7: rounded (half to even) after clipping to [-2, 2] and [-3, 3].
        F1 is weighted by class frequency in the truth.

    Raises:
        DataError: shapes differ, nothing to score, or a value that is not finite.
    """
    from torchmetrics.functional.regression import pearson_corrcoef

    if prediction.shape != truth.shape or prediction.numel() == 0:
        raise DataError(f"sentiment_scores: {tuple(prediction.shape)} against {tuple(truth.shape)}")
    for name, values in (("prediction", prediction), ("truth", truth)):
        if not torch.isfinite(values).all():
            raise DataError(f"sentiment_scores: '{name}' has values that are not finite")
    prediction, truth = prediction.double(), truth.double()
    scores = {"mae": float((prediction - truth).abs().mean())}
    constant = prediction.min() == prediction.max() or truth.min() == truth.max()
    scores["corr"] = float("nan") if constant else float(pearson_corrcoef(prediction, truth))
    nonzero = truth != 0
    scores |= _two_class(prediction >= 0, truth >= 0, "has0")
    scores |= _two_class(prediction[nonzero] > 0, truth[nonzero] > 0, "non0")
    for bound in (2, 3):
        p, y = (v.clamp(-bound, bound).round() for v in (prediction, truth))
        scores[f"acc{2 * bound + 1}"] = float((p == y).double().mean())
    return scores


def legacy_scores(prediction: Tensor, truth: Tensor) -> dict[str, float]:
    """What some programs of the field report under the same names: prediction and truth (N,).

    Returns:
        acc2_pos: positive against all else (p > 0, y > 0), over all, zeros too.
        f1_has0_legacy, f1_non0_legacy: weighted F1 with prediction and truth exchanged, which
        weighs the classes by how often they are predicted (MulT and MISA call it so).

    Raises:
        DataError: see `sentiment_scores`.
    """
    exchanged = sentiment_scores(truth, prediction)["f1_has0"]
    nonzero = truth != 0
    some = _two_class(truth[nonzero] > 0, prediction[nonzero] > 0, "non0")
    return {
        "acc2_pos": float(((prediction > 0) == (truth > 0)).double().mean()),
        "f1_has0_legacy": exchanged,
        "f1_non0_legacy": some["f1_non0"],
    }


def _two_class(prediction: Tensor, truth: Tensor, name: str) -> dict[str, float]:
    from torchmetrics.functional.classification import multiclass_f1_score

    if truth.numel() == 0:
        return {f"acc2_{name}": float("nan"), f"f1_{name}": float("nan")}
    p, y = prediction.long(), truth.long()
    return {
        f"acc2_{name}": float((p == y).double().mean()),
        f"f1_{name}": float(multiclass_f1_score(p, y, 2, average="weighted")),
    }
