"""Every explorer in a page opened from disk, at two widths, with the network blocked: what it shows
at first, and after a click, a drag or a key, against numbers computed here."""

import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from mmer_lib.book.explorer.dynamics import KINDS
from mmer_lib.book.explorer.dynamics import sentence as hump_sentence
from mmer_lib.book.explorer.toggles import sentence as score_sentence
from mmer_lib.book.explorer.training_replay import COMPARED, VIEWS
from mmer_lib.data import MODALITIES
from mmer_lib.probes.similarity import judge
from tests.book.browser import chromium, described
from tests.book.explorer.samples import (
    ALONE,
    CLASSES,
    GATED,
    HALF,
    HEARD,
    LASTS,
    NEITHER,
    PAIRS,
    SAID,
    TEXTS,
    as_shown,
    dynamics,
    evaluations,
    found,
    gates,
    readings,
    scrubber,
    toggles,
    training,
    training_replay,
    triangle,
    vectors,
    whole,
)

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def numbers(figure, of, name):
    script = f"all => all.map(e => parseFloat(e.getAttribute('{name}')))"
    return np.array(figure.locator(of).evaluate_all(script))


def says(figure):
    return figure.locator("output").inner_text()


def radio(figure, name):
    return figure.get_by_role("radio", name=name, exact=True)


# ------------------------------------------------------------------------------ the triangle


def corners(figure):
    """Where the three corners are, in the coordinates of the plane."""
    return np.column_stack([numbers(figure, ".corner", f"data-{axis}") for axis in "xy"])


def assert_shows_triangle(figure, points):
    """The tables agree with three h (3, D)."""
    expected = readings(points)
    lengths, table = figure.locator("table").all()
    texts = [*lengths.locator("tbody td").all_inner_texts(), *table.locator("td").all_inner_texts()]
    shown = [float(text.replace("\u2212", "-")) for text in texts if text]
    pairs = np.column_stack([expected["i"], expected["h"]]).ravel()
    assert shown == pytest.approx([*expected["lengths"], *pairs], abs=6e-4)
    assert as_shown(expected["i"][3], 3) in says(figure)


def drag(page, corner, dx, dy):
    corner.scroll_into_view_if_needed()
    box = corner.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=3)
    page.mouse.up()


def test_a_triangle_shows_its_utterance_and_corners_are_dragged(opened):
    made = triangle()
    page = opened(made)
    figure, h = page.locator("figure"), np.stack([vectors()[m] for m in MODALITIES], 1)
    for n in range(len(TEXTS)):
        figure.get_by_label("Utterance").select_option(index=n)
        assert_shows_triangle(figure, h[n])
    before, offset = corners(figure), np.array(made.data["offsets"][2])
    drag(page, figure.locator(".corner").first, 30, 20)
    np.testing.assert_allclose(corners(figure), before)  # not before "Free" is on
    figure.get_by_label("Free: move the corners").check()
    drag(page, figure.get_by_role("slider", name="corner h text"), 40, 25)
    after = corners(figure)
    assert after[0, 0] > before[0, 0] and after[0, 1] < before[0, 1]
    np.testing.assert_allclose(after[1:], before[1:])
    assert_shows_triangle(figure, whole(after, offset))
    assert figure.locator(".origin").inner_text().startswith("free Moved by hand")
    figure.get_by_role("slider", name="corner h audio").focus()
    page.keyboard.press("Shift+ArrowRight")
    moved = (corners(figure) - after)[1] / np.linalg.norm(before, axis=1).max()
    np.testing.assert_allclose(moved, [0.1, 0], atol=1e-6)
    figure.get_by_role("button", name="Reset").click()
    np.testing.assert_allclose(corners(figure), before)


def test_a_corner_on_the_mean_has_no_direction(opened):
    figure = opened(triangle(free=True, corners=[[0, 0], [1, 1], [-1, -1]])).locator("figure")
    cells = figure.locator("table").last.locator("tbody td").all_inner_texts()
    assert cells[0::2] == ["undefined", "undefined", "\u22121.000", "undefined"]


