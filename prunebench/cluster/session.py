"""One session on a cluster: what a Ray task does on the node it was placed on.

It measures every configuration of a block into its own run folder, on the GPUs that Ray assigned: server, load client and
meters run on that node, as in a run on one machine. Each result is sent immediately, so that it survives a lost node.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energy.machine import describe_machine
from loadgen.records.schema import WindowRules
from prunebench.experiment.file import Experiment
from prunebench.run.bench import Bench
from prunebench.run.environment import describe_environment, processor_name
from prunebench.run.executor import Assignment, Outcome
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.schedule import Visit
from reports.document.console import Console
from reports.runs.records.cells import Placement
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.run import IdleRule

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Facts of one GPU and one server start only.
_OF_ONE_PLACE = ("idle", "idle_without_model", "idle_after_load", "idle_again", "load_s", "load_energy", "served_model")


@dataclass(frozen=True)
class Job:
    """The work of a session: measure `visits`, all of one block; without any, ask the quality tasks."""

    name: str
    experiment: Experiment
    configurations: Mapping[str, ConfigurationInfo]
    visits: tuple[Visit, ...] = ()
    describes: bool = False  # besides measuring: perplexity, idle power without the model and after the trials
    window_rules: WindowRules = 2
    idle_rule: IdleRule = "visit"
    files: Mapping[str, bytes] = field(default_factory=dict)  # to begin with, by their paths in the run folder


@dataclass(frozen=True)
class Arrival:
    """The first message of a session."""

    placement: Placement
    environment: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """New and changed files of the session's run folder, and the outcome that they belong to."""

    files: dict[str, bytes]
    outcome: Outcome | None = None
    answered: bool = True  # no quality task is without a score
    log: str = ""


def run_job(job: Job, own_threads: str | None = None) -> Iterator[Arrival | Delivery]:
    """Measure or ask on this node.

    `own_threads` is what Ray puts into OMP_NUM_THREADS by itself: for servers that would be a limit which a run on one machine
    does not have.
    """
    if own_threads is not None and os.environ.get("OMP_NUM_THREADS") == own_threads:
        del os.environ["OMP_NUM_THREADS"]
    os.environ.setdefault(
        "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
    )  # as NVML counts, so that the meters find the GPUs Ray gave
    yield Arrival(find_placement(), describe_environment())
    with tempfile.TemporaryDirectory(prefix="prunebench-") as scratch:
        folder = _Folder(Path(scratch), job)
        with contextlib.closing(folder.bench):
            if not job.visits:
                log = io.StringIO()
                answered = folder.bench.ask(Console(file=log, width=150))
                yield Delivery(folder.news(), answered=answered, log="" if answered else log.getvalue())
            for visit in job.visits:
                for outcome in folder.bench.visit(visit):
                    yield Delivery(folder.news(), outcome)
                yield Delivery(folder.news())


def find_placement() -> Placement:
    """The host this is, and of its GPUs those that CUDA_VISIBLE_DEVICES gives to this process."""
    gpus = [meter for meter in describe_machine().meters if meter.domain == "gpu"]
    names = [processor_name() or platform.machine(), *(gpu.name or "unnamed GPU" for gpu in gpus)]
    return Placement(
        host=platform.node(),
        boot_id=BOOT_ID.read_text("ascii").strip(),
        kind=", ".join(names),
        gpus=[gpu.device for gpu in gpus],
    )


class _Folder:
    """The session's run folder, and the bench that writes into it."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path = path
        self._sent: dict[Path, int] = {}
        self._log_name = job.name.replace(" ", "-")
        writer = RunWriter(path)
        writer.make_folders()
        for name, content in job.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        unknown = dict.fromkeys(_OF_ONE_PLACE) if job.visits else {}
        configurations = {label: info.model_copy(update=unknown) for label, info in job.configurations.items()}
        last_block = job.visits[0].block if job.visits and job.describes else None
        assignment = Assignment(job.experiment, writer, configurations, job.window_rules, job.idle_rule)
        self.bench = Bench(assignment, last_block=last_block)

    def news(self) -> dict[str, bytes]:
        """Files that are new or changed since the last call; logs get the session's name."""
        found = {}
        for file in sorted(self._path.rglob("*")):
            changed = file.stat().st_mtime_ns
            if file.is_file() and self._sent.get(file) != changed:
                self._sent[file] = changed
                place = file.relative_to(self._path)
                if place.parts[0] == "logs":
                    place = place.with_name(f"{self._log_name}-{place.name}")
                found[place.as_posix()] = file.read_bytes()
        return found
