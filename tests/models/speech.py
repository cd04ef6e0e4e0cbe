"""Utterances of words, frames and acoustic features with word times, each of its own length, small
configurations of the systems of speech and text, and what each of them, and each floor, must keep
to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer_lib.data import Batch
from mmer_lib.models.compared.li import LiConfig
from mmer_lib.models.compared.ssl import SslConfig
from mmer_lib.models.compared.xu import XuConfig
from mmer_lib.models.compared.yoon import YoonConfig
from mmer_lib.models.registry import model_class
from mmer_lib.training.learner import Learner
from mmer_lib.training.settings import Settings
from tests.models.common import CLOSE, lengthened, moved, scrambled

WIDTHS = {"words": 3, "frames": 4, "audio": 2, "vision": 5, "cls": 6}
LENGTHS = {"words": (3, 1, 5), "frames": (9, 14, 4), "audio": (3, 1, 4), "vision": (2, 6, 3)}
HOP = 0.01
SIZES = {"words": 3, "bands": 4, "hop": HOP, "window": 0.025}
SETTINGS = Settings("emotion", 1e-3, 4, 2, 1, "wa", "max")

CASES = {
    "yoon": (
        YoonConfig(**SIZES, audio=2, units=4, speech_dropout=0.2, text_dropout=0.2),
        [
            {},
            {"fusion": "attention"},
            {"prosody": False, "classes": 1},
            {"fusion": "attention", "prosody": False, "stack": 2},
            {"stack": 3},
        ],
    ),
    "xu": (
        XuConfig(**SIZES, units=4, heads=2, dropout=0.2),
        [
            {},
            {"classes": 1, "stack": 2},
            {"alignment": "heads"},
            {"pool": "attention", "stack": 3},
            {"alignment": "heads", "pool": "attention", "heads": 4},
        ],
    ),
    "li": (
        LiConfig(**SIZES, channels=(3, 5, 2), kernels=(3, 2, 2), width=4, units=3),
        [
            {},
            {"classes": 1, "residual": False},
            {"alignment": "even", "excitement": "text"},
            {"excitement": "speech", "channels": (3, 4), "kernels": (2, 1)},
            {"excitement": "none", "dropout": 0.2},
        ],
    ),
    "ssl": (
        SslConfig(**{k: WIDTHS[k] for k in ("cls", "audio", "words")}, dropout=0.2),
        [
            {},
            {"classes": 1},
            {"fusion": "co-attention"},
            {"fusion": "co-attention", "heads": 1, "classes": 1},
        ],
    ),
}
"""By model: a small configuration, and changes of it."""

WIDE = {"yoon": {"units": 8}, "xu": {}, "li": {"units": 16}, "ssl": {}}
"""Wider ones: in small layers, a maximum can leave a unit out."""

every = pytest.mark.parametrize(
    "name, change",
    [pytest.param(n, c, id=f"{n} {c}") for n, (_, changes) in CASES.items() for c in changes],
)


def every_change(name):
    return pytest.mark.parametrize("change", CASES[name][1], ids=str)


def made_of(name, seed=0, **change):
    """A model with scrambled weights."""
    return scrambled(model_class(name)(replace(CASES[name][0], **change)), seed)


def examples(lengths=LENGTHS, seed=0):
    """Utterances as dicts of plain arrays; the second word of each has no times."""
    rng, made = np.random.default_rng(seed), []
    for row in zip(*lengths.values(), strict=True):
        e = {p: rng.normal(size=(n, WIDTHS[p])) for p, n in zip(lengths, row, strict=True)}
        words, frames = len(e["words"]), len(e["frames"])
        bounds = np.sort(rng.uniform(0, frames * HOP, 2 * words)).reshape(words, 2)
        bounds[1:2] = np.nan
        made.append({**e, "word_times": bounds, "cls": rng.normal(size=WIDTHS["cls"])})
    return made


def batched(made, dtype=torch.float64):
    """The same as a padded `Batch`, filled by hand."""
    parts, b = {}, len(made)
    for part in LENGTHS:
        longest = max(1, *(len(e[part]) for e in made), 0)
        x = torch.zeros(b, longest, WIDTHS[part], dtype=dtype)
        mask = torch.ones(b, longest, dtype=torch.bool)
        for row, e in enumerate(made):
            x[row, : len(e[part])] = torch.from_numpy(e[part])
            mask[row, : len(e[part])] = False
        parts |= {part: x, part.removesuffix("s") + "_mask": mask}
    times = torch.full((*parts["word_mask"].shape, 2), torch.nan)
    for row, e in enumerate(made):
        times[row, : len(e["word_times"])] = torch.from_numpy(e["word_times"]).float()
    cls = torch.tensor(np.stack([e["cls"] for e in made]), dtype=dtype)
    labels = dict(emotion=torch.arange(b) % 4, sentiment=torch.linspace(-2, 3, b, dtype=dtype))
    return Batch(torch.arange(b), **parts, **labels, word_times=times, cls=cls)


def garbled(batch, extra=(2, 5, 4, 3), garbage=1e3):
    """More padding in every modality, with garbage in all of it."""
    new, value = replace(batch), torch.tensor(garbage, dtype=batch.words.dtype)
    times, _ = lengthened(batch.word_times, batch.word_mask, extra[0], torch.tensor(torch.nan))
    new.word_times = times
    for part, n in zip(LENGTHS, extra, strict=True):
        name = part.removesuffix("s") + "_mask"
        x, mask = lengthened(getattr(batch, part), getattr(batch, name), n, value)
        setattr(new, part, x)
        setattr(new, name, mask)
    return new


def agrees(model, naive):
    """The whole forward, padded and garbled, against naive(utterance) -> everything that the model
    names, and "logits" (classes,)."""
    made = examples()
    out = model(garbled(batched(made)))
    for row, e in enumerate(made):
        expected = naive(e)
        logits = expected.pop("logits")
        one = logits[0] if model.config.classes == 1 else logits
        np.testing.assert_allclose(out.logits[row].detach().numpy(), one, **CLOSE)
        assert set(out.named) == set(expected)
        for name, value in expected.items():
            found = out.named[name][row].detach().numpy()
            if found.shape != value.shape:  # by step: the real ones stand first
                found = found[: len(value)]
            np.testing.assert_allclose(found, value, **CLOSE)


def keeps_its_answers(model):
    """Whatever the padding, the company and the order."""
    made = examples()
    plain = model(batched(made))
    for garbage in (1e3, float("nan")):
        torch.testing.assert_close(
            model(garbled(batched(made), garbage=garbage)).logits, plain.logits, **CLOSE
        )
    for order in ([2, 0], [1], [1, 0, 2]):
        some = model(batched([made[i] for i in order]))
        torch.testing.assert_close(some.logits, plain.logits[order], **CLOSE)


def bears_what_is_missing(model):
    """An utterance that lacks a modality; a batch of one, in training too."""
    for part in LENGTHS:
        lengths = {**LENGTHS, part: (0, *LENGTHS[part][1:])}
        made = examples(lengths)
        together = model(batched(made)).logits
        assert together.isfinite().all()
        alone = model(garbled(batched(made[:1]))).logits
        torch.testing.assert_close(alone, together[:1], **CLOSE)
    model.train()
    assert model(batched(examples()[:1])).logits.isfinite().all()
    model.eval()


def depends_on(model, part, at=(1, 0)):
    """A change in one utterance's real position moves its answer, and no other's."""
    batch = batched(examples())
    value = getattr(batch, part).clone()
    value[at] += 1
    difference = (model(batch).logits - model(replace(batch, **{part: value})).logits).abs()
    difference = difference.reshape(3, -1).amax(1)
    return bool(difference[1] > 1e-8 and difference[0] == difference[2] == 0)


def learns_everywhere(model, batch=None, without_effect=()):
    """Every parameter gets a gradient from padded, garbled utterances, and a step moves it, but
    for those whose name ends as the algebra says."""
    model.double().train()
    task = "sentiment" if model.config.classes == 1 else "emotion"
    mode = ("mae", "min") if task == "sentiment" else ("wa", "max")
    settings = replace(SETTINGS, task=task, monitor=mode[0], mode=mode[1])
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    batch = garbled(batched(examples()), garbage=float("nan")) if batch is None else batch
    Learner(model, settings).loss(batch)["loss"].backward()
    silent = {k for k in before if k.endswith(tuple(without_effect))} if without_effect else set()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert (p.grad.abs().max() > 1e-12) is not (name in silent), name
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert moved(model, before) >= set(before) - silent
