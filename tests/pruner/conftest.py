from __future__ import annotations

from pathlib import Path

import pytest

from tests.pruner import tiny


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A tiny bfloat16 Llama in `tmp_path`/source: 2 layers, hidden 16, width 40, one file."""
    return tiny.make_checkpoint("llama", tmp_path / "source")
