"""Power at each clock that the GPUs were seen at."""

from __future__ import annotations

from collections import defaultdict

from base.figures import figure
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Entry, Row, Section, Table

_CAPTION = (
    "Mean power of each GPU by the SM clock that it was read at, once a second over the windows of all trials: the power of the "
    "second around each reading. A clock that the load changes is an effect as much as a cause."
)


def clocks_section(analysis: Analysis) -> Section | None:
    """A row for every configuration, GPU and clock; None without any clock."""
    rows = []
    for info in (c.info for c in analysis.configurations):
        found: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
        for trial in analysis.trials:
            for one in trial.clocks if trial.label == info.label else ():
                found[one.device, one.sm_clock_mhz].append((one.seconds, one.mean_watts))
        for (device, clock), parts in sorted(found.items()):
            seconds = sum(n for n, _ in parts)
            watts = sum(n * watts for n, watts in parts) / seconds
            entries = [info.label, device, f"{clock}", figure(watts), f"{seconds}"]
            rows.append(Row([Entry(text) for text in entries], is_baseline=info.is_baseline))
    if not rows:
        return None
    columns = [
        Column("Configuration"),
        Column("GPU"),
        Column("Clock", "MHz"),
        Column("Power", "W"),
        Column("Seen for", "s"),
    ]
    return Section("clocks", "Power at each clock", [Table(_CAPTION, columns, rows, {})])
