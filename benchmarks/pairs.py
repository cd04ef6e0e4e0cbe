"""Our version of each system beside a public program: equal sizes, equal inputs, each with its own
losses."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import programs
from mmer_lib.data import Batch
from mmer_lib.experiments.costs import random_batch
from mmer_lib.models.base import Model
from mmer_lib.models.compared.li import LiConfig
from mmer_lib.models.compared.lmf import LmfConfig
from mmer_lib.models.compared.mfm import MfmConfig
from mmer_lib.models.compared.mfn import MfnConfig
from mmer_lib.models.compared.misa import MisaConfig
from mmer_lib.models.compared.mult import MultConfig
from mmer_lib.models.compared.raven import RavenConfig
from mmer_lib.models.compared.tfn import TfnConfig
from mmer_lib.models.registry import model_class

BATCH, LENGTH = 64, 50
"""Utterances, and words of each. Inputs are 300 (text), 74 (audio) and 47 (vision) wide."""


@dataclass
class System:
    """A network, the loss of one batch, and its prediction for that batch."""

    network: nn.Module
    loss: Callable[[], Tensor]
    predict: Callable[[], Tensor]


def ours(name: str, config, batch: Batch | None = None) -> tuple[System, Batch]:
    """A model of this library with its losses, and the batch that it reads: noise, unless one is
    given."""
    model = model_class(name)(config)
    batch = random_batch(model, BATCH, LENGTH) if batch is None else batch
    return system_of(model, batch), batch


def system_of(model: Model, batch: Batch) -> System:
    """A model of this library and its weighted losses of one batch."""
    return System(
        model,
        lambda: model.total(model.losses(batch, model(batch))),
        lambda: model(batch).logits,
    )


def theirs(network: nn.Module, predict: Callable[[], Tensor]) -> System:
    """A program whose loss is the squared error of its prediction."""

    def loss() -> Tensor:
        prediction = predict().flatten()
        return F.mse_loss(prediction, torch.zeros_like(prediction))

    return System(network, loss, predict)


# ---------------------------------------------------------------------- the authors' programs


def averaged(build, name: str, config) -> tuple[System, System]:
    """TFN and LMF: their script averages audio and vision over time once and for all; so ours gets
    one step of each."""
    batch = random_batch(model_class(name)(config), BATCH, LENGTH)
    cut = {k: getattr(batch, k)[:, :1] for k in ("audio", "audio_mask", "vision", "vision_mask")}
    mine, batch = ours(name, config, replace(batch, **cut))
    network = build(config)
    inputs = batch.audio[:, 0], batch.vision[:, 0], batch.words
    if build in (programs.mmsa_tfn, programs.mmsa_lmf):
        return mine, theirs(network, lambda: network(batch.words, batch.audio, batch.vision)["M"])
    return mine, theirs(network, lambda: network(*inputs))


def tfn() -> tuple[System, System]:
    config = TfnConfig(
        audio_width=4, vision_width=16, hidden=32, bound=3.0, dropout=0.3, fusion_dropout=0.3
    )
    return averaged(programs.tfn, "tfn", config)


def lmf() -> tuple[System, System]:
    return averaged(programs.lmf, "lmf", LmfConfig())


def mfn() -> tuple[System, System]:
    mine, batch = ours("mfn", MfnConfig())
    network = programs.mfn(MfnConfig())
    x = torch.cat([batch.words, batch.audio, batch.vision], -1).transpose(0, 1)
    return mine, theirs(network, lambda: network(x))


def mult() -> tuple[System, System]:
    mine, batch = ours("mult", MultConfig())
    network = programs.mult(MultConfig())
    return mine, theirs(network, lambda: network(batch.words, batch.audio, batch.vision)[0])


def mfm() -> tuple[System, System]:
    """Its program rebuilds the inputs when it predicts, too."""
    config = MfmConfig()
    mine, batch = ours("mfm", config)
    network = programs.mfm(config)
    parts = [x.transpose(0, 1) for x in (batch.words, batch.audio, batch.vision)]
    x = torch.cat(parts, -1)

    def loss() -> Tensor:
        (*rebuilt, label), discrepancy, _ = network(x)
        weights = config.rebuilt_text, config.rebuilt_audio, config.rebuilt_vision
        errors = [w * F.mse_loss(r, p) for w, r, p in zip(weights, rebuilt, parts, strict=True)]
        return F.mse_loss(label.squeeze(-1), batch.sentiment) + sum(errors) + discrepancy

    return mine, System(network, loss, lambda: network(x)[0][3])


def raven(trained: bool = False) -> tuple[System, System]:
    config = RavenConfig(nonverbal="word", form="program")
    mine, batch = ours("raven", config)
    network = programs.raven(config, LENGTH, trained)
    ones = torch.ones(BATCH, LENGTH, dtype=torch.long)
    inputs = (
        batch.words,
        batch.audio.unsqueeze(2),
        ones,
        batch.vision.unsqueeze(2),
        ones,
        torch.full((BATCH,), LENGTH),
    )
    return mine, theirs(network, lambda: network(*inputs))


def raven_trained() -> tuple[System, System]:
    return raven(trained=True)


def misa(padded: Callable[[Batch], Batch] | None = None) -> tuple[System, System]:
    """`padded` may shorten the sequences of the batch."""
    config = MisaConfig()
    batch = None
    if padded is not None:
        batch = padded(random_batch(model_class("misa")(config), BATCH, LENGTH))
    mine, batch = ours("misa", config, batch)
    network, functions = programs.misa(config)
    lengths, order = (~batch.word_mask).sum(1).sort(descending=True)  # as it packs them
    parts = (p[order] for p in (batch.words, batch.vision, batch.audio))
    x = [p.transpose(0, 1).contiguous() for p in parts]
    apart, alike, error = functions.DiffLoss(), functions.CMD(), functions.MSE()

    def predict() -> Tensor:
        return network(*x, lengths, None, None, None)

    def loss() -> Tensor:
        total = F.mse_loss(predict().squeeze(-1), batch.sentiment)
        shared, private, rebuilt, given = (
            {m: getattr(network, pattern.format(m)) for m in "tva"}
            for pattern in ("utt_shared_{}", "utt_private_{}", "utt_{}_recon", "utt_{}_orig")
        )
        pairs = ("tv", "ta", "av")
        similarity = sum(alike(shared[m], shared[n], 5) for m, n in pairs) / 3
        difference = sum(apart(private[m], shared[m]) for m in "tva")
        difference = difference + sum(apart(private[m], private[n]) for m, n in pairs)
        reconstruction = sum(error(rebuilt[m], given[m]) for m in "tva") / 3
        return (
            total
            + config.similarity * similarity
            + config.difference * difference
            + config.reconstruction * reconstruction
        )

    return mine, System(network, loss, predict)


def li() -> tuple[System, System]:
    """16 utterances of 20 words and 200 frames: the program spreads the frames over all words,
    1.6 GB a tensor at 64 utterances of 50 words and 1000 frames."""
    count, words, frames, vocabulary = 16, 20, 200, 1000
    config = LiConfig(bands=40, hop=0.01)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(1, vocabulary, (count, words), generator=generator)
    network = programs.li(config, vocabulary)
    edges = torch.linspace(0, frames - 20, words + 1).long()
    held = torch.zeros(count, words, frames)
    for word in range(words):
        held[:, word, edges[word] : edges[word + 1]] = 1
    times = torch.stack([edges[:-1], edges[1:] - 1], -1).expand(count, -1, -1) * config.hop
    batch = Batch(
        torch.arange(count),
        words=network.semantic_embed(numbers).detach(),
        word_times=times,
        word_mask=torch.zeros(count, words, dtype=torch.bool),
        frames=torch.randn(count, frames, config.bands, generator=generator),
        frame_mask=torch.zeros(count, frames, dtype=torch.bool),
        emotion=torch.arange(count) % config.classes,
    )
    mine, _ = ours("li", config, batch)
    lengths = torch.full((count,), words), torch.full((count,), frames)

    def predict() -> Tensor:
        return network(batch.frames, lengths[1], numbers, lengths[0], held)

    return mine, System(network, lambda: F.cross_entropy(predict(), batch.emotion), predict)


# -------------------------------------------------------------------------- the package MMSA


def mmsa_tfn() -> tuple[System, System]:
    config = TfnConfig(
        text_width=32, vision_width=128, hidden=64, dropout=0.3, fusion_dropout=0.5, bound=3.0
    )
    return averaged(programs.mmsa_tfn, "tfn", config)


def mmsa_lmf() -> tuple[System, System]:
    config = LmfConfig(
        units=128, text_width=64, vision_width=128, rank=3, audio_dropout=0.3, vision_dropout=0.3
    )
    return averaged(programs.mmsa_lmf, "lmf", config)


def mmsa_mfn() -> tuple[System, System]:
    config = MfnConfig(
        text_units=256,
        audio_units=32,
        vision_units=256,
        memory=400,
        attention_hidden=32,
        retain_hidden=256,
        update_hidden=32,
        head_hidden=128,
        attention_dropout=0.2,
        retain_dropout=0.7,
        update_dropout=0.5,
    )
    mine, batch = ours("mfn", config)
    network = programs.mmsa_mfn(config)
    return mine, theirs(network, lambda: network(batch.words, batch.audio, batch.vision)["M"])


def mmsa_mfm() -> tuple[System, System]:
    """As its original, it rebuilds the inputs when it predicts, too."""
    config = MfmConfig(
        units=(128, 32, 128),
        hidden=(32, 64, 32, 64),
        latent=(64, 80, 80),
        factor=(32, 16, 64),
        label_latent=80,
        label_factor=64,
    )
    mine, batch = ours("mfm", config)
    network = programs.mmsa_mfm(config)

    def forward() -> tuple:
        return network(batch.words, batch.audio, batch.vision)

    def loss() -> Tensor:
        label, rebuilding, discrepancy, _ = forward()
        return F.mse_loss(label.squeeze(-1), batch.sentiment) + rebuilding + discrepancy

    return mine, System(network, loss, lambda: forward()[0])


def mmsa_mult() -> tuple[System, System]:
    """With kernels of 1, where MMSA has 5, which shorten its sequences and not ours."""
    config = MultConfig(
        width=50,
        heads=10,
        layers=4,
        self_layers=4,
        attention_dropout=(0.3, 0.2, 0.0),
        relu_dropout=0.0,
        embedding_dropout=0.2,
        residual_dropout=0.0,
        word_dropout=0.5,
        out_dropout=0.5,
    )
    mine, batch = ours("mult", config)
    network = programs.mmsa_mult(config)
    return mine, theirs(network, lambda: network(batch.words, batch.audio, batch.vision)["M"])


PAIRS: dict[str, Callable[[], tuple[System, System]]] = {
    "MISA": misa,
    "MulT": mult,
    "TFN": tfn,
    "LMF": lmf,
    "MFN": mfn,
    "MFM": mfm,
    "RAVEN": raven,
    "RAVEN, all of it trained": raven_trained,
    "Li et al.": li,
    "MMSA's TFN": mmsa_tfn,
    "MMSA's LMF": mmsa_lmf,
    "MMSA's MFN": mmsa_mfn,
    "MMSA's MFM": mmsa_mfm,
    "MMSA's MulT": mmsa_mult,
}
"""By name, ours and theirs."""
