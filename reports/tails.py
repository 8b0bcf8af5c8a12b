"""The percentiles of every latency with their intervals, as tables; where requests are too few, how many it takes."""

from __future__ import annotations

from reports.analysis import TAILS, Analysis
from reports.confidence import needed_for
from reports.document import Column, Entry, Row, Table
from reports.failures import AMONG_FAILED
from reports.figures import DISTRIBUTIONS
from reports.percentiles import Percentile, mlperf_floor
from reports.wording import TO, figure, name


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
        Row([Entry(name(info)), Entry(title), Entry(f"{ps[0].n:,}"), *map(_entry, ps)], is_baseline=info.is_baseline)
        for info, title, ps in found
    ]
    columns = [Column("Configuration"), Column("Latency"), Column("Requests"), *(Column(f"p{t}", "ms") for t in TAILS)]
    withheld = {p.percentile for _, _, ps in found for p in ps if p.n < p.needed}
    remarks = [
        f"p{t:g} takes {needed_for(t):,} requests to have a 95 % interval; MLPerf asks for {mlperf_floor(t):,}."
        for t in sorted(withheld)
    ]
    if any(p.reason and AMONG_FAILED in p.reason for _, _, ps in found for p in ps):
        remarks.append("Failed requests rank above any: “timeout” stands for a place among them.")
    caption = f"{workload}: percentiles over the requests of all trials, with distribution-free 95 % intervals."
    return Table(caption, columns, rows, remarks=remarks)


def _entry(found: Percentile) -> Entry:
    if found.value is None or found.low is None:
        return Entry("> timeout" if found.reason == AMONG_FAILED else "—")
    return Entry(
        figure(found.value), f"{figure(found.low)}{TO}{'timeout' if found.high is None else figure(found.high)}"
    )