# ------------------------------------------------------------------------------ the dynamics


def assert_shows_curves(figure, combination, kind):
    epochs, curves = found()[combination][kind]
    assert says(figure) == hump_sentence(judge(epochs, curves))
    assert figure.locator(".chart .seed").count() == len(curves)
    path = figure.locator(".chart .mean").get_attribute("d")
    drawn = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    mean = curves.mean(0)
    assert np.corrcoef(drawn[:, 1], mean)[0, 1] == pytest.approx(-1, abs=1e-3)
    peak = [numbers(figure, ".chart .peak", k)[0] for k in ("cx", "cy")]
    np.testing.assert_allclose(peak, drawn[mean.argmax()], atol=0.2)


def test_dynamics_show_every_setting_and_why_some_are_missing(opened):
    page = opened(dynamics())
    figure = page.locator("figure")
    assert_shows_curves(figure, (0.001, "on"), "h")
    radio(figure, "0.01").check()
    for kind, shown in KINDS.items():
        radio(figure, shown).check()
        assert_shows_curves(figure, (0.01, "on"), kind)
    radio(figure, "0.001").check()
    radio(figure, KINDS["h"]).check()
    radio(figure, "off").check()
    lost = [one.locator("input") for one in figure.locator("label.off").all()]
    assert [described(one) for one in lost] == ["diverged", "not recorded"]
    assert all(one.is_disabled() for one in lost)
    figure.get_by_label("Stretch the first epoch").focus()
    page.keyboard.press("Space")
    assert_shows_curves(figure, (0.001, "off"), "h")


# ------------------------------------------------------------------------------ the scrubber


def assert_shows_frame(figure, chosen, layer, head, frame):
    one = HEARD[chosen]
    maps = one.maps[f"layer {layer + 1}"]
    maps = np.concatenate([maps.mean(0)[None], maps]).round(3)
    weights = maps[head][frame]
    lengths, full = numbers(figure, ".bar", "width"), numbers(figure, ".trough", "width")[-1]
    np.testing.assert_allclose(lengths / full, weights / maps.max(), atol=1e-3)
    word = next((w for w in one.words if frame and w.start <= one.times[frame - 1] < w.end), None)
    where = "The dummy frame" if not frame else f"{one.times[frame - 1]:.2f} s, in"
    most = one.words[int(weights.argmax())].text
    assert says(figure).startswith(where)
    assert f"most attention to “{most}” ({weights.max():.2f})" in says(figure)
    assert figure.get_by_role("button").is_enabled() == bool(word)


def test_the_scrubber_follows_the_slider_the_picture_and_the_sound(opened):
    page = opened(scrubber())
    figure = page.locator("figure")
    slider = figure.get_by_label("Frame", exact=True)
    assert_shows_frame(figure, 0, 0, 0, 6)
    radio(figure, "layer 2").check()
    radio(figure, "2").check()
    slider.fill("3")
    assert_shows_frame(figure, 0, 1, 2, 3)
    figure.locator(".scene").scroll_into_view_if_needed()
    box = figure.locator(".scene").bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + 50)
    assert_shows_frame(figure, 0, 1, 2, 0)
    figure.get_by_role("checkbox", name="Dummy frame").uncheck()
    slider.focus()
    page.keyboard.press("End")
    assert_shows_frame(figure, 0, 1, 2, 11)
    slider.fill("7")
    for _ in range(2):  # a word is played, and the slider comes back to where it was
        figure.get_by_role("button", name=re.compile("^Play this word")).click()
        page.wait_for_function("() => document.querySelector('output').ariaLive === 'off'")
        page.wait_for_function("() => document.querySelector('output').ariaLive === 'polite'")
        assert_shows_frame(figure, 0, 1, 2, 7)
    page.locator("audio").evaluate("a => { a.currentTime = 0.7 }")
    nearest = int(np.abs(HEARD[0].times - 0.7).argmin()) + 1
    page.wait_for_function(
        f"() => document.querySelector('input[type=range]').valueAsNumber === {nearest}"
    )
    figure.get_by_role("combobox").select_option(index=1)
    assert_shows_frame(figure, 1, 1, 2, 2)


