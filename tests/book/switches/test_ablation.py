"""What holds for the switches of both models."""

import pytest

from mmer_lib.book import switches as ablation
from mmer_lib.book.switches import KINDS, toggles
from mmer_lib.data import DataError

both = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@both
def test_every_combination_is_a_row_of_the_table_or_says_why_not(kind):
    met = {}
    for values in ablation.combinations(kind):
        label = ablation.row_of(kind, values)
        assert (label is None) == bool(kind.why_not(values) or kind.unrecorded(values))
        if label is None:
            continue
        model, options = kind.configuration(values)
        (row,) = [r for r in kind.TABLE.rows if r.label == label]
        assert row.model == model and row.options == {**row.options, **options}
        assert row.settings == kind.settings(values)
        assert met.setdefault(label, (model, options, row.settings)) == (
            model, options, row.settings)  # fmt: skip
    assert list(met) != [] and set(met) == {row.label for row in kind.TABLE.rows}
    assert len(met) == {"muse-toggles": 21, "mimic-toggles": 76}[kind.TABLE.name]
    assert ablation.row_of(kind, ablation.whole(kind)) == kind.TABLE.reference


@both
def test_a_factor_that_is_idle_changes_nothing_and_every_other_does(kind):
    for values in ablation.combinations(kind):
        if kind.why_not(values):
            continue
        for at, (name, choices) in enumerate(kind.FACTORS.items()):
            for other in choices:
                changed = (*values[:at], other, *values[at + 1 :])
                if other == values[at] or kind.why_not(changed):
                    continue
                here, there = ((kind.configuration(v), kind.settings(v)) for v in (values, changed))
                assert (here == there) == (name in kind.idle(values)), (values, name)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"rows": [{}], "utterances": []}'])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    file = tmp_path / "toggles.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(
        DataError, match=r"toggles\.json: not what `mmer record` writes of muse-toggles or mimic"
    ):
        toggles(file)


def test_the_target_must_be_json(tmp_path):
    with pytest.raises(DataError, match=r"x\.txt: give a name that ends in \.json"):
        ablation.record("muse-toggles", tmp_path / "x.txt")
