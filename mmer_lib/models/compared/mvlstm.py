"""MV-LSTM: one LSTM in regions, a region a modality, each of which hears a share of the others.

Source: S. S. Rajagopalan, L.-P. Morency, T. Baltrusaitis, R. Goecke, "Extending Long Short-Term
Memory for Multi-View Structured Learning", ECCV, 2016.

Shapes: B utterances, L steps, V views (modalities), d units of a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.models.base import Output
from mmer_lib.models.compared.shared import Trimodal, TrimodalConfig, aligned, recur, scaling
from mmer_lib.models.layers import Dropout, last_state


@dataclass(frozen=True)
class MvLstmConfig(TrimodalConfig):
    """Sizes and choices; the defaults are those of section 5.1, for three views.

    Attributes:
        view_width: of the linear embedding of each input.
        units: d, of each view's region.
        alpha, beta: shares of a view's last output, and of every other's, that its gates read (A
            and B, Eq. 14-17). 1 and 0 are the paper's view-specific topology, 0 and 1 coupled, 1
            and 1 fully connected; the default is the hybrid that did best (Table 1).
        dropout: of the embedded inputs, and of what the prediction reads.
    """

    view_width: int = 32
    units: int = 32
    alpha: float = 0.1
    beta: float = 1.0
    dropout: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}; a share, from 0 to 1")

    def heard(self, share: float) -> int:
        """So many of a view's d outputs, rounded down."""
        return int(share * self.units + 1e-9)


class Regions(nn.Module):
    """What the gates of every view get from the last outputs of all (Eq. 7-10): `own` (V, 4, d, a)
    reads the first a numbers of the view's own, `cross` (V, V - 1, 4, d, b) the last b of each
    other view (Eq. 16; the authors' program takes the first). Biases come with the inputs.
    """

    def __init__(self, config: MvLstmConfig):
        super().__init__()
        self.units, views = config.units, len(MODALITIES)
        own, cross = config.heard(config.alpha), config.heard(config.beta)
        self.empty("own", (views, 4, config.units, own))
        self.empty("cross", (views, views - 1, 4, config.units, cross))

    def empty(self, name: str, shape: tuple[int, ...]) -> None:
        """A parameter to be learned; a buffer where there is nothing to learn."""
        if not shape[-1]:
            self.register_buffer(name, torch.empty(shape), persistent=False)
            return
        setattr(self, name, nn.Parameter(torch.empty(shape)))
        nn.init.uniform_(getattr(self, name), -(self.units**-0.5), self.units**-0.5)

    def forward(self) -> Tensor:
        """All weights as one matrix (4 V d, V d), by gate, view and unit."""
        own = F.pad(self.own, (0, self.units - self.own.shape[-1]))  # (V, 4, d, d)
        cross = F.pad(self.cross, (self.units - self.cross.shape[-1], 0))  # (V, V - 1, 4, d, d)
        rows = [
            torch.cat([*cross[view, :view], own[view], *cross[view, view:]], -1)
            for view in range(len(MODALITIES))
        ]  # (4, d, V d) each
        return torch.cat(rows, 1).flatten(0, 1)


class MvLstm(Trimodal):
    """Each input embedded, the LSTM in regions, and the prediction from the last outputs of all
    views (Z of Eq. 13); the paper takes the maximum over frames, and says that the last one does
    nearly as well. A step is real where any modality has it; one that lacks it counts as zeros.

    Its `Output` names "h_m" (B, d), the last output of each modality m, and "F" (B, V d), all.
    """

    config_class = MvLstmConfig

    def __init__(self, config: MvLstmConfig):
        super().__init__(config)
        c = config
        self.scale = scaling(c)
        self.views = nn.ModuleDict()
        for m, width in c.widths.items():
            embedding = nn.Linear(width, c.view_width), Dropout(c.dropout)
            self.views[m] = nn.Sequential(*embedding, nn.Linear(c.view_width, 4 * c.units))
        self.regions = Regions(c)
        self.dropout = Dropout(c.dropout)
        self.classifier = nn.Linear(len(MODALITIES) * c.units, c.classes)

    def forward(self, batch: Batch) -> Output:
        steps, lacking = aligned(batch, self.scale)
        each = [view(steps[m]).unflatten(-1, (4, -1)) for m, view in self.views.items()]
        inputs, weight = torch.cat(each, -1), self.regions().t()  # (B, L, 4, V d), (V d, 4 V d)
        outputs, _ = recur(inputs, lambda h: (h @ weight).unflatten(1, (4, -1)), squash=False)
        last = last_state(outputs, lacking)  # (B, V d)
        named = {f"h_{m}": x for m, x in zip(MODALITIES, last.chunk(3, 1), strict=True)}
        named["F"] = last
        return self.output(self.classifier(self.dropout(last)), named)
