"""Another project's server, awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx


def wait_until_healthy(url: str, exit_status: Callable[[], int | None], log: Path, timeout_s: float) -> None:
    """Return once its `/health` answers. Fails with its log where it ends before, or after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not _is_healthy(url):
        assert exit_status() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False
