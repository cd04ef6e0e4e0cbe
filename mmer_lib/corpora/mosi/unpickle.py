"""Pickles of strangers: arrays, numbers and texts are rebuilt, and nothing in the file is run.

A pickle is a program, and `pickle.load` does what it says. `pickle.Unpickler` with a strict
`find_class` still lets a file of 9 bytes take a gigabyte (a far place in the memo), crash the
interpreter (tuples in tuples as a key) and forge a numpy dtype that takes its bytes for pointers.
So `load_pickle` carries out the operations (protocols 0 to 5, documented in `pickletools`) itself,
on a stack and a memo of its own. It knows the few names that pickles of arrays and containers
hold, builds what they stand for from checked parts, and refuses any other.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from mmer_lib.corpora.mosi.pickle_names import REMEDY, Name, Unfinished, find, finish
from mmer_lib.data import DataError

_DEPTH = 100
_KEYS = (
    10_000  # that are no texts; those can be chosen so that a dict takes n^2 steps for n of them
)
_ATOMS = (str, bytes, int, float, complex, bool, type(None))
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_OTHERS = {
    b"\x1f\x8b": "compressed by gzip; unpack it first (gunzip)",
    b"BZh": "compressed by bzip2; unpack it first (bunzip2)",
    b"\xfd7zXZ": "compressed by xz; unpack it first (unxz)",
    b"PK": "a zip file, or one that torch saved; unpack it, or save its arrays as a pickle",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "saved by torch; save its arrays as a pickle",
    b"\x89HDF": "an HDF5 file; name the folder of the .csd files",
    b"version https://git-lfs": "a pointer of git-lfs; fetch the file itself (git lfs pull)",
}
_REFUSED = {
    "PERSID": "a persistent id", "BINPERSID": "a persistent id", "EXT1": "an extension",
    "EXT2": "an extension", "EXT4": "an extension", "NEWOBJ": "an object of a class",
    "NEWOBJ_EX": "an object of a class", "OBJ": "an object of a class",
    "NEXT_BUFFER": "a buffer outside of the file",
}  # fmt: skip
_DAMAGE = (IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError, struct.error)


def load_pickle(path: str | Path) -> object:
    """The object in a pickle: numpy arrays, scalars and dtypes, numbers, str, bytes and None, in
    lists, tuples, dicts, sets, frozensets, OrderedDicts and defaultdicts.

    Arrays are read-only. Texts of Python 2 are decoded as Latin-1. Memory stays within a small
    multiple of the file's size.

    Raises:
        DataError: no such file, or not a pickle (compressed, zip, torch, HDF5); damaged or
            truncated; a name that stands for none of these types (told as module.name), a
            persistent id, an extension; a structured array, or one larger than the file; a key
            that is neither text, bytes, number, None nor a tuple of these, or over 10,000 keys
            that are neither text nor bytes; containers that hold themselves, lie more than 100
            deep, or unfold, arrays and texts included, to more than the file could hold.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; name a pickle")
    if not path.stat().st_size:
        raise DataError(f"{path}: empty; download it again")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, what in _OTHERS.items():
            if content[: len(start)] == start:
                raise DataError(f"{path}: {what}")
        machine = Machine(path, content)
        try:
            return machine.run()
        except DataError:
            raise
        except _DAMAGE as error:
            raise machine.damaged(type(error).__name__) from error


