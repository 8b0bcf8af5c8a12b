"""The trials of a run's cells: prompts, load, meters, checks, and the trial's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from loadgen.endpoint import LoadError
from loadgen.energy.source import EnergySource
from loadgen.link.messages import Steadiness
from loadgen.prompts.files import workload_prompts
from loadgen.prompts.tokens import read_tokenizer
from loadgen.results.result import TrialResult
from loadgen.trial import run_trial
from prunebench.run.executor import Assignment
from prunebench.servers.process import Server
from reports.checks.findings import check_trial
from reports.runs.records.cells import TrialCell, VisitIdle
from server.machine.cpu_affinity import off_cores_of


class Trials:
    """Measures one cell after another, each on a server that is up; every configuration gets the same load."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        experiment = assignment.experiment
        self._workloads = {w.name: w for w in experiment.workloads}
        protocol = experiment.protocol
        self._until = Steadiness(protocol.steady_within, protocol.warmup_limit_s) if protocol.warmup_limit_s else None
        self._intensity = experiment.energy.intensity()

    def measure(self, cell: TrialCell, server: Server, energy: EnergySource, idle: VisitIdle | None) -> None:
        """One trial, from warm-up to its folder on disk.

        Raises LoadError for a trial that is not kept: the answers of a server that then died or hung are not.
        A trial that is killed or interrupted leaves its records, all but the last second.
        """
        writer = self._assignment.writer
        kept = writer.records_file(cell)
        try:
            result = self._trial(cell, server, energy, kept)
            result = replace(result, trial=result.trial.with_carbon(self._intensity))
            if idle is not None:
                result = _without_net(result)
            writer.write_trial(cell, result, check_trial(result.trial, result.metrics))
        except LoadError as error:
            kept.unlink(missing_ok=True)
            raise LoadError(server.problem() or f"{error}") from None
        except OSError:
            kept.unlink(missing_ok=True)
            raise
        kept.unlink()

    def _trial(self, cell: TrialCell, server: Server, energy: EnergySource, kept: Path) -> TrialResult:
        """Raises LoadError for one that is not worth keeping."""
        assigned = self._assignment
        # Prompts differ between blocks and workloads, so that no prefix cache helps; every configuration gets the same.
        seed = (assigned.experiment.seed * 1000 + cell.block) * 1000 + list(self._workloads).index(cell.workload)
        workload = self._workloads[cell.workload]
        prompts = workload_prompts(workload, seed, lambda: self._tokens)
        with off_cores_of(server.engine_process_ids()):  # else the client would at times run on a worker's core
            result = run_trial(
                server.endpoint,
                workload,
                prompts,
                seed=seed,
                energy=energy,
                until=self._until,
                idle=assigned.configurations[cell.label].idle if assigned.idle_rule == "configuration" else None,
                keep=kept,
                window_rules=assigned.window_rules,
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

    @cached_property
    def _tokens(self) -> Tokenizer | Sequence[int]:
        """The baseline's tokenizer, for prompts of which it is to make the stated number of tokens."""
        baseline = next(info for info in self._assignment.configurations.values() if info.is_baseline)
        return () if baseline.checkpoint is None else read_tokenizer(Path(baseline.checkpoint))


def _without_net(result: TrialResult) -> TrialResult:
    """The trial with the reason why its net joules come later."""
    energy = result.trial.energy
    if energy.gross_joules is None:
        return result
    reason = "net joules need the idle power after the load too; the report subtracts what the run's idle/ has"
    energy = energy.model_copy(update={"net_reason": reason})
    return replace(result, trial=result.trial.model_copy(update={"energy": energy}))
