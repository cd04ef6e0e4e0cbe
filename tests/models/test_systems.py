"""What every model has to hold: neither padding nor company changes an answer, what is missing is
borne, one utterance is enough, every parameter learns, and a saved model is the same model."""

import itertools
import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from mmer_lib.data import DataError
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.probes import record
from mmer_lib.training.settings import PRESETS
from tests.models.cases import (
    CASES,
    SMALL,
    built,
    by_name,
    config_of,
    every,
    lengths_for,
    padding_for,
    still,
)
from tests.models.common import CLOSE, moved
from tests.models.utterances import (
    LENGTHS,
    MODALITIES,
    WIDTHS,
    batched,
    changed,
    examples,
    garbled,
    only,
)

NAN = float("nan")
TEXT = ("fusion.", "text_prenet.", "text_positions.", "text_encoder.")


def test_every_model_of_the_registry_is_here():
    assert set(SMALL) == set(CASES) == set(MODELS) == set(PRESETS)


def learner(name, seed=0, **change):
    """A model in training mode, in float64, without dropout."""
    config = config_of(name, wide=True, **change)
    config = config_of(name, wide=True, **(change | still(config)))
    torch.manual_seed(seed)
    return model_class(name)(config).double().train()


def learn(model, batch):
    """Losses and their weighted sum; gradients are in the parameters."""
    losses = model.losses(batch, model(batch))
    total = model.total(losses)
    total.backward()
    return losses | {"total": total}


def without_effect(name, config):
    """A shift of all scores of a softmax, or of all that a batch norm centres, changes nothing;
    the vector that covers frames in pre-training is not used; and nothing reads the text without
    cross-modal layers, nor the speech without any attention."""
    keys = name.endswith(("key.bias", "k_proj.bias", "masked_spec_embed"))
    centred = name.startswith("text_prenet.convolutions") and name.endswith("bias")
    unread = not getattr(config, "cross_layers", 1) and name.startswith(TEXT)
    alone = not getattr(config, "cross_layers", 1) and not config.fusion_layers
    return keys or centred or unread or (alone and name.startswith("speech_encoder."))


@pytest.mark.parametrize("name", ["tfn", "lmf", "mfn", "mult", "mfm"])
def test_what_the_programs_train_on_absolute_error_does_so_in_its_papers_preset(name):
    options, _ = PRESETS[name]["paper"]
    model, batch = learner(name, **options), batched(examples())
    output = model(batch)
    expected = np.mean(
        [abs(float(a - b)) for a, b in zip(output.logits, batch.sentiment, strict=True)]
    )
    assert float(model.losses(batch, output)["task"]) == pytest.approx(expected)


# ------------------------------------------------------------------------------------ answers


@every
def test_padding_changes_nothing(name, change):
    model, batch = built(name, **change), batched(examples(**lengths_for(change)))
    plain = model(batch)
    assert plain.logits.isfinite().all()
    for garbage in (1e3, NAN):
        how = padding_for(change, words=3, frames=5, audio=1, vision=7)
        longer = model(garbled(batch, garbage, **how))
        torch.testing.assert_close(longer.logits, plain.logits, **CLOSE)
        real = {"text": batch.word_mask, "frames": plain.named.get("frame_mask")}
        for key, value in plain.named.items():
            found = longer.named[key][:, : value.shape[1]]  # steps, or all
            if name.startswith("muse") and key in real:  # what stands on padding is nobody's
                value, found = value[~real[key]], found[~real[key]]
            if key in ("aligned", "fused"):
                value, found = value[~batch.word_mask], found[~batch.word_mask]
            torch.testing.assert_close(found, value, **CLOSE)


@every
def test_company_and_order_change_nothing(name, change):
    model, made = built(name, **change), examples(**lengths_for(change))
    together = model(batched(made)).logits
    for order in ([2, 0], [1], [1, 0, 2]):
        some = model(batched([made[i] for i in order])).logits
        torch.testing.assert_close(some, together[order], **CLOSE)


@every
def test_what_an_utterance_lacks_is_borne_and_alone_it_is_what_it_is_in_company(name, change):
    """Each part that the model reads by itself, and all modalities together."""
    model = built(name, **change)
    read = [part for part in LENGTHS if part in model.needs(model.config)]
    lackings = [{part} for part in read if change.get("level") != "frame"]
    for lacking in [*lackings, set(MODALITIES.values())]:
        lengths = LENGTHS | lengths_for(change)
        lengths = {p: (0, *n[1:]) if p in lacking else n for p, n in lengths.items()}
        made = examples(**lengths)
        together = model(batched(made)).logits
        assert together.isfinite().all(), lacking
        alone = model(garbled(batched(made[:1]), NAN, **padding_for(change))).logits
        torch.testing.assert_close(alone, together[:1], **CLOSE)


