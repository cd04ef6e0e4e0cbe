"""The harness on a model beside a stand-in; no program of others is needed."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import direct, gpu, measure, originals, pairs, profiles, similarity, speed, stages
from benchmarks.plain import PlainMimic, PlainMuse
from benchmarks.straightforward import PARTS
from mmer_lib.experiments.costs import random_batch
from mmer_lib.features.batches import Examples
from mmer_lib.models.compared.lmf import Lmf, LmfConfig
from mmer_lib.models.mimic import Mimic, MimicConfig
from mmer_lib.models.muse import Muse, MuseConfig
from mmer_lib.training.fit import features_for
from mmer_lib.training.settings import PRESETS

TINY = LmfConfig(words=3, audio=4, vision=2, units=4, text_width=3, audio_width=2, vision_width=2)


def pair():
    """LMF beside a linear layer on the mean word."""
    mine, batch = pairs.ours("lmf", TINY, random_batch(Lmf(TINY), 5, 6))
    layer = nn.Linear(3, 1)
    return mine, pairs.theirs(layer, lambda: layer(batch.words.mean(1)))


def test_both_learn_and_predict_and_all_is_measured():
    mine, other = pair()
    before = [[p.clone() for p in s.network.parameters()] for s in (mine, other)]
    found = measure.measured((mine, other), "cpu", 0.01)
    for system, old in zip((mine, other), before, strict=True):
        assert any((p != q).any() for p, q in zip(system.network.parameters(), old, strict=True))
        assert not system.network.training
    assert found["parameters"] == {"ours": measure.size_of(mine.network), "theirs": 4}
    for what in ("train", "inference"):
        assert found[what]["rounds"] >= measure.LEAST
        for values in (found[what][k] for k in ("ours", "theirs", "ratio")):
            assert values == sorted(values) and len(values) == 3
    memory = found["memory"]
    assert memory["ours"] > 0 and memory["ratio"] == memory["ours"] / memory["theirs"]


def test_the_ratio_is_ours_by_theirs_round_by_round(monkeypatch):
    clock = iter(range(10**6))
    spent = {"ours": 3, "theirs": 6}
    calls = tuple(lambda n=n: [next(clock) for _ in range(n - 1)] for n in spent.values())
    monkeypatch.setitem(measure.CLOCKS, "cpu", lambda: next(clock))
    found = measure.compared(calls, "cpu", 0.0)
    assert found["ours"] == [3] * 3 and found["theirs"] == [6] * 3
    assert found["ratio"] == [0.5] * 3 and found["rounds"] == measure.LEAST


def test_the_peak_is_what_is_held_at_once():
    """A million bytes each: two at a time, though three are made."""

    def call():
        kept = torch.empty(250_000)
        for _ in range(2):
            other = torch.empty(250_000)
            del other
        del kept

    found = measure.peak_memory(call)
    assert 2_000_000 <= found < 2_010_000 and measure.peak_memory(call) == found
    assert measure.allocated(call) == 3_000_000


@pytest.mark.parametrize("name", PARTS)
def test_the_straightforward_way_gives_the_same_numbers_and_gradients(name):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    part = PARTS[name](3, 4)
    torch.set_default_dtype(torch.float32)
    found, gradients = [], []
    for forward in (part.ours, part.plain):
        part.weights.zero_grad()
        found.append(forward())
        found[-1].square().sum().backward()
        gradients.append({k: p.grad for k, p in part.weights.named_parameters()})
    torch.testing.assert_close(*found)
    torch.testing.assert_close(*gradients)
    assert any(g is not None and g.abs().max() > 0 for g in gradients[0].values())


def test_what_is_missing_is_left_out_and_said(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MMER_REFERENCES", raising=False)
    monkeypatch.setitem(pairs.PAIRS, "LMF", pair)
    file = tmp_path / "found.json"
    originals.main(["--seconds", "0.01", "--only", "LMF", "TFN", "--output", str(file)])
    result, shown = json.loads(file.read_text()), capsys.readouterr().out
    assert set(result["originals"]) == {"LMF"} and set(result["missing"]) == {"TFN"}
    assert "MMER_REFERENCES is not set" in result["missing"]["TFN"] and "left out" in shown
    assert {"threads", "clock", "time", "git", "processor", "versions"} <= set(result)


# ------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("padded", [False, True])
def test_mimic_of_torchs_modules_is_mimic(padded):
    torch.manual_seed(0)
    model = Mimic(MimicConfig(words=5, audio=4, vision=3)).eval()
    batch = random_batch(model, 6, 10)
    batch = speed.ragged(batch) if padded else batch
    prediction, shared = PlainMimic(model).eval()(batch)
    output = model(batch)
    torch.testing.assert_close(prediction, output.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shared, output.named["S"], rtol=1e-5, atol=1e-6)


def test_muse_of_torchs_modules_is_muse_where_nothing_is_padding():
    torch.manual_seed(0)
    model = Muse(MuseConfig(words=5, width=8, heads=2, hidden=12, stack=4)).eval()
    for part in model.parameters():
        part.data += 0.1 * torch.randn_like(part)
    plain, batch = PlainMuse(model).eval(), random_batch(model, 3, 4)
    torch.testing.assert_close(plain(batch), model(batch).logits, rtol=1e-5, atol=1e-6)


def test_what_is_computed_on_the_spot_is_what_the_cache_gives(small_corpus):
    """The straightforward reader and ours: the same tensors, in the order of the file."""
    settings, needs = PRESETS["muse"]["paper"][1], Muse.needs(MuseConfig())
    examples = Examples(small_corpus, features_for(needs, settings, small_corpus), range(4))
    found, wanted = direct.Reader(small_corpus).batch(range(4)), examples.collate(range(4))
    for name in (*needs, "emotion", "index"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), msg=name)


def test_the_straightforward_training_learns_and_stops_at_its_target(small_corpus):
    split = small_corpus.splits(0)
    config = MuseConfig(words=50, width=16, heads=2, hidden=16, stack=16)
    history = direct.train(small_corpus, split, config, 1e-3, 2, target=0.0)
    assert len(history) == 1 and history[0]["seconds"] > 0 and 0 <= history[0]["wa"] <= 1
    assert len(direct.train(small_corpus, split, config, 1e-3, 2, 2.0, shuffled=True)) == 2


def test_steps_are_set_beside_the_plain_ones_and_the_floor(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(speed, "GRID", {"mimic": [(3, 4)], "muse fast": [(3, 4)]})
    file = tmp_path / "speed.json"
    speed.main(["--only", "steps", "--seconds", "0.01", "--threads", "1", "--output", str(file)])
    result = json.loads(file.read_text())
    assert set(result["steps"]["rates"]) == {"operations", "bytes"}
    assert len(result["steps"]["rows"]) == 4
    assert "mimic, 3 x 4 words, padded" in capsys.readouterr().out
    for row in result["steps"]["rows"].values():
        assert row["step_to_floor"] > 1 and row["step_to_plain"] > 0


def test_a_step_is_taken_apart(monkeypatch, tmp_path):
    sizes = {"words": 5, "audio": 4, "vision": 3, "units": 4}
    narrow = MuseConfig(words=5, width=8, heads=2, hidden=8)
    cases = {"mimic": ("mimic", MimicConfig(**sizes), 6, 5), "muse": ("muse", narrow, 2, 2)}
    monkeypatch.setattr(profiles, "STEPS", cases)
    file = tmp_path / "profiles.json"
    profiles.main(["--eager", "--seconds", "0.01", "--threads", "1", "--output", str(file)])
    result = json.loads(file.read_text())
    for title, row in result["steps"].items():
        assert sum(row["shares"].values()) == pytest.approx(1) and "compiled" not in row
        assert row["calls"] > 100 and row["step_ms"] > 0
        assert row["shares"]["dense layers"] > 0 and row["shares"]["attention, backward"] > 0
        assert ("LSTM, backward" in row["shares"]) == ("mimic" in title)


def test_stages_are_read_from_what_make_and_the_check_print():
    log = """== demo corpus
