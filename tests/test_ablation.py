"""Parts taken out of MUSE: the combinations, what is recorded of them, and the live switches."""

import json
import sys
import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from mmer_lib import ablation, corpora
from mmer_lib.ablation import muse, toggles
from mmer_lib.ablation.muse import FACTORS, configuration, idle, settings, taken_out, why_not
from mmer_lib.batch import Batch
from mmer_lib.catalogue import MUSE, TABLES, Table
from mmer_lib.corpora import DataError
from mmer_lib.explorer.live import LiveToggles
from mmer_lib.models.multigranular import Multigranular, MultigranularConfig
from mmer_lib.runs import open_run
from mmer_lib.sweeps import Row
from tests.models.common import CLOSE, scrambled
from tests.tiny import SMALL, tiny

EVERY = list(product(*FACTORS.values()))
WHOLE = EVERY[0]
SIZES = dict(words=6, bands=7, width=8, heads=2, hidden=8, filters=2, stack=1, cls=5, projection=4)


def off(*names, joined="highway"):
    """The values of the whole model but for some parts."""
    return tuple(joined if n == "joined by" else n not in names for n in FACTORS)


# ----------------------------------------------------------------------------- combinations


def test_every_combination_is_a_row_of_the_table_or_has_no_meaning():
    rows = {(r.model, *r.options.values()): r.settings for r in TABLES["muse-toggles"].rows}
    met = set()
    for values in EVERY:
        if configuration(values) is None:
            assert why_not(values)
            continue
        model, options = configuration(values)
        key = (model, *{**MUSE, **options}.values())
        assert rows[key] == settings(values)
        met.add(key)
    assert met == set(rows) and len(TABLES["muse-toggles"].rows) == 18


def test_a_factor_that_is_idle_changes_nothing_and_every_other_does():
    for values in EVERY:
        if why_not(values):
            continue
        for at, (name, choices) in enumerate(FACTORS.items()):
            for other in choices:
                changed = (*values[:at], other, *values[at + 1 :])
                if other == values[at] or why_not(changed):
                    continue
                same = configuration(changed) == configuration(values)
                assert same == (name in idle(values)), (values, name)


# ---------------------------------------------------------------------------------- taken out


@pytest.fixture
def model():
    return scrambled(Multigranular(MultigranularConfig(**SIZES)))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    B, W, P, T = 2, 4, 3, 9
    return Batch(
        index=torch.arange(B),
        words=torch.randn(B, W, 6, dtype=torch.float64),
        known=torch.tensor([[True, True, False, True]] * B),
        word_mask=torch.tensor([[False] * 4, [False, False, True, True]]),
        phonemes=torch.randint(1, 70, (B, W, P)),
        frames=torch.randn(B, T, 7, dtype=torch.float64),
        frame_mask=torch.zeros(B, T, dtype=torch.bool),
        cls=torch.randn(B, 5, dtype=torch.float64),
    )


def logits(model, batch, values=None):
    with torch.inference_mode(), taken_out(model, batch, values) as given:
        return model(given).logits


def lesser(model, **options):
    """A model without some parts, with the weights of the whole."""
    other = Multigranular(replace(model.config, **options)).double().eval()
    missing, _ = other.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    return other


def test_the_whole_is_the_model_as_it_is(model, batch):
    plain = model(batch).logits
    torch.testing.assert_close(logits(model, batch, WHOLE), plain, **CLOSE)
    logits(model, batch, off("deep fusion", "BERT", "cross-modal attention"))
    torch.testing.assert_close(model(batch).logits, plain, **CLOSE)  # all hooks are gone


def test_layers_that_are_off_are_a_model_built_without_them(model, batch):
    for values, options in (
        (off("deep fusion"), {"fusion_layers": 0}),
        (off(joined="concatenation"), {"highway": 0}),
        (off("deep fusion", joined="concatenation"), {"fusion_layers": 0, "highway": 0}),
    ):
        expected = lesser(model, **options)(batch).logits
        torch.testing.assert_close(logits(model, batch, values), expected, **CLOSE)


def changed(batch, **fields):
    return replace(batch, **{k: v(getattr(batch, k)) for k, v in fields.items()})


def test_what_is_off_is_not_read_and_all_else_is(model, batch):
    others = {
        "words": changed(batch, words=lambda x: x + 1, known=lambda x: ~x),
        "phonemes": changed(batch, phonemes=lambda x: 71 - x),
        "BERT": changed(batch, cls=lambda x: x + 1),
    }
    for name, other in others.items():
        here, there = (logits(model, b, off(name)) for b in (batch, other))
        torch.testing.assert_close(here, there, **CLOSE)
        for unlike in {"words", "phonemes", "BERT", "deep fusion"} - {name}:
            gap = logits(model, batch, off(unlike)) - logits(model, other, off(unlike))
            assert gap.abs().max() > 1e-6, (name, unlike)
    for name in ("words", "phonemes"):  # without cross-modal attention no text reaches a frame
        here, there = (
            logits(model, b, off("cross-modal attention")) for b in (batch, others[name])
        )
        torch.testing.assert_close(here, there, **CLOSE)


