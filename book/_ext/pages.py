"""Sphinx extension: what pages say otherwise than Sphinx, docutils, pandas and MyST-NB write it.

- Widgets: MyST-NB writes their state into each page, for a widget manager. There is none here; a
  figure that moves carries its own script and data, and would stand in the page twice.
- For those who listen to a page: a table's empty corner is no header, a reference in a list is an
  item of it, and the parameters of a signature are no list of definitions.
"""

import os
import re

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.connect("env-updated", _drop_widget_state)
    app.connect("html-page-context", _mend)
    app.connect("builder-inited", _in_parallel)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _in_parallel(app: Sphinx) -> None:
    """Jupyter Book has no option for it, and three of its extensions do not say that they can."""
    app.parallel = os.cpu_count() or 1
    for extension in app.extensions.values():
        extension.parallel_read_safe = True


def _drop_widget_state(app: Sphinx, env: BuildEnvironment) -> None:
    for told in NbMetadataCollector.get_doc_data(env).values():
        told.get("js_files", {}).pop("ipywidgets_state", None)


def _mend(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    if body := context.get("body"):
        body = re.sub(r"<th( class=\"head\")?></th>", "<td></td>", body)
        body = body.replace('role="doc-biblioentry"', 'role="listitem"')
        context["body"] = _PARAMETERS.sub(_as_spans, body)


def _as_spans(found: re.Match) -> str:
    lines = found[1].replace("<dd>", '<span class="parameter">').replace("</dd>", "</span>")
    return f'<span class="parameters">\n{lines}</span>'
