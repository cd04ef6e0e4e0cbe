"""Opens every built page in a browser with the network blocked, and looks for what is broken.

Skipped where there is no book or no browser; with MMER_REQUIRE_BOOK=1 that is a failure.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.book.browser import HTML, chromium, launch, open_offline, pages

WIDTHS = (390, 1280)

MISSING = None
if not (HTML / "index.html").exists():
    MISSING = "the book is not built: make book"
elif chromium() is None:
    MISSING = "Chromium is not installed"
REQUIRED = os.environ.get("MMER_REQUIRE_BOOK") == "1"


def test_there_is_a_book_and_a_browser():
    if MISSING and not REQUIRED:
        pytest.skip(MISSING)
    assert not MISSING, MISSING
    assert len(pages()) > 1


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_index_leads_to_the_first_chapter(browser):
    page = browser.new_page()
    page.goto((HTML / "index.html").as_uri())
    page.wait_for_url("**/intro.html")
    assert page.locator("h1").count() >= 1
    page.close()


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_search_finds_without_a_server(browser):
    page = open_offline(browser, "search.html", query="?q=emotion")
    page.wait_for_selector("#search-results li a")
    assert (page.asked, page.errors) == ([], [])
    assert not [text for kind, text in page.console if kind == "error"]
    page.context.close()


@pytest.fixture(scope="module")
def browser():
    with launch() as running:
        yield running


@pytest.fixture(scope="module", params=[] if MISSING else pages())
def page(browser, request):
    """One page at desktop width, with every fold opened."""
    page = open_offline(browser, request.param)
    page.evaluate(
        """() => {
            document.querySelectorAll('details').forEach(d => d.open = true);
            document.querySelectorAll('.toggle-hidden')
                .forEach(e => e.classList.remove('toggle-hidden'));
            document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager');
        }"""
    )
    page.wait_for_load_state("networkidle")
    yield page
    page.context.close()


def test_asks_for_nothing_outside(page):
    assert page.asked == []


def test_no_script_error(page):
    assert page.errors == []
    assert [text for kind, text in page.console if kind == "error"] == []


def test_images_load_and_say_what_they_show(page):
    broken = page.evaluate(
        """() => [...document.images].filter(i => i.src && !(i.complete && i.naturalWidth))
            .map(i => i.src.slice(0, 200))"""
    )
    assert broken == []
    mute = page.evaluate(
        """() => [...document.querySelectorAll('article img')]
            .filter(i => !(i.alt || '').trim()).map(i => i.src.slice(0, 200))"""
    )
    assert mute == [], "images without alt text"


def test_no_output_is_empty(page):
    empty = page.evaluate(
        """() => {
            const seen = e => {
                const r = e.getBoundingClientRect();
                return r.width > 1 && r.height > 1;
            };
            const full = e => seen(e) && (
                e.innerText.trim() !== '' ||
                [...e.querySelectorAll('img,svg,canvas,audio,video,table,iframe,input,button')]
                    .some(seen));
            const widgets = [...document.querySelectorAll(
                '.jupyter-widgets, [data-mime-type^="application/vnd.jupyter.widget"]')]
                .filter(e => !e.children.length);
            const outputs = [...document.querySelectorAll('.cell_output, .cell_output > .output')]
                .filter(e => !full(e));
            return [...widgets, ...outputs].map(e => e.outerHTML.slice(0, 300));
        }"""
    )
    assert empty == []


def test_sound_can_be_played(page):
    page.evaluate("() => document.querySelectorAll('audio').forEach(a => a.load())")
    page.wait_for_function(
        "() => [...document.querySelectorAll('audio')].every(a => a.duration > 0)", timeout=20_000
    )


def test_mathematics_is_typeset(page):
    raw = page.evaluate(
        """() => [...document.querySelectorAll('.math')]
            .filter(e => !e.querySelector('mjx-container')
                || e.querySelector('mjx-merror, [data-mjx-error]'))
            .map(e => e.textContent.slice(0, 120))"""
    )
    assert raw == []


def test_links_inside_the_book_lead_somewhere(page):
    links = page.evaluate(
        "() => [...document.links].map(a => a.href).filter(h => h.startsWith('file:'))"
    )
    paths = {Path(unquote(urlparse(link).path)) for link in links}
    assert sorted(str(p) for p in paths if not p.exists()) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(200)
    wide, beyond = page.evaluate(
        """() => {
            const limit = innerWidth + 1, root = document.scrollingElement;
            const out = [...document.querySelectorAll('main *')]
                .filter(e => e.getBoundingClientRect().right > limit)
                .map(e => e.tagName + '.' + e.className).slice(0, 8);
            return [root.scrollWidth > limit, out];
        }"""
    )
    assert not wide, f"reach beyond the right edge: {beyond}"
