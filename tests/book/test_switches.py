"""Parts taken out of a trained MUSE and MIMIC: the combinations, the model without them, what is
recorded of them, and the live switches."""

import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib import corpora
from mmer_lib.book import switches
from mmer_lib.book.explorer.live import LiveToggles
from mmer_lib.book.switches import mimic, muse, toggles
from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.experiments.catalogue import MUSE, Row, Table, runs_of
from mmer_lib.models.mimic import PARTS, Mimic, MimicConfig
from mmer_lib.models.multigranular import Multigranular, MultigranularConfig
from mmer_lib.training.runs import open_run
from tests.book.browser import ROOT
from tests.models.common import CLOSE, scrambled
from tests.tiny import SMALL, tiny

RECORDED = ROOT / "data" / "results" / "explorer"
both = pytest.mark.parametrize("parts", switches.MODELS.values(), ids=switches.MODELS)


def off(parts, *names, **choices):
    """The values of the whole model but for parts that are off, and for choices, which go by the
    first word of a factor's name."""
    return tuple(
        choices.get(name.split()[0], values[0] if name not in names else False)
        for name, values in parts.FACTORS.items()
    )


def answer(parts, model, batch, values):
    with torch.inference_mode(), parts.taken_out(model, batch, values) as given:
        return model(given).logits


# ----------------------------------------------------------------------------- combinations


@pytest.mark.parametrize("name, count", [("muse-toggles", 21), ("mimic-toggles", 76)])
def test_every_combination_is_a_row_of_the_table_or_says_why_not(name, count):
    parts, table = switches.MODELS[name], switches.table_of(name)
    rows = {values: switches.row_of(parts, values) for values in switches.combinations(parts)}
    for values, row in rows.items():
        assert row is None or not parts.why_not(values)
    assert rows[parts.WHOLE].label == table.reference
    assert len(runs_of(table, (0,), (0,))) == len(table.rows) == count


@both
def test_a_factor_that_is_idle_changes_nothing_and_every_other_does(parts):
    for values in switches.combinations(parts):
        if parts.why_not(values):
            continue
        for at, (name, choices) in enumerate(parts.FACTORS.items()):
            for other in choices:
                changed = (*values[:at], other, *values[at + 1 :])
                if other != values[at] and not parts.why_not(changed):
                    same = parts.configuration(values) == parts.configuration(changed)
                    assert same == (name in parts.idle(values)), (values, name)


def test_what_training_alone_can_show_says_so():
    for parts, values in (
        (mimic, off(mimic, "contrastive loss")),
        (mimic, off(mimic, decoupling="orthogonal")),
        (muse, off(muse, losses="no alignment loss")),
        (muse, off(muse, losses="pre-net without neighbours")),
    ):
        assert parts.only_trained(values).endswith("train this combination")
    assert mimic.only_trained(off(mimic, "gate", "S", "text")) == ""
    assert muse.only_trained(off(muse, "words")) == ""


# -------------------------------------------------------------------------- taken out of MUSE

SIZES = dict(words=6, bands=7, width=8, heads=2, hidden=8, filters=2, stack=1, cls=5, projection=4)


@pytest.fixture
def whole_muse():
    return scrambled(Multigranular(MultigranularConfig(**SIZES)))


@pytest.fixture
def muse_batch():
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


def test_layers_that_are_off_are_a_model_built_without_them(whole_muse, muse_batch):
    plain = whole_muse(muse_batch).logits
    for values, options in (
        (off(muse), {}),
        (off(muse, "deep fusion"), {"fusion_layers": 0}),
        (off(muse, joined="concatenation"), {"highway": 0}),
    ):
        lesser = Multigranular(replace(whole_muse.config, **options)).double().eval()
        missing, _ = lesser.load_state_dict(whole_muse.state_dict(), strict=False)
        assert missing == []
        here = answer(muse, whole_muse, muse_batch, values)
        torch.testing.assert_close(here, lesser(muse_batch).logits, **CLOSE)
    torch.testing.assert_close(whole_muse(muse_batch).logits, plain, **CLOSE)  # no hook is left


