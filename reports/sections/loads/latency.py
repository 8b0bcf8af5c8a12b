"""Latencies request by request: distributions, and percentiles with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from base.figures import figure
from loadgen.metrics.metrics import TrialMetrics
from reports.analysis.records import TAILS, Analysis
from reports.document.blocks import Block, Column, Entry, Fold, Plots, Prose, Row, Section, Table
from reports.document.wording import ABSENT, TO, name
from reports.sections.plots.distributions import DISTRIBUTIONS, distribution_plot
from reports.statistics.block_percentiles import ENOUGH_BLOCKS, independent_needed, percentiles_over
from reports.statistics.confidence import needed_for
from reports.statistics.failures import AMONG_FAILED
from reports.statistics.percentiles import Percentile, mlperf_floor

_COLUMNS = [Column("Latency"), Column("Requests"), *(Column(f"p{t}", "ms") for t in TAILS)]
_LEDE = (
    "The share of the requests of all trials that finished within a time in milliseconds: further left is faster, a long tail leans to "
    "the right. The heavy line is the baseline; colours from blue to red are "
)


def latency_section(analysis: Analysis) -> Section:
    """The distribution of each latency under each workload, and the percentiles behind a fold."""
    workloads = analysis.info.workloads
    order = "ever narrower widths" if analysis.noun == "width" else "the others in the order of the run"
    plots = [distribution_plot(analysis, w, key) for w in workloads for key in DISTRIBUTIONS]
    blocks: list[Block] = [Prose(f"{_LEDE}{order}.", "lede"), Plots(plots, abreast=3)]
    tables = [table for w in workloads if (table := percentile_table(analysis, w))]
    if tables:
        blocks.append(Fold("Percentiles with their intervals", tables))
    return Section("latency", "Latency, request by request", blocks)


def percentile_table(analysis: Analysis, workload: str) -> Table | None:
    """A row for every configuration and latency of one workload; None where no request completed."""
    found = [
        (c.info, title, percentiles)
        for key, title in DISTRIBUTIONS.items()
        for c in analysis.configurations
        if (percentiles := analysis.cell(c.info.label, workload).percentiles[key])[0].n
    ]
    if not found:
        return None
    rows = [
        Row([Entry(name(info)), *_entries(title, percentiles)], is_baseline=info.is_baseline)
        for info, title, percentiles in found
    ]
    shown = [p for _, _, percentiles in found for p in percentiles]
    blocks = max(analysis.cell(info.label, workload).trials for info, _, _ in found)
    caption = f"{workload}: percentiles{_intervals(shown)}."
    return Table(caption, [Column("Configuration"), *_COLUMNS], rows, remarks=_remarks(shown, blocks))


def trial_percentile_table(metrics: TrialMetrics) -> Table | None:
    """The percentiles of a single trial; None where no request completed."""
    latencies = {"ttft_ms": metrics.ttft_ms, "tpot_ms": metrics.tpot_ms, "e2e_ms": metrics.e2e_ms}
    found = {
        title: percentiles_over([latencies[key]], TAILS, overlapped=metrics.overlapped)
        for key, title in DISTRIBUTIONS.items()
    }
    rows = [Row(_entries(title, percentiles)) for title, percentiles in found.items() if percentiles[0].n]
    shown = [p for percentiles in found.values() for p in percentiles if p.n]
    return Table(f"Percentiles{_intervals(shown)}.", _COLUMNS, rows, remarks=_remarks(shown, 1)) if rows else None


def _entries(title: str, percentiles: Sequence[Percentile]) -> list[Entry]:
    return [Entry(title), Entry(f"{percentiles[0].n:,}"), *map(_entry, percentiles)]


def _entry(found: Percentile) -> Entry:
    if found.value is None:
        return Entry("failed" if found.reason == AMONG_FAILED else ABSENT)
    if found.low is None:
        return Entry(figure(found.value))
    high = "failed" if found.high is None else figure(found.high)
    return Entry(figure(found.value), f"{figure(found.low)}{TO}{high}")


def _intervals(shown: Sequence[Percentile]) -> str:
    bases = {p.basis for p in shown}
    if "blocks" in bases:
        return " of a block (geometric mean) with 95 % intervals over blocks; without an interval, of all requests"
    if "this trial" in bases:
        return " with 95 % intervals of this trial: distribution-free, since none of its requests overlapped"
    return " of all requests"


def _remarks(shown: Sequence[Percentile], blocks: int) -> list[str]:
    withheld = sorted({p.percentile for p in shown if p.n < p.needed})
    remarks = [
        f"p{t:g} is shown from {needed_for(t):,} requests on; MLPerf asks for {mlperf_floor(t):,}." for t in withheld
    ]
    if any(p.reason and AMONG_FAILED in p.reason for p in shown):
        remarks.append("Failed requests rank above all others: “failed” marks a percentile among them.")
    without = sorted({p.percentile for p in shown if p.value is not None and p.basis is None})
    if without and blocks < ENOUGH_BLOCKS:
        counted = "one trial" if blocks == 1 else f"{blocks} blocks"
        remarks.append(f"No interval: {counted}; an interval over blocks requires {ENOUGH_BLOCKS}.")
    elif without:
        required = ", ".join(f"p{t:g} {independent_needed(t):,}" for t in without)
        remarks.append(
            "No interval where the requests of a block wait for each other, so that they are worth too few independent ones, or where "
            f"fewer than {ENOUGH_BLOCKS} blocks have the figure. Independent requests required: {required}."
        )
    return remarks
