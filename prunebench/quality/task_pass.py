"""Ask one model every task of a suite: each result is saved before the next task starts, and no task is asked twice."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from base.clock import utc_now
from base.figures import figure
from base.files import write_record
from energy.records import WindowEnergy
from loadgen.endpoint import Endpoint, check_endpoint
from loadgen.energy.source import EnergySource, pick_energy
from prunebench.quality.harness import SEEDS, Harness, UnavailableError, harness_version, one_line
from prunebench.quality.reuse import Evaluated, KnownTasks
from prunebench.quality.suites import QualityError, Suite, TaskChoice
from prunebench.terminal.progress import Progress, unseen
from reports.analysis.quality.cost import SuiteCost
from reports.document.wording import counted, duration
from reports.runs.records.quality import EvaluationSettings, TaskResult
from reports.runs.run_folder import read_record

if TYPE_CHECKING:
    from lm_eval.api.model import LM


@dataclass(frozen=True)
class Subject:
    """A model as lm-eval sees it, and its meters."""

    model: LM
    energy: EnergySource
    evaluated: Evaluated | None = None  # under what its results are reused; None: they are not

    @classmethod
    def served(
        cls,
        endpoint: Endpoint,
        tokenizer: Path,
        energy: EnergySource,
        concurrency: int,
        evaluated: Evaluated | None = None,
    ) -> Subject:
        """The model behind an endpoint, with `concurrency` requests in flight. Raises LoadError if it does not answer."""
        from prunebench.quality.models import ServedModel

        served = check_endpoint(endpoint)
        writes = served.engine is None  # not our server
        model = ServedModel(endpoint, tokenizer, served.max_model_len, concurrency, writes=writes)
        return cls(model, energy, evaluated)

    @classmethod
    def in_process(cls, checkpoint: Path, dtype: str, energy: str, evaluated: Evaluated | None = None) -> Subject:
        """A checkpoint in lm-eval's own HF backend, metered by this machine's meters."""
        try:
            from prunebench.quality.models import in_process_model

            model = in_process_model(checkpoint, dtype)
        except ImportError as error:
            raise QualityError(f'--in-process: {error}: pip install "prunebench[quality,transformers]"') from None
        here = Endpoint("http://127.0.0.1", str(checkpoint))
        return cls(model, pick_energy("local" if energy == "auto" else energy, here), evaluated)

    def tokens(self) -> int | None:
        """Prompt and output tokens of all answers so far, as the server counts them; None if it does not."""
        counted: int | None = getattr(self.model, "tokens", None)
        return counted


@dataclass(frozen=True)
class Pass:
    """A suite, ready to be asked of one model after another."""

    harness: Harness
    suite: Suite
    settings: EvaluationSettings
    known: KnownTasks

    def results(
        self, subject: Subject, folder: Path, log_file: Path, progress: Progress = unseen
    ) -> Iterator[TaskResult]:
        """Yield the result of every task in order, each saved in `folder` first; a saved result is not asked again.

        A task that cannot be asked here, or fails, becomes a result without scores and with a reason; the others continue.
        An interrupt loses only the task under way, whose answers are counted to `progress`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if subject.evaluated is not None:
            self.take_known(folder, subject.evaluated)
        with log_file.open("a", encoding="utf-8") as log:
            for choice in self.suite.tasks:
                result = self.finished(folder, choice)
                if result is None:
                    result = self._ask(choice, subject, log, progress)
                    write_record(folder / f"{choice.file_name}.json", result)
                    if subject.evaluated is not None:
                        self.known.keep(subject.evaluated, choice, result)
                yield result

    def give_up(self, folder: Path, reason: str) -> None:
        """Save the reason in place of every missing result."""
        folder.mkdir(parents=True, exist_ok=True)
        for choice in self.suite.tasks:
            if self.finished(folder, choice) is None:
                write_record(folder / f"{choice.file_name}.json", self._without_scores(choice, reason))

    def finished(self, folder: Path, choice: TaskChoice) -> TaskResult | None:
        """The saved result, if it has scores and was asked with the same settings."""
        result = self.stored(folder, choice)
        if result is None or not result.scores or result.settings != self.settings:
            return None
        return result if choice.shots in {None, result.shots} else None

    def take_known(self, folder: Path, evaluated: Evaluated) -> int:
        """Save what earlier runs got of the same in place of every missing result; the number of these."""
        taken = 0
        for choice in self.suite.tasks:
            if self.finished(folder, choice) is None and (result := self.known.find(evaluated, choice)):
                folder.mkdir(parents=True, exist_ok=True)
                write_record(folder / f"{choice.file_name}.json", result)
                taken += 1
        return taken

    def stored(self, folder: Path, choice: TaskChoice) -> TaskResult | None:
        """The saved result of a task, if there is one."""
        file = folder / f"{choice.file_name}.json"
        return read_record(file, TaskResult) if file.is_file() else None

    def is_finished(self, folder: Path) -> bool:
        """Whether no task is left to ask."""
        return all(self.finished(folder, choice) for choice in self.suite.tasks)

    def _ask(self, choice: TaskChoice, subject: Subject, log: IO[str], progress: Progress) -> TaskResult:
        """One task, metered from the first question to the last score."""
        if problem := self.harness.load(choice, log):
            return self._without_scores(choice, problem)
        before, began, start_ns = subject.tokens(), time.monotonic(), time.monotonic_ns()
        try:
            asked = self.harness.ask(choice, subject.model, log, progress)
        except UnavailableError as error:
            return self._without_scores(choice, f"{error}")
        except Exception as error:  # noqa: BLE001 - a task is code of others; no error of it may end the other tasks
            traceback.print_exc(file=log)
            return self._without_scores(choice, f"it failed: {one_line(error)}")
        seconds, end_ns, after = time.monotonic() - began, time.monotonic_ns(), subject.tokens()
        return TaskResult(
            task=choice.name,
            version=asked.version,
            shots=asked.shots,
            scores=asked.scores,
            statistic=asked.items.statistic,
            values=asked.items.values,
            weights=asked.items.weights,
            chance=asked.items.chance,
            items=asked.items.count,
            seconds=seconds,
            tokens=None if before is None or after is None else after - before,
            energy=_without_conditions(subject.energy.over(start_ns, end_ns)),
            evaluated_at=utc_now(),
            settings=self.settings,
        )

    def _without_scores(self, choice: TaskChoice, reason: str) -> TaskResult:
        return TaskResult(
            task=choice.name, shots=choice.shots, reason=reason, evaluated_at=utc_now(), settings=self.settings
        )


