"""The switches of the built book: every combination that they reach shows what was recorded."""

import re
from itertools import product

import pytest

from mmer_lib.ablation import toggles
from mmer_lib.ablation.muse import FACTORS, configuration
from tests.book.browser import HTML, ROOT, chromium, launch, open_offline

PAGE = "muse-toggles.html"
FILE = ROOT / "data" / "results" / "explorer" / "muse-toggles.json"
pytestmark = [
    pytest.mark.skipif(not (HTML / PAGE).exists(), reason="the book is not built: make book"),
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]


def test_every_combination_shows_what_was_recorded():
    data = toggles(FILE).data
    every = list(product(*FACTORS.values()))
    assert all((at >= 0) == (configuration(v) is not None)
               for v, at in zip(every, data["at"], strict=True))  # fmt: skip
    with launch() as browser:
        page = open_offline(browser, PAGE)
        figure = page.locator("figure.mmer-explorer")
        says, chosen = figure.locator("output"), figure.get_by_label("Utterance")
        names = ("cross-modal attention", "words", "phonemes", "deep fusion", "BERT")
        boxes = {
            name: figure.locator("label", has_text=re.compile(f"^{name}")).locator("input").first
            for name in names
        }
        met = set()
        for joined, cross, deep, bert, (words, phonemes) in product(
            FACTORS["joined by"], *[(True, False)] * 3, ((True, True), (True, False), (False, True))
        ):
            values = (words, phonemes, joined, cross, deep, bert)
            for box in boxes.values():
                box.check()  # the whole model: everything is on, and can be
            figure.get_by_role("radio", name=joined, exact=True).check()
            wanted = dict(zip(FACTORS, values, strict=True))
            for name in reversed(names):
                if not wanted[name] and boxes[name].is_enabled():
                    boxes[name].uncheck()
            if configuration(values) is None:
                assert boxes["cross-modal attention"].is_disabled()
                continue
            outcome = data["outcomes"][data["at"][every.index(values)]]
            assert says.inner_text() == outcome["says"]
            at = len(met) % len(data["utterances"])
            chosen.select_option(index=at)
            shown = [float(x) for x in figure.locator(".bar").evaluate_all(
                "bars => bars.map(b => b.getAttribute('width'))")]  # fmt: skip
            share = [x / sum(shown) for x in shown]
            assert share == pytest.approx(outcome["seen"][at]["values"][0], abs=2e-3)
            met.add(data["at"][every.index(values)])
        assert met == set(range(len(data["outcomes"])))
        assert (page.asked, page.errors) == ([], [])
        page.context.close()
