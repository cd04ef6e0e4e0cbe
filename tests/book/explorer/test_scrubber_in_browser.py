"""The attention scrubber in a page: every control by mouse and by keyboard, with its sound."""

import re
from itertools import product

import numpy as np
import pytest

from tests.book.browser import chromium
from tests.book.explorer.made import HEARD, scrubber

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
LAYERS = list(HEARD[0].maps)


def weights_of(one, layer, head, frame):
    """(the row of the map, the largest weight of the layer), as the page rounds them."""
    maps = one.maps[LAYERS[layer]]
    maps = np.concatenate([maps.mean(0)[None], maps]).round(3)
    return maps[head][frame], maps.max()


def word_at(one, frame):
    return next((w for w in one.words if frame and w.start <= one.times[frame - 1] < w.end), None)


def told(one, frame, weights):
    """The beginning of the sentence, by the utterance itself."""
    word = word_at(one, frame)
    where = "The dummy frame, which stands for the whole utterance"
    if frame:
        where = f"{one.times[frame - 1]:.2f} s, in no word"
    if word:
        where = (f"{one.times[frame - 1]:.2f} s, in “{word.text}” "
                 f"(spoken {word.start:.2f} to {word.end:.2f} s)")  # fmt: skip
    order = np.argsort(-weights, kind="stable")
    named = [f"“{one.words[w].text}” ({weights[w]:.2f})" for w in order[:2]]
    return f"{where}: most attention to {', then to '.join(named)}."


def numbers(figure, of, name):
    script = f"all => all.map(e => parseFloat(e.getAttribute('{name}')))"
    return np.array(figure.locator(of).evaluate_all(script))


def styled(figure, of, name):
    script = f"all => all.map(e => parseFloat(e.style.getPropertyValue('{name}')))"
    return np.array(figure.locator(of).evaluate_all(script))


def assert_shows(figure, chosen=0, layer=0, head=0, frame=None):
    one = HEARD[chosen]
    frame = (1 + len(one.times)) // 2 if frame is None else frame
    weights, most = weights_of(one, layer, head, frame)
    count, best, word = len(weights), int(np.argmax(weights)), word_at(one, frame)
    assert figure.locator("output").inner_text().startswith(told(one, frame, weights))
    assert f"{1 / count:.2f}." in figure.locator("output").inner_text()

    lengths, full = numbers(figure, ".bar", "width"), numbers(figure, ".trough", "width")[-1]
    np.testing.assert_allclose(lengths / full, weights / most, atol=1e-3)
    even = numbers(figure, ".drop", "x1")[0] - numbers(figure, ".bar", "x")[0]
    assert even / full == pytest.approx(1 / count / most, abs=1e-3)
    np.testing.assert_allclose(styled(figure, "rect.cell", "opacity"), weights / most, atol=1e-3)
    strands = styled(figure, ".strand", "stroke-width")
    np.testing.assert_allclose((strands - 0.5) / 9, weights / most, atol=2e-3)
    assert figure.locator("text.value").all_text_contents() == [
        one.words[best].text, one.words[best].text, f"{weights[best]:.2f}"
    ]  # fmt: skip
    assert figure.locator("rect.spoken").count() == 2 * bool(word)

    start, end = one.words[0].start, one.words[-1].end
    starts, widths = numbers(figure, "rect.cell", "x"), numbers(figure, "rect.cell", "width")
    scale = (starts[-1] + widths[-1] - starts[0]) / (end - start)
    left, wide = numbers(figure, ".cursor", "x")[0], numbers(figure, ".cursor", "width")[0]
    if frame:
        at = start + (left + wide / 2 - starts[0]) / scale
        assert at == pytest.approx(one.times[frame - 1], abs=2e-3)
        assert figure.get_by_label("Frame", exact=True).input_value() == str(frame)
    else:
        assert left + wide < starts[0]
    assert figure.get_by_role("checkbox", name="Dummy frame").is_checked() == (frame == 0)
    button = figure.get_by_role("button")
    assert button.is_enabled() == bool(word)
    assert button.inner_text() == "Play this word" + (f": “{word.text}”" if word else "")
    assert figure.locator(".hint").first.inner_text() == one.note