def result_line(result: TaskResult) -> str:
    """One line: a task's headline score with its standard error, or the reason why it has none."""
    if not result.scores:
        return f"{result.task}: no score: {result.reason}"
    first = result.scores[0]
    error = "" if first.standard_error is None else f" ± {first.standard_error:.4f}"
    shots = f", {result.shots}-shot" if result.shots else ""
    when = ", of an earlier run" if result.reused else ""
    cost = f"{result.items} items{shots}, {result.seconds:.1f} s{when}"
    return f"{result.task}: {first.metric} {first.value:.4f}{error} ({cost})"


def cost_line(cost: SuiteCost) -> str:
    """What the suite cost, measured joules or why there are none; modelled ones are called so."""
    if cost.joules is not None:
        half = "" if cost.joules_uncertainty is None else f" ± {figure(cost.joules_uncertainty)} J"
        joules = f"{figure(cost.joules)} J{half} ({cost.source})"
        joules += "" if cost.joules_per_token is None else f", {figure(cost.joules_per_token)} J/token"
    else:
        joules = f"joules not measured: {cost.reason}"
    modelled = "" if cost.modelled_joules is None else f"; modelled, not measured: {figure(cost.modelled_joules)} J"
    tokens = "" if cost.tokens is None else f", {cost.tokens:,} tokens"
    return f"{counted(cost.tasks, 'task')} in {duration(cost.hours * 3600)}{tokens}; {joules}{modelled}"


def settings_of(suite: Suite, backend: Literal["endpoint", "in-process"], limit: int | None) -> EvaluationSettings:
    """How the suite is asked. Raises QualityError without lm-eval."""
    return EvaluationSettings(
        backend=backend, harness=harness_version(), chat_template=suite.chat_template, limit=limit, seeds=SEEDS
    )


def _without_conditions(energy: WindowEnergy) -> WindowEnergy:
    """Without the GPUs' state at every second, of which an hour has thousands."""
    return energy.model_copy(update={"conditions": []})
