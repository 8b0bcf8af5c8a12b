"""llama-cpp-python's own server with TinyGLU, where `make peers` has built it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunebench.servers.command_line import CommandLine
from prunebench.servers.process import start_server
from tests.prunebench.command_line import run_command

PEERS = Path(__file__).parents[2] / ".peers"
# The words of `[[configurations]] command` and `health`.
LLAMA_CPP_PYTHON = shlex.join(
    [f"{PEERS}/bin/python", "-P", "-m", "llama_cpp.server", "--model", f"{PEERS}/tinyglu.gguf", "--n_ctx", "1024"]
)
HEALTH = "/v1/models"
NEEDS_IT = pytest.mark.skipif(
    not (PEERS / "tinyglu.gguf").is_file(), reason="llama-cpp-python is not built here: `make peers`, ten minutes"
)


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Its URL while it runs."""
    command = CommandLine(f"{LLAMA_CPP_PYTHON} --port {{port}} {shlex.join(options)}", None, None, HEALTH)
    server = start_server(command, folder / "log", start_timeout_s=120, request_timeout_s=60)
    try:
        yield server.endpoint.url
    finally:
        server.stop()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in which requests wait for each other."""
    with serving(tmp_path_factory.mktemp("llama-cpp-python"), "--interrupt_requests", "False") as address:
        yield address


@pytest.fixture
def prunebench(tmp_path: Path):
    """Runs the command line as a user would, in an empty folder."""
    return lambda *words, timeout=120: run_command([*map(str, words)], tmp_path, timeout)
