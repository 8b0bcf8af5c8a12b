"""`prunebench run`: what is checked before there is a folder, the run itself, and the report of whatever was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.prompts.files import input_notes
from loadgen.records.recorder import where_kept
from prunebench.cluster.ray_cluster import RayCluster
from prunebench.experiment.configurations import check_configurations
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.quality.run_tasks import check_tasks
from prunebench.run.environment import describe_environment
from prunebench.run.resume import extended
from prunebench.run.run_writer import Resume, RunWriter, choose_run_folder, describe_os_error
from prunebench.run.runner import Runner
from prunebench.servers.remote import RemoteHost
from reports.build import ReportError, build_report
from reports.compare.differences import between_environments
from reports.document.console import Console
from reports.sections.workloads import render_tables

_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


@dataclass(frozen=True)
class Place:
    """Where a run's parts are, when they are not all in one folder on one machine."""

    checkpoints: Path | None = None  # None: in the run folder
    host: RemoteHost | None = None  # None: servers are processes of the runner
    prune_only: bool = False  # leave the rest to a later --resume
    cluster: RayCluster | None = None  # None: trials are measured from here, one at a time


def run_experiment(
    experiment: Experiment,
    experiment_file: Path,
    output: Path | None,
    *,
    resume: Resume,
    console: Console,
    place: Place = Place(),
    blocks: int | None = None,
    accept_changes: bool = False,
) -> int:
    """Run, report, print the table and the report's path. Returns the exit status: 1 if any cell failed.

    `blocks` is the total that a resumed run is extended to. On Ctrl-C the finished trials are reported before the interrupt goes on.
    """
    check_configurations(experiment)
    check_tasks(experiment.quality)
    for workload in experiment.workloads:
        for note in input_notes(workload):
            console.print(f"note: {note}", **_PLAIN)
    if place.host is not None:
        place.host.check()
    if place.cluster is not None:
        place.cluster.connect(experiment.serve.options)
    folder, goes_on = choose_run_folder(experiment, output, resume)
    writer = RunWriter(folder, place.checkpoints)
    environment = describe_environment()
    with writer.locked():
        try:
            broken_off: list[str] = []
            if goes_on:
                broken_off = writer.reopen(experiment, experiment_file, accept_changes=accept_changes)
            else:
                writer.create(experiment, experiment_file)
        except OSError as error:
            raise ExperimentError(f"--output {folder}: {describe_os_error(error)}") from None
        console.print(f"{experiment.name} on {environment['processor']}, {environment['cores_usable']} cores", **_PLAIN)
        before = {
            key: facts for key, facts in writer.folder.environment().items() if key != "hosts"
        }  # those come and go
        for changed in between_environments(before, environment) if goes_on else []:
            console.print(
                f"note: {changed.what} was {changed.before} when this run was started, and is {changed.after} now: "
                "trials before and after are not alike",
                **_PLAIN,
            )
        for cell in broken_off:
            console.print(f"note: {cell} was cut short; it is measured anew, and its records are gone", **_PLAIN)
        return _run(extended(experiment, writer.begun(), blocks), writer, place, console)


def _run(experiment: Experiment, writer: RunWriter, place: Place, console: Console) -> int:
    runner = Runner(experiment, writer, console, host=place.host, cluster=place.cluster)
    if place.prune_only:
        runner.prepare()
        console.print(str(writer.path), highlight=False, soft_wrap=True)
        return 0
    try:
        status = runner.run()
    except OSError as error:
        status = "interrupted"
        console.print(
            f"stopped: {describe_os_error(error)}; what is finished is kept, mend it and add --resume", **_PLAIN
        )
    finally:
        for kept in writer.broken_off():
            console.print(where_kept(kept), **_PLAIN)
        reported = _report(writer, console)
    return 0 if status == "complete" and reported else 1


def _report(writer: RunWriter, console: Console) -> bool:
    """The report of whatever is finished; False if it could not be written, which must hide no other failure."""
    try:
        if writer.folder.trial_folders():
            page = build_report([writer.path], notice=lambda line: console.print(line, **_PLAIN))
            for table in render_tables(writer.path):
                console.print(table)
            console.print(str(page), **_PLAIN)
    except ReportError as error:
        console.print(f"no report: {error}", **_PLAIN)
        return False
    return True
