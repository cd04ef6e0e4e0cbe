import tracemalloc

import pytest

from tests.fuzz.invariants import in_time

DEEP = '{"a": ' + "[" * 100_000
"""JSON deeper than Python reads."""


@pytest.fixture
def bounded():
    """No test may take as much as a hang or a bomb would."""
    tracemalloc.start()
    with in_time(20):
        yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6
