"""Figures of the book: arrays in, a matplotlib Figure out. Nothing here computes a result.

`style` has the colours and sizes; `cells` draws heat maps, `in_time` what lies over the time of an
utterance, `scores` intervals, runs and bars, `curves` lines, `points` points, `maps` models as
boxes and arrows.
"""

from mmer_lib.book.figures.cells import (
    confusion,
    cube_slices,
    filter_windows,
    gate_map,
    heat_map,
    hump_map,
    rate_map,
    reach_map,
    readout_map,
)
from mmer_lib.book.figures.curves import lines, seed_curves
from mmer_lib.book.figures.in_time import (
    attention_maps,
    attribution_in_time,
    before_and_after,
    dummy_rows,
    player,
    timeline,
)
from mmer_lib.book.figures.maps import field_map, model_map
from mmer_lib.book.figures.points import by_length, placed_by_sentiment
from mmer_lib.book.figures.scores import (
    against_ceilings,
    by_row,
    difference_dots,
    intervals,
    ours_and_paper,
    run_dots,
    runs_by_row,
    word_bars,
)
from mmer_lib.book.figures.style import EMOTION_COLOURS, MODALITY_COLOURS, new_axes

__all__ = [name for name, value in globals().items() if callable(value) or name.isupper()]
