"""Tables of utterances: CSV files, and the sound files that they name."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

from mmer_lib.corpora import DataError
from mmer_lib.corpora.files import Findings, read_sound, stamp

TABLE = "metadata.csv"
"""The table that stands for a folder."""

NEEDED = ("audio", "text", "label", "speaker")
"""Fields whose columns may not be missing."""


def read_table(
    path: Path, columns: dict[str, str], problems: Findings
) -> tuple[dict[str, list[str]], list[str]]:
    """Cells by field, and the place of each line ("line 2").

    Args:
        columns: the name of each field's column; those of `NEEDED`, and those that are named
            otherwise than their field, must be there.
        problems: takes up lines of the wrong length, which are left out.

    Raises:
        DataError: no such table, not UTF-8, empty; a column that is missing or there twice.
    """
    rows = _rows(path, set(columns.values()))
    header = rows.pop(0)[1]
    for field, column in columns.items():
        optional = field not in NEEDED and column == field
        if header.count(column) > 1 or not (optional or column in header):
            what = "twice" if column in header else "missing"
            raise DataError(
                f"{path}, line 1: column {column!r} is {what} (there are {', '.join(header)}); "
                f"rename it, or say {field}='...' for the column that holds it"
            )
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


def _rows(path: Path, columns: set[str]) -> list[tuple[int, list[str]]]:
    """(number of the first line, cells without blanks around them) of every row that holds
    anything."""
    if not path.is_file():
        raise DataError(f"{path}: no such table; name a CSV file, or a folder with a {TABLE}")
    try:
        content = path.read_bytes().decode("utf-8-sig")
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
        elif not path.is_file():
            problems.add(f"{column}: no such file in {folder}", where, "correct the name")
        else:
            try:
                header = soundfile.info(path)
            except soundfile.LibsndfileError:
                problems.add(f"{column}: not readable as sound", where, "convert it to wav")
                continue
            if not header.frames:
                problems.add(f"{column}: no samples", where, "record it again or delete the line")
            media.append({"waveform": partial(read_sound, path), "rate": header.samplerate})
            stamps.append(stamp(path, file))
    return media, stamps
