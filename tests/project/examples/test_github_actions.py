"""The example workflow: its comparison is run as the runner's shell would, on runs that differ and on runs that do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.reports.compare.test_runs import Slower
from tests.reports.example_run import Example, write_run
from tests.support.captured import captured

ROOT = Path(__file__).parents[3]
STEPS = yaml.safe_load((ROOT / "examples" / "github-actions.yml").read_text("utf-8"))["jobs"]["measure"]["steps"]


def compare(folder: Path) -> subprocess.CompletedProcess[str]:
    """The step's script in bash, with the options that the runner gives it."""
    script = next(step["run"] for step in STEPS if step.get("id") == "compare")
    binaries = Path(sys.executable).parent
    return captured(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(folder / "summary")},
        timeout=120,
    )


@pytest.mark.parametrize(("kind", "status"), [(Example, 0), (Slower, 1)])
def test_a_run_that_became_slower_fails_the_job_and_the_summary_and_junit_say_so(tmp_path, kind, status):
    widths = {"widths": (1024, 512), "blocks": 3, "noise": 0.005}
    write_run(tmp_path / "runs" / "main", Example(**widths))
    write_run(tmp_path / "runs" / "today", kind(**widths, seed=12))
    done = compare(tmp_path)
    assert done.returncode == status, done.stderr
    assert "| " in (tmp_path / "summary").read_text("utf-8")
    failed = ET.parse(tmp_path / "compare.xml").getroot().iter("failure")  # noqa: S314 - our own file
    assert bool(list(failed)) == bool(status)
