"""The demo corpus: synthetic speech, text and faces whose emotion is planted, so that every
attention map, gate and decoupling can be checked against a known truth.

The recipe (`data/demo/recipe.yaml`) decides everything. Text is generated, espeak-ng reads it
aloud and reports when it speaks each word and phoneme, faces are action-unit tracks. For each
utterance the recipe plants which of text, voice and face carry the emotion, which stay neutral
and which contradict it; `mmer_lib.corpora.observer` derives from the same recipe the best score
that anyone could reach who sees only some of the modalities.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mmer_lib.cache import cache_dir, digest, load_ragged, save_ragged
from mmer_lib.corpora import EMOTIONS, MODALITIES, Corpus, DataError, Utterance, Word
from mmer_lib.corpora.espeak import Espeak
from mmer_lib.corpora.faces import draw_face

RATE = 16_000
ROLES = {"c": "carries", "n": "neutral", "x": "contradicts"}
_FORMAT = 2  # raise when the code below changes what a recipe gives


@dataclass(frozen=True)
class Planted:
    """What the recipe planted in one utterance.

    Attributes:
        roles: for each of `MODALITIES` "carries", "neutral" or "contradicts".
        shows: for each of `MODALITIES` the emotion that it shows.
        strength: 1 weak, 2 medium, 3 strong; the same in every modality.
        carriers: positions in `Utterance.words` of the words that show the text's emotion;
            empty where the text shows none.
        topic: what the sentence is about.
        phonemes: what espeak-ng spoke, in its own mnemonics, with start and end in seconds.
    """

    roles: dict[str, str]
    shows: dict[str, str]
    strength: int
    carriers: tuple[int, ...]
    topic: str
    phonemes: tuple[Word, ...]


# ----------------------------------------------------------------------------- the recipe


def _data_file(name: str) -> Path:
    """A file of `data/demo`: beside the code in an installed package, else in the checkout."""
    packaged = Path(__file__).with_name(f"demo_{name}")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "data" / "demo" / name


def read_recipe(path: str | Path | None = None) -> dict:
    """The recipe as a dictionary.

    Raises:
        DataError: probabilities that do not sum to one.
    """
    import yaml

    path = Path(path) if path else _data_file("recipe.yaml")
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    for field in ("patterns", "strengths", "sentiment_noise"):
        total = sum(recipe[field].values())
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise DataError(f"{path}: '{field}' sums to {total:g}; make its shares sum to 1")
    return recipe


# ------------------------------------------------------------------- plan: what is planted


def plan(recipe: dict) -> list[dict]:
    """Everything about every utterance but its sound and face, in a fixed order.

    Emotions are balanced within a speaker; patterns and strengths are drawn by systematic
    sampling, so that their shares are the recipe's within one utterance a speaker and emotion.
    """
    rng = np.random.default_rng(recipe["seed"])
    n = recipe["per_speaker_and_emotion"]
    items = []
    for speaker in recipe["speakers"]:
        for emotion in EMOTIONS:
            pairs = zip(
                _systematic(recipe["patterns"], n, rng),
                _systematic(recipe["strengths"], n, rng),
                strict=True,
            )
            items += [_plan_one(recipe, speaker, emotion, p, s, rng) for p, s in pairs]
    for i, item in enumerate(items):
        item["id"] = f"demo-{item['session']}-{item['speaker']}-{i % (4 * n):03d}"
        item["seed"] = int(rng.integers(2**31))
    return items


def _systematic(shares: dict, n: int, rng: np.random.Generator) -> list:
    """n draws whose counts differ from n * share by less than one, in random order."""
    edges = np.cumsum(list(shares.values()))
    marks = (rng.random() + np.arange(n)) / n
    keys = list(shares)
    drawn = [keys[min(i, len(keys) - 1)] for i in np.searchsorted(edges, marks, side="right")]
    return [drawn[i] for i in rng.permutation(n)]


def _plan_one(recipe, speaker, emotion, pattern, strength, rng) -> dict:
    shows = {}
    for modality, role in zip(MODALITIES, pattern, strict=True):
        others = [e for e in EMOTIONS if e not in (emotion, "neutral")]
        shows[modality] = {"c": emotion, "n": "neutral", "x": others[rng.integers(len(others))]}[
            role
        ]
    words, carriers, topic = _sentence(recipe["text"], shows["text"], strength, rng)
    noise = recipe["sentiment_noise"]
    rated = recipe["sentiment"][emotion][strength] + rng.choice(list(noise), p=list(noise.values()))
    return {
        "speaker": speaker["id"],
        "session": speaker["session"],
        "emotion": emotion,
        "sentiment": round(float(rated), 2),
        "pattern": pattern,
        "shows": shows,
        "strength": int(strength),
        "words": words,
        "carriers": carriers,
        "topic": topic,
    }


def _sentence(text: dict, shown: str, strength: int, rng) -> tuple[list[str], list[int], str]:
    """(words, positions of the carrying words, topic) of one sentence."""

    def pick(options):
        return options[rng.integers(len(options))]

    topic = pick(text["topics"])
    filler = {"opening": pick(text["openings"]), "tail": pick(text["tails"]), "topic": topic}
    slots = text["words"][shown][strength]
    words, carriers = [], []
    for token in pick(text["templates"]).split():
        name = token.strip("{}")
        if name in slots:
            carriers.append(len(words))
            words.append(pick(slots[name]))
        else:
            words += filler.get(name, token).split()
    return words, carriers if shown != "neutral" else [], topic


# ------------------------------------------------------------------------------- the sound


def _speak(item: dict, recipe: dict, espeak: Espeak, rng: np.random.Generator):
    """(samples int16 at RATE, words, phonemes) of one planned utterance."""
    from scipy.signal import resample_poly

    voice, scale = recipe["voice"], recipe["strength_scale"][item["strength"]]
    speaker = next(s for s in recipe["speakers"] if s["id"] == item["speaker"])
    deviation = voice["deviation"][item["shows"]["audio"]]
    value = {
        name: voice["neutral"][name]
        + scale * deviation[name]
        + speaker.get(name, 0)
        + voice["jitter"][name] * rng.standard_normal()
        for name in voice["neutral"]
    }
    tilt = value.pop("tilt")
    bounds = {"rate": (80, 400), "pitch": (0, 99), "range": (0, 99), "volume": (10, 200)}
    settings = {name: float(np.clip(value[name], *bounds[name])) for name in bounds}
    samples, words, phonemes = espeak.say(item["words"], speaker["voice"], **settings)

    common = math.gcd(espeak.rate, RATE)
    wave = resample_poly(samples / 32768, RATE // common, espeak.rate // common)
    wave = _tilt(wave, tilt)
    lead, trail = (int(RATE * s / 1000) for s in rng.uniform(*voice["lead_ms"], size=2))
    level = np.sqrt(np.mean(wave**2)) * 10 ** (-rng.uniform(*voice["snr_db"]) / 20)
    wave = np.pad(wave, (lead, trail))
    wave = wave + level * rng.standard_normal(len(wave))
    shift = lead / RATE
    return (
        (np.clip(wave, -1, 1) * 32767).round().astype(np.int16),
        [Word(w.text, w.start + shift, w.end + shift) for w in words],
        [Word(p.text, p.start + shift, p.end + shift) for p in phonemes],
    )


def _tilt(wave: np.ndarray, db: float) -> np.ndarray:
    """Raise (db > 0) or lower the top of the spectrum by a gain that grows linearly with the
    logarithm of frequency from 500 Hz to 8 kHz: the mark of vocal effort."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = next_fast_len(len(wave), real=True)
    hz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1.0)
    share = np.clip(np.log2(hz / 500) / np.log2(8000 / 500), 0, 1)
    return irfft(rfft(wave, n) * 10 ** (db * share / 20), n)[: len(wave)]