def slide(figure, frame):
    figure.get_by_label("Frame", exact=True).fill(str(frame))


def test_every_map_of_every_utterance_by_mouse(opened):
    figure = opened(scrubber()).locator("figure")
    assert_shows(figure)
    for chosen, layer, head in product(range(2), range(2), range(4)):
        figure.get_by_role("combobox", name="Utterance").select_option(index=chosen)
        figure.get_by_role("group", name="layer").get_by_text(LAYERS[layer]).click()
        group = figure.get_by_role("group", name="head")
        group.get_by_text(["mean", "1", "2", "3"][head], exact=True).click()
        frame = 1 + (5 * head + layer) % len(HEARD[chosen].times)
        slide(figure, frame)
        assert_shows(figure, chosen, layer, head, frame)


def test_every_frame(opened):
    figure = opened(scrubber()).locator("figure")
    for frame in range(1, 1 + len(HEARD[0].times)):
        slide(figure, frame)
        assert_shows(figure, frame=frame)
    assert {bool(word_at(HEARD[0], k)) for k in range(1, 12)} == {True, False}


def test_a_press_on_the_picture_moves_the_slider(opened):
    page = opened(scrubber())
    figure = page.locator("figure")
    for frame in (2, 11, 7, 0, 1):
        figure.locator(".scene").scroll_into_view_if_needed()
        box = figure.locator(".scene").bounding_box()
        x = 20
        if frame:
            left, wide = numbers(figure, "image", "x")[0], numbers(figure, "image", "width")[0]
            last = HEARD[0].times[-1] + 0.048
            x = left + wide * HEARD[0].times[frame - 1] / last
        page.mouse.click(box["x"] + x, box["y"] + 50)
        assert_shows(figure, frame=frame)


def test_the_dummy_frame_and_back(opened):
    figure = opened(scrubber(head=2)).locator("figure")
    slide(figure, 4)
    figure.get_by_role("checkbox", name="Dummy frame").check()
    assert_shows(figure, head=2, frame=0)
    figure.get_by_role("combobox", name="Utterance").select_option(index=1)
    assert_shows(figure, 1, head=2, frame=0)
    figure.get_by_role("combobox", name="Utterance").select_option(index=0)
    figure.get_by_role("checkbox", name="Dummy frame").uncheck()
    figure.get_by_role("checkbox", name="Dummy frame").check()
    slide(figure, 9)
    assert_shows(figure, head=2, frame=9)


def press_until(page, script):
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(f"() => {{ const e = document.activeElement; return {script}; }}"):
            return
    raise AssertionError(f"the keyboard does not reach {script}")


def test_by_keyboard_alone(opened):
    page = opened(scrubber())
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, 1)
    press("ArrowUp")
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, 0, 1)
    press("Tab")
    press("ArrowRight")
    press("ArrowRight")
    assert_shows(figure, 0, 1, 2)
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, 0, 1, 2, 7)
    slider = figure.get_by_label("Frame", exact=True)
    assert slider.get_attribute("aria-valuetext").endswith(f"s, in {word_at(HEARD[0], 7).text}")
    press("Home")
    assert_shows(figure, 0, 1, 2, 1)
    assert slider.get_attribute("aria-valuetext") == "0.05 s"
    press("End")
    press("ArrowLeft")
    assert_shows(figure, 0, 1, 2, 10)
    press_until(page, "e.matches('button')")
    press("Enter")
    page.wait_for_function("() => !document.querySelector('audio').paused")
    page.wait_for_function("() => document.querySelector('audio').paused")
    assert_shows(figure, 0, 1, 2, 10)
    press("Tab")
    press("Space")
    assert_shows(figure, 0, 1, 2, 0)


