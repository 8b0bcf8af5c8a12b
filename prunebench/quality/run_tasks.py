"""The quality tasks of a run: asked once of every configuration, after the trials, so that no energy window overlaps.

lm-eval and its libraries are imported only then: the client's process stays small while it measures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from base.errors import UserError
from loadgen.energy.source import EnergySource
from prunebench.experiment.file import Experiment
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.quality.harness import Harness
from prunebench.quality.reuse import Evaluated, KnownTasks, Reuse, checkpoint_sha256
from prunebench.quality.suites import QualityError, Suite, choose_suite
from prunebench.quality.task_pass import Pass, Subject, result_line, settings_of
from prunebench.servers.process import Server
from prunebench.terminal.console import print_line
from prunebench.terminal.progress import Progress, Steps
from reports.document.console import Console
from reports.runs.records.configuration import ConfigurationInfo


def check_tasks(settings: QualitySettings | None) -> None:
    """Check, before anything is measured, that lm-eval is installed and knows every task. Raises QualityError if not.

    The check runs in another process, to keep this one small, and not at all for tasks that ship: lm-eval takes seconds to import.
    """
    if settings is None or not settings.tasks:
        return
    if not settings.include_paths and find_spec("lm_eval") and choose_suite(settings.tasks).ships:
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        apart.submit(_check, choose_suite(settings.tasks), settings.include_paths).result()


def ask_configurations(
    experiment: Experiment,
    configurations: Mapping[str, ConfigurationInfo],
    *,
    acquire: Callable[[str, Progress], tuple[Server, EnergySource]],
    folder_of: Callable[[str], Path],
    logs: Path,
    console: Console,
    host: str | None = None,
) -> bool:
    """Ask every configuration every task it has not answered yet; for a task or server that fails the reason is saved.

    `acquire` returns a configuration's running server and its meters, `folder_of` the folder for its results; each is saved immediately.
    `host` is the address of one that serves, if this machine does not. Returns whether no result is missing.
    """
    settings = experiment.quality
    if settings is None or not settings.tasks:
        return True
    suite = choose_suite(settings.tasks)
    harness = _load_harness(suite, settings.include_paths, settings.limit)
    how = settings_of(suite, "endpoint", settings.limit)
    known = KnownTasks(Reuse(wanted=settings.reuse), how, map(Path, settings.include_paths))
    asking = Pass(harness, suite, how, known)
    evaluated = {label: _evaluated(experiment, settings, info, host) for label, info in configurations.items()}
    for label, one in evaluated.items():
        if one is not None and (taken := asking.take_known(folder_of(label), one)):
            print_line(f"{label}: {taken} of {len(suite.tasks)} quality tasks taken from earlier runs", console)
    left = [label for label in configurations if not asking.is_finished(folder_of(label))]
    with Steps(console, "asking", len(left) * len(suite.tasks)) as steps:
        for label in left:
            folder, log = folder_of(label), logs / f"{label}-quality.log"
            try:
                server, energy = acquire(label, steps.part)
                subject = Subject.served(
                    server.endpoint,
                    _tokenizer(configurations[label]),
                    energy,
                    settings.concurrency,
                    evaluated[label],
                )
            except UserError as error:
                asking.give_up(folder, f"{error}")
                steps.print(f"{label}: not asked: {error}")
                steps.advance(len(suite.tasks), f"{label} failed")
                continue
            for result in asking.results(subject, folder, log, steps.part):
                if not result.scores:
                    steps.print(f"{label}, {result_line(result)}")
                steps.advance(1, f"{label}, {result_line(result)}")
    return all(asking.is_finished(folder_of(label)) for label in configurations)


def _evaluated(
    experiment: Experiment, settings: QualitySettings, info: ConfigurationInfo, host: str | None
) -> Evaluated | None:
    """All that its results depend on; None if they are not to be reused, or that is not known, as of a server at a URL."""
    if not settings.reuse or info.checkpoint is None or info.engine_version is None:
        return None
    asked = experiment.asked(info.label)
    draft = None if info.draft is None else checkpoint_sha256(Path(info.draft))
    return Evaluated(
        Path(info.checkpoint),
        info.engine,
        info.engine_version,
        info.dtype,
        info.engine_options,
        info.resolved_options,
        how={
            "environment": info.environment,
            "command": info.command,
            "speculative": asked.speculative,
            "draft": draft,
            "power_limit_w": info.power_limit_w,
            "clock_mhz": info.clock_mhz,
            "host": host,
        },
        energy=[asked.energy or experiment.energy.source, experiment.energy.modelled_watts_per_core],
        concurrency=settings.concurrency,
    )


def _tokenizer(info: ConfigurationInfo) -> Path:
    """The checkpoint's folder. Raises QualityError without one: lm-eval sends token ids."""
    if info.checkpoint is None:
        raise QualityError("its tokenizer is not known here, and the tasks are sent as token ids")
    return Path(info.checkpoint)


def _load_harness(suite: Suite, include_paths: list[str], limit: int | None) -> Harness:
    return Harness(suite, [Path(path) for path in include_paths], limit)


def _check(suite: Suite, include_paths: list[str]) -> None:
    _load_harness(suite, include_paths, None)
