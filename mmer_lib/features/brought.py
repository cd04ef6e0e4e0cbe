"""Features that a corpus brings with it, and that are read as they are."""

from __future__ import annotations

import numpy as np

from mmer_lib.data import Corpus, DataError

FIELDS = {
    "speech": ("frames", None),
    "words": ("vectors", None),
    "audio": ("audio", "audio_times"),
    "vision": ("vision", "vision_times"),
}
"""The part of `features.PARTS` that a field of `Utterance` takes the place of; and the field with
the times of its rows, with which it is averaged over words and not read as it is."""


def brings(corpus: Corpus, part: str) -> bool:
    """Whether a part is read as the corpus brings it: any utterance has it, without times."""
    if part not in FIELDS:
        return False
    field, times = FIELDS[part]
    return any(
        getattr(u, field) is not None and (times is None or getattr(u, times) is None)
        for u in corpus.utterances
    )


def arrays(corpus: Corpus, part: str) -> list[np.ndarray]:
    """A part that the corpus brings, (L, D) float32 an utterance.

    Raises:
        DataError: one that is not (L, D) with the D of the first, or holds NaN; for "speech" and
            "words", one without rows.
    """
    field = FIELDS[part][0]
    found = [np.asarray(getattr(u, field), dtype=np.float32) for u in corpus.utterances]
    width, some = found[0].shape[1:], part in ("speech", "words")
    for utterance, one in zip(corpus.utterances, found, strict=True):
        if one.ndim != 2 or not one.shape[1] or one.shape[1:] != width or (some and not len(one)):
            raise DataError(
                f"{corpus.name}: utterance {utterance.id!r} has {field} of shape {one.shape}; "
                f"expected (L, D) with the D of the first utterance, {width}"
            )
        if not np.isfinite(one).all():
            raise DataError(f"{corpus.name}: utterance {utterance.id!r} has {field} with NaN")
    return found
