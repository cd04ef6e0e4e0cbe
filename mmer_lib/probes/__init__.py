"""Looking into models from outside. What the chapters use stands here too, as `probes.NAME`."""

from importlib import import_module

from mmer_lib.models.layers import record

_NAMES = {
    "attention": "alignment_error attention_on_spoken_word entropy influence preference "
    "spoken_word",
    "inside": "frame_stream look_inside_mimic look_inside_muse part_modules silenced skipped "
    "survey without_each_word",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = ["record", *_HOMES]


def __getattr__(name: str):
    """The names of `__all__`, each imported at its first use: a training needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
