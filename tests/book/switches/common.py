"""What the tests of both models' switches share."""

import sys
import time

from mmer_lib.book import switches as ablation


def off(kind, *names, **choices):
    """The values of the whole model but for parts that are off, and for choices, which go by the
    first word of a factor's name."""
    assert set(names) <= set(kind.FACTORS)
    return tuple(
        choices.get(name.split()[0], values[0] if name not in names else False)
        for name, values in kind.FACTORS.items()
    )


def setting(kind, values):
    """Values as the traits of a figure hold them."""
    return dict(zip(kind.FACTORS, values, strict=True))


def of(kind, figure, key, values):
    """What a figure's data says of a combination under a key."""
    return figure.data[key][ablation.combinations(kind).index(values)]


def outcome(kind, figure, values):
    """None where there is none."""
    at = of(kind, figure, "at", values)
    return figure.data["outcomes"][at] if at >= 0 else None


def pretend(monkeypatch, script):
    """A script takes the place of the training."""
    monkeypatch.setattr("mmer_lib.book.explorer.live.PROGRAM", [sys.executable, "-c", script])


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
