"""IEMOCAP (Busso et al., 2008), read from the folder of its release.

Of every session the reader takes ``dialog/EmoEvaluation/*.txt`` (labels),
``dialog/transcriptions/*.txt`` (text), ``sentences/wav`` (sound) and, where it is there,
``sentences/ForcedAlignment/*/*.wdseg`` (when each word is spoken). Four classes as in MUSE
(section 4.1): angry, sad, neutral, and happy, which takes "excited" in; other labels are left
out. Text files are decoded as UTF-8, else as Windows-1252, since some transcripts of the release
hold such bytes; line ends may be CRLF. Files whose names begin with a dot (``._*``,
``.DS_Store``) are ignored.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmer_lib.corpora.files import decoded, read_sound, read_text, stamp
from mmer_lib.data import Corpus, DataError, Findings, Utterance, Word, few, normalised, tokenise
from mmer_lib.store import cache_dir, digest, write_json

COUNTS = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
"""Utterances of each class in the whole release, 5531 in all (MUSE, section 4.1)."""

LABELS = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}
"""The release's labels that are read, and the class of each."""

CLIPPED = 0.01
"""A sound with a greater share of its samples at full scale is reported as clipped."""

RATE = 100
"""Frames a second in a ``.wdseg`` file."""

REMEDY = (
    "request IEMOCAP from https://sail.usc.edu/iemocap/, unpack it, "
    "and name the folder that holds Session1 to Session5"
)

_SHORTER = 0.5  # seconds that a sound may lack of its label's time
_FORMAT = 1  # raise when `_examine` below finds other things in the same sound

# Possessive (++), so that a line takes time in proportion to its length, whatever it holds.
_ID = r"(?P<id>Ses(?P<session>\d\d)[FM]_(?=\w+_[FM])\w++)"
_TIME = r"\[(?P<start>\d++\.?\d*+)\s*+-\s*+(?P<end>\d++\.?\d*+)\]"
_LABEL = re.compile(rf"{_TIME}\s++{_ID}\s++(?P<label>[a-z]+)\s+\[.*\]")
_DETAIL = re.compile(r"[CA]-|%")  # single raters' lines and the header of a label file
_TRANSCRIPT = re.compile(rf"{_ID}\s*+(?:\[[\d.\s-]*+\])?\s*+:\s*(?P<text>.*)")
_ASIDE = re.compile(r"[FM]\s*:")  # said between utterances: no id, no time
_FRAMES = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+-?\d+\s+(\S+)")
_NO_WORD = re.compile(r"<.*>|\+\+.*\+\+|\W*")  # silence and sentence ends, noises
_VARIANT = re.compile(r"\(\d+\)$")  # which of a word's pronunciations: THE(2)


class _Label(NamedTuple):
    """One labelled utterance: where its line is, and how long the line says it lasts."""

    id: str
    label: str
    seconds: float
    place: str


class _Sound(NamedTuple):
    """What there is to know of a sound before it is used."""

    rate: int
    samples: int
    full_scale: float  # share of samples there


@dataclass(frozen=True)
class _Item:
    """A labelled utterance with its text, and where its other files are."""

    label: _Label
    session: Path
    text: str

    def file(self, kind: str, ending: str) -> Path:
        dialog = self.label.id.rpartition("_")[0]
        return self.session / "sentences" / kind / dialog / f"{self.label.id}{ending}"


