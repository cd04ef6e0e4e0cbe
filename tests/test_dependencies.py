"""Licences, bill of materials and advisories: complete, and of the versions that are locked."""

import csv
import json
import re
import subprocess

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmarks import dependencies
from tests.test_setup import ROOT, lock

WORDS = (ROOT / "data/LICENCES.md").read_text(encoding="utf-8")
PLAIN = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|Unlicense|HPND|0BSD|Public Domain"
)
"""Licences that ask for no more than a notice."""


def licences():
    with (ROOT / "data/licences.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bill():
    return json.loads((ROOT / "data/sbom.cdx.json").read_text(encoding="utf-8"))


def test_the_licence_of_every_locked_version_is_listed():
    found = {row["package"]: row["version"] for row in licences()}
    assert found == lock(), "requirements.lock changed: run make licences"
    assert [row["package"] for row in licences()] == sorted(found)
    assert all(row["licence"] for row in licences())


def test_what_is_copyleft_or_not_declared_is_explained():
    for row in licences():
        copyleft = re.search(r"GPL|GNU|MPL|Mozilla|EPL|CDDL|EUPL", row["licence"])
        if copyleft or not PLAIN.search(row["licence"]):
            name = row["package"]
            assert re.search(rf"`{name}`", WORDS, re.IGNORECASE), f"{name}: {row['licence']}"


def test_the_packages_that_are_explained_are_locked():
    first = re.findall(r"^\| (`[^|]*`[^|]*) \|", WORDS, re.MULTILINE)
    named = {canonicalize_name(name) for cell in first for name in re.findall(r"`([\w-]+)`", cell)}
    assert len(named) > 10 and named <= set(lock())


def test_the_bill_of_materials_is_the_lock():
    document, locked = bill(), lock()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    found = {canonicalize_name(p["name"]): p["version"] for p in document["components"]}
    assert found == locked, "requirements.lock changed: run make sbom"
    refs = {p["bom-ref"] for p in document["components"]} | {"root-component"}
    assert refs == {d["ref"] for d in document["dependencies"]}
    assert all(set(d["dependsOn"]) <= refs for d in document["dependencies"])


def test_nothing_in_it_differs_from_day_to_day_or_names_a_place():
    text = (ROOT / "data/sbom.cdx.json").read_text(encoding="utf-8")
    assert not {"serialNumber"} & set(bill()) and "timestamp" not in bill()["metadata"]
    assert re.findall(r"https?://[^\"]*", text) == [
        "http://cyclonedx.org/schema/bom-1.6.schema.json"
    ]
    assert not re.search(r"\+cpu|%2B|\"/", text)


def test_other_packages_local_versions_and_links_are_left_out(monkeypatch):
    monkeypatch.setattr(dependencies, "locked", lambda: {"torch": "2.0", "a-b": "1"})
    link = {"type": "website", "url": "https://example.org"}
    part = {"type": "library", "externalReferences": [link], "description": "words"}

    def package(name, version):
        purl = f"pkg:pypi/{name}@{version}".replace("+", "%2B")
        return {"bom-ref": f"{name}=={version}", "name": name, "version": version, "purl": purl}

    packages = package("torch", "2.0+cpu"), package("A_B", "1"), package("other", "3")
    needs = [{"ref": "root", "dependsOn": ["torch==2.0+cpu", "other==3"]}]
    given = {
        "metadata": {"component": {"bom-ref": "root", "name": "mine", **part}},
        "components": [each | part for each in packages],
        "dependencies": [*needs, {"ref": "torch==2.0+cpu"}, {"ref": "other==3"}],
    }
    made = dependencies.sbom(json.dumps(given))
    torch, other = made["components"]
    assert (torch["version"], torch["purl"]) == ("2.0", "pkg:pypi/torch@2.0")
    assert other["name"] == "A_B"
    needs = {d["ref"]: d["dependsOn"] for d in made["dependencies"]}
    assert needs == {"root": ["torch==2.0"], "torch==2.0": []}
    assert "example" not in json.dumps(made) and "words" not in json.dumps(made)
    listed = [
        {"Name": each["name"], "Version": each["version"], "License": "MIT"} for each in packages
    ]
    assert dependencies.licences(listed) == [("a-b", "1", "MIT"), ("torch", "2.0", "MIT")]


@pytest.mark.parametrize("version", ["0.9", "1.0", "1.4.9", "1.5", "2.0", "2.1", "2.1.1", "3.0rc1"])
def test_a_range_holds_from_where_it_begins_to_before_it_is_mended(version):
    ends = {"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.1"}
    events = [*ends, {"introduced": "3.0a1"}]
    inside = version not in ("0.9", "1.5", "2.1.1")
    assert dependencies.hit(Version(version), events) is inside
    assert dependencies.hit(Version(version), [{"introduced": "0"}]) is True


def cloned(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for call in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -qm x"):
        subprocess.run(["git", "-C", str(folder), *call.split()], check=True)
    return folder


def test_an_advisory_on_a_locked_version_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(dependencies, "locked", lambda: {"some-thing": "2.0", "other": "1.0"})
    entry = (
        "id: P-{0}\naffected:\n- ranges:\n  - type: ECOSYSTEM\n    events:\n"
        "    - introduced: '0'\n    - fixed: '{1}'\n  versions: ['{2}']\n{3}"
    )
    entries = (
        ("Some_Thing", "2.1", "0.1", ""),
        ("Some_Thing", "1.9", "2.0", ""),
        ("Some_Thing", "2.0", "0.1", ""),
        ("Some_Thing", "9", "0.1", "withdrawn: '2023'\n"),
        ("unknown", "9", "1", ""),
    )
    files = {
        f"vulns/{name}/{i}.yaml": entry.format(i, *more)
        for i, (name, *more) in enumerate(entries, 1)
    }
    osv = cloned(tmp_path / "osv", files)
    found = dependencies.advisories(osv)
    assert found["affected"] == ["P-1: some-thing 2.0", "P-2: some-thing 2.0"]
    assert (found["advisories"], found["on_locked"], found["packages"]) == (5, 3, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"]) and found["revision"]
    entries = {"$meta": {"timestamp": 1}, "other": ["<1.0", ">=1,<1.2"], "unknown": ["<9"]}
    safety = cloned(tmp_path / "safety", {"data/insecure.json": json.dumps(entries)})
    found = dependencies.advisories(safety)
    assert found["affected"] == ["other 1.0: >=1,<1.2"]
    assert (found["advisories"], found["on_locked"], found["packages"]) == (3, 2, 1)
