"""Several processes train as one: real ones, over gloo, on this machine."""

import os
import pickle
from dataclasses import replace
from functools import partial

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmer_lib.data import DataError
from mmer_lib.experiments.costs import random_batch
from mmer_lib.features.batches import Examples
from mmer_lib.models import ranks
from mmer_lib.models.encoders import SpeechEncoder
from mmer_lib.models.registry import model_class
from mmer_lib.training import parallel
from mmer_lib.training.fit import examples_for, features_for, scores_of
from mmer_lib.training.learner import Learner
from mmer_lib.training.runs import source_hash, truth_of
from mmer_lib.training.settings import PRESETS
from mmer_lib.training.trainer import device_of, precision_of, run_training, trainer_for
from tests.tiny import SMALL, names, tiny, with_utterances

WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])
"""Class weights: the loss is a mean over weights, not over utterances."""

CASES = {
    "muse": ("muse", {"align": 0.1}, 7, None),  # batch norms; a share of 4 and one of 3
    "muse, classes weighted": ("muse-multigranular", {"embedding": 0.01}, 5, WEIGHTS),
    "muse, one utterance": ("muse", {"align": 0.1}, 1, WEIGHTS),  # a share of nothing
    "muse, forced": ("muse", {"align": 0.1, "ideal": "forced"}, 6, None),
    "mimic": ("mimic", {"contrastive": 0.1}, 7, None),
    "mimic, one utterance": ("mimic", {"contrastive": 0.1}, 1, None),
    "misa": ("misa", {"similarity": 1.0, "difference": 0.3, "reconstruction": 1.0}, 7, None),
    "tfn": ("tfn", {}, 5, None),  # batch norms over utterances
    "mfm": ("mfm", {}, 5, None),  # losses of its own, with parameters behind the gathering
    "iccn": ("iccn", {}, 8, None),
}
"""By label: model, settings, utterances, class weights."""


def without_dropout(config):
    """The configuration with every dropout at 0."""
    off = {k: v for k, v in vars(config).items() if k.endswith("dropout")}
    return replace(
        config, **{k: (0.0,) * len(v) if type(v) is tuple else 0.0 for k, v in off.items()}
    )


