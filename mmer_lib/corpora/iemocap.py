"""IEMOCAP (Busso et al., 2008), read from the folder of its release.

Of every session the reader takes ``dialog/EmoEvaluation/*.txt`` (labels),
``dialog/transcriptions/*.txt`` (text), ``sentences/wav`` (sound) and, where it is there,
``sentences/ForcedAlignment/*/*.wdseg`` (when each word is spoken). Four classes as in MUSE
(section 4.1): angry, sad, neutral, and happy, which takes "excited" in. Text is UTF-8, else
Windows-1252, as some transcripts of the release are; files that macOS leaves (``._*``) are ignored.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

from mmer_lib.corpora.files import read_sound, read_text, stamp
from mmer_lib.data import Corpus, DataError, Findings, Utterance, Word, few, normalised, tokenise
from mmer_lib.store import digest

COUNTS = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
"""Utterances of each class in the whole release, 5531 in all (MUSE, section 4.1)."""

LABELS = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}
"""The release's labels that are read, and the class of each."""

RATE = 100
"""Frames a second in a ``.wdseg`` file."""

REMEDY = (
    "request IEMOCAP from https://sail.usc.edu/iemocap/, unpack it, "
    "and name the folder that holds Session1 to Session5"
)

_AGAIN = "unpack the release again"
_SHORTER = 0.5  # seconds that a sound may lack of its label's time

# Possessive (++), so that a line takes time in proportion to its length, whatever it holds.
_ID = r"(?P<id>Ses\d\d[FM]_(?=\w+_[FM])\w++)"
_TIME = r"\[(?P<start>\d++\.?\d*+)\s*+-\s*+(?P<end>\d++\.?\d*+)\]"
_LABEL = re.compile(rf"{_TIME}\s++{_ID}\s++(?P<label>[a-z]+)\s+\[.*\]")
_DETAIL = re.compile(r"[CA]-|%")  # single raters' lines and the header of a label file
_TRANSCRIPT = re.compile(rf"{_ID}\s*+(?:\[[\d.\s-]*+\])?\s*+:\s*(?P<text>.*)")
_ASIDE = re.compile(r"[FM]\s*:")  # said between utterances: no id, no time
_FRAMES = re.compile(r"(\d{1,9})\s+(\d{1,9})\s+-?\d+\s+(\S+)")
_NO_WORD = re.compile(r"<.*>|\+\+.*\+\+|\W*")  # silence and sentence ends, noises
_VARIANT = re.compile(r"\(\d+\)$")  # which of a word's pronunciations: THE(2)
_FILES = {  # by folder: the lines that are wanted, others that are known, and what the rest is
    "EmoEvaluation": (_LABEL, _DETAIL, "line of a label file that gives no label"),
    "transcriptions": (_TRANSCRIPT, _ASIDE, "line of a transcript that belongs to no utterance"),
}


def load(root: str | Path, progress: bool = True) -> Corpus:
    """The corpus "iemocap": four classes, five sessions of two speakers, a fold each.

    `words` are those of `timed_words`; None where the alignment is missing or damaged. The key
    covers all fields, and of each sound its path within `root`, size and time of change.

    Args:
        root: the folder that holds Session1 to Session5, or ``IEMOCAP_full_release`` with these.
        progress: show a bar.

    Warns:
        UserWarning: once for every kind of thing that is left out or doubtful, with how often and
            where; counts that differ from `COUNTS`.

    Raises:
        DataError: no such folder, no session in it, a session without one of its folders; a file
            of which not one line can be read; an utterance that is labelled twice; nothing left.
    """
    from tqdm import tqdm

    root = _release(Path(root))
    findings, left_out, places = Findings("iemocap"), Counter(), {}
    utterances, stamps = [], []
    for session in sorted(root.glob("Session[1-5]")):
        if not (session / "sentences/wav").is_dir():
            raise DataError(f"{session}/sentences/wav: no such folder; {_AGAIN}")
        transcripts = _lines(session, "transcriptions", findings)
        texts = {match["id"]: match["text"] for match, _ in transcripts}
        labels = _lines(session, "EmoEvaluation", findings)
        for label, place in tqdm(labels, session.name, disable=not progress, leave=False):
            name = label["id"]
            if name in places:
                raise DataError(
                    f"utterance {name!r} is labelled twice, {places[name]} and {place}; "
                    "delete one of the lines, or the file that is a copy"
                )
            places[name] = place
            sound = session / "sentences/wav" / name.rpartition("_")[0] / f"{name}.wav"
            if label["label"] not in LABELS:
                left_out[f"label {label['label']}"] += 1
                continue
            if name not in texts:
                reason = "without transcript"
            elif utterance := _utterance(session, label, texts[name], sound, findings):
                stamps.append(stamp(sound, sound.relative_to(root).as_posix()))
                utterances.append(utterance)
                continue
            else:
                reason = "without a sound that can be read"
            left_out[reason] += 1
            findings.add(f"left out: {reason}", f"{name}, {place}", _AGAIN)
    if not utterances:
        findings.fail()
        raise DataError(f"{root}: no utterance has one of the labels {', '.join(LABELS)}")
    counts = dict(sorted(Counter(u.emotion for u in utterances).items()))
    findings.warn()
    if counts != COUNTS:
        there, published = (
            f"{', '.join(f'{e} {n}' for e, n in c.items())} ({sum(c.values())} in all"
            for c in (counts, COUNTS)
        )
        sessions = few(sorted({u.session for u in utterances}))
        text = f"iemocap: found {there}, in {sessions}); MUSE (section 4.1) counts {published})"
        warnings.warn(text, stacklevel=2)
    extras = {"counts": counts, "left_out": dict(left_out), "root": str(root)}
    fields = [(u.id, u.speaker, u.session, u.text, u.words, u.rate, u.emotion) for u in utterances]
    key = digest("iemocap", fields, stamps)
    return Corpus("iemocap", key, tuple(utterances), extras=extras)


