"""Interactive figures: live widgets in JupyterLab, and the same script, with its data, inside a
page that needs no kernel, no network and no server.

An explorer is a script that draws and a dictionary of plain numbers that Python computed. Each
kind has a file: `triangle`, `dynamics`, `training_replay`, `toggles`, `scrubber`, `gates`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from uuid import uuid4

import anywidget
import numpy as np
import traitlets

DIGITS = 6
"""Numbers in a page keep so many significant digits."""


def source(*names: str) -> str:
    """The text of some files of this folder, one after another."""
    return "\n".join(Path(__file__).with_name(n).read_text(encoding="utf-8") for n in names)


def plain(value):
    """A value as plain JSON: arrays become lists, numbers are rounded to `DIGITS`."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def round_range(values: Sequence) -> list[float]:
    """The least range of twentieths that holds all values."""
    low, high = np.floor(np.min(values) * 20) / 20, np.ceil(np.max(values) * 20) / 20
    return [low, high if high > low else low + 0.05]


class Explorer(anywidget.AnyWidget):
    """An interactive figure. A subclass sets `_esm` to the `source` of its script and adds a
    synced trait for whatever a control changes.

    Attributes:
        data: what is shown; it becomes `plain` JSON.
        label: the name of the figure for those who do not see it. caption: under it, if any.
        tag, provenance: where the numbers come from, in a word ("recorded", "live",
            "synthetic") and in a line.

    Raises:
        ValueError: when it is shown: data with a number that is not finite.
    """

    _css = source("explorer.css")
    data = traitlets.Dict().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    tag = traitlets.Enum(("recorded", "live", "synthetic"), "recorded").tag(sync=True)
    provenance = traitlets.Unicode().tag(sync=True)

    def __init__(self, data: dict, **traits):
        super().__init__(data=plain(data), **traits)

    def state(self) -> dict:
        """All that the script reads, by name."""
        ours = set(self.trait_names(sync=True)) - set(anywidget.AnyWidget.class_trait_names())
        return {name: getattr(self, name) for name in sorted(ours) if not name.startswith("_")}

    def html(self) -> str:
        """The figure as a piece of a page; every call has an id of its own."""
        name = f"mmer-{uuid4().hex[:12]}"
        state = json.dumps(plain(self.state()), allow_nan=False, ensure_ascii=False)
        state = state.replace("<", "\\u003c")  # no "</script" or "<!--" inside the page
        script = f'{self._esm}\n{source("page.js")}\nstart("{name}");'
        return (
            f"<noscript><p>This figure needs JavaScript: {escape(self.label)}</p></noscript>\n"
            f'<div id="{name}"></div>\n<style>\n{self._css}</style>\n'
            f'<script type="application/json" id="{name}-state">{state}</script>\n'
            f'<script type="module">\n{script}\n</script>\n'
        )

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/html": self.html()}, metadata
