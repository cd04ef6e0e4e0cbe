"""Public programs, where they are at hand: see benchmarks/README.md."""

import pytest

from benchmarks.programs import Missing


def program(build, *arguments):
    """What a builder of `benchmarks.programs` makes; without the program, the test is skipped."""
    try:
        return build(*arguments)
    except Missing as missing:
        pytest.skip(str(missing))
