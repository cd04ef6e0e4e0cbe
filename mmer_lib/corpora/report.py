"""What a corpus holds, for a terminal."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np

from mmer_lib.data import MODALITIES, Corpus

_FIELDS = {
    "text": "text",
    "words": "word times",
    "vectors": "vectors",
    "waveform": "sound",
    "frames": "frames",
    "audio": "audio",
    "vision": "vision",
}


def report(corpus: Corpus) -> str:
    """Counts per class and session, or part of the corpus's own split, what was left out, and
    which fields there are, with their widths; of the demo corpus, what could be reached at best."""
    return "\n".join(_demo(corpus) if corpus.name == "demo" else _counts(corpus))


def _counts(corpus: Corpus) -> list[str]:
    us, groups, what = corpus.utterances, corpus.sessions, "sessions"
    columns = dict(enumerate(u.session for u in us))
    if corpus.fixed is not None:
        groups, what = list(corpus.fixed._fields), "parts (its own split)"
        columns = {row: part for part in groups for row in getattr(corpus.fixed, part)}
    speakers = len({u.speaker for u in us})
    lines = [f"{corpus.name}: {len(us)} utterances of {speakers} speakers in {len(groups)} {what}"]
    lines += ["", f"{'':<10}" + "".join(f"{title:>10}" for title in [*groups, "all"])]
    for title in [*corpus.emotions, "all"]:
        rows = [row for row, u in enumerate(us) if title in ("all", u.emotion)]
        counts = Counter(columns.get(row) for row in rows)
        if rows:
            line = [*(counts[group] for group in groups), len(rows)]
            lines.append(f"{title:<10}" + "".join(f"{n:10d}" for n in line))
    left_out = corpus.extras.get("left_out", {})
    lines += ["", f"left out: {sum(left_out.values())}"]
    lines += [f"{n:6d}  {reason}" for reason, n in left_out.items()]
    lines += [f"mended: {n}  {holder}" for holder, n in corpus.extras.get("repaired", {}).items()]
    return [
        *lines,
        *(_field(name, [getattr(u, field) for u in us]) for field, name in _FIELDS.items()),
    ]


def _field(name: str, values: list) -> str:
    """How many utterances have a field, and how wide it is."""
    there = [value for value in values if value is not None]
    wide = f", {there[0].shape[-1]} columns" if there and isinstance(there[0], np.ndarray) else ""
    return f"{name}: {len(there) or 'none'} of {len(values)} utterances{wide}"


def _demo(corpus: Corpus) -> list[str]:
    from mmer_lib.corpora.demo.observer import observer

    lines = [
        f"{corpus.name}: {len(corpus.utterances)} synthetic utterances in "
        f"{len(corpus.sessions)} sessions, {corpus.extras['path']}",
        f"sha256 of sound, faces and times: {corpus.extras['sha256']}",
        "",
        "The best that an observer of these modalities could reach:",
        f"{'':<22}{'WA':>7}{'MAE':>7}{'Corr':>7}{'Acc-2':>7}{'Acc-7':>7}",
    ]
    for count in (1, 2, 3):
        for modalities in combinations(MODALITIES, count):
            s = observer(corpus.extras["recipe"], modalities).expected
            row = (s["wa"], s["mae"], s["corr"], s["acc2_non0"], s["acc7"])
            lines.append(f"{' + '.join(modalities):<22}" + "".join(f"{v:7.3f}" for v in row))
    return lines
