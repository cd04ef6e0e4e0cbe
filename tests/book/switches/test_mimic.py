"""Parts taken out of MIMIC: the combinations, a model without them, and the live switches."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mmer_lib.book import switches as ablation
from mmer_lib.book.explorer.live import LiveToggles
from mmer_lib.book.switches import mimic
from mmer_lib.book.switches.mimic import configuration, taken_out, why_not
from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.models.mimic import PARTS, Mimic, MimicConfig
from mmer_lib.training.runs import open_run
from tests.book.switches import common
from tests.book.switches.common import pretend, wait_for
from tests.models.common import CLOSE, scrambled
from tests.tiny import tiny

EVERY = ablation.combinations(mimic)
WHOLE = EVERY[0]
off = partial(common.off, mimic)
setting = partial(common.setting, mimic)
outcome = partial(common.outcome, mimic)
SIZES = dict(words=6, audio=5, vision=4, units=4, heads=2, bottleneck=4, head=(6, 5))


# ----------------------------------------------------------------------------- combinations


def test_what_has_a_meaning_can_be_built_and_what_has_none_is_the_reason_given():
    for values in EVERY:
        if not why_not(values):
            MimicConfig(**configuration(values)[1])
    assert why_not(off(*MODALITIES)) == "MIMIC needs a modality"
    assert why_not(off("S", "I", "M")) == why_not(off("S", "M", "text", "audio")) != ""
    with pytest.raises(DataError, match="draws S and I apart"):
        MimicConfig(parts=("I", "M"), decoupling="orthogonal")
    assert why_not(off("S", decoupling="orthogonal")).endswith(
        "draws S and I apart, and needs both"
    )
    assert not why_not(off("S", "I", decoupling="orthogonal"))  # then decoupling is idle


# ---------------------------------------------------------------------------------- taken out


@pytest.fixture
def model():
    return scrambled(Mimic(MimicConfig(**SIZES)))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    B, L = 3, 4
    mask = torch.tensor([[False] * 4, [False, False, True, True], [False] * 4])
    made = {name: torch.randn(B, L, SIZES[name], dtype=torch.float64)
            for name in ("words", "audio", "vision")}  # fmt: skip
    return Batch(index=torch.arange(B), word_mask=mask, audio_mask=mask, vision_mask=mask, **made)


def answer(model, batch, values=None):
    with torch.inference_mode(), taken_out(model, batch, values) as given:
        return model(given)


def test_the_whole_is_the_model_as_it_is_and_all_hooks_go(model, batch):
    plain, config = model(batch).logits, model.config
    torch.testing.assert_close(answer(model, batch, WHOLE).logits, plain, **CLOSE)
    for values in EVERY:
        if not why_not(values) and not mimic.only_trained(values):
            answer(model, batch, values)
    torch.testing.assert_close(model(batch).logits, plain, **CLOSE)
    assert model.config is config


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

    found = {"S": shared, "I": fused(model.low_i, model.fuse_i, i),
             "M": fused(model.low_h, model.fuse_h, h)}  # fmt: skip
    joined = torch.cat([found[p] * (p in parts) for p in PARTS], -1)
    weight = torch.sigmoid(model.gate.gate[0](joined)) if gate else 1
    return model.head(weight * joined).squeeze(-1)


def test_what_is_taken_out_follows_the_equations(model, batch):
    met = 0
    for values in EVERY:
        if why_not(values) or mimic.only_trained(values):
            continue
        expected = by_hand(model, batch, values)
        torch.testing.assert_close(answer(model, batch, values).logits, expected, **CLOSE)
        met += 1
    assert met > 100


def test_what_training_alone_can_show_says_so():
    assert "train this combination" in mimic.only_trained(off("contrastive loss"))
    assert "train this combination" in mimic.only_trained(off(decoupling="orthogonal"))
    assert mimic.only_trained(off("I", decoupling="orthogonal")) == ""
    assert mimic.only_trained(off("gate", "S", "text")) == ""


# --------------------------------------------------------------------------------- in a kernel


@pytest.fixture
def run(small_corpus, keep_cache, tmp_path):
    return tiny("mimic", small_corpus, tmp_path / "runs", {})


def test_readings_are_what_the_model_says(run, small_corpus):
    rows = small_corpus.splits(0).test[:2]
    found = mimic.readings(run, small_corpus, rows)
    said, truth = ablation.answers(mimic, run, small_corpus)
    assert mimic.score(said, truth) == pytest.approx(run.result["test"]["mae"], abs=1e-5)
    for one in found:
        assert abs(said - one["predicted"][0]).min() < 1e-3
        assert all(0 < g < 1 for g in one["gates"])
        assert all(-1 <= c <= 1 for c in one["h"] + one["i"])
    less = mimic.readings(run, small_corpus, rows, off("text", "I"))
    assert [c is None for c in less[0]["h"]] == ["text" in pair for pair in mimic.PAIRS.values()]
    assert less[0]["i"] == [None] * 3
    assert less[0]["gates"][1] is None and less[0]["gates"][0] is not None
    assert mimic.readings(run, small_corpus, rows, off("gate"))[0]["gates"] == [None] * 3


def test_counts_are_of_rounded_sentiment():
    truth, said = torch.tensor([-2.0, 0.2, 0.7, 3.0]), torch.tensor([-0.6, -0.6, 0.4, 1.0])
    expected = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]])
    assert (ablation.confusion(mimic, said, truth, 3) == expected).all()


def test_switches_act_at_once_or_wait_for_a_training(live, run, small_corpus):
    assert outcome(live, WHOLE)["scores"] == [pytest.approx(run.result["test"]["mae"], rel=1e-4)]
    assert not live.data["map"] and len(live.data["scales"]) == 4
    values = off("audio", "gate")
    live.setting = setting(values)
    said, truth = ablation.answers(mimic, run, small_corpus, values)
    assert outcome(live, values)["scores"] == [pytest.approx(mimic.score(said, truth), rel=1e-5)]
    assert outcome(live, WHOLE)["scores"] != outcome(live, values)["scores"]
    live.setting = setting(off("contrastive loss"))
    assert outcome(live, off("contrastive loss")) is None
    waits = common.of(mimic, live, "waiting", off("contrastive loss"))
    assert live.data["reasons"][waits] == mimic.only_trained(off("contrastive loss"))


def test_the_button_trains_what_cannot_be_taken_out(live, run, monkeypatch):
    values = off("contrastive loss", "text")
    command = live.command(values)
    assert command[:2] == ["train", "mimic"] and "contrastive=0.0" in command
    assert "modalities=('audio', 'vision')" in command
    script = f"print('epoch   1 of at most 2'); print({str(run.folder)!r})"
    pretend(monkeypatch, script)
    live.setting = setting(values)
    live.asked = "train"
    wait_for(lambda: live.asked == "")
    assert live.status.startswith("Trained anew")
    assert outcome(live, values)["scores"] == outcome(live, WHOLE)["scores"]  # the same folder
    assert open_run(run.folder).result == run.result


@pytest.mark.parametrize("options", [{"parts": ("S", "M")}, {"gate": False}, {"level": "frame"}])
def test_a_mimic_that_lacks_a_part_is_refused(run, small_corpus, options):
    lesser = replace(run, model=Mimic(replace(run.model.config, **options)))
    with pytest.raises(DataError, match="a mimic whose parts cannot be taken out"):
        LiveToggles(lesser, small_corpus, small_corpus.splits(0).test[:2])


def test_one_trained_without_the_regulariser_is_not_whole(run):
    result = {**run.result, "settings": {**run.result["settings"], "contrastive": 0.0}}
    assert mimic.is_whole(run) and not mimic.is_whole(replace(run, result=result))