class Machine:
    """Runs one pickle.

    Attributes:
        at: position in the content.
        stack: what the operations work on; `marks` are the stacks below the open marks.
        left: how many bytes and items may yet be copied, so that a small file stays small.
    """

    def __init__(self, path: Path, content: mmap.mmap):
        self.path = path
        self.content = content
        self.at = 0
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, object] = {}
        self.left = 4 * len(content) + 1000
        self.keys_left = _KEYS

    def run(self) -> object:
        while (code := self.take(1)) != b".":
            step = _STEPS.get(code)
            if step is None:
                raise self.unknown(code)
            step(self)
        if self.at < len(self.content) or self.marks or len(self.stack) != 1:
            raise self.damaged("it does not end with its one object")
        self.check(self.stack[0])
        return self.stack[0]

    def check(self, result: object) -> None:
        """Nothing but data is left in it, and walking it takes no longer than the file is."""
        todo: list[tuple[Iterable, int]] = [([result], 0)]
        left = 4 * len(self.content) + 1000
        while todo:
            items, depth = todo.pop()
            for item in items:
                kind = type(item)
                left -= 2 + (len(item) if kind in (str, bytes) else getattr(item, "nbytes", 0))
                if kind in _ATOMS:
                    continue
                if kind in (list, tuple):
                    todo.append((item, depth + 1))
                elif kind in (dict, OrderedDict, defaultdict):
                    todo.append((item.values(), depth + 1))
                elif kind is np.ndarray:
                    todo.append((item.ravel() if item.dtype.hasobject else (), depth + 1))
                elif kind not in (set, frozenset) and not isinstance(item, np.generic | np.dtype):
                    what = "a name" if kind is Name else "an array or dtype without contents"
                    raise self.damaged(f"{what} in place of data")
            if left < 0 or depth > _DEPTH:
                raise DataError(
                    f"{self.path}: containers that hold themselves, lie more than {_DEPTH} deep, "
                    f"or unfold to more than the file holds; {REMEDY}"
                )

    def damaged(self, why: str) -> DataError:
        return DataError(
            f"{self.path}: damaged, or not a pickle (byte {self.at}: {why}); download it again"
        )

    def unknown(self, code: bytes) -> DataError:
        """For an operation that is refused, or is none."""
        operation = pickletools.code2op.get(code.decode("latin1"))
        if operation is None:
            return self.damaged(f"no operation {code!r}")
        what = _REFUSED.get(operation.name, "an operation that no data needs")
        return DataError(f"{self.path}: holds {what} ({operation.name}), refused; {REMEDY}")

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        there = len(self.content) - self.at
        if not 0 <= n <= there:
            raise self.damaged(f"{n} bytes should follow, {there} are there")
        self.at += n
        return self.content[self.at - n : self.at]

    def number(self, form: str):
        """The next number, in a form of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Up to the next line end, which is left out."""
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise self.damaged("a line without an end")
        return self.take(end + 1 - self.at)[:-1]

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self, *kinds: type):
        """The object on top of the stack, which must be one of these."""
        if type(self.stack[-1]) not in kinds:
            raise self.damaged(f"no {kinds[0].__name__} where there must be one")
        return self.stack[-1]

    def spend(self, n: int) -> None:
        """Account for n bytes or items that are copied."""
        self.left -= n
        if self.left < 0:
            raise DataError(f"{self.path}: unfolds to more than the file holds; {REMEDY}")

    def keys(self, items: list) -> list:
        """The items, if they do as keys: to hash tuples in tuples can take for ever."""
        for item in items:
            self.keys_left -= type(item) not in (str, bytes)
            if self.keys_left < 0:
                raise DataError(
                    f"{self.path}: over {_KEYS} keys that are neither text nor bytes; {REMEDY}"
                )
            for part in item if type(item) is tuple else (item,):
                if type(part) not in _ATOMS and not isinstance(part, np.generic):
                    raise DataError(
                        f"{self.path}: a key, or an item of a set, that is neither text, bytes, "
                        f"number, None nor a tuple of these; {REMEDY}"
                    )
        return items


# --------------------------------------------------------------------------- the operations


