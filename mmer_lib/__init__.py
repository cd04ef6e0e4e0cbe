"""mmer: two multimodal emotion models, taught by running them.

    from mmer_lib import fit, load

    run = fit("muse", load("demo"))

Data walks one way: corpora -> features -> batch -> models -> training -> probes -> figures.
Importing this package loads no heavy library and touches no network.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["Mimic", "Muse", "fit", "load"]

_HOMES = {
    "load": "mmer_lib.corpora",
    "fit": "mmer_lib.training.fit",
    "Muse": "mmer_lib.models.muse",
    "Mimic": "mmer_lib.models.mimic",
}


def __getattr__(name: str):
    """The names of `__all__`, each imported at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
