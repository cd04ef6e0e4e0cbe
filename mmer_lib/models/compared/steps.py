"""What word-aligned systems share: the modalities on one clock, and LSTMs that meet at every step.

Shapes: B utterances, L steps, H units.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.compared.trimodal import given


def without_padding(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, L, D) with zeros wherever mask (B, L) marks padding, so that nothing which stands there
    reaches a gradient. A batch without padding is not copied; only the CPU is asked, which does not
    have to be waited for."""
    if x.device.type == "cpu" and not mask.any():
        return x
    return x.masked_fill(mask.unsqueeze(-1), 0.0)


def aligned(batch: Batch, scale: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
    """The three modalities step by step, scaled: (B, L, D_m) each, zeros where a modality lacks the
    step; and the mask (B, L) of the steps that all three lack. L is the longest modality's."""
    parts = {m: given(batch, m, scale) for m in MODALITIES}
    length = max(mask.shape[1] for _, mask in parts.values())
    steps, lacking = {}, True
    for m, (x, mask) in parts.items():
        missing = length - mask.shape[1]
        steps[m] = F.pad(without_padding(x, mask), (0, 0, 0, missing))
        lacking = lacking & F.pad(mask, (0, missing), value=True)
    return steps, lacking


def ordered(rows: Tensor) -> Tensor:
    """Weights or biases (4 H, ...) of torch's LSTM with the gates in the order of `recur`: torch
    has the candidate before the output gate."""
    return rows.unflatten(0, (4, -1))[[0, 1, 3, 2]].flatten(0, 1)


def recur(
    inputs: Tensor, recurrent: Callable[[Tensor], Tensor], squash: bool = True
) -> tuple[Tensor, Tensor]:
    """The recurrence of an LSTM, with nothing but that inside of the loop over time.

    Args:
        inputs: (B, L, 4, H) what the gates get from the inputs and their biases; the input, forget
            and output gate, then the candidate.
        recurrent: what they get from the last output, (B, H) -> (B, 4, H).
        squash: whether the output is o tanh(c), or o c.

    Returns:
        the outputs and the cells, (B, L, H) each.
    """
    h = c = inputs.new_zeros(inputs.shape[0], inputs.shape[-1])
    outputs, cells = [], []
    for x in inputs.unbind(1):
        gates = x + recurrent(h)
        i, f, o = gates[:, :3].sigmoid().unbind(1)
        c = torch.addcmul(f * c, i, gates[:, 3].tanh())
        h = o * (c.tanh() if squash else c)
        outputs.append(h)
        cells.append(c)
    return torch.stack(outputs, 1), torch.stack(cells, 1)
