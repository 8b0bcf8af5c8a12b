from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports.errors import ReportError
from reports.reading import read_run
from tests.reports.example_run import SINGLE, Example, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    workload = SINGLE.model_copy(update={"requests": 2})
    return write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(workload,), blocks=2))


def test_every_finished_trial_is_read(run):
    assert sorted((t.cell.block, t.cell.label) for t in read_run(run).trials) == [
        (0, "width-1024"),
        (0, "width-512"),
        (1, "width-1024"),
        (1, "width-512"),
    ]


def test_a_trial_still_being_written_is_passed_over(run):
    written = run / "trials" / "0-width-512-single-request"
    shutil.copytree(written, written.with_name("9-width-512-single-request.partial"))
    (written.with_name("9-width-512-single-request.partial") / "requests.parquet").unlink()
    assert len(read_run(run).trials) == 4


def test_configurations_never_started_are_absent(run):
    (run / "configurations" / "width-512.json").unlink()
    for trial in (run / "trials").glob("*-width-512-*"):
        shutil.rmtree(trial)
    assert [c.label for c in read_run(run).configurations] == ["width-1024"]


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ReportError, match=r"nowhere is not a run folder: it has no run\.json"):
        read_run(tmp_path / "nowhere")


def test_a_broken_run_file_is_named_in_one_line(run):
    (run / "run.json").write_text('{"name": "x"}')
    with pytest.raises(ReportError) as caught:
        read_run(run)
    assert str(run) in str(caught.value)
    assert "RunInfo: created_at: Field required" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content"), [("requests.parquet", b"PAR?"), ("trial.json", b"{"), ("requests.parquet", b"")]
)
def test_a_broken_trial_is_named_in_one_line(run, file, content):
    (run / "trials" / "1-width-512-single-request" / file).write_bytes(content)
    with pytest.raises(ReportError) as caught:
        read_run(run)
    assert "1-width-512-single-request: this trial cannot be read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_without_its_requests_is_named(run):
    (run / "trials" / "1-width-512-single-request" / "requests.parquet").unlink()
    with pytest.raises(ReportError, match="1-width-512-single-request: this trial cannot be read"):
        read_run(run)


def test_a_trial_of_an_unknown_configuration_is_named(run):
    (run / "configurations" / "width-512.json").unlink()
    with pytest.raises(ReportError, match=r"there is no configurations/width-512\.json for this trial"):
        read_run(run)
