import json
from itertools import product

import numpy as np
import pytest

from mmer_lib.data import DataError
from mmer_lib.experiments.catalogue import paper_rows
from mmer_lib.experiments.statistics import EXACT, holm, paired_test
from mmer_lib.experiments.tables import (
    aggregate,
    all_pairs,
    as_markdown,
    as_text,
    flat_rows,
    flat_runs,
    notes,
    read_table,
    save_table,
)

# ------------------------------------------------------------------------ the papers' figures


def test_the_first_table_is_the_papers():
    """Table 1 of MUSE, typed from the paper once more."""
    printed = [
        ("S. Yoon et al. [13]", 0.682, 0.012, 0.688, 0.014),
        ("H. Xu et al. [14]", 0.685, 0.007, 0.691, 0.008),
        ("H. Li et al. [3]", 0.716, 0.004, 0.725, 0.005),
        ("MUSE Multilevel Transformer", 0.735, 0.004, 0.747, 0.003),
        ("Phoneme only", 0.680, 0.003, 0.695, 0.005),
        ("Word only", 0.715, 0.002, 0.726, 0.002),
        ("Concatenation", 0.732, 0.004, 0.741, 0.004),
        ("Highway network fusion", 0.735, 0.003, 0.747, 0.002),
        ("w/o Deep Fusion module", 0.727, 0.010, 0.738, 0.007),
    ]
    rows = paper_rows("muse-1")
    assert [(r["method"], r["wa"], r["wa_std"], r["ua"], r["ua_std"]) for r in rows] == printed
    assert [r["method"] for r in rows if r["group"] == "baseline"] == [p[0] for p in printed[:3]]


def test_the_second_table_has_depths_and_no_spread():
    rows = [tuple(r.values()) for r in paper_rows("muse-2")]
    assert rows == [
        (3, 3, 1, 0.723, 0.734), (2, 2, 1, 0.730, 0.739), (1, 1, 1, 0.731, 0.743),
        (1, 1, 2, 0.735, 0.747), (1, 1, 3, 0.726, 0.734), (2, 2, 2, 0.736, 0.744),
        (2, 2, 3, 0.725, 0.733),
    ]  # fmt: skip


def test_the_third_table_is_the_papers():
    rows = [(r["method"], r["wa"], r["wa_std"], r["ua"], r["ua_std"]) for r in paper_rows("muse-3")]
    assert rows == [
        ("BERT (utterance-only)", 0.693, 0.004, 0.695, 0.001),
        ("MUSE Multilevel Transformer", 0.735, 0.003, 0.747, 0.002),
        ("MUSE Multigranular Fusion Model", 0.752, 0.003, 0.756, 0.006),
    ]


def test_an_unknown_table_is_refused():
    with pytest.raises(DataError, match=r"'muse-9'; known: .*muse-1, muse-2, muse-3"):
        paper_rows("muse-9")


# ---------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("n", [2, 3, 6, 11])
def test_the_permutation_test_is_an_enumeration_of_all_signs(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.02, 0.05, n), rng.normal(0, 0.05, n)
    difference, p = paired_test(a, b)
    d = a - b
    flipped = np.array([np.mean(np.array(s) * d) for s in product((-1, 1), repeat=n)])
    assert difference == pytest.approx(d.mean())
    assert p == pytest.approx(np.mean(np.abs(flipped) >= abs(d.mean()) - 1e-12))
    assert paired_test(b, a) == pytest.approx((-difference, p))


def test_the_smallest_p_is_that_of_differences_of_one_sign():
    for n in (2, 5, 15, EXACT):
        b = np.linspace(0.5, 0.6, n)
        assert paired_test(b + np.linspace(0.01, 0.02, n), b)[1] == pytest.approx(2 / 2**n)


def test_no_difference_and_ties_give_p_of_one():
    assert paired_test([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]) == (0.0, 1.0)
    assert paired_test([0.5, 0.6], [0.6, 0.5])[1] == 1.0
    # accuracies are multiples of one utterance: equal sums of differences must count as equal
    d = np.array([3, 1, -2, 2, -1, 1]) / 32
    flipped = [abs(np.dot(s, [3, 1, 2, 2, 1, 1])) >= 4 for s in product((-1, 1), repeat=6)]
    assert paired_test(0.7 + d, np.full(6, 0.7))[1] == pytest.approx(np.mean(flipped))


