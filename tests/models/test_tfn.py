"""TFN against its second reading and the public program; the product that is never written down."""

import numpy as np
import pytest
import torch

from benchmarks import programs
from mmer_lib.models.compared.tfn import ProductLinear, Tfn, TfnConfig
from tests.models import naive
from tests.models.cases import config_of, given
from tests.models.common import CLOSE
from tests.models.references import program
from tests.models.utterances import whole

SMALL = config_of("tfn")


def text_network(x, w):
    return naive.linear(naive.lstm(x, naive.part(w, "lstm"))[-1:], naive.part(w, "project"))[0]


def mean_network(x, w):
    x = ((x - w["scale.mean"]) / w["scale.deviation"]).mean(0)[None]
    x = naive.batch_norm(x, naive.part(w, "norm"))
    for layer in (0, 2, 4):
        x = naive.relu(naive.linear(x, naive.part(w, f"layers.{layer}")))
    return x[0]


def product_linear(text, audio, vision, w):
    """Each output a sum over all triples, one at a time."""
    t, a, v = ([1.0, *x] for x in (text, audio, vision))
    products = [x * y * z for x in t for y in a for z in v]
    return naive.linear([np.array(products)], w)


def tfn(e, w, config):
    h = {
        m: (text_network if m == "text" else mean_network)(x, naive.part(w, f"encoders.{m}"))
        for m, x in given(e).items()
    }
    x = naive.relu(product_linear(*h.values(), naive.part(w, "product.linear")))
    x = naive.relu(naive.linear(x, naive.part(w, "layers.1")))
    logits = naive.linear(x, naive.part(w, "classifier"))[0]
    if config.classes == 1 and config.bound:
        logits = config.bound * (2 * naive.sigmoid(logits) - 1)
    return {**{f"h_{m}": v for m, v in h.items()}, "F": x[0], "logits": logits}


def written_down(layer, *vectors):
    """The same layer on the whole product."""
    t, a, v = (torch.cat([torch.ones_like(x[:, :1]), x], 1) for x in vectors)
    return layer.linear(torch.einsum("bi,bj,bk->bijk", t, a, v).flatten(1))


@pytest.mark.parametrize("sizes", [(3, 2, 4), (1, 1, 1), (6, 5, 2)])
def test_the_product_that_is_not_written_down_gives_the_same_numbers_and_gradients(sizes):
    layer = ProductLinear(*sizes, outputs=7, dropout=0.5).double().eval()
    vectors = [torch.randn(4, n, dtype=torch.float64, requires_grad=True) for n in sizes]
    wanted = [*vectors, *layer.parameters()]
    out, whole = layer(*vectors), written_down(layer, *vectors)
    torch.testing.assert_close(out, whole)
    mine = torch.autograd.grad(out.sin().sum(), wanted)
    torch.testing.assert_close(mine, torch.autograd.grad(whole.sin().sum(), wanted))
    assert all(g.abs().max() > 0 for g in mine)


def test_dropout_falls_on_single_products():
    """With the weights at one, an output is a sum of the products that are left, doubled."""
    torch.manual_seed(0)
    layer = ProductLinear(2, 2, 2, outputs=1, dropout=0.5).train()
    torch.nn.init.ones_(layer.linear.weight)
    torch.nn.init.zeros_(layer.linear.bias)
    sums = layer(*[torch.ones(400, 2)] * 3).squeeze(1)  # 27 products, all one
    assert set((sums / 2).tolist()) <= set(range(28)) and len(set(sums.tolist())) > 5
    assert abs(sums.mean() - 27) < 1.5
    assert (layer.eval()(*[torch.ones(4, 2)] * 3) == 27).all()


PUBLIC = TfnConfig(audio_width=4, vision_width=16, hidden=32, bound=3.0)


def renamed_networks(theirs):
    """The state of the three networks of the public programs of TFN and LMF by our names."""
    subnets = {"text": "text_subnet", "audio": "audio_subnet", "vision": "video_subnet"}
    ours = {"rnn": "lstm", "linear_1": "layers.0", "linear_2": "layers.2", "linear_3": "layers.4"}
    values = {"running_mean": "mean", "running_var": "variance"}
    state = {}
    for m, subnet in subnets.items():
        for key, value in naive.part(theirs, subnet).items():
            part, name = key.split(".")
            part = "project" if (m, part) == ("text", "linear_1") else ours.get(part, part)
            if name != "num_batches_tracked":
                state[f"encoders.{m}.{part}.{values.get(name, name)}"] = value
    return state


def renamed(theirs):
    """The state of the public program by our names."""
    state = renamed_networks(theirs)
    for i, part in enumerate(("product.linear", "layers.1", "classifier")):
        for name, value in naive.part(theirs, f"post_fusion_layer_{i + 1}").items():
            state[f"{part}.{name}"] = value
    whole = state["product.linear.weight"].unflatten(1, (5, 17, 65))  # audio, vision, text
    return state | {"product.linear.weight": whole.permute(0, 3, 1, 2).flatten(1)}


def test_equal_weights_give_the_public_programs_outputs():
    """$MMER_REFERENCES/TFN/model.py: github.com/Justin1904/TensorFusionNetworks."""
    public = program(programs.tfn, PUBLIC)
    public, model = public.double().eval(), Tfn(PUBLIC).double().eval()
    for subnet in (public.audio_subnet, public.video_subnet):
        subnet.norm.running_mean.normal_(), subnet.norm.running_var.uniform_(0.5, 2)
    public.post_fusion_layer_3.weight.data.mul_(100)  # its first outputs are all alike
    assert sum(p.numel() for p in public.parameters()) == 408_231 + 2  # its bounds are parameters
    missing = model.load_state_dict(renamed(public.state_dict()), strict=False)
    assert not missing.unexpected_keys and all(".scale." in k for k in missing.missing_keys)
    batch = whole(model.config, dtype=torch.float64)
    means = batch.audio.mean(1), batch.vision.mean(1)
    found, expected = model(batch).logits, public(*means, batch.words).squeeze(1)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, **CLOSE)
