"""What an explorer leaves in a page, read as text."""

import json
import re

import numpy as np
import pytest

from mmer_lib.book.explorer import Explorer, plain
from tests.book.explorer.made import TEXTS, dynamics, gates, scrubber, training_replay, triangle

CONTROLS = {
    triangle: {"chosen", "free", "corners"},
    dynamics: {"setting", "kind"},
    scrubber: {"utterance", "layer", "head", "frame"},
    gates: {"utterance", "layer", "word"},
    training_replay: {"training", "view", "epoch", "utterance"},
}
EACH = pytest.mark.parametrize("make", CONTROLS)
STATE = re.compile(r'<script type="application/json" id="([^"]+)-state">(.*?)</script>', re.DOTALL)


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@EACH
def test_the_page_holds_the_state_as_json(make):
    figure = make(caption="A caption.", label="A name")
    _, text = STATE.search(figure.html()).groups()
    state = json.loads(text, parse_constant=refuse)
    assert state == json.loads(json.dumps(figure.state()))
    assert state["data"] == figure.data and state["caption"] == "A caption."
    assert CONTROLS[make] | {"label", "tag", "provenance"} < set(state)


@EACH
def test_nothing_is_asked_of_the_network(make):
    page = re.sub(r"^\s*//.*", "", make().html(), flags=re.M)
    page = re.sub(r"data:(audio/wav|image/png);base64,[\w+/=]+", "", page)
    addresses = re.findall(r"\w*:?//[^\s\"'`)]+", page)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href)=|@import|\bimport[ ({]|fetch\(|url\(", make().html())


@EACH
def test_it_begins_with_a_sentence_for_those_without_javascript(make):
    page = make(label="Angles < lengths").html()
    assert page.startswith("<noscript><p>This figure needs JavaScript: Angles &lt; lengths</p>")


@EACH
def test_two_of_them_share_no_id(make):
    figure = make()
    one, two = (re.findall(r'\bid="([^"]+)"', figure.html()) for _ in range(2))
    assert len(one) == len(set(one)) == 2 and not set(one) & set(two)


def test_no_text_ends_the_script_early():
    page = triangle(caption="<!-- <script> </script>").html()
    assert "</script>" in TEXTS[0]
    _, text = STATE.search(page).groups()
    assert "<" not in text
    assert json.loads(text)["data"]["labels"] == TEXTS
    assert page.count("</script>") == 2


@EACH
def test_jupyterlab_gets_the_widget_and_a_page_the_html(make):
    figure = make()
    data, _ = figure._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id
    assert data["text/html"].startswith("<noscript>")
    assert {"_esm", "_css", "data", "label"} < set(figure.keys)


def test_plain_makes_json_of_arrays_and_rounds():
    value = {"a": np.float32(1 / 3), "b": (np.arange(2), np.array([[1e-9, 2.0]])), "c": None}
    assert plain(value) == {"a": 0.333333, "b": [[0, 1], [[1e-9, 2.0]]], "c": None}
    assert plain({1: np.bool_(True), "n": np.int64(2)}) == {"1": True, "n": 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_what_is_not_finite_is_refused_with_its_place(bad):
    with pytest.raises(ValueError, match=r"data\.curves\[1\]\[0\] is -?(nan|inf)"):
        plain({"curves": [[1.0], [bad]]})


def test_a_tag_is_one_of_the_books():
    assert triangle(tag="live").tag == "live"
    with pytest.raises(Exception, match="tag"):
        triangle(tag="invented")


def test_explorers_have_scripts_of_their_own():
    assert issubclass(type(triangle()), Explorer)
    assert triangle()._esm != dynamics()._esm and triangle()._css == dynamics()._css
