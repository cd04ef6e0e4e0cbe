"""Explorers in pages opened from disk, with the network blocked."""

import pytest

from tests.book.browser import launch, open_offline
from tests.explorer.made import PAGE


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
