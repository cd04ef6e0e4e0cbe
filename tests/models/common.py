"""What the tests of both models share."""

import torch

CLOSE = dict(rtol=0, atol=1e-9)


def scrambled(module, seed=0):
    """Every parameter and buffer away from its tame first value: float64, evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module.double().eval()
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(0.4 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
            if name.endswith(("variance", "deviation")):
                value.abs_().add_(0.5)
            if name.endswith("embedding.weight"):
                value[0] = 0  # padding
    return module


def lengthened(x, mask, extra, garbage):
    """x (B, L, ...) with `extra` positions more, and `garbage` wherever there is padding."""
    tail = x.new_zeros((len(x), extra, *x.shape[2:]))
    x = torch.cat([x, tail], dim=1)
    mask = torch.cat([mask, mask.new_ones(len(x), extra)], dim=1)
    return torch.where(mask.view(*mask.shape, *[1] * (x.dim() - 2)), garbage, x), mask


def moved(module, before):
    """Names of the parameters that differ from a copy of the state."""
    return {k for k, v in module.named_parameters() if not torch.equal(v, before[k])}
