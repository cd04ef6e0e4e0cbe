"""Computational sequences (``.csd``): the files of the CMU-MultimodalSDK, in HDF5.

A file has one group, and in it ``data/<id>/features`` (N, D), ``data/<id>/intervals`` (N, 2), in
seconds, for every video, and ``metadata``. Where the file was aligned to labels, an id is a
segment, ``video[3]``. Of the metadata no more than the names of the columns is read, since real
files hold anything there.

A file is read if it unfolds to at most 100 times its size and 64 MB: packed zeros would fill the
memory. HDF5 is told nothing that was not looked at before: filters, chunks and links. Texts of any
length it is not asked for at all, for it would believe whatever the file says of them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from mmer_lib.data import DataError, few

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
        self._known = frozenset(self.ids)
        if not self.ids:
            raise DataError(f"{path}: holds no video; {_AGAIN}")
        if not all(isinstance(id, str) for id in self.ids):
            raise DataError(f"{path}: the name of a video is not UTF-8; {_AGAIN}")
        self.names = _column_names(path, root)
        self._width: int | None = None
        self._left = _FREE + _TIMES * path.stat().st_size
        self._counted: set[tuple[str, str]] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._known

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
            references = _references(self.path, data)
            self._count(id, f"the letters of {name}", int(references["length"].sum()))
            read = _referred(self.path, references)
        else:
            read = data[()]
        if texts:
            return _texts(read)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, or NaN
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
    """Bytes -> str, in an object array of the same shape."""
    texts = np.empty(read.shape, object)
    for at, text in np.ndenumerate(read):
        texts[at] = text.decode("utf-8", "replace")
    return texts


def _column_names(path: Path, root: h5py.Group) -> tuple[str, ...]:
    """``metadata/dimension names``, a list in JSON; () where it is anything else."""
    try:
        told = _child(path, _child(path, root, "metadata"), "dimension names")
        if told.shape != (1,) or told.is_virtual or told.external or not _plain(told):
            return ()
        read = _referred(path, _references(path, told)) if told.dtype.kind == "O" else told
        names = json.loads(read[0])
    except (DataError, KeyError, ValueError, TypeError, OSError, AttributeError, RuntimeError):
        return ()  # RuntimeError takes in what lies too deep
    well = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if well else ()


def _references(path: Path, data: h5py.Dataset) -> np.ndarray:
    """Where the texts of any length lie and how long they are: of the shape of the data,
    `_REFERENCE`, read from where the data lie.

    Raises:
        DataError: no texts; references that are packed.
    """
    import h5py

    how, id = data.file.id.get_create_plist(), data.id
    if h5py.check_string_dtype(data.dtype) is None:
        raise DataError(f"{path}: {data.name!r} holds neither numbers nor texts; {_AGAIN}")
    found, whole = np.zeros(data.shape, _REFERENCE), tuple(slice(n) for n in data.shape)
    parts = []  # (where in the file, where in the data, shape)
    if data.chunks:
        for chunk in (id.get_chunk_info(i) for i in range(id.get_num_chunks())):
            starts = zip(chunk.chunk_offset, data.chunks, strict=True)
            place = tuple(slice(start, start + n) for start, n in starts)
            parts.append((chunk.byte_offset, place, data.chunks))
    elif id.get_storage_size():  # else none is written yet
        parts.append((id.get_offset(), whole, data.shape))
    known = how.get_userblock() == 0 and how.get_sizes() == (8, 8)
    if not known or id.get_create_plist().get_nfilters() or None in [part[0] for part in parts]:
        raise DataError(f"{path}: texts of any length that are packed; write them with a length")
    with open(path, "rb") as file:
        for offset, place, shape in parts:
            file.seek(offset)
            block = np.frombuffer(file.read(math.prod(shape) * _REFERENCE.itemsize), _REFERENCE)
            target = found[place]
            target[...] = block.reshape(shape)[tuple(slice(n) for n in target.shape)]
    return found


def _referred(path: Path, references: np.ndarray) -> np.ndarray:
    """The texts, bytes in an object array. HDF5 is not asked: it takes as much memory as a
    reference says, and in a damaged heap it may go round in circles.

    Raises:
        DataError: a heap or a text that is not where a reference says.
    """
    texts, heaps, left = np.full(references.shape, b"", object), {}, path.stat().st_size
    with open(path, "rb") as file:
        for at, (length, address, index) in np.ndenumerate(references):
            if not length:
                continue
            if address not in heaps:
                heaps[address], size = _heap(path, file, int(address), left)
                left -= size
            text = heaps[address].get(int(index), b"")
            if length > len(text):
                raise DataError(f"{path}: a text is not where the file says; {_AGAIN}")
            texts[at] = text[:length]
    return texts


def _heap(path: Path, file: BinaryIO, address: int, most: int) -> tuple[dict, int]:
    """What a global heap collection of HDF5 holds, by index (file format specification, III.E), and
    its size; it may have `most` bytes."""
    file.seek(min(address, 2**62))
    head = file.read(16)
    size = int.from_bytes(head[8:], "little")
    if head[:5] != b"GCOL\x01" or size > most:
        raise DataError(f"{path}: no texts are where the file says; {_AGAIN}")
    content, at, found = file.read(size - 16 if size > 16 else 0), 0, {}
    while at + 16 <= len(content):
        index, length = struct.unpack_from("<H6xQ", content, at)
        if index:  # else it is free
            found[index] = content[at + 16 : at + 16 + length]
        at += 16 + (-(-length // 8) * 8 if index else max(0, length - 16))
    return found, size


def _plain(data: h5py.Dataset) -> bool:
    """Packed once at most, by what HDF5 itself knows: deflate in deflate has no bound."""
    how = data.id.get_create_plist()
    filters = [how.get_filter(i)[0] for i in range(how.get_nfilters())]
    return len(set(filters)) == len(filters) and set(filters) <= set(_FILTERS)