def _push(read: Callable[[Machine], object]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        value = read(machine)  # may change which stack it goes to
        machine.stack.append(value)

    return step


def _put(place: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        n, made = place(machine), machine.stack[-1]
        machine.memo[n] = made
        if type(made) is Unfinished:
            made.places.append(n)

    return step


def _counted(form: str, decode: Callable) -> Callable[[Machine], None]:
    return _push(lambda machine: decode(machine.take(machine.number(form))))


def _tuple(n: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        items = tuple(machine.stack.pop() for _ in range(n))
        machine.stack.append(items[::-1])

    return step


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pairs(machine: Machine, items: list) -> zip:
    return zip(machine.keys(items[::2]), items[1::2], strict=True)


def _protocol(machine: Machine) -> None:
    if machine.number("<B") > 5:
        raise machine.damaged("a protocol of the future")


def _frame(machine: Machine) -> None:
    if machine.number("<Q") > len(machine.content) - machine.at:
        raise machine.damaged("a frame that is longer than the file")


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    machine.top(list).append(item)


def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    machine.top(list).extend(items)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict, OrderedDict, defaultdict).update(_pairs(machine, [key, value]))


def _set_items(machine: Machine) -> None:
    items = machine.since_mark()
    machine.top(dict, OrderedDict, defaultdict).update(_pairs(machine, items))


def _add_items(machine: Machine) -> None:
    items = machine.since_mark()
    machine.top(set).update(machine.keys(items))


def _global(machine: Machine) -> Name:
    module, name = machine.line().decode(), machine.line().decode()
    return find(machine, module, name)


def _stack_global(machine: Machine) -> Name:
    name, module = machine.stack.pop(), machine.stack.pop()
    return find(machine, module, name)


def _inst(machine: Machine) -> None:
    """An object of an old class: names that are known make none."""
    found = _global(machine)
    raise machine.damaged(f"an object of {found.module}.{found.name}")


def _reduce(machine: Machine) -> object:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    if type(name) is not Name or name.make is None or type(arguments) is not tuple:
        what = f"{name.module}.{name.name}" if type(name) is Name else "what is no function"
        raise machine.damaged(f"a call of {what}")
    return name.make(machine, arguments)


def _build(machine: Machine) -> None:
    state, made = machine.stack.pop(), machine.stack[-1]
    if type(made) is not Unfinished:
        raise machine.damaged(f"a state (BUILD) for a {type(made).__name__}, which has none")
    machine.stack[-1] = finished = finish(machine, made, state)
    for place in made.places:
        if machine.memo[place] is made:
            machine.memo[place] = finished


def _integer(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> str:
    """A str of Python 2 as it prints."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("no quotation marks")
    plain = _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else _ESCAPED[m[2]], line)
    return plain[1:-1].decode("latin1")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _old_text(raw: bytes) -> str:
    return raw.decode("latin1")


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": _protocol, b"\x95": _frame, b"(": _mark,
    b"N": _push(lambda m: None), b"\x88": _push(lambda m: True), b"\x89": _push(lambda m: False),
    b"]": _push(lambda m: []), b"}": _push(lambda m: {}), b")": _push(lambda m: ()),
    b"\x8f": _push(lambda m: set()),
    b"J": _push(lambda m: m.number("<i")), b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")), b"G": _push(lambda m: m.number(">d")),
    b"U": _counted("<B", _old_text), b"T": _counted("<i", _old_text),
    b"\x8c": _counted("<B", _text), b"X": _counted("<I", _text), b"\x8d": _counted("<Q", _text),
    b"C": _counted("<B", bytes), b"B": _counted("<I", bytes), b"\x8e": _counted("<Q", bytes),
    b"\x96": _counted("<Q", bytes), b"\x8a": _counted("<B", _long), b"\x8b": _counted("<i", _long),
    b"I": _push(lambda m: _integer(m.line())), b"F": _push(lambda m: float(m.line())),
    b"L": _push(lambda m: int(m.line().removesuffix(b"L"))),
    b"S": _push(lambda m: _quoted(m.line())),
    b"V": _push(lambda m: m.line().decode("raw-unicode-escape")),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": _tuple(1), b"\x86": _tuple(2), b"\x87": _tuple(3),
    b"l": _push(lambda m: m.since_mark()), b"a": _append, b"e": _appends,
    b"d": _push(lambda m: dict(_pairs(m, m.since_mark()))), b"s": _set_item, b"u": _set_items,
    b"\x90": _add_items, b"\x91": _push(lambda m: frozenset(m.keys(m.since_mark()))),
    b"g": _push(lambda m: m.memo[int(m.line())]), b"h": _push(lambda m: m.memo[m.number("<B")]),
    b"j": _push(lambda m: m.memo[m.number("<I")]),
    b"p": _put(lambda m: int(m.line())), b"q": _put(lambda m: m.number("<B")),
    b"r": _put(lambda m: m.number("<I")), b"\x94": _put(lambda m: len(m.memo)),
    b"c": _push(_global), b"\x93": _push(_stack_global), b"i": _inst,
    b"R": _push(_reduce), b"b": _build,
}  # fmt: skip
