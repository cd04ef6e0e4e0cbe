"""MUSE and MIMIC of torch's own modules, as one would write them first: `nn.LSTM` on packed
sequences, `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`, `nn.MultiheadAttention`,
`nn.BatchNorm1d`, and the outer product written down. They take our weights
(tests/test_benchmarks.py holds both to equal outputs)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmer_lib.data import Batch
from mmer_lib.models.base import INPUTS
from mmer_lib.models.layers import Attention, BiLSTM, MaskedBatchNorm, TransformerLayer
from mmer_lib.models.mimic import Mimic
from mmer_lib.models.muse import Muse


def attention(ours: Attention) -> nn.MultiheadAttention:
    plain = nn.MultiheadAttention(ours.query.out_features, ours.heads, batch_first=True)
    three = ours.query, ours.key, ours.value
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat([part.weight for part in three]))
        plain.in_proj_bias.copy_(torch.cat([part.bias for part in three]))
    plain.out_proj.load_state_dict(ours.out.state_dict())
    return plain


def transformer(ours: TransformerLayer) -> nn.Module:
    """An encoder layer, or, with cross-attention, a decoder layer."""
    first, _, dropout, last = ours.feed_forward
    kind = nn.TransformerEncoderLayer if ours.cross is None else nn.TransformerDecoderLayer
    sizes = first.in_features, ours.attention.heads, first.out_features, dropout.p
    plain = kind(*sizes, batch_first=True)
    plain.self_attn = attention(ours.attention)
    plain.linear1, plain.linear2, plain.norm1 = first, last, ours.norm
    if ours.cross is None:
        plain.norm2 = ours.feed_forward_norm
    else:
        plain.multihead_attn = attention(ours.cross)
        plain.norm2, plain.norm3 = ours.cross_norm, ours.feed_forward_norm
    return plain


def batch_norm(ours: MaskedBatchNorm) -> nn.BatchNorm1d:
    plain = nn.BatchNorm1d(len(ours.weight))
    state = {
        "weight": ours.weight,
        "bias": ours.bias,
        "running_mean": ours.mean,
        "running_var": ours.variance,
    }
    plain.load_state_dict(state, strict=False)
    return plain


class PlainMuse(nn.Module):
    """What is plain already (embedding, convolutions, highway, dense layers) is taken over."""

    def __init__(self, model: Muse):
        super().__init__()
        self.model = model
        self.norms = nn.ModuleList(batch_norm(norm) for norm in model.text_prenet.norms)
        parts = model.text_encoder, model.cross_modal, model.deep_fusion
        self.layers = nn.ModuleList(
            nn.ModuleList(transformer(layer) for layer in part) for part in parts
        )

    def forward(self, batch: Batch) -> Tensor:
        m, (encoder, cross, fusion) = self.model, self.layers
        x = m.fusion(batch).transpose(1, 2)  # (B, inputs, W)
        for convolution, norm in zip(m.text_prenet.convolutions, self.norms, strict=True):
            x = m.text_prenet.dropout(F.relu(norm(convolution(x))))
        text = m.text_prenet.projection(x.transpose(1, 2))
        text = m.dropout(m.text_positions(text))
        for layer in encoder:
            text = layer(text, src_key_padding_mask=batch.word_mask)
        frames, mask = m.speech_prenet(batch.frames, batch.frame_mask)
        frames = m.dropout(m.speech_positions(frames))
        masks = {"tgt_key_padding_mask": mask, "memory_key_padding_mask": batch.word_mask}
        for layer in cross:
            frames = layer(frames, text, **masks)
        for layer in fusion:
            frames = layer(frames, src_key_padding_mask=mask)
        return m.classifier(frames[:, 0])


class PlainEncoder(nn.Module):
    """One modality of MIMIC up to Eq. 2."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        lstm: BiLSTM = encoder.lstm
        sizes = lstm.ahead.input_size, lstm.ahead.hidden_size
        self.lstm = nn.LSTM(*sizes, batch_first=True, bidirectional=True)
        for suffix, part in (("", lstm.ahead), ("_reverse", lstm.back)):
            for name, value in part.named_parameters():
                self.lstm.get_parameter(name + suffix).data.copy_(value)
        self.scale, self.norm = encoder.scale, encoder.align
        self.attention = attention(encoder.attention)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        lengths = (~mask).sum(1)
        packed = pack_padded_sequence(
            self.scale(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        h, _ = self.attention(x, x, x, key_padding_mask=mask)
        h = (self.norm(h) + h).masked_fill(mask.unsqueeze(-1), 0.0)
        return h.sum(1) / lengths.unsqueeze(1)


class PlainMimic(nn.Module):
    """The whole model at the level of utterances, with S, I and M."""

    def __init__(self, model: Mimic):
        super().__init__()
        self.encoders = nn.ModuleDict({m: PlainEncoder(e) for m, e in model.encoders.items()})
        self.pool = nn.MaxPool3d(model.config.pool)
        self.low_h, self.low_i, self.gate, self.head = (
            model.low_h,
            model.low_i,
            model.gate,
            model.head,
        )
        self.project_h, self.project_i = model.fuse_h.project, model.fuse_i.project

    def product(self, vectors: list[Tensor]) -> Tensor:
        return self.pool(torch.einsum("bi,bj,bk->bijk", *vectors).unsqueeze(1)).flatten(1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """-> the prediction and S, which the regulariser reads."""
        h = [e(*(getattr(batch, n) for n in INPUTS[m])) for m, e in self.encoders.items()]
        shared = torch.stack(h).mean(0)
        low_h = [self.low_h(x) for x in h]
        low_i = [self.low_i(x - shared) for x in h]
        parts = shared, self.project_i(self.product(low_i)), self.project_h(self.product(low_h))
        return self.head(self.gate(torch.cat(parts, -1))).squeeze(-1), shared