def load(root: str | Path, progress: bool = True) -> Corpus:
    """The corpus "iemocap": four classes, five sessions of two speakers, a fold each.

    Utterances stand in the order of the label files. Their `words` come from the forced
    alignment, times in seconds: written as in the transcript where its words fit the aligned
    ones one to one (letters compared without case, accents and punctuation), else as aligned,
    in lower case. Sounds (``[LAUGHTER]``, ``++NOISE++``) are no words, and an utterance of
    nothing else has none, `words` is (); it stays, since the published counts include it. Where
    the alignment is missing or damaged, `words` is None. `text` is the transcript, sounds
    included. The waveform is read when it is called for.

    The first load of a release reads every sound once (some 1 GB) to find those that are clipped
    or cannot be read; what it finds lies in the cache.

    The key covers all fields of the utterances, and of each sound its path within `root`, size
    and time of change (not its content: to hash it at every load would be slow), so a copy whose
    times of change differ has another key and computes its features anew.

    Args:
        root: the folder that holds Session1 to Session5, or the one above, which holds
            ``IEMOCAP_full_release``.
        progress: show a bar while sounds are read.

    Warns:
        UserWarning: once for every kind of thing left out or doubtful, with how often and where:
            utterances without transcript or usable sound (left out); clipped sounds, sounds
            shorter than labelled, missing or damaged alignments (kept); lines that mean
            nothing; counts that differ from `COUNTS`.

    `extras` holds the counts found ("counts"), how many utterances were left out and why
    ("left_out"), where words come from ("words"), and "root".

    Raises:
        DataError: no such folder, no session in it, a session without one of its folders; a file
            of which not one line can be read; an utterance that is labelled twice, or
            transcribed twice in different words; nothing left.
    """
    root = _release(Path(root))
    findings, left_out = Findings("iemocap"), Counter()
    items = [item for session in _sessions(root) for item in _items(session, findings, left_out)]
    sounds, stamps = _sounds(root, items, findings, left_out, progress)
    items = [item for item in items if item.label.id in sounds]
    if not items:
        findings.fail()
        raise DataError(f"{root}: no utterance has one of the labels {', '.join(LABELS)}")
    utterances = tuple(_utterance(item, sounds[item.label.id], findings) for item in items)
    counts = {e: n for e, n in sorted(Counter(u.emotion for u in utterances).items())}
    findings.warn()
    if counts != COUNTS:
        there, published = (", ".join(f"{e} {n}" for e, n in c.items()) for c in (counts, COUNTS))
        sessions = few(sorted({u.session for u in utterances}))
        warnings.warn(
            f"iemocap: found {there} ({len(utterances)} in all, in {sessions}); MUSE (section 4.1) "
            f"counts {published} ({sum(COUNTS.values())} in all)",
            stacklevel=2,
        )
    extras = {
        "counts": counts,
        "left_out": dict(left_out),
        "words": dict(Counter(map(_origin, utterances))),
        "root": str(root),
    }
    fields = [(u.id, u.speaker, u.session, u.text, u.words, u.rate, u.emotion) for u in utterances]
    key = digest("iemocap", fields, stamps)
    return Corpus("iemocap", key, utterances, extras=extras)


def _release(root: Path) -> Path:
    """The folder with the sessions: `root` or its ``IEMOCAP_full_release``."""
    for folder in (root, root / "IEMOCAP_full_release"):
        if any(folder.glob("Session[1-5]")):
            return folder
    problem = "holds no folder Session1 to Session5" if root.is_dir() else "no such folder"
    raise DataError(f"{root}: {problem}; {REMEDY}")


def _sessions(root: Path) -> list[Path]:
    sessions = sorted(root.glob("Session[1-5]"))
    for session in sessions:
        for part in ("dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"):
            if not (session / part).is_dir():
                raise DataError(f"{session / part}: no such folder; unpack the release again")
    return sessions


def _items(session: Path, findings: Findings, left_out: Counter) -> list[_Item]:
    """The utterances of a session that have one of the four classes, a transcript and a sound
    file."""
    labels = [x for file in _files(session, "EmoEvaluation") for x in _labels(file, findings)]
    places: dict[str, str] = {}
    for label in labels:
        before = places.setdefault(label.id, label.place)
        if before != label.place:
            raise DataError(
                f"utterance {label.id!r} is labelled twice, {before} and {label.place}; "
                "delete one of the lines, or the file that is a copy"
            )
    texts: dict[str, tuple[str, str]] = {}
    for file in _files(session, "transcriptions"):
        for name, text, place in _transcripts(file, findings):
            before = texts.setdefault(name, (text, place))
            if before[0] != text and name in places:
                raise DataError(
                    f"utterance {name!r} has two transcripts, {before[1]} and {place}; "
                    "delete the wrong line"
                )
    items = [_Item(label, session, texts.get(label.id, ("", ""))[0]) for label in labels]
    return [item for item in items if _wanted(item, item.label.id in texts, findings, left_out)]


