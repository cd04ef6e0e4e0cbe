"""Ways to damage files that have a structure of their own: HDF5 and safetensors."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path
from random import Random

import h5py
import numpy as np

from tests.corpora import fake_mosi
from tests.fuzz import mutate


def csd_of(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Bytes changed, or what HDF5 says in them: other arrays, other ways to keep them, names of
    columns that are none."""
    if rng.random() < 0.5:
        return mutate.bytes_of(data, rng, others)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csd"
        path.write_bytes(rng.choice(others))  # good ones: h5py itself believes what they say
        try:
            entries = fake_mosi.read_csd(path)
            id = rng.choice(list(entries))
            entries[id] = tuple(
                mutate.change(array, rng) if rng.random() < 0.6 else array for array in entries[id]
            )
            how = {} if rng.random() < 0.7 else {"chunks": True, "compression": "gzip"}
            names = rng.choice(("[", "[1]", '["a"]', "[" * 2000, '{"a": 1}', '"a"'))
            fake_mosi.write_csd(path, entries, metadata={"dimension names": names}, **how)
            if rng.random() < 0.3:
                _spoil(path, rng)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, IndexError, AttributeError):
            return mutate.bytes_of(data, rng, others)
        return path.read_bytes()[: mutate.LARGEST]


def _spoil(path: Path, rng: Random) -> None:
    """Something in place of a group or an array that the format does not have there."""
    with h5py.File(path, "r+") as file:
        (root,) = file.values()
        video = root["data"][rng.choice(list(root["data"]))]
        parent, name = rng.choice(((root, "data"), (root, "metadata"), (video, "features"),
                                   (video, "intervals"), (file, "more")))  # fmt: skip
        if name in parent:
            del parent[name]
        rows = rng.choice((3, 1000, 10**6, 10**9, 10**12))
        kind = rng.randrange(8)
        if kind == 0:
            parent.create_dataset(name, (rows, 2), rng.choice(("f4", "S1", "i8", "S9")))
        elif kind == 1:
            shape, chunk = (min(rows, 10**5), 2), (1000, 2)
            zeros = {"compression": "gzip", "compression_opts": 9, "fillvalue": 1}
            parent.create_dataset(name, data=np.zeros(shape, "f4"), chunks=chunk, **zeros)
        elif kind == 2:
            parent.create_dataset(name, (rows, 2), "f4", chunks=(min(rows, 10**6), 2),
                                  maxshape=(None, 2), compression="lzf")  # fmt: skip
        elif kind == 3:
            parent[name] = h5py.SoftLink(rng.choice(("/", "/nothing", video.name)))
        elif kind == 4:
            parent[name] = h5py.ExternalLink(os.devnull, "/")
        elif kind == 5:
            parent[name] = np.dtype("f4")
        elif kind == 6:
            texts = np.array([["x" * min(rows, 10**4)]] * 50, object)
            parent.create_dataset(name, data=texts, dtype=h5py.string_dtype())
        else:
            layout = h5py.VirtualLayout((min(rows, 10**6), 2), "f4")
            parent.create_virtual_dataset(name, layout)


def safetensors_of(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Bytes changed, or its header, with the length that is then right."""
    if rng.random() < 0.3 or len(data) < 8:
        return mutate.bytes_of(data, rng, others)
    (length,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + length])
        header = _known(mutate.changed(header, rng, mutate._JSON), rng)
    except (ValueError, RecursionError):
        return mutate.bytes_of(data, rng, others)
    made = mutate.written(header)
    made += b" " * (-len(made) % 8)
    return (struct.pack("<Q", len(made)) + made + data[8 + length :])[: mutate.LARGEST]


def _known(header: object, rng: Random) -> object:
    """Where the header holds JSON itself, a change of that."""
    try:
        inside = json.loads(header["__metadata__"]["metadata"])
    except (TypeError, KeyError, ValueError, RecursionError):
        return header
    if rng.random() < 0.5:
        changed = mutate.written(mutate.changed(inside, rng, mutate._JSON)).decode()
        header["__metadata__"]["metadata"] = changed
    return header
