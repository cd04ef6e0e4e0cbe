"""Train any model on one fold of a corpus, in five steps that can be taken one by one.

`plan` refuses what is wrong and names the run, `build` computes the features and makes the model,
`train` trains it, `evaluate` tests it, and `save` leaves the folder of a run (see `runs`). `fit` is
all five; the same call again loads the finished run.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import set_seed

from mmer_lib.data import Corpus, DataError, Split
from mmer_lib.features.batches import Examples, loader
from mmer_lib.features.extract import Features, extract
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.models.base import Model
from mmer_lib.models.registry import MODELS, model_class
from mmer_lib.pretrained import load_pretrained
from mmer_lib.probes.representations import mean_cosines
from mmer_lib.store import cache_dir, check_folder, digest, source_digest
from mmer_lib.training.checks import (
    check_corpus,
    check_filterbank,
    check_hearing,
    untimed,
    warn_doubtful,
)
from mmer_lib.training.loop import Trained, Watcher, train
from mmer_lib.training.metrics import legacy_scores, scores_of
from mmer_lib.training.runs import Run, open_run, truth_of
from mmer_lib.training.runs import save_run as save
from mmer_lib.training.settings import Settings, preset_with
from mmer_lib.training.state import check_device, discard_state
from mmer_lib.training.trace import Trace


def fit(
    name: str,
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool = True,
    watch: Sequence[Watcher] = (),
    **changes,
) -> Run:
    """Train a model on one fold, or load the run if this very one has been trained before; one that
    was killed goes on where it was.

    Args:
        name: of `models.registry`. corpus: see `corpora.load`. fold: see `Corpus.splits`.
        preset: "fast" or "paper"; changes: fields of `Settings` or of the model's configuration.
        device: "auto", "cpu", "cuda" or "cuda:1", ... Several GPUs train together under
            ``accelerate launch``, see `loop.train`.
        out: folder of all runs; by default `runs` in the cache folder. Features stay in the cache.
        watch: called while the model trains, see `loop.Watcher`.

    Warns:
        UserWarning: what the preset "paper" reads in place of the paper's inputs.
    """
    planned = plan(name, corpus, fold, seed, preset, out, **changes)
    gpu = check_device(device)
    if planned.finished:
        return open_run(planned.folder)
    processes = PartialState(cpu=not gpu)
    with processes.main_process_first():  # which computes the features; the others read them
        built = build(planned, progress)
    if processes.process_index:
        set_seed(seed + processes.process_index)  # dropout of its own
    watch = [*([built.trace] if built.trace else []), *watch]
    folder, settings = planned.folder, planned.settings
    trained = train(built.model, built.parts, settings, seed, device, folder, progress, watch)
    if processes.is_main_process:
        save(evaluate(planned, built, trained))
        if built.trace:
            built.trace.save(folder)
        discard_state(folder)
    processes.wait_for_everyone()
    return open_run(folder)


@dataclass(frozen=True)
class Plan:
    """A training that has been checked and not begun.

    Attributes:
        model: the class. config: its widths of inputs may still be the defaults.
        given: names of the options that were not left to the features.
        key: hex digest of all that decides what comes out. command: what gives this run again.
    """

    name: str
    corpus: Corpus
    fold: int
    seed: int
    preset: str
    model: type[Model]
    config: object
    given: frozenset[str]
    settings: Settings
    split: Split
    key: str
    folder: Path
    command: str

    @property
    def finished(self) -> bool:
        """Whether the run is there, whole."""
        return (self.folder / "result.json").exists()

    @property
    def instead(self) -> list[str]:
        """Of the preset "paper": what is read in place of the papers' inputs (MUSE 4.2, MIMIC 4.1),
        and what gives those."""
        needs, found = {*self.model.needs(self.config)}, []
        if "words" in needs and self.settings.text == "glove":
            found.append("GloVe of 50 numbers for 300 (text=glove.840B.300d.txt reads those)")
        if {"cls", "subwords"} & needs and self.settings.encoder == "minilm":
            found.append("MiniLM for BERT (encoder=bert-base-uncased reads that)")
        return found if self.preset == "paper" else []


def plan(
    name: str,
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    out: str | Path | None = None,
    **changes,
) -> Plan:
    """Check a training and name its run, before any feature is computed; see `fit`."""
    cls = model_class(name)
    options, settings = preset_with(name, preset, changes)
    if "classes" in options:
        raise DataError(f"'classes' follows from the task, which is {settings.task}; leave it out")
    given = frozenset(options)
    options["classes"] = len(corpus.emotions) if settings.task == "emotion" else 1
    options |= _encoder_configurations(cls, settings)
    config = cls.config_class(**options)
    check_corpus(corpus, settings, cls.needs(config))
    check_hearing(cls, settings)
    check_filterbank(corpus, config, cls.needs(config), given)
    gone = untimed(corpus, cls.needs(config))
    split = Split(*([row for row in rows if row not in gone] for rows in corpus.splits(fold)))
    if gone and not all(split):
        raise DataError(
            f"{corpus.name}: a part of fold {fold} holds no utterance with word times; give them, "
            "or take a model that needs none (MUSE)"
        )
    pretrained = [*_pretrained(settings), BertWords(settings.wav2vec) if settings.wav2vec else None]
    decisive = [asdict(config), asdict(settings), *(x.identity for x in pretrained if x)]
    source = source_digest(MODELS[name][0], __name__)
    key = digest(name, corpus.key, decisive, fold, seed, source)
    folder = Path(out) if out else cache_dir() / "runs"
    folder = folder / f"{name}-{corpus.name}-fold{fold}-seed{seed}-{preset}-{key[:8]}"
    command = _command(name, corpus, fold, seed, preset, changes)
    return Plan(
        name, corpus, fold, seed, preset, cls, config, given, settings, split, key, folder, command
    )


def _command(name: str, corpus: Corpus, fold: int, seed: int, preset: str, changes: dict) -> str:
    """In Python for a corpus made from arrays."""
    if "arrays" in corpus.extras:
        more = "".join(f", {key}={value!r}" for key, value in changes.items())
        return f"fit({name!r}, corpus, fold={fold}, seed={seed}, preset={preset!r}{more})"
    line = f"mmer train {name} {shlex.join(corpus.arguments)} --fold {fold} --seed {seed}"
    sets = [f" --set {shlex.quote(f'{key}={value}')}" for key, value in changes.items()]
    return f"{line} --preset {preset}{''.join(sets)}"


@dataclass(frozen=True)
class Built:
    """A model that is ready to be trained, its training, development and test part, and what
    follows the similarity of its modalities, if it represents each."""

    model: Model
    parts: tuple[Examples, Examples, Examples]
    trace: Trace | None


def build(planned: Plan, progress: bool = True) -> Built:
    """Compute or load the features, and make the model: with its inputs' widths and scales (fitted
    on the training part alone), the weights of encoders that come trained, and what it has in
    closed form."""
    settings, corpus = planned.settings, planned.corpus
    if planned.instead:
        warnings.warn(f"preset 'paper' reads {' and '.join(planned.instead)}", stacklevel=3)
    for folder in (planned.folder, cache_dir()):
        check_folder(folder)
    features = features_for(planned.model.needs(planned.config), settings, corpus, progress)
    warn_doubtful(corpus, features)
    set_seed(planned.seed)
    widths = {"bands" if part == "speech" else part: n for part, n in features.sizes.items()}
    free = {f.name for f in fields(planned.config)} - planned.given
    widths = {name: width for name, width in widths.items() if name in free}
    model = planned.model(replace(planned.config, **widths))
    _load_encoders(model, settings)
    parts = tuple(Examples(corpus, features, rows) for rows in planned.split)
    for source, layer in model.scalings().items():
        if source != "frames" or settings.frames == "train":  # else they come normalised
            layer.fit([getattr(features, source)[row] for row in parts[0].rows])
    model.solve(*(loader(part, 64, shuffle=False) for part in parts[:2]))
    if settings.class_weights:
        truth = truth_of(corpus, planned.split.train, "emotion")
        counts = torch.bincount(truth, minlength=len(corpus.emotions))
        model.class_weights = len(truth) / (len(counts) * counts.float())
    return Built(model, parts, Trace(parts[1]) if model.traced else None)


def features_for(
    needs: Sequence[str], settings: Settings, corpus: Corpus, progress: bool = False
) -> Features:
    """The features for some fields of a `Batch`, normalised as the settings say."""
    read = [n for n in needs if n not in ("known", "word_times") and not n.endswith("_mask")]
    parts = ["speech" if name == "frames" else name for name in read]
    normalisation = "none" if settings.frames == "train" else settings.frames
    text, encoder, listener = _pretrained(settings)
    return extract(corpus, text or settings.text, parts, progress, normalisation, encoder, listener)


def _pretrained(settings: Settings) -> tuple[Glove | None, BertWords, SpeechStates | None]:
    """Word vectors of a file, the text encoder, and the frozen speech encoder."""
    text = None if settings.text in ("glove", "bert") else Glove(settings.text)
    encoder = BertWords(None if settings.encoder == "minilm" else settings.encoder)
    return text, encoder, SpeechStates(settings.listener) if settings.listener else None


def examples_for(run: Run, corpus: Corpus, rows: Sequence[int]) -> Examples:
    """Some utterances of a corpus, ready for the model of a run, without those that it cannot read
    (`checks.untimed`)."""
    needs = run.model.needs(run.model.config)
    check_filterbank(corpus, run.model.config, needs, ("bands", "hop", "window"))
    if run.settings.frames == "speaker" and not all(u.speaker for u in corpus.utterances):
        raise DataError(
            f"{corpus.name}: no speakers; this run normalises frames by speaker. Give them, or "
            "train with frames='train' or 'utterance'"
        )
    gone = untimed(corpus, needs)
    rows = [row for row in rows if row not in gone]
    return Examples(corpus, features_for(needs, run.settings, corpus), rows)


def evaluate(planned: Plan, built: Built, trained: Trained) -> Run:
    """The run with its result: scores of the test part, and how it came about."""
    model, settings, corpus, test = built.model, planned.settings, planned.corpus, built.parts[2]
    run = Run(planned.name, planned.folder, model, settings, {})
    rows, logits = run.predict(test)
    truth = truth_of(corpus, rows, settings.task)
    best = trained.history[trained.best_epoch]
    measures = legacy_scores(logits, truth) if settings.task == "sentiment" else {}
    if built.trace:
        measures |= mean_cosines(model, test)[0]
    run.result = {
        "command": planned.command,
        "fold": planned.fold,
        "seed": planned.seed,
        "preset": planned.preset,
        "instead": planned.instead,
        "test": scores_of(settings.task, logits, truth),
        "seconds": round(trained.seconds, 1),
        "model": planned.name,
        "data": corpus.name,
        "synthetic": corpus.synthetic,
        "emotions": list(corpus.emotions),
        "data_key": corpus.key,
        "features_key": test.features.key,
        "config": asdict(model.config),
        "settings": asdict(settings),
        "sizes": {name: len(rows) for name, rows in planned.split._asdict().items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "dev": {k: v for k, v in best.items() if k != "epoch" and not k.startswith("loss")},
        "best_epoch": best["epoch"],
        "epochs": len(trained.history),
        "history": trained.history,
        "key": planned.key,
        **trained.provenance,
        "measures": measures,
        **({"trace": built.trace.record} if built.trace else {}),
    }
    return run


def _trained_along(settings: Settings) -> dict[str, str | None]:
    """Field of a configuration -> source of the weights, of encoders that are trained along."""
    text = {"encoder": _pretrained(settings)[1].name} if settings.tune else {}
    return text | ({"speech": settings.wav2vec} if settings.wav2vec else {})


def _encoder_configurations(cls: type[Model], settings: Settings) -> dict:
    """Configurations of `transformers`, as dicts, of the encoders that are trained along."""
    options, places = {}, {f.name for f in fields(cls.config_class)}
    for field, name in _trained_along(settings).items():
        if field not in places:
            setting = "tune" if field == "encoder" else "wav2vec"
            raise DataError(f"{cls.__name__} has no {field} encoder; leave {setting} out")
        config = load_pretrained("AutoConfig", name)
        plain = json.loads(config.to_json_string(use_diff=False))
        for where in ("_name_or_path", "dtype", "torch_dtype"):
            plain.pop(where, None)
        options[field] = plain
        if field == "encoder":
            options["cls"] = config.hidden_size
    return options


def _load_encoders(model: Model, settings: Settings) -> None:
    """Trained weights into the encoders that are trained along."""
    for field, name in _trained_along(settings).items():
        encoder = model.bert.encoder if field == "encoder" else model.speech_encoder
        weights = load_pretrained("AutoModel", name).state_dict()
        weights = {k: v for k, v in weights.items() if not k.startswith("pooler.")}
        encoder.model.load_state_dict(weights)