# ----------------------------------------------------------------------------------- recorded

TINY = {"max_epochs": 1}


@pytest.fixture
def small_table(small_corpus, keep_cache, monkeypatch):
    """Three combinations of a small MUSE on the small corpus."""
    sizes = {k: v for k, v in SMALL["muse-multigranular"].items()}
    rows = [
        Row("whole", "muse-multigranular", {**sizes, **MUSE}, TINY),
        Row("words", "muse-multigranular", {**sizes, **MUSE, "fusion": "word"}, TINY),
        Row("no cross", "muse-multigranular", {**sizes, **MUSE, "cross_layers": 0},
            {**TINY, "align": 0.0}),
    ]  # fmt: skip
    monkeypatch.setattr(muse, "TABLE", Table("muse-toggles", "", tuple(rows), "whole"))
    monkeypatch.setattr(muse, "settings", lambda values: {**TINY, **settings(values)})
    for place in (corpora, ablation):
        monkeypatch.setattr(place, "load", lambda name, root=None: small_corpus)


HOW = {"folds": (0,), "seeds": (0, 1), "device": "cpu", "progress": False}


def test_what_is_recorded_is_what_the_runs_say(small_table, small_corpus, tmp_path, monkeypatch):
    out, file = tmp_path / "runs", tmp_path / "toggles.json"
    made = ablation.record("muse-toggles", file, out, **HOW)
    assert json.loads(file.read_text()) == json.loads(json.dumps(made))
    truth = {e: sum(small_corpus.utterances[i].emotion == e for i in small_corpus.splits(0).test)
             for e in small_corpus.emotions}  # fmt: skip
    for row in made["rows"]:
        counts = np.array(row["confusion"])
        assert counts.sum(1).tolist() == [2 * n for n in truth.values()]  # two seeds
        assert counts.trace() / counts.sum() == pytest.approx(
            np.mean([r["wa"] for r in row["runs"]])
        )
        for one, u in zip(row["seen"], made["utterances"], strict=True):
            assert sum(one["probabilities"]) == pytest.approx(1, abs=1e-3)
            if row["label"] == "no cross":
                assert one["attention"] is one["gates"] is None and one["times"] == []
            else:
                sums = np.sum(one["attention"], axis=1)
                np.testing.assert_allclose(sums, 1, atol=0.02)
                assert (one["gates"] is None) == (row["label"] == "words")
                assert one["times"][-1] < u["seconds"] + 0.2
    notes = [u["note"] for u in made["utterances"]]
    assert [n.split(";")[0] for n in notes[:4]] == list(small_corpus.emotions)
    ends = [n.split("; ")[1] for n in notes]
    assert ends[:4] == ["nothing contradicts"] * 4
    assert ends[4:] and all(
        end.endswith(" contradicts") and "nothing" not in end for end in ends[4:]
    )

    def nothing(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("mmer_lib.learner.Learner.training_step", nothing)
    assert ablation.record("muse-toggles", file, out, **HOW) == made

    figure = toggles(file)
    here = dict(zip(EVERY, figure.data["at"], strict=True))
    assert (
        here[WHOLE] >= 0 and here[off("phonemes")] == here[off("phonemes", joined="concatenation")]
    )
    assert here[off("cross-modal attention")] >= 0 and here[off("BERT")] == -1
    assert "folds 0, seeds 0, 1" in figure.provenance and figure.tag == "recorded"


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


# --------------------------------------------------------------------------------------- live


@pytest.fixture
def run(small_corpus, keep_cache, tmp_path):
    return tiny("muse-multigranular", small_corpus, tmp_path / "runs", MUSE)


@pytest.fixture
def live(run, small_corpus):
    return LiveToggles(run, small_corpus, small_corpus.splits(0).test[:2], epochs=2)


def chosen(values):
    return dict(zip(FACTORS, values, strict=True))


def outcome(figure, values):
    return figure.data["outcomes"][figure.data["at"][EVERY.index(values)]]


def test_a_switch_takes_its_part_out_at_once(live, run, small_corpus):
    test = run.result["test"]["wa"]
    assert outcome(live, WHOLE)["scores"] == [pytest.approx(test, abs=1e-5)]
    assert (
        live.data["live"] and live.tag == "live" and "nothing is trained again" in live.provenance
    )
    assert live.data["at"][EVERY.index(off("BERT"))] == -1
    live.setting = chosen(off("phonemes"))
    found, same = outcome(live, off("phonemes")), off("phonemes", joined="concatenation")
    assert outcome(live, same) is found and found["seen"][0]["gates"] is None
    answers = ablation.answers(muse, run, small_corpus, off("phonemes"))
    counts = ablation.confusion(muse, *answers, len(small_corpus.emotions))
    assert found["confusion"] == counts.tolist()
    live.setting = chosen((False, False, *WHOLE[2:]))  # without a meaning
    assert live.data["at"][EVERY.index((False, False, *WHOLE[2:]))] == -1


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_button_trains_and_shows_what_came_of_it(live, run, monkeypatch):
    assert live.command(off("BERT", "cross-modal attention"))[:2] == ["train", "muse"]
    assert "align=0.0" in live.command(off("cross-modal attention"))
    script = (
        "print('epoch   1 of at most 2  loss 1.0  wa 0.5')\n"
        "print('epoch   2 of at most 2  loss 0.9  wa 0.6')\n"
        f"print({str(run.folder)!r})"
    )
    monkeypatch.setattr("mmer_lib.explorer.live.PROGRAM", [sys.executable, "-c", script])
    live.setting = chosen(off("BERT"))
    seen = []
    live.observe(lambda change: seen.append(change.new), "progress")
    live.asked = "train"
    wait_for(lambda: live.asked == "")
    assert seen[:2] == [0.5, 1.0] and live.status.startswith("Trained anew")
    assert outcome(live, off("BERT"))["scores"] == outcome(live, WHOLE)["scores"]  # the same folder
    assert open_run(run.folder).result == run.result


def test_a_training_can_be_cancelled_and_a_failure_is_told(live, monkeypatch):
    script = "import time; print('epoch   1 of at most 2', flush=True); time.sleep(600)"
    monkeypatch.setattr("mmer_lib.explorer.live.PROGRAM", [sys.executable, "-c", script])
    live.setting = chosen(off("BERT"))
    before = outcome(live, off("BERT"))
    live.asked = "train"
    wait_for(lambda: live.progress == 0.5)
    live.asked = "stop"
    wait_for(lambda: live.asked == "")
    assert live.status == "Stopped." and outcome(live, off("BERT")) == before
    fails = [sys.executable, "-c", "import sys; sys.exit('mmer: no such thing')"]
    monkeypatch.setattr("mmer_lib.explorer.live.PROGRAM", fails)
    live.asked = "train"
    wait_for(lambda: live.asked == "")
    assert live.status == "Not trained: mmer: no such thing"


def test_the_command_names_the_corpus_where_it_lies(run, small_corpus):
    def command(extras, folder=None):
        corpus = replace(small_corpus, extras=extras)
        figure = LiveToggles(run, corpus, [0], folder=folder)
        return figure.command(WHOLE)

    assert command({})[2:4] == ["--data", "demo"]
    assert command({"root": "/a b"})[2:6] == ["--data", "demo", "--root", "/a b"]
    assert command({"table": "my.csv"}, "/mine")[2:4] == ["--data", "/mine/my.csv"]
    with pytest.raises(DataError, match=r"where does it lie\? LiveToggles\(..., folder=DIR\)"):
        command({"table": "my.csv"})


def test_what_cannot_be_trained_is_told_and_nothing_starts(run, small_corpus, monkeypatch):
    monkeypatch.setattr("mmer_lib.explorer.live.PROGRAM", ["no such program"])
    figure = LiveToggles(run, replace(small_corpus, extras={"arrays": []}), [0])
    figure.asked = "train"
    assert figure.asked == "" and "was made from arrays" in figure.status
    figure = LiveToggles(run, small_corpus, [0])
    figure.setting = chosen((False, False, *WHOLE[2:]))
    figure.asked = "train"
    assert figure.asked == "" and figure.status == "Not trained: MUSE needs words or phonemes"


def test_a_model_that_lacks_a_part_is_refused(small_corpus, keep_cache, tmp_path):
    for name, options in (("muse", MUSE), ("muse-multigranular", {**MUSE, "fusion": "word"})):
        run = tiny(name, small_corpus, tmp_path, options, max_epochs=1)
        with pytest.raises(
            DataError, match="whose parts cannot be taken out; give a whole muse-mult"
        ):
            LiveToggles(run, small_corpus, small_corpus.splits(0).test[:2])
    us = tuple(replace(u, words=None) for u in small_corpus.utterances)
    with pytest.raises(DataError, match=f"{us[1].id} has no word times; choose other rows"):
        ablation.shown(muse, replace(small_corpus, utterances=us), [1])
