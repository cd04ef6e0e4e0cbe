"""The public programs beside which our models are checked and timed.

They lie in the folder that $MMER_REFERENCES names; README.md says how it is filled. They are read
as they are and brought up to today's Python and torch in memory: none of their code is kept. A
builder takes a configuration of our model and gives their network with layers of the same sizes.
"""

import importlib
import os
import re
import sys
from contextlib import contextmanager
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmer_lib.pretrained import import_torchaudio

CPU = (".cuda()", "")
"""Moves to a GPU are left out."""


MAPPED = "import torch\ndef mapped(*x): return list(map(*x))\n"
"""What `map` gave in Python 2."""


class Missing(Exception):
    """A program that is not there."""


def found(name: str) -> Path:
    """A file or folder of $MMER_REFERENCES.

    Raises:
        Missing: it is not there.
    """
    root = os.environ.get("MMER_REFERENCES")
    if not root:
        raise Missing("MMER_REFERENCES is not set; benchmarks/README.md says what it is for")
    path = Path(root).resolve() / name
    if not path.exists():
        raise Missing(f"{path} is not there; benchmarks/README.md says where it comes from")
    return path


class Changed(SourceFileLoader):
    """Reads a module with some of its text replaced, and leaves no byte code beside it."""

    def __init__(self, name: str, path: str, changes: tuple[tuple[str, str], ...]):
        super().__init__(name, path)
        self.changes = changes

    def get_code(self, fullname: str):
        text = Path(self.path).read_text(encoding="utf-8")
        for before, now in self.changes:
            text = text.replace(before, now)
        return compile(text, self.path, "exec")


@contextmanager
def imported(folder: str, *changes: tuple[str, str]):
    """Within it, modules come from this folder of $MMER_REFERENCES; afterwards they are forgotten,
    since several programs have a `utils` or `model`. `changes` are pairs of what stands there and
    what it means today."""
    root = str(found(folder))

    def hook(path: str) -> FileFinder:
        if not path.startswith(root):
            raise ImportError
        return FileFinder(path, (lambda name, file: Changed(name, file, changes), [".py"]))

    def of_program(module) -> bool:
        spec = getattr(module, "__spec__", None)
        places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
        return any(str(place).startswith(root) for place in places)

    sys.path.insert(0, root)
    sys.path_hooks.insert(0, hook)
    try:
        yield Path(root)
    finally:
        sys.path.remove(root)
        sys.path_hooks.remove(hook)
        for name in [name for name, module in sys.modules.items() if of_program(module)]:
            del sys.modules[name]
        for path in [path for path in sys.path_importer_cache if path.startswith(root)]:
            del sys.path_importer_cache[path]


def module(folder: str, name: str, *changes: tuple[str, str]) -> ModuleType:
    """One module of a program, with what it imports."""
    with imported(folder, *changes):
        return importlib.import_module(name)