# ------------------------------------------------------------------------ making and keeping


def _make_speaker(recipe: dict, items: list[dict]) -> list[dict]:
    """Sound and face of one speaker. Runs in a new process: espeak-ng keeps state."""
    espeak, made = Espeak(), []
    for item in items:
        rng = np.random.default_rng(item["seed"])
        samples, words, phonemes = _speak(item, recipe, espeak, rng)
        vision, times = draw_face(item, recipe, samples / 32768, RATE, rng)
        made.append(
            {
                "audio": samples,
                "vision": vision,
                "vision_times": times,
                "word_times": np.array([w[1:] for w in words], np.float64),
                "phoneme_times": np.array([p[1:] for p in phonemes], np.float64),
                "phonemes": [p.text for p in phonemes],
            }
        )
    return made


_ARRAYS = ("audio", "vision", "vision_times", "word_times", "phoneme_times")


def generate(recipe: dict, path: Path, workers: int = 2, progress: bool = True) -> None:
    """Make the corpus of a recipe and write it to `path` (safetensors, in one step).

    The same recipe gives the same bits on the same versions of espeakng-loader, numpy and scipy.
    """
    from tqdm import tqdm

    items = plan(recipe)
    speakers: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        speakers[item["speaker"]].append(i)
    made: list[dict] = [{}] * len(items)
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool,
        tqdm(total=len(items), desc="demo corpus", unit="utt", disable=not progress) as bar,
    ):
        jobs = {
            pool.submit(_make_speaker, recipe, [items[i] for i in rows]): rows
            for rows in speakers.values()
        }
        for job in as_completed(jobs):
            for i, result in zip(jobs[job], job.result(), strict=True):
                made[i] = result
            bar.update(len(jobs[job]))
    for item, result in zip(items, made, strict=True):
        item["phonemes"] = result["phonemes"]
    arrays = {name: [m[name] for m in made] for name in _ARRAYS}
    save_ragged(path, arrays, {"items": json.dumps(items), "sha256": content_hash(arrays)})


