"""Sound, times and faces of the demo corpus."""

import copy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmer_lib.corpora.demo import demo
from mmer_lib.data import EMOTIONS, DataError
from mmer_lib.store import load_arrays


def tiny(speakers=2, **fields):
    """The real recipe with 4 utterances a speaker."""
    recipe = {**demo.read_recipe(), "per_speaker_and_emotion": 1, **fields}
    recipe["speakers"] = recipe["speakers"][:speakers]
    return recipe


def rms(wave):
    return float(np.sqrt(np.mean(np.square(wave))))


def made(own_cache):
    return sorted(p.name for p in own_cache.rglob("*") if p.is_file())


# ---------------------------------------------------------------------------- the utterances


def test_the_corpus_follows_its_plan(small_corpus, small_recipe):
    items = demo.plan(small_recipe)
    assert small_corpus.synthetic and len(small_corpus.utterances) == len(items) == 160
    for u, item in zip(small_corpus.utterances, items, strict=True):
        assert (u.id, u.speaker, u.session) == (item["id"], item["speaker"], item["session"])
        assert (u.emotion, u.sentiment) == (item["emotion"], item["sentiment"])
        assert u.text.split() == [w.text for w in u.words] == item["words"]
        assert u.planted.shows == item["shows"] and u.planted.strength == item["strength"]
        assert u.planted.carriers == tuple(item["carriers"])
        letters = {"carries": "c", "neutral": "n", "contradicts": "x"}
        assert "".join(letters[r] for r in u.planted.roles.values()) == item["pattern"]


def test_waveforms_are_float32_within_one_at_16_khz(small_corpus):
    for u in small_corpus.utterances:
        wave = u.waveform()
        assert u.rate == 16_000 and wave.dtype == np.float32 and wave.ndim == 1
        assert 0.5 < len(wave) / u.rate < 10
        assert np.isfinite(wave).all() and 0.01 < np.abs(wave).max() <= 1
        assert np.mean(np.abs(wave) >= 0.999) < 0.01
        np.testing.assert_array_equal(wave, u.waveform())


def test_words_are_spoken_one_after_the_other_inside_the_waveform(small_corpus):
    for u in small_corpus.utterances:
        times = np.array([w[1:] for w in u.words])
        assert (times[:, 0] < times[:, 1]).all()
        assert (times[:-1, 1] <= times[1:, 0] + 1e-6).all()
        assert times[0, 0] > 0.03 and times[-1, 1] <= len(u.waveform()) / u.rate


def test_every_word_is_heard_where_its_time_says(small_corpus):
    for u in small_corpus.utterances:
        wave = u.waveform()
        silence = rms(wave[: int(u.words[0].start * u.rate)])
        for word in u.words:
            span = wave[int(word.start * u.rate) : int(word.end * u.rate)]
            assert rms(span) > 2.5 * silence, (u.id, word)


def test_phonemes_lie_inside_the_waveform_in_order(small_corpus):
    for u in small_corpus.utterances:
        phonemes = u.planted.phonemes
        times = np.array([p[1:] for p in phonemes])
        assert (times[:, 0] <= times[:, 1]).all() and (np.diff(times[:, 0]) >= 0).all()
        assert times.min() >= 0 and times.max() <= len(u.waveform()) / u.rate
        assert all(p.text for p in phonemes)
        for word in u.words:
            inside = [p for p in phonemes if word.start - 0.02 <= p.start < word.end]
            assert inside, (u.id, word)


def test_tones_of_voice_differ_in_loudness_and_speed(small_corpus):
    levels, seconds = ({e: [] for e in EMOTIONS} for _ in range(2))
    for u in small_corpus.utterances:
        tone = u.planted.shows["audio"]
        levels[tone].append(rms(u.waveform()))
        seconds[tone].append((u.words[-1].end - u.words[0].start) / len(u.planted.phonemes))
    loud = {e: np.mean(v) for e, v in levels.items()}
    assert loud["angry"] > loud["happy"] > loud["sad"] and loud["neutral"] > loud["sad"]
    assert np.mean(seconds["angry"]) < np.mean(seconds["sad"])


# ------------------------------------------------------------------------------------- faces


def test_face_frames_have_times_that_increase_inside_the_utterance(small_corpus):
    for u in small_corpus.utterances:
        assert u.vision.shape == (len(u.vision_times), len(small_corpus.vision_names))
        assert (np.diff(u.vision_times) > 0).all()
        assert 0 <= u.vision_times[0] and u.vision_times[-1] <= len(u.waveform()) / u.rate
        assert np.isfinite(u.vision).all() and u.vision.min() >= 0 and u.vision.max() <= 5
        np.testing.assert_allclose(30 * u.vision_times, np.round(30 * u.vision_times), atol=1e-3)


