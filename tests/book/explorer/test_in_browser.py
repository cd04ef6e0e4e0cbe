"""The explorers in a page opened from disk, with the network blocked: every control by mouse and
by keyboard, against numbers computed here. Those of `Dynamics`: test_replay_in_browser.py."""

import re

import numpy as np
import pytest

from mmer_lib.book.explorer.triangle import Triangle
from mmer_lib.data import MODALITIES
from tests.book.browser import chromium
from tests.book.explorer.made import (
    NOTES,
    PAGE,
    TEXTS,
    dynamics,
    gates,
    readings,
    scrubber,
    triangle,
    vectors,
    whole,
)

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")

UTTERANCES = np.stack([vectors()[m] for m in MODALITIES], 1)


def number(text):
    return float(text.replace("\u2212", "-"))


def shown_readings(figure):
    """The tables of a triangle, as `made.readings` computes them."""
    lengths, cosines = figure.locator("table").all()
    rows = [row.locator("td").all_inner_texts() for row in cosines.locator("tbody tr").all()]
    values = [number(text) for text in lengths.locator("tbody td").all_inner_texts()]
    return {
        "lengths": values,
        "i": [number(row[0]) for row in rows],
        "h": [number(row[1]) for row in rows],
    }


def assert_shows(figure, points):
    """The tables, and the mark between -1/2 and -1/3, agree with three h (3, D)."""
    expected, shown = readings(points), shown_readings(figure)
    for name, values in expected.items():
        assert shown[name] == pytest.approx(values, abs=6e-4), name
    mean = f"{expected['i'][3]:.3f}".replace("-", "\u2212")
    assert mean in figure.locator("output").inner_text()
    left, right = figure.locator(".allowed").bounding_box(), figure.locator(".here").bounding_box()
    share = (right["x"] + right["width"] / 2 - left["x"]) / left["width"]
    assert share == pytest.approx((expected["i"][3] + 1 / 2) * 6, abs=0.02)


def corners(figure):
    """Where the three corners are, in the coordinates of the plane."""
    points = figure.locator(".corner").all()
    return np.array([[float(p.get_attribute(f"data-{k}")) for k in "xy"] for p in points])


def assert_shows_moved(figure, made, chosen):
    assert_shows(figure, whole(corners(figure), np.array(made.data["offsets"][chosen])))


def focused(page):
    return page.evaluate("() => document.activeElement.getAttribute('aria-label')")


def drag(page, corner, dx, dy):
    corner.scroll_into_view_if_needed()
    box = corner.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=3)
    page.mouse.up()


# ------------------------------------------------------------------------------ the triangle


def test_the_triangle_of_every_utterance(opened):
    figure = opened(triangle()).locator("figure")
    for n, (text, note) in enumerate(zip(TEXTS, NOTES, strict=True)):
        figure.get_by_label("Utterance").select_option(index=n)
        assert_shows(figure, UTTERANCES[n])
        assert figure.locator(".note").inner_text() == " · ".join(filter(None, [f"“{text}”", note]))
        assert figure.locator(".origin").inner_text() == "recorded Made up."
    assert figure.get_by_role("slider").count() == 0
    assert figure.get_by_role("button", name="Reset").is_disabled()


