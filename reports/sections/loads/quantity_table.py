"""A table of some quantities of one workload: a row for every configuration, medians over trials with their ratios beneath."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from base.figures import percent
from reports.analysis.quantities import GOOD_JOULES, QUANTITIES
from reports.analysis.records import Analysis, Cell, CellValue
from reports.document.blocks import Column, Entry, Row, Table, note_letter
from reports.document.wording import ABSENT, or_absent, with_interval

JOULES_OF_GOOD = (GOOD_JOULES, Column("All joules", "J/good request"))  # in the tables of goodput and of requests
More = tuple[Column, Callable[[Cell], str]]


def quantity_table(
    analysis: Analysis, workload: str, caption: str, shown: Sequence[tuple[str, Column]], more: Sequence[More] = ()
) -> Table:
    """Quantities by their keys, each with its column; then what `more` says of a cell."""
    notes: dict[str, str] = {}
    rows = []
    for configuration in analysis.configurations:
        cell = analysis.cell(configuration.info.label, workload)
        entries = [value_entry(cell.values[key], QUANTITIES[key].unit, notes) for key, _ in shown]
        entries += [Entry(text(cell)) for _, text in more]
        rows.append(Row([Entry(cell.label), *entries], configuration.info.is_baseline))
    columns = [Column("Configuration"), *(column for _, column in shown), *(column for column, _ in more)]
    return Table(caption, columns, rows, notes)


def value_entry(value: CellValue, unit: str, notes: dict[str, str]) -> Entry:
    """A median, a share in percent, with its ratio to the baseline's; `notes` gain the reason of what is missing."""
    found = value.comparison
    return Entry(
        in_unit(value.median, unit),
        with_interval(found) if found else None,
        found.verdict if found else None,
        note_letter(value.why_missing, notes),
    )


def in_unit(value: float | None, unit: str) -> str:
    """A figure, a share in percent, or a dash."""
    if unit != "share":
        return or_absent(value)
    return ABSENT if value is None else percent(value)
