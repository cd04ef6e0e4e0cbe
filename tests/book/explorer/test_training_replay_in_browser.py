"""The replay of one training in a page: every control by mouse and by keyboard."""

import re

import numpy as np
import pytest

from mmer_lib.book.explorer.training_replay import COMPARED, VIEWS
from tests.book.browser import chromium
from tests.book.explorer.made import LASTS, PAIRS, SAID, as_shown, training, training_replay

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def numbers(text):
    return [float(x) for x in re.findall(r"-?[\d.]+", text)]


def sentence(name, view, epoch):
    """What is said of an epoch, from the numbers themselves."""
    one, kind = training(name), COMPARED[view]
    at = list(one.similarity["epoch"]).index(epoch)
    moment = f"After epoch {epoch} of {LASTS[name]}" if epoch else "Before training"
    least = ", the least, so these weights are kept" if epoch == one.best else ""
    pairs = [f"{p.replace('-', chr(0x2013))} {as_shown(one.similarity[f'{kind} {p}'][at], 2)}"
             for p in PAIRS]  # fmt: skip
    share = as_shown(100 * one.views[view].share[epoch], 0)
    gates = [
        f"{p} {as_shown(mean[epoch], 2)} ({as_shown(sd[epoch], 2)})"
        for p, (mean, sd) in one.gates.items()
    ]
    return (
        f"{moment}, {name}: error (MAE) on the development session "
        f"{as_shown(one.mae[epoch], 3)}{least}."
        f" Cosine of {kind}: {', '.join(pairs)}."
        f" Mean gate (SD between utterances): {', '.join(gates)}."
        f" The plane holds {share}% of the variance of {view}."
    )


def attributes(found, *names):
    """The attributes of all elements of a locator, a list each where several are asked for."""
    read = "(all, names) => all.map(e => names.map(n => e.getAttribute(n)))"
    values = found.evaluate_all(read, list(names))
    return [v[0] for v in values] if len(names) == 1 else values


def places(figure):
    """Where the marks are drawn, (marks, 2): all others, then those of the followed utterance."""
    return [
        np.array(
            [numbers(t)[:2] for t in attributes(figure.locator(f".plane {which}"), "transform")]
        )
        for which in (".place:not(.chosen)", ".chosen")
    ]


def assert_shows(figure, name, view, epoch, followed=0):
    one, kind = training(name), COMPARED[view]
    assert figure.locator("output").inner_text() == sentence(name, view, epoch)
    slider = figure.get_by_role("slider")
    assert slider.input_value() == str(epoch) and slider.get_attribute("max") == str(LASTS[name])
    assert figure.locator(".steer b").inner_text() == f"{epoch} of {LASTS[name]}"

    # The plane: one scale for all epochs, the followed utterance in front, its marks joined.
    v = one.views[view]
    others, chosen = places(figure)
    points = v.points[epoch].astype(float)
    rest = np.delete(points, followed, axis=0).reshape(-1, 2)
    drawn, wanted = np.concatenate([others, chosen]), np.concatenate([rest, points[followed]])
    ends = v.points.reshape(-1, 2)
    box = figure.locator(".plane").get_attribute("viewBox")
    width, height = numbers(box)[2:]
    scale = min((width - 24) / np.ptp(ends[:, 0]), (height - 44) / np.ptp(ends[:, 1]))
    middle = (ends.min(0) + ends.max(0)) / 2
    np.testing.assert_allclose(
        drawn[:, 0], width / 2 + (wanted[:, 0] - middle[0]) * scale, atol=0.1
    )
    np.testing.assert_allclose(
        drawn[:, 1], (height - 20) / 2 - (wanted[:, 1] - middle[1]) * scale, atol=0.1
    )
    trails = attributes(figure.locator(".plane .trail"), "d")
    assert len(trails) == len(v.marks)
    for trail, end in zip(trails, chosen, strict=True):
        path = np.array(numbers(trail)).reshape(-1, 2)
        assert len(path) == epoch + 1
        np.testing.assert_allclose(path[-1], end, atol=0.11)
    link = figure.locator(".plane .link").get_attribute("d")
    assert (link is None) == (len(v.marks) == 1)
    if link:
        np.testing.assert_allclose(np.reshape(numbers(link), (-1, 2)), chosen, atol=0.11)

    # The curves: whole and faint, up to the epoch in full; the values in the keys.
    alike, gates = (figure.locator("svg[role=img]").nth(k) for k in (1, 2))
    moments = np.array(one.similarity["epoch"])
    assert f"Cosine of {kind} " in alike.get_attribute("aria-label")
    for chart, series, xs in (
        (alike, [one.similarity[f"{kind} {p}"] for p in PAIRS], moments),
        (gates, [mean for mean, _ in one.gates.values()], np.arange(LASTS[name] + 1)),
    ):
        faint, full = (attributes(chart.locator(c), "d") for c in (".later", ".sofar"))
        now = np.array(attributes(chart.locator(".now"), "cx", "cy"), float)
        seen = int((xs <= epoch).sum())
        assert len(faint) == len(full) == len(now) == 3
        for values, later, sofar, end in zip(series, faint, full, now, strict=True):
            path, past = np.reshape(numbers(later), (-1, 2)), numbers(sofar)
            assert np.corrcoef(path[:, 0], xs)[0, 1] > 0.999
            assert np.corrcoef(path[:, 1], values)[0, 1] == pytest.approx(-1, abs=1e-4)
            assert past == path[: seen if seen > 1 else 0].ravel().tolist()
            np.testing.assert_allclose(end, path[seen - 1], atol=0.1)
    at = list(moments).index(epoch)
    keys = figure.locator(".columns .key b").all_inner_texts()
    assert keys == [as_shown(one.similarity[f"{kind} {p}"][at], 2) for p in PAIRS] + [
        as_shown(mean[epoch], 2) for mean, _ in one.gates.values()
    ]