def test_about_the_stated_share_of_frames_is_dropped_in_runs(small_corpus, small_recipe):
    lost = there = runs = 0
    for u in small_corpus.utterances:
        gaps = np.diff(np.round(30 * u.vision_times)).astype(int)
        lost, there, runs = lost + (gaps - 1).sum(), there + len(gaps), runs + (gaps > 1).sum()
    stated = small_recipe["face"]["dropped"]
    assert 0.6 * stated < lost / (lost + there) < 1.5 * stated
    assert lost / runs > 2


def test_planted_units_rise_over_the_resting_face_and_others_do_not(small_corpus, small_recipe):
    names = small_corpus.vision_names
    late = [
        u.vision[u.vision_times > 0.7 * u.vision_times[-1]].mean(0) for u in small_corpus.utterances
    ]
    speakers = np.array([u.speaker for u in small_corpus.utterances])
    shown = np.array([u.planted.shows["vision"] for u in small_corpus.utterances])
    late = np.array(late)
    rise = np.empty_like(late)
    for s in set(speakers):
        rest = late[(speakers == s) & (shown == "neutral")].mean(0)
        rise[speakers == s] = late[speakers == s] - rest
    for emotion, peaks in small_recipe["face"]["peaks"].items():
        mean = dict(zip(names, rise[shown == emotion].mean(0), strict=True))
        for unit, peak in peaks.items():
            assert mean[unit] > 0.5 * peak, (emotion, unit)
        for unit in set(names) - set(peaks) - {"AU25", "AU26", "AU45"}:  # lips and blinks
            assert abs(mean[unit]) < 0.3, (emotion, unit)


# ------------------------------------------------------------------------------ making, keeping


def test_the_same_recipe_gives_the_same_bits_in_two_caches(tmp_path, monkeypatch):
    corpora = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        monkeypatch.setenv("MMER_CACHE", str(tmp_path / name))
        corpora.append(demo.load(tiny(1, seed=seed), progress=False))
    first, second, other = corpora
    assert first.extras["path"] != second.extras["path"]
    assert first.key == second.key != other.key
    assert first.extras["sha256"] == second.extras["sha256"] != other.extras["sha256"]
    for u, v in zip(first.utterances, second.utterances, strict=True):
        assert u.waveform().tobytes() == v.waveform().tobytes()
        assert u.vision.tobytes() == v.vision.tobytes()
        assert u.words == v.words and u.planted == v.planted
    arrays, metadata = load_arrays(first.extras["path"])
    assert demo.content_hash(arrays) == metadata["sha256"]


def test_an_unknown_voice_is_refused_by_name_and_leaves_no_file(own_cache):
    recipe = tiny()
    recipe["speakers"][1]["voice"] = "nobody+f9"
    with pytest.raises(DataError, match=r"nobody\+f9"):
        demo.load(recipe, progress=False)
    assert made(own_cache) == []


def flipped(content):
    return content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]


@pytest.mark.parametrize("change", [lambda c: c[:-1], flipped])
def test_a_damaged_cache_file_is_named_with_the_remedy(
    small_corpus, small_recipe, own_cache, change
):
    source = Path(small_corpus.extras["path"])
    target = own_cache / "corpora" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(change(source.read_bytes()))
    with pytest.raises(DataError, match=f"{target.name}.*delete this file"):
        demo.load(small_recipe, progress=False)


def test_the_order_of_shares_in_a_recipe_is_never_served_from_another_order(own_cache):
    recipe = tiny(1)
    other = copy.deepcopy(recipe)
    other["patterns"] = dict(reversed(recipe["patterns"].items()))
    for r in (recipe, other):
        corpus = demo.load(r, progress=False)
        assert [u.text.split() for u in corpus.utterances] == [i["words"] for i in demo.plan(r)]


def test_breathy_voices_make_the_same_noise_in_every_process():
    """espeak-ng seeds its noise by the clock, in seconds, unless it is told otherwise."""
    code = (
        "import hashlib; from mmer_lib.corpora.demo.espeak import Espeak; "
        "e = Espeak(); h = hashlib.sha256(); "
        "[h.update(e.say(['hello', 'you'], v, 7)[0].tobytes()) for v in "
        "('en-us+f1', 'en-gb-x-rp+f2', 'en-us+f3', 'en-029+f4', 'en-us+m2')]; "
        "print(h.hexdigest())"
    )
    made = []
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        made.append(run.stdout)
        assert run.returncode == 0, run.stderr
        time.sleep(1.1)
    assert made[0] == made[1] != ""
