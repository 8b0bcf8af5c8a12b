"""The quality tasks of a run: asked once of every configuration, after the trials, so that no energy window overlaps.

lm-eval and its libraries are imported only then: the client's process stays small while it measures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from base.errors import UserError
from energy.machine import describe_machine
from loadgen.energy.source import EnergySource
from prunebench.experiment.file import QualitySettings
from prunebench.quality.harness import Harness
from prunebench.quality.reuse import Reuse, checkpoint_sha256
from prunebench.quality.suites import QualityError, Suite, TaskChoice, choose_suite, measured_texts
from prunebench.quality.task_pass import Pass, Subject, result_line, settings_of
from prunebench.servers.process import Server
from prunebench.terminal.progress import Progress, Steps
from reports.document.console import Console
from reports.runs.records import ConfigurationInfo, TaskResult


def check_tasks(settings: QualitySettings | None) -> None:
    """Check, before anything is measured, that lm-eval is installed and knows every task. Raises QualityError if not.

    The check runs in another process, to keep this one small.
    """
    if settings is None or not settings.tasks:
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        apart.submit(_check, choose_suite(settings.tasks), settings.include_paths).result()


def ask_configurations(
    settings: QualitySettings | None,
    configurations: Mapping[str, ConfigurationInfo],
    *,
    acquire: Callable[[str, Progress], tuple[Server, EnergySource]],
    folder_of: Callable[[str], Path],
    logs: Path,
    console: Console,
) -> bool:
    """Ask every configuration every task it has not answered yet; for a task or server that fails the reason is saved.

    `acquire` returns a configuration's running server and its meters, `folder_of` the folder for its results; each is saved immediately.
    Returns whether no result is missing.
    """
    if settings is None or not settings.tasks:
        return True
    suite = choose_suite(settings.tasks)
    harness = _load_harness(suite, settings.include_paths, settings.limit)
    asking = Pass(harness, suite, settings_of(suite, "endpoint", settings.limit))
    reuse = Reuse(settings)
    keys = {
        (label, choice): _key(info, choice, settings)
        for label, info in configurations.items()
        for choice in suite.tasks
    }
    for (label, choice), key in keys.items():
        if key is not None and asking.finished(folder_of(label), choice) is None:
            asking.take(folder_of(label), choice, reuse.find(key, TaskResult))
    left = [label for label in configurations if not asking.is_finished(folder_of(label))]
    with Steps(console, "asking", len(left) * len(suite.tasks)) as steps:
        for label in left:
            folder, log = folder_of(label), logs / f"{label}-quality.log"
            try:
                server, energy = acquire(label, steps.part)
                subject = Subject.served(
                    server.endpoint, _tokenizer(configurations[label]), energy, settings.concurrency
                )
            except UserError as error:
                asking.give_up(folder, f"{error}")
                steps.print(f"{label}: not asked: {error}")
                steps.advance(len(suite.tasks), f"{label} failed")
                continue
            for result in asking.results(subject, folder, log, steps.part):
                choice = next(one for one in suite.tasks if one.name == result.task)
                if result.scores and not result.reused and (key := keys[label, choice]):
                    reuse.keep(key, result)
                if not result.scores:
                    steps.print(f"{label}, {result_line(result)}")
                steps.advance(1, f"{label}, {result_line(result)}")
    return all(asking.is_finished(folder_of(label)) for label in configurations)


def _key(info: ConfigurationInfo, choice: TaskChoice, settings: QualitySettings) -> dict[str, object] | None:
    """All that a task's scores, time and joules depend on, besides `TaskResult.settings`; None if that is not known."""
    if not settings.reuse or info.checkpoint is None or info.engine_version is None:
        return None
    items = {file: text for file, text in measured_texts(settings).items() if Path(file).stem == choice.file_name}
    return {
        "checkpoint": checkpoint_sha256(Path(info.checkpoint)),
        "engine": [info.engine, info.engine_version, info.dtype, info.engine_options, info.environment, info.command],
        "task": [choice.name, choice.shots, settings.limit, settings.concurrency, items],
        "meters": [meter.name for meter in describe_machine().meters],
    }


def _tokenizer(info: ConfigurationInfo) -> Path:
    """The checkpoint's folder. Raises QualityError without one: lm-eval sends token ids."""
    if info.checkpoint is None:
        raise QualityError("its tokenizer is not known here, and the tasks are sent as token ids")
    return Path(info.checkpoint)


def _load_harness(suite: Suite, include_paths: list[str], limit: int | None) -> Harness:
    return Harness(suite, [Path(path) for path in include_paths], limit)


def _check(suite: Suite, include_paths: list[str]) -> None:
    _load_harness(suite, include_paths, None)
