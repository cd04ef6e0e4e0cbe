"""Decoupling as geometry: three representations of an utterance, their mean, and what each has
alone, in the one plane in which they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets

from mmer_lib.book.explorer import Explorer, source
from mmer_lib.book.figures.style import MODALITY_COLOURS
from mmer_lib.data import MODALITIES


def plane(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact picture of three points (N, 3, D) around their mean S.

    The differences i = h - S sum to zero, so they lie in one plane. An orthonormal basis of it
    (Gram-Schmidt: the first points straight up, the second to the right) keeps every length and
    angle; the origin of the space lies some way along the plane and some way off it.

    Returns:
        The differences (N, 3, 2), with S at 0; and S itself (N, 3), two coordinates along the
        plane and its distance from it. (A difference + S along the plane, S off it) has the
        lengths and angles of the h.
    """
    shared = h.mean(1)
    parts = h - shared[:, None]
    basis, _ = np.linalg.qr(parts[:, :2].transpose(0, 2, 1))
    up, right = np.moveaxis(basis, 2, 0)
    up = up * np.where((up * parts[:, 0]).sum(1) < 0, -1, 1)[:, None]
    right = right * np.where((right * parts[:, 1]).sum(1) < 0, -1, 1)[:, None]
    axes = np.stack([right, up], 2)
    along = np.einsum("nd,ndk->nk", shared, axes)
    off = np.linalg.norm(shared - np.einsum("nk,ndk->nd", along, axes), axis=1)
    return parts @ axes, np.column_stack([along, off])


class Triangle(Explorer):
    """The triangle of h_text, h_audio and h_vision, with S in the middle and the individual parts
    as arrows, for one of N utterances; or with corners that the reader moves: S is their mean and
    follows, the origin of the space stays.

    Attributes:
        utterance: which is shown. free: whether the corners can be moved.
        corners: [x, y] of each corner that was moved there, as `plane` has them; [] for the
            recorded ones.

    Args:
        h: by modality, (N, D). labels: what each utterance says. notes: a line on each.
        traits: of `Explorer`.
    """

    _esm = source("common.js", "triangle.js")
    label = traitlets.Unicode("Decoupling of an utterance as a triangle").tag(sync=True)
    utterance = traitlets.Int(0).tag(sync=True)
    free = traitlets.Bool(False).tag(sync=True)
    corners = traitlets.List().tag(sync=True)

    def __init__(
        self, h: dict[str, np.ndarray], labels: Sequence[str], notes: Sequence[str], **traits
    ):
        points = np.stack([np.asarray(h[m], float) for m in MODALITIES], 1)
        corners, offsets = plane(points)
        data = {
            "modalities": MODALITIES,
            "colours": [MODALITY_COLOURS[m] for m in MODALITIES],
            "corners": corners,
            "offsets": offsets,
            "labels": list(labels),
            "notes": list(notes),
        }
        super().__init__(data, **traits)