def ragged(model, count):
    """A batch of noise in which utterances are of different lengths and labels."""
    batch = random_batch(model, count, 9, seed=1)
    for name in vars(batch):
        if name.endswith("_mask") and (mask := getattr(batch, name)) is not None:
            for i in range(count):
                mask[i, mask.shape[1] - (i * mask.shape[1]) // (2 * count) :] = True
    starts = torch.arange(9) * 0.3
    batch.word_times = torch.stack([starts, starts + 0.25], -1).expand(count, -1, -1).clone()
    batch.emotion = torch.arange(count) % 4
    batch.sentiment = (torch.arange(count) % 3 - 1).float()
    return batch


def made(name, changes, count, weights):
    """(learner, batch) of a case, the same in every process."""
    cls, (options, settings) = model_class(name), PRESETS[name]["fast"]
    classes = 4 if settings.task == "emotion" else 1
    config = without_dropout(cls.config_class(**{**options, **SMALL[name], "classes": classes}))
    torch.manual_seed(3)
    learner = Learner(cls(config), replace(settings, **changes), weights)
    return learner.train(), ragged(learner.model, count)


class Loss(nn.Module):
    """The loss as the forward pass, which is what DDP wraps."""

    def __init__(self, learner):
        super().__init__()
        self.learner = learner

    def forward(self, batch):
        return self.learner.loss(batch)


def step(learner, batch, wrap=lambda module: module):
    """Losses, gradients and buffers after going forwards and backwards once."""
    module = wrap(Loss(learner))  # lives on while gradients are averaged
    losses = module(batch)
    losses["loss"].backward()
    return (
        {name: loss.item() for name, loss in losses.items()},
        {name: p.grad for name, p in learner.named_parameters()},
        dict(learner.named_buffers()),
    )


def one_of(rank, port, count, folder):
    """What a process does: all cases, one after the other."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=count)
    found = {label: step(*made(*CASES[label]), DistributedDataParallel) for label in CASES}
    (folder / f"{rank}").write_bytes(pickle.dumps(found))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    port = LightningEnvironment().main_port
    torch.multiprocessing.spawn(one_of, (port, 2, folder), nprocs=2)
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


@pytest.mark.parametrize("label", CASES)
def test_the_gradient_of_two_processes_is_that_of_one(together, label):
    """Up to 1e-5 of the largest entry, losses up to 2e-6 of their sum, statistics of batch norms
    up to 1e-6; and both processes have the same."""
    losses, gradients, buffers = step(*made(*CASES[label]))
    largest = max(g.abs().max() for g in gradients.values())
    assert largest > 0
    for found in together:
        assert found[label][0] == pytest.approx(losses, abs=2e-6 * losses["loss"])
        for name, gradient in gradients.items():
            assert (found[label][1][name] - gradient).abs().max() <= 1e-5 * largest, name
        for name, value in buffers.items():
            torch.testing.assert_close(found[label][2][name], value, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(*(found[label][1].values() for found in together), strict=True):
        assert ours.equal(theirs)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("among", [2, 3, 8])
def test_shares_are_the_batch_in_order_and_all_of_one_size(count, among):
    batch = ragged(made(*CASES["mimic"])[0].model, count)
    shares = [batch.share(rank, among) for rank in range(among)]
    assert {len(share) for share in shares} == {-(-count // among)}
    for name, value in vars(batch).items():
        if value is not None:
            rows = torch.cat([getattr(share, name) for share in shares])
            assert rows[:count].equal(value)
            filling = rows[count:]
            assert filling.all() if name.endswith("_mask") else not filling.any()


@pytest.mark.parametrize("name", [name for name in SMALL if name != "ssl"])
def test_a_share_of_nothing_is_finite_and_moves_nothing(name):
    learner, batch = made(name, {}, 1, None)
    share = batch.share(1, 2)
    assert len(share) == 1
    (0.0 * learner.model(share).logits).sum().backward()
    for parameter in learner.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_a_speech_encoder_can_be_given_silence_of_no_length(norm):
    config = {"model_type": "wav2vec2", "hidden_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": [8, 8],
              "conv_kernel": [20, 8], "conv_stride": [160, 2], "num_feat_extract_layers": 2,
              "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
              "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}  # fmt: skip
    encoder = SpeechEncoder(config).train()
    states, mask = encoder(torch.zeros(1, 4000), torch.ones(1, 4000, dtype=torch.bool))
    assert mask.all()
    states.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_alone_nothing_is_copied_or_gathered():
    _, batch = made(*CASES["mimic"])
    assert batch.share(0, 1) is batch and (ranks.count(), ranks.own()) == (1, 0)
    x = torch.randn(3, 2)
    assert ranks.whole(x, 3) is x and ranks.total(x) is x
    named = ranks.Whole({"S": x}, 3)
    assert named["S"] is x and "S" in named and list(named) == ["S"] and len(named) == 1


# ------------------------------------------------------------------------------ whole trainings


@pytest.mark.parametrize(
    ("name", "changes"), [("mimic", {"batch_size": 19}), ("muse", {"class_weights": True})]
)
def test_two_processes_train_and_score_as_one(keep_cache, small_corpus, tmp_path, name, changes):
    """Losses and scores of two epochs up to 1e-4, all weights together up to 1e-3 of their length:
    Adam makes steps of one size of gradients that are rounding and nothing else, as of what a norm
    takes away again. The last of the batches of 19 is a single utterance."""
    options = {"dropout": 0.0}
    alone = tiny(name, small_corpus, tmp_path, options, **changes)
    both = tiny(name, small_corpus, tmp_path, options, devices=2, **changes)
    assert both.folder != alone.folder and names(both.folder) == names(alone.folder) != []
    assert (alone.result["devices"], both.result["devices"]) == (1, 2)
    assert both.result["command"].count("--devices 2") == 1
    for ours, theirs in zip(both.result["history"], alone.result["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert both.result["test"] == pytest.approx(alone.result["test"], rel=1e-4)
    ours, theirs = (
        torch.cat([value.flatten() for value in run.model.state_dict().values()])
        for run in (both, alone)
    )
    assert (ours - theirs).norm() <= 1e-3 * theirs.norm()
    if model_class(name).traced:
        traces = [run.result["trace"] for run in (both, alone)]
        assert traces[0].keys() == traces[1].keys()
        for moments in traces[0]:
            assert traces[0][moments] == pytest.approx(traces[1][moments], abs=1e-3)
    again = tiny(name, small_corpus, tmp_path, options, devices=2, **changes)
    assert again.folder == both.folder and again.result == both.result


def test_a_process_that_fails_ends_the_training_with_its_traceback(tmp_path):
    learner, _ = made(*CASES["mimic"])
    job = parallel.Job(learner, partial(int, "no parts"), ("cpu", 2), tmp_path, 0, False)
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="no parts"):
        parallel.train_together(job)


def test_processes_draw_other_numbers():
    seeds = [parallel.rank_seed(seed, rank) for seed in range(3) for rank in range(8)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**32 for seed in seeds)


def test_what_decides_a_training_counts(monkeypatch):
    before = source_hash.__wrapped__("mimic")
    monkeypatch.setattr("mmer_lib.training.runs.digest", lambda *parts: [name for name, _ in parts])
    assert {"ranks.py", "parallel.py"} <= set(source_hash.__wrapped__("mimic")) and before


@pytest.mark.parametrize(
    ("device", "devices", "message"),
    [
        ("cpu", 0, "devices is 0; at least 1"),
        ("cuda", 2, "device 'cuda' x 2: torch sees 1 GPUs"),
        ("cuda:0", 2, "'cuda:0' is one; for 2 devices write cuda"),
        ("auto", 2, "device 'auto' x 2: torch sees 1 GPUs"),
        ("cuda:1", 1, "device 'cuda:1': torch sees 1 GPUs"),
    ],
)
def test_devices_that_are_not_there_are_refused(monkeypatch, device, devices, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DataError, match=message):
        device_of(device, devices)


def test_devices_by_name_and_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device_of("auto", 3) == device_of("cpu", 3) == ("cpu", 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert device_of("cuda", 8) == device_of("auto", 8) == ("gpu", 8)
    assert device_of("cuda:3") == ("gpu", [3]) and device_of("cpu", 2) == ("cpu", 2)


# ------------------------------------------------------------------- accumulation and precision


class Gradients(L.Callback):
    """The gradients of every step."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, learner, optimizer):
        self.steps.append({n: p.grad.clone() for n, p in learner.named_parameters()})


def accumulated(corpus, tmp_path, batch_size, accumulate, utterances=32):
    """The gradients of one epoch of a mean over utterances."""
    _, settings = PRESETS["mimic"]["fast"]
    settings = replace(
        settings, contrastive=0.0, max_epochs=1, batch_size=batch_size, accumulate=accumulate
    )
    features = features_for(("words", "audio", "vision"), settings, corpus)
    widths = {k: v for k, v in features.sizes.items() if k in ("words", "audio", "vision")}
    cls = model_class("mimic")
    torch.manual_seed(0)
    model = cls(cls.config_class(**{**SMALL["mimic"], **widths, "dropout": 0.0, "classes": 1}))
    parts = [Examples(corpus, features, range(utterances)), Examples(corpus, features, range(4))]
    seen = Gradients()
    folder = tmp_path / f"{batch_size} x {accumulate}"
    trainer = trainer_for(settings, ("cpu", 1), folder, [seen])
    run_training(trainer, Learner(model, settings), parts, 0)
    return seen.steps


def test_batches_that_are_accumulated_are_one_large_batch(keep_cache, small_corpus, tmp_path):
    (whole,) = accumulated(small_corpus, tmp_path, 32, 1)
    (parts,) = accumulated(small_corpus, tmp_path, 8, 4)
    largest = max(g.abs().max() for g in whole.values())
    for name, gradient in whole.items():
        assert (parts[name] - gradient).abs().max() <= 1e-5 * largest, name
    assert len(accumulated(small_corpus, tmp_path, 8, 3)) == 2  # the second of one batch alone


def test_mixed_precision_learns_what_faces_show(keep_cache, small_corpus, tmp_path):
    """As in float32 (`test_training`): mean recall beats chance (a quarter) by a quarter."""
    shown = with_utterances(
        small_corpus, lambda i, u: replace(u, emotion=u.planted.shows["vision"]), small_corpus.key
    )
    run = tiny("mimic", shown, tmp_path, task="emotion", monitor="wa", mode="max", max_epochs=20,
               learning_rate=5e-3, batch_size=16, contrastive=0.0, precision="bf16-mixed",
               model_options={"units": 32, "bottleneck": 16})  # fmt: skip
    assert run.result["settings"]["precision"] == "bf16-mixed"
    assert all(value.dtype == torch.float32 for value in run.model.state_dict().values())
    assert run.result["test"]["ua"] > 0.25 + 0.25
    rows, logits = run.predict(examples_for(run, shown, shown.splits(0).test))
    truth = truth_of(shown, rows, "emotion")
    assert scores_of("emotion", logits, truth)["ua"] == pytest.approx(run.result["test"]["ua"])


def test_precision_follows_the_device(monkeypatch):
    settings = PRESETS["mimic"]["fast"][1]
    half = replace(settings, precision="16-mixed")
    assert precision_of(settings, "cpu") == "32-true"
    with pytest.raises(DataError, match="needs a GPU; on a CPU set it to 'bf16-mixed'"):
        precision_of(half, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert precision_of(settings, "gpu") == precision_of(settings, "auto") == "bf16-mixed"
    assert precision_of(half, "gpu") == "16-mixed" and precision_of(settings, "cpu") == "32-true"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 0}, "accumulate is 0; at least 1"),
        ({"precision": "8-bit"}, "precision '8-bit'; known: 'auto', '32-true', 'bf16-mixed'"),
        ({"precision": "16-mixed"}, "precision '16-mixed' needs a GPU"),
        ({"devices": 0}, "devices is 0"),
    ],
)
def test_nonsense_is_refused_before_anything_is_computed(
    small_corpus, monkeypatch, tmp_path, changes, message
):
    monkeypatch.setattr("mmer_lib.training.fit.features_for", lambda *a: pytest.fail("computed"))
    with pytest.raises(DataError, match=message):
        tiny("mimic", small_corpus, tmp_path, **changes)
    assert not names(tmp_path)
