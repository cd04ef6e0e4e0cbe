"""The loop against one written down plainly; what it keeps, when it stops, whom it lets look."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmer_lib.data import DataError
from mmer_lib.features.batches import loader
from mmer_lib.training.loop import train
from mmer_lib.training.settings import Settings
from tests.training.conftest import fresh

SETTINGS = Settings(
    "sentiment", 0.02, 8, 4, 9, "mae", "min", weight_decay=0.01, warmup=0.2, clip=0.5
)


def plain_training(model, parts, settings):
    """The same training with torch alone, on a CPU: (history of losses, weights by epoch)."""
    batches = loader(parts[0], settings.batch_size, shuffle=True, seed=0)
    steps = math.ceil(len(batches) / settings.accumulate)
    total, rise = steps * settings.max_epochs, round(settings.warmup * steps * settings.max_epochs)
    optimiser = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    history, weights, step = [], [], 0
    for _ in range(settings.max_epochs):
        model.train()
        losses, all_batches = [], list(batches)
        for i, batch in enumerate(all_batches, 1):
            each = model.losses(batch, model(batch))
            loss = each["task"] + model.config.size * each["size"]
            (loss / settings.accumulate).backward()
            losses.append(loss.item())
            if i % settings.accumulate and i < len(all_batches):
                continue
            factor = (step + 1) / rise
            if step >= rise:
                factor = (1 + math.cos(math.pi * (step - rise) / (total - rise))) / 2
            optimiser.param_groups[0]["lr"] = settings.learning_rate * factor
            if settings.clip_value:
                nn.utils.clip_grad_value_(model.parameters(), settings.clip_value)
            else:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
        history.append(sum(losses) / len(losses))
        weights.append(copy.deepcopy(model.state_dict()))
    return history, weights


@pytest.mark.parametrize(
    "change", [{}, {"accumulate": 3}, {"clip": 0.0, "clip_value": 0.01}], ids=str
)
def test_it_is_the_plain_loop(parts, change):
    settings = replace(SETTINGS, **change)
    history, weights = plain_training(fresh(), parts, settings)
    model = fresh()
    with torch.no_grad():  # as who calls it may have switched gradients off
        trained = train(model, parts, settings, device="cpu", progress=False)
    assert [e["loss"] for e in trained.history] == pytest.approx(history, rel=1e-6)
    best = min(range(4), key=lambda i: trained.history[i]["mae"])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[best][name])
    assert not model.training
    first = trained.history[0]
    assert first["loss"] == pytest.approx(first["loss_task"] + 0.1 * first["loss_size"], rel=1e-6)


def test_it_learns(parts):
    model = fresh(size=0.0)
    many = replace(SETTINGS, max_epochs=60, patience=60, learning_rate=0.1)
    trained = train(model, parts, many, device="cpu", progress=False)
    assert trained.history[-1]["mae"] < 0.1 * trained.history[0]["mae"]


def test_it_waits_as_long_as_its_patience_and_keeps_the_best_weights(parts):
    impatient = replace(SETTINGS, max_epochs=50, patience=2, learning_rate=0.5, warmup=0.0)
    model = fresh()
    trained = train(model, parts, impatient, device="cpu", progress=False)
    mae = [epoch["mae"] for epoch in trained.history]
    best = mae.index(min(mae))
    assert len(mae) == best + 1 + 2 < 50
    with torch.inference_mode():
        batch = parts[1].collate(parts[1].rows)
        again = (model(batch).logits - batch.sentiment).abs().mean().item()
    assert again == pytest.approx(mae[best], rel=1e-5)


def test_watchers_look_before_within_the_first_epoch_and_after_each(parts):
    moments = []
    settings = replace(SETTINGS, accumulate=2, max_epochs=3)
    watch = [lambda model, step, steps: moments.append((step, steps))]
    train(fresh(), parts, settings, device="cpu", progress=False, watch=watch)
    assert moments == [(0, 2), (1, 2), (2, 2), (4, 2), (6, 2)]


def test_a_training_that_diverges_says_which_epoch_and_what_to_do(parts):
    hot = replace(SETTINGS, learning_rate=1e30, clip=0.0, max_epochs=9, warmup=0.0)
    with pytest.raises(DataError, match=r"epoch \d: the training diverged.*learning_rate"):
        train(fresh(), parts, hot, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cuda:x", "auto", "unknown device 'cuda:x'"),
        ("cuda:99", "auto", "torch sees"),
        ("cpu", "16-mixed", "needs a GPU"),
    ],
)
def test_a_device_that_is_not_there_is_refused(parts, device, precision, message):
    with pytest.raises(DataError, match=message):
        train(fresh(), parts, replace(SETTINGS, precision=precision), device=device)


@pytest.mark.parametrize("precision", ["auto", "32-true", "bf16-mixed"])
def test_precisions_of_a_cpu_follow_one_another(parts, precision):
    """Each training has its own, whatever the one before had."""
    trained = train(
        fresh(), parts, replace(SETTINGS, precision=precision), device="cpu", progress=False
    )
    exact = train(fresh(), parts, SETTINGS, device="cpu", progress=False)
    coarse = precision == "bf16-mixed"
    difference = abs(trained.history[0]["loss"] - exact.history[0]["loss"])
    assert (difference > 0) == coarse and difference < 0.02