def class_of(file: str, name: str, *changes: tuple[str, str]) -> type:
    """One class of a program that runs when it is imported, or is written for Python 2."""
    text = found(file).read_text(encoding="utf-8")
    source = re.search(rf"^class {name}\b.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)[0]
    for before, now in (CPU, ("xrange", "range"), *changes):
        source = source.replace(before, now)
    space = {"torch": torch, "nn": nn, "F": F, "np": np}
    exec(source, space)
    return space[name]


# ------------------------------------------------------------------------------- the networks


def tfn(c) -> nn.Module:
    """Justin1904/TensorFusionNetworks; one output, within 3 of zero."""
    widths = (c.audio_width, c.vision_width, c.units)
    dropouts = (c.dropout, c.dropout, 0.0, c.fusion_dropout)
    inputs = (c.audio, c.vision, c.words)
    return module("TFN", "model").TFN(inputs, widths, c.text_width, dropouts, c.hidden)


def lmf(c) -> nn.Module:
    """Justin1904/Low-rank-Multimodal-Fusion; its last dropout is applied to nothing."""
    widths = (c.audio_width, c.vision_width, c.units)
    dropouts = (c.audio_dropout, c.vision_dropout, c.text_dropout, 0.0)
    inputs = (c.audio, c.vision, c.words)
    program = module(
        "LMF",
        "model",
        ("xavier_normal(", "xavier_normal_("),
        ("import xavier_normal", "import xavier_normal_"),
    )
    return program.LMF(inputs, widths, c.text_width, dropouts, c.classes, c.rank)


def mfn(c) -> nn.Module:
    """pliang279/MFN."""
    shapes = [
        {"shapes": getattr(c, f"{part}_hidden"), "drop": getattr(c, f"{part}_dropout")}
        for part in ("attention", "candidate", "retain", "update", "head")
    ]
    first = {
        "input_dims": [c.words, c.audio, c.vision],
        "memsize": c.memory,
        "windowsize": 2,
        "h_dims": [c.text_units, c.audio_units, c.vision_units],
    }
    return class_of("MFN/test_mosi.py", "MFN")(first, *shapes)


def mfm_options(c) -> tuple[dict, ...]:
    """A configuration of our MFM as the programs want it."""
    first = {
        "input_dims": [c.words, c.audio, c.vision],
        "h_dims": list(c.units),
        "memsize": c.memory,
        "windowsize": 2,
        "output_dim": c.classes,
        "zy_size": c.label_latent,
        "fy_size": c.label_factor,
        "zy_to_fy_dropout": c.label_dropout,
        "fy_to_y_dropout": c.head_dropout,
    }
    for i, m in enumerate("lav"):
        first |= {
            f"z{m}_size": c.latent[i],
            f"f{m}_size": c.factor[i],
            f"z{m}_to_f{m}_dropout": c.factor_dropout[i],
        }
    return first, *({"shapes": n, "drop": c.memory_dropout} for n in (*c.hidden, 64))


def mfm(c) -> nn.Module:
    """pliang279/factorized."""
    return module("factorized", "mfm_model", CPU).MFM(*mfm_options(c))


def mult(c) -> nn.Module:
    """yaohungt/Multimodal-Transformer, whose convolutions have kernels of 1, with five layers
    after the crossmodal ones."""
    text, audio, vision = c.attention_dropout
    options = SimpleNamespace(
        orig_d_l=c.words,
        orig_d_a=c.audio,
        orig_d_v=c.vision,
        vonly=True,
        aonly=True,
        lonly=True,
        num_heads=c.heads,
        layers=c.layers,
        attn_dropout=text,
        attn_dropout_a=audio,
        attn_dropout_v=vision,
        relu_dropout=c.relu_dropout,
        res_dropout=c.residual_dropout,
        out_dropout=c.out_dropout,
        embed_dropout=c.embedding_dropout,
        attn_mask=c.causal,
        output_dim=c.classes,
    )
    # torch refuses `view` of a turned tensor today
    return module("MulT", "src.models", ("positions.view", "positions.reshape")).MULTModel(options)


def raven(c, length: int, trained: bool = False) -> nn.Module:
    """victorywys/RAVEN, out of Python 2, for `length` words with one frame each. `trained` lets
    gradients through to what reads audio and vision, which the program cuts off."""
    changes = [("print ", "pass  # "), ("map(lambda", "mapped(lambda"), ("import torch\n", MAPPED)]
    with imported("RAVEN/code", *changes, *([(".data", "")] if trained else [])):
        constants = importlib.import_module("consts").global_consts
        sizes = dict(
            padding_len=length,
            shift_padding_len=1,
            covarepDim=c.audio,
            facetDim=c.vision,
            wordDim=c.words,
            normDim=c.inputs,
            cellDim=c.cells,
            hiddenDim=c.hidden,
            layer=1,
            lastState=True,
            dropProb=c.dropout,
            shift_weight=c.shift,
            device=torch.device("cpu"),
        )
        for name, value in sizes.items():
            setattr(constants, name, value)
        return importlib.import_module("model").Net()


def misa(c) -> tuple[nn.Module, ModuleType]:
    """declare-lab/MISA, which reads word vectors in place of the numbers of words, and the module
    with its losses."""
    options = SimpleNamespace(
        embedding_size=c.words,
        visual_size=c.vision,
        acoustic_size=c.audio,
        use_bert=False,
        num_classes=c.classes,
        dropout=c.dropout,
        activation=nn.ReLU,
        rnncell="lstm",
        hidden_size=c.width,
        use_cmd_sim=True,
        word2id=[0],
    )
    import_torchaudio()  # transformers imports it
    with imported("MISA/src"):
        network = importlib.import_module("models").MISA(options)
        losses = importlib.import_module("utils.functions")
    network.embed = nn.Identity()
    return network, losses


def li(c, vocabulary: int) -> nn.Module:
    """tal-ai/FG_CME, which has kernels of 5, 2 and 2 and a free gate for every word."""
    if (c.channels[:2], c.kernels) != ((64, 128), (5, 2, 2)):
        raise ValueError("the program has 64 and 128 channels, and kernels of 5, 2 and 2")
    semantic = dict(
        embedding_path=None,
        embedding_size=vocabulary,
        embedding_dim=c.words,
        hidden_dim=c.width,
        excite=True,
    )
    acoustic = {"embedding_dim": c.bands, "hidden_dim": 2 * c.channels[-1], "excite": True}
    return module("FG_CME", "model").NeoMeanMaxExcite_v2(
        {
            "semantic": semantic,
            "acoustic": acoustic,
            "fusion": {"hidden_dim": c.units},
            "loss": {"name": "BCE"},
            "classifier": {"class_num": c.classes},
        }
    )


# -------------------------------------------------------------------------- the package MMSA


def mmsa(name: str, options: dict) -> nn.Module:
    """A network of the package MMSA by the name of its class; the package's own start, which wants
    a GPU's library, is not run."""
    import_torchaudio()  # transformers imports it
    with imported("mmsa") as root:
        packages = {}
        for package in ("MMSA", "MMSA.models", "MMSA.models.singleTask"):
            packages[package] = ModuleType(package)
            packages[package].__path__ = [str(root / package.replace(".", "/"))]
        with mock.patch.dict(sys.modules, packages):
            network = importlib.import_module(f"MMSA.models.singleTask.{name}")
    common = {"train_mode": "regression", "device": torch.device("cpu"), "use_bert": False}
    return getattr(network, name)(SimpleNamespace(**common, **options))


def mmsa_tfn(c) -> nn.Module:
    return mmsa(
        "TFN",
        {
            "feature_dims": (c.words, c.audio, c.vision),
            "text_out": c.text_width,
            "hidden_dims": (c.units, c.audio_width, c.vision_width),
            "post_fusion_dim": c.hidden,
            "dropouts": (c.dropout, c.dropout, 0.0, c.fusion_dropout),
        },
    )


def mmsa_lmf(c) -> nn.Module:
    """Its text vector is half as wide as the LSTM."""
    return mmsa(
        "LMF",
        {
            "feature_dims": (c.words, c.audio, c.vision),
            "rank": c.rank,
            "hidden_dims": (c.units, c.audio_width, c.vision_width),
            "dropouts": (c.audio_dropout, c.vision_dropout, c.text_dropout, 0.0),
        },
    )


NETWORKS = ("NN1Config", "NN2Config", "gamma1Config", "gamma2Config", "outConfig")


def mmsa_mfn(c) -> nn.Module:
    parts = ("attention", "candidate", "retain", "update", "head")
    shapes = {
        name: {"shapes": getattr(c, f"{part}_hidden"), "drop": getattr(c, f"{part}_dropout")}
        for name, part in zip(NETWORKS, parts, strict=True)
    }
    return mmsa(
        "MFN",
        {
            "feature_dims": (c.words, c.audio, c.vision),
            "memsize": c.memory,
            "windowsize": 2,
            "hidden_dims": (c.text_units, c.audio_units, c.vision_units),
            **shapes,
        },
    )


def mmsa_mfm(c) -> nn.Module:
    first, *shapes = mfm_options(c)
    weights = {"lda_xl": c.rebuilt_text, "lda_xa": c.rebuilt_audio, "lda_xv": c.rebuilt_vision}
    return mmsa(
        "MFM",
        {
            **first,
            "feature_dims": first["input_dims"],
            "hidden_dims": first["h_dims"],
            **weights,
            **dict(zip(NETWORKS, shapes, strict=True)),
        },
    )


def mmsa_mult(c) -> nn.Module:
    text, audio, vision = c.attention_dropout
    kernels = {f"conv1d_kernel_size_{m}": k for m, k in zip("lav", c.kernels, strict=True)}
    return mmsa(
        "MULT",
        {
            "feature_dims": (c.words, c.audio, c.vision),
            "dst_feature_dim_nheads": (c.width, c.heads),
            "nlevels": c.layers,
            "attn_dropout": text,
            "attn_dropout_a": audio,
            "attn_dropout_v": vision,
            "relu_dropout": c.relu_dropout,
            "attn_mask": c.causal,
            "embed_dropout": c.embedding_dropout,
            "res_dropout": c.residual_dropout,
            "output_dropout": c.out_dropout,
            "text_dropout": c.word_dropout,
            **kernels,
        },
    )
