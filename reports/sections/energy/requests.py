"""Joules of single requests: each one's share of its window, and what no request has a share of."""

from __future__ import annotations

from base.figures import figure, percent
from reports.analysis.quantities import GOOD_JOULES, MEDIAN_REQUEST_JOULES, P99_REQUEST_JOULES, REQUEST_JOULES
from reports.analysis.records import Analysis, Cell
from reports.document.blocks import Column, Prose, Section, Table
from reports.document.wording import ABSENT, PER_CELL
from reports.sections.loads.quantity_table import JOULES_OF_GOOD, quantity_table

_LEDE = (
    "A request's joules are its share of the window's gross joules: idle power, shared at each moment equally over the requests in "
    "flight, and the active joules, shared by what tokens cost where the energy model knows it, else by time in flight. Shares and "
    "what was metered with nothing in flight add up to the meter. Medians and p99 are of completed requests wholly in the window."
)
_COLUMNS = (
    (MEDIAN_REQUEST_JOULES, Column("Median", "J/request")),
    (P99_REQUEST_JOULES, Column("p99", "J/request")),
    (REQUEST_JOULES, Column("All joules", "J/completed request")),
    JOULES_OF_GOOD,
)


def request_joules_section(analysis: Analysis) -> Section | None:
    """A table for each workload with measured joules; None without one."""
    tables = [_table(analysis, w) for w in analysis.info.workloads if analysis.has_values(w, MEDIAN_REQUEST_JOULES)]
    return Section("request-joules", "Joules of a request", [Prose(_LEDE, "lede"), *tables]) if tables else None


def _table(analysis: Analysis, workload: str) -> Table:
    shown = [(key, column) for key, column in _COLUMNS if key != GOOD_JOULES or analysis.has_values(workload, key)]
    return quantity_table(analysis, workload, f"{workload}. Medians over trials. {PER_CELL}", shown, _MORE)


def _empty(cell: Cell) -> str:
    return ABSENT if cell.unattributed_share is None else percent(float(figure(cell.unattributed_share)))


_MORE = (
    (Column("Nothing in flight", "of all joules"), _empty),
    (Column("Active joules by"), lambda cell: ", ".join(cell.joules_shared_by) or ABSENT),
)