def test_what_is_off_is_not_read_and_all_else_is(whole_muse, muse_batch):
    b = muse_batch
    others = {
        "words": replace(b, words=b.words + 1, known=~b.known),
        "phonemes": replace(b, phonemes=71 - b.phonemes),
        "BERT": replace(b, cls=b.cls + 1),
    }
    for name, other in others.items():
        here, there = (answer(muse, whole_muse, x, off(muse, name)) for x in (b, other))
        torch.testing.assert_close(here, there, **CLOSE)
        for unlike in {"words", "phonemes", "BERT", "deep fusion"} - {name}:
            here, there = (answer(muse, whole_muse, x, off(muse, unlike)) for x in (b, other))
            assert (here - there).abs().max() > 1e-6, (name, unlike)
    for name in ("words", "phonemes"):  # without cross-modal attention no text reaches a frame
        values = off(muse, "cross-modal attention")
        here, there = (answer(muse, whole_muse, x, values) for x in (b, others[name]))
        torch.testing.assert_close(here, there, **CLOSE)


# ------------------------------------------------------------------------- taken out of MIMIC

WIDTHS = {"words": 6, "audio": 5, "vision": 4}


def by_hand(model, batch, values):
    """MIMIC's equations (3) to (11), one after another, with parts off."""
    modalities, parts, gate, _, kind = mimic._parted(values)
    named = model(batch).named
    h = {m: named[f"h_{m}"] * (m in modalities) for m in MODALITIES}
    shared = sum(h.values()) / 3
    i = {m: h[m] - shared if kind == "instance" else h[m] for m in MODALITIES}

    def fused(low, fuse, vectors):
        a, b, c = (low(v).unflatten(-1, (-1, 2)).amax(-1) for v in vectors.values())
        return fuse.project(torch.einsum("ni,nj,nk->nijk", a, b, c).flatten(1))

    every = {"S": shared}
    every |= {"I": fused(model.low_i, model.fuse_i, i), "M": fused(model.low_h, model.fuse_h, h)}
    joined = torch.cat([every[p] * (p in parts) for p in PARTS], -1)
    weight = torch.sigmoid(model.gate.gate[0](joined)) if gate else 1
    return model.head(weight * joined).squeeze(-1)


def test_what_is_taken_out_of_mimic_follows_the_equations():
    model = scrambled(Mimic(MimicConfig(**WIDTHS, units=4, heads=2, bottleneck=4, head=(6, 5))))
    torch.manual_seed(1)
    mask = torch.tensor([[False] * 4, [False, False, True, True], [False] * 4])
    inputs = {name: torch.randn(3, 4, width).double() for name, width in WIDTHS.items()}
    masks = {f"{name}_mask": mask for name in ("word", "audio", "vision")}
    batch = Batch(index=torch.arange(3), **masks, **inputs)
    plain, config, tried = model(batch).logits, model.config, 0
    for values in switches.combinations(mimic):
        if not (mimic.why_not(values) or mimic.only_trained(values)):
            expected = by_hand(model, batch, values)
            torch.testing.assert_close(answer(mimic, model, batch, values), expected, **CLOSE)
            tried += 1
    assert tried > 100 and model.config is config
    torch.testing.assert_close(model(batch).logits, plain, **CLOSE)


def test_counts_are_of_rounded_sentiment():
    truth, said = torch.tensor([-2.0, 0.2, 0.7, 3.0]), torch.tensor([-0.6, -0.6, 0.4, 1.0])
    expected = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]])
    assert (switches.confusion(mimic, said, truth, 3) == expected).all()


# ----------------------------------------------------------------------------------- recorded


