"""`python -m prunebench WORDS…` in a process of its own that has its imports already: forked from one that did nothing else.

Importing is most of what a short command does, and the suite runs hundreds of them; what a run or a load starts is forked too
(`what_it_starts`). Drawing the pictures of the report is most of what a small run does: these runs and plans each draw only one.
Commands started otherwise and the tests of reports draw them all.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from prunebench.cli import COMMANDS
from tests.support.captured import captured
from tests.support.environment import environment, was_changed
from tests.support.forks import Forks


def run_command(
    words: Sequence[str], folder: Path, timeout: float, *, asks_tasks: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run it in `folder` with its output captured, as subprocess.run does.

    Where the test has changed environment variables it imports again. One that `asks_tasks` has imported lm-eval too.
    """
    command = [sys.executable, "-m", "prunebench", *words]
    if was_changed():
        return captured(command, cwd=folder, timeout=timeout)
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = (_with_harness() if asks_tasks else _without()).start(_run, command, folder, environment(), out, err)
        try:
            status = process.wait(timeout)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout, out.read_bytes(), err.read_bytes()) from None
        return subprocess.CompletedProcess(command, status, out.read_text("utf-8"), err.read_text("utf-8"))


@functools.cache
def _without() -> Forks:
    return Forks(_import_commands)


@functools.cache
def _with_harness() -> Forks:
    return Forks(_import_harness)


def _import_commands() -> None:
    """All of them, what they start, and what draws."""
    for name in COMMANDS:
        import_module(f"prunebench.commands.{name.replace('-', '_')}")
    for name in (
        "tests.prunebench.what_it_starts",
        "server.engines.synthetic.engine",
        "matplotlib.backends.backend_svg",
    ):
        import_module(name)


def _import_harness() -> None:
    from prunebench.quality.harness import harness_version
    from server.engines.transformers.lean_import import import_tokenizers

    _import_commands()
    harness_version()
    import_module("lm_eval.evaluator")
    import_module("prunebench.quality.models")
    import_tokenizers()


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    from prunebench import __main__
    from prunebench.cli import main
    from tests.prunebench.what_it_starts import fork_what_it_starts

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate((Path(os.devnull), out, err)):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [__main__.__file__, *command[3:]]
    if command[3:4] in (["run"], ["load"], ["evaluate"]):
        fork_what_it_starts()
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
