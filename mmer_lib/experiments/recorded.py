"""Tables from recorded runs: what `experiments.run_table` gives, without training anything.

The results lie in one folder, one JSON file a run (`runs.read_results`). Which of them belong to a
row is decided by the configuration and the settings that they hold, not by their names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import Row, Table
from mmer_lib.experiments.statistics import paired_test
from mmer_lib.experiments.tables import DEMO_FOLDS, assemble, line_of
from mmer_lib.models.registry import model_class
from mmer_lib.training.runs import read_results
from mmer_lib.training.settings import PRESETS

_MEASURED = ("words", "audio", "vision", "bands", "cls", "phonemes", "classes")
"""Fields of a configuration that follow from the corpus."""


def recorded_table(
    table: Table,
    folder: str | Path,
    corpus: str = "demo",
    preset: str = "fast",
    folds: Sequence[int] = DEMO_FOLDS,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict:
    """A table of the runs that are recorded, like one of `experiments.run_table`; a row whose
    `n` is below its `planned` is not complete.

    Args:
        table: one of `catalogue.TABLES`, or another. folder: of the recorded results.
        preset: the rows are what they say on top of this preset, as it is now.
        folds, seeds: the runs that a row should have; others are left out.

    Raises:
        DataError: no results of this corpus; a run that is recorded twice; runs on different
            versions of the corpus.
    """
    found = read_results(folder, data=corpus, preset=preset)
    rows, keys, synthetic = [], set(), False
    for row in table.rows:
        runs: dict[tuple[int, int], dict] = {}
        for result in found if row.model else ():
            pair = result["fold"], result["seed"]
            if pair[0] in folds and pair[1] in seeds and belongs(result, row, preset):
                if pair in runs:
                    raise DataError(f"{folder}: recorded twice: {result['command']}")
                runs[pair] = line_of(result, result["command"], table.scores)
                keys.add(result["data_key"])
                synthetic = result["synthetic"]
        planned = len(folds) * len(seeds) if row.model else 0
        rows.append({**asdict(row), "planned": planned, "runs": list(runs.values())})
    if len(keys) > 1:
        raise DataError(f"{folder}: runs of {table.name} on {len(keys)} versions of {corpus}")
    return assemble(
        table,
        rows,
        corpus=corpus,
        synthetic=synthetic,
        data_key=next(iter(keys), None),
        preset=preset,
        folds=list(folds),
        seeds=list(seeds),
        changes={},
        command=f"mmer tables {table.name} --data {corpus} --preset {preset}",
    )


def belongs(result: dict, row: Row, preset: str) -> bool:
    """Whether a recorded result is a run of a row: same model, configuration and settings, up to
    the widths that follow from the corpus. A field that was not there when it was recorded counts
    as agreeing."""
    if result["model"] != row.model:
        return False
    options, settings = PRESETS[row.model][preset]
    config = asdict(model_class(row.model).config_class(**{**options, **row.options}))
    config = {k: v for k, v in config.items() if k not in _MEASURED}
    wanted = {"config": config, "settings": asdict(replace(settings, **row.settings))}
    return all(
        result[part].get(name, value) == value
        for part, fields in json.loads(json.dumps(wanted)).items()
        for name, value in fields.items()
    )


# ---------------------------------------------------------------------------------- for reading


def differences(table: dict, score: str = "wa") -> dict[str, list[float]]:
    """What each row differs by from the reference, one number a pair of runs of the same fold and
    seed, by fold and seed; rows without such pairs are left out, and those that are the very runs
    of the reference."""
    rows = {row["label"]: {r["run"]: r for r in row["runs"]} for row in table["rows"]}
    base, made = rows[table["reference"]], {}
    scores = {(r["fold"], r["seed"]): r[score] for r in base.values()}
    for label, runs in rows.items():
        own = {(r["fold"], r["seed"]): r[score] for r in runs.values()}
        shared = [k for k in sorted(own.keys() & scores.keys()) if None not in (own[k], scores[k])]
        if shared and runs.keys() != base.keys():
            made[label] = [own[k] - scores[k] for k in shared]
    return made


def claim(table: dict, better: str, worse: str, score: str = "wa") -> dict:
    """What a claim that one row of a table is better than another comes to.

    Returns:
        `paper`, the paper's difference (None where it prints none); `pairs`, their number, and
        from two pairs on `difference` (mean), `ahead` (pairs in which `better` is ahead), `p` of
        `paired_test`, and `least`, the smallest p that so many pairs can give.
    """
    rows = {row["label"]: row for row in table["rows"]}
    ours = {**table, "reference": worse, "rows": [rows[better], rows[worse]]}
    each = differences(ours, score).get(better, [])
    printed = [rows[label]["paper"].get(score) for label in (better, worse)]
    made = {"paper": None if None in printed else printed[0] - printed[1], "pairs": len(each)}
    if len(each) > 1:
        difference, p = paired_test(each, [0.0] * len(each))
        ahead = sum(d > 0 for d in each)
        made |= {"difference": difference, "ahead": ahead, "p": p, "least": 2 / 2 ** len(each)}
    return made


def as_frame(table: dict, score: str = "wa"):
    """A table for a notebook: a DataFrame of strings, ours and the paper's figures under headings
    of their own, with spaces that do not break. Ours: mean ± standard deviation over runs, and the
    difference from the reference with its p, before and after Holm's correction over the rows."""
    import pandas as pd

    name, lines = score.upper(), {}
    ours = f"ours: {table['corpus']}" + (" (synthetic)" if table["synthetic"] else "")
    paper = f"{'published' if 'tuning' in table else 'the paper'}: {table['paper_corpus']}"
    for row in table["rows"]:
        cell = row[score]
        told = {key: _number(cell[key], "+.3f" if key == "difference" else ".3f")
                for key in ("difference", "p", "p_holm")}  # fmt: skip
        if row["label"] == table["reference"]:
            told["difference"] = "(reference)"
        label = row["label"].replace(" / ", "\u00a0/\u00a0")  # depths
        lines[label] = {
            (ours, "runs"): f"{row['n']}/{row['planned']}" if row["planned"] else "",
            (ours, name): _spread(cell["mean"], cell["std"]),
            (ours, "difference"): told["difference"],
            (ours, "p"): told["p"],
            (ours, "p, Holm"): told["p_holm"],
            (paper, name): _spread(cell["paper"], cell["paper_std"]),
        }
    frame = pd.DataFrame.from_dict(lines, orient="index")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    printed = any(row[score]["paper"] is not None for row in table["rows"])
    return frame if printed else frame[ours]


def cost_frame(table: dict):
    """Scores, and what systems cost, of a comparison (`compare.compare`) for a notebook: a
    DataFrame of strings, a row a system."""
    import pandas as pd

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


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _spread(mean: float | None, std: float | None) -> str:
    return _number(mean, ".3f") + ("" if std is None else f"\u00a0±\u00a0{std:.3f}")
