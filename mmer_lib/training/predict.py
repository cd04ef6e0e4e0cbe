"""A trained model on a recording of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmer_lib.corpora.files import read_wav
from mmer_lib.data import Batch, Corpus, DataError, Utterance, tokenise
from mmer_lib.features.batches import Examples
from mmer_lib.features.extract import Features, phoneme_matrix
from mmer_lib.features.phonemes import Phonemizer
from mmer_lib.features.speech import filterbank, normalise, prepare
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.training.checks import COMPUTED
from mmer_lib.training.fit import text_encoder
from mmer_lib.training.runs import Run, open_run
from mmer_lib.training.settings import Settings


def batch_of(
    samples: np.ndarray, rate: int, text: str, settings: Settings, needs: Sequence[str]
) -> Batch:
    """One utterance of speech and text as a `Batch` of one, without word times.

    `settings` are those that the model was trained with, `needs` the fields that it reads.

    Raises:
        DataError: a text without words, unusable samples, or a model that needs the statistics
            of all that the speaker says.
    """
    if settings.frames == "speaker":
        raise DataError(
            "this model was trained on frames normalised by speaker, and one recording does not "
            "give a speaker's statistics; train with frames='train' or 'utterance'"
        )
    words = tokenise(text)
    if not words:
        raise DataError(f"text {text!r} holds no words; give what is said")
    made = {}
    if "frames" in needs:
        bank = filterbank(samples, rate)
        made["frames"] = normalise(bank) if settings.frames == "utterance" else bank
    if "sound" in needs:
        made["sound"] = prepare(samples, rate)
    if "words" in needs:
        made["words"], made["known"] = _word_vectors(words, settings.text)
    if "phonemes" in needs:
        made["phonemes"] = phoneme_matrix(Phonemizer().encode(words))
    if "cls" in needs:
        made["cls"] = text_encoder(settings).at_cls([text])[0]
    if "subwords" in needs:
        made["subwords"] = text_encoder(settings).sentence(text)
    one = Utterance(id="own recording", speaker="", session="", text=text)
    features = Features(**{name: [value] for name, value in made.items()})
    return Examples(Corpus("own", "", (one,)), features, [0]).collate([0])


def _word_vectors(words: list[str], text: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (W, D) and which are known (W,), as `features.extract` makes them."""
    if text == "bert":
        return BertWords().encode([words])[0]
    return Glove(None if text == "glove" else text).vectors(words)


@torch.inference_mode()
def predict(run: Run | str | Path, wav: str | Path, text: str) -> np.ndarray:
    """Probabilities of the classes that the run names, for a sound file and what is said in it.
    `run` may be the folder of one.

    Raises:
        DataError: a run whose model does not classify speech and text alone; unusable input.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if set(run.model.modalities) - {"text", "audio"} or run.settings.task != "emotion":
        raise DataError(
            f"{run.folder}: {run.name} needs {', '.join(run.model.modalities)} and predicts "
            f"{run.settings.task}; predict takes a run of muse"
        )
    needs, config = run.model.needs(run.model.config), run.model.config
    if "frames" in needs and (config.bands, config.hop, config.window) != COMPUTED:
        raise DataError(
            f"{run.folder}: was trained on a filterbank of its own ({config.bands} bands every "
            f"{1000 * config.hop:g} ms); predict computes another. Give such frames "
            "to own.from_arrays, and use examples_for and Run.predict"
        )
    batch = batch_of(*read_wav(wav), text, run.settings, needs)
    return run.model(batch).logits[0].softmax(-1).numpy()
