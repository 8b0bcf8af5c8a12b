"""`python -m prunebench WORDS…` in a process of its own that has its imports already: forked from one that did nothing else.

Importing is most of what a short command does, and the suite runs hundreds of them. Drawing the pictures of the report is most of
what a small run does: these runs and plans each draw only one. Commands started otherwise and the tests of reports draw them all.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.environment import environment, was_changed

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        __name__,
        "prunebench.cli",
        "prunebench.run.runner",
        "reports.build",
        "matplotlib.backends.backend_svg",
    ]
)


def run_command(words: Sequence[str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run it in `folder` with its output captured, as subprocess.run does.

    Where the test has changed environment variables it imports again.
    """
    command = [sys.executable, "-m", "prunebench", *words]
    if was_changed():
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
        )
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = _FORKS.Process(target=_run, args=(command, folder, environment(), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout, out.read_bytes(), err.read_bytes())
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    from prunebench import __main__
    from prunebench.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate((Path(os.devnull), out, err)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [__main__.__file__, *command[3:]]
    if command[3:4] in (["run"], ["plan"]):
        draw_one_picture()
    main()


def draw_one_picture() -> None:
    """In this process, put the first picture of a report in the place of all others."""
    from reports import build

    draw, drawn = build.draw_picture, []

    def first(*chart: object) -> object:
        if not drawn:
            drawn.append(draw(*chart))
        return drawn[0]

    build.draw_picture = first
