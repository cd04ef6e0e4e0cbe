"""Parts taken out of MUSE: the combinations, what is recorded of them, and the live switches."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer_lib import corpora
from mmer_lib.book import switches as ablation
from mmer_lib.book.explorer.live import LiveToggles
from mmer_lib.book.switches import muse, toggles
from mmer_lib.book.switches.muse import settings, taken_out
from mmer_lib.data import Batch, DataError
from mmer_lib.experiments.catalogue import MUSE, Row, Table
from mmer_lib.models.multigranular import Multigranular, MultigranularConfig
from mmer_lib.training.runs import open_run
from tests.book.switches import common
from tests.book.switches.common import pretend, wait_for
from tests.models.common import CLOSE, scrambled
from tests.tiny import SMALL, tiny

FILE = Path(__file__).parents[3] / "data" / "results" / "explorer" / "muse-toggles.json"
WHOLE = ablation.whole(muse)
off = partial(common.off, muse)
of = partial(common.of, muse)
setting = partial(common.setting, muse)
outcome = partial(common.outcome, muse)
SIZES = dict(words=6, bands=7, width=8, heads=2, hidden=8, filters=2, stack=1, cls=5, projection=4)


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


# ----------------------------------------------------------------------------- one at a time

LOSS, PRENET = "no alignment loss", "pre-net without neighbours"


def test_a_loss_or_the_pre_net_is_changed_alone():
    lesser = [off(name) for name in muse.PARTS if name != "joined by"]
    for values in (WHOLE, off(joined="concatenation"), *lesser):
        for change in muse.CHANGES:
            why, alone = muse.why_not((*values[:-1], change)), change == "as in the paper"
            assert why == ("" if alone or values == WHOLE else muse._ALONE)
    assert muse.only_trained(off("words")) == ""
    assert muse.only_trained(off(losses=LOSS)).startswith("a loss acts while a model is trained")
    assert muse.only_trained(off(losses=PRENET)).startswith("the pre-net is learned")


def test_a_pre_net_without_neighbours_reads_each_word_alone():
    _, options = muse.configuration(off(losses=PRENET))
    model = Multigranular(MultigranularConfig(**{**SIZES, **options})).double().eval()
    text, mask = torch.randn(1, 4, model.fusion.width).double(), torch.zeros(1, 4, dtype=torch.bool)
    other = text.clone()
    other[0, 2] = -text[0, 2]
    change = (model.text_prenet(text, mask) - model.text_prenet(other, mask)).abs().sum(-1)[0]
    assert (change > 1e-9).tolist() == [False, False, True, False]


def test_what_is_not_yet_recorded_is_not_there(tmp_path):
    made, file = json.loads(FILE.read_text()), tmp_path / "some.json"
    changes = [f"all parts, {change}" for change in muse.MUSE_CHANGES]
    rows = [row for row in made["rows"] if row["label"] not in changes]
    file.write_text(json.dumps({**made, "rows": rows}))
    figure = toggles(file)
    assert outcome(figure, WHOLE) and outcome(figure, off("BERT"))
    for change in muse.MUSE_CHANGES:
        assert outcome(figure, off(losses=change)) is None
        assert figure.data["reasons"][of(figure, "missing", off(losses=change))] == ""
    one = {**rows[0], "label": changes[0], "runs": [{**rows[0]["runs"][0], "wa": 0.125}]}
    file.write_text(json.dumps({**made, "rows": [*rows, one]}))
    figure = toggles(file)
    assert outcome(figure, off(losses=LOSS))["scores"] == [0.125]
    assert outcome(figure, off(losses=PRENET)) is None
    assert outcome(figure, off("BERT", losses=LOSS)) is None


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

    monkeypatch.setattr("mmer_lib.training.learner.Learner.training_step", nothing)
    assert ablation.record("muse-toggles", file, out, **HOW) == made

    figure = toggles(file)
    here = partial(of, figure, "at")
    assert here(WHOLE) >= 0
    assert here(off("phonemes")) == here(off("phonemes", joined="concatenation"))
    assert here(off("cross-modal attention")) >= 0 and here(off("BERT")) == -1
    assert "folds 0, seeds 0, 1" in figure.provenance and figure.tag == "recorded"


# --------------------------------------------------------------------------------------- live


@pytest.fixture
def run(small_corpus, keep_cache, tmp_path):
    return tiny("muse-multigranular", small_corpus, tmp_path / "runs", MUSE)


def test_a_switch_takes_its_part_out_at_once(live, run, small_corpus):
    test = run.result["test"]["wa"]
    assert outcome(live, WHOLE)["scores"] == [pytest.approx(test, abs=1e-5)]
    assert (
        live.data["live"] and live.tag == "live" and "nothing is trained again" in live.provenance
    )
    assert outcome(live, off("BERT")) is None
    live.setting = setting(off("phonemes"))
    found, same = outcome(live, off("phonemes")), off("phonemes", joined="concatenation")
    assert outcome(live, same) is found and found["seen"][0]["gates"] is None
    answers = ablation.answers(muse, run, small_corpus, off("phonemes"))
    counts = ablation.confusion(muse, *answers, len(small_corpus.emotions))
    assert found["confusion"] == counts.tolist()
    live.setting = setting(off(losses=LOSS))  # waits for a training
    assert outcome(live, off(losses=LOSS)) is None and of(live, "waiting", off(losses=LOSS)) > 0
    live.setting = setting((False, False, *WHOLE[2:]))  # without a meaning
    assert outcome(live, (False, False, *WHOLE[2:])) is None


def test_the_button_trains_and_shows_what_came_of_it(live, run, monkeypatch):
    assert live.command(off("BERT", "cross-modal attention"))[:2] == ["train", "muse"]
    assert "align=0.0" in live.command(off("cross-modal attention"))
    assert "embedding=0.0" in live.command(off(losses="no embedding loss"))
    assert "prenet_kernel=1" in live.command(off(losses=PRENET))
    script = (
        "print('epoch   1 of at most 2  loss 1.0  wa 0.5')\n"
        "print('epoch   2 of at most 2  loss 0.9  wa 0.6')\n"
        f"print({str(run.folder)!r})"
    )
    pretend(monkeypatch, script)
    live.setting = setting(off("BERT"))
    seen = []
    live.observe(lambda change: seen.append(change.new), "progress")
    live.asked = "train"
    wait_for(lambda: live.asked == "")
    assert seen[:2] == [0.5, 1.0] and live.status.startswith("Trained anew")
    assert outcome(live, off("BERT"))["scores"] == outcome(live, WHOLE)["scores"]  # the same folder
    assert open_run(run.folder).result == run.result


def test_a_training_can_be_cancelled_and_a_failure_is_told(live, monkeypatch):
    script = "import time; print('epoch   1 of at most 2', flush=True); time.sleep(600)"
    pretend(monkeypatch, script)
    live.setting = setting(off("BERT"))
    before = outcome(live, off("BERT"))
    live.asked = "train"
    wait_for(lambda: live.progress == 0.5)
    live.asked = "stop"
    wait_for(lambda: live.asked == "")
    assert live.status == "Stopped." and outcome(live, off("BERT")) == before
    pretend(monkeypatch, "import sys; sys.exit('mmer: no such thing')")
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
    monkeypatch.setattr("mmer_lib.book.explorer.live.PROGRAM", ["no such program"])
    figure = LiveToggles(run, replace(small_corpus, extras={"arrays": []}), [0])
    figure.asked = "train"
    assert figure.asked == "" and "was made from arrays" in figure.status
    figure = LiveToggles(run, small_corpus, [0])
    figure.setting = setting((False, False, *WHOLE[2:]))
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
