"""A trained model on a recording of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmer_lib.batch import Batch, Examples
from mmer_lib.corpora import Corpus, DataError, Utterance
from mmer_lib.features import Features, phoneme_matrix
from mmer_lib.features.phonemes import Phonemizer
from mmer_lib.features.speech import filterbank, normalise
from mmer_lib.features.text import BertWords, Glove, tokenise
from mmer_lib.presets import Settings
from mmer_lib.runs import Run


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples (N,) or (N, C), float32 in [-1, 1], and the rate in Hz.

    Raises:
        DataError: no such file, or not a sound file that libsndfile reads.
    """
    import soundfile

    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        return soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: not readable as sound ({error}); convert it to wav") from error


def batch_of(samples: np.ndarray, rate: int, text: str, settings: Settings) -> Batch:
    """One utterance of speech and text as a `Batch` of one, without word times.

    `settings` are those that the model was trained with.

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
    bank = filterbank(samples, rate)
    if settings.text == "bert":
        encoder = BertWords()
        vectors, known = encoder.encode([words])[0][0], encoder.known(words)
    else:
        vectors, known = Glove().vectors(words)
    features = Features(
        frames=[normalise(bank) if settings.frames == "utterance" else bank],
        words=[vectors],
        known=[known],
        phonemes=[phoneme_matrix(Phonemizer().encode(words))],
    )
    one = Utterance(id="own recording", speaker="", session="", text=text)
    return Examples(Corpus("own", "", (one,)), features, [0]).collate([0])


@torch.inference_mode()
def predict(run: Run, wav: str | Path, text: str) -> np.ndarray:
    """Probabilities of `EMOTIONS`, (4,), for a sound file and what is said in it.

    Raises:
        DataError: a run whose model does not classify speech and text alone; unusable input.
    """
    if set(run.model.modalities) - {"text", "audio"} or run.settings.task != "emotion":
        raise DataError(
            f"{run.folder}: {run.name} needs {', '.join(run.model.modalities)} and predicts "
            f"{run.settings.task}; predict takes a run of muse"
        )
    batch = batch_of(*read_wav(wav), text, run.settings)
    return run.model(batch).logits[0].softmax(-1).numpy()
