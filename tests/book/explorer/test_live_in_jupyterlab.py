"""MUSE's switches as a live widget: the model in the kernel loses its parts, and is trained."""

import json
import re

import pytest

from mmer_lib.experiments.catalogue import MUSE
from tests.book.browser import chromium, launch
from tests.book.explorer.jupyterlab import run_all
from tests.tiny import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("ignore:no part-of-speech tagger"),
]

TRAINS = """
import time
print("epoch   1 of at most 2", flush=True)
time.sleep(2)
print({folder!r})
"""
MAKES = """
import json, sys
from mmer_lib.corpora import demo
from mmer_lib.book.explorer import live
from mmer_lib.training.runs import open_run
live.PROGRAM = [sys.executable, "-u", "-c", {trains!r}]
recipe = {{**demo.read_recipe(), "per_speaker_and_emotion": 4}}
corpus = demo.load(recipe, progress=False)
figure = live.LiveToggles(open_run({folder!r}), corpus, corpus.splits(0).test[:3], epochs=2)
"""
TELLS = """
scores = [outcome["scores"][0] for outcome in figure.data["outcomes"]]
print("kernel:" + json.dumps([figure.setting, figure.utterance, scores, figure.status]))
"""


def test_switches_call_the_kernel(lab, small_corpus, keep_cache, tmp_path):
    run = tiny("muse-multigranular", small_corpus, tmp_path / "runs", MUSE)
    folder = str(run.folder)
    makes = MAKES.format(folder=folder, trains=TRAINS.format(folder=folder))
    with launch() as browser:
        address, log = lab([makes, "figure", TELLS], MMER_CACHE=str(keep_cache))
        page, asked, errors = run_all(browser, address, log)
        told = page.locator(".jp-OutputArea-output", has_text="kernel:")
        told.wait_for(timeout=120_000)
        figure = page.locator("figure.mmer-explorer")
        says = figure.locator("output")

        def kernel():
            return json.loads(told.inner_text().removeprefix("kernel:"))

        def score():
            return float(re.match(r"WA (\S+) over one run", says.inner_text())[1])

        (whole,) = kernel()[2]
        assert score() == pytest.approx(whole, abs=6e-4)
        assert figure.locator(".tag").inner_text() == "live"

        figure.get_by_role("checkbox", name="phonemes").focus()
        page.keyboard.press("Space")
        says.get_by_text("Against all parts").wait_for()
        figure.get_by_label("Utterance").select_option(index=2)
        figure.get_by_role("button", name="Train this combination").click()
        figure.get_by_role("progressbar").wait_for()
        assert figure.get_by_role("button", name="Cancel").is_enabled()
        figure.get_by_text("Trained anew").wait_for(timeout=60_000)
        assert score() == pytest.approx(whole, abs=6e-4)  # what "was trained" is the whole model

        page.locator(".jp-CodeCell").last.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-OutputArea-output')]
                .some(e => e.textContent.startsWith('kernel:') && e.textContent.includes('anew'))"""
        )
        setting, utterance, scores, status = kernel()
        assert (setting["phonemes"], setting["words"], utterance) == (False, True, 2)
        assert status.startswith("Trained anew") and scores == [whole, whole]
        assert (asked, errors) == ([], [])
