"""Does a representation hold what the demo corpus planted? Read out by linear models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from mmer_lib.data import MODALITIES, Corpus, Utterance

PENALTIES = np.logspace(-1, 6, 15)


def factors(corpus: Corpus, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """What was planted in some utterances of the demo corpus, (N,) labels a factor: "emotion";
    "text shows", "audio shows", "vision shows", the emotion that each modality shows; "topic",
    which the words alone tell; "speaker", whom voice and resting face tell."""
    us = [corpus.utterances[r] for r in rows]
    found = {"emotion": [u.emotion for u in us]}
    found |= {f"{m} shows": [u.planted.shows[m] for u in us] for m in MODALITIES}
    found |= {"topic": [u.planted.topic for u in us], "speaker": [u.speaker for u in us]}
    return {name: np.array(labels) for name, labels in found.items()}


def readable(
    representations: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
) -> dict[tuple[str, str], float]:
    """How well every factor can be read from every representation, by (representation, factor):
    mean recall over the classes, on the test part, of a logistic regression fitted on the training
    part; where the classes of the two differ (speakers of another session), of one fitted on the
    test part alone, by five-fold cross-validation.

    Args:
        representations: of the training and of the test part, (N, D) and (M, D).
        labels: the `factors` of both.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds, found = StratifiedKFold(5, shuffle=True, random_state=0), {}
    for (name, (train, test)), factor in itertools.product(representations.items(), labels[0]):
        known, true = labels[0][factor], labels[1][factor]
        if set(true) <= set(known):
            predicted = reader.fit(train, known).predict(test)
        else:
            predicted = cross_val_predict(reader, test, true, cv=folds)
        recall = recall_score(true, predicted, labels=sorted(set(true)), average="macro")
        found[name, factor] = float(recall)
    return found


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
    """Whether all emotions that the modalities of an utterance of the demo corpus
    show are one: "agree" or "contradict"; "too few" where fewer than two show any
    but "neutral"."""
    shown = [e for e in u.planted.shows.values() if e != "neutral"]
    if len(shown) < 2:
        return "too few"
    return "agree" if len(set(shown)) == 1 else "contradict"
