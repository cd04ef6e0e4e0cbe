"""A model's switches in a kernel: parts taken out of the trained model, or trained again."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import traitlets

from mmer_lib.book import switches as ablation
from mmer_lib.book.explorer.toggles import Outcome, Toggles
from mmer_lib.data import Corpus, DataError
from mmer_lib.training.runs import Run, open_run
from mmer_lib.training.settings import PRESETS

PROGRAM = [sys.executable, "-u", "-m", "mmer_lib.cli"]
"""What trains; the words of `LiveToggles.command` follow."""


class LiveToggles(Toggles):
    """The parts of a trained MUSE (multigranular) or MIMIC as switches. A switch takes its part out
    of the model at once (`taken_out` of `ablation.muse` or `ablation.mimic`), without training; a
    button trains the combination in a process of its own, and what comes of it takes the place of
    the other.

    Attributes:
        asked: what the reader asks for: "train", "stop" or "" for nothing.
        progress: share of the epochs that are done. status: a line on the training.

    Args:
        run: of a model with all parts. corpus: the run's, with word times.
        rows: of the utterances to choose from. epochs: at most so many; None: as the preset has.
        folder: where the release or the table of the corpus lies, if the corpus does not know.
        traits: see `Toggles`.

    Raises:
        DataError: a run of another model, or of one that lacks a part; an utterance without word
            times.
    """

    asked = traitlets.Enum(("", "train", "stop"), "").tag(sync=True)
    progress = traitlets.Float(0.0).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        run: Run,
        corpus: Corpus,
        rows: list[int],
        epochs: int | None = None,
        folder: str | Path | None = None,
        **traits,
    ):
        self._kind = ablation.kind_of(run)
        self._run, self._corpus, self._rows = run, corpus, rows
        self._epochs, self._folder = epochs, folder
        self._utterances = ablation.shown(self._kind, corpus, rows)
        self._outcomes = {ablation.whole(self._kind): self._measured(run)}
        self._process: subprocess.Popen | None = None
        data = "Synthetic speech" if corpus.synthetic else corpus.name
        device = next(run.model.parameters()).device
        provenance = (
            f"{data}, fold {run.result['fold']}, seed {run.result['seed']}, on {device}: parts are "
            "taken out of the trained model, nothing is trained again."
        )
        about = {"tag": "live", "provenance": provenance, **traits}
        super().__init__(self._told(), **about)
        self.observe(self._switched, "setting")
        self.observe(self._heard, "asked")

    def _measured(self, run: Run, values: tuple | None = None) -> Outcome:
        kind, classes = self._kind, self._kind.classes(self._corpus)
        answers = ablation.answers(kind, run, self._corpus, values)
        counts = ablation.confusion(kind, *answers, len(classes))
        seen = kind.readings(run, self._corpus, self._rows, values)
        key = run.result["fold"], run.result["seed"]
        return Outcome({key: kind.score(*answers)}, counts, [kind.reading(one) for one in seen])

    def _values(self) -> tuple:
        return tuple(self.setting[name] for name in self._kind.FACTORS)

    def _told(self) -> dict:
        classes = self._kind.classes(self._corpus)
        return ablation.told(self._kind, self._outcomes, self._utterances, classes, live=True)

    def _keep(self, values: tuple, outcome: Outcome) -> None:
        """Keep what was found, for every combination that is the same model, trained the same."""

        def trained(combination):
            return self._kind.configuration(combination), self._kind.settings(combination)

        for other in ablation.combinations(self._kind):
            if trained(other) == trained(values):
                self._outcomes[other] = outcome
        self.data = self._told()

    def _switched(self, _change) -> None:
        kind, values = self._kind, self._values()
        if values not in self._outcomes and not (kind.why_not(values) or kind.only_trained(values)):
            self._keep(values, self._measured(self._run, values))

    # ------------------------------------------------------------------------- training anew

    def _heard(self, change) -> None:
        if change.new == "stop" and self._process is not None:
            self._process.terminate()
        elif change.new == "train" and self._process is None:
            try:
                command = self.command(self._values())
            except DataError as error:
                self.status, self.asked = f"Not trained: {error}", ""
                return
            threading.Thread(
                target=self._train, args=(self._values(), command), daemon=True
            ).start()

    def command(self, values: tuple) -> list[str]:
        """What trains a combination on the run's fold and seed, after `PROGRAM`.

        Raises:
            DataError: the combination has no meaning; the command line cannot name the corpus, or
                nothing says where it lies.
        """
        if self._kind.why_not(values):
            raise DataError(self._kind.why_not(values))
        place = self._folder or self._corpus.extras.get("root")
        named = [w.split("/", 1) if w.startswith("DIR/") else [w] for w in self._corpus.arguments]
        if place is None and ["DIR"] in [w[:1] for w in named]:
            raise DataError(f"{self._corpus.name}: where does it lie? LiveToggles(..., folder=DIR)")
        arguments = [str(Path(place, *w[1:])) if w[0] == "DIR" else w[0] for w in named]
        name, options = self._kind.configuration(values)
        changes = {**options, **self._kind.settings(values)}
        if self._epochs is not None:
            changes["max_epochs"] = self._epochs
        result, device = self._run.result, next(self._run.model.parameters()).device.type
        where = ["--fold", str(result["fold"]), "--seed", str(result["seed"])]
        where += ["--preset", result["preset"], "--device", device]
        sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        out = ["--out", str(self._run.folder.parent)]
        return ["train", name, *arguments, *where, *sets, *out]

    def _train(self, values: tuple, command: list[str]) -> None:
        most = self._epochs or PRESETS[self._run.name][self._run.result["preset"]][1].max_epochs
        self.progress, self.status, last = 0.0, "preparing", ""
        self._process = subprocess.Popen(
            [*PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self._process.stdout:
            last = line.strip() or last
            if line.startswith("epoch"):
                self.progress = min(1.0, int(line.split()[1]) / most)
                self.status = last
        code, self._process = self._process.wait(), None
        if code == 0:
            self._keep(values, self._measured(open_run(last)))
            self.status = "Trained anew: this combination now shows the model that was trained so."
        else:
            self.status = "Stopped." if code < 0 else f"Not trained: {last}"
        self.progress, self.asked = 0.0, ""
