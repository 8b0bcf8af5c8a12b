"""A sweep from the command line against a real server: a folder for every rate, and what they say together."""

from __future__ import annotations

import json
import signal
import time

import pytest

from loadgen.results.store import read_trial
from loadgen.sweeps.points import Sweep

pytestmark = pytest.mark.slow

WORDS = ["--model", "tiny", "--output", "out", "--workload", "sweep", "--output-tokens", 4, "--prompt-tokens", 8]


def test_every_rate_has_a_trial_and_objectives_that_nothing_meets_say_so(prunebench, url, tmp_path):
    done = prunebench("load", url, *WORDS, "--rates", "20,40", "--requests", 25, "--slo", "ttft=1ms", "--json")
    assert done.returncode == 0, done.stderr
    sweep = Sweep.model_validate_json(done.stdout)
    assert sweep == Sweep.model_validate_json((tmp_path / "out" / "sweep.json").read_bytes())
    assert [(p.rate, p.folder, p.good, p.slo_share) for p in sweep.points] == [
        (20, "rate-20", False, 0.0),
        (40, "rate-40", False, 0.0),
    ]
    assert {p.p99_ttft_ms for p in sweep.points} == {None}
    assert all(p.p99_reason == f"p99 takes 368 requests; {p.latency_requests} count" for p in sweep.points)
    assert (sweep.complete, sweep.goodput_rate, sweep.goodput_below) == (True, None, 20)
    assert "no rate that was tried is good" in sweep.reason
    trials = [read_trial(tmp_path / "out" / p.folder) for p in sweep.points]
    assert [t.trial.workload.rate for t in trials] == [20, 40]
    assert [len(t.records) for t in trials] == [25, 25]
    assert len({t.trial.seed for t in trials}) == 2  # or the second's prompts were in the cache
    report = prunebench("report", "out")
    assert report.returncode == 0, report.stderr
    assert "objectives not met" in (tmp_path / "out" / "report.md").read_text()
    exported = prunebench("report", "out", "--format", "vllm-json")
    assert [x["label"] for x in json.loads((tmp_path / exported.stdout.strip()).read_text())] == ["rate-20", "rate-40"]


def test_an_interrupted_sweep_keeps_the_rates_it_has_tried(started, url, tmp_path):
    process = started("load", url, *WORDS, "--rate", 30, "--duration", 1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "sweep.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    sweep = Sweep.model_validate_json((tmp_path / "out" / "sweep.json").read_bytes())
    assert sweep.points
    assert not sweep.complete
    assert all((tmp_path / "out" / point.folder / "summary.json").exists() for point in sweep.points)
