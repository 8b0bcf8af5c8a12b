from pathlib import Path

import pytest

from tests.prunebench.calibration.test_text_calibration import TEXT


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path
