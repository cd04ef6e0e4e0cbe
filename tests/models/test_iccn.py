"""ICCN against a second reading; its correlations against scipy's roots."""

import numpy as np
import pytest
import scipy.linalg
import torch

from mmer_lib.models.compared.iccn import OuterConvolution, canonical_correlations
from tests.models import naive
from tests.models.cases import built, config_of, given
from tests.models.common import CLOSE
from tests.models.naive import part
from tests.models.utterances import batched, examples

SMALL = config_of("iccn")


def image_convolution(image, w):
    """image (C, X, Y) -> (outputs, X, Y), zeros beyond the edges, then ReLU."""
    outputs, _, size, _ = w["weight"].shape
    edge = size // 2
    wide = np.pad(image, ((0, 0), (edge, edge), (edge, edge)))
    found = np.zeros((outputs, *image.shape[1:]))
    for o in range(outputs):
        for x in range(image.shape[1]):
            for y in range(image.shape[2]):
                window = wide[:, x : x + size, y : y + size]
                found[o, x, y] = (w["weight"][o] * window).sum() + w["bias"][o]
    return naive.relu(found)


def halved(image):
    """The largest of every 2 x 2 block."""
    _, height, width = image.shape
    return np.array(
        [
            [
                [plane[2 * x : 2 * x + 2, 2 * y : 2 * y + 2].max() for y in range(width // 2)]
                for x in range(height // 2)
            ]
            for plane in image
        ]
    )


def iccn(e, w, config):
    found = {}
    for m, x in given(e).items():
        own = part(w, f"encoders.{m}")
        if m == "text" and config.text_from == "cls":
            found["h_text"] = naive.linear(e["cls"][None], own)[0]
            continue
        if m != "text":
            x = (x - w[f"scale.{m}.mean"]) / w[f"scale.{m}.deviation"]
        x = naive.relu(naive.convolution(x, part(own, "convolution")))
        found[f"h_{m}"] = naive.lstm(x, part(own, "lstm"))[-1]
    for m, name in (("audio", "ta"), ("vision", "tv")):
        own = part(w, f"interactions.{m}")
        product = np.outer(found["h_text"], found[f"h_{m}"])[None]
        x = halved(image_convolution(product, part(own, "first.convolution")))
        x = halved(image_convolution(x, part(own, "second")))
        found[name] = naive.linear(x.reshape(1, -1), part(own, "dense"))[0]
    found["F"] = np.concatenate([found["ta"], found["tv"], found["h_text"]])
    return {**found, "logits": naive.linear(found["F"][None], part(w, "classifier"))[0]}


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_convolution_over_a_product_is_that_of_the_product(kernel):
    layer = OuterConvolution(4, kernel).double()
    t, a = (torch.randn(3, n, dtype=torch.float64, requires_grad=True) for n in (9, 6))
    found = layer(t, a)
    expected = layer.convolution((t.unsqueeze(2) * a.unsqueeze(1)).unsqueeze(1))
    torch.testing.assert_close(found, expected, **CLOSE)
    for one, other in zip(
        torch.autograd.grad(found.sin().sum(), (t, a, *layer.parameters())),
        torch.autograd.grad(expected.sin().sum(), (t, a, *layer.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("count", [40, 6, 3])
def test_the_correlations_are_those_of_the_definition(count):
    x, y = np.random.default_rng(count).normal(size=(2, count, 5))
    y[:, :2] += 2 * x[:, :2]
    ridge, roots, n = 0.01, [], count - 1
    x0, y0 = x - x.mean(0), y - y.mean(0)
    for v in (x0, y0):
        roots.append(np.linalg.inv(scipy.linalg.sqrtm(v.T @ v / n + ridge * np.eye(5))).real)
    expected = np.linalg.svd(roots[0] @ (x0.T @ y0 / n) @ roots[1])[1]
    found = canonical_correlations(torch.tensor(x), torch.tensor(y), ridge)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found >= 0).all() and (found < 1).all()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", ["random", "constant", "doubled", "huge"])
def test_a_batch_smaller_than_the_width_is_finite_with_its_gradient(count, kind):
    x = torch.randn(count, 16)
    x = {
        "random": x,
        "constant": torch.ones_like(x),
        "huge": 1e6 * x,
        "doubled": torch.cat([x[:, :8], x[:, :8]], 1),
    }[kind].requires_grad_()
    y = (x.detach() + 0.1 * torch.randn(count, 16)).requires_grad_()
    found = canonical_correlations(x, y, 1e-3)
    found.sum().backward()
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert x.grad.isfinite().all() and y.grad.isfinite().all()
    assert count > 1 or (found == 0).all()


def test_their_gradient_is_that_of_small_steps():
    x, y = (torch.randn(7, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: canonical_correlations(a, b, 0.1).sum(), (x, y))


def test_the_loss_is_the_sum_of_the_correlations():
    model, batch = built("iccn"), batched(examples())
    output = model(batch)
    expected = -canonical_correlations(output.named["ta"], output.named["tv"], 1e-3).sum()
    torch.testing.assert_close(model.losses(batch, output)["correlation"], expected)
