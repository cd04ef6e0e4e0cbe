"""MFN: an LSTM a modality, attention on their cells before and after a step, and a memory.

Source: A. Zadeh, P. P. Liang, N. Mazumder, S. Poria, E. Cambria, L.-P. Morency, "Memory Fusion
Network for Multi-view Sequential Learning", AAAI, 2018.

Shapes: B utterances, L steps, H units of all three LSTMs together, M width of the memory.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import (
    Trimodal,
    TrimodalConfig,
    aligned,
    ordered,
    recur,
    scaling,
)
from mmer_lib.models.layers import last_state, mlp


@dataclass(frozen=True)
class MfnConfig(TrimodalConfig):
    """Sizes and choices; the defaults are those that the authors' program notes for the lowest
    error on MOSI.

    Attributes:
        text_units, audio_units, vision_units: of the three LSTMs.
        memory: M.
        attention_hidden, candidate_hidden, retain_hidden, update_hidden, head_hidden: of the small
            networks for attention, candidate, the memory's two gates and the prediction.
        attention_dropout, candidate_dropout, retain_dropout, update_dropout, head_dropout: of them.
    """

    text_units: int = 88
    audio_units: int = 48
    vision_units: int = 16
    memory: int = 128
    attention_hidden: int = 128
    candidate_hidden: int = 64
    retain_hidden: int = 256
    update_hidden: int = 64
    head_hidden: int = 64
    attention_dropout: float = 0.0
    candidate_dropout: float = 0.2
    retain_dropout: float = 0.0
    update_dropout: float = 0.2
    head_dropout: float = 0.5


class LstmSystem(nn.Module):
    """One LSTM a modality, which do not hear each other, taken through time together."""

    def __init__(self, sizes: dict[str, tuple[int, int]]):
        super().__init__()
        self.cells = nn.ModuleDict({m: nn.LSTMCell(*size) for m, size in sizes.items()})

    def forward(self, steps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, L, D_m) by modality -> outputs and cells (B, L, H)."""
        inputs, weights = [], []
        for m, cell in self.cells.items():
            bias = ordered(cell.bias_ih + cell.bias_hh)
            taken = F.linear(steps[m], ordered(cell.weight_ih), bias)
            inputs.append(taken.unflatten(-1, (4, -1)))
            weights.append(ordered(cell.weight_hh).t())
        units = [cell.hidden_size for cell in self.cells.values()]

        def recurrent(h: Tensor) -> Tensor:
            each = zip(h.split(units, 1), weights, strict=True)
            return torch.cat([(x @ w).unflatten(1, (4, -1)) for x, w in each], -1)

        return recur(torch.cat(inputs, -1), recurrent)


class DeltaAttention(nn.Module):
    """What the cells hold before and after a step, weighed by a softmax over all numbers of both;
    `weights` gives it, (B, L, 2 H)."""

    def __init__(self, units: int, hidden: int, dropout: float):
        super().__init__()
        self.scores = mlp(2 * units, hidden, 2 * units, dropout)
        self.weights = nn.Softmax(dim=-1)

    def forward(self, cells: Tensor) -> Tensor:
        """cells (B, L, H) -> (B, L, 2 H)."""
        before = F.pad(cells, (0, 0, 1, -1))  # zeros before the first step
        both = torch.cat([before, cells], -1)
        return self.weights(self.scores(both)) * both