def content_hash(arrays: dict[str, list[np.ndarray]]) -> str:
    """sha256 over every sample, frame and time, in order."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        for array in arrays[name]:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _fingerprint(recipe: dict) -> str:
    return json.dumps(recipe, sort_keys=True)


def versions() -> str:
    """What the bits of the corpus depend on, beside the recipe."""
    names = ("espeakng-loader", "numpy", "scipy")
    return ", ".join(f"{n} {version(n).split('+')[0]}" for n in names)


def load(recipe: dict | str | Path | None = None, progress: bool = True) -> Corpus:
    """The demo corpus, made on first use and cached (`mmer_lib.cache.cache_dir()`).

    Args:
        recipe: a recipe, the path of one, or None for the one that comes with the package.

    Raises:
        DataError: a recipe that contradicts itself, or a damaged cache file.
    """
    recipe = recipe if isinstance(recipe, dict) else read_recipe(recipe)
    key = digest(_fingerprint(recipe), versions(), _FORMAT)
    path = cache_dir() / "corpora" / f"{recipe['name']}-{key[:16]}.safetensors"
    if not path.exists():
        generate(recipe, path, progress=progress)
        _compare_with_recorded(recipe, path)
    arrays, metadata = load_ragged(path)
    utterances = tuple(
        _utterance(item, {name: arrays[name][i] for name in _ARRAYS})
        for i, item in enumerate(json.loads(metadata["items"]))
    )
    return Corpus(
        name=recipe["name"],
        key=key,
        utterances=utterances,
        synthetic=True,
        vision_names=tuple(recipe["face"]["units"]),
        extras={"recipe": recipe, "sha256": metadata["sha256"], "path": str(path)},
    )


def _compare_with_recorded(recipe: dict, path: Path) -> None:
    """Say so when this machine makes other bits than the recorded ones: figures recorded in the
    book may then differ a little from what is computed here."""
    recorded = json.loads(_data_file("checksums.json").read_text(encoding="utf-8"))
    expected = recorded.get(f"{digest(_fingerprint(recipe))[:16]}, {versions()}")
    found = load_ragged(path)[1]["sha256"]
    if expected is not None and expected != found:
        warnings.warn(
            f"{path.name}: made here with sha256 {found[:12]}, recorded {expected[:12]}; "
            "the samples differ in rounding, recorded figures may differ slightly",
            stacklevel=2,
        )


def _samples(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / 32768


def _timed(texts: Iterable[str], times: np.ndarray) -> tuple[Word, ...]:
    return tuple(Word(t, float(a), float(b)) for t, (a, b) in zip(texts, times, strict=True))


def _utterance(item: dict, arrays: dict[str, np.ndarray]) -> Utterance:
    return Utterance(
        id=item["id"],
        speaker=item["speaker"],
        session=item["session"],
        text=" ".join(item["words"]),
        words=_timed(item["words"], arrays["word_times"]),
        waveform=partial(_samples, arrays["audio"]),
        rate=RATE,
        vision=arrays["vision"],
        vision_times=arrays["vision_times"],
        emotion=item["emotion"],
        sentiment=item["sentiment"],
        planted=Planted(
            roles={m: ROLES[r] for m, r in zip(MODALITIES, item["pattern"], strict=True)},
            shows=item["shows"],
            strength=item["strength"],
            carriers=tuple(item["carriers"]),
            topic=item["topic"],
            phonemes=_timed(item["phonemes"], arrays["phoneme_times"]),
        ),
    )
