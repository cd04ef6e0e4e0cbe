"""The explorers as live widgets: a real JupyterLab on this machine, with the network blocked."""

import json

import numpy as np
import pytest

from tests.book.browser import chromium, launch
from tests.book.explorer import samples as made
from tests.book.explorer.jupyterlab import run_all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

CELLS = [
    "from tests.book.explorer.samples import dynamics, gates, scrubber, training_replay, triangle\n"
    "first, second, third, fourth = triangle(), dynamics(), scrubber(), gates()\n"
    "fifth = training_replay()",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "import json\n"
    "now = [first.utterance, first.corners, second.setting, second.stretched]\n"
    "now += [third.frame, fourth.layer, fifth.epoch]\n"
    "first.utterance, first.free = 0, False\n"
    "print('kernel:' + json.dumps(now))",
]


def test_they_are_live_in_jupyterlab(lab):
    address, log = lab(CELLS)
    with launch() as browser:
        page, asked, errors = run_all(browser, address, log)
        told = page.locator(".jp-OutputArea-output", has_text="kernel:")
        told.wait_for(timeout=60_000)
        before = json.loads(told.inner_text().removeprefix("kernel:"))
        assert before == [0, [], {"learning_rate": 0.001, "gate": "on"}, False, 6, 0, 0]

        # The arrow keys are JupyterLab's own too: they must reach the figure.
        figures = page.locator("figure.mmer-explorer").all()
        triangle, dynamics, scrubber, gates, replay = figures
        triangle.get_by_label("Free: move the corners").check()
        triangle.get_by_label("Utterance").focus()
        page.keyboard.press("ArrowDown")
        triangle.get_by_role("slider", name="corner h audio").focus()
        page.keyboard.press("ArrowLeft")
        assert triangle.locator(".origin").inner_text().startswith("free")
        dynamics.get_by_role("radio", name="0.001").focus()
        page.keyboard.press("ArrowRight")
        dynamics.get_by_label("Stretch the first epoch").focus()
        page.keyboard.press("Space")
        for figure in (scrubber, gates):
            figure.get_by_role("slider").focus()
            page.keyboard.press("ArrowRight")
        says = made.dynamics().data["found"][2]["h"]["says"]
        assert dynamics.locator("output").inner_text() == says

        replay.get_by_role("slider").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        assert replay.locator("output").inner_text().startswith("After epoch 4 of 4, with it:")

        page.locator(".jp-CodeCell").last.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-OutputArea-output')]
                .some(e => e.textContent.startsWith('kernel:[1'))"""
        )
        now = json.loads(told.inner_text().removeprefix("kernel:"))
        chosen, corners, setting, stretched, frame, layer, epoch = now
        recorded = made.triangle().data["corners"][1]
        scale = np.linalg.norm(recorded, axis=1).max()
        moved = (np.array(corners) - recorded) / scale
        np.testing.assert_allclose(moved, [[0, 0], [-0.02, 0], [0, 0]], atol=1e-9)
        assert (chosen, stretched, frame, layer, epoch) == (1, True, 7, 1, 4)
        assert setting == {"learning_rate": 0.01, "gate": "on"}

        # The cell also chose the first utterance, and the figure follows the kernel.
        note = triangle.locator(".note", has_text=made.TEXTS[0])
        note.wait_for()
        assert (asked, errors) == ([], [])