# ------------------------------------------------------------------------------- the gates


def assert_shows_gates(figure, chosen, layer, word):
    one = GATED[chosen]
    parts = [one.gates[layer, word, :HALF], one.gates[layer, word, HALF:]]
    assert says(figure).startswith(f"“{one.words[word]}” in layer {layer + 1}: the 6 gates")
    for part in parts:
        text = f"open by {part.mean():.2f} on average, from {part.min():.2f} to {part.max():.2f}"
        assert text in says(figure)
    cells = np.array(figure.locator("tbody td").all_inner_texts(), float)
    means = np.stack([one.gates[..., :HALF].mean(2), one.gates[..., HALF:].mean(2)], 2)
    np.testing.assert_allclose(cells, means.transpose(1, 0, 2).ravel(), atol=5.1e-3)
    tall = numbers(figure, ".bar", "height").reshape(2, -1)
    shares = np.stack([np.histogram(part, 20, (0, 1))[0] / len(part) for part in parts])
    np.testing.assert_allclose(tall / 96 * gates().data["most"], shares, atol=1e-3)


def test_gates_show_every_word_and_layer(opened):
    page = opened(gates())
    figure = page.locator("figure")
    assert_shows_gates(figure, 0, 0, 0)
    figure.locator("tbody th").nth(2).click()
    assert_shows_gates(figure, 0, 0, 2)
    assert says(figure).endswith("This word has no vector.")
    figure.locator("tbody tr").nth(3).locator("td").nth(5).click()
    assert_shows_gates(figure, 0, 2, 3)
    figure.get_by_role("combobox", name="Utterance").select_option(index=1)
    figure.get_by_role("combobox", name="Word").select_option(index=1)
    figure.get_by_role("slider").focus()
    page.keyboard.press("Home")
    assert_shows_gates(figure, 1, 0, 1)


# ------------------------------------------------------------------------------ the switches


def assert_shows_parts(figure, values, chosen=0):
    measured = evaluations()
    one = measured[values]
    assert says(figure) == score_sentence(one, measured[(True, True, "highway")], "WA")
    assert figure.locator(".run").count() == len(one.scores)
    shares = one.confusion / one.confusion.sum(1, keepdims=True)
    cells = [int(c.rstrip("%")) for c in figure.locator(".confusion tbody td").all_inner_texts()]
    np.testing.assert_allclose(cells, 100 * shares.ravel(), atol=0.51)
    bars, reading = numbers(figure, ".bar", "width"), one.readings[chosen]
    np.testing.assert_allclose(bars / bars.sum(), reading["p"], atol=2e-3)
    sizes = [0 if a is None else a.size for a in (reading["attention"], reading["gates"])]
    assert figure.locator("rect.cell").count() == sum(sizes)


def test_switches_show_every_combination_and_why_some_are_off(opened):
    page = opened(toggles())
    figure = page.locator("figure")
    words, sound = (figure.get_by_role("checkbox", name=name) for name in ("words", "sound"))
    assert_shows_parts(figure, (True, True, "highway"))
    assert f"{CLASSES[1]} (true)" in figure.locator("svg text").all_text_contents()
    radio(figure, "sum").check()
    figure.get_by_label("Utterance").select_option(index=1)
    assert_shows_parts(figure, (True, True, "sum"), 1)
    words.focus()
    page.keyboard.press("Space")
    assert_shows_parts(figure, (False, True, "sum"), 1)
    assert sound.is_disabled() and described(sound) == NEITHER
    assert described(radio(figure, "sum")) == ALONE
    assert figure.locator(".reasons li").count() == 2
    words.check()
    assert figure.locator(".reasons").is_hidden()


