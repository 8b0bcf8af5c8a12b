from __future__ import annotations

import json
import sys

import pytest

from prunebench.load.self_test import Deviation, verdict_of
from tests.support.captured import captured


def row(streams, seen, metric="TPOT p50", truth=10.0):
    return Deviation(streams, metric, "ms", truth, seen)


def test_a_time_per_token_is_trusted_within_a_hundredth_and_a_latency_within_three_milliseconds():
    assert row(1, 10.09).trusted
    assert not row(1, 10.11).trusted
    assert row(1, 52.9, "TTFT p99", 50.0).trusted
    assert not row(1, 53.1, "TTFT p99", 50.0).trusted
    assert not row(1, None).trusted


def test_the_verdict_is_the_most_streams_up_to_which_everything_holds():
    assert "up to 10 streams of 100 tokens/s each:" in verdict_of([row(1, 10), row(10, 10), row(50, 11), row(100, 10)])
    assert "all that was tried" in verdict_of([row(1, 10), row(10, 10)])
    assert verdict_of([row(1, 11), row(10, 10)]).startswith("Not to be trusted here")


@pytest.mark.slow
def test_the_self_test_measures_a_real_server_of_known_times():
    command = [sys.executable, "-m", "prunebench", "load", "--self-test", "--json"]
    done = captured(command, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {(r["streams"], r["metric"]): r for r in found["deviations"]}
    assert {streams for streams, _ in rows} == {1, 10, 50, 100}
    for (streams, metric), each in rows.items():
        if metric == "output tokens":
            assert each["error"] == 0, streams
        if metric in {"TTFT p50", "TPOT p50", "E2E p50"}:  # never early; how late is the machine's business
            assert each["seen"] > each["truth"] * 0.98
        assert each["error"] == pytest.approx(each["seen"] - each["truth"])
    assert found["verdict"]
