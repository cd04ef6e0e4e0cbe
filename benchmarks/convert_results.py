"""From one JSON file a run (`data/results/*.json`) to one JSON-lines file a table, and the proof
that no number changes.

    python convert_results.py dump OLD.json       # with the former library, in the former tree
    python convert_results.py convert             # in this tree
    python convert_results.py dump NEW.json       # with this library, in this tree
    python convert_results.py compare OLD.json NEW.json
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

FOLDER = Path("data/results")
MOVED = {
    "muse": ("align", "ideal"),
    "muse-multigranular": ("align", "ideal", "embedding"),
    "mimic": ("contrastive", "temperature", "difference"),
    "misa": ("similarity", "difference", "reconstruction"),
}
WEIGHTS = ("align", "ideal", "embedding", "contrastive", "temperature", "similarity", "difference",
           "reconstruction")  # fmt: skip
UNUSED = {"align": 0.0, "ideal": "diagonal", "embedding": 0.0, "contrastive": 0.0,
          "temperature": 0.1, "similarity": 0.0, "difference": 0.0, "reconstruction": 0.0}  # fmt: skip
TRACED = ("mimic-2", "mimic-parts", "mimic-dynamics")


def moved(result: dict) -> dict:
    """The losses' weights from the settings to the configuration."""
    settings, config = dict(result["settings"]), dict(result["config"])
    for name in WEIGHTS:
        if name not in settings:
            continue
        value = settings.pop(name)
        if name in MOVED.get(result["model"], ()):
            config[name] = value
        else:
            assert value == UNUSED[name], (result["command"], name, value)
    return {**result, "settings": settings, "config": config}