# ---------------------------------------------------------------------------- the replay


def assert_shows_epoch(figure, name, view, epoch, followed=0):
    one, kind = training(name), COMPARED[view]
    at, embedding = list(one["similarity"]["epoch"]).index(epoch), one["views"][view]
    cosines = [as_shown(one["similarity"][f"{kind} {pair}"][at], 2) for pair in PAIRS]
    means = [as_shown(mean[epoch], 2) for mean, _ in one["gates"].values()]
    assert f"session {as_shown(one['mae'][epoch], 3)}" in says(figure)
    share = as_shown(100 * embedding["share"][epoch], 0)
    assert f"The plane holds {share}% of the variance of {view}." in says(figure)
    assert figure.locator(".columns .key b").all_inner_texts() == cosines + means
    places = figure.locator(".plane .place").evaluate_all(
        """all => all.map(e => e.getAttribute('transform')
            .match(/[-.0-9]+/g).slice(0, 2).map(Number))"""
    )
    points = embedding["points"][epoch].reshape(len(SAID), -1, 2).astype(float)
    points = np.concatenate([*np.delete(points, followed, axis=0), points[followed]])
    for axis, sign in ((0, 1), (1, -1)):
        assert np.corrcoef(np.array(places)[:, axis], points[:, axis])[0, 1] * sign > 0.9999
    trails = figure.locator(".plane .trail").evaluate_all(
        "all => all.map(e => e.getAttribute('d'))"
    )
    assert [trail.count("L") for trail in trails] == [epoch] * len(embedding["marks"])


def test_a_replay_shows_every_view_and_plays(opened):
    page = opened(training_replay())
    figure = page.locator("figure")
    slider, button = figure.get_by_role("slider"), figure.get_by_role("button")
    for name, last in LASTS.items():
        radio(figure, name).check()
        for view, shown in VIEWS.items():
            radio(figure, shown).check()
            for epoch in (0, last):
                slider.fill(str(epoch))
                assert_shows_epoch(figure, name, view, epoch)
    figure.get_by_label("Follow an utterance").select_option(index=len(SAID) - 1)
    assert_shows_epoch(figure, "without", "F", 3, len(SAID) - 1)
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # from here on time passes when it is told to
    button.click()  # from the beginning
    page.clock.run_for(750)
    assert_shows_epoch(figure, "without", "F", 1, len(SAID) - 1)
    button.click()
    page.clock.run_for(5000)
    assert_shows_epoch(figure, "without", "F", 1, len(SAID) - 1)
    button.click()
    page.clock.run_for(5000)  # past the end
    assert button.inner_text() == "Play"
    slider.focus()
    page.keyboard.press("Home")
    assert_shows_epoch(figure, "without", "F", 0, len(SAID) - 1)


# ------------------------------------------------------------------------------ all of them


def test_several_on_one_page_do_not_disturb_each_other(opened):
    first, second = opened(gates(), gates()).locator("figure").all()
    first.locator("tbody th").nth(1).click()
    assert_shows_gates(first, 0, 0, 1)
    assert_shows_gates(second, 0, 0, 0)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_and_every_control_shows_its_focus(opened, dark):
    made = [triangle(free=True), dynamics(caption="Below."), scrubber(), gates(), toggles()]
    page = opened(*made, training_replay(tag="synthetic"), dark=dark)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    ignored = {"region", "landmark-one-main", "page-has-heading-one"}  # of the bare test page
    assert {r["id"]: [n["html"] for n in r["nodes"]] for r in found if r["id"] not in ignored} == {}
    for _ in range(12):
        page.keyboard.press("Tab")
        width = page.evaluate(
            """() => {
                const one = document.activeElement, ring = one.querySelector('.ring');
                const style = getComputedStyle(ring ?? one);
                return ring ? style.strokeWidth : style.outlineWidth;
            }"""
        )
        assert width == "3px"
