"""The gates of a highway in a page: every control by mouse and by keyboard."""

from itertools import product

import numpy as np
import pytest

from mmer_lib.book.explorer.gates import BINS
from tests.book.browser import chromium
from tests.book.explorer.made import GATED, HALF, gates

pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")


def halves(one):
    return [one.gates[..., :HALF], one.gates[..., HALF:]]


def numbers(figure, of, name):
    script = f"all => all.map(e => parseFloat(e.getAttribute('{name}')))"
    return np.array(figure.locator(of).evaluate_all(script))


def assert_shows(figure, chosen=0, layer=0, word=0):
    one = GATED[chosen]
    parts = [part[layer, word] for part in halves(one)]
    says = figure.locator("output").inner_text()
    assert says.startswith(f"“{one.words[word]}” in layer {layer + 1}: the 6 gates of its sound")
    for part in parts:
        share = np.floor(100 * (part > 0.5).mean() + 0.5)
        assert (f"open by {part.mean():.2f} on average, from {part.min():.2f} to "
                f"{part.max():.2f}, {share:.0f}% of them above one half") in says  # fmt: skip
    known = one.known is None or one.known[word]
    assert says.endswith("This word has no vector.") == (not known)
    assert figure.locator(".spread").get_attribute("aria-label") == says

    cells = np.array(figure.locator("tbody td").all_inner_texts(), float)
    means = np.stack([part.mean(2) for part in halves(one)], 2)  # (L, W, 2)
    np.testing.assert_allclose(
        cells.reshape(len(one.words), -1),
        means.transpose(1, 0, 2).reshape(len(one.words), -1),
        atol=5.1e-3,
    )
    names = figure.locator("tbody th").all_inner_texts()
    knows = one.known or [True] * len(names)
    assert names == [w + ("" if k else " (no vector)")
                     for w, k in zip(one.words, knows, strict=True)]  # fmt: skip
    now = np.array([c.get_attribute("class") == "now" for c in figure.locator("tbody td").all()])
    assert np.flatnonzero(now).tolist() == [6 * word + 2 * layer, 6 * word + 2 * layer + 1]
    assert figure.locator("tbody th.now").all_inner_texts() == [names[word]]
    assert figure.locator("thead th.now").all_inner_texts() == [f"layer {layer + 1}"]

    tall = numbers(figure, ".bar", "height").reshape(2, BINS)
    shares = np.stack([np.histogram(part, BINS, (0, 1))[0] / len(part) for part in parts])
    np.testing.assert_allclose(tall / 96 * gates().data["most"], shares, atol=1e-3)
    marks = [
        float(d[1:].split()[0]) for d in figure.locator(".spread .mean-mark").evaluate_all(
            "all => all.map(e => e.getAttribute('d'))")
    ]  # fmt: skip
    left = numbers(figure, ".spread .axis", "x1")[0]
    wide = numbers(figure, ".spread .axis", "x2")[0] - left
    np.testing.assert_allclose(
        (np.array(marks) - left) / wide, [p.mean() for p in parts], atol=1e-3
    )
    np.testing.assert_allclose((numbers(figure, ".spread .start", "x1") - left) / wide, 0.27)

    assert (
        figure.get_by_role("combobox", name="Utterance").evaluate("e => e.selectedIndex") == chosen
    )
    assert figure.get_by_role("combobox", name="Word").evaluate("e => e.selectedIndex") == word
    slider = figure.get_by_role("slider", name=f"Layer {layer + 1} of 3")
    assert slider.input_value() == str(layer + 1)
    assert slider.get_attribute("aria-valuetext") == f"layer {layer + 1}"
    assert figure.locator(".hint").inner_text() == one.note


def test_every_word_in_every_layer_by_the_controls(opened):
    figure = opened(gates()).locator("figure")
    for chosen, one in enumerate(GATED):
        figure.get_by_role("combobox", name="Utterance").select_option(index=chosen)
        for layer, word in product(range(3), range(len(one.words))):
            figure.get_by_role("combobox", name="Word").select_option(index=word)
            figure.get_by_role("slider").fill(str(layer + 1))
            assert_shows(figure, chosen, layer, word)


def test_a_press_on_a_row_or_a_cell_chooses_it(opened):
    figure = opened(gates()).locator("figure")
    figure.locator("tbody th").nth(2).click()
    assert_shows(figure, 0, 0, 2)
    figure.locator("tbody tr").nth(3).locator("td").nth(5).click()
    assert_shows(figure, 0, 2, 3)
    figure.get_by_role("combobox", name="Utterance").select_option(index=1)
    assert_shows(figure, 1, 2, 0)


def test_by_keyboard_alone(opened):
    page = opened(gates())
    figure, press = page.locator("figure"), page.keyboard.press
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, 1)
    press("Tab")
    press("ArrowDown")
    assert_shows(figure, 1, 0, 1)
    press("Tab")
    press("ArrowRight")
    assert_shows(figure, 1, 1, 1)
    press("End")
    assert_shows(figure, 1, 2, 1)
    press("Home")
    assert_shows(figure, 1, 0, 1)


def test_what_lies_beyond_the_last_word_is_the_last(opened):
    assert_shows(opened(gates(word=9, layer=1)).locator("figure"), 0, 1, 3)


def test_without_a_start_there_is_no_line(opened):
    from mmer_lib.book.explorer.gates import Gates

    figure = opened(Gates(GATED, HALF)).locator("figure")
    assert figure.locator(".start").count() == 0
    assert figure.locator(".key > span").all_inner_texts() == ["mean of the half"]
