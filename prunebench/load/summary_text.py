"""What `prunebench load` prints of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadgen.records.schema import Flag
from reports.statistics.confidence import needed_for

_LATENCIES = (("TTFT, ms", "ttft"), ("TPOT, ms", "tpot"), ("ITL, ms", "itl"), ("E2E, ms", "e2el"))

_AT_LEAST = {"median": "half of the requests", "p99": "1 % or more of the requests"}  # what makes it a failed one


def summary_lines(summary: dict[str, Any], flags: list[Flag], output: Path) -> list[str]:
    """Throughput, latencies, energy, the checks that failed, and the folder."""
    energy = summary["energy"]
    joules = summary["joules_per_output_token"]
    measured = f"{joules} ({energy['source']})"
    lines = [
        f"requests         {summary['completed']} completed, {summary['failed']} failed, window {summary['duration']:.1f} s",
        f"output tokens/s  {summary['output_throughput']:.1f}",
        *(f"{title:<16} {_latency(summary, name)}" for title, name in _LATENCIES),
        f"J/output token   {energy['reason'] if joules is None else measured}",
    ]
    if 0 < summary["completed"] < needed_for(99):
        lines.insert(-1, f"p99 of latencies takes {needed_for(99)} requests; {summary['completed']} completed")
    if summary["request_goodput"] is not None:
        lines.insert(2, f"goodput          {summary['request_goodput']:.2f} requests/s met every objective")
    if summary["prompt_as"] == "words":
        lines.append(
            "prompt lengths in words: the server does not tokenize; output lengths are tokens, as it reports them"
        )
    lines += [f"{flag.outcome}: {flag.check}: {flag.reason}" for flag in flags]
    return [*lines, str(output)]


def _latency(summary: dict[str, Any], name: str) -> str:
    """Without the p99 of a few requests, which summary.json has all the same: it holds what vLLM's own does."""
    few = summary["completed"] < needed_for(99)
    return ", ".join(
        f"{which} {_figure(summary, which, name)}" for which in ("median", "mean", *(() if few else ("p99",)))
    )


def _figure(summary: dict[str, Any], which: str, name: str) -> str:
    """Median and p99 with failed requests above any; a mean has no such thing, and is of completed ones."""
    key = f"{which}_{name}_ms"
    value = summary.get(f"{key}_with_failures", summary[key])
    if value is not None:
        return f"{value:.2f}"
    among = "failed requests" in (summary.get(f"{key}_with_failures_reason") or "")
    return f"not known: {_AT_LEAST[which]} failed" if among else "none"
