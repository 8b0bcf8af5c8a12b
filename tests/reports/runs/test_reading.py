from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from energy.records import IdleWindow
from reports.errors import ReportError
from reports.runs.reading import read_run
from reports.runs.records.cells import VisitIdle
from tests.reports.example_run import SINGLE, Example, window_energy, write_run


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


def test_a_partial_trial_is_skipped(run):
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
def test_a_broken_trial_is_named_in_one_line_and_left_out(run, file, content):
    trial = run / "trials" / "1-width-512-single-request"
    (trial / file).write_bytes(content)
    found = read_run(run)
    assert len(found.trials) == 3
    assert [one.name for one in found.damaged] == [trial.name]
    assert found.damaged[0].reason.startswith(f"{trial / file}: cannot be read: ")
    assert "\n" not in found.damaged[0].reason


def test_a_trial_without_its_requests_is_named(run):
    (run / "trials" / "1-width-512-single-request" / "requests.parquet").unlink()
    assert "requests.parquet: is missing" in read_run(run).damaged[0].reason


def test_a_trial_of_an_unknown_configuration_is_named(run):
    (run / "configurations" / "width-512.json").unlink()
    with pytest.raises(ReportError, match=r"there is no configurations/width-512\.json, and there are trials"):
        read_run(run)


def write_idle(run: Path, block: int, watts: float, workloads: list[str], *, after: bool = True) -> None:
    window = IdleWindow(whole=window_energy("nvml", watts, 0, 2 * 10**9), first_half_joules=watts)
    shift = {"start_ns": 10**18, "end_ns": 10**18 + 2 * 10**9}  # after every trial
    late = window.model_copy(update={"whole": window.whole.model_copy(update=shift)})
    idle = VisitIdle(block=block, label="width-512", workloads=workloads, before=window, after=late if after else None)
    (run / "idle").mkdir(exist_ok=True)
    (run / "idle" / f"{block:03d}-width-512-{workloads[0]}.json").write_text(idle.model_dump_json())


def idle_watts(run: Path, block: int, label: str = "width-512") -> float | None:
    [trial] = [t for t in read_run(run).trials if (t.cell.block, t.cell.label) == (block, label)]
    return trial.trial.energy.idle_watts


def test_net_joules_subtract_the_idle_power_of_the_latest_attempt_at_the_trials_visit(run):
    write_idle(run, 0, 70.0, ["batch", SINGLE.name], after=False)  # killed after the batch
    write_idle(run, 0, 80.0, [SINGLE.name])
    write_idle(run, 1, 90.0, [SINGLE.name], after=False)
    assert idle_watts(run, 0) == pytest.approx(80)
    assert idle_watts(run, 1) == pytest.approx(90)
    trial = read_run(run).by_block("width-512", SINGLE.name)[1].trial.energy
    seconds = (trial.end_ns - trial.start_ns) / 1e9
    assert trial.net_joules == pytest.approx(trial.gross_joules - 90 * seconds)


def test_of_two_attempts_at_the_same_cells_the_later_one_counts(run):
    write_idle(run, 0, 70.0, [SINGLE.name])
    earlier = next((run / "idle").iterdir())
    later = json.loads(earlier.read_text()) | {"attempt": 2}
    write_idle(run, 0, 90.0, [SINGLE.name])
    (run / "idle" / f"{earlier.stem}-2.json").write_text(json.dumps(later))
    assert idle_watts(run, 0) == pytest.approx(70)


def test_trials_without_idle_power_around_their_visit_keep_the_net_joules_they_were_recorded_with(run):
    write_idle(run, 0, 80.0, [SINGLE.name])
    assert idle_watts(run, 1) == idle_watts(run, 0, "width-1024") == 60.0
