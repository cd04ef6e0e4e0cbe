"""Computational sequences (``.csd``): the files of the CMU-MultimodalSDK, in HDF5.

A file has one group, and in it ``data/<id>/features`` (N, D), ``data/<id>/intervals`` (N, 2), in
seconds, for every video (or segment, ``video[3]``), and ``metadata``, which tells the names of the
columns or anything else. h5py reads the file in a child process (see `sandbox`), since HDF5
believes what a damaged file says of sizes, and can go round in circles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmer_lib.corpora.sandbox import Refused, read_in_child

if TYPE_CHECKING:
    import h5py

_LAST = 1e7  # seconds; no recording lasts for months


class Rows(NamedTuple):
    """The rows of one id: `features` (N, D), float32, or (N, 1), str in an object array, and
    `intervals` (N, 2), float64, the start and end of each row in seconds."""

    features: np.ndarray
    intervals: np.ndarray


class Sequence(NamedTuple):
    """What a file holds: the rows of every video, or segment, in the order of the file; the names
    of the columns, () where none are told; (id, reason) of those that cannot be read."""

    path: Path
    rows: dict[str, Rows]
    names: tuple[str, ...]
    damaged: list[tuple[str, str]]


def read_sequence(path: str | Path) -> Sequence:
    """Read a ``.csd`` file. Numbers stay on disk, in a temporary file, until they are used.

    Raises:
        DataError: no such file, not HDF5, truncated, not with the groups above; no id that is
            whole; more memory, time or disk than `sandbox` allows.
    """
    path = Path(path)
    found, names, damaged = read_in_child(__name__, path, "download it again")
    rows = {}
    for id, features, intervals in found:
        if isinstance(features, list):
            features = np.array(features, object).reshape(-1, 1)
        rows[id] = Rows(features, intervals)
    return Sequence(path, rows, tuple(names), damaged)


def read(path: str, keep: Callable[[np.ndarray], Any]) -> tuple[list, list[str], list]:
    """For `sandbox`: (id, features, intervals) of every id, the names of the columns, and (id,
    reason) of what cannot be read."""
    import h5py

    with h5py.File(path, "r") as file:
        roots = list(file)
        if len(roots) != 1:
            raise Refused(f"holds {len(roots)} groups, not one")
        root = _child(file, roots[0])
        data = _child(root, "data")
        if not isinstance(data, h5py.Group) or not len(data):
            raise Refused("'data' holds no video")
        rows, damaged, width = [], [], 0
        for id in data:
            try:
                features, intervals = _rows(_child(data, id))
                width = width or features.shape[1]
                if features.shape[1] != width:
                    raise Refused(f"{features.shape[1]} columns, the first id has {width}")
            except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
                damaged.append((str(id), str(error)[:200]))
                continue
            rows.append((id, keep(features), keep(intervals)))
        if not rows:
            raise Refused(": ".join(damaged[0]))
        return rows, _column_names(root), damaged


def _rows(group: h5py.Group) -> Rows:
    features, intervals = _array(group, "features"), _array(group, "intervals")
    if features.dtype.kind in "SO":
        if not all(isinstance(text, bytes) for text in features.flat):
            raise Refused(f"features of type {features.dtype}")
        features = features[:, :1].astype(object)
    elif features.dtype.kind in "fiu":
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
            features = features.astype(np.float32)
    else:
        raise Refused(f"features of type {features.dtype}")
    if intervals.dtype.kind not in "fiu" or intervals.shape != (len(features), 2):
        told = f"{intervals.dtype} {intervals.shape}"
        raise Refused(f"intervals {told} for features {features.shape}")
    intervals = intervals.astype(np.float64)
    start, end = intervals.T
    bad = np.flatnonzero(~((np.abs(intervals) < _LAST).all(axis=1) & (start <= end)))
    if len(bad):
        raise Refused(f"row {bad[0]} lasts from {start[bad[0]]} to {end[bad[0]]} s")
    return Rows(features, intervals)


def _array(group: h5py.Group, name: str) -> np.ndarray:
    data = _child(group, name)
    shape = getattr(data, "shape", None) or ()
    if len(shape) != 2 or not shape[1]:
        raise Refused(f"{name} of shape {shape}, expected rows and columns")
    if data.is_virtual or data.external:
        raise Refused(f"{name} lie in another file, which is not followed")
    return data[()]


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What lies in a group under this name, in this very file."""
    import h5py

    if not isinstance(name, str):
        raise Refused("the name is not UTF-8")
    if not isinstance(group, h5py.Group) or name not in group.keys():
        raise Refused(f"{name!r} is missing")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Refused(f"{name!r} is a link to elsewhere, which is not followed")
    return group[name]


def _column_names(root: h5py.Group) -> list[str]:
    """``metadata/dimension names``, a list in JSON; [] where it is anything else."""
    try:
        data = _child(_child(root, "metadata"), "dimension names")
        if data.shape != (1,) or data.is_virtual or data.external:
            return []
        names = json.loads(data[0])
        right = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return names if right else []
    except (KeyError, ValueError, TypeError, OSError, AttributeError, RuntimeError):
        return []