def test_more_pairs_are_resampled_from_a_fixed_seed():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, (2, EXACT + 9))
    first = paired_test(a, b)
    assert first == paired_test(a, b)
    flips = rng.choice((-1, 1), (200_000, len(a))) @ (a - b)
    assert first[1] == pytest.approx(np.mean(np.abs(flips) >= abs((a - b).sum())), abs=0.005)


def test_holms_correction_by_hand():
    """0.01, 0.02, 0.03, 0.04 -> 4 x 0.01, 3 x 0.02, then never less than the one before."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert holm([0.2]) == [0.2] and holm([]) == []


# --------------------------------------------------------------------------------- aggregation


def runs(name, scores, folds=(0, 1), seeds=(0, 1, 2)):
    pairs = [(f, s) for f in folds for s in seeds]
    return [
        {
            "run": f"{name}-{f}-{s}",
            "fold": f,
            "seed": s,
            "wa": wa,
            "ua": None if wa is None else wa / 2,
        }
        for (f, s), wa in zip(pairs, scores, strict=False)
    ]


def row(label, name, scores, **changes):
    return {"label": label, "group": "", "model": name, "planned": 6, "paper": {"wa": 0.7},
            "runs": runs(name, scores), **changes}  # fmt: skip


BASE = [0.70, 0.72, 0.71, 0.60, 0.62, 0.64]
ROWS = [
    row("other", None, [], planned=0, paper={"wa": 0.6, "wa_std": 0.01, "ua": 0.5}),
    row("ours", "a", BASE),
    row("worse", "b", [0.65, 0.70, 0.66, 0.59, 0.60, 0.61]),
    row("same", "a", BASE),
    row("short", "c", [0.72, 0.71]),
    row("single", "d", [0.9]),
    row("holes", "e", [0.70, None, 0.72, 0.61, 0.60, 0.66]),
]


def a_table(**changes):
    return {
        "table": "tiny", "title": "A tiny table.", "corpus": "demo", "synthetic": True,
        "preset": "fast", "folds": [0, 1], "seeds": [0, 1, 2], "changes": {"max_epochs": 2},
        "scores": ["wa", "ua"], "tested": ["wa", "ua"], "reference": "ours",
        "paper_corpus": "IEMOCAP",
        "paper_note": "They are averages.", "rows": aggregate(ROWS, "ours"), **changes,
    }  # fmt: skip


def test_aggregation_is_means_spreads_and_paired_differences():
    made = {r["label"]: r for r in aggregate(ROWS, "ours")}
    worse = made["worse"]["wa"]
    scores = [r["wa"] for r in ROWS[2]["runs"]]
    mean = sum(scores) / 6
    assert made["worse"]["n"] == 6 and worse["mean"] == pytest.approx(mean)
    assert worse["std"] == pytest.approx((sum((s - mean) ** 2 for s in scores) / 5) ** 0.5)
    assert worse["difference"] == pytest.approx(mean - sum(BASE) / 6)
    assert worse["pairs"] == 6 and worse["p"] == pytest.approx(2 / 64)
    assert (worse["paper"], worse["paper_std"]) == (0.7, None)
    assert made["worse"]["ua"]["paper"] is None and made["worse"]["ua"]["mean"] == mean / 2


def test_notes_speak_of_the_paper_only_where_it_printed_something():
    text = " ".join(notes(a_table()))
    assert "The paper's figures: as printed there. They are averages." in text
    assert "from synthetic speech. The paper's figures come from IEMOCAP: compare the order" in text
    silent = [{**row, "paper": {}} for row in ROWS]
    text = " ".join(notes(a_table(rows=aggregate(silent, "ours"), paper_note="It has none.")))
    assert "held-out part. It has none." in text and "IEMOCAP" not in text
    assert text.count("Ours come from synthetic speech.") == 1


def test_only_runs_of_the_same_fold_and_seed_are_paired():
    made = {r["label"]: r["wa"] for r in aggregate(ROWS, "ours")}
    assert made["short"]["pairs"] == 2 and made["short"]["p"] == 1.0
    assert made["short"]["difference"] == pytest.approx((0.72 - 0.70 + 0.71 - 0.72) / 2)
    assert made["holes"]["pairs"] == 5  # an undefined score is no score
    assert made["holes"]["mean"] == pytest.approx(np.mean([0.70, 0.72, 0.61, 0.60, 0.66]))
    reversed_rows = [{**r, "runs": r["runs"][::-1]} for r in ROWS]
    again = {r["label"]: r["wa"] for r in aggregate(reversed_rows, "ours")}
    assert again["worse"]["p"] == made["worse"]["p"]


def test_where_there_is_nothing_to_say_stands_none():
    made = {r["label"]: r["wa"] for r in aggregate(ROWS, "ours")}
    for label in ("ours", "same", "other"):
        assert made[label]["p"] is made[label]["p_holm"] is made[label]["difference"] is None
    assert made["other"]["mean"] is None and made["other"]["paper"] == 0.6
    assert made["single"]["std"] is None and made["single"]["p"] is None
    assert made["single"]["pairs"] == 1


def test_the_correction_is_over_the_rows_of_one_score():
    made = aggregate(ROWS, "ours")
    for score in ("wa", "ua"):
        tested = [r[score] for r in made if r[score]["p"] is not None]
        assert len(tested) == 3
        assert [t["p_holm"] for t in tested] == holm([t["p"] for t in tested])


def test_all_pairs_compares_every_two_rows_once():
    pairs = all_pairs(a_table(), "wa")
    labels = [(p["first"], p["second"]) for p in pairs]
    assert len(set(labels)) == len(labels) == 5  # short and holes share one pair
    assert not {"same", "other", "single"} & {label for pair in labels for label in pair}
    first = next(p for p in pairs if (p["first"], p["second"]) == ("ours", "worse"))
    assert first["difference"] == pytest.approx(
        np.mean(BASE) - np.mean([r["wa"] for r in ROWS[2]["runs"]])
    )
    assert [p["p_holm"] for p in pairs] == holm([p["p"] for p in pairs])


# ------------------------------------------------------------------------- saved and shown


def test_a_saved_table_is_read_back(tmp_path):
    table = a_table()
    path = save_table(table, tmp_path / "tables")
    assert path == tmp_path / "tables" / "tiny-demo.json"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "tiny-demo.csv", "tiny-demo.json", "tiny-demo.md",
    ]  # fmt: skip
    assert read_table(path) == json.loads(json.dumps(table))


def test_the_csv_has_one_row_a_row_of_the_table(tmp_path):
    path = save_table(a_table(), tmp_path).with_suffix(".csv")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header.split(",")[:6] == ["label", "group", "model", "n", "planned", "wa_mean"]
    assert len(lines) == len(ROWS) and lines[1].startswith("ours,,a,6,6,0.665")


def test_flat_rows_and_runs_are_rectangular():
    rows, each = flat_rows(a_table()), flat_runs(a_table())
    assert len({tuple(r) for r in rows}) == 1 and len(rows) == 7
    assert rows[2]["wa_p"] == pytest.approx(2 / 64) and rows[2]["ua_mean"] < 0.4
    assert len({tuple(r) for r in each}) == 1 and len(each) == 27
    assert [r["label"] for r in each[:6]] == ["ours"] * 6


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such table"), ("{", "damaged"), ("[]", "not a table"), ('{"a": 1}', "not a table")],
)
def test_what_is_not_a_table_is_refused(tmp_path, content, message):
    path = tmp_path / "t.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_a_failed_write_leaves_the_former_table(tmp_path):
    path = save_table(a_table(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save_table(a_table(changes={"clip": float("nan")}), tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("form", [as_text, as_markdown])
def test_what_is_printed_keeps_ours_and_the_papers_apart(form):
    text = form(a_table())
    first = text.splitlines()[0]
    assert "demo (synthetic)" in first and "max_epochs 2" in first and "preset fast" in first
    assert "folds {0, 1}" in first and "seeds {0, 1, 2}" in first
    assert "WA (paper)" in text and "IEMOCAP" in text
    lines = {line.strip("| ").split("  ")[0].split(" |")[0]: line for line in text.splitlines()}
    assert "0.665 ± 0.051" in lines["ours"] and "reference" in lines["ours"]
    assert "same runs" in lines["same"]
    assert " 2/6 " in lines["short"] and " 6 " in lines["worse"]
    assert "0.600 ± 0.010" in lines["other"] and lines["other"].count("-") >= 5
    assert "never figure with figure" in text and "9 missing" in text
    assert "below 0.031" in text and "not of other speakers" in text


def test_a_real_corpus_is_not_called_synthetic():
    text = as_text(a_table(synthetic=False, corpus="iemocap"))
    assert "synthetic" not in text and "Ours on iemocap, preset" in text


def test_columns_of_the_terminal_line_up():
    lines = [line for line in as_text(a_table()).splitlines() if "  |  " in line]
    assert len(lines) == 2 + len(ROWS) and len({line.index("|") for line in lines}) == 1
