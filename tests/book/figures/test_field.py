import numpy as np
import pytest

from mmer_lib.book.figures import field
from mmer_lib.experiments.compare import TASKS

ROWS = [
    {"label": "one", "runs": [{"mae": 1.0}, {"mae": 2.0}]},
    {"label": "another of a long name", "runs": [{"mae": 0.5}, {"mae": None}]},
]


def test_the_map_has_every_system_that_is_compared_once_and_no_other():
    figure = field.field_map()
    texts = [t.get_text() for t in figure.axes[0].texts]
    wanted = {label.split()[0] for task in TASKS.values() for label, *_ in task.systems}
    wanted -= {"majority", "training", "linear,", "BERT,"}
    assert set(texts) == wanted and len(texts) == len(wanted)


def test_no_arrow_of_the_map_leads_back_in_time():
    for earlier, later in field._TAKEN_UP:
        assert field._SYSTEMS[earlier][1] < field._SYSTEMS[later][1]


def test_systems_stand_in_their_order_with_runs_means_and_marks():
    axes = field.compared(ROWS, "mae", "MAE", {"floor": 3.0, "ceiling": 0.2}).axes[0]
    runs, means = axes.lines[0:4:2], axes.lines[1:4:2]
    assert [list(line.get_xdata()) for line in runs] == [[1.0, 2.0], [0.5]]
    assert [line.get_xdata()[0] for line in means] == [1.5, 0.5]
    assert [t.get_text().replace("\n", " ") for t in axes.get_yticklabels()] == [
        "one", "another of a long name",
    ]  # fmt: skip
    assert [line.get_xdata()[0] for line in axes.lines[4:]] == [3.0, 0.2]
    assert axes.yaxis_inverted() and axes.get_xlabel() == "MAE"


def test_cost_is_on_a_logarithmic_axis_and_every_point_has_its_name():
    axes = field.cost_map({"a": (1.0, 0.5), "b": (100.0, 0.4)}, "MFLOPs", "MAE").axes[0]
    assert axes.get_xscale() == "log" and [t.get_text() for t in axes.texts] == ["a", "b"]


@pytest.mark.parametrize("lower, bold", [(True, ["0.100", "0.200"]), (False, ["0.900", "0.300"])])
def test_the_best_rate_of_each_row_is_bold(lower, bold):
    development = {"a": [0.9, 0.1], "b": [0.2, 0.3]}
    axes = field.rate_map(development, (1e-3, 1e-2), "MAE", lower).axes[0]
    found = [t.get_text() for t in axes.texts if t.get_weight() == "bold"]
    assert found == bold
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.001", "0.01"]
    shades = axes.collections[0].get_array().reshape(2, 2)
    assert np.array_equal(shades.argmax(1), [1, 0] if lower else [0, 1])