@every
def test_a_batch_of_one_works(name, change):
    torch.manual_seed(0)
    model = model_class(name)(config_of(name, **change))
    for training, length in itertools.product((True, False), (1, 3)):
        lengths = dict.fromkeys(LENGTHS, (length,))
        batch = batched(examples(**lengths), torch.float32)
        model.train(training).zero_grad()
        assert model(batch).logits.shape == ((1,) if model.config.classes == 1 else (1, 4))
        assert learn(model, batch)["total"].isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# ------------------------------------------------------------------------- what it depends on


@every
def test_the_output_depends_on_what_the_model_needs_and_on_nothing_else(name, change):
    """In one of a few models for Li, whose maxima can leave a frame out; without cross-modal
    layers, MUSE does not hear its words (see test_muse)."""
    config, batch = config_of(name, **change), batched(examples(**lengths_for(change)))
    needs, found = set(model_class(name).needs(config)) - {"word_times"}, set()
    for seed in range(3 if name == "li" else 1):
        model = built(name, seed, **change)
        before = model(batch).logits
        for part in ("known", "phonemes", "cls", "subwords", "sound", *WIDTHS):
            difference = (model(changed(batch, part)).logits - before).abs()
            difference = difference.reshape(3, -1).amax(1)
            assert (difference[1:] == 0).all(), part
            found |= {part} if difference[0] > 1e-9 else set()
    if not change.get("cross_layers", 1):
        needs -= {"words", "known", "phonemes"}
        needs -= set() if config.fusion_layers else {"frames"}
    assert found == {n for n in needs if not n.endswith("_mask")}


@every
def test_the_fields_that_a_model_needs_are_enough_and_all_needed(name, change):
    model, batch = built(name, **change), batched(examples(**lengths_for(change)))
    needs = model.needs(model.config)
    kept = (*needs, "word_times") if name == "li" else needs  # where there are any
    assert len(set(needs)) == len(needs)
    assert torch.equal(model(only(batch, kept)).logits, model(batch).logits)
    for left_out in needs:
        with pytest.raises((AttributeError, TypeError)):
            some = only(batch, [n for n in kept if n != left_out])
            model.train()
            model.losses(some, model(some))


@every
def test_the_scalings_are_those_of_what_it_reads_and_count(name, change):
    model, batch = built(name, **change), batched(examples(**lengths_for(change)))
    read = {"frames", "audio", "vision"} & set(model.needs(model.config))
    assert set(model.scalings()) == (set() if name == "linear" else read)
    before = model(batch).logits
    for layer in model.scalings().values():
        layer.fit(np.random.default_rng(0).normal(3, 2, (50, len(layer.mean))))
    unread = change.get("cross_layers", 1) == change.get("fusion_layers", 1) == 0
    assert not model.scalings() or unread or (model(batch).logits != before).any()


LOOKING = [
    ("muse", {"text_layers": 2, "cross_layers": 2, "fusion_layers": 2}),
    ("muse", {"speech": "group", "stack": 1}),
    ("mimic", {}),
    ("xu", {}),
    ("mult", {"causal": False}),
]


@pytest.mark.parametrize("name, change", LOOKING, ids=str)
def test_every_attention_map_sums_to_one_and_leaves_padding_out(name, change):
    model, batch = built(name, **change), garbled(batched(examples()))
    maps = {k: m for k, m in model.named_modules() if isinstance(m, nn.Softmax)}
    with record(maps) as seen, torch.no_grad():
        named = model(batch).named
    masks = [getattr(batch, n) for n in model.needs(model.config) if n.endswith("_mask")]
    if name == "muse":  # with the dummy frame
        masks = [batch.word_mask, named["frame_mask"]]
    elif change.get("speech"):
        masks.append(model.speech_encoder(batch.sound, batch.sound_mask)[1])
    masks = {mask.shape[1]: mask for mask in masks}
    assert set(seen) == set(maps)
    for rows in seen.values():
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
        rows = rows.reshape(len(rows), -1, rows.shape[-1])
        mask = masks[rows.shape[-1]].unsqueeze(1).expand_as(rows)
        assert (rows[mask] == 0).all() and (rows[~mask] > 0).all()


# ----------------------------------------------------------------------------------- training


@every
def test_training_learns_nothing_from_padding(name, change):
    """Losses, gradients and statistics are those without it."""
    found = []
    for garble in (False, True):
        model = learner(name, **change)
        batch = batched(examples(**({"vision": (0, 6, 4)} | lengths_for(change))))
        batch = garbled(batch, **padding_for(change)) if garble else batch
        losses = learn(model, batch)
        gradients = {k: p.grad for k, p in model.named_parameters()}
        found.append((losses, gradients, dict(model.named_buffers())))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


