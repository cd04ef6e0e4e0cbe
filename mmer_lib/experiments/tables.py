"""Tables of runs: recorded or just trained, ours beside the papers', and what separates the rows.

Runs are lines of `*.jsonl`, read as one pandas frame. A table is a dictionary, as in its JSON file:
`rows`, each with its `runs`, and what they have in common. Nothing here trains.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.statistics import EXACT, holm, paired_test
from mmer_lib.models.registry import model_class
from mmer_lib.store import write_bytes, write_json
from mmer_lib.training.settings import preset_with

DEMO_FOLDS = (0, 1)
"""Folds of a table on a synthetic corpus, where none are named: two, to be done in an evening."""

# fields of a configuration that follow from the corpus
_MEASURED = ("words", "audio", "vision", "bands", "cls", "phonemes", "classes")
# what a table keeps of a run, beside its scores
_KEPT = ("seconds", "epochs", "parameters", "device", "threads", "time", "git", "source", "command")

# --------------------------------------------------------------------------------------- runs


def read_runs(folder: str | Path, **where) -> pd.DataFrame:
    """The recorded runs of a folder's `*.jsonl` whose fields have the given values, by fold and
    seed: what `result.json` holds, and every score and measure besides. A line that stands in
    several files counts once. A DataError where there is none."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.jsonl")))
    lines = dict.fromkeys(line for text in texts for line in text.splitlines())
    results = map(json.loads, lines)
    results = [r for r in results if all(r.get(k) == v for k, v in where.items())]
    if not results:
        raise DataError(f"{folder}: no recorded result with {where}")
    results.sort(key=lambda result: (result["fold"], result["seed"]))
    scores = [{**result.get("measures", {}), **result["test"]} for result in results]
    return pd.concat([pd.DataFrame(results), pd.DataFrame(scores)], axis=1)


def write_runs(path: str | Path, results: Sequence[dict]) -> None:
    """Write results of runs as `read_runs` reads them, one a line."""
    lines = [json.dumps(result, ensure_ascii=False) + "\n" for result in results]
    write_bytes(Path(path), "".join(lines).encode())


def runs_of_row(runs: pd.DataFrame, row: Row, preset: str) -> pd.DataFrame:
    """Those of some recorded runs that belong to a row of a table: same model, configuration and
    settings, up to the widths that follow from the corpus. A field that was not there when a run
    was recorded had its default."""
    cls = model_class(row.model).config_class
    options, settings = preset_with(row.model, preset, row.changes)
    config, usual = asdict(cls(**options)), json.loads(json.dumps(asdict(cls())))
    wanted = json.loads(json.dumps({**config, **asdict(settings)}))
    wanted = {k: v for k, v in wanted.items() if k not in _MEASURED}
    runs = runs[runs.model == row.model]
    recorded = [{**c, **s} for c, s in zip(runs.config, runs.settings, strict=True)]
    return runs[
        [all(own.get(k, usual.get(k, v)) == v for k, v in wanted.items()) for own in recorded]
    ]


