from __future__ import annotations

from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from tests.reports.example_run import BLANK, Example, write_run


@pytest.fixture(scope="session")
def exact_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run with measured energy and no noise: every figure is the truth."""
    return write_run(tmp_path_factory.mktemp("exact") / "run", Example())


@pytest.fixture(scope="session")
def exact(exact_run: Path) -> Analysis:
    return analyse_folder(exact_run)


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have one picture, an empty one, in the place of all of theirs; drawing them takes longer than everything else."""
    monkeypatch.setattr("reports.build.draw_picture", lambda *_: BLANK)
