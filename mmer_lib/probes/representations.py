"""What a trained model makes of utterances: its named representations, and how alike the modalities
are in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer_lib.features.batches import Examples, LengthBuckets
from mmer_lib.models.base import Model, by_modality


def pairwise_cosine(vectors: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Cosine of every pair of named vectors, utterance by utterance: (B, D) each -> (B,) each."""
    return {
        (a, b): F.cosine_similarity(vectors[a], vectors[b], dim=-1)
        for a, b in itertools.combinations(vectors, 2)
    }


def look(
    model: Model, examples: Examples, batch_size: int = 256
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batch for batch: which of `examples` they are, and all that `Output` names for them, on the
    CPU, float32. Utterances of like length come together.

    A model in training mode is back in it afterwards. No random number is drawn, as a DataLoader
    would, so that a training goes on as if nobody had looked.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    for chunk in LengthBuckets(examples.lengths(), batch_size, shuffle=False):
        batch = examples.collate([examples.rows[i] for i in chunk])
        with torch.inference_mode():
            named = {k: v.float().cpu() for k, v in model(batch.to(device)).named.items()}
        yield chunk, named
    model.train(training)


def representations(model: Model, examples: Examples, batch_size: int = 256) -> dict[str, Tensor]:
    """All that `look` shows, (N, ...) each, in the order of the examples."""
    chunks, seen = zip(*look(model, examples, batch_size), strict=True)
    order = np.argsort(np.concatenate(chunks))
    return {name: torch.cat([named[name] for named in seen])[order] for name in seen[0]}


def mean_cosines(
    model: Model, examples: Examples, kept: int = 0
) -> tuple[dict[str, float], Tensor | None]:
    """Means over all examples of the cosine between two modalities of every representation in
    `Model.traced`, {"h text-audio": ..., ...}; and S (`kept`, D) of the first of them. However many
    there are, one batch of them is in memory at a time."""
    sums, places = {}, None
    for chunk, named in look(model, examples):
        for kind, pattern in model.traced.items():
            for (a, b), cosine in pairwise_cosine(by_modality(named, pattern)).items():
                name = f"{kind} {a}-{b}"
                sums[name] = sums.get(name, 0.0) + cosine.double().sum().item()
        if kept:
            if places is None:
                places = torch.empty(min(kept, len(examples)), named["S"].shape[1])
            among = torch.tensor(chunk) < kept
            places[torch.tensor(chunk)[among]] = named["S"][among]
    return {name: total / len(examples) for name, total in sums.items()}, places
