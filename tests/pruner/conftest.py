from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pruner import tiny
from tests.pruner.checkpoint.hub_server import Hub, running_hub
from tests.support.captured import captured


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A tiny bfloat16 Llama in `tmp_path`/source: 2 layers, hidden 16, width 40, one file."""
    return tiny.make_checkpoint("llama", tmp_path / "source")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A little hub on the loopback."""
    with running_hub() as hub:
        yield hub


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Callable[..., str]:
    """Runs a script with huggingface_hub bound to the little hub; nothing may be written to stderr.

    huggingface_hub reads its settings once, at import, so that each script has a process of its own.
    """

    def run(script: str, *words: object, **environment: str) -> str:
        done = captured(
            [sys.executable, "-c", script, *words],
            cwd=Path(__file__).parents[2],
            env=os.environ | hub.environment(tmp_path / "cache") | environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    return run
