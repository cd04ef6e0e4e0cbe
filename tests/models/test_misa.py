"""MISA against its second reading; what its losses read."""

import torch

from mmer_lib.models.base import by_modality
from mmer_lib.models.compared.misa import Misa, MisaConfig, ends, moment_discrepancy, reconstruction
from mmer_lib.models.losses import difference
from tests.models.cases import built
from tests.models.utterances import MODALITIES, batched, examples


def test_the_ends_of_a_bidirectional_lstm_are_those_of_its_real_part():
    states = torch.arange(24.0).reshape(2, 3, 4)
    mask = torch.tensor([[False, False, True], [False, False, False]])
    expected = torch.stack(
        [
            torch.cat([states[0, 1, :2], states[0, 0, 2:]]),
            torch.cat([states[1, 2, :2], states[1, 0, 2:]]),
        ]
    )
    assert torch.equal(ends(states, mask), expected)


def test_the_sizes_are_the_published_programs():
    """Its authors' program has 1,435,105 at these widths, 3,588 of them in parts that nothing reads
    (a discriminator, a norm of the words); and 5.14 million with word vectors of its own."""
    bert = MisaConfig(words=768, audio=74, vision=35, text_encoder="mean")
    assert sum(p.numel() for p in Misa(bert).parameters()) == 1_435_105 - 3_588
    assert sum(p.numel() for p in Misa(MisaConfig()).parameters()) == 5_143_549


def test_the_losses_read_what_is_shared_private_and_rebuilt_of_each_modality():
    model, batch = built("misa"), batched(examples())
    output = model(batch)
    h, s, i, r = ([output.named[f"{x}_{m}"] for m in MODALITIES] for x in "hsir")
    torch.testing.assert_close(output.named["S"], sum(s) / 3)
    losses = model.losses(batch, output)
    assert torch.equal(losses["similarity"], moment_discrepancy(s))
    assert torch.equal(losses["difference"], difference(s, i, fixed_norms=True))
    assert torch.equal(losses["reconstruction"], reconstruction(r, h))
    assert all(by_modality(output.named, pattern) for pattern in Misa.traced.values())
