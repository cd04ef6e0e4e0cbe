"""Configurations that cannot be are refused by the name of the field."""

import json
import re
from dataclasses import fields, replace

import pytest

from mmer_lib.data import DataError
from mmer_lib.models.mimic import MimicConfig
from mmer_lib.models.multigranular import BertConfig, Multigranular, MultigranularConfig
from mmer_lib.models.muse import FUSIONS, Muse, MuseConfig
from tests.models.utterances import NAMES, SMALL, config_of, encoder

MUSES = (MuseConfig, MultigranularConfig)


@pytest.mark.parametrize("cls", MUSES)
@pytest.mark.parametrize("value", ["Highway", "", "sum", None, 0])
def test_an_unknown_fusion_is_refused_and_the_known_ones_named(cls, value):
    with pytest.raises(DataError, match=rf"fusion {value!r}") as caught:
        cls(fusion=value)
    assert all(name in str(caught.value) for name in FUSIONS)


@pytest.mark.parametrize("cls", MUSES)
@pytest.mark.parametrize("field", ["highway", "text_layers", "cross_layers", "fusion_layers"])
@pytest.mark.parametrize("value", [-1, -7])
def test_a_negative_depth_is_refused_and_the_least_named(cls, field, value):
    with pytest.raises(DataError, match=f"{field} is {value}; at least 0"):
        cls(**{field: value})
    assert getattr(cls(**{field: 0}), field) == 0


@pytest.mark.parametrize("cls", MUSES)
@pytest.mark.parametrize("field", ["hop", "window"])
@pytest.mark.parametrize("value", [0, -0.01, 1, 12.0, float("nan")])
def test_hop_and_window_are_seconds(cls, field, value):
    with pytest.raises(DataError, match=f"{field} is {value:g}; in seconds, above 0 and below 1"):
        cls(**{field: value})


@pytest.mark.parametrize("stack", [2, 4])
def test_frames_of_a_speech_encoder_are_not_stacked(stack):
    speech = encoder("wav2vec2")
    with pytest.raises(DataError, match=rf"stack is {stack}.*must be 1"):
        MuseConfig(speech=speech, stack=stack)
    assert MuseConfig(speech=speech).stack == 1 and MuseConfig(stack=stack).speech is None


@pytest.mark.parametrize(
    "change, numbers", [({"heads": 3}, ("8", "3")), ({"prenet_kernel": 4}, ("kernel 4", "odd"))]
)
@pytest.mark.parametrize("cls", [Muse, Multigranular])
def test_sizes_that_do_not_fit_are_refused_with_their_numbers(cls, change, numbers):
    small = {f.name: getattr(SMALL, f.name) for f in fields(SMALL)} | change
    with pytest.raises(ValueError) as caught:
        cls(cls.config_class(**small))
    assert all(number in str(caught.value) for number in numbers)


@pytest.mark.parametrize("change", [{"fusion": "x"}, {"cross_layers": -1}])
def test_a_change_of_a_configuration_is_checked_too(change):
    with pytest.raises(DataError, match=next(iter(change))):
        replace(MuseConfig(), **change)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_the_same_after_json(name):
    cls, config = config_of(name)
    plain = json.loads(json.dumps({f.name: getattr(config, f.name) for f in fields(config)}))
    again = cls.config_class(**plain)
    assert again == config
    assert not isinstance(config, MuseConfig) or type(again.kernels) is tuple


def test_mimics_configuration_is_the_same_after_json():
    config = MimicConfig(head=(9, 5))
    plain = json.loads(json.dumps({f.name: getattr(config, f.name) for f in fields(config)}))
    assert MimicConfig(**plain) == config and MimicConfig(**plain).head == (9, 5)


@pytest.mark.parametrize("cls", [*MUSES, BertConfig, MimicConfig])
def test_every_field_of_a_configuration_is_explained(cls):
    """Named in the docstring of its class or of a class above it, or plain by its name."""
    plain = {"classes", "width", "heads", "hidden", "units", "head", "dropout", "prenet_kernel"}
    plain |= {"phoneme_embedding"}
    explained = " ".join(c.__doc__ or "" for c in (*cls.__mro__, MultigranularConfig))
    for field in fields(cls):
        assert field.name in plain or re.search(rf"\b{field.name}\b", explained), field.name


def test_a_configuration_cannot_be_changed_in_place():
    for config in (MuseConfig(), MultigranularConfig(), BertConfig(), MimicConfig()):
        with pytest.raises(AttributeError):
            config.dropout = 0.5
