"""The switches of the built book: every control is operated, every combination that they reach is
visited, and what is then shown is what was recorded; what they do not reach is off and says why."""

import json
import re
from functools import cache

import numpy as np
import pytest

from mmer_lib.book.switches import KINDS, combinations, row_of, whole
from tests.book.browser import HTML, ROOT, chromium, launch, open_offline

PAGES = {
    "muse-toggles": ("muse-toggles.html", "MUSE, part by part"),
    "mimic-toggles": ("mimic-tables.html", "MIMIC, part by part"),
}
pytestmark = [
    pytest.mark.skipif(
        not all((HTML / page).exists() for page, _ in PAGES.values()),
        reason="the book is not built: make book",
    ),
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]

READ = """figure => {
  const all = (what, tell) => [...figure.querySelectorAll(what)].map(tell);
  const text = (e) => e.textContent, number = (e, name) => Number(e.getAttribute(name));
  const legend = (e) => text(e.closest("fieldset").querySelector("legend"));
  return {
    says: text(figure.querySelector("output")),
    controls: all(".controls input", (i) => ({
      name: i.type === "radio" ? [legend(i), text(i.parentElement)] : [text(i.parentElement), ""],
      on: i.checked, off: i.disabled,
      why: text(document.getElementById(i.getAttribute("aria-describedby")) ?? new Text("")),
    })),
    whys: all(".reasons li span", text),
    runs: all(".run", (e) => number(e, "cx")),
    confusion: all(".confusion tbody td", text),
    bars: all(".trough, .bar", (e) =>
      [e.getAttribute("class"), number(e, "x"), number(e, "width")]),
    told: figure.querySelector(".columns svg").getAttribute("aria-label"),
    cells: all("rect.cell", (e) => Number(e.style.opacity)),
  };
}"""
FOCUSED = """figure => {
  const e = document.activeElement;
  if (!figure.contains(e)) return ["", ""];
  if (e.localName === "select") return ["select", "Utterance"];
  const name = e.type === "radio" ? e.closest("fieldset").querySelector("legend") : e.parentElement;
  return [e.type, name.textContent];
}"""


class Recorded:
    """What was recorded of a model, and where its switches may go."""

    def __init__(self, table):
        self.kind = KINDS[table]
        self.factors = self.kind.FACTORS
        self.made = json.loads((ROOT / f"data/results/explorer/{table}.json").read_text())
        self.rows = {row["label"]: row for row in self.made["rows"]}
        self.scales = self.kind.scales(self.made["classes"])
        self.label = cache(lambda values: row_of(self.kind, values))
        self.moves = cache(self._moves)
        self.dots = []

    def moved(self, values, name, choice):
        return tuple(choice if n == name else v for n, v in zip(self.factors, values, strict=True))

    def why(self, values, name, choice):
        """Why a factor is not to be moved to a choice; "" where it can."""
        if name in self.kind.idle(values):
            return self.kind.idle(values)[name]
        there = self.moved(values, name, choice)
        if self.label(there) in self.rows:
            return ""
        return self.kind.why_not(there) or self.kind.unrecorded(there) or "not recorded"

    def _moves(self, values):
        every = [(n, c, self.moved(values, n, c)) for n, cs in self.factors.items() for c in cs]
        return [move for move in every if move[2] != values and not self.why(values, *move[:2])]

    def tour(self):
        """Moves that lead through every combination that can be reached: at each stop, the way to
        the nearest that was not yet met."""
        here = whole(self.kind)
        met = {here}
        while True:
            ways, later = {here: []}, [here]
            for here in later:  # grows
                if here not in met:
                    break
                for move in self.moves(here):
                    if move[2] not in ways:
                        ways[move[2]] = [*ways[here], move]
                        later.append(move[2])
            else:
                return
            met.add(here)
            yield from ways[here]

    def assert_shown(self, page, values, utterance):
        """All that a page shows (`READ`) is what was recorded of a combination."""
        row = self.rows[self.label(values)]
        self.assert_controls(page, values)
        self.assert_scores(page, row)
        counts = np.array(row["confusion"])
        sums = counts.sum(1, keepdims=True)
        percents = [np.nan if c == "\u2013" else int(c.rstrip("%")) for c in page["confusion"]]
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(percents, (100 * counts / sums).ravel(), atol=0.51)
        self.assert_reading(page, row["seen"][utterance], self.made["utterances"][utterance])

    def assert_controls(self, page, values):
        found = {tuple(c["name"]): (c["on"], c["off"], c["why"]) for c in page["controls"]}
        expected = {}
        for (name, choices), value in zip(self.factors.items(), values, strict=True):
            whys = {choice: self.why(values, name, choice) for choice in choices}
            if set(choices) == {True, False}:
                expected[name, ""] = (value, bool(whys[not value]), whys[not value])
            else:
                for choice, why in whys.items():
                    expected[name, choice] = (choice == value, bool(why), why)
        assert found == expected
        assert len(page["whys"]) == len(set(page["whys"]))
        assert set(page["whys"]) == {why for _, _, why in expected.values()} - {""}

    def assert_scores(self, page, row):
        key, name = self.kind.SCORE
        scores, base = ({(run["fold"], run["seed"]): run[key] for run in r["runs"]}
                        for r in (row, self.rows[self.kind.TABLE.reference]))  # fmt: skip
        mean, spread = np.mean([*scores.values()]), np.std([*scores.values()], ddof=1)
        told = f"{name.split(',')[0]} {mean:.3f} \u00b1 {spread:.3f} over {len(scores)} runs."
        if row is not self.rows[self.kind.TABLE.reference]:
            gap = np.mean([scores[run] - base[run] for run in scores])
            told += f" Against all parts, run by run: {gap:+.3f} on average".replace("-", "\u2212")
        assert page["says"].startswith(told)
        self.dots += zip(scores.values(), page["runs"], strict=True)

    def assert_reading(self, page, seen, utterance):
        one = self.kind.reading(seen)
        drawn, numbers = [], []
        bars = iter([*page["bars"], None])
        bar = next(bars)
        for k, (scale, values) in enumerate(zip(self.scales, one.values, strict=True)):
            numbers += values
            if k == 0 and len(values) == 1:
                numbers.append(utterance["truth"])
            for _ in values:
                kind, left, width = bar
                assert kind == "trough"
                bar, zero = next(bars), left - scale.low / (scale.high - scale.low) * width
                if bar is None or bar[0] != "bar":
                    drawn.append(np.nan)
                    continue
                sign = 1 if bar[1] + bar[2] / 2 > zero else -1
                drawn.append(sign * bar[2] / width * (scale.high - scale.low))
                bar = next(bars)
        assert bar is None
        lows, highs = ([getattr(s, end) for s in self.scales for _ in s.names]
                       for end in ("low", "high"))  # fmt: skip
        expected = np.array([v for values in one.values for v in values], float)
        np.testing.assert_allclose(drawn, np.clip(expected, lows, highs), atol=1e-3)
        told = re.findall(r"none|[\u2212]?\d+\.\d{3}", page["told"])
        told = [np.nan if t == "none" else float(t.replace("\u2212", "-")) for t in told]
        np.testing.assert_allclose(told, np.array(numbers, float), atol=6e-4)
        cells = [] if one.attention is None else one.attention / np.max(one.attention)
        gates = [] if one.gates is None else 0.6 * np.array(one.gates)
        np.testing.assert_allclose(page["cells"], [*np.ravel(cells), *np.ravel(gates)], atol=6e-4)

    def assert_on_one_axis(self):
        """All dots of all runs lie on one and the same scale."""
        scores, places = np.array(self.dots).T
        line = np.polyfit(scores, places, 1)
        assert line[0] > 0 and len(set(scores)) > 2
        np.testing.assert_allclose(np.polyval(line, scores), places, atol=0.05)


