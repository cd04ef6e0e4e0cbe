"""A few damaged files for every reader; `make fuzz` feeds them hundreds of thousands."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.invariants import read, read_in_bounds
from tests.fuzz.targets import TARGETS

EXAMPLES = 25


@pytest.fixture(scope="module", params=list(TARGETS))
def fuzzed(request, tmp_path_factory):
    """A target, its good files, and where they belong."""
    target = TARGETS[request.param]
    return target, target.seeds(), target.prepare(tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder, where code in a file would leave its marker."""
    monkeypatch.chdir(tmp_path)


def test_the_good_files_are_read(fuzzed):
    target, seeds, path = fuzzed
    outcomes = [read(target, path, seed) for seed in seeds]
    assert "read" in outcomes


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.integers(0, 2**32), st.integers(0, 99))
def test_damaged_files_are_read_or_refused_by_name(fuzzed, number, which):
    target, seeds, path = fuzzed
    content = target.mutate(seeds[which % len(seeds)], Random(number), seeds)
    read_in_bounds(target, path, content)
