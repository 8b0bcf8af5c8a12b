"""A run: prune, serve, and measure in interleaved blocks. Every result is saved before the next step starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import prunebench
from base.clock import utc_now
from loadgen.records.schema import WindowRules
from prunebench.experiment.changes import hash_checkpoints
from prunebench.experiment.file import Experiment
from prunebench.quality.next_tokens import compare_next_tokens
from prunebench.run.adaptive import Looks, show
from prunebench.run.configurations import prepare_configurations
from prunebench.run.executor import Assignment, Executor
from prunebench.run.folder.resume import cell_state
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.schedule import Order, Visit, schedule_visits
from prunebench.terminal.console import print_line
from prunebench.terminal.progress import Steps
from pruner.output.manifest import SourceFile
from reports.document.console import Console
from reports.runs.records.adaptive import Adaptive
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import Extension, IdleRule, RunInfo, Status


class Runner:
    """One attempt at one experiment in one folder; it measures what is not on disk yet."""

    def __init__(
        self,
        experiment: Experiment,
        writer: RunWriter,
        console: Console,
        make_executor: Callable[[Assignment], Executor],
    ) -> None:
        self._experiment = experiment
        self._make_executor = make_executor
        self._writer = writer
        self._console = console
        self._configurations: dict[str, ConfigurationInfo] = {}
        begun = writer.begun()
        self._resumed = begun is not None
        self._accepted_changes = begun.accepted_changes if begun else ()
        self._checkpoint = begun.checkpoint if begun else ()
        self._created_at = begun.created_at if begun else utc_now()
        self._began = time.monotonic()
        self._before_s = _seconds_before(begun)
        self._order = Order.of_run(begun, experiment.protocol.blocks)
        until = experiment.protocol.until
        self._adaptive = begun.adaptive if begun and begun.adaptive else Adaptive(until=until) if until else None
        self._extensions = _extensions(begun, self._order, len(writer.folder.trial_folders()))
        self._window_rules: WindowRules = begun.window_rules if begun else 2
        self._idle_rule: IdleRule = begun.idle_rule if begun else "visit"

    def prepare(self) -> None:
        """Prune and describe every configuration, and serve none. Raises what pruning raises."""
        self._prepare("prepared")

    def run(self) -> str:
        """Measure every missing cell; returns "complete" or "failed".

        Raises what pruning raises, before anything is served. A cell that fails is recorded and the run continues. On any
        exception, KeyboardInterrupt included, servers are ended and the state is saved as interrupted.
        """
        executor = self._make_executor(
            Assignment(self._experiment, self._writer, self._configurations, self._window_rules, self._idle_rule)
        )
        self._prepare("running")
        try:
            visits = self._missing_visits()
            with Steps(self._console, "measuring", sum(len(v.cells) for v in visits)) as steps:
                if self._adaptive is None:
                    executor.measure(visits, steps)
                else:
                    self._measure_until(executor, visits, steps)
                executor.finish()
            answered = executor.ask(self._console)
            executor.close()  # the models that are compared next take its servers' memory
            compare_next_tokens(self._experiment.quality, self._configurations, self._update, self._console)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                print_line("interrupted: ending the servers; one that is loading takes a moment", self._console)
            with contextlib.suppress(OSError):  # a full disk is already reported by the exception under way
                self._save("interrupted")
            raise
        finally:
            executor.close()
        return self._save("complete" if answered and not self._writer.folder.failures() else "failed")

    def _measure_until(self, executor: Executor, visits: Sequence[Visit], steps: Steps) -> None:
        """Measure as many blocks as `protocol.until` takes, those that the executor can measure at once between two looks.

        Raises ExperimentError for a quantity that no trial has.
        """
        looks = Looks(self._experiment.protocol, self._writer)
        began, measured = time.monotonic(), 0
        blocks = [list(block) for _, block in groupby(visits, key=lambda visit: visit.block)]
        places = executor.places()
        for first in range(0, len(blocks), places):
            own = [visit for block in blocks[first : first + places] for visit in block]
            executor.measure(own, steps)
            measured += len(own)
            looks.require_measured()
        while (
            left := self._look(looks, executor.places(), (time.monotonic() - began) / max(1, measured), steps)
        ) is not None:
            executor.measure(left, steps)
            measured += len(left)

    def _look(self, looks: Looks, places: int, a_visit_s: float, steps: Steps) -> list[Visit] | None:
        """Look at the results, and save what follows from them; returns the visits of the next blocks, None if there are none.

        `a_visit_s` is of the clock: of visits side by side each has its share.
        """
        blocks, adaptive = self._order.blocks, self._adaptive
        assert adaptive is not None  # noqa: S101 - only then is there a look
        look = looks.look(self._run_info("running"))
        settled = dict.fromkeys(sorted(look.settled), blocks) | adaptive.settled
        left = {label for label in self._configurations if label not in settled and label != self._baseline()}
        added = max(1, min(places, self._experiment.protocol.max_blocks - blocks))
        next_s = a_visit_s * added * (1 + len(left))
        useful = looks.can_be_known(left, self._baseline())
        ended = looks.ending(look, left, useful, time.monotonic() - self._began + next_s)
        self._adaptive = adaptive.model_copy(update={"settled": settled, "ended": ended})
        visits = 0 if ended else look.visits_left(useful)
        show(look, useful, a_visit_s * visits, ended, steps)
        if ended is None:
            self._order = replace(self._order, singles=self._order.singles + added, settled=settled)
        self._save("running")
        if ended is not None:
            return None
        steps.retotal(visits * len(self._experiment.workloads))
        return [visit for visit in self._missing_visits() if visit.block >= blocks]

    def _prepare(self, status: Status) -> None:
        self._configurations.update(prepare_configurations(self._experiment, self._writer, self._console))
        self._checkpoint = self._checkpoint or self._source_files()
        self._save(status)

    def _update(self, info: ConfigurationInfo) -> None:
        self._configurations[info.label] = info
        self._writer.write_configuration(info)

    def _missing_visits(self) -> list[Visit]:
        every = schedule_visits(
            list(self._configurations),
            self._workload_names(),
            self._order,
            seed=self._experiment.seed,
            baseline=self._baseline(),
        )
        if self._resumed:
            self._set_damaged_aside(every)
            self._resumed = False  # that is said once
        return [left for visit in every if (left := visit.without(self._writer.has_trial)).cells]

    def _set_damaged_aside(self, visits: Sequence[Visit]) -> None:
        """Print the state of each cell, and rename the folders of damaged trials."""
        for cell in (cell for visit in visits for cell in visit.cells):
            state = cell_state(cell, self._writer)
            kept = f" (kept as {self._writer.set_aside(cell).name})" if state.state == "set aside" else ""
            print_line(f"{state.line()}{kept}", self._console)

    def _save(self, status: Status) -> str:
        self._writer.write("run.json", self._run_info(status))
        return status

    def _run_info(self, status: Status) -> RunInfo:
        return RunInfo(
            name=self._experiment.name,
            created_at=self._created_at,
            prunebench_version=prunebench.__version__,
            baseline=self._baseline(),
            labels=list(self._configurations),
            workloads=self._workload_names(),
            blocks=self._order.blocks,
            seed=self._experiment.seed,
            window_rules=self._window_rules,
            status=status,
            order=self._order.rule,
            block_counts=self._order.counts,
            checkpoint=self._checkpoint,
            accepted_changes=self._accepted_changes,
            idle_rule=self._idle_rule,
            extensions=self._extensions,
            adaptive=self._adaptive,
            wall_s=self._wall_s(status),
        )

    def _workload_names(self) -> list[str]:
        return [w.name for w in self._experiment.workloads]

    def _wall_s(self, status: str) -> float | None:
        """Of all attempts; while this one is running, of those before it."""
        if status == "running" or self._before_s is None:
            return self._before_s
        return self._before_s + time.monotonic() - self._began

    def _source_files(self) -> tuple[SourceFile, ...]:
        """From the pruner's manifest where it pruned anything, else hashed here."""
        manifests = [info.manifest for info in self._configurations.values() if info.manifest]
        known = manifests[0].source_files if manifests else None
        return tuple(hash_checkpoints(self._experiment, known))

    def _baseline(self) -> str:
        return next(info.label for info in self._configurations.values() if info.is_baseline)


def _seconds_before(begun: RunInfo | None) -> float | None:
    """Wall time of the earlier attempts; None if one could not record it."""
    if begun is None:
        return 0.0
    return None if begun.status == "running" else begun.wall_s


def _extensions(begun: RunInfo | None, order: Order, trials: int) -> tuple[Extension, ...]:
    """The additions of blocks so far, and the one that this attempt begins with."""
    if begun is None:
        return ()
    before, after = begun.blocks, order.blocks
    added = (Extension(at=utc_now(), before=before, after=after, trials=trials),) if after > before else ()
    return (*begun.extensions, *added)
