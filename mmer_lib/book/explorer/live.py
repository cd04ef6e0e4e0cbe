"""A model's switches in a kernel: parts taken out of the trained model, or trained again."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import traitlets

from mmer_lib.book import switches
from mmer_lib.book.explorer import plain
from mmer_lib.book.explorer.toggles import Evaluation, Toggles, toggle_data
from mmer_lib.data import Corpus, DataError
from mmer_lib.training.metrics import scores_of
from mmer_lib.training.runs import Run, open_run

PROGRAM = [sys.executable, "-u", "-m", "mmer_lib.cli"]
"""What trains; the words of `LiveToggles.command` follow."""


class LiveToggles(Toggles):
    """The parts of a trained MUSE (multigranular) or MIMIC as switches. A switch takes its part out
    of the model at once (`taken_out` of `switches.muse` or `switches.mimic`), without training; a
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
        self._parts = next((p for p in switches.MODELS.values() if p.has_all_parts(run)), None)
        if self._parts is None:
            raise DataError(
                f"{run.folder}: a {run.name} whose parts cannot be taken out; give a "
                "muse-multigranular or a mimic with all parts"
            )
        self._run, self._corpus, self._rows = run, corpus, rows
        self._epochs, self._folder = epochs, folder
        self._classes = self._parts.classes(corpus)
        self._examples = switches.examples(self._parts, corpus, rows)
        self._measured = {self._parts.WHOLE: self._measure(run, self._parts.WHOLE)}
        self._process: subprocess.Popen | None = None
        self._device = next(run.model.parameters()).device
        data = "Synthetic speech" if corpus.synthetic else corpus.name
        provenance = (
            f"{data}, fold {run.result['fold']}, seed {run.result['seed']}, on {self._device}: "
            "parts are taken out of the trained model, nothing is trained again."
        )
        super().__init__(self._page(), **{"tag": "live", "provenance": provenance, **traits})
        self.observe(self._on_setting, "setting")
        self.observe(self._on_asked, "asked")

    def _measure(self, run: Run, values: tuple) -> Evaluation:
        parts = self._parts
        answers = switches.answers(parts, run, self._corpus, values)
        score = scores_of(parts.TASK, *answers)[parts.SCORE[0]]
        return Evaluation(
            {(run.result["fold"], run.result["seed"]): score},
            switches.confusion(parts, *answers, len(self._classes)),
            parts.readings(run, self._corpus, self._rows, values),
        )

    def _values(self) -> tuple:
        return tuple(self.setting[name] for name in self._parts.FACTORS)

    def _page(self) -> dict:
        return toggle_data(self._parts, self._measured, self._examples, self._classes, live=True)

    def _keep(self, values: tuple, measured: Evaluation) -> None:
        """Keep it for every combination that is the same model, trained the same."""
        wanted = self._parts.configuration(values)
        for other in switches.combinations(self._parts):
            if self._parts.configuration(other) == wanted:
                self._measured[other] = measured
        self.data = plain(self._page())

    def _on_setting(self, _change) -> None:
        parts, values = self._parts, self._values()
        if values not in self._measured and not (
            parts.why_not(values) or parts.only_trained(values)
        ):
            self._keep(values, self._measure(self._run, values))

    def _on_asked(self, change) -> None:
        if change.new == "stop" and self._process is not None:
            self._process.terminate()
        elif change.new == "train" and self._process is None:
            try:
                arguments = self._values(), self.command(self._values())
            except DataError as error:
                self.status, self.asked = f"Not trained: {error}", ""
                return
            threading.Thread(target=self._train, args=arguments, daemon=True).start()

    def command(self, values: tuple) -> list[str]:
        """What trains a combination on the run's fold and seed, after `PROGRAM`.

        Raises:
            DataError: the combination has no meaning; the command line cannot name the corpus, or
                nothing says where it lies.
        """
        if self._parts.why_not(values):
            raise DataError(self._parts.why_not(values))
        name, changes = self._parts.configuration(values)
        if self._epochs is not None:
            changes = {**changes, "max_epochs": self._epochs}
        words = ["train", name]
        root = self._folder or self._corpus.extras.get("root")
        for word in self._corpus.arguments:
            folder, _, file = word.partition("/")
            if folder == "DIR" and root is None:
                corpus = self._corpus.name
                raise DataError(f"{corpus}: where does it lie? LiveToggles(..., folder=DIR)")
            words.append(str(Path(root, file)) if folder == "DIR" else word)
        for option in ("fold", "seed", "preset"):
            words += [f"--{option}", str(self._run.result[option])]
        for field, value in changes.items():
            words += ["--set", f"{field}={value}"]
        return [*words, "--device", self._device.type, "--out", str(self._run.folder.parent)]

    def _train(self, values: tuple, command: list[str]) -> None:
        self.progress, self.status, last = 0.0, "preparing", ""
        self._process = subprocess.Popen(
            [*PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self._process.stdout:
            last = line.strip() or last
            if epochs := re.search(r"(\d+)/(\d+) \[.* epochs", line):  # of the bar
                done, most = map(int, epochs.groups())
                self.progress, self.status = done / most, f"{done} of at most {most} epochs"
        code, self._process = self._process.wait(), None
        if code == 0:
            self._keep(values, self._measure(open_run(last), self._parts.WHOLE))
            self.status = "Trained anew: this combination now shows the model that was trained so."
        else:
            self.status = "Stopped." if code in (143, -15) else f"Not trained: {last}"
        self.progress, self.asked = 0.0, ""
