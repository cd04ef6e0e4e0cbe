"""The chapter on tests names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line.strip("| \n").split(" | ")
    for line in (ROOT / "book/tested.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| case")
]


def test_there_are_rows_of_case_behaviour_and_place():
    assert len(ROWS) > 30 and {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_test_that_is_named_exists(row):
    named = re.findall(r"`([\w/]+\.py)` `(\w+)`", row[2])
    assert named and len(named) == row[2].count(".py")
    for file, words in named:
        source = (ROOT / "tests" / file).read_text("utf-8")
        assert re.search(rf"^def test_\w*{words.removeprefix('test_')}\w*\(", source, re.M), file
