"""Tables of results: the papers' figures, ours beside them, and what separates the rows.

A table is a dictionary, which is what its JSON file holds: `rows`, each with its `runs`, and what
they have in common (see `experiments.run_table`, which makes one). Nothing here trains.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import Table
from mmer_lib.experiments.statistics import EXACT, holm, paired_test
from mmer_lib.store import write_bytes, write_json

# --------------------------------------------------------------------------- the papers' figures


# --------------------------------------------------------------------------------- statistics


def aggregate(
    rows: Sequence[dict],
    reference: str,
    scores: Sequence[str] = ("wa", "ua"),
    tested: Sequence[str] | None = None,
) -> list[dict]:
    """Rows with their statistics.

    Args:
        rows: each with `label`, `runs` (dictionaries with `run`, `fold`, `seed` and the scores)
            and `paper` (the paper's figures: "wa", "wa_std", ...).
        reference: label of the row that the others are compared with.
        scores: the scores to summarise. A run whose score is None (undefined) is left out of it.
        tested: those whose differences are tested; None: all.

    Returns:
        The rows, each with `n` (its runs) and, for each score, a dictionary: `mean` and `std`
        (n - 1) over all runs; `paper` and `paper_std`; `difference` (mean, from the reference),
        `pairs`, `p` and `p_holm` of `paired_test` over the runs of the same fold and seed. None
        stands where there is nothing to say: no runs, the reference itself, a row that is the
        very same runs, less than two pairs. Holm's correction is over the rows of one score.

    Runs that share a fold share its test data. So p speaks of other seeds on these folds; of
    other speakers it says nothing.
    """
    (base,) = (row for row in rows if row["label"] == reference)
    made = [{**row, "n": len(row["runs"])} for row in rows]
    for score in scores:
        for row in made:
            row[score] = _summary(row, base, score, tested is None or score in tested)
        cells = [row[score] for row in made if row[score]["p"] is not None]
        for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
            cell["p_holm"] = p
    return made


def _summary(row: dict, base: dict, score: str, tested: bool) -> dict:
    values = list(_by_pair(row, score).values())
    cell = {
        "mean": float(np.mean(values)) if values else None,
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "paper": row["paper"].get(score),
        "paper_std": row["paper"].get(f"{score}_std"),
        **dict.fromkeys(("difference", "pairs", "p", "p_holm")),
    }
    if tested and {r["run"] for r in row["runs"]} != {r["run"] for r in base["runs"]}:
        cell |= _compared(row, base, score)
    return cell


def _compared(row: dict, base: dict, score: str) -> dict:
    """`paired_test` of a row against another, where they have at least two pairs."""
    ours, theirs = _by_pair(row, score), _by_pair(base, score)
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2:
        return {"pairs": len(shared) if row["runs"] else None}
    difference, p = paired_test([ours[k] for k in shared], [theirs[k] for k in shared])
    return {"difference": difference, "pairs": len(shared), "p": p}


def _by_pair(row: dict, score: str) -> dict[tuple[int, int], float]:
    return {(r["fold"], r["seed"]): r[score] for r in row["runs"] if r[score] is not None}


def all_pairs(table: dict, score: str = "wa") -> list[dict]:
    """Every two rows of a table that have runs of their own, compared: `first`, `second`,
    `difference` (first - second), `pairs`, `p`, and `p_holm`, corrected over all of them.

    Rows that are the very same runs count once, under the first label.
    """
    rows: dict[frozenset, dict] = {}
    for row in table["rows"]:
        if row["runs"]:
            rows.setdefault(frozenset(r["run"] for r in row["runs"]), row)
    made = []
    for one, other in combinations(rows.values(), 2):
        compared = _compared(one, other, score)
        if "p" in compared:
            made.append({"first": one["label"], "second": other["label"], **compared})
    for pair, p in zip(made, holm([pair["p"] for pair in made]), strict=True):
        pair["p_holm"] = p
    return made


# ------------------------------------------------------------------------------ saved tables


def table_file(folder: str | Path, table: dict) -> Path:
    """Where `save_table` writes, and `read_table` reads, a table."""
    return Path(folder) / f"{table['table']}-{table['corpus']}.json"


def save_table(table: dict, folder: str | Path) -> Path:
    """Write `TABLE-CORPUS.json`, `.csv` and `.md`, each whole or not at all; the path of the
    first, which alone holds every run."""
    path = table_file(folder, table)
    rows = flat_rows(table)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path.with_suffix(".csv"), text.getvalue().encode())
    write_bytes(path.with_suffix(".md"), as_markdown(table).encode())
    write_json(path, table)
    return path


def read_table(path: str | Path) -> dict:
    """A table that `save_table` wrote.

    Raises:
        DataError: not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such table; `mmer tables` writes it")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({error}); run `mmer tables` again") from error
    if not isinstance(table, dict) or not {"table", "corpus", "rows"} <= table.keys():
        raise DataError(f"{path}: not a table of `mmer tables`")
    return table


