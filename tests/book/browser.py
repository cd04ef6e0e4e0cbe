"""A headless Chromium that sees files only, for the page checks."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
]


def chromium():
    """The path of an installed Chromium, or None."""
    names = [os.environ.get("MMER_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def pages():
    """The names of the built book's pages; its index.html only leads on to the first of them."""
    inner = ("_static", "_sources", "_images", "_downloads")
    found = (p.relative_to(HTML) for p in HTML.rglob("*.html"))
    return sorted(str(p) for p in found if p.parts[0] not in (*inner, "index.html"))


@contextmanager
def launch():
    """Start the browser; stop it at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


def described(control):
    """The text that a control refers to as its description."""
    return control.evaluate(
        "c => document.getElementById(c.getAttribute('aria-describedby'))?.textContent ?? ''"
    )


def open_offline(browser, name, width=1280, dark=False, query=""):
    """Open one page; returns it with the addresses that it loaded, and asked for outside."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    asked = []

    def guard(route):
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("file:", "data:", "blob:", "about:")), guard)
    page.asked, page.console, page.errors, page.loaded = asked, [], [], set()
    page.on("request", lambda r: page.loaded.add(r.url))
    page.on("console", lambda m: page.console.append((m.type, m.text)))
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.on("requestfailed", lambda r: page.errors.append(f"failed to load {r.url}"))
    page.goto((HTML / name).as_uri() + query, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate("() => document.fonts.ready")
    return page
