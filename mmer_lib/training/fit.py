"""Training and evaluation of every model.

`fit` trains a named model on one fold and leaves the folder of a run (see `runs`); the same call
again loads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

from mmer_lib.data import Corpus, DataError, Split
from mmer_lib.experiments import efficiency
from mmer_lib.features.batches import Examples, loader
from mmer_lib.features.extract import Features, extract
from mmer_lib.features.pieces import Each
from mmer_lib.features.states import SpeechStates
from mmer_lib.features.text import BertWords, Glove
from mmer_lib.models.base import Model
from mmer_lib.models.registry import model_class
from mmer_lib.pretrained import load_pretrained
from mmer_lib.probes.representations import mean_cosines
from mmer_lib.store import cache_dir, check_folder, digest
from mmer_lib.training.checkpoints import discard
from mmer_lib.training.checks import check_filterbank, check_labels, check_listening, warn_doubtful
from mmer_lib.training.learner import EpochLine, Learner, scores_of
from mmer_lib.training.metrics import legacy_scores
from mmer_lib.training.parallel import Job, train_together
from mmer_lib.training.runs import (
    Run,
    about_run,
    command_of,
    open_run,
    provenance,
    save_run,
    source_hash,
    truth_of,
)
from mmer_lib.training.settings import AUXILIARIES, PRESETS, Settings, check_settings, typed
from mmer_lib.training.trace import Trace
from mmer_lib.training.trainer import device_of, precision_of, run_training, trainer_for

_SOURCES = {"frames": "speech"}  # a field of a Batch that is called otherwise in `extract`


def features_for(
    needs: Sequence[str], settings: Settings, corpus: Corpus, progress: bool = False
) -> Features:
    """The features for some fields of a `Batch`, normalised as the training says."""
    parts = [_SOURCES.get(n, n) for n in needs if n != "known" and not n.endswith("_mask")]
    normalisation = "none" if settings.frames == "train" else settings.frames
    text = settings.text if settings.text in ("glove", "bert") else Glove(settings.text)
    listener = SpeechStates(settings.listener) if settings.listener else None
    return extract(corpus, text, parts, progress, normalisation, text_encoder(settings), listener)


def text_encoder(settings: Settings) -> BertWords:
    """The text encoder that the settings name."""
    return BertWords(None if settings.encoder == "minilm" else settings.encoder)


def examples_for(run: Run, corpus: Corpus, rows: Sequence[int]) -> Examples:
    """Some utterances of a corpus, ready for the model of a run.

    Raises:
        DataError: a filterbank of another kind than the run's; speakers that the run's
            normalisation needs and the corpus lacks; what `features.extract` refuses.
    """
    needs = run.model.needs(run.model.config)
    check_filterbank(corpus, run.model.config, needs, ("bands", "hop", "window"))
    if run.settings.frames == "speaker" and not all(u.speaker for u in corpus.utterances):
        raise DataError(f"{corpus.name}: no speakers; this run normalises frames by speaker")
    return Examples(corpus, features_for(needs, run.settings, corpus), rows)


def fit(
    name: str,
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool = True,
    model_options: dict | None = None,
    devices: int = 1,
    **changes,
) -> Run:
    """Train a model on one fold, or load the run if this very one has been trained before. A
    training that was killed goes on from its last checkpoint, see `checkpoints.Keeper`.

    Args:
        name: of the model, see `runs.MODELS`. corpus: see `corpora.load`. fold: see
            `Corpus.splits`.
        preset: "fast" or "paper". changes: fields of `Settings` to set otherwise.
        model_options: fields of the model's configuration to set otherwise.
        device: "auto", "cpu", "cuda" or "cuda:1", ...
        devices: processes that train together, one a CPU or GPU, see `parallel`; `batch_size` is
            of all of them. Without dropout they end where one does, but for rounding.
        out: folder of all runs; by default `runs` in the cache folder. Features stay in the cache.

    Raises:
        DataError: unknown model, preset, field or device; settings that contradict each other;
            labels or fields that the corpus lacks; a filterbank of another kind than the model's
            options say; a folder that cannot be made, or a file that cannot be written.

    Warns:
        UserWarning: more than half of the words have no vector; silent utterances; a checkpoint
            that is damaged.
    """
    plan = prepare(name, corpus, fold, seed, preset, device, model_options, devices, **changes)
    cls, settings, split = plan.model, plan.settings, plan.split
    precision_of(settings, device_of(device, devices)[0])
    runs = Path(out) if out else cache_dir() / "runs"
    for folder in (runs, cache_dir()):
        check_folder(folder)
    features = features_for(cls.needs(plan.config), settings, corpus, progress)
    config = _fit_widths(plan, features)
    key = digest(
        name, corpus.key, asdict(config), asdict(settings), fold, seed, features.key,
        source_hash(name), [BertWords(e).identity for e in _encoders(settings).values()],
        *([devices] if devices > 1 else []),
    )  # fmt: skip
    folder = runs / f"{name}-{corpus.name}-fold{fold}-seed{seed}-{preset}-{key[:8]}"
    if (folder / "result.json").exists():
        discard(folder)  # left by a process that was killed right here
        return open_run(folder)
    check_folder(folder)
    warn_doubtful(corpus, features)
    command = command_of(name, corpus, fold, seed, preset, changes, model_options or {}, devices)

    L.seed_everything(seed, verbose=False)
    model = cls(config)
    _load_pretrained_weights(model, settings)
    parts = [Examples(corpus, features, rows) for rows in split]
    fit_scaling(model, parts[0], settings)
    model.solve(*(loader(part, 64, shuffle=False) for part in parts[:2]))
    traces = [Trace(parts[1])] if cls.traced else []
    weights = _class_weights(corpus, split.train) if settings.class_weights else None
    learner = Learner(model, settings, weights)
    if devices == 1:
        callbacks = [*traces, *([EpochLine()] if progress else [])]
        trainer = trainer_for(settings, device_of(device), folder, callbacks)
        seconds = run_training(trainer, learner, parts, seed)
        where = provenance(trainer.strategy.root_device)
    else:
        mapped = partial(_parts, cls.needs(config), settings, corpus, split[:2])
        lent = device_of(device, devices)
        found = train_together(Job(learner, mapped, lent, folder, seed, progress))
        learner.load_state_dict(found.weights)
        learner.history, seconds, where = found.history, found.seconds, found.provenance
        for trace, seen in zip(traces, found.traces, strict=True):
            trace.record, trace.places = seen
    model.cpu().eval()
    run = Run(name, folder, model, settings, {})
    test_rows, logits = run.predict(parts[2])
    truth = truth_of(corpus, test_rows, settings.task)
    run.result = {
        "command": command,
        "fold": fold,
        "seed": seed,
        "preset": preset,
        "test": scores_of(settings.task, logits, truth),
        "seconds": round(seconds, 1),
        **about_run(run, corpus, features.key, split, learner.history),
        "source": source_hash(name)[:16],
        "devices": devices,
        **where,
    }
    measures = legacy_scores(logits, truth) if settings.task == "sentiment" else {}
    for trace in traces:
        measures |= mean_cosines(model, parts[2])[0]
        measures |= efficiency.measures(model, learner.history, settings.monitor, settings.mode)
        run.result["trace"] = trace.record
        trace.save(folder)
    run.result["measures"] = measures
    save_run(run)
    discard(folder)
    return open_run(folder)


def _parts(
    needs: Sequence[str], settings: Settings, corpus: Corpus, rows: Sequence[Sequence[int]]
) -> list[Examples]:
    """Parts of a fold, with features from the cache."""
    features = features_for(needs, settings, corpus)
    return [Examples(corpus, features, part) for part in rows]


@dataclass(frozen=True)
class Plan:
    """A training that has been checked and not begun.

    Attributes:
        model: its class. config: of the model; widths of its inputs may still be the defaults.
        given: names of the options that were not left to the features. settings, split: of the
            training.
    """

    model: type[Model]
    config: object
    given: frozenset[str]
    settings: Settings
    split: Split


def prepare(
    name: str,
    corpus: Corpus,
    fold: int = 0,
    seed: int = 0,
    preset: str = "fast",
    device: str = "auto",
    model_options: dict | None = None,
    devices: int = 1,
    **changes,
) -> Plan:
    """Everything of `fit` that can be refused before a feature is computed; see there."""
    cls = model_class(name)
    if preset not in PRESETS[name]:
        raise DataError(f"unknown preset {preset!r}; known: {', '.join(PRESETS[name])}")
    options, settings = PRESETS[name][preset]
    settings = replace(settings, **typed(Settings, changes))
    check_settings(settings, cls)
    check_listening(cls, settings)
    if not 0 <= seed < 2**32:
        raise DataError(f"seed is {seed}; from 0 to {2**32 - 1}")
    check_labels(corpus, settings)
    device_of(device, devices)
    split = corpus.splits(fold)
    options = {**options, **(model_options or {})}
    if "classes" in options:
        raise DataError(f"'classes' follows from the task, which is {settings.task}; leave it out")
    given = frozenset(options)
    options["classes"] = len(corpus.emotions) if settings.task == "emotion" else 1
    options = typed(cls.config_class, {**options, **_pretrained_options(cls, settings)})
    config = cls.config_class(**options)
    check_filterbank(corpus, config, cls.needs(config), given)
    with torch.device("meta"):  # the parts without their weights
        aligned = bool(cls(config).alignments())
    if settings.align and not aligned:
        raise DataError(
            f"align is {settings.align}, but this {name} has no attention from frames to words; "
            "set it to 0"
        )
    for loss in AUXILIARIES:
        if getattr(settings, loss) and loss not in cls.auxiliaries(config):
            raise DataError(
                f"{loss} is {getattr(settings, loss)}, but this {name} has nothing for that loss; "
                "set it to 0"
            )
    if "reconstruction" in cls.auxiliaries(config) and not settings.reconstruction:
        raise DataError(
            "reconstruction is 0, but the model has a decoder, which that loss alone trains; set "
            "decoder to False too"
        )
    return Plan(cls, config, given, settings, split)


def _fit_widths(plan: Plan, features: Features):
    """The configuration for the widths of these features, except where an option says otherwise."""
    widths = {"bands" if k == "speech" else k: v for k, v in features.sizes.items()}
    known = plan.model.config_class.__dataclass_fields__
    return replace(
        plan.config, **{k: v for k, v in widths.items() if k in known and k not in plan.given}
    )


def _encoders(settings: Settings) -> dict[str, str | None]:
    """The encoders that are trained along: their field of a configuration, and where the weights
    come from."""
    text = {"encoder": text_encoder(settings).name} if settings.tune else {}
    return {**text, **({"speech": settings.wav2vec} if settings.wav2vec else {})}


def _pretrained_options(cls: type[Model], settings: Settings) -> dict:
    """Configurations, as dicts, of the encoders that are trained along.

    Raises:
        DataError: an encoder that the model has no place for.
    """
    options = {}
    for field, name in _encoders(settings).items():
        if field not in cls.config_class.__dataclass_fields__:
            setting, off = ("tune", False) if field == "encoder" else ("wav2vec", "")
            value = getattr(settings, setting)
            raise DataError(
                f"{setting} is {value!r}, but {cls.__name__} has no {field} encoder; "
                f"set it to {off!r}"
            )
        config = load_pretrained("AutoConfig", name)
        options[field] = _as_dict(config)
        if field == "encoder":
            options["cls"] = config.hidden_size
    return options


def _as_dict(config) -> dict:
    """A configuration of `transformers` as plain JSON, without where it came from."""
    plain = json.loads(config.to_json_string(use_diff=False))
    return {k: v for k, v in plain.items() if k not in ("_name_or_path", "dtype", "torch_dtype")}


def _load_pretrained_weights(model: Model, settings: Settings) -> None:
    """Trained weights into the encoders that are trained along."""
    if settings.tune:
        _load_encoder(model.bert.encoder.model, text_encoder(settings).name)
    if settings.wav2vec:
        _load_encoder(model.speech_encoder.model, settings.wav2vec)


def _load_encoder(encoder: nn.Module, name: str | None) -> None:
    state = load_pretrained("AutoModel", name).state_dict()
    encoder.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler.")})


def _class_weights(corpus: Corpus, rows: Sequence[int]) -> Tensor:
    """Inverse share of each class in the training part, (classes,); 1 where all are even.

    Raises:
        DataError: a class that the training part lacks.
    """
    counts = torch.bincount(truth_of(corpus, rows, "emotion"), minlength=len(corpus.emotions))
    if (counts == 0).any():
        missing = [c for c, n in zip(corpus.emotions, counts.tolist(), strict=True) if n == 0]
        raise DataError(
            f"{corpus.name}: no training utterance is {', '.join(missing)}; class_weights cannot "
            "weigh it. Choose another fold, or leave class_weights off"
        )
    return len(rows) / (len(counts) * counts.float())


def fit_scaling(model: nn.Module, examples: Examples, settings: Settings) -> None:
    """Fit the scaling of a model's inputs on the training part, and on nothing else; frames
    that come normalised are left as they are."""
    for source, layer in model.scalings().items():
        if source == "frames" and settings.frames != "train":
            continue
        part = getattr(examples.features, source)
        layer.fit(Each(part.__getitem__, examples.rows))
