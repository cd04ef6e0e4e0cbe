"""The demo corpus: synthetic speech, text and faces whose emotion is planted.

The recipe (`data/demo/recipe.yaml`) decides everything. Text is generated, espeak-ng reads it
aloud and reports when it speaks each word and phoneme, faces are action-unit tracks. For each
utterance the recipe plants which of text, voice and face carry the emotion, which stay neutral
and which contradict it.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np

from mmer_lib.corpora.demo.espeak import Espeak
from mmer_lib.corpora.demo.faces import draw_face
from mmer_lib.corpora.demo.voices import RATE, speak
from mmer_lib.data import EMOTIONS, MODALITIES, Corpus, DataError, Utterance, Word
from mmer_lib.store import cache_dir, check_folder, digest, load_arrays, save_arrays

ROLES = {"c": "carries", "n": "neutral", "x": "contradicts"}
_FORMAT = 4  # raise when the code below changes what a recipe gives


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
    packaged = Path(__file__).with_name(name)
    return packaged if packaged.exists() else Path(__file__).parents[3] / "data" / "demo" / name


def read_recipe() -> dict:
    """The recipe that comes with the package."""
    import yaml

    return yaml.safe_load(_data_file("recipe.yaml").read_text(encoding="utf-8"))


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
            patterns = _systematic(recipe["patterns"], n, rng)
            strengths = _systematic(recipe["strengths"], n, rng)
            for pattern, strength in zip(patterns, strengths, strict=True):
                items.append(_plan_one(recipe, speaker, emotion, pattern, strength, rng))
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
        other = others[rng.integers(len(others))]  # drawn for every role
        shows[modality] = {"c": emotion, "n": "neutral", "x": other}[role]
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


# ------------------------------------------------------------------------ making and keeping


_ARRAYS = ("audio", "vision", "vision_times", "word_times", "phoneme_times")


def make(recipe: dict, items: list[dict]) -> dict[str, list[np.ndarray]]:
    """Sound and face of what one speaker says: arrays by name, one an item. The names of the
    phonemes go into the items."""
    espeak, rows = Espeak(), []
    for item in items:
        rng = np.random.default_rng(item["seed"])
        samples, words, phonemes = speak(item, recipe, espeak, rng)
        vision, times = draw_face(item, recipe, samples / 32768, RATE, rng)
        spans = (np.array([x[1:] for x in spoken], np.float64) for spoken in (words, phonemes))
        rows.append((samples, vision, times, *spans))
        item["phonemes"] = [p.text for p in phonemes]
    return dict(zip(_ARRAYS, map(list, zip(*rows, strict=True)), strict=True))


def generate(recipe: dict, path: Path, progress: bool = True) -> None:
    """Make the corpus of a recipe and write it to `path` (safetensors, in one step).

    The same recipe gives the same bits on the same versions of espeakng-loader, numpy and scipy.
    """
    from tqdm import tqdm

    items = plan(recipe)
    speakers = [list(own) for _, own in groupby(items, lambda item: item["speaker"])]
    how = {"desc": "demo corpus", "unit": "speaker", "disable": not progress}
    with ThreadPoolExecutor(2) as pool:
        made = list(tqdm(pool.map(partial(make, recipe), speakers), total=len(speakers), **how))
    arrays = {name: [array for one in made for array in one[name]] for name in _ARRAYS}
    save_arrays(path, arrays, {"items": json.dumps(items), "sha256": content_hash(arrays)})


def content_hash(arrays: dict[str, list[np.ndarray]]) -> str:
    """sha256 over every sample, frame and time, in order."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        for array in arrays[name]:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def versions() -> str:
    """What the bits of the corpus depend on, beside the recipe."""
    names = ("espeakng-loader", "numpy", "scipy")
    return ", ".join(f"{n} {version(n).split('+')[0]}" for n in names)


def load(recipe: dict | None = None, progress: bool = True) -> Corpus:
    """The demo corpus, made on first use and cached (`mmer_lib.store.cache_dir()`), by default of
    the recipe that comes with the package.

    Raises:
        DataError: shares that do not sum to one, a voice that espeak-ng lacks, or a damaged cache
            file.
    """
    recipe = recipe or read_recipe()
    for field in ("patterns", "strengths", "sentiment_noise"):
        total = sum(recipe[field].values())
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise DataError(f"recipe: {field!r} sums to {total:g}; make its shares sum to 1")
    text = json.dumps(recipe)  # the order of its fields counts too: draws follow it
    key = digest(text, versions(), _FORMAT)
    path = cache_dir() / "corpora" / f"{recipe['name']}-{key[:16]}.safetensors"
    made = not path.exists()
    if made:
        check_folder(path.parent)
        generate(recipe, path, progress=progress)
    arrays, metadata = load_arrays(path, verify=True)
    if made:
        _compare_with_recorded(text, metadata["sha256"])
    columns = (arrays[name] for name in _ARRAYS)
    rows = zip(json.loads(metadata["items"]), *columns, strict=True)
    return Corpus(
        name=recipe["name"],
        key=key,
        utterances=tuple(_utterance(*row) for row in rows),
        synthetic=True,
        vision_names=tuple(recipe["face"]["units"]),
        extras={"recipe": recipe, "sha256": metadata["sha256"], "path": str(path)},
    )


def _compare_with_recorded(recipe: str, found: str) -> None:
    """Say so when this machine makes other bits than the recorded ones: figures recorded in the
    book may then differ a little from what is computed here."""
    recorded = json.loads(_data_file("checksums.json").read_text(encoding="utf-8"))
    expected = recorded.get(f"{digest(recipe)[:16]}, {versions()}", found)
    if expected != found:
        warnings.warn(
            f"demo corpus: made here with sha256 {found[:12]}, recorded {expected[:12]}; "
            "the samples differ in rounding, recorded figures may differ slightly",
            stacklevel=3,
        )


def _samples(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / 32768


def _timed(texts: Iterable[str], times: np.ndarray) -> tuple[Word, ...]:
    return tuple(map(Word, texts, *times.T.tolist()))


def _utterance(item: dict, audio, vision, vision_times, word_times, phoneme_times) -> Utterance:
    planted = Planted(
        roles={m: ROLES[r] for m, r in zip(MODALITIES, item["pattern"], strict=True)},
        shows=item["shows"],
        strength=item["strength"],
        carriers=tuple(item["carriers"]),
        topic=item["topic"],
        phonemes=_timed(item["phonemes"], phoneme_times),
    )
    return Utterance(
        text=" ".join(item["words"]),
        words=_timed(item["words"], word_times),
        waveform=partial(_samples, audio),
        rate=RATE,
        vision=vision,
        vision_times=vision_times,
        planted=planted,
        **{name: item[name] for name in ("id", "speaker", "session", "emotion", "sentiment")},
    )
