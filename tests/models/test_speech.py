"""What every system of speech and text has to hold: neither padding nor company changes an answer,
what is missing is borne, every parameter learns."""

import json
from dataclasses import fields, replace

import pytest
import torch

from mmer_lib.data import DataError
from mmer_lib.models.registry import model_class
from tests.models import speech
from tests.models.speech import CASES, WIDE, every, made_of

SILENT = {"xu": ("align.key.bias",), "ssl": ("key.bias",)}
"""Parameters that shift all scores of a softmax alike, which changes nothing."""

BAD = {
    "yoon": [
        ({"fusion": "sum"}, "fusion 'sum'; known: concat, attention"),
        ({"units": 0}, "units is 0; at least 1"),
        ({"stack": 0}, "stack is 0; at least 1"),
        ({"text_dropout": 1.0}, "text_dropout is 1.0; from 0 to below 1"),
        ({"hop": 12.0}, "hop is 12; in seconds, above 0 and below 1"),
    ],
    "xu": [
        ({"alignment": "dot"}, "alignment 'dot'; known: additive, heads"),
        ({"pool": "mean"}, "pool 'mean'; known: max, attention"),
        ({"alignment": "heads", "heads": 3}, "units 4 each way make 8, no multiple of heads 3"),
        ({"stack": 0}, "stack is 0; at least 1"),
        ({"dropout": -0.1}, "dropout is -0.1; from 0 to below 1"),
        ({"window": 0.0}, "window is 0; in seconds"),
    ],
    "li": [
        ({"alignment": "forced"}, "alignment 'forced'; known: times, even"),
        ({"excitement": "audio"}, "excitement 'audio'; known: both, text, speech, none"),
        ({"channels": 64}, "channels is 64; give a list of numbers"),
        ({"channels": (3, 5)}, "one of each a convolution"),
        ({"kernels": (3, 0, 2)}, "kernels is .*at least 1"),
        ({"units": 0}, "units is 0; at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; from 0 to below 1"),
    ],
    "ssl": [
        ({"cls": 0}, "cls is 0; at least 1"),
        ({"fusion": "deep"}, "fusion 'deep'; known: shallow, co-attention"),
        ({"fusion": "co-attention", "heads": 4}, "width 6 is not a multiple of heads 4"),
        ({"fusion": "co-attention", "heads": 3}, "width 2 is not a multiple of heads 3"),
        ({"dropout": 1.0}, "dropout is 1.0; from 0 to below 1"),
        ({"speech": {"model_type": "wav2vec2"}}, "has no 'hidden_size'"),
    ],
}


@every
def test_padding_company_and_order_change_nothing(name, change):
    speech.keeps_its_answers(made_of(name, **change))


@every
def test_what_is_missing_is_borne_and_a_batch_of_one_works(name, change):
    speech.bears_what_is_missing(made_of(name, **change))


@every
@pytest.mark.parametrize("part", ["words", "frames", "audio", "vision", "cls"])
def test_the_output_depends_on_all_that_is_needed_and_on_nothing_else(name, change, part):
    """In one of a few models for Li, whose maxima can leave a frame out."""
    needs = model_class(name).needs(replace(CASES[name][0], **change))
    at = (1, slice(None), 0) if name == "li" and part != "cls" else (1, 0)
    models = (made_of(name, seed, **change) for seed in range(3 if name == "li" else 1))
    assert any(speech.depends_on(model, part, at) for model in models) is (part in needs)


@every
def test_every_parameter_gets_a_gradient(name, change):
    torch.manual_seed(0)
    config = CASES[name][0]
    still = {f.name: 0.0 for f in fields(config) if f.name.endswith("dropout")}
    model = model_class(name)(replace(config, **(WIDE[name] | change | still)))
    speech.learns_everywhere(model, without_effect=SILENT.get(name, ()))


@every
def test_a_saved_model_comes_back_bit_for_bit(name, change, tmp_path):
    model = made_of(name, **change).float()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config == model.config
    batch = speech.batched(speech.examples(), torch.float32)
    assert torch.equal(loaded(batch).logits, model(batch).logits)
    plain = json.loads(
        json.dumps({f.name: getattr(model.config, f.name) for f in fields(model.config)})
    )
    assert type(model.config)(**plain) == model.config


@pytest.mark.parametrize(
    "name, change, message", [(n, c, m) for n, cases in BAD.items() for c, m in cases]
)
def test_what_cannot_be_is_refused_by_the_name_of_the_field(name, change, message):
    with pytest.raises(DataError, match=message):
        replace(CASES[name][0], **change)
