"""Sphinx extension: every chapter says how to run it, and what that costs.

The paragraph that opens with **Cost** becomes a box with the chapter's notebook to download, how to
open it here, and, where the repository's public address is known, buttons that open it on Colab and
Binder. The address is the variable REPOSITORY of the environment, else what `notebooks` finds.
"""

from __future__ import annotations

import os
from pathlib import Path

import notebooks
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

_ICONS = {"Colab": "_static/images/logo_colab.png", "Binder": "_static/images/logo_binder.svg"}


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    address = notebooks.known_address(os.environ.get("REPOSITORY", ""))
    app.add_config_value("mmer_repository", address, "html", str)
    # Pages are written again when this file changes.
    app.add_config_value("mmer_run_it", Path(__file__).read_text(encoding="utf-8"), "html", str)
    app.connect("builder-inited", _write_notebooks)
    app.connect("doctree-resolved", _add_box)
    # The theme makes its buttons at 501: the download is told before, the launch comes after.
    app.connect("html-page-context", _offer_notebook, priority=400)
    app.connect("html-page-context", _offer_launch, priority=502)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_notebooks(app: Sphinx) -> None:
    notebooks.write(Path(app.outdir) / "notebooks", app.config.mmer_repository)


def _add_box(app: Sphinx, doctree: nodes.document, name: str) -> None:
    cost = next(filter(_is_cost, doctree.findall(nodes.paragraph)), None)
    if cost is None or name not in notebooks.names():
        return
    file = f"{name}.ipynb"
    here = relative_uri(app.builder.get_target_uri(name), f"notebooks/{file}")
    ways = nodes.paragraph(classes=["ways"])
    ways += _link("Download the notebook", here, download=True)
    for service, address in notebooks.launches(name, app.config.mmer_repository).items():
        ways += _link(f"Open in {service}", address)
    local = nodes.paragraph()
    local += nodes.Text("In JupyterLab: ")
    local += nodes.literal(text="make lab")
    local += nodes.Text(" in a checkout, then ")
    local += nodes.literal(text=file)
    local += nodes.Text(".")
    box = nodes.admonition(classes=["run-it"])
    cost.replace_self(box)
    box += [nodes.title(text="Run it yourself"), cost, local, ways]


def _is_cost(paragraph: nodes.paragraph) -> bool:
    bold = next(paragraph.findall(nodes.strong), None)
    return bold is not None and bold.astext() == "Cost" and paragraph.astext().startswith("Cost")


def _link(text: str, address: str, download: bool = False) -> nodes.raw:
    kind = " download" if download else ""
    return nodes.raw("", f'<a class="run" href="{address}"{kind}>{text}</a>', format="html")


def _offer_notebook(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    if doctree is not None and name in notebooks.names():
        context["ipynb_source"] = f"../notebooks/{name}.ipynb"  # from _sources


def _offer_launch(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    if doctree is None or name not in notebooks.names():
        return
    buttons = [
        {
            "type": "link",
            "url": address,
            "text": service,
            "tooltip": f"Open in {service}",
            "icon": _ICONS[service],
        }
        for service, address in notebooks.launches(name, app.config.mmer_repository).items()
    ]
    if buttons:
        context["header_buttons"].insert(
            0,
            {
                "type": "group",
                "tooltip": "Run this chapter elsewhere",
                "icon": "fas fa-rocket",
                "buttons": buttons,
                "label": "launch-buttons",
            },
        )
