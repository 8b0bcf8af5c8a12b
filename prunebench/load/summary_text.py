"""What `prunebench load` prints of a load: at most 80 columns, without colours, the same on a terminal and in a log."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from base.figures import figure
from energy.carbon import Carbon, carbon_words
from energy.wall import WallEnergy, wall_words
from loadgen.metrics.latencies import FloatArray, percentiles
from loadgen.metrics.metrics import TrialMetrics
from reports.checks.rules import SEVERITY, Finding
from reports.document.wording import SIMULATED, SIMULATED_WHY
from reports.statistics.confidence import needed_for

COLUMNS = 80
_INDENT, _LABEL, _FIGURE = 2, 14, 10  # columns
_PERCENTILES = (50, 75, 95, 99)
_BINS, _BAR, _WIDEST = 10, "#", 40
_OF_TURNS = {
    "requests": "requests", "prompt": "mean_prompt_tokens", "cached": "cached_share", "TTFT, ms": "mean_ttft_ms",
    "TPOT, ms": "mean_tpot_ms", "J": "mean_request_joules",
}  # fmt: skip
_OF_PARTS = {
    "requests": "requests", "per s": "request_throughput", "tokens/s": "output_throughput", "in time": "good_share",
    "good/s": "request_goodput", "J/good": "joules_per_good_request",
}  # fmt: skip
_TIMES_OF_PARTS = {
    "TTFT": "mean_ttft_ms", "TPOT": "mean_tpot_ms", "ITL p50": "median_itl_ms", "ITL p99": "p99_itl_ms",
    "E2E": "mean_e2el_ms", "J/request": "mean_request_joules",
}  # fmt: skip
_FEWEST = 5  # requests: a histogram of fewer shows less than they do


def summary_lines(
    summary: Mapping[str, Any], metrics: TrialMetrics, findings: Mapping[str, Finding], folder: Path, title: str
) -> list[str]:
    """The load in words, throughput, joules, latencies, their histogram, what the checks found, and the folder."""
    return [
        *textwrap.wrap(title, COLUMNS),
        "",
        *(_entry(SIMULATED, SIMULATED_WHY) if summary["simulated"] else ()),
        *_totals(summary, metrics),
        "",
        *_latencies(summary, metrics),
        "",
        *_groups(summary),
        *_histogram(metrics.e2e_ms),
        *_checks(findings),
        "",
        str(folder),
    ]


def _totals(summary: Mapping[str, Any], metrics: TrialMetrics) -> Iterator[str]:
    failed = f"{summary['failed']:,} failed"
    yield from _entry(
        "requests", f"{summary['completed']:,} completed, {failed}, in a window of {figure(summary['duration'])} s"
    )
    rates = (
        f"{figure(summary['request_throughput'])} requests/s, {figure(summary['output_throughput'])} output tokens/s"
    )
    yield from _entry("throughput", rates)
    if summary["request_goodput"] is not None:
        share = summary["good_share"]
        among = "" if share is None else f", {_percent(share)} of those that ended"
        yield from _entry("goodput", f"{figure(summary['request_goodput'])} requests/s met every objective{among}")
    yield from _entry("energy", _energy(summary))
    if summary["wall"] is not None:
        yield from _entry("", wall_words(WallEnergy.model_validate(summary["wall"])))
    if summary.get("carbon") is not None:
        yield from _entry("carbon", carbon_words(Carbon.model_validate(summary["carbon"])))
    if summary["median_request_joules"] is not None:
        yield from _entry("of a request", _request_joules(summary))
    if summary["modelled_joules_per_output_token"] is not None:
        modelled = figure(summary["modelled_joules_per_output_token"])
        yield from _entry("", f"modelled, not measured: {modelled} J/output token")
    if summary.get("reasoning_share") is not None:
        yield from _entry("reasoning", _reasoning(summary))
        if summary["first_reasoning_reason"] is not None:
            yield from _entry("", f"its own times are not known: {summary['first_reasoning_reason']}")
    if summary.get("cached_share") is not None:
        yield from _entry("prefix cache", f"held {figure(100 * summary['cached_share'])} % of the prompt tokens")
    if summary["prompt_as"] == "words":
        counted = "output lengths are tokens, as the server reports them"
        if "chunks" in metrics.counted_by:
            counted = "output tokens are counted by chunk, since the server reports none"
        yield from _entry("prompts", f"prompt lengths in words; {counted}")


def _energy(summary: Mapping[str, Any]) -> str:
    energy, joules = summary["energy"], summary["joules_per_output_token"]
    if joules is None:
        return f"not measured: {energy['reason']}"
    request = summary["joules_per_request"]
    each = "" if request is None else f", {figure(request)} J/request"
    return f"{figure(joules)} J/output token{each}, {figure(energy['gross_joules'])} J in all ({energy['source']})"


def _reasoning(summary: Mapping[str, Any]) -> str:
    begins, first = summary["mean_first_reasoning_ms"], summary["mean_first_answer_ms"]
    share = f"{figure(100 * summary['reasoning_share'])} % of the output tokens"
    begun = "" if begins is None else f"it begins after {figure(begins)} ms on average, "
    after = "no answer came after it" if first is None else f"the answer after {figure(first)} ms"
    joules, answers = summary["joules_of_reasoning"], summary["joules_of_answers"]
    spent = "" if joules is None else f"; {figure(joules)} J for it and {figure(answers)} J for answers, by tokens"
    return f"{share}; {begun}{after}{spent}"


def _request_joules(summary: Mapping[str, Any]) -> str:
    good = summary["joules_per_good_request"]
    met = "" if good is None else f"; {figure(good)} J for each that met every objective"
    empty = summary["unattributed_joules"] / summary["energy"]["gross_joules"]
    half = figure(summary["request_joules_uncertainty"])
    return (
        f"median {figure(summary['median_request_joules'])} J, each to \N{PLUS-MINUS SIGN}{half} J{met}; "
        f"active joules shared by {summary['joules_shared_by']}, {figure(100 * empty)} % of all with nothing in flight"
    )


def _latencies(summary: Mapping[str, Any], metrics: TrialMetrics) -> Iterator[str]:
    """A row a latency. Percentiles count failed requests as slower than any; a mean has no such thing, and is of completed ones."""
    ended = int((~np.isnan(metrics.e2e_ms)).sum())  # in the window
    enough = {p: p == 50 or ended >= needed_for(p) for p in _PERCENTILES}
    rows: dict[str, tuple[str, Mapping[Any, float]]] = {
        "TTFT": ("ttft", percentiles(metrics.ttft_ms, _PERCENTILES)),
        "TPOT": ("tpot", percentiles(metrics.tpot_ms, _PERCENTILES)),
        "ITL": ("itl", {p: value for p, value in metrics.completed_itl.percentiles.items() if p in _PERCENTILES}),
        "E2E": ("e2el", percentiles(metrics.e2e_ms, _PERCENTILES)),
    }
    yield _row("latency, ms", ["mean", *(f"p{p}" for p in _PERCENTILES)])
    for title, (name, found) in rows.items():
        shown = [_figure(found.get(p)) if enough[p] else "-" for p in _PERCENTILES]
        yield _row(title, [_figure(summary[f"mean_{name}_ms"]), *shown])
    values = [value for _, found in rows.values() for p, value in found.items() if enough[p]]
    if any(np.isinf(value) for value in values):
        yield from _entry("failed", "the percentile is a failed request's, which count as slower than any other")
    withheld = [f"p{p} takes {needed_for(p)} requests" for p in _PERCENTILES if not enough[p]]
    if withheld and ended:
        yield from _entry("-", f"{', '.join(withheld)}; {ended:,} ended in the window")


def _groups(summary: Mapping[str, Any]) -> Iterator[str]:
    """Rows for each turn of sessions or part of a mix; means, over completed requests of the window."""
    turns, parts = summary.get("turns", []), summary.get("parts", [])
    for title, columns, groups in (
        ("sessions", _OF_TURNS, turns),
        ("of the mix", _OF_PARTS, parts),
        ("latency, ms", _TIMES_OF_PARTS, parts),
    ):
        if groups:
            yield _row(title, list(columns))
            for group in groups:
                cells = [_share_or_figure(key, group[key]) for key in columns.values()]
                yield _row(f"turn {group['turn']}" if "turn" in group else group["part"][: _LABEL - 1], cells)
            if columns is _TIMES_OF_PARTS and summary["joules_shared_by"] is not None:
                by = f"active ones by {summary['joules_shared_by']}"
                yield from _entry("", f"joules of a part are shared out, {by}, and not metered apart")
            yield ""


def _share_or_figure(key: str, value: float | None) -> str:
    if key.endswith("_share"):
        return _percent(value)
    return f"{value:,}" if isinstance(value, int) else _figure(value)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


def _figure(value: float | None) -> str:
    if value is None:
        return "none"
    return "failed" if np.isinf(value) else figure(value)


def _histogram(latencies: FloatArray) -> Iterator[str]:
    """Completed requests of the window by E2E, in ten bins of one width up to p99, and those above."""
    completed = latencies[np.isfinite(latencies)]
    if completed.size < _FEWEST:
        return
    low, high = float(completed.min()), float(np.percentile(completed, 99))
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low, low])
    counts = np.histogram(completed[completed <= edges[-1]], edges)[0]
    width = (high - low) / _BINS
    decimals = max(0, 1 - math.floor(math.log10(width))) if width else 1
    labels = [f"{a:,.{decimals}f}-{b:,.{decimals}f}" for a, b in itertools.pairwise(edges.tolist())]
    above = int((completed > edges[-1]).sum())
    rows = [*zip(labels, counts.tolist(), strict=True), *([(f"above {high:,.{decimals}f}", above)] if above else [])]
    most = max(count for _, count in rows)
    yield f"{'':{_INDENT}}{'E2E, ms':<{_LABEL}}{'requests':>{_FIGURE}} of the window"
    for label, count in rows:
        bar = _BAR * max(round(count / most * _WIDEST), count > 0)
        yield f"{'':{_INDENT}}{label:<{_LABEL}}{count:>{_FIGURE},}  {bar}".rstrip()
    yield ""


def _checks(findings: Mapping[str, Finding]) -> Iterator[str]:
    """How many checks passed, then each that did not, the most severe first."""
    counts = Counter(finding.outcome for finding in findings.values())
    without = f", {counts['no data']} without the data they need" if counts["no data"] else ""
    yield from _entry("checks", f"{counts['pass']} passed{without}, {counts['warn']} warned, {counts['fail']} failed")
    for name, finding in sorted(findings.items(), key=lambda item: -SEVERITY[item[1].outcome]):
        if finding.outcome in {"warn", "fail"}:
            yield from _entry(finding.outcome, f"{name}: {finding.reason}")


def _row(title: str, cells: list[str]) -> str:
    return f"{'':{_INDENT}}{title:<{_LABEL}}{''.join(f'{cell:>{_FIGURE}}' for cell in cells)}"


def _entry(label: str, text: str) -> list[str]:
    """A label and its text, wrapped beside it."""
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=f"{'':{_INDENT}}{label:<{_LABEL}}",
        subsequent_indent=" " * (_INDENT + _LABEL),
        break_on_hyphens=False,
    )
