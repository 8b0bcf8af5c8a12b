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

from tests.support.captured import captured

ROOT = Path(__file__).parents[3]
SCRIPTS = Path(__file__).parent
_NUMBERS = itertools.count()
CANNOT = 77  # the scripts' way of saying so
RUN_FROM = ("docker-compose.yml", ".env", "experiments", "deployment")  # all that `up` needs once there is an image


@dataclass
class Chain:
    """The compose file in a folder of its own, without a `runs`, and as a project of its own."""

    folder: Path
    environment: dict[str, str]
    command: str = "docker-compose"
    overrides: list[Path] = field(default_factory=list)

    def compose(self, *words: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        files = ["docker-compose.yml", *map(str, self.overrides)]
        command = [self.command, *(word for file in files for word in ("-f", file)), *words]
        return self._run(command, timeout)

    def docker(self, *words: str, timeout: float = 60) -> str:
        done = self._run(["/usr/bin/docker", *words], timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def up(self, *words: str) -> None:
        """Bring it up, and leave it to itself."""
        done = self.compose("up", "-d", *words)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What the engine knows of the containers of a service, or of all."""
        filters = [f"label=com.docker.compose.project={self.environment['COMPOSE_PROJECT_NAME']}"]
        filters += [f"label=com.docker.compose.service={service}"] if service else []
        found = self.docker("ps", "-aq", *(word for one in filters for word in ("--filter", one))).split()
        return json.loads(self.docker("inspect", *found)) if found else []

    def container(self, service: str) -> dict[str, Any] | None:
        """That of a service; None if it was never made."""
        return next(iter(self.containers(service)), None)

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
        return captured(command, cwd=self.folder, env=self.environment, timeout=timeout)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh engine that has the base image."""
    folder = tmp_path_factory.mktemp("engine")
    script = SCRIPTS / "docker-engine"
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
def built(engine: str) -> Chain:
    """The image, built once of what is here."""
    # Whatever this machine says about Compose, Docker or the hub is not the project's.
    ours = ("COMPOSE_", "DOCKER_", "PRUNEBENCH_", "HF_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    chain = Chain(ROOT, {**environment, "DOCKER_HOST": engine, "EXPERIMENT": "experiments/quick.toml"})
    done = chain.compose("build", "setup", timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return chain


@pytest.fixture(scope="session")
def compose_v2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a Compose v2."""
    command = [SCRIPTS / "compose-v2", tmp_path_factory.mktemp("compose-v2")]
    done = captured(command, timeout=300)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def chain(built: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A project of the test's own, gone afterwards; with Compose 1.29."""
    yield from project(built, tmp_path / "chain")


@pytest.fixture(scope="module")
def finished(built: Chain, compose_v2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A project that was brought up by Compose v2 and whose report has ended."""
    for chain in project(built, tmp_path_factory.mktemp("finished") / "chain"):
        chain.command = compose_v2
        chain.up()
        chain.exit_code("report")
        yield chain


def project(built: Chain, folder: Path) -> Iterator[Chain]:
    """Containers, volumes and ports of its own; nothing of it is left."""
    folder.mkdir()
    for name in RUN_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copyfile(ROOT / name, folder / name)
    number = next(_NUMBERS)
    ports = {"PRUNEBENCH_PORTS": f"{18000 + 10 * number}-{18009 + 10 * number}", "LOCUST_PORT": f"{18900 + number}"}
    name = f"t{os.getpid()}n{number}"
    own = Chain(folder, {**built.environment, **ports, "COMPOSE_PROJECT_NAME": name})
    yield own
    down = own.compose("down", "-v", "--remove-orphans", "--timeout", "5")
    assert down.returncode == 0, down.stderr
    assert not own.containers()
    assert not own.docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={name}")
