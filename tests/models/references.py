"""Public reference programs, where they are at hand: folders under $MMER_REFERENCES."""

import importlib.util
import os
from pathlib import Path

import pytest


def folder():
    """$MMER_REFERENCES, or the test is skipped."""
    root = os.environ.get("MMER_REFERENCES")
    if not root:
        pytest.skip("MMER_REFERENCES is not set; see the test for the programs that it names")
    return Path(root)


def reference(file):
    """The module in a file such as "TFN/model.py" of that folder, changed for nothing but names
    that torch no longer has."""
    path = folder() / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    spec = importlib.util.spec_from_file_location(f"reference_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