class GatedMemory(nn.Module):
    """u_t = retain * u_(t-1) + update * candidate, with gates that read what was attended to and,
    as in the authors' program, u_(t-1). `retain` and `update` give the gates (B, L, M) to hooks."""

    def __init__(self, inputs: int, memory: int, hidden: tuple[int, int], dropouts: tuple):
        super().__init__()
        self.hidden, self.dropouts = hidden, dropouts
        self.enter = nn.ModuleList(nn.Linear(inputs + memory, size) for size in hidden)
        self.leave = nn.ModuleList(nn.Linear(size, memory) for size in hidden)
        self.retain, self.update = nn.Identity(), nn.Identity()

    def forward(self, attended: Tensor, candidates: Tensor) -> Tensor:
        """attended (B, L, inputs), candidates (B, L, M) -> the memory after each step (B, L, M)."""
        width = candidates.shape[-1]
        weight = torch.cat([layer.weight for layer in self.enter])
        read = F.linear(attended, weight[:, :-width], torch.cat([x.bias for x in self.enter]))
        remember = weight[:, -width:].t()
        noise = [None] * read.shape[1]
        if self.training and any(self.dropouts):
            each = zip(torch.ones_like(read).split(self.hidden, -1), self.dropouts, strict=True)
            noise = torch.cat([F.dropout(x, p) for x, p in each], -1).unbind(1)
        memory, seen = torch.zeros_like(candidates[:, 0]), []
        for x, candidate, kept in zip(read.unbind(1), candidates.unbind(1), noise, strict=True):
            hidden = F.relu(torch.addmm(x, memory, remember))
            hidden = hidden if kept is None else hidden * kept
            pairs = zip(self.leave, hidden.split(self.hidden, 1), strict=True)
            retain, update = (layer(part).sigmoid() for layer, part in pairs)
            memory = torch.addcmul(retain * memory, update, candidate)
            seen.append((memory, retain, update))
        memories, retain, update = (torch.stack(x, 1) for x in zip(*seen, strict=True))
        self.retain(retain), self.update(update)
        return memories


class MemoryFusion(Trimodal):
    """What MFN predicts from, and MFM encodes all modalities by. A step is real where any modality
    has it; one that lacks it counts as zeros.

    `units` of the LSTMs by modality, width of the `memory`; `hidden` and `dropouts` of the networks
    for attention, candidate, and the memory's gates.
    """

    def __init__(self, config, units: dict[str, int], memory: int, hidden, dropouts):
        super().__init__(config)
        total = sum(units.values())
        self.scale = scaling(config)
        self.system = LstmSystem({m: (config.widths[m], n) for m, n in units.items()})
        self.attention = DeltaAttention(total, hidden[0], dropouts[0])
        candidate = mlp(2 * total, hidden[1], memory, dropouts[1])
        self.candidate = nn.Sequential(*candidate, nn.Tanh())
        self.memory = GatedMemory(2 * total, memory, hidden[2:], dropouts[2:])

    def fuse(self, steps: dict[str, Tensor], lacking: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D_m) by modality -> the last outputs (B, H) and memory (B, M)."""
        outputs, cells = self.system(steps)
        attended = self.attention(cells)
        memories = self.memory(attended, self.candidate(attended))
        return last_state(outputs, lacking), last_state(memories, lacking)


class Mfn(MemoryFusion):
    """LSTMs, attention on their cells, the memory, and the prediction from the last state of all.
    Its `Output` names, at the last real step, "h_m" (B, m_units) for each modality m, "memory"
    (B, M), and "F" (B, H + M), all of them."""

    config_class = MfnConfig

    def __init__(self, config: MfnConfig):
        c, networks = config, ("attention", "candidate", "retain", "update")
        hidden = tuple(getattr(c, f"{network}_hidden") for network in networks)
        dropouts = tuple(getattr(c, f"{network}_dropout") for network in networks)
        units = {m: getattr(c, f"{m}_units") for m in MODALITIES}
        super().__init__(c, units, c.memory, hidden, dropouts)
        self.units = units
        self.head = mlp(sum(units.values()) + c.memory, c.head_hidden, c.classes, c.head_dropout)

    def forward(self, batch: Batch) -> Output:
        outputs, memory = self.fuse(*aligned(batch, self.scale))
        h = outputs.split([*self.units.values()], 1)
        named = {f"h_{m}": x for m, x in zip(self.units, h, strict=True)} | {"memory": memory}
        named["F"] = torch.cat(list(named.values()), 1)
        return self.output(self.head(named["F"]), named)