@pytest.mark.parametrize("name", switches.MODELS)
def test_the_recorded_file_is_shown_whole(name):
    file, parts = RECORDED / f"{name}.json", switches.MODELS[name]
    recorded, figure = json.loads(file.read_text()), toggles(file)
    rows = {str((row["model"], sorted(row["changes"].items()))): row for row in recorded["rows"]}
    for values, at in zip(switches.combinations(parts), figure.data["at"], strict=True):
        made = switches.row_of(parts, values)
        made = made and (made.model, sorted(json.loads(json.dumps(made.changes)).items()))
        row = rows.get(str(made))
        assert (at >= 0) == (row is not None)
        if row:
            scores = [run[parts.SCORE[0]] for run in row["runs"]]
            assert figure.data["outcomes"][at]["scores"] == pytest.approx(scores, rel=1e-5)
    assert figure.tag == "recorded" and "Synthetic" in figure.provenance


@pytest.mark.parametrize("content", [None, "{", "[]", '{"rows": [{}], "utterances": []}'])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    file = tmp_path / "toggles.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=r"toggles\.json: not a record of muse-toggles"):
        toggles(file)


def test_what_is_recorded_is_what_the_runs_say(small_corpus, keep_cache, tmp_path, monkeypatch):
    sizes = {**SMALL["muse-multigranular"], **MUSE, "max_epochs": 1}
    none = {"fusion": "highway", "cross_layers": 0, "align": 0.0}
    rows = (
        Row("whole", "muse-multigranular", {**sizes, "fusion": "highway"}),
        Row("no cross", "muse-multigranular", {**sizes, **none}),
    )
    table = Table("muse-toggles", "", rows, "whole")
    monkeypatch.setattr(switches, "table_of", lambda name: table)
    for place in (corpora, switches):
        monkeypatch.setattr(place, "load", lambda name, root=None, **_: small_corpus)
    file = tmp_path / "toggles.json"
    how = {"folds": (0,), "seeds": (0, 1), "device": "cpu", "progress": False}
    switches.record("muse-toggles", file, tmp_path / "runs", **how)
    recorded = json.loads(file.read_text())
    emotions = [small_corpus.utterances[i].emotion for i in small_corpus.splits(0).test]
    for row in recorded["rows"]:
        counts = np.array(row["confusion"])
        assert counts.sum(1).tolist() == [2 * emotions.count(e) for e in small_corpus.emotions]
        scores = [run["wa"] for run in row["runs"]]
        assert counts.trace() / counts.sum() == pytest.approx(np.mean(scores))
        for one in row["seen"]:
            assert (one["attention"] is None) == (row["label"] == "no cross")
    notes = [u["note"] for u in recorded["utterances"]]
    assert [note.split(";")[0] for note in notes[:4]] == list(small_corpus.emotions)


# --------------------------------------------------------------------------------------- live


@pytest.fixture
def run(small_corpus, keep_cache, tmp_path):
    return tiny("muse-multigranular", small_corpus, tmp_path / "runs", MUSE)


@pytest.fixture
def live(run, small_corpus):
    return LiveToggles(run, small_corpus, small_corpus.splits(0).test[:2], epochs=2)


def scores(figure, parts, values):
    """None where the combination has not been measured."""
    at = figure.data["at"][switches.combinations(parts).index(values)]
    return figure.data["outcomes"][at]["scores"] if at >= 0 else None


def set_to(figure, parts, values):
    figure.setting = dict(zip(parts.FACTORS, values, strict=True))


