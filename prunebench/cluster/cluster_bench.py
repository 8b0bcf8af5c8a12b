"""`prunebench run --executor ray`: blocks are measured in parallel, each by one session on a node of a cluster.

A whole block, with its baseline, runs on one node, so that a ratio is between trials on the same GPUs. If the node is lost,
the runner queues the block again with the cells that have no result yet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunebench.cluster.ray_cluster import RayCluster, SessionError, SessionLostError
from prunebench.cluster.session import Arrival, Delivery, Job
from prunebench.run.executor import Assignment, Outcome
from prunebench.run.schedule import Visit
from prunebench.terminal.progress import Steps
from reports.document.console import Console
from reports.runs.records.cells import Placement
from reports.runs.records.configuration import ConfigurationInfo

ATTEMPTS = 3  # a block that was on this many lost nodes may itself be the cause


@dataclass
class _Session:
    """A job, queued or running. Times are this process's monotonic seconds."""

    job: Job
    stream: Any
    left: tuple[Visit, ...]
    attempt: int = 1
    placement: Placement | None = None  # None: still queued
    last_result: float = 0.0  # when it last sent one, or began
    ended: float | None = None

    def was_beside(self, other: _Session) -> bool:
        """Whether it was running on the same host since the last result of `other`."""
        return (
            self is not other
            and self.placement is not None
            and other.placement is not None
            and self.placement.boot_id == other.placement.boot_id
            and (self.ended is None or self.ended > other.last_result)
        )


