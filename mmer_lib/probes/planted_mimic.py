"""What several chapters on MIMIC measure: a linear reader of sentiment, and whether modalities
agree."""

from __future__ import annotations

import numpy as np

from mmer_lib.data import Utterance

PENALTIES = np.logspace(-1, 6, 15)


def linear_reading(train: np.ndarray, wanted: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What a ridge regression fitted on train (N, D) and wanted (N,) says of test (M, D): (M,).

    Every column is standardised; the penalty is that of `PENALTIES` with the least squared error
    when each training row in turn is left out.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    reader = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    return reader.fit(np.asarray(train), wanted).predict(np.asarray(test))


def agreement(u: Utterance) -> str:
    """Whether the modalities of an utterance of the demo corpus "agree" or
    "contradict": whether all emotions that they show are one. "too few" where fewer
    than two show any but "neutral"."""
    shown = [e for e in u.planted.shows.values() if e != "neutral"]
    if len(shown) < 2:
        return "too few"
    return "agree" if len(set(shown)) == 1 else "contradict"
