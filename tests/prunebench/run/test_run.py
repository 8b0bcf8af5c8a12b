"""`prunebench run` as a user runs it: real processes, a real server, the engine whose times and joules are known."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from loadgen.results.recorder import read_stream
from loadgen.results.store import read_trial
from reports.runs.reading import read_run
from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import SYNTHETIC
from tests.support.captured import captured

pytestmark = pytest.mark.slow
CELLS = 2 * 2 * 2  # blocks x widths x workloads


def wait_for_trials(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while len(list((folder / "trials").glob("*/cell.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def servers_of(process_id: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(process_id).children(recursive=True) if "serve" in p.cmdline()]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """One whole run that the tests below look at."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(SYNTHETIC)
    done = captured(
        [sys.executable, "-m", "prunebench", "run", "tiny.toml", "--output", "out"], cwd=folder, timeout=120
    )
    return folder / "out", done


def test_a_run_ends_well_and_its_last_line_is_the_path_of_the_report(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out/report.html"
    assert (folder / "report.html").stat().st_size > 100_000


def test_the_run_folder_holds_what_a_reader_needs_to_repeat_it(finished):
    folder, _ = finished
    assert (folder / "experiment.toml").read_bytes() == (folder.parent / "tiny.toml").read_bytes()
    resolved = json.loads((folder / "experiment.json").read_text())
    assert resolved["protocol"] == {
        "blocks": 2,
        "until": None,
        "min_blocks": 5,
        "max_blocks": 20,
        "max_hours": None,
        "cooldown_s": 0,
        "steady_within": 0.05,
        "warmup_limit_s": 60,
        "request_timeout_s": 300,
    }
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["numpy"]
    assert environment["cores_usable"] == len(os.sched_getaffinity(0))
    run = RunFolder(folder)
    assert run.info().status == "complete"
    assert (run.info().order, run.info().block_counts) == ("balanced", (2,))
    assert run.info().wall_s > sum(t.metrics.window_s for t in read_run(folder).trials)
    baseline, pruned = run.configurations()
    assert (baseline.width, baseline.is_baseline, baseline.manifest) == (1024, True, None)
    assert (pruned.width, pruned.is_baseline) == (512, False)
    assert pruned.manifest is not None
    assert pruned.manifest.target == "ratio 2"
    assert pruned.engine == "synthetic"
    assert pruned.engine_version
    assert pruned.resolved_options == baseline.resolved_options
    assert (pruned.resolved_options or {})["max_model_len"] == "4096"


def test_a_dry_run_lists_the_cells_in_the_order_in_which_they_are_measured(finished, prunebench, tmp_path):
    folder, _ = finished
    printed = prunebench("run", folder.parent / "tiny.toml", "--dry-run", "--json")
    assert printed.returncode == 0, printed.stderr
    cells = sorted((stored.cell for stored in RunFolder(folder).trials()), key=lambda cell: cell.order)
    assert json.loads(printed.stdout)["cells"] == [[c.block + 1, c.label, c.workload] for c in cells]
    assert list(tmp_path.iterdir()) == []


def test_every_cell_has_a_trial_and_nothing_is_half_written(finished):
    folder, _ = finished
    cells = {(t.cell.block, t.cell.label, t.cell.workload) for t in RunFolder(folder).trials()}
    assert len(cells) == CELLS
    assert not list(folder.rglob("*.partial"))


def test_every_configuration_is_asked_the_same_but_blocks_and_workloads_are_not(finished):
    folder, _ = finished
    seeds: dict[tuple[int, str], set[int]] = {}
    for stored in RunFolder(folder).trials():
        cell = stored.cell
        seeds.setdefault((cell.block, cell.workload), set()).add(read_trial(stored.folder).trial.seed)
    assert all(len(of_all_widths) == 1 for of_all_widths in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds) == 4


def test_fixed_output_lengths_are_kept(finished):
    folder, _ = finished
    for stored in RunFolder(folder).trials():
        assert {record.output_tokens for record in read_trial(stored.folder).records} == {8}


def test_beside_an_engine_that_is_bound_to_no_cores_the_client_has_all_of_them(finished):
    folder, _ = finished
    cores = {read_trial(stored.folder).trial.client.cores for stored in RunFolder(folder).trials()}
    assert cores == {len(os.sched_getaffinity(0))}


def test_the_joules_of_the_synthetic_engine_reach_the_report(finished):
    folder, _ = finished
    for stored in RunFolder(folder).trials():
        energy = read_trial(stored.folder).trial.energy
        assert energy.source == "synthetic"
        assert energy.gross_joules is not None
        assert energy.gross_joules > 0


def test_idle_power_is_known_before_and_after_and_without_a_model_only_where_none_was_loaded(finished):
    folder, _ = finished
    configurations = RunFolder(folder).configurations()
    for configuration in configurations:
        for idle in (configuration.idle, configuration.idle_after_load, configuration.idle_again):
            assert idle.mean_watts == pytest.approx(50, rel=0.01)  # the synthetic engine's own
            assert idle.source == "synthetic"
        assert configuration.idle.start_ns < configuration.idle_after_load.start_ns < configuration.idle_again.start_ns
    without = [c.idle_without_model for c in configurations if c.idle_without_model is not None]
    assert len(without) == 1  # servers are kept: the second was started beside the first
    assert without[0].gross_joules is not None or without[0].reason


def test_servers_that_are_kept_were_started_side_by_side_where_there_are_cores_for_it(finished):
    folder, _ = finished
    configurations = RunFolder(folder).configurations()
    assert [c.started_beside for c in configurations] == [len(os.sched_getaffinity(0)) > 1] * 2
    assert all(c.load_s for c in configurations)


def test_net_joules_subtract_the_idle_power_around_each_visit(finished):
    folder, _ = finished
    idles = RunFolder(folder).idles()
    visits = {(idle.block, idle.label) for idle in idles}
    assert len(visits) == len(idles) == 4
    trials = {(t.cell.block, t.cell.label, t.cell.workload): t for t in read_run(folder).trials}
    for idle in idles:
        assert len(idle.workloads) == 2
        assert idle.after is not None
        for workload in idle.workloads:
            measured = trials[idle.block, idle.label, workload]
            energy = measured.trial.energy
            assert idle.before.whole.end_ns < energy.start_ns < energy.end_ns < idle.after.whole.start_ns
            assert energy.idle_watts == pytest.approx(50, rel=0.01)
            seconds = (energy.end_ns - energy.start_ns) / 1e9
            assert energy.net_joules == pytest.approx(energy.gross_joules - energy.idle_watts * seconds)
    stored = read_trial(next(RunFolder(folder).trials()).folder).trial.energy
    assert stored.net_joules is None
    assert "idle power after the load too" in stored.net_reason


def test_a_run_begun_when_idle_power_was_measured_once_is_finished_so(finished, prunebench, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / "idle")
    begun = json.loads((folder / "run.json").read_text())
    for field in ("idle_rule", "order", "block_counts"):
        del begun[field]
    (folder / "run.json").write_text(json.dumps(begun))
    shutil.rmtree(folder / "trials" / "001-width-512-batch-4")
    resumed = prunebench("run", finished[0].parent / "tiny.toml", "--output", folder, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    run = RunFolder(folder)
    assert (run.info().idle_rule, run.info().order, run.idles()) == ("configuration", "shuffled", [])
    energy = read_trial(folder / "trials" / "001-width-512-batch-4").trial.energy
    assert energy.idle_watts == pytest.approx(50, rel=0.01)
    assert energy.net_joules is not None


def test_the_table_shows_every_width(finished):
    _, done = finished
    for width in ("1024", "512"):
        assert width in done.stdout


def test_the_same_folder_is_not_run_into_twice(finished, prunebench):
    folder, _ = finished
    again = prunebench("run", folder.parent / "tiny.toml", "--output", folder)
    assert again.returncode == 2
    assert "already holds a run; add --resume" in again.stderr


def test_resuming_a_finished_run_measures_nothing(finished, prunebench, tmp_path):
    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copy(folder.parent / "tiny.toml", tmp_path)
    before = {p: p.stat().st_mtime_ns for p in copy.glob("trials/*/*")}
    resumed = prunebench("run", "tiny.toml", "--output", copy, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert {p: p.stat().st_mtime_ns for p in copy.glob("trials/*/*")} == before


def test_a_run_that_began_under_earlier_window_rules_ends_under_them(finished, prunebench, tmp_path):
    folder, _ = finished
    assert {read_trial(t.folder).trial.window_rules for t in RunFolder(folder).trials()} == {2}
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copy(folder.parent / "tiny.toml", tmp_path)
    begun = json.loads((copy / "run.json").read_text())
    assert begun.pop("window_rules") == 2
    (copy / "run.json").write_text(json.dumps(begun))
    missing = next(copy.glob("trials/*"))
    shutil.rmtree(missing)
    resumed = prunebench("run", "tiny.toml", "--output", copy, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert RunFolder(copy).info().window_rules == 1
    assert read_trial(missing).trial.window_rules == 1


def test_a_damaged_trial_is_set_aside_and_measured_again_and_the_others_are_reused(finished, prunebench, tmp_path):
    folder, copy = finished[0], tmp_path / "copy"
    shutil.copytree(folder, copy)
    damaged = copy / "trials" / "001-width-512-batch-4"
    (damaged / "requests.parquet").write_bytes((damaged / "requests.parquet").read_bytes()[:-100])
    resumed = prunebench("run", folder.parent / "tiny.toml", "--output", copy, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    said = [line for line in resumed.stdout.splitlines() if line.startswith("block ")]
    aside = f"block 2, width-512, batch-4: set aside, measured again: {damaged}/requests.parquet: has changed since it was written"
    assert sum(line.startswith(aside) for line in said) == 1
    assert sum(line.endswith(": reused") for line in said) == CELLS - 1
    assert damaged.with_name(f"{damaged.name}.damaged-1").is_dir()
    assert len(read_run(copy).trials) == CELLS
    assert not read_run(copy).damaged


def test_a_run_is_extended_by_blocks_and_what_was_measured_is_reused(finished, prunebench, tmp_path):
    folder, copy = finished[0], tmp_path / "copy"
    shutil.copytree(folder, copy)
    resumed = prunebench("run", folder.parent / "tiny.toml", "--output", copy, "--resume", "--blocks", "3")
    assert resumed.returncode == 0, resumed.stderr
    said = [line.rpartition(": ")[2] for line in resumed.stdout.splitlines() if line.startswith("block ")]
    assert (said.count("reused"), said.count("run")) == (CELLS, CELLS // 2)
    info = RunFolder(copy).info()
    assert (info.blocks, info.block_counts, info.accepted_changes) == (3, (2, 3), ())
    (extension,) = info.extensions
    assert (extension.before, extension.after, extension.trials) == (2, 3, CELLS)
    assert "note: extended from 2 to 3 blocks; " in resumed.stdout
    report = (copy / "report.md").read_text("utf-8")
    assert f"It was extended from 2 to 3 blocks at {extension.at}, when results could be seen." in report
    allow = "Intervals allow for every look after which the run could have ended."
    assert report.count(allow) >= 2
    assert allow not in (folder / "report.md").read_text("utf-8")
    assert {file.name for file in info.checkpoint} >= {"config.json", "model.safetensors"}
    assert len(read_run(copy).trials) == CELLS + CELLS // 2


def test_a_changed_experiment_is_not_resumed(finished, prunebench, experiment):
    folder, _ = finished
    resumed = prunebench("run", experiment(seed="8"), "--output", folder, "--resume")
    assert resumed.returncode == 2
    assert "the experiment has changed" in resumed.stderr
    assert "seed" in resumed.stderr


def test_ctrl_c_leaves_finished_trials_and_a_report_and_no_server(started, experiment, tmp_path):
    folder = tmp_path / "out"
    process = started("run", experiment(blocks="40"), "--output", folder)
    wait_for_trials(folder, 3, process)
    servers = servers_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert RunFolder(folder).info().status == "interrupted"
    wait_until_gone(servers)


def wait_for_records(folder: Path, process: "subprocess.Popen[str]") -> Path:
    """The file of a trial under way that has recorded a request since now."""
    since_ns = time.monotonic_ns()
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        for file in (folder / "trials").glob("*.records.arrows"):
            if any(record.sent_ns > since_ns for record in read_stream(file)):
                return file
        time.sleep(0.02)


def test_records_of_a_trial_cut_short_stay_until_it_is_measured_again(started, experiment, tmp_path):
    file, folder = experiment(requests="2000"), tmp_path / "out"
    killed = started("run", file, "--output", folder)
    kept = wait_for_records(folder, killed)
    killed.kill()
    killed.communicate()
    left = read_stream(kept)
    assert len(left)
    assert all(record.error is None and record.output_tokens == 8 for record in left)

    interrupted = started("run", file, "--output", folder, "--resume")
    assert wait_for_records(folder, interrupted) == kept
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, err
    assert err.endswith("prunebench: interrupted\n")
    assert "interrupted: ending the servers" in out
    assert f"note: {kept.name.removesuffix('.records.arrows')} was cut short; it is measured again" in out
    assert f"records of the requests that ended (loadgen.results.recorder.read_stream): {kept}" in out
    assert min(record.sent_ns for record in read_stream(kept)) > max(record.sent_ns for record in left)


def test_a_configuration_that_cannot_be_served_is_recorded_and_the_run_fails(prunebench, experiment, tmp_path):
    done = prunebench("run", experiment({"max_model_len": "8"}, blocks="1"), "--output", "out")
    assert done.returncode == 1
    failures = RunFolder(tmp_path / "out").failures()
    assert len(failures) == CELLS // 2
    assert "request failed, the first with: HTTP 400" in failures[0].error
    assert RunFolder(tmp_path / "out").info().status == "failed"


def test_an_engine_that_dies_fails_its_cells_and_the_others_go_on(prunebench, experiment, tmp_path):
    done = prunebench("run", experiment({"fail_after": "60"}, blocks="1"), "--output", "out")
    run = RunFolder(tmp_path / "out")
    assert done.returncode == 1, done.stdout
    finished = {(t.cell.label, t.cell.workload) for t in run.trials()}
    failed = {(f.label, f.workload) for f in run.failures()}
    assert failed
    assert not finished & failed
    assert len(finished | failed) == 4


def test_resume_without_a_folder_resumes_the_newest_run_of_that_name(prunebench, experiment, tmp_path):
    file = experiment(blocks="1")
    nothing = prunebench("run", file, "--resume")
    assert nothing.returncode == 2
    assert "--resume: no run of tiny" in nothing.stderr
    assert prunebench("run", file).returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    shutil.rmtree(next((run / "trials").iterdir()))
    assert prunebench("run", file, "--resume").returncode == 0
    assert [run] == list((tmp_path / "runs").iterdir())
    assert len(list(RunFolder(run).trials())) == 4


def test_records_that_were_left_beside_a_whole_trial_are_cleared_and_it_is_not_measured_again(
    finished, prunebench, tmp_path
):
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    trial = next((folder / "trials").iterdir())
    measured = (trial / "trial.json").read_bytes()
    left = trial.with_name(f"{trial.name}.records.arrows")
    left.write_bytes(b"all of them")
    shutil.rmtree(next(other for other in (folder / "trials").iterdir() if other.is_dir() and other != trial))

    resumed = prunebench("run", finished[0].parent / "tiny.toml", "--output", folder, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "cut short" not in resumed.stdout
    assert not left.exists()
    assert (trial / "trial.json").read_bytes() == measured
    assert len(list(RunFolder(folder).trials())) == CELLS


def test_a_failure_that_was_left_beside_a_whole_trial_is_forgotten(finished, prunebench, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(finished[0], folder)
    trial = next((folder / "trials").iterdir())
    cell = json.loads((trial / "cell.json").read_text())
    failed = {key: cell[key] for key in ("block", "label", "workload")} | {"error": "killed before it was forgotten"}
    (folder / "failures" / f"{trial.name}.json").write_text(json.dumps(failed))
    resumed = prunebench("run", finished[0].parent / "tiny.toml", "--output", folder, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert RunFolder(folder).info().status == "complete"
    assert not RunFolder(folder).failures()
