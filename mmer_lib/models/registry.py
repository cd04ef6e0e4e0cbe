"""Every model by its name on the command line."""

from __future__ import annotations

import importlib

from torch import nn

from mmer_lib.data import DataError

MODELS = {
    "muse": ("mmer_lib.models.muse", "Muse"),
    "muse-multigranular": ("mmer_lib.models.multigranular", "Multigranular"),
    "bert": ("mmer_lib.models.multigranular", "Bert"),
    "yoon": ("mmer_lib.models.compared.yoon", "Yoon"),
    "xu": ("mmer_lib.models.compared.xu", "Xu"),
    "li": ("mmer_lib.models.compared.li", "Li"),
    "ssl": ("mmer_lib.models.compared.ssl", "Ssl"),
    "mimic": ("mmer_lib.models.mimic", "Mimic"),
    "misa": ("mmer_lib.models.compared.misa", "Misa"),
    "tfn": ("mmer_lib.models.compared.tfn", "Tfn"),
    "lmf": ("mmer_lib.models.compared.lmf", "Lmf"),
    "mfn": ("mmer_lib.models.compared.mfn", "Mfn"),
    "mv-lstm": ("mmer_lib.models.compared.mvlstm", "MvLstm"),
    "mult": ("mmer_lib.models.compared.mult", "Mult"),
    "raven": ("mmer_lib.models.compared.raven", "Raven"),
    "mfm": ("mmer_lib.models.compared.mfm", "Mfm"),
    "iccn": ("mmer_lib.models.compared.iccn", "Iccn"),
    "majority": ("mmer_lib.models.compared.floors", "Majority"),
    "linear": ("mmer_lib.models.compared.floors", "Linear"),
}


def model_class(name: str) -> type[nn.Module]:
    """The class of a named model; a DataError for an unknown name."""
    if name not in MODELS:
        raise DataError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    module, attribute = MODELS[name]
    return getattr(importlib.import_module(module), attribute)
