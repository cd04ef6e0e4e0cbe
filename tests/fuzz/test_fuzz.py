"""A few damaged files for every reader; `make fuzz` feeds them hundreds of thousands."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, damage, read

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz.json"


@pytest.fixture(scope="module", params=list(TARGETS))
def fuzzed(request, tmp_path_factory):
    """A target, the folder of its file, the file, and good contents."""
    target = TARGETS[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "here"
    folder.mkdir()
    path = target.place(folder)
    return target, folder, path, [path.read_bytes(), *target.seeds()]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder, where code in a file would leave its marker."""
    monkeypatch.chdir(tmp_path)


def test_a_good_file_is_read(fuzzed):
    target, folder, path, seeds = fuzzed
    assert read(target, folder, path, seeds[0]) == "read"


def test_damaged_files_are_read_or_refused_by_name(fuzzed):
    target, folder, path, seeds = fuzzed

    @settings(
        max_examples=5 if target.child else 40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(0, 2**32), st.integers(0, 99))
    def check(number, which):
        content = damage(seeds[which % len(seeds)], Random(number), seeds)
        read(target, folder, path, content)

    check()


def test_the_recorded_runs_broke_nothing():
    recorded = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert not [name for name, told in recorded.items() if told["findings"] or told["ended"]]