def flat_rows(table: dict) -> list[dict]:
    """One flat dictionary a row: label, model, n, planned, then for each score "wa_mean",
    "wa_std", ..., and the paper's "wa_paper", "wa_paper_std". All have the same keys."""
    first = ("label", "group", "model", "n", "planned")
    return [
        {
            **{k: row[k] for k in first},
            **{f"{s}_{k}": v for s in table["scores"] for k, v in row[s].items()},
            **row.get("costs", {}),
        }
        for row in table["rows"]
    ]


def flat_runs(table: dict) -> list[dict]:
    """One flat dictionary a run: label of its row, fold, seed, scores, seconds, device, ..."""
    return [{"label": row["label"], **run} for row in table["rows"] for run in row["runs"]]


# ---------------------------------------------------------------------------------- for reading


_TESTED = {
    "runs": "diff: mean difference from {!r} over runs of the same fold and seed. "
    "p: two-sided sign-flip permutation test of it, with Holm's correction over the rows. "
    "Runs that share a fold share its test data, so p speaks of other seeds on these folds, "
    "not of other speakers.",
    "utterances": "diff: mean difference from {!r}, the best of the table, over the utterances of "
    "the held-out parts, each the mean over seeds. p: two-sided sign-flip permutation test of it, "
    "with Holm's correction over the rows. It speaks of other utterances of these speakers, not of "
    "other speakers; that the best was chosen by these figures makes it look better than it is.",
}
_COSTS = {"params_m": "M params", "mflops": "MFLOPs", "step_ms": "step ms"}


def heading(table: dict) -> str:
    """One line: which table, on which corpus, from how many runs a row."""
    folds, seeds = ("{" + ", ".join(map(str, table[k])) + "}" for k in ("folds", "seeds"))
    changes = "".join(f", {k} {v}" for k, v in table["changes"].items())
    return (
        f"{table['title']} Ours on {_corpus(table)}, preset {table['preset']}{changes}, "
        f"folds {folds} x seeds {seeds}."
    )


def _corpus(table: dict) -> str:
    return f"{table['corpus']} (synthetic)" if table["synthetic"] else table["corpus"]


def notes(table: dict) -> list[str]:
    """What a reader must know to read the table, one sentence or two each."""
    pairs = max((row[s]["pairs"] or 0 for row in table["rows"] for s in table["scores"]), default=0)
    printed = any(row[s]["paper"] is not None for row in table["rows"] for s in table["scores"])
    made = [
        "Ours: mean ± standard deviation (n - 1) over n runs, each scored on its held-out part. "
        + (f"{_printed(table).capitalize()}: as printed there. " if printed else "")
        + table["paper_note"],
        _TESTED[table.get("compared", "runs")].format(table["reference"]),
    ]
    if 1 < pairs <= EXACT:
        made[1] += f" With {pairs} pairs no p before the correction is below {2 / 2**pairs:.2g}."
    if "tuning" in table:
        grid = ", ".join(f"{rate:g}" for rate in table["tuning"]["grid"])
        made.append(f"Learning rate of each system: one of {grid}, by the development part of each "
                    "fold.")  # fmt: skip
    if "measured" in table:
        about = table["measured"]
        made.append(
            f"Million parameters; million operations for one utterance of {about['words']} words "
            f"({about['seconds_of_speech']:g} s of speech), recurrent layers counted; "
            f"milliseconds for a training step of {about['batch_size']} of them on "
            f"{about['device']}, {about['threads']} thread(s), the systems in turn."
        )
    if table["synthetic"]:
        made.append("Ours come from synthetic speech.")
        if printed:
            made[-1] += (
                f" {_printed(table).capitalize()} come from {table['paper_corpus']}: compare the "
                "order of the rows, never figure with figure."
            )
    missing = sum(row["planned"] - row["n"] for row in table["rows"])
    if missing:
        made.append(f"n of a row that is not complete stands as made/planned: {missing} missing.")
    if any(row["model"] is None for row in table["rows"]):
        made.append("Rows without runs of ours are published figures of other systems.")
    return made


