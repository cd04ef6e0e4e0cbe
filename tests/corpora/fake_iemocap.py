"""A small release in the format of IEMOCAP, with the oddities of the real one: nobody said this.

Five sessions of a woman and a man, two dialogues each, a few utterances of every class and of
labels that are left out; noise for sound.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from mmer_lib.corpora import iemocap
from mmer_lib.data import Corpus

RATE = 16000
LABELS = ("ang", "sad", "neu", "hap", "exc", "fru", "xxx")
CLASSES = {"ang": "angry", "sad": "sad", "neu": "neutral", "hap": "happy", "exc": "happy"}

# What the transcript says, and what was aligned.
SPOKEN = (
    ("Excuse me.", "<s> EXCUSE ME </s>"),
    ("I -- [LAUGHTER] I don't know!", "<s> I(2) <sil> ++LAUGHTER++ I DON'T(2) KNOW </s>"),
    ("[LAUGHTER]", "<s> ++LAUGHTER++ <sil> </s>"),
    ("Let's go to the café.", "<s> LET'S GO TO(2) THE(2) <sil> CAFE </s>"),
    ("What, a well-known one?", "<s> WHAT A WELL KNOWN ONE </s>"),
    ("Um, yeah. The end...", "<s> <sil> UM YEAH THE END </s>"),
    ("You're “right”; isn’t it?", "<s> YOU'RE RIGHT ISN'T IT </s>"),
)
NOT_ONE_TO_ONE = "What, a well-known one?"

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"


@dataclass
class Line:
    """What was written of one utterance. `rows`: (first frame, last frame, token) of its
    alignment, silence and noises included."""

    id: str
    session: int
    speaker: str
    label: str
    text: str
    samples: int
    rows: list[tuple[int, int, str]]

    @property
    def words(self) -> list[tuple[str, float, float]]:
        """(word without variant, start, end in seconds), without silence and noises."""
        return [
            (token.partition("(")[0], a / 100, (b + 1) / 100)
            for a, b, token in self.rows
            if token[0] not in "<+"
        ]


@dataclass
class Release:
    """The folder that holds Session1 to Session5, and all that was written."""

    root: Path
    lines: list[Line] = field(default_factory=list)

    @property
    def used(self) -> list[Line]:
        """Those of the four classes."""
        return [line for line in self.lines if line.label in CLASSES]

    def session(self, line: Line) -> Path:
        return self.root / f"Session{line.session}"

    def labels(self, line: Line) -> Path:
        return self.session(line) / "dialog/EmoEvaluation" / f"{dialog(line)}.txt"

    def transcripts(self, line: Line) -> Path:
        return self.session(line) / "dialog/transcriptions" / f"{dialog(line)}.txt"

    def sound(self, line: Line) -> Path:
        return self.session(line) / "sentences/wav" / dialog(line) / f"{line.id}.wav"

    def alignment(self, line: Line) -> Path:
        folder = self.session(line) / "sentences/ForcedAlignment" / dialog(line)
        return folder / f"{line.id}.wdseg"


def dialog(line: Line) -> str:
    return line.id.rpartition("_")[0]


def write(root: Path) -> Release:
    """Write a whole release of 70 utterances, 50 of them in the four classes, to `root`."""
    release, rng = Release(root), np.random.default_rng(0)
    for session in range(1, 6):
        for number, name in enumerate((f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1b")):
            lines = [
                _line(session, name, gender, k, rng)
                for gender in "FM"
                for k in range(number, len(LABELS), 2)
            ]
            release.lines += lines
            _write_dialog(release, lines)
            for line in lines:
                _write_sound(release.sound(line), line, rng)
        _write_leftovers(root / f"Session{session}")
    (root / "README.txt").write_text("A made-up release.\n")
    return release


def write_dialogue(root: Path) -> Release:
    """The first dialogue of Session 1 alone, six utterances."""
    release, rng, name = Release(root), np.random.default_rng(0), "Ses01F_impro01"
    release.lines += [_line(1, name, gender, k, rng) for gender in "FM" for k in (0, 2, 5)]
    _write_dialog(release, release.lines)
    for line in release.lines:
        _write_sound(release.sound(line), line, rng)
    return release


def _line(session: int, name: str, gender: str, k: int, rng) -> Line:
    """An utterance; every speaker has each label once, and each of `SPOKEN` once."""
    text, aligned = SPOKEN[(k + session + (gender == "M")) % len(SPOKEN)]
    rows = rows_of(aligned.split(), rng)
    samples = (rows[-1][1] + 3) * RATE // 100
    speaker = f"Ses0{session}{gender}"
    return Line(f"{name}_{gender}{k:03d}", session, speaker, LABELS[k], text, samples, rows)


def rows_of(tokens: list[str], rng) -> list[tuple[int, int, str]]:
    """(first frame, last frame, token) of tokens, one after the other."""
    lengths = rng.integers(3, 20, len(tokens))
    ends = np.cumsum(lengths)
    pairs = zip(ends - lengths, ends - 1, tokens, strict=True)
    return [(int(a), int(b), token) for a, b, token in pairs]


def wdseg(rows: list[tuple[int, int, str]]) -> str:
    """A word alignment as the release writes it."""
    lines = ["\t SFrm  EFrm    SegAScr Word"]
    lines += [f"\t{a:5d} {b:5d} {-1000 * (b - a):10d} {token}" for a, b, token in rows]
    return "\n".join([*lines, " Total score:     -987654", ""])


def _write_dialog(release: Release, lines: list[Line]) -> None:
    """Labels, transcripts and alignments of a dialogue. Odd sessions have CRLF in their
    labels, Session 2 CRLF in its transcripts, Session 3 Windows-1252 there."""
    session, moment = lines[0].session, 6.29
    labels, transcripts = [HEADER, "\n"], []
    for line in lines:
        end = moment + line.samples / RATE
        labels += [
            f"[{moment:.4f} - {end:.4f}]\t{line.id}\t{line.label}\t[2.5000, 2.5000, 2.5000]\n",
            "C-E2:\tNeutral;\t()\n",
            "C-F1:\tNeutral; Anger;\t(a bit)\n",
            "A-E3:\tval 3; act 2; dom  2;\t()\n",
            "\n",
        ]
        time = f"[{moment:08.4f}-{end:08.4f}]"
        transcripts.append(f"{line.id} {time}: {line.text}\n")
        moment = end + 0.5
    transcripts[1] = transcripts[1].replace("\n", "  \t\n")
    transcripts.insert(2, "M: Yeah.\n")
    transcripts.insert(3, "F:\n")
    transcripts.append(f"{dialog(lines[0])}_FXX0 [{moment:08.4f}-{moment + 1:08.4f}]: Hm.\n")
    transcripts.append("\n")
    _write(release.labels(lines[0]), "".join(labels), crlf=session % 2 == 1)
    encoding = "cp1252" if session == 3 else "utf-8"
    _write(release.transcripts(lines[0]), "".join(transcripts), session == 2, encoding)
    for line in lines:
        _write(release.alignment(line), wdseg(line.rows), crlf=session == 4)


def _write(path: Path, text: str, crlf: bool = False, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.replace("\n", "\r\n" if crlf else "\n").encode(encoding))


def _write_sound(path: Path, line: Line, rng) -> None:
    """Noise, louder where there are words, and louder the further the label is in `LABELS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.001 * rng.standard_normal(line.samples)
    for _, start, end in line.words:
        wave[int(start * RATE) : int(end * RATE)] *= 20 * (1 + LABELS.index(line.label))
    soundfile.write(path, np.clip(wave, -0.9, 0.9), RATE, "PCM_16")


def _write_leftovers(session: Path) -> None:
    """Files that are no part of the corpus, as the real release has them."""
    dialog_folder = session / "dialog"
    for kind in ("EmoEvaluation", "transcriptions"):
        name = sorted((dialog_folder / kind).glob("*.txt"))[0].name
        (dialog_folder / kind / f"._{name}").write_bytes(b"\x00\x05\x16\x07\x00Mac OS X\xff")
        (dialog_folder / kind / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    for kind in ("Attribute", "Categorical", "Self-evaluation"):
        name = f"Ses0{session.name[-1]}F_impro01_e2_{kind[:3].lower()}"
        for ending in (".txt", ".anvil"):
            _write(dialog_folder / "EmoEvaluation" / kind / (name + ending), "X :neutral; ()\n")


# ------------------------------------------------------------------- what tests do with it


def load(release: Release) -> tuple[Corpus, list[str]]:
    """The corpus, and what its warnings say, the one about counts left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        corpus = iemocap.load(release.root, progress=False)
    messages = [str(w.message) for w in caught]
    return corpus, [m for m in messages if not m.startswith("iemocap: found")]


def in_order(release: Release) -> list[Line]:
    """The used lines as the reader orders them: session, dialogue, line."""
    return sorted(release.used, key=lambda line: (line.session, dialog(line)))


def spoken(release: Release) -> Line:
    """A neutral utterance that has words."""
    return next(line for line in release.used if line.words and line.label == "neu")


def change(path: Path, old: bytes, new: bytes) -> None:
    """Replace the first occurrence of `old`, which must be there."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