class ClusterBench:
    """Measures on a cluster what `Bench` measures here, into the same kind of run folder with the place of each trial."""

    def __init__(self, cluster: RayCluster, assignment: Assignment) -> None:
        self._cluster = cluster
        self._experiment = assignment.experiment
        self._writer = assignment.writer
        self._configurations = assignment.configurations
        self._window_rules = assignment.window_rules
        self._idle_rule = assignment.idle_rule
        self._sessions: list[_Session] = []  # running and ended
        self._good = True

    def places(self) -> int:
        """The sessions for which the nodes that are alive have room together; at least one."""
        return max(1, self._cluster.places())

    def measure(self, visits: Sequence[Visit], steps: Steps) -> None:
        """Measure every cell of `visits`; one that fails is recorded, and the others continue."""
        blocks: dict[int, list[Visit]] = {}
        for visit in visits:
            blocks.setdefault(visit.block, []).append(visit)
        self._work([self._job(block, own) for block, own in sorted(blocks.items())], steps)

    def finish(self) -> None:
        """Nothing: the session that describes the configurations measures their idle power."""

    def ask(self, console: Console) -> bool:
        """The quality tasks of every configuration that was served, each in its own session; False if one gave no score."""
        quality = self._experiment.quality
        if quality is None or not quality.tasks:
            return True
        served = {label: info for label, info in self._configurations.items() if info.described}
        jobs = [
            Job(f"quality of {label}", self._experiment, {label: info}, files=self._writer.answers(label))
            for label, info in served.items()
        ]
        with Steps(console, "asking", len(jobs)) as steps:
            return self._work(jobs, steps)

    def close(self) -> None:
        """Cancel the running sessions."""
        self._cluster.leave([session.stream for session in self._sessions if session.ended is None])

    def _job(self, block: int, visits: list[Visit]) -> Job:
        """The first block describes the configurations too: facts that are compared must come from one node."""
        experiment = self._experiment if block == 0 else self._experiment.model_copy(update={"quality": None})
        return Job(
            f"block {block + 1}",
            experiment,
            self._configurations,
            tuple(visits),
            describes=block == 0,
            window_rules=self._window_rules,
            idle_rule=self._idle_rule,
        )

    def _work(self, jobs: Sequence[Job], steps: Steps) -> bool:
        """Run all jobs. False if one failed, or a quality task gave no score."""
        self._good = True
        for job in jobs:
            self._submit(job)
        while running := [session for session in self._sessions if session.ended is None]:
            stream = self._cluster.next_of([session.stream for session in running])
            if stream is None and not any(session.placement for session in running) and not self._cluster.has_room():
                for session in running:
                    self._give_up(session, "no node that is left in the cluster has room for it", steps)
            for session in running:
                if session.stream is stream:
                    self._take(session, steps)
        return self._good

    def _take(self, session: _Session, steps: Steps) -> None:
        try:
            taken = self._cluster.take(session.stream)
        except SessionError as error:
            self._give_up(session, f"{error}", steps)
        except SessionLostError as error:
            self._place_again(session, f"{error}", steps)
        else:
            if isinstance(taken, Arrival):
                self._arrived(session, taken, steps)
            elif taken is not None and session.placement is not None:
                self._delivered(session, session.placement, taken, steps)
            elif session.left:
                self._place_again(session, "it ended early", steps)
            else:
                session.ended = time.monotonic()

    def _submit(self, job: Job, attempt: int = 1) -> None:
        self._sessions.append(_Session(job, self._cluster.submit(job), job.visits, attempt))

    def _arrived(self, session: _Session, arrival: Arrival, steps: Steps) -> None:
        place = session.placement = arrival.placement
        session.last_result = time.monotonic()
        self._writer.add_host(place.host, arrival.environment)
        steps.print(f"{session.job.name}: on {', '.join([place.host, *place.gpus])}")

    def _delivered(self, session: _Session, place: Placement, delivery: Delivery, steps: Steps) -> None:
        """Save the files, with the names of the sessions that ran on the same host."""
        beside = sorted({other.job.name for other in self._sessions if other.was_beside(session)})
        session.last_result = time.monotonic()
        files = dict(delivery.files)
        for name in [name for name in files if name.startswith("configurations/")]:
            self._learn(ConfigurationInfo.model_validate_json(files.pop(name)), session.job)
        self._writer.take_in(files, place.model_copy(update={"beside": beside}))
        for line in delivery.log.splitlines():
            steps.print(line)
        if delivery.outcome is not None:
            over = delivery.outcome.cells
            session.left = tuple(v for visit in session.left if (v := visit.without(over.__contains__)).cells)
            delivery.outcome.report(steps)
        elif not session.job.visits:
            steps.advance(1, session.job.name)
        self._good = self._good and delivery.answered

    def _learn(self, info: ConfigurationInfo, job: Job) -> None:
        """Keep the facts of the describing session; those of another only until then."""
        known = self._configurations[info.label]
        if job.describes or not known.described:
            self._configurations[info.label] = info.model_copy(update={"quality": info.quality or known.quality})
            self._writer.write_configuration(self._configurations[info.label])

    def _place_again(self, session: _Session, cause: str, steps: Steps) -> None:
        """Queue the remaining cells of a lost session, at most `ATTEMPTS` times."""
        where = session.placement.host if session.placement else "its node"
        if session.attempt == ATTEMPTS:
            self._give_up(session, f"lost {ATTEMPTS} times, the last time with {where}: {cause}", steps)
            return
        session.ended = time.monotonic()
        if session.left or not session.job.visits:
            cells = sum(len(visit.cells) for visit in session.left)
            what = f" with the {cells} cells that are left" if cells else ""
            steps.print(f"{session.job.name}: lost with {where}: {cause}; queued again{what}")
            self._submit(replace(session.job, visits=session.left), session.attempt + 1)

    def _give_up(self, session: _Session, cause: str, steps: Steps) -> None:
        """Record the cause for every remaining cell; `--resume` tries them again."""
        session.ended = time.monotonic()
        self._good = False
        for visit in session.left:
            for cell in visit.cells:
                self._writer.write_failure(cell, cause)
            Outcome(visit.cells, cause).report(steps)
        if not session.job.visits:
            steps.print(f"{session.job.name}: not asked: {cause}")
            steps.advance(1, session.job.name)