def press(figure, monkeypatch, script, button="train", until=lambda figure: figure.asked == ""):
    """A script takes the place of the training."""
    monkeypatch.setattr("mmer_lib.book.explorer.live.PROGRAM", [sys.executable, "-c", script])
    figure.asked = button
    end = time.monotonic() + 60
    while not until(figure):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_switch_takes_its_part_out_at_once(live, run, small_corpus):
    test = run.result["test"]["wa"]
    assert scores(live, muse, off(muse)) == [pytest.approx(test, abs=1e-5)]
    values = off(muse, "phonemes")
    assert scores(live, muse, values) is None
    set_to(live, muse, values)
    logits, truth = switches.answers(muse, run, small_corpus, values)
    expected = float((logits.argmax(1) == truth).double().mean())
    assert scores(live, muse, values) == [pytest.approx(expected, rel=1e-5)]
    for waiting in (off(muse, losses="no alignment loss"), off(muse, "words", "phonemes")):
        set_to(live, muse, waiting)
        assert scores(live, muse, waiting) is None


def test_mimic_is_switched_and_read_too(small_corpus, keep_cache, tmp_path):
    run = tiny("mimic", small_corpus, tmp_path / "runs", {})
    rows = small_corpus.splits(0).test[:2]
    live = LiveToggles(run, small_corpus, rows)
    assert scores(live, mimic, off(mimic)) == [pytest.approx(run.result["test"]["mae"], rel=1e-4)]
    less = mimic.readings(run, small_corpus, rows, off(mimic, "text", "I"))[0]
    assert [c is None for c in less["h"]] == ["text" in pair for pair in mimic.PAIRS.values()]
    assert less["i"] == [None] * 3 and less["gates"][1] is None
    assert "modalities=('audio', 'vision')" in live.command(off(mimic, "text"))
    lesser = replace(run, model=Mimic(replace(run.model.config, contrastive=0.0)))
    with pytest.raises(DataError, match="a mimic whose parts cannot be taken out"):
        LiveToggles(lesser, small_corpus, rows)


def test_the_button_trains_stops_and_tells_of_failure(live, run, monkeypatch):
    values = off(muse, "BERT")
    set_to(live, muse, values)
    epoch = "print(' 50%|#####     | 1/2 [00:01<00:01,  1.00 epochs/s]', flush=True)\n"
    half = {"until": lambda figure: figure.progress == 0.5}
    press(live, monkeypatch, f"{epoch}import time; time.sleep(600)", **half)
    press(live, monkeypatch, "", "stop")
    assert live.status == "Stopped."
    press(live, monkeypatch, "import sys; sys.exit('mmer: no such thing')")
    assert live.status == "Not trained: mmer: no such thing"
    press(live, monkeypatch, f"{epoch}print({str(run.folder)!r})")
    assert live.status.startswith("Trained anew")
    assert scores(live, muse, values) == scores(live, muse, off(muse))  # the folder of the whole
    assert open_run(run.folder).result == run.result


def test_the_command_names_the_combination_and_the_corpus(run, small_corpus):
    def command(values=None, folder=None, **extras):
        corpus = replace(small_corpus, extras=extras)
        return LiveToggles(run, corpus, [0], folder=folder).command(values or off(muse))

    assert command()[:4] == ["train", "muse-multigranular", "--data", "demo"]
    assert command(off(muse, "BERT", "cross-modal attention"))[1] == "muse"
    assert "align=0.0" in command(off(muse, "cross-modal attention"))
    assert command(folder="/mine", table="my.csv")[2:4] == ["--data", "/mine/my.csv"]
    with pytest.raises(DataError, match="where does it lie"):
        command(table="my.csv")
    with pytest.raises(DataError, match="needs words or phonemes"):
        command(off(muse, "words", "phonemes"))


def test_what_cannot_be_switched_is_refused(small_corpus, keep_cache, tmp_path):
    run = tiny("muse", small_corpus, tmp_path, MUSE, max_epochs=1)
    with pytest.raises(DataError, match="whose parts cannot be taken out"):
        LiveToggles(run, small_corpus, [0])
    without = tuple(replace(u, words=None) for u in small_corpus.utterances)
    with pytest.raises(DataError, match="has no word times; choose other rows"):
        switches.examples(muse, replace(small_corpus, utterances=without), [1])
