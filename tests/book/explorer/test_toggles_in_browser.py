"""The switches in a page: every one operated by mouse and by keyboard, and what is then shown."""

import re
from itertools import product

import numpy as np
import pytest

from mmer_lib.book.explorer.toggles import Toggles, sentence
from tests.book.browser import chromium, described
from tests.book.explorer.made import ALONE, CLASSES, FACTORS, NEITHER, UTTERANCES, outcomes, toggles

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
WHOLE = next(iter(product(*FACTORS.values())))


def assert_shows(figure, values, chosen=0):
    """Everything in the picture is the recorded outcome of a combination."""
    there, _, _ = outcomes()
    outcome, utterance = there[values], UTTERANCES[chosen]
    one, scores = outcome.seen[chosen], list(outcome.scores.values())
    assert figure.locator("output").inner_text() == sentence(outcome, there[WHOLE], "WA")
    assert figure.locator(".run").count() == len(scores)
    x = [float(dot.get_attribute("cx")) for dot in figure.locator(".run").all()]
    mark = float(re.match(r"M([\d.]+)", figure.locator(".mean-mark").get_attribute("d"))[1])
    slope, offset = np.polyfit(scores, x, 1)
    assert slope > 0 and mark == pytest.approx(slope * np.mean(scores) + offset, abs=0.1)

    shares = outcome.confusion / outcome.confusion.sum(1, keepdims=True)
    cells = figure.locator(".confusion tbody td").all_inner_texts()
    percents = np.array([int(c.rstrip("%")) for c in cells]).reshape(3, 3)
    np.testing.assert_allclose(percents, 100 * shares, atol=0.51)

    bars = [float(b.get_attribute("width")) for b in figure.locator(".bar").all()]
    np.testing.assert_allclose(np.array(bars) / sum(bars), one.values[0], atol=2e-3)
    names = figure.locator("svg text").all_text_contents()
    assert f"{CLASSES[utterance.truth]} (true)" in names
    for word, _, _ in utterance.words:
        assert word in names

    cells = figure.locator("rect.cell").all()
    opacity = [float(re.search(r"opacity: ([\d.]+)", c.get_attribute("style"))[1]) for c in cells]
    n = 0 if one.attention is None else one.attention.size
    if n:
        drawn = np.array(opacity[:n]).reshape(one.attention.shape)
        np.testing.assert_allclose(drawn, one.attention / one.attention.max(), atol=5e-3)
    assert ("no frame reads a word" in names) == (n == 0)
    assert len(opacity) == n + (0 if one.gates is None else one.gates.size)
    if one.gates is not None:
        np.testing.assert_allclose(opacity[n:], 0.6 * one.gates.ravel(), atol=2e-3)


def switch(figure, name):
    return figure.get_by_role("checkbox", name=re.compile(f"^{name}"))


def test_every_combination_by_mouse(opened):
    figure = opened(toggles()).locator("figure")
    there, _, _ = outcomes()
    for joined in FACTORS["joined by"]:
        figure.get_by_role("radio", name=joined, exact=True).check()
        for words, sound in ((True, True), (True, False), (False, True)):
            for name, on in (("words", True), ("sound", True), ("words", words), ("sound", sound)):
                switch(figure, name).set_checked(on)
            for chosen in range(len(UTTERANCES)):
                figure.get_by_label("Utterance").select_option(index=chosen)
                assert_shows(figure, (words, sound, joined), chosen)
            switch(figure, "words").set_checked(True)
            switch(figure, "sound").set_checked(True)
    assert len(there) == 6


def test_what_has_no_meaning_is_off_and_says_why(opened):
    figure = opened(toggles()).locator("figure")
    assert figure.locator("label.off").count() == 0
    switch(figure, "words").uncheck()
    assert switch(figure, "sound").is_disabled() and switch(figure, "words").is_enabled()
    lines = figure.locator(".reasons li")
    assert lines.all_inner_texts() == [f"sound: {NEITHER}", f"joined by: {ALONE}"]
    radios = figure.get_by_role("group", name="joined by").get_by_role("radio").all()
    assert all(r.is_disabled() for r in radios)
    controls = [switch(figure, "words"), switch(figure, "sound"), *radios]
    assert [described(c) for c in controls] == ["", NEITHER, ALONE, ALONE]
    switch(figure, "words").check()
    assert figure.locator("label.off").count() == 0 and figure.locator(".reasons").is_hidden()
    assert [described(c) for c in controls] == [""] * 4


def test_a_combination_that_is_not_recorded_says_so(opened):
    data = toggles().data
    at = [-1 if k == 1 else at for k, at in enumerate(data["at"])]  # words, sound, sum
    figure = opened(Toggles({**data, "at": at}, provenance="Made up.")).locator("figure")
    radio = figure.get_by_role("radio", name="sum", exact=True)
    assert radio.is_disabled() and described(radio) == "not recorded"
    assert figure.locator(".reasons li").all_inner_texts() == ["joined by sum: not recorded"]


def test_by_keyboard_alone(opened):
    page = opened(toggles())
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("Space")
    assert_shows(figure, (False, True, "highway"))
    press("Space")
    press("Tab")
    press("Space")
    assert_shows(figure, (True, False, "highway"))
    press("Space")
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, (True, True, "sum"))
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, (True, True, "sum"), 1)


def test_what_the_kernel_sets_without_a_meaning_is_not_drawn(opened):
    nothing = {"words": False, "sound": False, "joined by": "highway"}
    page = opened(toggles(setting=nothing))
    assert page.locator("output").inner_text() == f"Nothing to show: {NEITHER}."
    assert page.locator("svg *").count() == 0
