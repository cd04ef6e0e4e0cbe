"""Public reference programs, where they are at hand: folders under $MMER_REFERENCES."""

import contextlib
import importlib.util
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F


def folder():
    """$MMER_REFERENCES, or the test is skipped."""
    root = os.environ.get("MMER_REFERENCES")
    if not root:
        pytest.skip("MMER_REFERENCES is not set; see the test for the programs that it names")
    return Path(root)


def reference(file):
    """The module in a file such as "TFN/model.py" of that folder, as it is."""
    path = folder() / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    spec = importlib.util.spec_from_file_location(f"reference_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference_class(file, name, *changes):
    """One class of a program that runs when it is imported, or was written for Python 2. The moves
    to a GPU are taken out; `changes` are pairs of what stands there and what it means today."""
    path = folder() / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    text = path.read_text(encoding="utf-8")
    source = re.search(rf"^class {name}\b.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)[0]
    for before, now in ((".cuda()", ""), ("xrange", "range"), *changes):
        source = source.replace(before, now)
    space = {"torch": torch, "nn": nn, "F": F, "np": np}
    exec(source, space)
    return space[name]


@contextlib.contextmanager
def imported(name):
    """Within it, modules come from that folder; afterwards they are forgotten."""
    path = folder() / name
    if not path.is_dir():
        pytest.skip(f"{path} is not there")
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
        for module in set(sys.modules) - before:
            if str(getattr(sys.modules[module], "__file__", "")).startswith(str(path)):
                del sys.modules[module]
