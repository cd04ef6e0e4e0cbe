"""espeak-ng through its C library: speech with the time of every word and phoneme."""

from __future__ import annotations

import ctypes
import itertools
import shutil
from collections import defaultdict
from collections.abc import Sequence
from tempfile import TemporaryDirectory

import numpy as np

from mmer_lib.data import DataError, Word


class _Event(ctypes.Structure):  # espeak_EVENT of speak_lib.h
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),  # a union; of a phoneme, its name
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_LIST_TERMINATED, _PHONEME = 0, 7
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


class Espeak:
    """The library keeps state from call to call: every instance loads a copy of its own, so that
    the same calls in the same order give the same samples."""

    def __init__(self):
        import espeakng_loader

        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps what is open
            library = shutil.copy(espeakng_loader.get_library_path(), folder)
            self._lib = ctypes.CDLL(library)
        retrieval, phoneme_events = 2, 1
        data = espeakng_loader.get_data_path().encode()
        self.rate = self._lib.espeak_Initialize(retrieval, 0, data, phoneme_events)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng did not start (code {self.rate}) with {data.decode()}")
        self._chunks: list[np.ndarray] = []
        self._events: list[tuple[int, int, float, str]] = []
        self._callback = _CALLBACK(self._receive)  # kept alive: C holds the pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count, events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in itertools.takewhile(lambda e: e.type != _LIST_TERMINATED, events):
            name, seconds = event.id.decode("utf-8", "replace"), event.sample / self.rate
            self._events.append((event.type, event.text_position, seconds, name))
        return 0

    def say(self, words: Sequence[str], voice: str, seed: int = 1, **settings: float):
        """Speak the words as one clause; `seed` fixes the noise of breathy voices.

        Returns:
            samples (N,) int16 at `self.rate`, words and phonemes as lists of `Word`.
        """
        self._chunks.clear()
        self._events.clear()
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"recipe: espeak-ng has no voice {voice!r}; see its voices folder")
        for name, value in settings.items():
            self._lib.espeak_SetParameter(_PARAMETERS[name], round(value), 0)
        text = (" ".join(words) + ".").encode() + b"\0"
        utf8 = 1
        self._lib.espeak_Synth(text, len(text), 0, 1, 0, utf8, None, None)
        return np.concatenate(self._chunks), *self._timeline(words)

    def _timeline(self, words: Sequence[str]) -> tuple[list[Word], list[Word]]:
        starts = np.cumsum([1] + [len(w) + 1 for w in words[:-1]])  # espeak counts from one
        position = {int(s): i for i, s in enumerate(starts)}
        phones = [(p, at, name) for kind, p, at, name in self._events if kind == _PHONEME]
        spoken, spans = [], defaultdict(list)
        for (p, at, name), (_, until, _) in itertools.pairwise(phones):
            if not name or name.startswith("_"):  # a pause
                continue
            spoken.append(Word(name, at, until))
            spans[p].append((at, until))
        missing = [words[i] for p, i in position.items() if p not in spans]
        if missing:
            raise DataError(f"recipe: espeak-ng gives {missing} no time of its own; reword it")
        # From its first phoneme to its last; the word event itself comes up to 0.1 s too early.
        timed = [Word(words[i], spans[p][0][0], spans[p][-1][1]) for p, i in position.items()]
        return timed, spoken
