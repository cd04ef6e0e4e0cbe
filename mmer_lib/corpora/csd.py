"""Computational sequences (``.csd``): the files of the CMU-MultimodalSDK, in HDF5.

A file has one group, and in it ``data/<id>/features`` (N, D), ``data/<id>/intervals`` (N, 2), in
seconds, for every video, and ``metadata``. Where the file was aligned to labels, an id is a
segment, ``video[3]``. Of the metadata no more than the names of the columns is read, since real
files hold anything there.

A file is read if it unfolds to at most 100 times its size and 64 MB: packed zeros would fill the
memory. HDF5 is told nothing that was not looked at before: filters, chunks, links, and the lengths
of texts, of which it makes room for as much as the file says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmer_lib.corpora import DataError
from mmer_lib.corpora.files import few

if TYPE_CHECKING:
    import h5py

_AGAIN = "download it again"
_PACKED = 1100  # deflate makes a byte of at most 1032
_TIMES = 100  # the whole of a file may be so many times as large as packed,
_FREE = 64 * 2**20  # beside so many bytes
_FILTERS = (1, 2, 3, 32000)  # of HDF5: deflate, shuffle, checksum, LZF
_TEXT = 100  # bytes that Python takes for a short text
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])  # to such a text
_LAST = 1e7  # seconds; no recording lasts for months


class Rows(NamedTuple):
    """The rows of one id. `features` (N, D) are float32, or str in an object array; `intervals`
    (N, 2) are float64, the start and end of each row in seconds."""

    features: np.ndarray
    intervals: np.ndarray

    @property
    def middles(self) -> np.ndarray:
        """(N,) seconds."""
        return self.intervals.mean(axis=1)


class ComputationalSequence:
    """An open file, whose rows are read when they are called for.

    Attributes:
        path: the file.
        ids: of videos, or of segments (``video[3]``), in the order of the file.
        names: of the columns, where the metadata tells them, else ().
    """

    def __init__(self, path: Path, file: h5py.File):
        roots = list(file)
        if len(roots) != 1:
            raise DataError(f"{path}: holds {len(roots)} groups ({few(roots)}), not one; {_AGAIN}")
        self.path = path
        root = _child(path, file, roots[0])
        self._data = _child(path, root, "data", roots[0])
        if not hasattr(self._data, "keys"):
            raise DataError(f"{path}: 'data' holds no videos; {_AGAIN}")
        self.ids = list(self._data)
        if not self.ids:
            raise DataError(f"{path}: holds no video; {_AGAIN}")
        self.names = _column_names(path, root)
        self._width: int | None = None
        self._left = _FREE + _TIMES * path.stat().st_size
        self._counted: set[tuple[str, str]] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._data

    def rows(self, id: str) -> Rows:
        """The rows of a video or segment that is there.

        Raises:
            DataError: unreadable; features or intervals missing, or of shapes that do not fit;
                an interval that is not finite, ends before it starts or lasts for months; as many
                columns as no other id has; more than the file could hold, or over 100 times its
                size with what was read before.
        """
        with _readable(self.path, id):
            group = _child(self.path, self._data, id)
            features = self._array(group, id, "features")
            intervals = self._array(group, id, "intervals").astype(np.float64)
        if intervals.shape != (len(features), 2):
            raise self._wrong(id, f"intervals {intervals.shape} for features {features.shape}")
        start, end = intervals.T
        bad = np.flatnonzero(~((np.abs(intervals) < _LAST).all(axis=1) & (start <= end)))
        if len(bad):
            raise self._wrong(id, f"row {bad[0]} lasts from {start[bad[0]]} to {end[bad[0]]} s")
        self._width = self._width or features.shape[1]
        if features.shape[1] != self._width:
            raise self._wrong(id, f"{features.shape[1]} columns, before it {self._width}")
        return Rows(features, intervals)

    def _array(self, group: h5py.Group, id: str, name: str) -> np.ndarray:
        """A dataset of numbers as float32 (intervals as they are), of texts as str."""
        import h5py

        data = _child(self.path, group, name, id)
        shape = getattr(data, "shape", None) or ()
        if not isinstance(data, h5py.Dataset) or len(shape) != 2 or not shape[1]:
            raise self._wrong(id, f"{name} of shape {shape}, expected rows and columns")
        if data.is_virtual or data.external:
            raise self._wrong(id, f"{name} lie in another file, which is not followed")
        kind = data.dtype.kind
        if kind not in "fiuSO" or (kind in "SO" and name == "intervals"):
            raise self._wrong(id, f"{name} of type {data.dtype}")
        texts = kind in "SO"
        size = data.nbytes + texts * _TEXT * data.size
        chunk = math.prod(data.chunks or ()) * data.dtype.itemsize
        if max(size, chunk) > _PACKED * self.path.stat().st_size or not _plain(data):
            raise self._wrong(id, f"{name} {shape} are larger than the file could hold")
        self._count(id, name, size)
        if kind == "O":
            self._count(id, f"the letters of {name}", _letters(self.path, data))
        read = data[()]
        if texts:
            return _texts(read)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            return read if name == "intervals" else read.astype(np.float32)

    def _count(self, id: str, what: str, size: int) -> None:
        """Account for what is read, each array once, so that a small file stays small."""
        self._left -= 0 if (id, what) in self._counted else size
        self._counted.add((id, what))
        if self._left < 0:
            raise self._wrong(id, f"with {what} the file unfolds to over {_TIMES} times its size")

    def _wrong(self, id: str, what: str) -> DataError:
        return DataError(f"{self.path}: {id}: {what}; {_AGAIN}")


@contextmanager
def open_sequence(path: str | Path) -> Iterator[ComputationalSequence]:
    """Open a ``.csd`` file to read.

    Raises:
        DataError: no such file, not HDF5, truncated, or not with the groups above.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; name a .csd file")
    with _readable(path, "file"):
        file = h5py.File(path, "r")
    with file:
        with _readable(path, "file"):
            sequence = ComputationalSequence(path, file)
        yield sequence


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """What HDF5 says of damage becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except (
        OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError
    ) as error:  # fmt: skip
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: {what} cannot be read ({why}): no .csd file, truncated or damaged; {_AGAIN}"
        ) from error


def _child(path: Path, group: h5py.Group, name: str, where: str = "") -> h5py.Group | h5py.Dataset:
    """What lies in a group under this name, in this very file."""
    import h5py

    if not isinstance(group, h5py.Group) or name not in group:
        raise DataError(f"{path}: {where or name}: {name!r} is missing; {_AGAIN}")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise DataError(f"{path}: {name!r} is a link to elsewhere, which is not followed; {_AGAIN}")
    return group[name]


def _texts(read: np.ndarray) -> np.ndarray:
    """Bytes or str -> str, in an object array of the same shape."""
    texts = np.empty(read.shape, object)
    for at, text in np.ndenumerate(read):
        if not isinstance(text, bytes | str):
            raise TypeError(f"a {type(text).__name__} among the features")
        texts[at] = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return texts


def _column_names(path: Path, root: h5py.Group) -> tuple[str, ...]:
    """``metadata/dimension names``, a list in JSON; () where it is anything else."""
    try:
        told = _child(path, _child(path, root, "metadata"), "dimension names")
        if told.shape != (1,) or told.is_virtual or told.external or not _plain(told):
            return ()
        if told.dtype.kind == "O":
            _letters(path, told)
        names = json.loads(told[0])
    except (DataError, KeyError, ValueError, TypeError, OSError, AttributeError, RuntimeError):
        return ()  # RuntimeError takes in what lies too deep
    well = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if well else ()


def _letters(path: Path, data: h5py.Dataset) -> int:
    """Letters of texts of any length. HDF5 takes as much memory as their references say, which
    are read here from where they lie.

    Raises:
        DataError: one that is longer than the file, or references that are packed.
    """
    how, id = data.file.id.get_create_plist(), data.id
    places = [(id.get_offset(), id.get_storage_size())]
    if data.chunks:
        chunks = [id.get_chunk_info(i) for i in range(id.get_num_chunks())]
        places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    elif not places[0][1]:
        places = []  # none is written yet
    known = how.get_userblock() == 0 and how.get_sizes() == (8, 8)
    if not known or id.get_create_plist().get_nfilters() or None in dict(places):
        raise DataError(f"{path}: texts of any length that are packed; write them with a length")
    size, total = path.stat().st_size, 0
    with open(path, "rb") as file:
        for place, length in places:
            file.seek(place)
            found = np.frombuffer(file.read(length), _REFERENCE)["length"].astype(np.int64)
            if (found > size).any():
                raise DataError(f"{path}: a text that is longer than the file; {_AGAIN}")
            total += int(found.sum())
    return total


def _plain(data: h5py.Dataset) -> bool:
    """Packed once at most, by what HDF5 itself knows: deflate in deflate has no bound."""
    how = data.id.get_create_plist()
    filters = [how.get_filter(i)[0] for i in range(how.get_nfilters())]
    return len(set(filters)) == len(filters) and set(filters) <= set(_FILTERS)
