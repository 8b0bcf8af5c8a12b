"""Joules of single requests: each one's share of its window, and what no request has a share of."""

from __future__ import annotations

from reports.analysis.quantities import GOOD_JOULES, MEDIAN_REQUEST_JOULES, P99_REQUEST_JOULES, REQUEST_JOULES
from reports.analysis.records import Analysis, Cell
from reports.document.blocks import Column, Entry, Prose, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, PER_CELL, figure, or_absent, percent, with_interval

_LEDE = (
    "A request's joules are its share of the window's gross joules: idle power, shared at each moment equally over the requests in "
    "flight, and the active joules, shared by what tokens cost where the energy model knows it, else by time in flight. Shares and "
    "what was metered with nothing in flight add up to the meter. Medians and p99 are of completed requests wholly in the window."
)
_COLUMNS = (
    (MEDIAN_REQUEST_JOULES, Column("Median", "J/request")),
    (P99_REQUEST_JOULES, Column("p99", "J/request")),
    (REQUEST_JOULES, Column("All joules", "J/completed request")),
    (GOOD_JOULES, Column("All joules", "J/good request")),
)


def request_joules_section(analysis: Analysis) -> Section | None:
    """A table for each workload with measured joules; None without one."""
    tables = [_table(analysis, w) for w in analysis.info.workloads if analysis.has_values(w, MEDIAN_REQUEST_JOULES)]
    return Section("request-joules", "Joules of a request", [Prose(_LEDE, "lede"), *tables]) if tables else None


def _table(analysis: Analysis, workload: str) -> Table:
    notes: dict[str, str] = {}
    shown = [(key, column) for key, column in _COLUMNS if key != GOOD_JOULES or analysis.has_values(workload, key)]
    rows = []
    for configuration in analysis.configurations:
        label = configuration.info.label
        cell = analysis.cell(label, workload)
        empty = cell.unattributed_share
        rows.append(
            Row(
                [
                    Entry(label),
                    *(_entry(cell, key, notes) for key, _ in shown),
                    Entry(ABSENT if empty is None else percent(float(figure(empty)))),
                    Entry(", ".join(cell.joules_shared_by) or ABSENT),
                ],
                is_baseline=configuration.info.is_baseline,
            )
        )
    columns = [Column("Configuration"), *(column for _, column in shown)]
    columns += [Column("Nothing in flight", "of all joules"), Column("Active joules by")]
    return Table(f"{workload}. Medians over trials. {PER_CELL}", columns, rows, notes)


def _entry(cell: Cell, key: str, notes: dict[str, str]) -> Entry:
    value = cell.values[key]
    change = with_interval(value.comparison) if value.comparison else None
    verdict = value.comparison.verdict if value.comparison else None
    return Entry(or_absent(value.median), change, verdict, note_letter(value.why_missing, notes))
