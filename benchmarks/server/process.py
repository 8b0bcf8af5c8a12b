"""Servers as processes of their own, for the benchmarks that ask them over HTTP."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from base.network import free_port

ROOT = Path(__file__).parents[2]
START_S = 240


@contextlib.contextmanager
def server(arguments: list[str], log: Path) -> Iterator[tuple[str, int]]:
    """A server's process, asked for a free port with --port; its URL, before it is ready, and its id."""
    port = free_port()
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
        try:
            yield f"http://127.0.0.1:{port}", child.pid
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_until_healthy(url: str, log: Path, process_id: int) -> None:
    """Raises TimeoutError with the end of the server's log, at once if its process has ended."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        time.sleep(0.5)
    raise TimeoutError(f"{url} is not healthy: {log.read_text()[-2000:]}")