@every
def test_every_parameter_gets_a_gradient_and_moves(name, change):
    """From the losses with their weights, but for those that are frozen on purpose, or without
    effect by the algebra; in one of a few models, since a ReLU can die."""
    lengths = dict.fromkeys(LENGTHS, (4, 5, 3, 6, 4))
    if not lengths_for(change):
        lengths |= {"audio": (5, 4, 6, 3, 2), "vision": (6, 3, 5, 4, 1)}
    reached = set()
    for seed in range(3):
        model, batch = learner(name, seed, **change), batched(examples(**lengths))
        before = {k: v.detach().clone() for k, v in model.named_parameters()}
        learn(model, batch)
        for key, p in model.named_parameters():
            if not p.requires_grad:
                frozen = "feature_extractor." in key or key.endswith("masked_spec_embed")
                assert frozen and p.grad is None, key
                continue
            size = 0.0 if p.grad is None else float(p.grad.abs().max())
            assert size < 1e-12 or not without_effect(key, model.config), key
            reached |= {key} if size > 1e-12 else set()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        assert moved(model, before) >= {k for k in reached if model.get_parameter(k).grad.any()}
    learns = {k for k, p in model.named_parameters() if p.requires_grad}
    assert reached == {k for k in learns if not without_effect(k, model.config)}


@every
def test_the_total_is_the_sum_of_the_losses_times_the_fields_of_their_names(name, change):
    model = built(name, **change).train()
    batch = batched(examples(**lengths_for(change)))
    losses = model.losses(batch, model(batch))
    weights = {k: getattr(model.config, k) for k in losses if k != "task"}
    assert next(iter(losses)) == "task" and all(weights.values())
    expected = losses["task"] + sum(w * losses[k] for k, w in weights.items())
    torch.testing.assert_close(model.total(losses), expected)


@by_name
def test_dropout_works_in_training_only(name):
    change = {"dropout": 0.5} if "dropout" in config_of(name).__dataclass_fields__ else {}
    model, batch = built(name, **change), batched(examples())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert torch.equal(model(batch).logits, model(batch).logits)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    if any(share for share in vars(model.config).values() if share is change.get("dropout", ())):
        assert not torch.equal(model.train()(batch).logits, model(batch).logits)


# ------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(
    "name, change",
    [(name, {}) for name in CASES]
    + [("ssl", {"encoder": "bert", "speech": "layer"}), ("mimic", {"level": "frame"})],
    ids=str,
)
def test_a_saved_model_comes_back_bit_for_bit_with_its_configuration(name, change, tmp_path):
    model = built(name, **change).float()
    model.save_pretrained(tmp_path)
    files = {p.name for p in tmp_path.iterdir()}
    assert (
        {"model.safetensors", "config.json"}
        <= files
        <= {"model.safetensors", "config.json", "README.md"}
    )
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config == model.config and not loaded.training
    for field in fields(model.config):
        kind = type(getattr(model.config, field.name))
        assert type(getattr(loaded.config, field.name)) is kind, field.name
    batch = batched(examples(**lengths_for(change)), torch.float32)
    with torch.inference_mode():
        assert torch.equal(loaded(batch).logits, model(batch).logits)
    plain = json.loads(json.dumps(vars(model.config)))
    assert type(model.config)(**plain) == model.config
    with pytest.raises(AttributeError):
        model.config.classes = 2


# ----------------------------------------------------------------------------- configurations

BAD = [
    ("muse", {"fusion": "sum"}, "fusion 'sum'; known: highway, concat, word, phoneme"),
    ("muse", {"kernels": 3}, "kernels is 3; give a list"),
    ("muse", {"hop": 12.0}, "hop is 12.0; at least 0, below 1 second"),
    ("muse", {"speech": "layer", "stack": 2}, "stack is 2.*must be 1"),
    ("muse", {"cross_layers": 0}, "align is 0.1, but cross_layers is 0"),
    ("muse", {"heads": 3}, "width 8 .*heads 3"),
    (
        "mimic",
        {"modalities": "text,smell"},
        "modalities is 'text,smell'; some of text,audio",
    ),
    ("mimic", {"pool": 4}, "bottleneck 6 is not a multiple of pool 4"),
    ("mimic", {"modalities": ("audio",)}, "audio alone has no individual part"),
    ("mimic", {"difference": 0.3}, "difference is for decoupling 'orthogonal', not 'instance'"),
    ("yoon", {"text_dropout": 1.0}, "text_dropout is 1.0; at least 0, below 1"),
    ("li", {"channels": (3, 5)}, "as many of both"),
    ("mv-lstm", {"alpha": 1.5}, "alpha is 1.5; a share, from 0 to 1"),
    ("mult", {"width": 5, "heads": 1}, "width is 5; an even number"),
    ("mult", {"attention_dropout": (0.1, 1.0, 0.0)}, "attention_dropout .*at least 0, below 1"),
]


@pytest.mark.parametrize("name, change, message", BAD)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(name, change, message):
    with pytest.raises(DataError, match=message):
        config_of(name, **change)


def test_groups_of_words_take_the_known_order():
    assert config_of("mimic", parts="M, S").parts == ("S", "M")
    assert config_of("mimic", modalities=["vision", "text"]).modalities == ("text", "vision")


def test_an_unknown_model_is_refused_and_the_known_ones_named():
    with pytest.raises(DataError, match=r"unknown model 'gpt'; known: muse, .*linear"):
        model_class("gpt")
