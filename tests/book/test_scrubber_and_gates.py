"""The attention scrubber and the highway's gates of the built book show the data of their pages."""

import json

import numpy as np
import pytest

from tests.book.browser import HTML, chromium, launch, open_offline

ATTENTION, HIGHWAY = "muse-attention.html", "muse-highway.html"
pytestmark = [
    pytest.mark.skipif(
        not ((HTML / ATTENTION).exists() and (HTML / HIGHWAY).exists()),
        reason="the book is not built: make book",
    ),
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]


@pytest.fixture
def opened():
    """A page of the book, its one explorer, and the data inside the page."""
    with launch() as browser:

        def show(name):
            page = open_offline(browser, name)
            figure = page.locator("figure.mmer-explorer")
            state = page.locator("script[type='application/json'][id^='mmer-']").inner_text()
            show.pages.append(page)
            return page, figure, json.loads(state)

        show.pages = []
        yield show
        for page in show.pages:
            assert (page.asked, page.errors) == ([], [])
            assert [text for kind, text in page.console if kind == "error"] == []
            page.context.close()


def numbers(figure, of, name):
    script = f"all => all.map(e => parseFloat(e.getAttribute('{name}')))"
    return np.array(figure.locator(of).evaluate_all(script))


def test_every_frame_of_every_head_shows_its_weights(opened):
    _, figure, state = opened(ATTENTION)
    data, says = state["data"], figure.locator("output")
    assert (state["tag"], len(data["layers"]), data["heads"]) == ("live", 1, ["mean", 1, 2, 3, 4])
    slider = figure.get_by_role("slider")
    for n, one in enumerate(data["utterances"]):
        figure.get_by_role("combobox").select_option(index=n)
        (maps,) = np.array(one["maps"])  # (1 + heads, 1 + T, W)
        np.testing.assert_allclose(maps[0], maps[1:].mean(0), atol=1e-3)
        for head, rows in enumerate(maps):
            figure.get_by_role("radio").nth(head).check()
            for frame in range(1 + head, len(rows), len(maps)):  # all frames, each in one head
                slider.fill(str(frame))
                weights, word = rows[frame], one["spoken"][frame - 1]
                lengths = numbers(figure, ".bar", "width")
                np.testing.assert_allclose(lengths / lengths.sum(), weights / weights.sum(),
                                           atol=1e-3)  # fmt: skip
                most, spoken = one["words"][int(weights.argmax())]["text"], one["words"][word]
                assert f"most attention to “{most}” ({weights.max():.2f})" in says.inner_text()
                inside = f"s, in “{spoken['text']}” (spoken" if word >= 0 else "s, in no word:"
                assert inside in says.inner_text()
        figure.get_by_role("checkbox", name="Dummy frame").check()
        lengths = numbers(figure, ".bar", "width")
        np.testing.assert_allclose(lengths / lengths.sum(), maps[-1][0] / maps[-1][0].sum(),
                                   atol=1e-3)  # fmt: skip
        assert says.inner_text().startswith("The dummy frame")


def test_a_word_is_heard(opened):
    page, figure, state = opened(ATTENTION)
    one = state["data"]["utterances"][0]
    frame = next(k for k, w in enumerate(one["spoken"], 1) if w == 1)
    figure.get_by_role("slider").fill(str(frame))
    button = figure.get_by_role("button")
    assert button.inner_text() == f"Play this word: “{one['words'][1]['text']}”"
    button.click()
    page.wait_for_function("() => !document.querySelector('figure audio').paused")
    page.wait_for_function("() => document.querySelector('figure audio').paused")
    assert figure.get_by_role("slider").input_value() == str(frame)
    duration = figure.locator("audio").evaluate("a => a.duration")
    assert duration == pytest.approx(one["seconds"], abs=1e-3)


def test_every_word_in_every_layer_shows_its_gates(opened):
    _, figure, state = opened(HIGHWAY)
    data = state["data"]
    assert (state["tag"], data["layers"], data["sizes"]) == ("live", 2, [150, 50])
    utterance = figure.get_by_role("combobox", name="Utterance")
    word = figure.get_by_role("combobox", name="Word", exact=True)
    by_word = {}
    for n, one in enumerate(data["utterances"]):
        utterance.select_option(index=n)
        mean, shares = np.array(one["mean"]), np.array(one["shares"])  # (L, 2, W), and bins
        cells = np.array(figure.locator("tbody td").all_inner_texts(), float)
        np.testing.assert_allclose(cells.reshape(-1, 4), mean.transpose(2, 0, 1).reshape(-1, 4),
                                   atol=5.1e-3)  # fmt: skip
        for w, text in enumerate(one["words"]):
            layer = (n + w) % 2
            word.select_option(index=w)
            figure.get_by_role("slider").fill(str(layer + 1))
            says = figure.locator("output").inner_text()
            assert says.startswith(f"“{text}” in layer {layer + 1}: the 150 gates of its sound")
            tall = numbers(figure, ".bar", "height").reshape(2, -1)
            np.testing.assert_allclose(tall / 96 * data["most"], shares[layer, :, w], atol=1e-3)
            same = by_word.setdefault(text, mean[:, :, w])  # a gate knows no sentence
            np.testing.assert_allclose(mean[:, :, w], same, atol=2e-4)
    assert len(by_word) < sum(len(one["words"]) for one in data["utterances"])


@pytest.mark.parametrize("name", [ATTENTION, HIGHWAY])
def test_the_page_is_small(name):
    assert (HTML / name).stat().st_size < 3e6
