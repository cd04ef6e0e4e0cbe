"""The replay of a training in a page: every control by mouse and by keyboard."""

import re

import numpy as np
import pytest

from mmer_lib.book.explorer.replay import KINDS, sentence
from mmer_lib.probes.similarity import judge
from tests.book.browser import chromium, described
from tests.book.explorer.made import GRID, LOST, dynamics, found

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def assert_tells(figure, combination, kind):
    """The sentence is Python's, there is a curve a seed, and the circle is on the mean's top."""
    epochs, curves = found()[combination][kind]
    assert figure.locator("output").inner_text() == sentence(judge(epochs, curves))
    assert figure.locator(".chart .seed").count() == len(curves)
    path = figure.locator(".chart .mean").get_attribute("d")
    drawn = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    mean = curves.mean(0)
    scale = (drawn[:, 1] - drawn[0, 1]) / (drawn[0, 1] - drawn[:, 1].min())
    np.testing.assert_allclose(
        scale, (mean[0] - mean) / np.ptp(mean[: mean.argmax() + 1]), atol=0.01
    )
    peak = figure.locator(".chart .peak")
    place = [float(peak.get_attribute(k)) for k in ("cx", "cy")]
    np.testing.assert_allclose(place, drawn[mean.argmax()], atol=0.2)
    assert figure.locator(".value").text_content() == (
        f"{mean.max():.3f} at epoch {epochs[mean.argmax()]:.1f}"
    )
    return drawn


def radio(figure, name, value):
    group = figure.get_by_role("group", name=name)
    return group.get_by_role("radio", name=value, exact=True)


def test_every_setting_by_mouse(opened):
    figure = opened(dynamics()).locator("figure")
    for combination, kinds in found().items():
        for name, value in reversed(list(zip(GRID, combination, strict=True))):
            group = figure.get_by_role("group", name=name.replace("_", " "))
            group.get_by_text(str(value), exact=True).click()
        for kind in kinds:
            figure.get_by_text(KINDS[kind], exact=True).click()
            assert_tells(figure, combination, kind)
        figure.get_by_text(KINDS["h"], exact=True).click()


def test_what_is_missing_is_off_and_says_why(opened):
    figure = opened(dynamics()).locator("figure")
    radio(figure, "gate", "off").check()
    lost = figure.locator("label.off")
    assert lost.all_inner_texts() == [str(LOST[0]), KINDS["i_low"]]
    assert all(one.locator("input").is_disabled() for one in lost.all())
    whys = [described(one.locator("input")) for one in lost.all()]
    assert whys == ["diverged", "not recorded"]
    lines = figure.locator(".reasons li").all_inner_texts()
    assert lines == [
        "learning rate 0.01: diverged",
        f"similarity of {KINDS['i_low']}: not recorded",
    ]
    radio(figure, "gate", "on").check()
    assert lost.count() == 0


def test_what_the_kernel_sets_beside_the_grid_is_not_drawn(opened):
    one = dynamics(setting={"learning_rate": 7, "gate": "on"})
    other = dynamics(setting={"learning_rate": 0.01, "gate": "off"})
    page = opened(one, other)
    texts = page.locator("output").all_inner_texts()
    assert texts == ["Nothing to show: not in the grid.", "Nothing to show: diverged."]
    assert page.locator(".chart .curve").count() == 0


def test_the_first_epoch_is_stretched(opened):
    figure = opened(dynamics()).locator("figure")
    epochs = found()[(0.001, "on")]["h"][0]
    box = figure.get_by_label("Stretch the first epoch")
    for stretched, name in ((False, "epoch"), (True, "epoch, drawn at its square root")):
        box.set_checked(stretched)
        drawn = assert_tells(figure, (0.001, "on"), "h")
        share = (drawn[:, 0] - drawn[0, 0]) / (drawn[-1, 0] - drawn[0, 0])
        expected = epochs / epochs[-1]
        np.testing.assert_allclose(share, expected**0.5 if stretched else expected, atol=0.002)
        assert figure.locator(".chart text", has_text=re.compile(f"^{name}$")).count() == 1


def test_the_dynamics_by_keyboard_alone(opened):
    page = opened(dynamics())
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("ArrowRight")
    assert_tells(figure, (0.01, "on"), "h")
    press("Tab")
    press("ArrowRight")  # off is disabled here: the arrow comes round to "on"
    assert_tells(figure, (0.01, "on"), "h")
    press("Tab")
    press("ArrowDown")
    assert_tells(figure, (0.01, "on"), "i")
    press("ArrowDown")
    assert_tells(figure, (0.01, "on"), "i_low")
    press("Tab")
    press("Space")
    assert figure.get_by_label("Stretch the first epoch").is_checked()


def test_the_axes_are_the_same_for_all_settings_of_a_kind(opened):
    figure = opened(dynamics()).locator("figure")
    ticks = figure.locator(".chart text:not(.value)")
    slow = ticks.all_text_contents()
    radio(figure, "learning rate", "0.01").check()
    assert GRID["learning_rate"][1] == 0.01 and ticks.all_text_contents() == slow
