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
        utterances, parts: in order, each with its part of the split ("train", "dev", "test").
        vision_names: as in `Corpus`.
        left_out: utterances by reason.
        repaired: values that were NaN or infinite and are 0 now, by what held them.
        findings: what there is to tell.
    """

    def __init__(self, source: str):
        self.utterances: list[Utterance] = []
        self.parts: list[str] = []
        self.vision_names: tuple[str, ...] = ()
        self.left_out: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.findings = Findings(source)
        self._widths: dict[str, int | None] = {}
        self._ids: set[str] = set()

    def add(self, utterance: Utterance, part: str) -> None:
        """Take an utterance up; of those with one id, the first.

        Raises:
            DataError: vectors, audio or vision of another width than those before, or missing
                where those before have them.
        """
        if utterance.id in self._ids:
            return self.leave_out("an id that is there already", utterance.id)
        for name in ("vectors", "audio", "vision"):
            rows = getattr(utterance, name)
            width = None if rows is None else rows.shape[1]
            if width != self._widths.setdefault(name, width):
                raise DataError(
                    f"{self.findings.source}: {utterance.id}: {name} of width {width}, "
                    f"before it {self._widths[name]}; make the file again with one set of features"
                )
        self._ids.add(utterance.id)
        self.utterances.append(utterance)
        self.parts.append(part)

    def leave_out(self, reason: str, place: str) -> None:
        """Count an utterance that is left out, and why."""
        self.left_out[reason] += 1
        self.findings.add(f"left out: {reason}", place, "the others are read")

    def repair(self, rows: np.ndarray, holder: str, id: str) -> np.ndarray:
        """(N, D) of any number type -> a float32 copy with 0 for every NaN and infinity; they are
        counted for `holder` (a file or a field)."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
            rows = np.array(rows, dtype=np.float32, order="C")
        bad = ~np.isfinite(rows)
        if bad.any():
            rows[bad] = 0
            self.repaired[holder] += int(bad.sum())
            problem = f"{holder}: values NaN or infinite, in utterances"
            self.findings.add(problem, id, "replaced by 0")
        return rows

    def sentiment(self, value: float, id: str) -> float | None:
        """The label; None for NaN, which is told and leaves the utterance out.

        Raises:
            DataError: outside of [-3, 3].
        """
        if np.isnan(value):
            return self.leave_out("without label", id)
        if not -3 <= value <= 3:
            raise DataError(
                f"{self.findings.source}: {id}: sentiment {value:g} is not in [-3, 3]; "
                "take a file whose labels are the published ones"
            )
        return float(value)

    def video(self, id: str) -> str:
        """The video of an utterance: "abc$_$3" and "abc[3]" -> "abc". An id of another form
        counts as a video of its own, and is told."""
        if "$_$" in id:
            return id.partition("$_$")[0]
        if match := SEGMENT.fullmatch(id):
            return match["video"]
        remedy = "each counts as a video, so that a video in two parts is not noticed"
        self.findings.add("id that names no video", id, remedy)
        return id


def spoken(token: str) -> bool:
    """Whether a token is a word, not the aligner's mark of a pause."""
    return token.strip() not in ("", "sp")
