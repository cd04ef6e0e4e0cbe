"""The set-up: one set of pins, an import that loads little and asks nothing, a whole wheel."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = PROJECT["dependencies"] + [pin for extra in EXTRAS.values() for pin in extra]
# What torch brings for a graphics card differs between machines, so the lock leaves it out.
CARD = re.compile(r"^(nvidia|cuda|triton)")


def lock():
    """Both locks as {name: version}."""
    lines = [line for file in sorted(ROOT.glob("*.lock")) for line in file.read_text().splitlines()]
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_lock_holds_exact_versions_only():
    for line in [x for file in ROOT.glob("*.lock") for x in file.read_text().splitlines()]:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
    assert not [name for name in lock() if CARD.match(name)]


@pytest.mark.parametrize("pin", PINS)
def test_each_pin_is_exact_and_locked(pin):
    name, version = pin.split("==")
    assert lock()[canonicalize_name(name)] == version, "pyproject.toml changed: run make lock"


def test_the_core_is_what_a_model_computes_with_and_conda_reads_the_same_pins():
    core = {Requirement(pin).name for pin in PROJECT["dependencies"]}
    assert core == {"torch", "numpy", "huggingface-hub", "safetensors"}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.lock", "-e ."]}


def test_lock_is_complete():
    """Whatever the pins need, directly or not, is in the lock."""
    locked, todo, seen = lock(), [Requirement(pin) for pin in PINS], set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen or CARD.match(name):
            continue
        seen.add((name, frozenset(wanted.extras)))
        assert name in locked, f"{name} is needed and not locked: run make lock"
        for text in metadata.requires(name) or []:
            inner = Requirement(text)
            marks = [{"extra": extra} for extra in ("", *wanted.extras)]
            if inner.marker is None or any(inner.marker.evaluate(mark) for mark in marks):
                todo.append(inner)


def imported(folder):
    """The outside packages that the code in a folder imports, at its top or inside a function."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module.split(".")[0]


def test_every_import_is_declared():
    owners = metadata.packages_distributions()
    outside = set(imported("mmer_lib")) - sys.stdlib_module_names - {"mmer_lib"}
    declared = {canonicalize_name(Requirement(pin).name) for pin in PINS}
    for module in sorted(outside):
        names = {canonicalize_name(name) for name in owners.get(module, [module])}
        assert names & declared, f"mmer_lib imports {module}; pyproject.toml does not name it"


LOADED = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network was asked at import")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import {module}
files = [m for m, loaded in sys.modules.items() if m.startswith("mmer_lib")
         and (getattr(loaded, "__file__", None) or "").endswith(".py")
         and open(loaded.__file__).read().strip()]
print(json.dumps([files, [m for m in sys.modules if "." not in m]]))
"""


@pytest.mark.parametrize(
    ("module", "most", "absent"),
    [
        ("mmer_lib", 1, {"torch", "numpy", "pandas", "transformers", "matplotlib"}),
        ("mmer_lib.cli", 3, {"torch", "pandas", "transformers", "matplotlib"}),
        ("mmer_lib.models.mimic", 6, {"accelerate", "transformers", "pandas", "scipy", "sklearn"}),
        ("mmer_lib.models.muse", 7, {"accelerate", "transformers", "pandas", "scipy", "sklearn"}),
        ("mmer_lib.features.extract", 11, {"torch", "transformers", "nltk", "g2p_en", "scipy"}),
        ("mmer_lib.training.fit", 99, {"lightning", "transformers", "matplotlib", "scipy"}),
    ],
)
def test_an_import_is_light_and_asks_nothing_of_the_network(module, most, absent):
    """Files of ours that are not empty, and the packages of others."""
    done = run(LOADED.format(module=module))
    assert done.returncode == 0, done.stderr
    files, packages = json.loads(done.stdout)
    assert len(files) <= most, files
    assert not absent & set(packages)


def test_wheel_carries_its_data_and_all_package_files(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    done = subprocess.run([*command, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("mmer-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        recipe = archive.read("mmer_lib/corpora/demo/recipe.yaml")
        sums = archive.read("mmer_lib/corpora/demo/checksums.json")
        for table in (ROOT / "data/paper").glob("*.csv"):
            assert archive.read(f"mmer_lib/paper/{table.name}") == table.read_bytes()
        archive.extractall(tmp_path / "installed")
        (entry,) = (name for name in held if name.endswith("entry_points.txt"))
        assert "mmer = mmer_lib.cli:main" in archive.read(entry).decode()
    assert recipe == (ROOT / "data/demo/recipe.yaml").read_bytes()
    assert sums == (ROOT / "data/demo/checksums.json").read_bytes()
    files = (p for p in (ROOT / "mmer_lib").rglob("*") if p.is_file() and p.suffix != ".pyc")
    assert {str(p.relative_to(ROOT)) for p in files} <= held
    assert not [name for name in held if name.startswith(("tests/", "book/", "data/"))]
    code = (
        "import sys; sys.path.insert(0, 'installed'); import mmer_lib; print(mmer_lib.__file__); "
        "from mmer_lib.experiments.catalogue import paper_rows; print(len(paper_rows('muse-1')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    file, rows = done.stdout.split()
    assert "installed" in file and rows == "9", done.stderr


def test_citation_names_this_software_and_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    dois = {reference["doi"] for reference in citation["references"]}
    assert dois == {"10.20944/preprints202505.1230.v1", "10.20944/preprints202505.1219.v1"}
