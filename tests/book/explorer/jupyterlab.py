"""A real JupyterLab on this machine, with a notebook in it and the network blocked."""

import os
import socket
import subprocess
import sys

from tests.book.browser import ROOT


def serve(tmp_path, environment):
    """A JupyterLab on the folder `work`: the process, the address of its notebook, its log."""
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
    env |= environment
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]
    log = tmp_path / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=tmp_path)
    return server, f"http://127.0.0.1:{port}/lab/tree/explorers.ipynb", log


def wait_until_it_serves(page, address, log):
    for _ in range(80):
        if "is running at" in log.read_text():
            return page.goto(address)
        page.wait_for_timeout(500)
    raise AssertionError(log.read_text())


def run_all(browser, address, log):
    """Open the notebook and run all of it: the page, what it asked of other places, its errors."""
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
    return page, asked, errors