def recorded_table(
    table: Table,
    folder: str | Path,
    corpus: str = "demo",
    preset: str = "fast",
    folds: Sequence[int] = DEMO_FOLDS,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict:
    """A table of the runs that are recorded for these folds and seeds, like one of
    `sweep.run_table`; a row whose `n` is below its `planned` is not complete. A DataError where
    there are no runs of this corpus, one twice, or some on different versions of the corpus."""
    runs = read_runs(folder, data=corpus, preset=preset)
    runs = runs[runs.fold.isin(folds) & runs.seed.isin(seeds)].assign(run=lambda x: x.command)
    found = {row.label: runs_of_row(runs, row, preset) for row in table.rows if row.model}
    if any(own.duplicated(["fold", "seed"]).any() for own in found.values()):
        raise DataError(f"{folder}: a run of {table.name} is recorded twice")
    own = pd.concat(found).astype(object)
    own, keys = own.where(own.notna(), None), own.data_key.unique()
    if len(keys) > 1:
        raise DataError(f"{folder}: runs of {table.name} on {len(keys)} versions of {corpus}")
    return assemble(
        table,
        {label: rows.to_dict("records") for label, rows in own.groupby(level=0)},
        len(folds) * len(seeds),
        corpus=corpus,
        synthetic=bool(own.synthetic.any()),
        data_key=next(iter(keys), None),
        preset=preset,
        folds=list(folds),
        seeds=list(seeds),
        changes={},
        command=f"mmer tables {table.name} --data {corpus} --preset {preset}",
    )


# ------------------------------------------------------------------------------------- tables


def assemble(table: Table, runs: dict[str, list[dict]], planned: int, **about) -> dict:
    """A table of the results of some runs, by the label of their row, with `run`, a run's name; a
    row of ours should have `planned`. `about` is what they have in common: corpus, synthetic,
    data_key, preset, folds, seeds, changes, command."""
    columns = ["run", "fold", "seed", *table.scores, *_KEPT]
    rows = []
    for row in table.rows:
        own = ({**r, **(r.get("measures") or {}), **r["test"]} for r in runs.get(row.label, ()))
        lines = [{name: run.get(name) for name in columns} for run in own]
        rows.append({**asdict(row), "planned": planned if row.model else 0, "runs": lines})
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


def aggregate(
    rows: Sequence[dict], reference: str, scores: Sequence[str], tested: Sequence[str]
) -> list[dict]:
    """Rows with `n` (their runs) and, for each score, a dictionary: `mean` and `std` (n - 1) over
    all runs; `paper` and `paper_std`; of those in `tested`, against the row `reference` over the
    runs of the same fold and seed, `difference` (mean), `pairs`, `p` of `paired_test`, and
    `p_holm`, corrected over the rows. None stands where there is nothing to say."""
    rows = [{**row, "n": len(row["runs"])} for row in rows]
    for score in scores:
        paired = _pairs(rows, reference, score)
        for row in rows:
            values, pairs = _scores_of(row, score), paired[row["label"]]
            row[score] = cell = {
                "mean": float(values.mean()) if len(values) else None,
                "std": float(values.std()) if len(values) > 1 else None,
                "paper": row["paper"].get(score),
                "paper_std": row["paper"].get(f"{score}_std"),
                **dict.fromkeys(("difference", "pairs", "p", "p_holm")),
            }
            if score in tested and len(pairs):
                cell["pairs"] = len(pairs)
                if len(pairs) > 1:
                    cell["difference"], cell["p"] = paired_test(pairs["own"], pairs["base"])
        correct([row[score] for row in rows])
    return rows


def correct(cells: Sequence[dict]) -> None:
    """Holm's correction of the `p` of some cells, as `p_holm`."""
    cells = [cell for cell in cells if cell.get("p") is not None]
    for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
        cell["p_holm"] = p


def _scores_of(row: dict, score: str) -> pd.Series:
    """A score of a row's runs, by fold and seed; undefined ones are left out."""
    runs = pd.DataFrame(row["runs"], columns=["fold", "seed", score])
    return runs.set_index(["fold", "seed"])[score].astype(float).dropna().sort_index()


def _pairs(rows: Sequence[dict], reference: str, score: str) -> dict[str, pd.DataFrame]:
    """By label, scores of a row and of the reference by fold and seed, "own" and "base"; none where
    they are the very same runs."""
    (base,) = (row for row in rows if row["label"] == reference)
    pairs = {}
    for row in rows:
        both = {"own": _scores_of(row, score), "base": _scores_of(base, score)}
        found = pd.concat(both, axis=1, join="inner").sort_index()
        pairs[row["label"]] = found[:0] if row["runs"] == base["runs"] else found
    return pairs


def differences(table: dict, score: str = "wa") -> dict[str, list[float]]:
    """What each row differs by from the reference, one number a pair of runs of the same fold and
    seed; rows without such pairs are left out, and those of the very same runs."""
    pairs = _pairs(table["rows"], table["reference"], score)
    return {label: (p["own"] - p["base"]).tolist() for label, p in pairs.items() if len(p)}


def claim(table: dict, better: str, worse: str, score: str = "wa") -> dict:
    """What a claim that one row of a table is better than another comes to.

    Returns:
        `paper`, the paper's difference (None where it prints none); `pairs`, their number, and
        from two pairs on `difference` (mean), `ahead` (pairs in which `better` is ahead), `p` of
        `paired_test`, and `least`, the smallest p that so many pairs can give.
    """
    rows = {row["label"]: row["paper"].get(score) for row in table["rows"]}
    paper = None if None in (rows[better], rows[worse]) else rows[better] - rows[worse]
    pairs = _pairs(table["rows"], worse, score)[better]
    made = {"paper": paper, "pairs": len(pairs)}
    if len(pairs) > 1:
        made["difference"], p = paired_test(pairs["own"], pairs["base"])
        ahead = int((pairs["own"] > pairs["base"]).sum())
        made |= {"ahead": ahead, "p": p, "least": 2 / 2 ** len(pairs)}
    return made


def runs_in(*tables: dict) -> pd.DataFrame:
    """The different runs of some tables, each with the label of its row."""
    rows = [row for table in tables for row in table["rows"]]
    runs = [{"label": row["label"], **run} for row in rows for run in row["runs"]]
    return pd.DataFrame(runs).drop_duplicates("run", ignore_index=True)


# ------------------------------------------------------------------------------ saved tables


def table_file(folder: str | Path, table: dict) -> Path:
    """Where `save_table` writes a table."""
    return Path(folder) / f"{table['table']}-{table['corpus']}.json"


def save_table(table: dict, folder: str | Path) -> Path:
    """Write `TABLE-CORPUS.json` and, for reading, `.md`, each whole or not at all; the path of the
    first."""
    path = table_file(folder, table)
    write_json(path, table)
    write_bytes(path.with_suffix(".md"), as_text(table, markdown=True).encode() + b"\n")
    return path


def read_table(path: str | Path) -> dict:
    """A table that `save_table` wrote; a FileNotFoundError where there is none."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------- for reading

_TESTED = {
    "runs": "Difference: mean difference from {!r} over runs of the same fold and seed; none for "
    "the very same runs. p: two-sided sign-flip permutation test of it, before and after Holm's "
    "correction over the rows. Runs that share a fold share its test data, so p speaks of other "
    "seeds on these folds, not of other speakers.",
    "utterances": "Difference: mean difference from {!r}, the best of the table, over the "
    "utterances of the held-out parts, each the mean over seeds. p: two-sided sign-flip "
    "permutation test of it, before and after Holm's correction over the rows. It speaks of other "
    "utterances of these speakers, not of other speakers; that the best was chosen by these "
    "figures makes it look better than it is.",
}


def _notes(table: dict) -> list[str]:
    """What a reader must know to read the table, one sentence or two each."""
    cells = [row[score] for row in table["rows"] for score in table["scores"]]
    pairs = max((cell["pairs"] or 0 for cell in cells), default=0)
    printed = any(cell["paper"] is not None for cell in cells)
    first = "Ours: mean ± standard deviation (n - 1) over runs, each scored on its held-out part."
    if printed:
        first += " Published figures: as printed there."
    test = _TESTED[table.get("compared", "runs")].format(table["reference"])
    if 1 < pairs <= EXACT:
        test += f" With {pairs} pairs no p before the correction is below {2 / 2**pairs:.2g}."
    lines = [f"{first} {table['paper_note']}", test]
    if "measured" in table:
        grid, about = ", ".join(f"{rate:g}" for rate in table["tuning"]["grid"]), table["measured"]
        lines.append(
            f"Learning rate of each system: one of {grid}, by the development part of each fold. "
            f"MFLOPs: one utterance of {about['words']} words ({about['seconds_of_speech']:g} s of "
            f"speech), recurrent layers counted. Step: a training step of {about['batch_size']} "
            f"of them on {about['device']}, {about['threads']} thread(s), the systems in turn."
        )
    if table["synthetic"]:
        lines.append("Ours come from synthetic speech.")
        if printed:
            lines[-1] += (
                f" Published figures come from {table['paper_corpus']}: compare the order of the "
                "rows, never figure with figure."
            )
    missing = sum(row["planned"] - row["n"] for row in table["rows"])
    if missing:
        lines.append(f"Runs of a row that is not complete: made/planned; {missing} missing.")
    return lines


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else f"{value:{form}}"


def _p(value: float | None) -> str:
    return "<.001" if value is not None and value < 0.0005 else _number(value)


def _spread(mean: float | None, std: float | None) -> str:
    return _number(mean) + ("" if std is None else f"\u00a0±\u00a0{std:.3f}")


def _corpus(table: dict) -> str:
    return f"{table['corpus']} (synthetic)" if table["synthetic"] else table["corpus"]


def as_frame(table: dict, *scores: str) -> pd.DataFrame:
    """Scores of a table ("wa", where none is named) for a notebook: strings, with spaces that do
    not break. Ours: mean ± standard deviation over runs, and the difference from the reference
    with its p, before and after Holm's correction over the rows; the paper's under a heading of
    their own."""
    scores = scores or ("wa",)
    ours = f"ours: {_corpus(table)}"
    paper = f"{'published' if 'tuning' in table else 'the paper'}: {table['paper_corpus']}"
    lines = {}
    for row in table["rows"]:
        runs = f"{row['n']}/{row['planned']}" if row["planned"] else ""
        own, printed = {(ours, "runs"): runs}, {}
        for score in scores:
            cell, name = row[score], score.upper()
            own[ours, name] = _spread(cell["mean"], cell["std"])
            printed[paper, name] = _spread(cell["paper"], cell["paper_std"])
            if score in table["tested"]:
                of = f"{name} " if len(scores) > 1 else ""
                is_reference = row["label"] == table["reference"]
                difference = _number(cell["difference"], "+.3f")
                own[ours, f"{of}difference"] = "(reference)" if is_reference else difference
                own[ours, f"{of}p"] = _p(cell["p"])
                own[ours, f"{of}p, Holm"] = _p(cell["p_holm"])
        label = row["label"].replace(" / ", "\u00a0/\u00a0")  # depths
        lines[label] = {**own, **printed}
    frame = pd.DataFrame.from_dict(lines, orient="index")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    has_paper = any(row[score]["paper"] is not None for row in table["rows"] for score in scores)
    return frame if has_paper else frame[ours]


def cost_frame(table: dict) -> pd.DataFrame:
    """Scores, and what systems cost, of a comparison (`compare.compare`) for a notebook: strings,
    a row a system."""
    lines = {}
    for row in table["rows"]:
        cost = row["costs"]
        lines[row["label"]] = {
            **{score: _spread(row[score]["mean"], row[score]["std"]) for score in table["scores"]},
            "parameters": f"{1e6 * cost['params_m']:,.0f}",
            "MFLOPs": f"{cost['mflops']:,.2f}",
            "step, ms": f"{cost['step_ms']:,.0f}",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def as_text(table: dict, markdown: bool = False) -> str:
    """All of a table, for a terminal or as Markdown."""
    folds, seeds = ("{" + ", ".join(map(str, table[k])) + "}" for k in ("folds", "seeds"))
    changes = "".join(f", {k} {v}" for k, v in table["changes"].items())
    heading = (
        f"{table['title']} Ours on {_corpus(table)}, preset {table['preset']}{changes}, "
        f"folds {folds} x seeds {seeds}."
    )
    frames = [as_frame(table, *table["scores"])]
    if "measured" in table:
        frames.append(cost_frame(table).drop(columns=table["scores"]))
    frames = [_markdown(frame) if markdown else frame.to_string() for frame in frames]
    return "\n\n".join([heading, *frames, *_notes(table)]).replace("\u00a0", " ")


def _markdown(frame: pd.DataFrame) -> str:
    header = [name if isinstance(name, str) else ", ".join(name[::-1]) for name in frame]
    lines = [["", *header], ["---"] * (len(header) + 1), *frame.itertuples()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
