"""The bench of one machine: a configuration's server, its description, idle power and trials, visit by visit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from base.errors import UserError, describe_os_error
from loadgen.energy.source import EnergySource
from prunebench.quality.run_tasks import ask_configurations
from prunebench.run.describe import Describer
from prunebench.run.executor import Assignment, Outcome
from prunebench.run.schedule import Visit
from prunebench.run.serving import ConfigurationServers
from prunebench.run.trials import Trials
from prunebench.servers.process import Server
from prunebench.servers.remote import RemoteHost
from prunebench.terminal.progress import Progress, Steps, unseen
from reports.document.console import Console
from reports.runs.records.cells import TrialCell, VisitIdle


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
        self._idle_rule = assignment.idle_rule
        self._last_block = last_block
        self._host = host
        self._describer = Describer(experiment, serves_here=host is None, one_tokenizer=self._have_one_tokenizer)
        self._trials = Trials(assignment)
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
                self._trials.measure(cell, server, energy, idle)
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

    def _update(self, label: str, **facts: Any) -> None:
        """Save a configuration's facts as soon as they are known."""
        info = self._configurations[label].model_copy(update=facts)
        self._configurations[label] = info
        self._writer.write_configuration(info)
