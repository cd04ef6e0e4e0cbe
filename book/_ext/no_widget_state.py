"""Sphinx extension: pages without the state of widgets.

MyST-NB writes it into every page with a widget, for a widget manager. There is none here: a figure
that moves carries its own script and data, and would stand in the page twice.
"""

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.connect("env-updated", _drop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _drop(app: Sphinx, env: BuildEnvironment) -> None:
    for told in NbMetadataCollector.get_doc_data(env).values():
        told.get("js_files", {}).pop("ipywidgets_state", None)
