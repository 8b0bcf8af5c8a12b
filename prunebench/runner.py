"""A run: prune, serve, measure in interleaved blocks, report. What is finished is on disk before the next thing starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

import prunebench
from loadgen.drive import run_trial
from loadgen.endpoint import LoadError
from loadgen.metering import EnergySource, pick_energy
from loadgen.prompts import make_prompts, read_tokenizer
from loadgen.texts import read_prompts
from loadgen.warmup import Steadiness
from prunebench.configurations import prepare_configurations
from prunebench.describing import Describer
from prunebench.experiment import Experiment
from prunebench.plan import Visit, plan_visits
from prunebench.progress import Steps
from prunebench.quality_run import ask_configurations
from prunebench.remote import RemoteHost
from prunebench.serving import Server, ServerCommand, ServerPool, ServerStartError, start_server
from prunebench.writer import RunWriter, describe_os_error, utc_now
from reports.checks import check_trial
from reports.run_folder import ConfigurationInfo, RunInfo, TrialCell


class Runner:
    """One attempt at one experiment in one folder; it measures what is not on disk yet."""

    def __init__(
        self, experiment: Experiment, writer: RunWriter, console: Console, host: RemoteHost | None = None
    ) -> None:
        self._experiment = experiment
        self._host = host
        self._writer = writer
        self._console = console
        self._workloads = {w.name: w for w in experiment.workloads}
        self._tokenizer = read_tokenizer(experiment.model.source)
        self._describer = Describer(experiment, serves_here=host is None)
        self._configurations: dict[str, ConfigurationInfo] = {}
        protocol = experiment.protocol
        self._until = Steadiness(protocol.steady_within, protocol.warmup_limit_s) if protocol.warmup_limit_s else None
        self._created_at = writer.created_at() or utc_now()

    def prepare(self) -> None:
        """Prune and describe every configuration, and serve none. Raises what pruning raises."""
        self._configurations = prepare_configurations(self._experiment, self._writer, self._console)
        self._save("prepared")

    def run(self) -> str:
        """Measure every missing cell; returns "complete" or "failed".

        Raises what pruning raises, before anything is served. A cell that fails is recorded and the run goes on. On any
        exception, KeyboardInterrupt included, servers are ended and the state is saved as interrupted.
        """
        self._configurations = prepare_configurations(self._experiment, self._writer, self._console)
        self._save("running")
        pool = ServerPool(self._start, keep=self._experiment.serve.keep_servers)
        try:
            visits = self._missing_visits()
            with Steps(self._console, "measuring", sum(len(v.cells) for v in visits)) as steps:
                for visit in visits:
                    self._visit(visit, pool, steps)
            self._idle_again(pool)
            answered = self._ask(pool)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk is told by what is on its way already
                self._save("interrupted")
            raise
        finally:
            if self._host is None:
                pool.close()  # else they are the host's, and go on serving
        return self._save("complete" if answered and not self._writer.folder.failures() else "failed")

    def _idle_again(self, pool: ServerPool) -> None:
        """Idle power after the trials, where an attempt was cut short between a configuration's last trial and that."""
        for label, info in self._configurations.items():
            if info.load_s is not None and info.idle_again is None and self._experiment.energy.idle_s:
                with contextlib.suppress(ServerStartError, LoadError):  # a failed cell has told the cause
                    _, energy = self._ready(label, pool)
                    self._update(label, **self._describer.when_quiet(energy))

    def _ask(self, pool: ServerPool) -> bool:
        """The quality tasks of every configuration that was served, after the last trial; False if one gave no score."""
        served = {label: info for label, info in self._configurations.items() if info.load_s is not None}
        return ask_configurations(
            self._experiment.quality,
            self._experiment.energy.source,
            served,
            acquire=pool.acquire,
            writer=self._writer,
            console=self._console,
        )

    def _missing_visits(self) -> list[Visit]:
        every = plan_visits(
            list(self._configurations),
            list(self._workloads),
            blocks=self._experiment.protocol.blocks,
            seed=self._experiment.seed,
        )
        return [left for visit in every if (left := visit.without(self._writer.has_trial)).cells]

    def _start(self, label: str) -> Server:
        serve, info = self._experiment.serve, self._configurations[label]
        command = ServerCommand(
            Path(info.checkpoint),
            info.model,
            serve.engine,
            serve.options,
            self._experiment.energy.modelled_watts_per_core,
        )
        start_s, request_s = serve.start_timeout_s, self._experiment.protocol.request_timeout_s
        if self._host is not None:
            return self._host.start(label, command, start_timeout_s=start_s, request_timeout_s=request_s)
        log = self._writer.path / "logs" / f"{label}.log"
        return start_server(command, log, start_timeout_s=start_s, request_timeout_s=request_s)

    def _visit(self, visit: Visit, pool: ServerPool, steps: Steps) -> None:
        """One configuration's turn: its server is up and every missing workload of the block is measured.

        A cell that fails costs itself alone: those after it get a fresh server.
        """
        if not visit.cells:
            return
        steps.advance(0, f"block {visit.block + 1}, {visit.label}: starting")
        try:
            server, energy = self._ready(visit.label, pool)
        except (ServerStartError, LoadError, OSError) as error:
            self._fail(visit.cells, error, pool, steps)
            return
        for done, cell in enumerate(visit.cells, 1):
            time.sleep(self._experiment.protocol.cooldown_s)
            try:
                self._measure(cell, server, energy)
            except (LoadError, OSError) as error:
                self._fail([cell], error, pool, steps)
                self._visit(replace(visit, cells=visit.cells[done:]), pool, steps)
                return
            steps.advance(1, f"block {cell.block + 1}, {cell.label}, {cell.workload}")
        if visit.block == self._experiment.protocol.blocks - 1:
            self._update(visit.label, **self._describer.after_load(energy))

    def _ready(self, label: str, pool: ServerPool) -> tuple[Server, EnergySource]:
        """The configuration's server and meters; on its first visit it is described too."""
        first = self._configurations[label].load_s is None
        without_model = self._describer.idle_without_model(pool) if first else None
        server = pool.acquire(label)
        energy = pick_energy(self._experiment.energy.source, server.endpoint)
        if first:
            self._update(label, idle_without_model=without_model, **self._describer.first_visit(server, energy))
        return server, energy

    def _fail(self, cells: Sequence[TrialCell], error: Exception, pool: ServerPool, steps: Steps) -> None:
        """Record the cause of each; `--resume` tries them again. The server is not trusted any more."""
        pool.discard(cells[0].label)
        cause = describe_os_error(error) if isinstance(error, OSError) else f"{error}"
        for cell in cells:
            self._writer.write_failure(cell, cause)
        names = ", ".join(cell.workload for cell in cells)
        steps.say(f"block {cells[0].block + 1}, {cells[0].label}, {names}: failed: {cause}")
        steps.advance(len(cells), f"{cells[0].label} failed")

    def _measure(self, cell: TrialCell, server: Server, energy: EnergySource) -> None:
        """One trial, from warm-up to its folder on disk.

        Raises LoadError when it gave nothing to keep: whatever a server that died or hung has answered before is not kept.
        A trial that is killed or interrupted leaves its records, all but the last second.
        """
        # Prompts differ between blocks and workloads, so that no prefix cache helps; every configuration gets the same.
        seed = (self._experiment.seed * 1000 + cell.block) * 1000 + list(self._workloads).index(cell.workload)
        workload, kept = self._workloads[cell.workload], self._writer.records_file(cell)
        try:
            result = run_trial(
                server.endpoint,
                workload,
                read_prompts(workload.prompts, seed)
                if workload.prompts
                else make_prompts(workload, self._tokenizer, seed),
                seed=seed,
                energy=energy,
                until=self._until,
                idle=self._configurations[cell.label].idle,
                keep=kept,
            )
        except LoadError as error:
            kept.unlink(missing_ok=True)
            raise LoadError(server.problem() or f"{error}") from None
        except OSError:
            kept.unlink(missing_ok=True)
            raise
        if problem := server.problem():
            raise LoadError(problem)
        if result.stalled:
            raise LoadError(
                f"the engine hangs: no answer came to its end within {server.endpoint.timeout_s:g} s "
                "(protocol.request_timeout_s)"
            )
        if all(record.error is not None for record in result.records):
            raise LoadError(f"every request failed, the first with: {result.records[0].error}")
        flags = check_trial(result.trial, result.records)
        self._writer.write_trial(cell, result, flags)

    def _update(self, label: str, **facts: Any) -> None:
        """What is learnt of a configuration is on disk at once."""
        info = self._configurations[label].model_copy(update=facts)
        self._configurations[label] = info
        self._writer.write_configuration(info)

    def _save(self, status: str) -> str:
        self._writer.write(
            "run.json",
            RunInfo(
                name=self._experiment.name,
                created_at=self._created_at,
                prunebench_version=prunebench.__version__,
                baseline=next(info.label for info in self._configurations.values() if info.is_baseline),
                labels=list(self._configurations),
                workloads=list(self._workloads),
                blocks=self._experiment.protocol.blocks,
                seed=self._experiment.seed,
                status=status,
            ),
        )
        return status