== demo corpus: 12 s
==== book, from nothing
== demo corpus: 1 s
== book: 300 s
==== book, from nothing: 313 s
==== times
book, from nothing                   313 s
"""
    assert stages.stages(log) == {"demo corpus": 12, "book": 300, "book, from nothing, in all": 313}


def test_what_a_gpu_must_show_runs_on_a_cpu(keep_cache, small_corpus, tmp_path, monkeypatch):
    """The same code with tiny sizes: a CPU is equal to itself, and what was stopped goes on."""
    for module in (gpu, profiles):
        monkeypatch.setattr(module, "ROUNDS", 1)
    output = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--tiny", "--output", str(output)], small_corpus)
    found = json.loads(output.read_text())
    for name in ("muse", "muse-multigranular", "mimic"):
        assert found[f"losses, {name} fast"]["apart"] == 0
        assert all(row["step_ms"] > 0 for row in found[f"steps, {name} fast"].values())
        assert sum(found[f"inside, {name} fast"]["shares"].values()) == pytest.approx(1)
    assert found["resumed"] == {"loss": 0, "score": 0}
    assert found["one fold"]["epochs"] == 1


def test_real_recordings_are_split_by_speaker_and_trained_with_a_trace(tmp_path):
    file, draw = tmp_path / "some.pkl", np.random.default_rng(0)
    words = "nobody told me about it".split()
    rows = [
        (
            (np.arange(5), draw.random((5, 6)), draw.random((5, 7)), words),
            [[i % 7 - 3.0]],
            f"v{v}[{i}]",
        )
        for v in range(6)
        for i in range(v + 3)
    ]
    file.write_bytes(pickle.dumps(rows))
    corpus = similarity.read(file)
    parts = [{corpus.utterances[i].speaker for i in part} for part in corpus.splits(0)]
    assert sum(map(len, parts)) == 6 == len(set.union(*parts))
    result = similarity.train(file, "mimic", {"max_epochs": 1}, 0, 0, tmp_path)
    assert {"h text-audio", "i_low audio-vision"} < set(result["trace"])
    assert (
        result["command"] == "python -m benchmarks.similarity some.pkl" and not result["synthetic"]
    )
