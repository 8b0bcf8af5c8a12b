"""llm-d's benchmark report, held against llm-d's own schema and read by its own classes where they are installed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from energy.records import MeterEnergy, MeterInfo, MeterPower, PowerTimeline
from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from reports.exports.trials import export
from tests.loadgen.made import MS, failed, record, trial, workload
from tests.reports.example_run import SINGLE, Example, write_run

SCHEMA = json.loads((Path(__file__).parent / "peers" / "llmd_br_0_2_1.schema.json").read_text())
RECORDS = [record(n, 20 * n, 20 * n + 10, 20 * n + 110) for n in range(40)]
GPU = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-1", name="Example H100")
WALL = MeterInfo(source="wall-http", domain="wall", device="plug")


def checked(file: Path) -> dict:
    """The report, valid by llm-d's schema, and by its classes, which check units too."""
    report = json.loads(file.read_text())
    jsonschema.validate(report, SCHEMA)
    try:
        from llmd_benchmark_report import import_benchmark_report
    except ImportError:
        return report
    assert import_benchmark_report(str(file)).version == "0.2.1"
    return report


def written(folder: Path, measured, records=RECORDS, power=None) -> dict:
    write_trial(folder, TrialResult(measured, records, power or PowerTimeline(meters=[])), [])
    return checked(export([folder], "llm-d-json", None))


def metered(**energy):
    parts = [MeterEnergy(info=GPU, joules=150.0, uncertainty_joules=1.0), MeterEnergy(info=WALL, joules=300.0)]
    known = {"gross_joules": 150.0, "gross_joules_uncertainty": 1.0, "source": GPU.source, "parts": parts}
    return trial(0, 500, load=workload("concurrency", concurrency=2), **known, **energy)


def test_power_is_that_of_the_headline_over_the_window_and_over_time(tmp_path):
    steps = [100.0] * 5 + [300.0] * 5 + [500.0] * 5  # of 0.1 s, the first half second before the window
    meters = [
        MeterPower(info=info, start_ns=-500 * MS, step_ns=100 * MS, watts=[each * share for each in steps])
        for info, share in ((GPU, 1.0), (WALL, 2.0))
    ]
    found = written(tmp_path / "load", metered(), power=PowerTimeline(meters=meters))
    (component,) = found["results"]["observability"]["components"]
    assert component["component_label"] == found["scenario"]["stack"][0]["metadata"]["label"]
    power = component["aggregate"]["power_consumption"]
    assert (power["units"], power["mean"], power["max"]) == ("Watts", 300.0, 300.0)
    series = component["time_series"]["power_consumption"]["series"]
    assert [point["value"] for point in series] == steps
    begun = datetime.fromisoformat(found["run"]["time"]["start"]) - datetime.fromisoformat(series[0]["ts"])
    assert begun.total_seconds() == pytest.approx(0.5)
    energy = found["results"]["observability"]["energy"]
    assert (energy["gross_joules"], energy["source"], energy["wall"]["joules"]) == (150.0, "nvml-counter", 300.0)


def test_one_gpu_is_an_accelerator_and_what_is_not_recorded_says_so(tmp_path):
    server = written(tmp_path / "load", metered())["scenario"]["stack"][0]["standardized"]
    assert server["accelerator"]["model"] == "Example H100"
    assert (server["kind"], server["tool"], server["tool_version"]) == (
        "inference_engine",
        "not recorded",
        "not recorded",
    )


def test_without_a_meter_there_is_no_power_and_the_reason_stands_beside_the_joules(tmp_path):
    bare = trial(0, 500, reason="no meter", modelled_joules=7.0, modelled_basis="7 W per core")
    found = written(tmp_path / "load", bare)["results"]["observability"]
    assert "components" not in found
    assert found["energy"]["gross_joules"] is None
    assert found["energy"]["reason"] == "no meter"
    assert found["energy"]["modelled_joules"] == 7.0


def test_latencies_rates_and_counts_are_the_trials_own(tmp_path):
    found = written(tmp_path / "load", metered(), [*RECORDS, failed(40, 7, 20)])
    aggregate = found["results"]["request_performance"]["aggregate"]
    assert (aggregate["requests"]["total"], aggregate["requests"]["failures"]) == (41, 1)
    ttft, tpot = (aggregate["latency"][name] for name in ("time_to_first_token", "time_per_output_token"))
    assert (ttft["units"], ttft["p99"], tpot["units"], tpot["mean"]) == ("ms", 10.0, "ms/token", 50.0)
    arrived = sum(np.array(each.arrival_ns) <= 500 * MS for each in RECORDS).sum()
    assert aggregate["throughput"]["output_token_rate"]["mean"] == pytest.approx(arrived / 0.5)
    offered = found["scenario"]["load"]["standardized"]
    assert (offered["tool"], offered["source"], offered["concurrency"]) == ("prunebench", "random", 2)
    assert offered["input_seq_len"] == {"distribution": "fixed", "value": 5}


def test_a_run_is_a_report_a_trial_of_one_experiment_each_with_its_treatment(tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(SINGLE,), blocks=1))
    folder = export([run], "llm-d-json", None)
    reports = [checked(file) for file in sorted(folder.iterdir())]
    assert folder == run / "llm-d"
    assert [r["scenario"]["load"]["metadata"]["treatment"] for r in reports] == ["width-1024", "width-512"]
    assert len({r["run"]["uid"] for r in reports}) == 2
    assert len({r["run"]["eid"] for r in reports}) == 1
    assert {r["scenario"]["load"]["standardized"]["tool_version"] for r in reports} == {"0.1.0"}


def test_another_tools_result_keeps_that_tools_name_and_has_no_power(tmp_path):
    peers = Path(__file__).parents[1] / "runs" / "peers"
    found = checked(export([peers / "guidellm.json"], "llm-d-json", tmp_path / "out.json"))
    assert found["scenario"]["load"]["standardized"]["tool"] == "guidellm"
    assert found["scenario"]["load"]["standardized"]["source"] == "unknown"
    assert found["results"]["observability"]["energy"]["reason"] == "guidellm measures no energy"
