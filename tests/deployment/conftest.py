"""A Docker engine of the tests' own, the image built on it, and docker-compose.yml used as a stranger would."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_NUMBERS = itertools.count()
CANNOT = 77  # docker-engine's way of saying so
SHIPPED = (
    *("docker-compose.yml", "Dockerfile", ".dockerignore", ".env", "pyproject.toml", "README.md", "LICENSE"),
    *("prunebench", "reports", "pruner", "server", "loadgen", "energy", "requirements", "deployment", "wheelhouse"),
    *("experiments", "examples/tinyglu"),
)


@dataclass
class Chain:
    """The compose file in a fresh copy of what it is built from, as a project of its own."""

    folder: Path
    environment: dict[str, str]
    overrides: list[Path] = field(default_factory=list)

    def compose(self, *words: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        files = ["docker-compose.yml", *map(str, self.overrides)]
        command = ["docker-compose", *(word for file in files for word in ("-f", file)), *words]
        return self._run(command, timeout)

    def docker(self, *words: str, timeout: float = 60) -> str:
        done = self._run(["/usr/bin/docker", *words], timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def container(self, service: str) -> dict[str, Any] | None:
        """What the engine knows of a service's container; None if it was never made."""
        found = self.compose("ps", "-q", service).stdout.split()
        return json.loads(self.docker("inspect", found[0]))[0] if found else None

    def exit_code(self, service: str, timeout: float = 400) -> int:
        """Wait for a service to end."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.container(service)
            assert found is not None
            assert time.monotonic() < deadline, self.logs()
            if found["State"]["Status"] == "exited":
                return int(found["State"]["ExitCode"])
            time.sleep(0.5)

    def logs(self) -> str:
        return self.compose("logs", "--no-color").stdout

    def _run(self, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh engine that has the base image."""
    folder = tmp_path_factory.mktemp("engine")
    script = Path(__file__).parent / "docker-engine"
    with (folder / "said").open("w") as said, (folder / "complained").open("w") as complained:
        # The engine goes on in the background: with pipes the end of the script would not be the end of its output.
        done = subprocess.run([script, folder / "own"], stdout=said, stderr=complained, timeout=300, check=False)
    try:
        if done.returncode == CANNOT:
            pytest.skip((folder / "complained").read_text().strip())
        assert done.returncode == 0, (folder / "complained").read_text()
        yield (folder / "said").read_text().split()[-1]
    finally:
        subprocess.run([script, folder / "own", "--stop"], check=True, timeout=60)


@pytest.fixture(scope="session")
def built(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The image, built once; `docker-compose.yml` and all it needs in a folder of their own, without a `runs`."""
    folder = tmp_path_factory.mktemp("clone")
    for name in SHIPPED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    # Whatever this machine says about Compose or Docker is not the project's.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COMPOSE_", "DOCKER_", "PRUNEBENCH_"))}
    environment |= {"DOCKER_HOST": engine, "EXPERIMENT": "experiments/quick.toml", "PRUNEBENCH_PORTS": "18000-18009"}
    chain = Chain(folder, environment)
    done = chain.compose("build", "setup", timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return chain


@pytest.fixture
def chain(built: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A project of the test's own, gone afterwards."""
    yield from project(built, f"t{os.getpid()}n{next(_NUMBERS)}")


@pytest.fixture(scope="module")
def finished(built: Chain) -> Iterator[Chain]:
    """A project that was brought up and whose report has ended."""
    for chain in project(built, "finished"):
        up = chain.compose("up", "-d")
        assert up.returncode == 0, up.stderr
        chain.exit_code("report")
        yield chain


def project(built: Chain, name: str) -> Iterator[Chain]:
    own = Chain(built.folder, {**built.environment, "COMPOSE_PROJECT_NAME": name})
    shutil.rmtree(built.folder / "runs", ignore_errors=True)
    yield own
    down = own.compose("down", "-v", "--timeout", "10")
    assert down.returncode == 0, down.stderr
    assert not own.docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={name}")
