"""A run that is killed at any moment, whoever is killed, ends as one that was not: nothing finished is lost or measured twice."""

import contextlib
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest

from loadgen.results.store import read_trial
from prunebench.cli import main
from reports.analysis.analyse import analyse_folder
from reports.analysis.quantities import MEDIAN_REQUEST_JOULES, NET_JOULES, P99_REQUEST_JOULES
from reports.analysis.records import Analysis
from reports.runs.run_folder import RunFolder
from tests.prunebench.command_line import draw_one_picture
from tests.prunebench.conftest import SYNTHETIC
from tests.support.long import short_or_long

pytestmark = pytest.mark.slow
KILLS, BLOCKS = short_or_long((8, 8), (20, 12))
CELLS = BLOCKS * 2  # x widths
TIMED = {"itl", "tpot", "character"}
OF_THE_RUN = {NET_JOULES, MEDIAN_REQUEST_JOULES, P99_REQUEST_JOULES}
PROCESSES = multiprocessing.get_context("forkserver")
# A runner then starts in a moment.
PROCESSES.set_forkserver_preload(["prunebench.cli", "prunebench.commands.run", "matplotlib.backends.backend_svg"])


def run(file: Path, folder: Path, log: Path) -> None:
    """In a process of its own: `prunebench run`, started or resumed."""
    with log.open("ab") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    goes_on = ["--resume"] if (folder / "trials").exists() else []
    sys.argv = ["prunebench", "run", str(file), "--output", str(folder), *goes_on]
    draw_one_picture()
    main()


def start(file: Path, folder: Path) -> ForkServerProcess:
    process = PROCESSES.Process(target=run, args=(file, folder, folder.with_suffix(".log")))
    process.start()
    return process


