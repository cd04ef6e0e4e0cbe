"""Tables of utterances: CSV files, and the sound files that they name."""

from __future__ import annotations

import codecs
import csv
import io
import os
import shlex
from functools import partial
from pathlib import Path

from mmer_lib.corpora.files import read_sound, stamp
from mmer_lib.data import DataError, Findings

TABLE = "metadata.csv"
"""The table that stands for a folder."""

NEEDED = ("audio", "text", "label", "speaker")
"""Fields whose columns may not be missing."""

FIELDS = (*NEEDED, "session", "split", "id", "sentiment")
"""All fields that a column may hold."""


def read_table(
    path: Path, columns: dict[str, str], problems: Findings
) -> tuple[dict[str, list[str]], list[str]]:
    """Cells by field, and the place of each line ("line 2").

    Args:
        columns: the name of each field's column; those of `NEEDED`, and those that are named
            otherwise than their field, must be there.
        problems: takes up lines of the wrong length, which are left out.

    Raises:
        DataError: no such table, not UTF-8, empty; columns that are missing or there twice.
    """
    rows = _rows(path, set(columns.values()))
    header = rows.pop(0)[1]
    _check_header(path, header, columns)
    whole = []
    for number, row in rows:
        if len(row) == len(header) or not any(row[len(header) :] or ["short"]):
            whole.append((number, row))  # cells of no column may be there if they are empty
        else:
            remedy = f"give {len(header)} as in line 1, text with a separator in quotation marks"
            problems.add("number of cells", f"line {number} has {len(row)}", remedy)
    if not whole:
        problems.fail()
        raise DataError(f"{path}: no lines under the names of the columns; add one an utterance")
    at = {field: header.index(column) for field, column in columns.items() if column in header}
    cells = {field: [row[i] for _, row in whole] for field, i in at.items()}
    return cells, [f"line {number}" for number, _ in whole]


def _check_header(path: Path, header: list[str], columns: dict[str, str]) -> None:
    """Raises:
    DataError: names all columns that are missing, beside what they may be called in this table;
        or those that are there twice.
    """
    if len(header) == 1 and "|" in header[0]:
        remedy = "save the table with commas, semicolons or tabs in its place"
        raise DataError(f"{path}, line 1: the separator is |; {remedy}")
    twice = {field: "" for field, column in columns.items() if header.count(column) > 1}
    alike = {_plain(name): name for name in header}
    missing = {
        field: alike.get(_plain(column), "")
        for field, column in columns.items()
        if column not in header and (field in NEEDED or column != field)
    }
    wrong, what = (twice, "more than one") if twice else (missing, "no")
    if wrong:
        named = [
            f"{columns[field]!r}" + (f" (did you mean {name!r}?)" if name else "")
            for field, name in wrong.items()
        ]
        raise DataError(
            f"{path}, line 1: {what} column {', '.join(named)} (there are {', '.join(header)}); "
            f"rename columns, or say {_say(wrong)}"
        )


def _say(names: dict[str, str]) -> str:
    """How to name columns by field, in Python and on the command line; "" stands for a name that
    only the user knows."""
    names = {field: name or "..." for field, name in names.items()}
    calls = ", ".join(f"{field}={name!r}" for field, name in names.items())
    options = " ".join(f"--column {shlex.quote(f'{f}={name}')}" for f, name in names.items())
    return f"{calls} ({options})"


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _rows(path: Path, columns: set[str]) -> list[tuple[int, list[str]]]:
    """(number of the first line, cells without blanks around them) of every row that holds
    anything."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with a {TABLE}")
    content = path.read_bytes()
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in content[:2]:
        remedy = "save the table as UTF-8 (a spreadsheet calls it 'CSV UTF-8')"
        raise DataError(f"{path}: UTF-16, not UTF-8; {remedy}")
    try:
        content = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the table as UTF-8") from error
    delimiter = _delimiter(content.lstrip().partition("\n")[0], columns)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    rows, number = [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((number, [cell.strip() for cell in row]))
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {number}: {error}; save the table as CSV again") from error
    if not rows:
        raise DataError(f"{path}: empty; its first line names the columns")
    return rows


def _delimiter(line: str, columns: set[str]) -> str:
    """The separator by which a header names most of the columns."""

    def found(delimiter: str) -> tuple[int, int]:
        names = [cell.strip() for cell in line.replace('"', "").split(delimiter)]
        return len(columns.intersection(names)), len(names)

    return max(",;\t", key=found)


def sound_files(
    folder: Path, files: list[str], column: str, places: list[str], problems: Findings
) -> tuple[list[dict], list]:
    """Waveform and rate of every utterance, and what stands for the content of its file; files
    that cannot be used go to the problems."""
    import soundfile

    media, stamps = [], []
    for file, place in zip(files, places, strict=True):
        path, where = folder / file, f"{place}: {file}"
        if not file:
            problems.add(f"{column} is empty", place, "name the sound file")
        elif not os.path.isfile(path):
            problems.add(f"{column}: no such file in {folder}", where, "correct the name")
        else:
            try:
                header = soundfile.info(path)
            except (soundfile.SoundFileError, TypeError):  # TypeError: named .raw, without a rate
                problems.add(f"{column}: not readable as sound", where, "convert it to wav")
                continue
            if not header.frames:
                problems.add(f"{column}: no samples", where, "record it again or delete the line")
            media.append({"waveform": partial(read_sound, path), "rate": header.samplerate})
            stamps.append(stamp(path, file))
    return media, stamps
