"""Print the packages that mmer needs in a kernel and that this one lacks, a pin a line.

For a kernel that brings much of its own, as Colab's does: what is there stays as it is, whatever
its version (torch above all), and only the rest is installed. See the notebooks' first cell.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

BUILDERS = ("ipython", "jupyter", "sphinx")  # what makes the pages; no cell needs it


def missing() -> list[str]:
    """The pins of pyproject.toml that no installed package answers to."""
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = [*project["dependencies"], *extras["data"], *extras["book"]]
    return [pin for pin in pins if not pin.startswith(BUILDERS) and not _installed(pin)]


def _installed(pin: str) -> bool:
    try:
        metadata.version(re.split(r"[=<>~!\[]", pin)[0])
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    print("\n".join(missing()))
