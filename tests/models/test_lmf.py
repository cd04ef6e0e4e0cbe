"""LMF against its second reading, the whole products and the public program."""

import numpy as np
import pytest
import torch

from benchmarks import programs
from mmer_lib.models.compared.lmf import Lmf, LmfConfig, LowRankFusion
from tests.models import naive
from tests.models.cases import config_of, given
from tests.models.common import CLOSE, scrambled
from tests.models.references import program
from tests.models.test_tfn import mean_network, renamed_networks, text_network
from tests.models.utterances import whole

SMALL = config_of("lmf")


def low_rank(h, w, rank):
    """Term by term, each a product of one number a modality."""
    found = np.array(w["bias"])
    for r in range(rank):
        for o in range(len(found)):
            row = r * len(found) + o
            term = w["weights"][r]
            for m, x in h.items():
                factor = naive.part(w, f"factors.{m}")
                term *= factor["weight"][row] @ x + factor["bias"][row]
            found[o] += term
    return found


def lmf(e, w, config):
    h = {
        m: (text_network if m == "text" else mean_network)(x, naive.part(w, f"encoders.{m}"))
        for m, x in given(e).items()
    }
    fused = low_rank(h, naive.part(w, "fusion"), config.rank)
    return {**{f"h_{m}": v for m, v in h.items()}, "F": fused, "logits": fused}


@pytest.mark.parametrize("rank, outputs", [(1, 1), (3, 1), (2, 4)])
def test_it_is_a_linear_layer_on_all_products_whose_weights_have_low_rank(rank, outputs):
    widths = {"text": 3, "audio": 2, "vision": 5}
    layer = scrambled(LowRankFusion(widths, rank, outputs))
    h = {m: torch.randn(4, n, dtype=torch.float64, requires_grad=True) for m, n in widths.items()}
    factors = {
        m: torch.cat([f.bias[:, None], f.weight], 1).unflatten(0, (rank, outputs))
        for m, f in layer.factors.items()
    }  # (R, H, D + 1), the factor's column for the 1 first
    weight = torch.einsum("r,rhi,rhj,rhk->hijk", layer.weights, *factors.values())
    ones = (torch.cat([torch.ones_like(x[:, :1]), x], 1) for x in h.values())
    whole = torch.einsum("hijk,bi,bj,bk->bh", weight, *ones) + layer.bias
    wanted = [*h.values(), *layer.parameters()]
    torch.testing.assert_close(layer(h), whole)
    mine = torch.autograd.grad(layer(h).sin().sum(), wanted)
    torch.testing.assert_close(mine, torch.autograd.grad(whole.sin().sum(), wanted))


def renamed(theirs):
    """The state of the public program by our names."""
    state = renamed_networks(theirs)
    state |= {f"fusion.{name}": theirs[f"fusion_{name}"][0] for name in ("weights", "bias")}
    for m, name in (("text", "text"), ("audio", "audio"), ("vision", "video")):
        factor = theirs[f"{name}_factor"]  # (R, 1 + D, H)
        state[f"fusion.factors.{m}.bias"] = factor[:, 0].flatten()
        state[f"fusion.factors.{m}.weight"] = factor[:, 1:].transpose(1, 2).flatten(0, 1)
    return state


@pytest.mark.parametrize("classes", [1, 4])
def test_equal_weights_give_the_public_programs_outputs(classes):
    """$MMER_REFERENCES/LMF/model.py: github.com/Justin1904/Low-rank-Multimodal-Fusion."""
    config = LmfConfig(classes=classes)
    public = program(programs.lmf, config)
    public, model = public.double().eval(), Lmf(config).double().eval()
    public.fusion_bias.data.normal_()
    for subnet in (public.audio_subnet, public.video_subnet):
        subnet.norm.running_mean.normal_(), subnet.norm.running_var.uniform_(0.5, 2)
    assert sum(p.numel() for p in public.parameters()) == sum(p.numel() for p in model.parameters())
    missing = model.load_state_dict(renamed(public.state_dict()), strict=False)
    assert not missing.unexpected_keys and all(".scale." in k for k in missing.missing_keys)
    batch = whole(model.config, dtype=torch.float64)
    expected = public(batch.audio.mean(1), batch.vision.mean(1), batch.words)
    assert expected.std() > 0.001
    torch.testing.assert_close(model(batch).logits, expected.squeeze(1), **CLOSE)