def test_the_picture_has_the_angles_of_the_space(opened):
    figure = opened(triangle()).locator("figure")
    edges = re.findall(r"-?[\d.]+", figure.locator(".edges").get_attribute("d"))
    drawn = np.array(edges, float).reshape(3, 2)
    sides = [np.linalg.norm(drawn[a] - drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    h = UTTERANCES[0]
    true = [np.linalg.norm(h[a] - h[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(np.array(sides) / sides[0], np.array(true) / true[0], rtol=1e-4)
    centre = figure.locator(".centre")
    middle = [float(centre.get_attribute(k)) for k in ("cx", "cy")]
    np.testing.assert_allclose(middle, drawn.mean(0), atol=1e-3)


OVERLAPS = """figure => {
    const words = [...figure.querySelectorAll('.picture text')].filter(e => e.checkVisibility())
        .map(e => [e.textContent, e.getBoundingClientRect()]);
    const box = figure.querySelector('.picture').getBoundingClientRect();
    return words.flatMap(([text, a], k) => [
        ...words.slice(k + 1)
            .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1)
            .filter(([, b]) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
            .map(([other]) => text + other),
        ...(a.left < box.left || a.right > box.right || a.top < box.top ? [text + ' cut'] : []),
    ]);
}"""


def test_labels_keep_apart(opened):
    n = 20
    labels = [f"number {k}" for k in range(n)]
    figure = opened(Triangle(vectors(n, seed=1), labels)).locator("figure")
    for k in range(n):
        figure.get_by_label("Utterance").select_option(index=k)
        assert figure.evaluate(OVERLAPS) == [], k


def test_corners_are_dragged(opened):
    made = triangle(chosen=1)
    page = opened(made)
    figure = page.locator("figure")
    before, was = corners(figure), shown_readings(figure)
    drag(page, figure.locator(".corner").first, 30, 20)
    np.testing.assert_allclose(corners(figure), before)  # not before "Free" is on

    figure.get_by_label("Free: move the corners").check()
    assert_shows(figure, UTTERANCES[1])
    drag(page, figure.get_by_role("slider", name="corner h text"), 40, 25)
    after = corners(figure)
    assert after[0, 0] > before[0, 0] and after[0, 1] < before[0, 1]
    np.testing.assert_allclose(after[1:], before[1:])
    assert_shows_moved(figure, made, 1)
    assert shown_readings(figure)["h"][2] == was["h"][2]  # audio, vision: not moved
    assert figure.locator(".origin").inner_text().startswith("free Moved by hand")
    drag(page, figure.get_by_role("slider", name="corner h vision"), 5000, -5000)
    assert_shows_moved(figure, made, 1)

    figure.get_by_role("button", name="Reset").click()
    np.testing.assert_allclose(corners(figure), before)
    assert_shows(figure, UTTERANCES[1])
    drag(page, figure.get_by_role("slider", name="corner h audio"), -30, -10)
    figure.get_by_label("Utterance").select_option(index=2)
    assert_shows(figure, UTTERANCES[2])
    figure.get_by_label("Free: move the corners").uncheck()
    assert figure.get_by_role("slider").count() == 0


def test_a_finger_moves_a_corner(browser, tmp_path):
    made = triangle(free=True)
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(made.html()), encoding="utf-8")
    page = browser.new_context(viewport={"width": 390, "height": 900}, has_touch=True).new_page()
    page.goto(path.as_uri())
    figure, before = page.locator("figure"), corners(page.locator("figure"))
    box = figure.get_by_role("slider", name="corner h text").bounding_box()
    assert min(box["width"], box["height"]) >= 24
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 20, "y": y + 30}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    after = corners(figure)
    assert after[0, 0] < before[0, 0] and after[0, 1] < before[0, 1]
    assert_shows_moved(figure, made, 0)
    page.context.close()


def test_the_triangle_by_keyboard_alone(opened):
    made = triangle()
    page = opened(made)
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, UTTERANCES[1])
    press("Tab")
    press("Space")
    press("Tab")  # Reset
    before = corners(figure)
    for m, name in enumerate(MODALITIES):
        press("Tab")
        assert focused(page) == f"corner h {name}"
        for key in ("ArrowRight", "ArrowUp", "Shift+ArrowRight", "ArrowDown", "Shift+ArrowDown"):
            press(key)
        scale = np.linalg.norm(before, axis=1).max()
        moved = (corners(figure) - before)[m] / scale
        np.testing.assert_allclose(moved, [0.12, -0.1], atol=1e-6)
        assert_shows_moved(figure, made, 1)
    value = figure.get_by_role("slider", name="corner h text").get_attribute("aria-valuetext")
    assert value == "x {:.2f}, y {:.2f}".format(*corners(figure)[0]).replace("-", "\u2212")
    for _ in MODALITIES:
        press("Shift+Tab")
    press("Enter")
    np.testing.assert_allclose(corners(figure), before)
    press("Shift+Tab")
    press("Space")
    assert not figure.get_by_label("Free: move the corners").is_checked()


def test_a_corner_on_the_mean_has_no_direction(opened):
    made = triangle(free=True, corners=[[0, 0], [1, 1], [-1, -1]])
    figure = opened(made).locator("figure")
    cells = figure.locator("table").last.locator("tbody td").all_inner_texts()
    assert cells[0::2] == ["undefined", "undefined", "\u22121.000", "undefined"]
    assert "undefined" in figure.locator("output").inner_text()


# -------------------------------------------------------------------------------- both of them


def test_several_on_one_page_do_not_disturb_each_other(opened):
    twin, grid = triangle(), dynamics()
    page = opened(twin, grid, twin, grid)
    first, second, third, fourth = page.locator("figure").all()
    first.get_by_label("Utterance").select_option(index=2)
    second.get_by_label("0.01", exact=True).check()
    assert_shows(first, UTTERANCES[2])
    assert_shows(third, UTTERANCES[0])
    assert second.locator("input:checked").count() == fourth.locator("input:checked").count() == 3
    assert second.locator("output").inner_text() == grid.data["found"][2]["h"]["says"]
    assert fourth.locator("output").inner_text() == grid.data["found"][0]["h"]["says"]


CONTRAST = """figure => {
    const channels = text => text.match(/[\\d.]+/g).slice(0, 3).map(v => {
        const c = Number(v) / 255;
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    const light = text => channels(text).reduce((s, c, k) => s + c * [.2126, .7152, .0722][k], 0);
    const paper = light(getComputedStyle(figure).backgroundColor);
    const words = [...figure.querySelectorAll('*')].filter(e => !e.disabled && !e.closest('defs')
        && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
    return words.map(e => {
        const style = getComputedStyle(e);
        const ink = light(e instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [Math.max(ink, paper), Math.min(ink, paper)];
        return [(a + 0.05) / (b + 0.05), e.textContent];
    });
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_word_stands_out(opened, dark):
    figures = triangle(free=True, corners=[[0, 1], [1, 0], [-1, -1]]), dynamics(tag="synthetic")
    figures += dynamics(tag="live"), triangle(caption="A caption."), scrubber(frame=0), gates()
    page = opened(*figures, dark=dark)
    papers = set()
    for figure in page.locator("figure").all():
        ratios = figure.evaluate(CONTRAST)
        assert len(ratios) > 15 and [r for r in ratios if r[0] < 4.5] == []
        papers.add(figure.evaluate("f => getComputedStyle(f).backgroundColor"))
    assert papers == {"rgb(27, 32, 39)" if dark else "rgb(255, 255, 255)"}


def test_everything_has_a_name_and_shows_its_focus(opened):
    page = opened(triangle(free=True, label="A triangle"), dynamics(caption="Below."))
    for figure, name in zip(
        page.locator("figure").all(), ["A triangle", "Similarity"], strict=True
    ):
        assert figure.get_attribute("aria-label").startswith(name)
        for control in figure.locator("input, select, button").all():
            assert control.evaluate("e => (e.labels?.[0] ?? e).textContent.trim()")
        for picture in figure.locator("svg:not([aria-hidden])").all():
            assert picture.get_attribute("role") in ("img", "group")
            assert picture.get_attribute("aria-label")
    assert page.locator("figcaption").all_inner_texts() == ["Below."]
    stops = page.locator("select, button, input[type=checkbox], input:checked, .corner").count()
    for _ in range(stops):
        page.keyboard.press("Tab")
        assert (
            page.evaluate(
                """() => {
                const one = document.activeElement, ring = one.querySelector('.ring');
                const style = getComputedStyle(ring ?? one);
                return ring ? style.strokeWidth : style.outlineWidth;
            }"""
            )
            == "3px"
        )
    assert page.evaluate("() => document.activeElement.closest('figure') !== null")


def test_what_can_be_heard_and_slid_has_a_name_and_shows_its_focus(opened):
    page = opened(scrubber(label="Sound"), gates(label="Gates"))
    sound, gate = page.locator("figure").all()
    names = ["Utterance", "Frame", "Dummy frame", "sound of the utterance", "mean gates"]
    for figure, name in ((sound, "Sound"), (gate, "Gates")):
        assert figure.get_attribute("aria-label") == name
        for control in figure.locator("input, select, button, audio, [tabindex]").all():
            assert control.evaluate("e => e.ariaLabel || (e.labels?.[0] ?? e).textContent.trim()")
        for picture in figure.locator("svg:not([aria-hidden])").all():
            assert (picture.get_attribute("role"), bool(picture.get_attribute("aria-label"))) == (
                "img", True)  # fmt: skip
    for name in names:
        assert page.get_by_label(name, exact=True).count() >= 1 or name == "Utterance"
    met = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        name, width = page.evaluate(
            "() => { const e = document.activeElement;"
            " return [e.type ?? e.className, getComputedStyle(e).outlineWidth]; }"
        )
        met.add(name)
        assert width == "3px" or name == ""  # the last Tab leaves the page
    assert met >= {"select-one", "range", "checkbox", "button", "radio", "scroll"}


def test_without_javascript_there_is_a_sentence(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(triangle().html()), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    words = "This figure needs JavaScript: Decoupling of an utterance as a triangle"
    assert page.locator("body").inner_text().strip() == words
    context.close()
