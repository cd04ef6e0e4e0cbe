"""Opens every built page in a browser with the network blocked, and looks for what is broken.

Skipped where there is no book or no browser; with MMER_REQUIRE_BOOK=1 that is a failure.
"""

import gzip
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.book.browser import HTML, ROOT, chromium, launch, open_offline, pages

WIDTHS = (390, 1280)
LARGEST = 3_000_000  # bytes of a page, without its sound
OF_THE_THEME = {"region", "summary-name"}  # rules of axe that the theme's own frame breaks

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


@cache
def sent(path):
    """Bytes of a file as a server sends it: text compressed."""
    packed = path.suffix in (".css", ".html", ".js", ".svg")
    return len(gzip.compress(path.read_bytes())) if packed else path.stat().st_size


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


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_no_page_names_a_folder_of_this_machine():
    folders = [f"{folder}{os.sep}" for folder in (ROOT, sys.prefix, tempfile.gettempdir())]
    texts = {name: (HTML / name).read_text("utf-8") for name in pages()}
    assert not [name for name, text in texts.items() if any(f in text for f in folders)]


@pytest.fixture(scope="module")
def browser():
    with launch() as running:
        yield running


@pytest.fixture(scope="module", params=[] if MISSING else pages())
def page(browser, request):
    """One page at desktop width, with every fold opened. Of the coloured words of its code one of
    each kind is kept, for axe looks at every one of thousands."""
    page = open_offline(browser, request.param)
    page.evaluate(
        """() => {
            document.querySelectorAll('details').forEach(d => d.open = true);
            document.querySelectorAll('.toggle-hidden')
                .forEach(e => e.classList.remove('toggle-hidden'));
            const kinds = new Set();
            for (const e of document.querySelectorAll('pre span[class]')) {
                const kind = `${e.parentElement.className} ${e.className}`;
                if (kinds.has(kind)) e.replaceWith(...e.childNodes);
                else kinds.add(kind);
            }
            document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager');
        }"""
    )
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    yield page
    page.context.close()


def test_asks_for_nothing_outside(page):
    assert page.asked == []


def test_no_script_error(page):
    assert page.errors == []
    assert [text for kind, text in page.console if kind == "error"] == []


def test_it_is_not_heavy(page):
    """Its own text and images as they are, and all that it loads as a server sends it."""
    here = Path(unquote(urlparse(page.url).path))
    urls = (urlparse(url) for url in page.loaded if url.startswith("file:"))
    loaded = {Path(unquote(url.path)) for url in urls} - {here}
    loaded = {path for path in loaded if path.suffix not in (".wav", ".mp3", ".ogg", ".flac")}
    assert any(path.suffix == ".js" for path in loaded)
    text = re.sub(r"data:audio/[^\"']+", "", here.read_text(encoding="utf-8"))
    assert "widget-state+json" not in text  # no manager would read it
    own = [path for path in loaded if HTML / "_static" not in path.parents]
    assert len(text) + sum(path.stat().st_size for path in own) < LARGEST
    assert len(gzip.compress(text.encode())) + sum(map(sent, loaded)) < LARGEST


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, scheme):
    """All rules in the light; what differs in the dark, contrast, there."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'")
    page.wait_for_timeout(400)  # colours fade
    options = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options["runOnly"] = ["color-contrast"]
    found = Axe().run(page, options=options).response["violations"]
    page.emulate_media(color_scheme="light")
    found = {rule["id"]: [node["html"] for node in rule["nodes"]] for rule in found}
    assert {name: nodes for name, nodes in found.items() if name not in OF_THE_THEME} == {}


def test_the_list_of_sections_keeps_to_its_column(page):
    beyond = page.evaluate(
        """() => [...document.querySelectorAll('.bd-sidebar-secondary *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.textContent.trim())"""
    )
    assert beyond == []


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


def test_a_chapter_says_how_to_run_it(page):
    """Each with cells has its notebook to download; each that opens with its cost, a box."""
    name = Path(urlparse(page.url).path).stem
    if not page.locator("article .cell_input").count():
        return
    file = HTML / "notebooks" / f"{name}.ipynb"
    assert [c.source for c in nbformat.read(file, 4).cells if c.cell_type == "code"][1:]
    header = page.locator(".dropdown-download-buttons .btn-download-notebook-button")
    assert header.evaluate("a => a.href") == file.as_uri()
    box = page.locator(".admonition.run-it")
    costs = page.locator("article p > strong", has_text=re.compile("^Cost$"))
    assert box.count() == costs.count() == (name != "intro")
    if box.count():
        assert box.locator("strong", has_text=re.compile("^Cost$")).count() == 1
        assert f"then {name}.ipynb" in box.inner_text()
        link = box.get_by_role("link", name="Download the notebook")
        assert link.evaluate("a => a.href") == file.as_uri()


def test_buttons_that_lead_elsewhere_say_where_and_open_the_notebook(page):
    """There are some only where the build knew the repository's public address."""
    name = Path(urlparse(page.url).path).stem
    links = page.locator(".admonition.run-it a.run:not([download])")
    for at in range(links.count()):
        assert re.fullmatch("Open in (Colab|Binder)", links.nth(at).inner_text())
        assert links.nth(at).get_attribute("href").endswith(f"/notebooks/{name}.ipynb")
    if links.count():
        assert page.locator(".dropdown-launch-buttons a").count() == links.count()


def test_a_figure_can_be_enlarged_with_the_keyboard_alone(page):
    """Each has a button; the last one is opened, read and closed again."""
    figures, buttons = page.locator("article figure > img"), page.locator("button.enlarge")
    assert buttons.count() == figures.count()
    if not buttons.count():
        return
    page.set_viewport_size({"width": 1280, "height": 900})
    small, button = figures.last, buttons.last
    dialog = page.get_by_role("dialog", name="Enlarged figure")
    assert not dialog.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    large = dialog.locator("img")
    assert large.get_attribute("src") == small.get_attribute("src")
    assert large.get_attribute("alt") == small.get_attribute("alt")
    assert large.bounding_box()["width"] > 1.15 * small.bounding_box()["width"]
    told = button.evaluate("b => b.closest('figcaption').querySelector('.caption-text').innerText")
    assert told in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("b => b === document.activeElement")


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_an_enlarged_figure_fits_a_phone_and_is_closed_by_a_tap(browser):
    page = open_offline(browser, "muse.html", 390, dark=True)
    page.locator("article figure > img").first.click()
    dialog = page.get_by_role("dialog", name="Enlarged figure")
    box = dialog.bounding_box()
    assert 0 <= box["x"] and box["x"] + box["width"] <= 390
    assert 0 <= box["y"] and box["y"] + box["height"] <= 900
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    page.context.close()


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