FOLLOW = """figure => {
    const slider = figure.querySelector('input[type=range]'), seen = [];
    new MutationObserver(() => seen.push(slider.valueAsNumber))
        .observe(slider, { attributes: true, attributeFilter: ['aria-valuetext'] });
    return seen;
}"""


def test_one_word_is_played_and_the_slider_follows(opened):
    page = opened(scrubber())
    figure = page.locator("figure")
    slide(figure, 7)
    word = word_at(HEARD[0], 7)
    inside = [k for k in range(1, 12) if word_at(HEARD[0], k) == word]
    met = figure.evaluate_handle(FOLLOW)
    for _ in range(2):
        figure.get_by_role("button", name=re.compile("^Play this word")).click()
        page.wait_for_function("() => document.querySelector('output').ariaLive === 'off'")
        page.wait_for_function("() => document.querySelector('audio').paused")
        page.wait_for_function("() => document.querySelector('output').ariaLive === 'polite'")
        assert_shows(figure, frame=7)
    seen = met.json_value()
    assert len(inside) > 2 and set(inside) <= set(seen)
    nearest = [int(np.abs(HEARD[0].times - s).argmin()) + 1 for s in (word.start, word.end)]
    assert nearest[0] <= min(seen) and max(seen) <= nearest[1] + 1  # a slow machine stops late


def test_the_slider_follows_the_whole_sound_and_the_sound_the_slider(opened):
    page = opened(scrubber())
    figure, audio = page.locator("figure"), page.locator("audio")
    slide(figure, 3)
    assert audio.evaluate("a => a.currentTime") == pytest.approx(HEARD[0].times[2], abs=1e-3)
    audio.evaluate("a => { a.currentTime = 0.7 }")  # what its own bar does
    expected = int(np.abs(HEARD[0].times - 0.7).argmin()) + 1
    page.wait_for_function(
        f"() => document.querySelector('input[type=range]').valueAsNumber === {expected}"
    )
    assert_shows(figure, frame=expected)
    figure.get_by_role("checkbox", name="Dummy frame").check()
    audio.evaluate("a => a.play()")
    page.wait_for_function("() => document.querySelector('audio').ended")
    assert_shows(figure, frame=len(HEARD[0].times))
    assert audio.evaluate("a => a.duration") == pytest.approx(1.056, abs=1e-3)
    figure.get_by_role("combobox", name="Utterance").select_option(index=1)
    page.wait_for_function(
        "() => Math.abs(document.querySelector('audio').duration - 0.384) < 0.01"
    )
    assert_shows(figure, 1)


def test_moving_the_slider_ends_the_word(opened):
    page = opened(scrubber())
    figure = page.locator("figure")
    slide(figure, 7)
    figure.get_by_role("button").click()
    page.wait_for_function("() => !document.querySelector('audio').paused")
    slide(figure, 2)
    page.wait_for_function("() => document.querySelector('audio').paused")
    page.wait_for_timeout(100)
    assert_shows(figure, frame=2)


def test_words_do_not_run_into_each_other(opened):
    figure = opened(scrubber()).locator("figure")
    boxes = figure.locator(".scene text.small").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().toJSON())"
    )
    room = figure.locator(".scene").bounding_box()
    for k, a in enumerate(boxes):
        assert room["x"] - 1 <= a["left"] and a["right"] <= room["x"] + room["width"] + 1
        for b in boxes[k + 1 :]:
            beside = min(a["right"], b["right"]) - max(a["left"], b["left"]) < 1
            assert beside or min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) < 4


def test_one_layer_leaves_nothing_to_choose(opened):
    from mmer_lib.book.explorer.scrubber import Heard, Scrubber

    one = HEARD[1]
    only = Heard(one.words, one.samples, one.rate, one.times, {"layer 1": one.maps["layer 1"]})
    figure = opened(Scrubber([only])).locator("figure")
    assert figure.get_by_role("group", name="layer").count() == 0
    assert figure.get_by_role("group", name="head").get_by_role("radio").count() == 4
