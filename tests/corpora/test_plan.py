"""What the recipe of the demo corpus plants, before there is any sound."""

import copy
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer_lib.corpora.demo import demo
from mmer_lib.data import EMOTIONS, MODALITIES, DataError

RECIPE = demo.read_recipe()
FULL = demo.plan(RECIPE)


def by_cell(items):
    """(speaker, emotion) -> items."""
    cells = defaultdict(list)
    for item in items:
        cells[item["speaker"], item["emotion"]].append(item)
    return cells


def vocabulary(emotion):
    """All words that show an emotion, at any strength."""
    slots = RECIPE["text"]["words"][emotion].values()
    return {w for strength in slots for words in strength.values() for w in words}


def changed(**fields):
    return {**copy.deepcopy(RECIPE), **fields}


def test_two_thousand_utterances_in_five_sessions_of_two_speakers():
    assert len(FULL) == 2000
    home = {item["speaker"]: item["session"] for item in FULL}
    assert {(i["speaker"], i["session"]) for i in FULL} == set(home.items())
    assert sorted(Counter(home.values()).values()) == [2, 2, 2, 2, 2]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    weights=st.lists(st.integers(1, 9), min_size=12, max_size=12),
)
def test_shares_are_kept_within_one_utterance(n, seed, weights):
    shares = {k: w / sum(weights) for k, w in zip(RECIPE["patterns"], weights, strict=True)}
    recipe = changed(per_speaker_and_emotion=n, seed=seed, patterns=shares)
    recipe["speakers"] = recipe["speakers"][:2]
    for items in by_cell(demo.plan(recipe)).values():
        assert len(items) == n
        for field, wanted in (("pattern", shares), ("strength", recipe["strengths"])):
            counts = Counter(item[field] for item in items)
            assert all(abs(counts[k] - n * share) < 1 + 1e-9 for k, share in wanted.items())


def test_every_modality_shows_what_its_role_says():
    for item in FULL:
        assert item["pattern"] in RECIPE["patterns"]
        for modality, role in zip(MODALITIES, item["pattern"], strict=True):
            shown = item["shows"][modality]
            if role == "c":
                assert shown == item["emotion"]
            elif role == "n":
                assert shown == "neutral"
            else:
                assert shown in EMOTIONS and shown not in (item["emotion"], "neutral")


def test_sentiment_is_a_tenth_in_range_and_near_its_centre():
    for item in FULL:
        y = item["sentiment"]
        assert -3 <= y <= 3 and round(10 * y) == pytest.approx(10 * y)
        spread = y - RECIPE["sentiment"][item["emotion"]][item["strength"]]
        assert any(spread == pytest.approx(k) for k in RECIPE["sentiment_noise"])


def test_carriers_are_exactly_the_words_of_the_shown_emotion_at_its_strength():
    for item in FULL:
        shown = item["shows"]["text"]
        own = vocabulary(shown) if shown != "neutral" else set()
        found = [i for i, word in enumerate(item["words"]) if word in own]
        assert item["carriers"] == found, item
        assert bool(found) == (shown != "neutral")
        slots = RECIPE["text"]["words"][shown][item["strength"]]
        words = {w for options in slots.values() for w in options}
        assert {item["words"][i] for i in item["carriers"]} <= words


def test_ids_are_unique_and_name_session_and_speaker():
    assert len({item["id"] for item in FULL}) == len(FULL)
    assert all(i["session"] in i["id"] and i["speaker"] in i["id"] for i in FULL)
    assert len({item["seed"] for item in FULL}) > 1990


def test_the_same_seed_gives_the_same_plan_and_another_seed_another():
    before = copy.deepcopy(RECIPE)
    assert demo.plan(RECIPE) == FULL
    assert before == RECIPE
    other = demo.plan(changed(seed=RECIPE["seed"] + 1))
    assert sum(a["words"] == b["words"] for a, b in zip(FULL, other, strict=True)) < 100


def test_a_test_session_holds_sentences_never_trained_on():
    for session in {item["session"] for item in FULL}:
        known = {tuple(i["words"]) for i in FULL if i["session"] != session}
        test = [tuple(i["words"]) for i in FULL if i["session"] == session]
        assert sum(words in known for words in test) / len(test) < 0.02


# ------------------------------------------------------------------------- reading recipes


@pytest.mark.parametrize("field", ["patterns", "strengths", "sentiment_noise"])
def test_shares_that_do_not_sum_to_one_are_refused_with_the_field(monkeypatch, field):
    monkeypatch.setattr(demo, "generate", lambda *a, **k: pytest.fail("made something"))
    recipe = copy.deepcopy(RECIPE)
    recipe[field][next(iter(recipe[field]))] += 0.25
    with pytest.raises(DataError, match=rf"'{field}' sums to 1\.25"):
        demo.load(recipe, progress=False)
