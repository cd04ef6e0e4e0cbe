"""What the readers of MOSI and MOSEI share."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from mmer_lib.data import DataError, Findings, Utterance

SEGMENT = re.compile(r"(?P<video>.+)\[\d+\]")
"""An utterance's id in the files of the CMU-MultimodalSDK: ``video[3]``."""


class Reading:
    """What a reader has gathered.

    Attributes:
        holders: what is said to hold the rows of a field, where it is not the field's name.
        utterances, parts: in order; by id, the part of the split ("train", "dev", "test").
        vision_names: as in `Corpus`.
        left_out: utterances by reason.
        repaired: values that were NaN or infinite and are 0 now, by what held them.
        findings: what there is to tell.
    """

    def __init__(self, source: str):
        self.holders: dict[str, str] = {}
        self.utterances: list[Utterance] = []
        self.parts: dict[str, str] = {}
        self.vision_names: tuple[str, ...] = ()
        self.left_out: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.findings = Findings(source)
        self._widths: dict[str, int] = {}

    def add(self, id: str, part: str, label: float, text: str | None, rows: dict, **more) -> None:
        """Take an utterance up, unless it lacks rows, text or label, or its id is there already.

        Its video is that of "abc$_$3" and "abc[3]"; an id of another form counts as a video of its
        own, and is told.

        Args:
            label: of the sentiment. text: None where the files have vectors in its place.
            rows: of `vectors`, `audio` and `vision` those that there are, (N, D) of any number
                type; values that are NaN or infinite become 0, and are counted.
            more: of the other fields those that there are.

        Raises:
            DataError: a label outside of [-3, 3]; rows of other fields or widths than before.
        """
        if not all(len(array) for array in rows.values()):
            return self.leave_out("without rows of a modality", id)
        rows = {name: self._repaired(name, array, id) for name, array in rows.items()}
        text = text and text.strip()
        if text == "":
            return self.leave_out("without words", id)
        if np.isnan(label):
            return self.leave_out("without label", id)
        if not -3 <= label <= 3:
            raise DataError(
                f"{self.findings.source}: {id}: sentiment {label:g} is not in [-3, 3]; "
                "take a file whose labels are the published ones"
            )
        match = SEGMENT.fullmatch(id)
        video = id.partition("$_$")[0] if "$_$" in id else match["video"] if match else id
        if video == id:
            remedy = "each counts as a video, so that a video in two parts is not noticed"
            self.findings.add("id that names no video", id, remedy)
        if id in self.parts:
            return self.leave_out("an id that is there already", id)
        widths = {name: array.shape[1] for name, array in rows.items()}
        if self.utterances and widths != self._widths:
            raise DataError(
                f"{self.findings.source}: {id}: columns {widths}, before it {self._widths}; "
                "make the file again with one set of features"
            )
        self._widths, self.parts[id] = widths, part
        fields = {"text": text, "sentiment": float(label), **rows, **more}
        self.utterances.append(Utterance(id, video, video, **fields))

    def leave_out(self, reason: str, place: str) -> None:
        """Count an utterance that is left out, and why."""
        self.left_out[reason] += 1
        self.findings.add(f"left out: {reason}", place, "the others are read")

    def _repaired(self, name: str, rows: np.ndarray, id: str) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
            rows = np.asarray(rows, dtype=np.float32, order="C")
        bad = ~np.isfinite(rows)
        if bad.any():
            rows, holder = np.where(bad, np.float32(0), rows), self.holders.get(name, name)
            self.repaired[holder] += int(bad.sum())
            problem = f"{holder}: values NaN or infinite, in utterances"
            self.findings.add(problem, id, "replaced by 0")
        return rows


def spoken(token: str) -> bool:
    """Whether a token is a word, not the aligner's mark of a pause."""
    return token.strip() not in ("", "sp")