@pytest.fixture(scope="module")
def browser():
    with launch() as running:
        yield running


@pytest.fixture(params=PAGES)
def recorded(request):
    return Recorded(request.param)


@pytest.fixture
def page(browser, recorded):
    """Opened offline; nothing may go wrong meanwhile."""
    opened = open_offline(browser, PAGES[recorded.kind.TABLE.name][0])
    yield opened
    assert (opened.asked, opened.errors) == ([], [])
    opened.context.close()


@pytest.fixture
def figure(page, recorded):
    return page.get_by_role("figure", name=PAGES[recorded.kind.TABLE.name][1], exact=True)


def test_every_combination_shows_what_was_recorded(figure, recorded):
    controls = {}
    for name, choices in recorded.factors.items():
        group = figure.get_by_role("group", name=name, exact=True)
        for choice in choices:
            control = figure.get_by_role("checkbox", name=name, exact=True)
            if set(choices) != {True, False}:
                control = group.get_by_role("radio", name=choice, exact=True)
            controls[name, choice] = control.element_handle()
    utterance = figure.get_by_label("Utterance").element_handle()
    values, met = whole(recorded.kind), set()
    for k in range(len(recorded.made["utterances"])):
        utterance.select_option(index=k)
        recorded.assert_shown(figure.evaluate(READ), values, k)
    met = {values}
    for n, (name, choice, values) in enumerate(recorded.tour()):
        controls[name, choice].set_checked(choice is not False)
        k = n % len(recorded.made["utterances"])
        utterance.select_option(index=k)
        recorded.assert_shown(figure.evaluate(READ), values, k)
        met.add(values)
    assert {recorded.label(values) for values in met} == set(recorded.rows)
    assert len(met) < len(combinations(recorded.kind))
    recorded.assert_on_one_axis()


def test_by_keyboard_alone(page, figure, recorded):
    values, said, operated = whole(recorded.kind), 0, []
    figure.evaluate("figure => { figure.tabIndex = -1; figure.focus(); }")
    page.keyboard.press("Tab")
    while (at := figure.evaluate(FOCUSED))[0]:
        kind, name = at
        operated.append(name)
        if kind == "checkbox":
            for on in (False, True):
                page.keyboard.press("Space")
                values = recorded.moved(values, name, on)
                recorded.assert_shown(figure.evaluate(READ), values, said)
        elif kind == "radio":
            choices = recorded.factors[name]
            place = list(recorded.factors).index(name)
            while True:  # round to the first, past those that are off
                page.keyboard.press("ArrowRight")
                at = choices.index(values[place])
                later = [*choices[at + 1 :], *choices[: at + 1]]
                choice = next(c for c in later if not recorded.why(values, name, c))
                values = recorded.moved(values, name, choice)
                recorded.assert_shown(figure.evaluate(READ), values, said)
                if choice == choices[0]:
                    break
        else:
            for said in range(1, len(recorded.made["utterances"])):
                page.keyboard.press("ArrowDown")
                recorded.assert_shown(figure.evaluate(READ), values, said)
        page.keyboard.press("Tab")
    assert sorted(operated) == sorted([*recorded.factors, "Utterance"])
