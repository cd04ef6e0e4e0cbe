"""MulT: every modality reads each other one by attention, step by step, whatever their lengths.

Source: Y.-H. H. Tsai, S. Bai, P. P. Liang, J. Z. Kolter, L.-P. Morency, R. Salakhutdinov,
"Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL, 2019, section 3.

Shapes: B utterances, L steps of the modality that reads, M of the one that is read, D width (30).
Where paper and authors' program differ, this follows the program; two of its masks count
padding as real, here every length is that of the modality itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmer_lib.data import MODALITIES, Batch, DataError
from mmer_lib.models.base import Output
from mmer_lib.models.compared.streams import Stream
from mmer_lib.models.compared.trimodal import Trimodal, TrimodalConfig, given, scaling
from mmer_lib.models.layers import Dropout


@dataclass(frozen=True)
class MultConfig(TrimodalConfig):
    """Sizes and choices; the defaults are those of the authors' program.

    Attributes:
        width: D, of every modality after its temporal convolution.
        heads: of every attention.
        kernels: sizes of these convolutions over text, audio and vision; 1 projects step by step.
        layers: of each of the six crossmodal Transformers.
        self_layers: of the Transformer that follows on each modality (width 2 D).
        causal: whether a step reads only what stands at its place or before; where two modalities
            differ in length by n steps, up to n steps later too.
        attention_dropout: on attention to text, audio and vision. word_dropout: on the words.
        embedding_dropout, relu_dropout, residual_dropout, out_dropout: on what enters a
            Transformer, on its hidden layers, on its residual branches, before the last layer.

    Raises:
        DataError: a size that is impossible, or two that do not fit.
    """

    width: int = 30
    heads: int = 5
    kernels: tuple[int, int, int] = (1, 1, 1)
    layers: int = 5
    self_layers: int = 5
    causal: bool = True
    attention_dropout: tuple[float, float, float] = (0.1, 0.0, 0.0)
    word_dropout: float = 0.25
    embedding_dropout: float = 0.25
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    out_dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise DataError(f"kernels {self.kernels}; odd numbers, which keep the length")
        if self.width < 4 or self.width % 2:
            raise DataError(f"width is {self.width}; an even number from 4, for the positions")
        if self.width % self.heads:
            raise DataError(f"width {self.width} is not a multiple of heads {self.heads}")


class Mult(Trimodal):
    """The whole of section 3, for modalities of equal or different lengths.

    `forward(batch)` needs words, word_mask, audio, audio_mask, vision, vision_mask. Its `Output`
    has logits (B, classes), or (B,) when classes is 1, and, by name, for each modality m, "h_m"
    (B, 2 D), its last step after reading the other two and then itself; "S" (B, 2 D), their mean,
    which nothing reads; "F" (B, 6 D), all three.
    The attention of modality m to n is in `crossmodal["m_n"].layers[i].attention.weights`.
    """

    config_class = MultConfig

    def __init__(self, config: MultConfig):
        super().__init__(config)
        width, kept = config.width, dict(zip(MODALITIES, config.attention_dropout, strict=True))
        self.scale = scaling(config)
        self.word_dropout = Dropout(config.word_dropout)
        self.convolutions = nn.ModuleDict({
            m: nn.Conv1d(config.widths[m], width, k, padding=k // 2, bias=False)
            for m, k in zip(MODALITIES, config.kernels, strict=True)
        })  # fmt: skip
        self.crossmodal = nn.ModuleDict({
            f"{m}_{n}": Stream(width, config.layers, config, kept[n])
            for m in MODALITIES for n in MODALITIES if n != m
        })  # fmt: skip
        self.selves = nn.ModuleDict(
            {m: Stream(2 * width, config.self_layers, config, kept[m]) for m in MODALITIES}
        )
        self.head = nn.Sequential(
            nn.Linear(6 * width, 6 * width), nn.ReLU(), Dropout(config.out_dropout),
            nn.Linear(6 * width, 6 * width),
        )  # fmt: skip
        self.classifier = nn.Linear(6 * width, config.classes)

    def project(self, batch: Batch, modality: str) -> Tensor:
        """x_m (B, L, D) after the temporal convolution; what lies past the end counts as zero."""
        x, mask = given(batch, modality, self.scale)
        x = self.word_dropout(x) if modality == "text" else x
        x = x.masked_fill(mask.unsqueeze(-1), 0.0).transpose(1, 2)
        return self.convolutions[modality](x).transpose(1, 2)

    def forward(self, batch: Batch) -> Output:
        x = {m: self.project(batch, m) for m in MODALITIES}
        masks, named = {m: given(batch, m)[1] for m in MODALITIES}, {}
        present = {m: (~mask).any(1)[:, None, None, None].to(x[m]) for m, mask in masks.items()}
        for m in MODALITIES:
            bias = {n: self.bias(x[m], masks[m], masks[n]) for n in MODALITIES}
            read = [
                self.crossmodal[f"{m}_{n}"](x[m], x[n], bias[n], present[n])
                for n in MODALITIES if n != m
            ]  # fmt: skip
            joined = torch.cat(read, dim=-1)  # (B, L, 2 D)
            named[f"h_{m}"] = self.selves[m].last(joined, masks[m], bias[m], present[m])
        last = [named[f"h_{m}"] for m in MODALITIES]
        named["S"], named["F"] = torch.stack(last).mean(0), torch.cat(last, dim=-1)
        return self.output(self.classifier(named["F"] + self.head(named["F"])), named)

    def bias(self, x: Tensor, mask: Tensor, read_mask: Tensor) -> Tensor:
        """Added to the scores of steps (B, L) that read steps (B, M): 0, or very low where a step
        is padding or comes too late -> (B, 1, L, M)."""
        closed = read_mask[:, None, :]
        if self.config.causal:
            rows, columns = (torch.arange(m.shape[1], device=x.device) for m in (mask, read_mask))
            ahead = ((~mask).sum(1) - (~read_mask).sum(1)).abs()[:, None, None]  # (B, 1, 1)
            closed = closed | (columns > rows[:, None] + ahead)
        low = torch.finfo(x.dtype).min / 2
        shape = (len(mask), 1, mask.shape[1], read_mask.shape[1])
        return x.new_zeros(shape).masked_fill(closed.unsqueeze(1), low)
