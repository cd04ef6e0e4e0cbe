"""What the packages of `requirements*.lock` are: the two files that `make licences` and `make sbom`
write from their tools' output, and a look into a copy of an advisory database, for a machine that
does not reach the service which `make audit` asks.

    ... | python -m benchmarks.dependencies licences > data/licences.csv
    ... | python -m benchmarks.dependencies sbom > data/sbom.cdx.json
    python -m benchmarks.dependencies advisories FOLDER ...

A FOLDER is a clone of github.com/pypa/advisory-database (CC BY 4.0), or of
github.com/pyupio/safety-db (CC BY-NC-SA 4.0: not for commercial use). An advisory that was written
after the clone, or that the database lacks, cannot be found.
"""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "advisories.json"


def locked() -> dict[str, str]:
    """Versions by canonical name, of both files."""
    files = (ROOT / name for name in ("requirements.lock", "requirements-no-deps.lock"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def public(version: str) -> str:
    """Without the local part, by which a build for CPUs alone is marked."""
    return version.partition("+")[0]


def licences(found: list[dict]) -> list[tuple[str, str, str]]:
    """(name, version, licence) of the locked packages, by name, from the JSON of pip-licenses."""
    lock = locked()
    rows = [(canonicalize_name(p["Name"]), public(p["Version"]), p["License"]) for p in found]
    return sorted(row for row in rows if row[0] in lock)


def sbom(text: str) -> dict:
    """A CycloneDX document of cyclonedx-py without what differs between machines, packages that are
    not locked and local parts of versions, and without links and descriptions: some name a
    registry."""
    found = json.loads(re.sub(r"(\d)(\+|%2B)[a-z0-9.]+\"", r'\1"', text), object_hook=bare)
    lock, root = locked(), found["metadata"]["component"]["bom-ref"]
    parts = [p for p in found["components"] if canonicalize_name(p["name"]) in lock]
    kept = {root, *(part["bom-ref"] for part in parts)}
    needed = [d for d in found["dependencies"] if d["ref"] in kept]
    for line in needed:
        line["dependsOn"] = [ref for ref in line.get("dependsOn", []) if ref in kept]
    return {**found, "components": parts, "dependencies": needed}


def bare(part: dict) -> dict:
    return {k: v for k, v in part.items() if k not in ("externalReferences", "description")}


def hit(version: Version, events: list[dict]) -> bool:
    """Whether a range of the OSV format holds a version."""
    inside = False
    pairs = [(Version(at), kind) for event in events for kind, at in event.items()]
    for at, kind in sorted(pairs):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def osv_entries(folder: Path) -> Iterator[tuple[str, str, list[dict]]]:
    """(advisory, package, what it affects) of the advisories on locked packages that stand."""
    lock = locked()
    for path in sorted(folder.glob("vulns/*/*.yaml")):
        if canonicalize_name(path.parent.name) in lock:
            entry = yaml.safe_load(path.read_text(encoding="utf-8"))
            if "withdrawn" not in entry:
                yield entry["id"], canonicalize_name(path.parent.name), entry["affected"]


def osv(folder: Path) -> dict:
    """What a clone of the PyPA's database says of the lock; see `advisories`."""
    lock, seen, bad = locked(), [], []
    for advisory, name, affected in osv_entries(folder):
        seen.append(name)
        for part in affected:
            ranges = [r["events"] for r in part.get("ranges", []) if r["type"] == "ECOSYSTEM"]
            listed = lock[name] in part.get("versions", [])
            if listed or any(hit(Version(lock[name]), events) for events in ranges):
                bad.append(f"{advisory}: {name} {lock[name]}")
    every = len(list(folder.glob("vulns/*/*.yaml")))
    return {
        "advisories": every,
        "on_locked": len(seen),
        "packages": len(set(seen)),
        "affected": bad,
    }


def safety(folder: Path) -> dict:
    """What a clone of Safety DB says of the lock; see `advisories`."""
    entries = json.loads((folder / "data" / "insecure.json").read_text(encoding="utf-8"))
    entries = {canonicalize_name(k): v for k, v in entries.items() if isinstance(v, list)}
    lock = {name: version for name, version in locked().items() if name in entries}
    bad = [
        f"{name} {version}: {spec}"
        for name, version in lock.items()
        for spec in entries[name]
        if SpecifierSet(spec).contains(version, prereleases=True)
    ]
    every, on_locked = sum(map(len, entries.values())), sum(len(entries[name]) for name in lock)
    return {"advisories": every, "on_locked": on_locked, "packages": len(lock), "affected": bad}


def advisories(folder: Path) -> dict:
    """What a clone of an advisory database says of the lock.

    Returns:
        revision, date: of the clone. advisories: in it. on_locked: that name a locked package, in
        any version. packages: how many of those. affected: those that name a locked version.
    """
    call = ["git", "-C", str(folder), "log", "-1", "--format=%h %cs"]
    revision, date = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    look = osv if (folder / "vulns").is_dir() else safety
    return {"database": look.__name__, "revision": revision, "date": date, **look(folder)}


def main(arguments: list[str]) -> None:
    what, *folders = arguments
    if what == "licences":
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [("package", "version", "licence"), *licences(json.load(sys.stdin))]
        )
    elif what == "sbom":
        print(json.dumps(sbom(sys.stdin.read()), indent=1, sort_keys=True))
    else:
        found = [advisories(Path(folder)) for folder in folders]
        OUTPUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
