"""The floors of the house: which room may import which, measured from the imports themselves."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "data",
    "store",
    "pretrained",
    "corpora",
    "features",
    "models",
    "probes",
    "training",
    "experiments",
    "book",
    "cli",
)
"""A room imports only rooms to its left."""


def imported(file: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
        found |= {n for n in names if n.startswith("mmer_lib.")}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def test_a_room_imports_only_rooms_to_its_left():
    wrong = []
    for file in sorted((ROOT / "mmer_lib").rglob("*.py")):
        here = file.relative_to(ROOT).with_suffix("").parts
        if here[1] == "__init__":
            continue
        for module in imported(file):
            if room(module) != here[1] and ORDER.index(room(module)) >= ORDER.index(here[1]):
                wrong.append(f"{'/'.join(here)} imports {module}")
    assert not wrong, "\n".join(wrong)