def children_of(runner: ForkServerProcess, kind: str = "") -> list[psutil.Process]:
    """Those whose command line names `kind`."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(runner.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if kind in " ".join(child.cmdline()):
                    found.append(child)
    return found


def alive_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that have not ended by then. One that has and that nobody waits for is no longer alive."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (left := [p for p in processes if runs(p)]):
        time.sleep(0.05)
        processes = left
    return [p for p in processes if runs(p)]


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def choose_victim(dice: random.Random, kind: str, folder: Path, runner: ForkServerProcess) -> psutil.Process | None:
    """Any moment: the runner while things start or once another trial is finished, so that the run gets somewhere; a server
    while it starts or serves; the process that sends the load while it does. None if the run has ended by then.
    """
    before, deadline = trials_in(folder), time.monotonic() + 60
    if kind == "runner":
        start_only = dice.random() < 0.5
        time.sleep(dice.uniform(0.05, 2.0) if start_only else 0)
        while not start_only and runner.is_alive() and trials_in(folder) <= before:
            assert time.monotonic() < deadline, folder.with_suffix(".log").read_text()
            time.sleep(0.02)
    else:
        while runner.is_alive() and not (found := children_of(runner, kind)):
            assert time.monotonic() < deadline, folder.with_suffix(".log").read_text()
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, 0.5))
        if found := children_of(runner, kind):
            return dice.choice(found)
    return psutil.Process(runner.pid) if runner.is_alive() else None


def trials_in(folder: Path) -> int:
    return len(list(RunFolder(folder).trials()))


def digests(folder: Path) -> dict[str, str]:
    """Every file of every finished trial and checkpoint."""
    files = [f for place in ("trials", "checkpoints") for f in folder.glob(f"{place}/*/*") if ".partial" not in str(f)]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def figures_of(analysis: Analysis) -> dict[tuple[int, str, str], dict[str, float]]:
    """What each trial measured. What is worked out from the idle power of the whole run comes last."""
    return {
        (t.block, t.label, t.workload): {key: value for key, value in t.values.items() if key not in OF_THE_RUN}
        for t in analysis.trials
    }


def skeleton(analysis: Analysis) -> dict:
    """What a report says apart from figures that no two measurements share."""
    return {
        "info": analysis.info.model_dump(exclude={"created_at", "wall_s"}),
        "workloads": analysis.workloads,
        "failures": analysis.failures,
        "checks": [check.check for check in analysis.checks],
        "trials": [(t.block, t.label, t.workload, t.order) for t in analysis.trials],
        "cells": [
            (c.label, c.workload, c.trials, c.requests, c.failed_requests, c.mean_output_tokens, c.energy_sources)
            for c in analysis.cells
        ],
        "values": {
            f"{c.label} {c.workload} {key}": (v.trials, v.reason, v.comparison and sorted(v.comparison.ratios))
            for c in analysis.cells
            for key, v in c.values.items()
            if not TIMED & set(key.split("_"))  # tokens that are read together have no time between them, and no ratio
            and key not in OF_THE_RUN  # of requests that lie wholly in the window, which is chance
        },
        "configurations": [
            (c.info.label, c.info.parameters, c.info.engine_version, c.info.manifest, c.info.idle_again is None)
            for c in analysis.configurations
        ],
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("survival")
    one_workload = SYNTHETIC[: SYNTHETIC.rindex("[[workloads]]")]
    text = one_workload.replace("blocks = 2", f"blocks = {BLOCKS}").replace("idle_s = 0.2", "idle_s = 0.02")
    file = folder / "tiny.toml"
    file.write_text(text)
    return file


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(file):
    undisturbed, folder = file.with_name("undisturbed"), file.with_name("killed")
    whole = start(file, undisturbed)
    dice = random.Random(20)
    finished: dict[str, str] = {}
    figures: dict[tuple[int, str, str], dict[str, float]] = {}
    runner, victims = None, []
    kinds = ["runner", "serve ", "loadgen.client.process"]  # each at least once
    kinds += dice.choices([*kinds, "runner"], k=2 * KILLS)
    for kind in kinds:
        if len(victims) == KILLS:
            break
        if runner is None or not runner.is_alive():
            runner = start(file, folder)
        victim = choose_victim(dice, kind, folder, runner)
        if victim is None:
            continue
        children = children_of(runner)
        with contextlib.suppress(psutil.NoSuchProcess):
            victims.append("runner" if victim.pid == runner.pid else " ".join(victim.cmdline()[1:5]))
            victim.send_signal(signal.SIGKILL)
        if victim.pid == runner.pid:
            runner.join(10)
            assert not alive_after(children, 30)
            found = digests(folder)
            assert finished.items() <= found.items()
            finished = found
            if RunFolder(folder).path.joinpath("run.json").exists():
                figures |= figures_of(analyse_folder(folder))
    assert len(victims) == KILLS
    assert all(any(kind in victim for victim in victims) for kind in ("runner", "serve", "client")), victims
    assert figures

    for _ in range(3):  # what failed because a process was killed is tried again
        runner = runner if runner.is_alive() else start(file, folder)
        runner.join(120)
        if runner.exitcode == 0:
            break
    assert runner.exitcode == 0, folder.with_suffix(".log").read_text()
    whole.join(120)
    assert whole.exitcode == 0, undisturbed.with_suffix(".log").read_text()
    assert (
        "ended with signal SIGKILL (the kernel sends it when memory runs out)" in folder.with_suffix(".log").read_text()
    )
    assert finished.items() <= digests(folder).items()
    assert not [*folder.rglob("*.partial"), *folder.rglob("*.records.arrows")]
    assert (folder / "report.html").exists()

    ended, wanted = analyse_folder(folder), analyse_folder(undisturbed)
    for part, expected in skeleton(wanted).items():
        assert skeleton(ended)[part] == expected, part
    again = figures_of(ended)
    assert len(again) == CELLS
    assert figures.items() <= again.items()
    checkpoints = [{n: d for n, d in digests(f).items() if n.startswith("checkpoints")} for f in (folder, undisturbed)]
    assert checkpoints[0] == checkpoints[1]
    seeds = [{t.cell: read_trial(t.folder).trial.seed for t in RunFolder(f).trials()} for f in (folder, undisturbed)]
    assert seeds[0] == seeds[1]