def _release(root: Path) -> Path:
    """The folder with the sessions: `root` or its ``IEMOCAP_full_release``."""
    for folder in (root, root / "IEMOCAP_full_release"):
        if any(folder.glob("Session[1-5]")):
            return folder
    problem = "holds no folder Session1 to Session5" if root.is_dir() else "no such folder"
    raise DataError(f"{root}: {problem}; {REMEDY}")


def _lines(session: Path, kind: str, findings: Findings) -> list[tuple[re.Match, str]]:
    """The wanted lines of a folder's text files, each with its place; others that are not known go
    to the findings.

    Raises:
        DataError: no text file, or one without a wanted line.
    """
    folder, (wanted, known, problem) = session / "dialog" / kind, _FILES[kind]
    files = sorted(p for p in folder.glob("*.txt") if not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: holds no .txt file; {_AGAIN}")
    found = []
    for file in files:
        before = len(found)
        for number, line in enumerate(map(str.strip, read_text(file).split("\n")), 1):
            place = f"{'/'.join(file.parts[-4:])} line {number}"
            if match := wanted.fullmatch(line):
                found.append((match, place))
            elif line and not known.match(line):
                findings.add(problem, place, "left out")
        if len(found) == before:
            raise DataError(f"{file}: not one line can be read; {_AGAIN}")
    return found


def _utterance(
    session: Path, label: re.Match, text: str, sound: Path, findings: Findings
) -> Utterance | None:
    """None without a sound that can be read. The speaker is the session's woman or man:
    Ses01F_impro01_M003 is spoken by Ses01M."""
    import soundfile

    try:
        header = soundfile.info(sound)
    except soundfile.SoundFileError:
        return None
    if not header.frames:
        return None
    name, dialog = label["id"], sound.parent.name
    if header.duration < float(label["end"]) - float(label["start"]) - _SHORTER:
        findings.add("sound shorter than its label says", name, "kept; a broken copy?")
    words, remedy = None, "kept; models that read averages by word leave it out"
    alignment = session / "sentences/ForcedAlignment" / dialog / f"{name}.wdseg"
    try:
        words = timed_words(text, alignment, header.duration)
    except FileNotFoundError:
        findings.add("utterance without a word alignment", name, remedy)
    except DataError:
        findings.add("damaged word alignment", name, remedy)
    return Utterance(
        id=name,
        speaker=name[:5] + name.rpartition("_")[2][0],
        session=session.name,
        text=text,
        words=words,
        waveform=partial(read_sound, sound),
        rate=header.samplerate,
        emotion=LABELS[label["label"]],
    )


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
    if not lines or not lines[0].startswith("SFrm") or not lines[-1].startswith("Total score"):
        raise DataError(f"{path}: no word alignment, or cut off (from 'SFrm' to 'Total score')")
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
    """The words of an utterance of so many seconds with their times, from a ``.wdseg`` file.

    Written as in the transcript where its words fit the aligned ones one to one (letters and
    digits compared, without case and accents), else as aligned, in lower case; none where the
    transcript holds no words.

    Raises:
        FileNotFoundError: no such file.
        DataError: a damaged file, one without words, or one of a longer sound.
    """
    written = tokenise(transcript)
    if not written:
        return ()
    aligned = read_alignment(path)
    if not aligned or aligned[-1].start >= seconds:
        raise DataError(f"{path}: holds no words, or one that begins after {seconds:.2f} s")
    if [_bare(word.text) for word in aligned] != [_bare(text) for text in written]:
        written = [word.text.lower() for word in aligned]
    return tuple(w._replace(text=text) for w, text in zip(aligned, written, strict=True))


def _bare(word: str) -> str:
    """What of a word is compared: letters and digits, without case and accents."""
    return "".join(c for c in normalised("NFKD", word).upper() if c.isalnum())
