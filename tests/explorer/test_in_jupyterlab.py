"""The explorers as live widgets: a real JupyterLab on this machine, with the network blocked."""

import json
import os
import socket
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from tests.book.browser import ROOT, chromium, launch
from tests.explorer import made

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

CELLS = [
    "from tests.explorer.made import dynamics, triangle\nfirst, second = triangle(), dynamics()",
    "first",
    "second",
    "import json\n"
    "now = [first.chosen, first.corners, second.setting, second.stretched]\n"
    "first.chosen, first.free = 0, False\n"
    "print('kernel:' + json.dumps(now))",
]


@pytest.fixture
def lab(tmp_path):
    """The address of a running JupyterLab whose folder holds one notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "explorers.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": tmp_path / "work",
        "IdentityProvider.token": "",
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    home = {f"JUPYTER_{name}_DIR": tmp_path / name for name in ("CONFIG", "DATA", "RUNTIME")}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **{k: str(v) for k, v in home.items()}}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]
    log = tmp_path / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=tmp_path)
    yield f"http://127.0.0.1:{port}/lab/tree/explorers.ipynb", log
    server.terminate()
    server.wait(timeout=20)


def wait_until_it_serves(page, address, log):
    for _ in range(80):
        if "is running at" in log.read_text():
            return page.goto(address)
        page.wait_for_timeout(500)
    raise AssertionError(log.read_text())


def test_they_are_live_in_jupyterlab(lab):
    address, log = lab
    with launch() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
        asked, errors = [], []

        def guard(route):
            asked.append(route.request.url)
            route.abort()

        own = (address.split("/lab")[0], "data:", "blob:", "about:")
        page.route(lambda url: not url.startswith(own), guard)
        page.on("pageerror", lambda e: errors.append(str(e)))
        wait_until_it_serves(page, address, log)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        told = page.locator(".jp-OutputArea-output", has_text="kernel:")
        told.wait_for(timeout=60_000)
        before = json.loads(told.inner_text().removeprefix("kernel:"))
        assert before == [0, [], {"learning_rate": 0.001, "gate": "on"}, False]

        # The arrow keys are JupyterLab's own too: they must reach the figure.
        triangle, dynamics = page.locator("figure.mmer-explorer").all()
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
        says = made.dynamics().data["found"][2]["h"]["says"]
        assert dynamics.locator("output").inner_text() == says

        page.locator(".jp-CodeCell").last.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-OutputArea-output')]
                .some(e => e.textContent.startsWith('kernel:[1'))"""
        )
        chosen, corners, setting, stretched = json.loads(told.inner_text().removeprefix("kernel:"))
        recorded = made.triangle().data["corners"][1]
        scale = np.linalg.norm(recorded, axis=1).max()
        moved = (np.array(corners) - recorded) / scale
        np.testing.assert_allclose(moved, [[0, 0], [-0.02, 0], [0, 0]], atol=1e-9)
        assert (chosen, stretched) == (1, True)
        assert setting == {"learning_rate": 0.01, "gate": "on"}

        # The cell also chose the first utterance, and the figure follows the kernel.
        note = triangle.locator(".note", has_text=made.TEXTS[0])
        note.wait_for()
        assert (asked, errors) == ([], [])
