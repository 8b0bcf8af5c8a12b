"""`prunebench plan` on a real run of the synthetic engine, whose times and joules are known."""

from __future__ import annotations

import json

import pytest

from reports.analysis.analyse import analyse_folder
from reports.fleet.queueing import poisson_arrivals, simulate
from reports.fleet.replicas import Lengths, replicas
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import one_at_a_time, one_width

pytestmark = pytest.mark.slow

EXPERIMENT = f"""{one_width("levels", prefill_ms=20, token_ms=8, idle_watts=50, active_watts=10)}
[protocol]
blocks = 2
[energy]
idle_s = 0.5
{one_at_a_time(6, prompt_tokens=16, output_tokens=20)}
[[workloads]]
name = "eight"
kind = "concurrency"
concurrency = 8
requests = 48
prompt_tokens = 16
output_tokens = 20
[[workloads]]
name = "open"
kind = "poisson"
rate = 12
requests = 60
prompt_tokens = 16
output_tokens = 20
"""
DEMAND = ["--requests-per-day", "1e9", "--prompt-tokens", "16", "--output-tokens", "20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    (folder / "levels.toml").write_text(EXPERIMENT)
    done = run_command(["run", "levels.toml", "--output", "run"], folder, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


def test_the_simulation_foretells_what_an_open_loop_on_the_real_server_measures(run):
    """The plan knows only the levels 1 and 8; the open loop is a measurement of its own."""
    analysis = analyse_folder(run)
    label = analysis.info.baseline
    for block, replica in replicas(analysis, label, Lengths(16, 20)).items():
        assert replica.levels == (1, 8)
        served = simulate(replica, poisson_arrivals(4000, [16.0], [20.0], seed=1), rate=12)
        measured = analysis.by_block(label, "open", "joules_per_request")[block]
        assert served.joules_per_request == pytest.approx(
            measured, rel=0.25
        )  # sixty requests by chance, not forty thousand
        tpot = analysis.by_block(label, "open", "median_tpot_ms")[block]
        assert sorted(served.tpot_s)[len(served.tpot_s) // 2] * 1e3 == pytest.approx(tpot, rel=0.25)


def test_a_plan_is_kept_in_the_run_shown_in_the_report_and_scales_with_the_demand(run, prunebench):
    words = [
        "plan",
        run,
        *DEMAND,
        "--slo",
        "ttft=500ms,tpot=50ms",
        "--price-kwh",
        "0.2",
        "--gpu-hour",
        "2",
        "--carbon",
        "300",
    ]
    done = prunebench(*words, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan == json.loads((run / "plan.json").read_text())
    wide, narrow = plan["rows"]
    for row in (wide, narrow):
        rate = 1e9 / 86_400
        assert row["capacity_rps"]["value"] > 0
        # The run's own open loop at 12 a second is of the demand's lengths.
        assert (row["basis"] == "measured") == (row["capacity_rps"]["value"] == pytest.approx(12))
        assert row["gpus"]["value"] == pytest.approx(2 * rate / row["capacity_rps"]["value"], rel=0.01)
        assert row["megawatts"]["value"] == pytest.approx(row["joules_per_request"]["value"] * rate * 1.2 / 1e6)
        assert row["kg_co2_per_day"]["value"] == pytest.approx(row["megawatts"]["value"] * 24_000 * 0.3)
        assert row["cost_per_day"]["value"] == pytest.approx(
            row["megawatts"]["value"] * 24_000 * 0.2 + row["gpus"]["value"] * 48, rel=0.01
        )
        for estimate in (row["capacity_rps"], row["joules_per_request"]):
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert "Fleet for a demand" in (run / "report.html").read_text()
    assert "simulated, not measured" in (run / "report.md").read_text()
    assert "1,000,000,000 requests a day" in (run / "report.md").read_text()
    shown = prunebench(*words)
    assert shown.returncode == 0
    assert shown.stdout.strip().endswith("report.html")
    assert "simulated, not measured" in shown.stdout


def test_objectives_that_an_empty_server_misses_are_said_and_not_counted(run, prunebench):
    done = prunebench("plan", run, *DEMAND, "--slo", "tpot=1ms", "--json")
    for row in json.loads(done.stdout)["rows"]:
        assert row["gpus"]["value"] is None
        assert "misses" in row["gpus"]["reason"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--output-tokens", "lots"], "--output-tokens"),
        (["--slo", "fast"], "--slo"),
        (["--slo-share", "2"], "--slo-share"),
    ],
)
def test_a_demand_that_means_nothing_is_reported_by_its_option(run, prunebench, words, says):
    refused = prunebench("plan", run, *DEMAND, *words)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_folder_that_is_no_run_is_reported(tmp_path, prunebench):
    refused = prunebench("plan", tmp_path, *DEMAND)
    assert refused.returncode == 2
    assert "run.json" in refused.stderr
