"""When each word is spoken: the word alignments of IEMOCAP's release (``.wdseg``), and how they
meet the transcripts."""

from __future__ import annotations

import re
from pathlib import Path

from mmer_lib.corpora.files import read_text
from mmer_lib.data import DataError, Word, normalised

RATE = 100
"""Frames a second in a ``.wdseg`` file."""

_ROW = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+-?\d+\s+(\S+)")
_NO_WORD = re.compile(r"<.*>|\+\+.*\+\+|\W*")  # silence and sentence ends, noises
_VARIANT = re.compile(r"\(\d+\)$")  # which of a word's pronunciations: THE(2)
_TAG = re.compile(r"\[[^\[\]]*\]")  # sounds in a transcript: [LAUGHTER]
_WORD = re.compile(r"['’]?[^\W_]+(?:[.,:'’\-][^\W_]+)*['’]?")  # noqa: RUF001


def read_alignment(path: str | Path) -> list[Word]:
    """The words of a ``.wdseg`` file, in capitals as it writes them, times in seconds.

    The last frame of a word belongs to it. Silence, noises and sentence ends are left out, and
    so is the number of a pronunciation: THE(2) is THE.

    Raises:
        FileNotFoundError: no such file.
        DataError: no word alignment, cut off before its last line, or times that run backwards.
    """
    path = Path(path)
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not lines or lines[0].split()[:2] != ["SFrm", "EFrm"]:
        raise DataError(f"{path}: does not begin with the header of a word alignment")
    if not lines[-1].startswith("Total score"):
        raise DataError(f"{path}: cut off (its last line is not 'Total score')")
    words, after = [], 0
    for line in lines[1:-1]:
        match = _ROW.fullmatch(line)
        if not match or not after <= int(match[1]) <= int(match[2]):
            raise DataError(f"{path}: the line {line!r} does not follow from the one before")
        after = int(match[2]) + 1
        if not _NO_WORD.fullmatch(match[3]):
            words.append(Word(_VARIANT.sub("", match[3]), int(match[1]) / RATE, after / RATE))
    return words


def written_words(transcript: str) -> list[str]:
    """The words of a transcript as written, sounds in brackets left out:
    "[LAUGHTER] I don't - I can't." -> I, don't, I, can't."""
    words = _WORD.findall(_TAG.sub(" ", normalised("NFC", transcript)))
    return [w[1:-1] if w[0] in "'’" and w[-1] in "'’" else w for w in words]  # noqa: RUF001


def timed_words(transcript: str, path: str | Path, seconds: float) -> tuple[Word, ...]:
    """The words of an utterance with their times, (W,).

    Written as in the transcript where its words fit the aligned ones one to one (letters and
    digits compared, without case and accents), else as aligned, in lower case; none where the
    transcript holds no words, aligned or not.

    Args:
        path: the ``.wdseg`` file.
        seconds: how long the sound lasts.

    Raises:
        FileNotFoundError: no such file.
        DataError: a damaged file, one without words, or one of another sound (a word begins
            after the end).
    """
    written = written_words(transcript)
    if not written:
        return ()
    aligned = read_alignment(path)
    if not aligned:
        raise DataError(f"{path}: holds no words, the transcript has {len(written)}")
    if aligned[-1].start >= seconds:
        raise DataError(f"{path}: a word begins after the end of the sound ({seconds:.2f} s)")
    if [_bare(word.text) for word in aligned] == [_bare(text) for text in written]:
        pairs = zip(written, aligned, strict=True)
        return tuple(Word(text, word.start, word.end) for text, word in pairs)
    return tuple(Word(word.text.lower(), word.start, word.end) for word in aligned)


def _bare(word: str) -> str:
    """What of a word is compared: letters and digits, without case and accents."""
    plain = normalised("NFKD", word).upper()
    return "".join(c for c in plain if c.isalnum())
