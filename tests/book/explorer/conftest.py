"""Explorers in pages opened from disk and in JupyterLab, with the network blocked."""

import nbformat
import pytest

from tests.book.browser import launch, open_offline
from tests.book.explorer.jupyterlab import serve
from tests.book.explorer.samples import PAGE


@pytest.fixture(scope="module")
def browser():
    with launch() as running:
        yield running


@pytest.fixture(params=[1280, 390])
def opened(browser, tmp_path, request):
    """Opens explorers in one page, at two widths; afterwards nothing may have gone wrong."""
    pages = []

    def show(*figures, width=request.param, **options):
        path = tmp_path / "page.html"
        html = "".join(figure.html() for figure in figures)
        path.write_text(PAGE.format(html), encoding="utf-8")
        pages.append(open_offline(browser, str(path), width, **options))
        return pages[-1]

    yield show
    for page in pages:
        assert (page.asked, page.errors, page.console) == ([], [], [])
        wide = page.evaluate("() => document.scrollingElement.scrollWidth - innerWidth")
        assert wide <= 0
        page.context.close()


@pytest.fixture
def lab(tmp_path):
    """lab(cells) starts a JupyterLab whose folder holds one notebook of these cells: its address,
    and the file of its log."""
    servers = []

    def start(cells, **environment):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        (tmp_path / "work").mkdir()
        nbformat.write(notebook, tmp_path / "work" / "explorers.ipynb")
        server, address, log = serve(tmp_path, environment)
        servers.append(server)
        return address, log

    yield start
    for server in servers:
        server.terminate()
        server.wait(timeout=60)
