"""The replay in the built book: every epoch of every recorded training, as it was recorded."""

import numpy as np
import pytest

from mmer_lib.book.explorer.training_replay import COMPARED, VIEWS
from mmer_lib.book.replay import replay
from tests.book.browser import HTML, ROOT, chromium, launch, open_offline
from tests.book.explorer.made import as_shown

PAGE = "mimic-similarity.html"
FILE = ROOT / "data" / "results" / "explorer" / "mimic-replay.json"
pytestmark = [
    pytest.mark.skipif(not (HTML / PAGE).exists(), reason="the book is not built: make book"),
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]


EVERY = """(slider, epochs) => epochs.map(epoch => {
  slider.value = epoch;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  const figure = slider.closest('figure.mmer-explorer');
  const marks = [...figure.querySelectorAll('.plane .place')];
  return [figure.querySelector('output').innerText,
    marks.map(m => m.getAttribute('transform').match(/[-.0-9]+/g).slice(0, 2).map(Number))];
})"""
"""Moves the slider to some epochs, and reads what is then said and drawn."""


def assert_shows(seen, training, view, epoch):
    text, marks = seen[0], np.array(seen[1])
    assert f"development session {as_shown(training['mae'][epoch], 3)}" in text
    for pair, cosines in training["similarity"][COMPARED[view]].items():
        cosine = as_shown(cosines[training["whole"][epoch]], 2)
        assert f"{pair.replace('-', chr(0x2013))} {cosine}" in text
    for part, gate in training["gates"].items():
        assert f"{part} {as_shown(gate['mean'][epoch], 2)} (" in text
    v = training["views"][view]
    assert f"The plane holds {as_shown(100 * v['share'][epoch], 0)}%" in text
    wanted = np.reshape(v["points"][epoch], (-1, 2))
    wanted = np.roll(wanted, -len(v["marks"]), axis=0)  # the followed one is drawn last
    for axis, up in ((0, 1), (1, -1)):
        slope, start = np.polyfit(wanted[:, axis], marks[:, axis], 1)
        line = start + slope * wanted[:, axis]
        assert slope * up > 0 and np.abs(marks[:, axis] - line).max() < 0.11


@pytest.mark.parametrize("width", [1280, 390])
def test_every_epoch_shows_what_was_recorded(width):
    with launch() as browser:
        page = open_offline(browser, PAGE, width)
        figure = page.get_by_role("figure", name="Two trainings of MIMIC, replayed")
        slider = figure.get_by_role("slider")
        for training in replay(FILE).data["trainings"]:
            figure.get_by_role("radio", name=training["name"], exact=True).check()
            epochs = list(range(len(training["mae"])))
            for view, shown in VIEWS.items():
                figure.get_by_role("radio", name=shown, exact=True).check()
                for epoch, seen in zip(epochs, slider.evaluate(EVERY, epochs), strict=True):
                    assert_shows(seen, training, view, epoch)
        wide = figure.locator(".columns > div").evaluate_all(
            "halves => halves.map(e => e.getBoundingClientRect().top)"
        )
        assert (wide[0] == wide[1]) == (width == 1280)  # side by side, or one above the other
        slider.fill("0")
        figure.get_by_role("button", name="Play").click()
        page.wait_for_function(
            "figure => figure.querySelector('input[type=range]').value === '2'",
            arg=figure.element_handle(),
        )
        figure.get_by_role("button", name="Pause").click()
        assert (page.asked, page.errors) == ([], [])
        page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_stays_in_sight_beside_the_picture(width):
    with launch() as browser:
        page = open_offline(browser, PAGE, width)
        figure = page.get_by_role("figure", name="Two trainings of MIMIC, replayed")
        figure.locator(".plane").evaluate("e => e.scrollIntoView({ block: 'center' })")
        box = figure.get_by_role("slider").bounding_box()
        assert 0 < box["y"] and box["y"] + box["height"] <= 900
        page.context.close()