def _cells(table: dict) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of strings, ours first, then the paper's."""
    names = [score.upper() for score in table["scores"]]
    header = ["", "n", *names]
    header += [f"{score.upper()} {what}" for score in table["tested"] for what in ("diff", "p")]
    header += [_COSTS[cost] for cost in _costs(table)]
    header += [f"{name} ({'published' if 'tuning' in table else 'paper'})" for name in names]
    body = []
    for row in table["rows"]:
        cells = [row[score] for score in table["scores"]]
        ours = [_spread(c["mean"], c["std"]) for c in cells]
        tests = [text for score in table["tested"] for text in _tested(row, table, row[score])]
        paper = [_spread(c["paper"], c["paper_std"]) for c in cells]
        cost = [f"{row['costs'][name]:.3g}" for name in _costs(table)]
        body.append([row["label"], _count(row), *ours, *tests, *cost, *paper])
    return header, body


def _printed(table: dict) -> str:
    """Whose figures stand beside ours."""
    return "published figures" if "tuning" in table else "the paper's figures"


def _costs(table: dict) -> list[str]:
    return list(_COSTS) if "measured" in table else []


def _count(row: dict) -> str:
    if row["model"] is None:
        return "-"
    return f"{row['n']}" if row["n"] == row["planned"] else f"{row['n']}/{row['planned']}"


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"


def _tested(row: dict, table: dict, cell: dict) -> tuple[str, str]:
    if row["label"] == table["reference"]:
        return "reference", ""
    if cell["mean"] is not None and cell["pairs"] is None:
        return "same runs", ""
    if cell["p_holm"] is None:
        return "-", "-"
    p = "<0.001" if cell["p_holm"] < 5e-4 else f"{cell['p_holm']:.3f}"
    return f"{cell['difference']:+.3f}", p


def as_text(table: dict) -> str:
    """The table for a terminal."""
    header, body = _cells(table)
    split = len(header) - len(table["scores"])
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return ("  ".join(padded[:split]) + "  |  " + "  ".join(padded[split:])).rstrip()

    over = [""] * len(header)
    over[2] = f"ours, {_corpus(table)}"
    over[split] = f"{_printed(table)}, {table['paper_corpus']}"
    gap = sum(widths[:2]) + 4
    left = " " * gap + over[2].ljust(sum(widths[2:split]) + 2 * (split - 3))
    lines = [heading(table), "", f"{left}  |  {over[split]}", line(header)]
    lines += [line(cells) for cells in body]
    return "\n".join([*lines, "", *notes(table)])


def as_markdown(table: dict) -> str:
    """The table as a Markdown file."""
    header, body = _cells(table)
    scores = len(table["scores"])
    ours = range(2, 2 + scores)
    titles = [f"{h}, {_corpus(table)}" if i in ours else h for i, h in enumerate(header)]
    rows = [titles, ["---"] * len(header), *body]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([heading(table), "", *lines, "", *(f"{note}\n" for note in notes(table))])


DEMO_FOLDS = (0, 1)
"""Folds of a table on a synthetic corpus, where none are named: two, to be done in an evening."""


_KEPT = ("seconds", "epochs", "parameters", "device", "threads", "time", "git", "source", "command")


def line_of(result: dict, run: str, scores: Sequence[str]) -> dict:
    """What a table keeps of a run, which `run` names."""
    found = {**result.get("measures", {}), **result["test"]}
    return {
        "run": run,
        "fold": result["fold"],
        "seed": result["seed"],
        **{score: found.get(score) for score in scores},
        **{name: result.get(name) for name in _KEPT},
    }


def assemble(table: Table, rows: Sequence[dict], **about) -> dict:
    """A table as `tables.read_table` gives it: `rows` with their `runs` (see `line_of`) and
    `planned` number of them, and what they have in common: corpus, synthetic, data_key, preset,
    folds, seeds, changes, command."""
    return {
        "table": table.name,
        "title": table.title,
        **about,
        "scores": list(table.scores),
        "tested": [score for score in table.tested if score in table.scores],
        "reference": table.reference,
        "paper_corpus": table.paper_corpus,
        "paper_note": table.paper_note,
        "rows": aggregate(rows, table.reference, table.scores, table.tested),
    }
