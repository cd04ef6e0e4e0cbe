"""What every drawing must do, whatever it shows."""

import warnings

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def drawn_in_silence(draw, folder):
    """The figure that `draw` gives: without a warning, saved in a folder, with nothing left open,
    and the style of other figures as it was."""
    before = dict(plt.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw()
        figure.savefig(folder / "it.png", dpi=50)
    assert isinstance(figure, Figure) and plt.get_fignums() == []
    assert (folder / "it.png").stat().st_size > 2000
    assert dict(plt.rcParams) == before, "the style leaks into other figures"
    return figure


def assert_narrow(figure):
    """A phone shows it without shrinking its letters to nothing."""
    assert figure.get_figwidth() <= 6
    sizes = [t.get_fontsize() for a in figure.axes for t in (*a.texts, *a.get_xticklabels())]
    assert min(sizes) >= 8


def mesh(axes):
    """The numbers of the one heat map of some axes, masked where it shows none."""
    (found,) = [c for c in axes.collections if type(c).__name__ == "QuadMesh"]
    return found.get_array()
