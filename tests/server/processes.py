"""`serve` in a process of its own."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from base.errors import UserError
from server.settings import ServeSettings
from tests.support.environment import environment
from tests.support.forks import Forked, Forks

_SERVE = "import sys; from tests.server.processes import serve; sys.exit(serve(sys.argv[1]))"


class Server:
    """What it needs of subprocess.Popen, of a fork: that with the synthetic engine has its imports already."""

    def __init__(self, settings: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pipe = Path(folder, "stderr")
            os.mkfifo(pipe)
            self._process: Forked = _forks().start(_serve_into, settings, environment(), pipe)
            self.stderr = pipe.open(encoding="utf-8")
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def communicate(self, timeout: float) -> tuple[None, str]:
        self.wait(timeout)
        with self.stderr as said:
            return None, said.read()


@functools.cache
def _forks() -> Forks:
    return Forks(_import)


def _import() -> None:
    import server.engines.synthetic.engine
    import server.serve  # noqa: F401


def _serve_into(settings: str, variables: dict[str, str], pipe: Path) -> None:
    opened = os.open(pipe, os.O_WRONLY)
    os.dup2(opened, 2)
    os.close(opened)
    os.environ.clear()
    os.environ.update(variables)
    sys.exit(serve(settings))


def serve(settings: str) -> int | str:
    """The exit status, or what the user must fix."""
    from server.serve import serve

    try:
        return serve(ServeSettings.model_validate_json(settings))
    except UserError as error:
        return f"{error}"


def serve_process(**settings: object) -> Any:
    """`serve` in a process of its own; its progress is on stderr."""
    given = ServeSettings.model_validate({"engine": "synthetic", "port": 0, **settings})
    if given.engine == "synthetic":
        return Server(given.model_dump_json())
    return subprocess.Popen([sys.executable, "-c", _SERVE, given.model_dump_json()], stderr=subprocess.PIPE, text=True)


def url_once_ready(process: Any) -> str:
    for line in process.stderr:
        if " ready at " in line:
            return line.split(" ready at ")[1].split()[0]
    raise AssertionError("the server ended before it was ready")