def convert() -> None:
    """Each run into the file of the first table that has a row for it."""
    from mmer_lib.experiments.catalogue import TABLES
    from mmer_lib.experiments.tables import run_frame, runs_of_row

    replayed = json.loads((FOLDER / "explorer" / "mimic-replay.json").read_text())
    replayed = {one["command"] for one in replayed["trainings"].values()}
    files: dict[str, list] = {}
    for path in sorted(FOLDER.glob("*.json")):
        old = json.loads(path.read_text())
        new = moved(old)
        demo, frame = old["data"] == "demo", run_frame([new])
        places = [
            name
            for name, table in TABLES.items()
            if any(
                demo and row.model and len(runs_of_row(frame, row, old["preset"]))
                for row in table.rows
            )
        ]
        where = places[0] if places else {"mosi": "mosi-text", "demo": "li-longer"}[old["data"]]
        if new["command"] not in replayed:
            new.pop("history")
        if not set(places) & set(TRACED):
            new.pop("trace", None)
        files.setdefault(where, []).append(new)
        path.unlink()
    for name, runs in files.items():
        runs.sort(key=lambda r: (r["model"], r["fold"], r["seed"], r["command"]))
        lines = [json.dumps(run, ensure_ascii=False) + "\n" for run in runs]
        (FOLDER / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    for path in (FOLDER / "tables").glob("*.json"):
        table = json.loads(path.read_text())
        for row in table["rows"]:
            row["changes"] = {**row.pop("options"), **row.pop("settings")}
        path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(Counter({name: len(runs) for name, runs in files.items()}))


def told(table: dict, f) -> dict:
    """Every number of a table that a chapter can show."""
    rows = [
        {k: row[k] for k in ("label", "model", "n", "planned", "runs", "paper", *table["scores"])}
        | {"costs": row.get("costs")}
        for row in table["rows"]
    ]
    made = {"rows": rows, "tested": table["tested"], "reference": table["reference"]}
    for score in table["scores"]:
        made[f"differences {score}"] = f["differences"](table, score)
        made[f"frame {score}"] = json.loads(f["as_frame"](table, score).to_json(orient="split"))
        labels = [row["label"] for row in table["rows"]]
        if len(labels) < 15:
            made[f"claims {score}"] = {
                f"{a} / {b}": f["claim"](table, a, b, score)
                for a in labels for b in labels if a != b
            }  # fmt: skip
    return made


def dump(target: str) -> None:
    new = Path("mmer_lib/experiments").is_dir()
    if new:
        from mmer_lib.experiments import tables as module
        from mmer_lib.experiments.catalogue import TABLES, table_for
        from mmer_lib.experiments.tables import read_runs, read_table, runs_of_row

        def results(**where):
            return read_runs(FOLDER, **where).to_dict("records")

        def of_row(row):
            frame = read_runs(FOLDER, data="demo", preset="fast")
            return runs_of_row(frame, row, "fast").to_dict("records")
    else:
        from mmer_lib import recorded as module
        from mmer_lib.catalogue import TABLES, table_for
        from mmer_lib.recorded import belongs
        from mmer_lib.runs import read_results as results
        from mmer_lib.tables import read_table

        def of_row(row):
            everything = results(data="demo", preset="fast")
            return [r for r in everything if belongs(r, row, "fast")]

        base = results

        def results(**where):
            return base(FOLDER, **where)

    f = {name: getattr(module, name) for name in ("differences", "claim", "as_frame")}
    recorded, made = module.recorded_table, {}
    ten = {"folds": (0,), "seeds": range(10)}
    for name, table in TABLES.items():
        made[name] = told(recorded(table, FOLDER), f)
    made["mimic-1 mosi"] = told(recorded(table_for("mimic-1", "mosi"), FOLDER), f)
    asked = replace(TABLES["mimic-2"], scores=("mae", "corr"), tested=("mae", "corr"))
    kinds = [
        f"{k} {p}" for k in ("i", "i_low") for p in ("text-audio", "audio-vision", "text-vision")
    ]
    cosines = replace(TABLES["mimic-parts"], scores=tuple(kinds), tested=())
    for label, table, how in (
        ("mimic-2 ten", TABLES["mimic-2"], ten),
        ("mimic-3 ten", TABLES["mimic-3"], ten),
        ("scores ten", asked, ten),
        ("scores fold 1", asked, {"folds": (1,), "seeds": range(3)}),
        ("cosines", cosines, {}),
    ):
        made[label] = told(recorded(table, FOLDER, **how), f)
    for name in ("mimic-2", "mimic-parts", "mimic-dynamics"):
        made[f"traces {name}"] = {
            row.label: [
                [r["fold"], r["seed"], r["epochs"], r["device"], r["test"], r["measures"], r["trace"]]
                for r in of_row(row) if isinstance(r.get("trace"), dict)
            ]
            for row in TABLES[name].rows
        }  # fmt: skip
    keys = ("command", "fold", "seed", "preset", "model", "data", "synthetic", "test", "measures",
            "dev", "device", "threads", "git", "source", "time", "seconds", "epochs", "best_epoch",
            "parameters", "sizes", "versions", "data_key", "features_key", "emotions")  # fmt: skip
    every = [r for r in results()]
    made["runs"] = sorted(
        ([{k: None if isinstance(r.get(k), float) and r[k] != r[k] else r.get(k) for k in keys}
          | {"fields": {**r["config"], **r["settings"]}} for r in every]),
        key=lambda r: (r["command"], r["time"]),
    )  # fmt: skip
    for path in sorted((FOLDER / "tables").glob("*.json")):
        table = read_table(path)
        made[path.name] = told(table, f)
        made[path.name]["costs"] = json.loads(module.cost_frame(table).to_json(orient="split"))
        made[path.name]["tuning"] = table["tuning"]
    Path(target).write_text(json.dumps(made), encoding="utf-8")


def compare(one: str, other: str) -> None:
    a, b = (json.loads(Path(name).read_text(encoding="utf-8")) for name in (one, other))
    counted = Counter()

    def walk(x, y, where):
        if isinstance(x, dict) and isinstance(y, dict):
            if where.endswith("/fields"):  # unused weights went
                x = {k: v for k, v in x.items() if k in y or v != UNUSED.get(k)}
            assert x.keys() == y.keys(), (where, x.keys() ^ y.keys())
            for key in x:
                walk(x[key], y[key], f"{where}/{key}")
        elif isinstance(x, list) and isinstance(y, list):
            assert len(x) == len(y), (where, len(x), len(y))
            for i, pair in enumerate(zip(x, y, strict=True)):
                walk(*pair, f"{where}/{i}")
        else:
            counted["number" if isinstance(x, int | float) else "other"] += 1
            assert x == y, (where, x, y)

    walk(a, b, "")
    print(f"the same: {dict(counted)}")


if __name__ == "__main__":
    {"dump": dump, "convert": convert, "compare": compare}[sys.argv[1]](*sys.argv[2:])
