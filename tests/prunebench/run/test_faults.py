"""A fault in a run leaves the finished trials, names its cause, and the rest continues."""

from pathlib import Path

import pytest

from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import fill

pytestmark = pytest.mark.slow


def stamps(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/*")}


def test_a_full_disk_stops_a_run_in_one_line_and_resume_goes_on_once_there_is_room(prunebench, experiment, small_disk):
    file, folder = experiment(blocks="3"), small_disk / "out"
    assert prunebench("run", file, "--prune-only", "--output", folder).returncode == 0
    filler = fill(small_disk, leave=200_000)
    full = prunebench("run", file, "--resume", "--output", folder)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr + full.stdout
    assert "No space left on device" in full.stdout
    finished = stamps(folder)
    assert 0 < len({p.parent for p in finished}) < 12
    assert not list(folder.glob("trials/*.partial"))

    filler.unlink()
    again = prunebench("run", file, "--resume", "--output", folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert finished.items() <= stamps(folder).items()
    assert RunFolder(folder).info().status == "complete"
    assert len(list(RunFolder(folder).trials())) == 12


def test_a_configuration_that_does_not_fit_fails_alone(prunebench, experiment, tmp_path):
    done = prunebench("run", experiment({"memory_bytes": "10000000"}, blocks="1"), "--output", "out")
    run = RunFolder(tmp_path / "out")
    assert done.returncode == 1, done.stdout
    assert {f.label for f in run.failures()} == {"width-1024"}
    assert len(run.failures()) == 2
    assert "out of memory: the weights are 13,906,376 bytes" in run.failures()[0].error
    assert {(t.cell.label, t.cell.workload) for t in run.trials()} == {
        ("width-512", "single-request"),
        ("width-512", "batch-4"),
    }
    assert "out of memory" in (tmp_path / "out" / "report.md").read_text()


def test_an_engine_that_hangs_is_ended_by_its_timeouts(prunebench, experiment, tmp_path):
    file = experiment({"hang_after": "60"}, blocks="1")
    file.write_text(file.read_text().replace("[protocol]", "[protocol]\nrequest_timeout_s = 1"))
    done = prunebench("run", file, "--output", "out")
    run = RunFolder(tmp_path / "out")
    assert done.returncode == 1, done.stdout
    assert run.failures()
    assert all("within 1 s" in f.error for f in run.failures())
    assert len(run.failures()) + len(list(run.trials())) == 4


def test_a_server_that_never_gets_ready_is_given_up(prunebench, experiment, tmp_path):
    file = experiment({"start_s": "600"}, blocks="1")
    file.write_text(file.read_text().replace("keep_servers = true", "keep_servers = true\nstart_timeout_s = 3"))
    done = prunebench("run", file, "--output", "out")
    assert done.returncode == 1
    failures = RunFolder(tmp_path / "out").failures()
    assert len(failures) == 4
    assert all("not healthy in time (serve.start_timeout_s)" in f.error for f in failures)
