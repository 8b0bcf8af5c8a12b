"""Measuring trials: start a configuration's server, offer one workload after another, save the results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from base.errors import UserError, describe_os_error
from loadgen.endpoint import LoadError
from loadgen.energy.source import EnergySource
from loadgen.link.messages import Steadiness
from loadgen.prompts.files import file_prompts
from loadgen.prompts.synthetic import Prompts, make_prompts
from loadgen.prompts.tokens import read_tokenizer
from loadgen.records.schema import WindowRules
from loadgen.results.result import TrialResult
from loadgen.trial import run_trial
from prunebench.experiment.file import Experiment
from prunebench.quality.run_tasks import ask_configurations
from prunebench.run.describe import Describer
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.schedule import Visit
from prunebench.run.serving import ConfigurationServers
from prunebench.servers.process import Server
from prunebench.servers.remote import RemoteHost
from prunebench.terminal.progress import Progress, Steps, unseen
from reports.checks.findings import check_trial
from reports.document.console import Console
from reports.runs.records import ConfigurationInfo, IdleRule, TrialCell, VisitIdle
from server.machine.cpu_affinity import off_cores_of


@dataclass(frozen=True)
class Outcome:
    """Finished cells: each has its folder, or `cause` is the reason why none has."""

    cells: tuple[TrialCell, ...]
    cause: str | None = None

    def report(self, steps: Steps) -> None:
        """Count them as done, and print the cause where they failed."""
        first = self.cells[0]
        place = f"block {first.block + 1}, {first.label}, {', '.join(cell.workload for cell in self.cells)}"
        if self.cause is not None:
            steps.print(f"{place}: failed: {self.cause}")
        steps.advance(len(self.cells), place if self.cause is None else f"{first.label} failed")


@dataclass(frozen=True)
class Assignment:
    """What an executor measures. `configurations` is filled and kept up to date during the run."""

    experiment: Experiment
    writer: RunWriter
    configurations: dict[str, ConfigurationInfo]
    window_rules: WindowRules = 2  # those that the run began under
    idle_rule: IdleRule = "visit"


class Bench:
    """The servers of one machine, this one or a host's, and what is measured on them.

    After a configuration's trials of `last_block` its description is completed; None: only the idle power with the model
    loaded, which the trials require, is measured.
    """

    def __init__(self, assignment: Assignment, *, last_block: int | None, host: RemoteHost | None = None) -> None:
        experiment = assignment.experiment
        self._experiment = experiment
        self._writer = assignment.writer
        self._configurations = assignment.configurations
        self._window_rules = assignment.window_rules
        self._idle_rule = assignment.idle_rule
        self._last_block = last_block
        self._host = host
        self._workloads = {w.name: w for w in experiment.workloads}
        self._describer = Describer(experiment, serves_here=host is None, one_tokenizer=self._have_one_tokenizer)
        protocol = experiment.protocol
        self._until = Steadiness(protocol.steady_within, protocol.warmup_limit_s) if protocol.warmup_limit_s else None
        self._intensity = experiment.energy.intensity()
        logs = assignment.writer.path / "logs"
        self._servers = ConfigurationServers(experiment, assignment.configurations, logs, host)

    def places(self) -> int:
        """One: blocks side by side on one machine would disturb each other."""
        return 1

    def measure(self, visits: Sequence[Visit], steps: Steps) -> None:
        """Measure every cell of `visits`; one that fails is recorded, and the others continue."""
        self._servers.prepare([*dict.fromkeys(visit.label for visit in visits)], steps)
        for visit in visits:
            steps.advance(0, f"block {visit.block + 1}, {visit.label}: starting")
            for outcome in self.visit(visit, steps.part):
                outcome.report(steps)

    def visit(self, visit: Visit, progress: Progress = unseen) -> Iterator[Outcome]:
        """One configuration's turn: its server is up and every workload of the block is measured.

        `progress` shows what is done before the first trial.
        A cell that fails costs itself alone: those after it get a fresh server.
        """
        if not visit.cells:
            return
        try:
            server, energy, idle = self._begin(visit, progress)
        except (UserError, OSError) as error:
            yield self._failed(visit.cells, error)
            return
        progress(1, 1, f"{visit.label}, ready")
        for done, cell in enumerate(visit.cells, 1):
            time.sleep(self._experiment.protocol.cooldown_s)
            try:
                self._measure(cell, server, energy, idle)
            except (UserError, OSError) as error:
                yield self._failed((cell,), error)
                yield from self.visit(replace(visit, cells=visit.cells[done:]), progress)
                return
            yield Outcome((cell,))
        self._end(visit, energy, idle)

    def ask(self, console: Console) -> bool:
        """The quality tasks of every configuration that was served; False if one gave no score."""
        served = {label: info for label, info in self._configurations.items() if info.described}
        return ask_configurations(
            self._experiment,
            served,
            acquire=self._servers.acquire_metered,
            folder_of=self._writer.quality_folder,
            logs=self._writer.path / "logs",
            console=console,
            host=None if self._host is None else self._host.url,
        )

    def close(self) -> None:
        """End the servers, and restore the GPUs' limits; servers of a host keep running."""
        self._servers.close()

    def finish(self) -> None:
        """Idle power after the trials, where an attempt was cut short between a configuration's last trial and that."""
        for label, info in self._configurations.items():
            if info.described and info.idle_again is None and self._experiment.energy.idle_s:
                with contextlib.suppress(UserError):  # a failed cell has recorded the cause
                    _, energy = self._servers.acquire_metered(label)
                    self._update(label, idle_again=self._describer.when_quiet(energy))

    @cached_property
    def _tokens(self) -> Tokenizer | Sequence[int]:
        """The baseline's tokenizer, for prompts of which it is to make the stated number of tokens."""
        baseline = next(info for info in self._configurations.values() if info.is_baseline)
        return () if baseline.checkpoint is None else read_tokenizer(Path(baseline.checkpoint))

    def _have_one_tokenizer(self) -> bool:
        known = {info.tokenizer_sha256 for info in self._configurations.values()}
        return len(known) == 1 and None not in known

    def _begin(self, visit: Visit, progress: Progress) -> tuple[Server, EnergySource, VisitIdle | None]:
        """The visit's server, its meters, and idle power before its load; on its first visit a configuration is described too."""
        first = not self._configurations[visit.label].described
        ours = self._configurations[visit.label].url is None
        facts: dict[str, Any] = {}
        if first and ours and self._last_block is not None:
            start = partial(self._servers.acquire, visit.label, progress)
            _, facts = self._describer.start(self._servers.pool, visit.label, start)
        server, energy = self._servers.acquire_metered(visit.label, progress)
        before = self._describer.idle_of_visit(energy) if self._idle_rule == "visit" else None
        idle = None
        if before is not None:
            workloads = [cell.workload for cell in visit.cells]
            idle = VisitIdle(block=visit.block, label=visit.label, workloads=workloads, before=before)
            idle = self._writer.new_idle(idle)
        if first:
            facts |= self._describer.first_visit(self._configurations[visit.label], server, energy, before, progress)
            beside = self._servers.pool.was_started_together(visit.label)
            self._update(visit.label, started_beside=beside, **facts)
        answers = self._configurations[visit.label].answers
        if visit.block not in answers:
            self._update(visit.label, answers=answers | {visit.block: self._describer.answer(server.endpoint)})
        return server, energy, idle

    def _end(self, visit: Visit, energy: EnergySource, idle: VisitIdle | None) -> None:
        """Idle power after the visit's load; after its last visit a configuration's description is completed."""
        last = visit.block == self._last_block
        if last:
            self._update(visit.label, idle_after_load=self._describer.right_after_load(energy))
        if idle is not None:
            idle = idle.model_copy(update={"after": self._describer.idle_of_visit(energy, rested=last)})
            self._writer.write_idle(idle)
        if last:
            again = idle.after.whole if idle and idle.after else self._describer.when_quiet(energy)
            self._update(visit.label, idle_again=again)

    def _failed(self, cells: tuple[TrialCell, ...], error: Exception) -> Outcome:
        """Record the cause of each and discard the server; `--resume` tries them again."""
        self._servers.pool.discard(cells[0].label)
        cause = describe_os_error(error) if isinstance(error, OSError) else f"{error}"
        for cell in cells:
            self._writer.write_failure(cell, cause)
        return Outcome(cells, cause)

    def _measure(self, cell: TrialCell, server: Server, energy: EnergySource, idle: VisitIdle | None) -> None:
        """One trial, from warm-up to its folder on disk.

        Raises LoadError for a trial that is not kept: the answers of a server that then died or hung are not.
        A trial that is killed or interrupted leaves its records, all but the last second.
        """
        kept = self._writer.records_file(cell)
        try:
            result = self._trial(cell, server, energy, kept)
            result = replace(result, trial=result.trial.with_carbon(self._intensity))
            if idle is not None:
                result = _without_net(result)
            self._writer.write_trial(cell, result, check_trial(result.trial, result.metrics))
        except LoadError as error:
            kept.unlink(missing_ok=True)
            raise LoadError(server.problem() or f"{error}") from None
        except OSError:
            kept.unlink(missing_ok=True)
            raise
        kept.unlink()

    def _trial(self, cell: TrialCell, server: Server, energy: EnergySource, kept: Path) -> TrialResult:
        """Raises LoadError for one that is not worth keeping."""
        # Prompts differ between blocks and workloads, so that no prefix cache helps; every configuration gets the same.
        seed = (self._experiment.seed * 1000 + cell.block) * 1000 + list(self._workloads).index(cell.workload)
        workload = self._workloads[cell.workload]
        prompts: Prompts
        if workload.prompts:
            prompts = file_prompts(workload, seed)
        else:
            prompts = make_prompts(workload, () if workload.prompt_as == "words" else self._tokens, seed)
        with off_cores_of(server.engine_process_ids()):  # else the client would at times run on a worker's core
            result = run_trial(
                server.endpoint,
                workload,
                prompts,
                seed=seed,
                energy=energy,
                until=self._until,
                idle=self._configurations[cell.label].idle if self._idle_rule == "configuration" else None,
                keep=kept,
                window_rules=self._window_rules,
            )
        if problem := server.problem():
            raise LoadError(problem)
        if result.stalled:
            raise LoadError(
                f"the engine hangs: no answer came to its end within {server.endpoint.timeout_s:g} s "
                "(protocol.request_timeout_s)"
            )
        if all(record.error is not None for record in result.records):
            raise LoadError(f"every request failed, the first with: {result.records[0].error}")
        return result

    def _update(self, label: str, **facts: Any) -> None:
        """Save a configuration's facts as soon as they are known."""
        info = self._configurations[label].model_copy(update=facts)
        self._configurations[label] = info
        self._writer.write_configuration(info)


def _without_net(result: TrialResult) -> TrialResult:
    """The trial with the reason why its net joules come later."""
    energy = result.trial.energy
    if energy.gross_joules is None:
        return result
    reason = "net joules need the idle power after the load too; the report subtracts what the run's idle/ has"
    energy = energy.model_copy(update={"net_reason": reason})
    return replace(result, trial=result.trial.model_copy(update={"energy": energy}))
