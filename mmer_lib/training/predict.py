"""A trained model on a recording of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmer_lib.corpora.files import read_wav
from mmer_lib.data import Corpus, DataError, Utterance, tokenise
from mmer_lib.training.fit import examples_for
from mmer_lib.training.runs import Run, open_run


@torch.inference_mode()
def predict(run: Run | str | Path, wav: str | Path, text: str) -> np.ndarray:
    """Probabilities of the classes that the run (or its folder) names, for a sound file and what is
    said in it."""
    run = run if isinstance(run, Run) else open_run(run)
    if "vision" in run.model.needs(run.model.config) or run.settings.task != "emotion":
        raise DataError(
            f"{run.folder}: {run.name} needs vision or predicts a sentiment; predict takes a run "
            "of muse"
        )
    if not tokenise(text):
        raise DataError(f"text {text!r} holds no words; give what is said")
    samples, rate = read_wav(wav)
    one = Utterance("recording", "", "", text, waveform=lambda: samples, rate=rate)
    batch = examples_for(run, Corpus("this recording", "", (one,)), [0]).collate([0])
    return run.model(batch).logits[0].softmax(-1).numpy()