def _files(session: Path, part: str) -> list[Path]:
    """The text files of a part of the dialogues, without those that macOS leaves.

    Raises:
        DataError: there are none.
    """
    folder = session / "dialog" / part
    files = sorted(p for p in folder.glob("*.txt") if not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: holds no .txt file; unpack the release again")
    return files


def _labels(file: Path, findings: Findings) -> list[_Label]:
    """The lines of a label file that give an utterance's time and label."""
    session, labels = file.parents[2].name[-1], []
    for number, line in _lines(file):
        place = f"{_short(file)} line {number}"
        match = _LABEL.fullmatch(line)
        if match and int(match["session"]) == int(session):
            seconds = float(match["end"]) - float(match["start"])
            labels.append(_Label(match["id"], match["label"], seconds, place))
        elif not _DETAIL.match(line):
            findings.add("line of a label file that gives no label", place, "left out")
    if not labels:
        raise DataError(f"{file}: not one label can be read; unpack the release again")
    return labels


def _transcripts(file: Path, findings: Findings) -> list[tuple[str, str, str]]:
    """(id, text, place) of the utterances in a file of transcripts. What is said aside, between
    utterances, belongs to none (``M: Yeah.``)."""
    found = []
    for number, line in _lines(file):
        place = f"{_short(file)} line {number}"
        if match := _TRANSCRIPT.fullmatch(line):
            found.append((match["id"], match["text"], place))
        elif not _ASIDE.match(line):
            findings.add("line of a transcript that belongs to no utterance", place, "left out")
    if not found:
        raise DataError(f"{file}: not one utterance can be read; unpack the release again")
    return found


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number, line) without blanks around it, for the lines that hold anything."""
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def _short(file: Path) -> str:
    """Session1/dialog/EmoEvaluation/a.txt -> the same, wherever the release lies."""
    return "/".join(file.parts[-4:])


def _wanted(item: _Item, transcribed: bool, findings: Findings, left_out: Counter) -> bool:
    """One of the four classes, with a transcript and a sound file."""
    name, label, place = item.label.id, item.label.label, item.label.place
    if label not in LABELS:
        left_out[f"label {label}"] += 1
    elif not transcribed:
        findings.add("label without a transcript", f"{name}, {place}", "left out")
        left_out["without transcript"] += 1
    elif not os.path.isfile(item.file("wav", ".wav")):
        findings.add("utterance without a sound file", name, "left out; unpack the release again")
        left_out["without sound"] += 1
    else:
        return True
    return False


# --------------------------------------------------------------------------------- sound


def _sounds(
    root: Path, items: list[_Item], findings: Findings, left_out: Counter, progress: bool
) -> tuple[dict[str, _Sound], list]:
    """What is known of each usable sound, and the stamps of all."""
    paths = [item.file("wav", ".wav") for item in items]
    stamps = [stamp(path, path.relative_to(root).as_posix()) for path in paths]
    sounds = {}
    for item, sound in zip(items, _examined(paths, stamps, progress), strict=True):
        name = item.label.id
        if sound is None or not sound.samples:
            what = "unreadable sound" if sound is None else "empty sound"
            findings.add(what, name, "left out; unpack the release again")
            left_out[what] += 1
            continue
        sounds[name] = sound
        if sound.full_scale > CLIPPED:
            problem = f"sound with more than {CLIPPED:.0%} of its samples at full scale"
            findings.add(problem, name, "kept, though it is clipped")
        if sound.samples / sound.rate < item.label.seconds - _SHORTER:
            findings.add("sound shorter than its label says", name, "kept; a broken copy?")
    return sounds, stamps


def _examined(paths: list[Path], stamps: list, progress: bool) -> list[_Sound | None]:
    """`_examine` of every file, from the cache where nothing has changed. A file that cannot be
    read is tried again at every load."""
    from tqdm import tqdm

    known = cache_dir() / "corpora" / f"iemocap-sound-{digest(_FORMAT, stamps)[:16]}.json"
    if known.is_file():
        return [_Sound(*row) for row in json.loads(known.read_text(encoding="utf-8"))]
    bar = tqdm(paths, desc="iemocap: sound", unit="file", disable=not progress, leave=False)
    sounds = [_examine(path) for path in bar]
    if None not in sounds:
        write_json(known, sounds)
    return sounds


def _examine(path: Path) -> _Sound | None:
    """None where `decoded` cannot read it."""
    try:
        samples, rate = decoded(path)
    except DataError:
        return None
    full = np.abs(samples) >= 32767 / 32768
    return _Sound(rate, len(samples), float(full.mean()) if len(samples) else 0.0)


# ---------------------------------------------------------------------------- word times


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
        match = _FRAMES.fullmatch(line)
        if not match or not after <= int(match[1]) <= int(match[2]):
            raise DataError(f"{path}: the line {line!r} does not follow from the one before")
        after = int(match[2]) + 1
        if not _NO_WORD.fullmatch(match[3]):
            words.append(Word(_VARIANT.sub("", match[3]), int(match[1]) / RATE, after / RATE))
    return words


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
    written = tokenise(transcript)
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


# ---------------------------------------------------------------------------- the corpus


def _utterance(item: _Item, sound: _Sound, findings: Findings) -> Utterance:
    """The speaker is the session's woman or man: Ses01F_impro01_M003 is spoken by Ses01M."""
    name = item.label.id
    return Utterance(
        id=name,
        speaker=name[:5] + name.rpartition("_")[2][0],
        session=item.session.name,
        text=item.text,
        words=_words(item, sound, findings),
        waveform=partial(read_sound, item.file("wav", ".wav")),
        rate=sound.rate,
        emotion=LABELS[item.label.label],
    )


def _words(item: _Item, sound: _Sound, findings: Findings) -> tuple[Word, ...] | None:
    path, remedy = item.file("ForcedAlignment", ".wdseg"), "kept, without times of words"
    try:
        return timed_words(item.text, path, sound.samples / sound.rate)
    except FileNotFoundError:
        findings.add("utterance without a word alignment", item.label.id, remedy)
    except DataError:
        findings.add("damaged word alignment", item.label.id, remedy)
    return None


def _origin(utterance: Utterance) -> str:
    """Where the words of an utterance come from, for `Corpus.extras`."""
    if utterance.words is None:
        return "without times"
    if not utterance.words:
        return "no words"
    texts = [word.text for word in utterance.words]
    return "as transcribed" if texts == tokenise(utterance.text) else "as aligned"