def radio(figure, name):
    return figure.get_by_role("radio", name=name, exact=True)


def test_every_control_by_mouse(opened):
    figure = opened(training_replay()).locator("figure")
    slider, followed = figure.get_by_role("slider"), figure.get_by_label("Follow an utterance")
    assert_shows(figure, "with it", "h", 0)
    for name in LASTS:
        radio(figure, name).check()
        for place, (view, shown) in enumerate(VIEWS.items()):
            radio(figure, shown).check()
            followed.select_option(index=place)
            for epoch in (0, 2, LASTS[name]):
                slider.fill(str(epoch))
                assert_shows(figure, name, view, epoch, place)


def test_a_click_on_the_slider_moves_it(opened):
    figure = opened(training_replay()).locator("figure")
    box = figure.get_by_role("slider").bounding_box()
    figure.get_by_role("slider").click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert_shows(figure, "with it", "h", 2)


def test_a_shorter_training_ends_at_its_own_end(opened):
    figure = opened(training_replay(epoch=4)).locator("figure")
    assert_shows(figure, "with it", "h", 4)
    radio(figure, "without").check()
    assert_shows(figure, "without", "h", 3)


def test_by_keyboard_alone(opened):
    page = opened(training_replay())
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, "without", "h", 0)
    press("Tab")
    press("ArrowDown")
    press("ArrowDown")
    assert_shows(figure, "without", "S", 0)
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, "without", "S", 0, 1)
    press("Tab")
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, "without", "S", 1, 1)
    press("End")
    assert_shows(figure, "without", "S", 3, 1)
    press("Home")
    press("Shift+Tab")
    press("Space")
    assert page.locator("button").inner_text() == "Pause"
    press("Space")
    assert page.locator("button").inner_text() == "Play"


@pytest.mark.parametrize("still", [False, True])
def test_it_plays_pauses_and_ends(opened, still):
    page = opened(training_replay())
    page.emulate_media(reduced_motion="reduce" if still else "no-preference")
    figure, button = page.locator("figure"), page.locator("figure button")
    says = figure.locator("output")
    glide = figure.locator(".place").first.evaluate("e => getComputedStyle(e).transitionDuration")
    assert (float(glide.split("s")[0]) > 0) != still
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # from here on time passes when it is told to
    button.click()
    assert button.inner_text() == "Pause" and says.get_attribute("aria-live") == "off"
    page.clock.run_for(750)
    assert_shows(figure, "with it", "h", 1)
    page.clock.run_for(700)
    assert_shows(figure, "with it", "h", 2)
    button.click()
    assert button.inner_text() == "Play" and says.get_attribute("aria-live") is None
    page.clock.run_for(5000)
    assert_shows(figure, "with it", "h", 2)
    button.click()
    page.clock.run_for(5000)  # past the end
    assert button.inner_text() == "Play"
    assert_shows(figure, "with it", "h", 4)
    button.click()  # from the beginning
    assert_shows(figure, "with it", "h", 0)
    page.clock.run_for(750)
    assert_shows(figure, "with it", "h", 1)
    figure.get_by_role("slider").fill("3")  # who takes the slider stops it
    page.clock.run_for(5000)
    assert_shows(figure, "with it", "h", 3)
    assert button.inner_text() == "Play"


def test_the_slider_stays_in_sight_beside_the_pictures(opened):
    page = opened(training_replay())
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 500})
    page.evaluate("() => scrollTo(0, 250)")
    box = page.get_by_role("slider").bounding_box()
    assert 0 < box["y"] and box["y"] + box["height"] <= 500


def test_texts_are_shown_as_they_are(opened):
    figure = opened(training_replay()).locator("figure")
    options = figure.locator("option").all_text_contents()
    assert options == [f"{as_shown(sentiment, 1)}: {text}" for text, sentiment in SAID]
    assert figure.locator("option b").count() == 0
