"""What `prunebench load` says on the terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.load.summary_text import summary_lines


def summary(completed: int) -> dict:
    latencies = {
        f"{which}_{name}_ms": 1.5 for which in ("median", "mean", "p99") for name in ("ttft", "tpot", "itl", "e2el")
    }
    energy = {"source": None, "reason": "no meter"}
    return latencies | {
        "completed": completed,
        "failed": 0,
        "duration": 2.0,
        "output_throughput": 10.0,
        "joules_per_output_token": None,
        "energy": energy,
        "request_goodput": None,
        "prompt_as": "ids",
    }


@pytest.mark.parametrize(("completed", "said"), [(20, False), (367, False), (368, True)])
def test_a_p99_is_said_of_enough_requests_only(completed, said):
    text = "\n".join(summary_lines(summary(completed), [], Path("out")))
    assert ("p99 1.50" in text) is said
    assert (f"p99 of latencies takes 368 requests; {completed} completed" in text) is not said


def test_a_percentile_among_failed_requests_has_no_figure_and_says_why():
    reason = {"p99_ttft_ms_with_failures_reason": "it lands among the failed requests"}
    ranked = {"median_ttft_ms_with_failures": 1.75, "p99_ttft_ms_with_failures": None} | reason
    text = "\n".join(summary_lines(summary(400) | ranked, [], Path("out")))
    assert "TTFT, ms         median 1.75, mean 1.50, p99 not known: 1 % or more of the requests failed" in text


def test_loading_starts_without_scipy_whose_import_takes_a_second():
    script = "import sys, prunebench.commands.load; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
