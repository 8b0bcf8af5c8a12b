"""The table of a workload, for the page, the Markdown and the terminal alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from reports.analysis.analyse import analyse_folder
from reports.analysis.quantities import JOULES, MODELLED_JOULES, NET_JOULES, OUTPUT_TOKENS_PER_S, TPOT, TTFT
from reports.analysis.records import Analysis, Cell, ConfigurationFigures
from reports.document.blocks import SIGNS, Column, Entry, Row, Table, note_letter
from reports.document.wording import (
    PER_CELL,
    figure,
    is_named_by_width,
    listed,
    parameters,
    smallest_effect,
    times,
    with_interval,
)


@dataclass(frozen=True)
class WorkloadTable:
    """`notes` maps letters to reasons; `remarks` are about the whole table."""

    workload: str
    description: str
    columns: list[Column]
    rows: list[Row]
    notes: dict[str, str]
    remarks: list[str]

    @property
    def on_intervals(self) -> list[str]:
        """What must be said where there are any."""
        return [PER_CELL] if any(entry.verdict for row in self.rows for entry in row.entries) else []

    @property
    def block(self) -> Table:
        """As a block of the report."""
        caption = " ".join(
            ["Medians over trials; beneath, the ratio to the baseline with its interval.", *self.on_intervals]
        )
        return Table(caption, self.columns, self.rows, self.notes, self.remarks)


@dataclass(frozen=True)
class _Field:
    column: Column
    entry: Callable[[ConfigurationFigures, Cell], tuple[Entry, str | None]]  # the entry, and why something is missing
    compared: str | None = None  # the quantity whose ratio stands in it


def workload_tables(analysis: Analysis) -> list[WorkloadTable]:
    """One table a workload, configurations in the order of the run."""
    return [_table(analysis, workload) for workload in analysis.info.workloads]


def render_table(analysis: Analysis) -> list[TerminalTable]:
    """The same tables for a terminal."""
    return [_render(table, analysis.info.name) for table in workload_tables(analysis)]


def render_tables(run: Path) -> list[TerminalTable]:
    """The tables of a run folder. Raises ReportError naming the path that cannot be read."""
    return render_table(analyse_folder(run))


def _table(analysis: Analysis, workload: str) -> WorkloadTable:
    cells = {c.info.label: analysis.cell(c.info.label, workload) for c in analysis.configurations}
    fields = _fields(analysis, list(cells.values()))
    notes: dict[str, str] = {}
    rows = []
    for configuration in analysis.configurations:
        cell = cells[configuration.info.label]
        found = [field.entry(configuration, cell) for field in fields]
        entries = [replace(entry, note=note_letter(reason, notes)) for entry, reason in found]
        if configuration.info.is_baseline:
            entries[0] = replace(entries[0], change="baseline")
        rows.append(Row(entries, configuration.info.is_baseline))
    known = analysis.workloads.get(workload)
    return WorkloadTable(
        workload=workload,
        description=known.describe() if known else "no trial of this workload is finished",
        columns=[field.column for field in fields],
        rows=rows,
        notes=notes,
        remarks=[*_undecided(list(cells.values()), fields), *_remarks(list(cells.values()))],
    )


def _fields(analysis: Analysis, cells: list[Cell]) -> list[_Field]:
    """The columns of one workload: net and modelled joules only where there are any."""
    configurations = analysis.configurations
    fields = []
    if not all(is_named_by_width(c.info) for c in configurations):
        fields.append(_Field(Column("Configuration"), lambda c, _: (Entry(c.info.label), None)))
    fields += [
        _Field(Column("Width"), lambda c, _: (Entry(str(c.info.width)), None)),
        _Field(Column("Ratio"), lambda c, _: (Entry(f"{c.info.expansion_ratio:.2f}"), None)),
        _Field(Column("Parameters"), lambda c, _: (Entry(parameters(c.info.parameters)), None)),
        _Field(Column("Perplexity"), lambda c, _: _perplexity(c)),
        _quantity(OUTPUT_TOKENS_PER_S, Column("Output tokens/s")),
        _quantity(TTFT, Column("TTFT", "ms")),
        _quantity(TPOT, Column("TPOT", "ms")),
        _quantity(JOULES, Column("J/output token", ", ".join(sorted({s for c in cells for s in c.energy_sources})))),
    ]
    if any(c.values[NET_JOULES].median is not None for c in cells):
        # Without a ratio: idle power taken from both sides makes any saving look larger than the machine's.
        fields.append(_quantity(NET_JOULES, Column("Net J/output token", "less idle"), compared=False))
    if any(c.values[MODELLED_JOULES].median is not None for c in cells):
        fields.append(_quantity(MODELLED_JOULES, Column("Modelled J/output token", "not measured")))
    return fields


def _perplexity(configuration: ConfigurationFigures) -> tuple[Entry, str | None]:
    quality = configuration.info.quality
    if quality is None or quality.perplexity is None:
        return Entry("—"), configuration.perplexity_reason
    ratio = configuration.perplexity_ratio
    change = times(ratio) if ratio is not None and not configuration.info.is_baseline else None
    return Entry(figure(quality.perplexity), change), configuration.perplexity_reason


def _quantity(key: str, column: Column, *, compared: bool = True) -> _Field:
    def entry(_: ConfigurationFigures, cell: Cell) -> tuple[Entry, str | None]:
        value = cell.values[key]
        if value.median is None:
            return Entry("—"), value.reason
        found = value.comparison
        if found is None or not compared:
            return Entry(figure(value.median)), value.reason
        return Entry(figure(value.median), with_interval(found), found.verdict), value.reason or found.reason

    return _Field(column, entry, key if compared else None)


def _undecided(cells: list[Cell], fields: list[_Field]) -> list[str]:
    """What each column with an undecided ratio could have shown, by its widest interval."""
    effects: dict[str, list[str]] = {}
    for field in fields:
        found = [c.values[field.compared].comparison for c in cells] if field.compared else []
        sizes = [f.smallest_effect for f in found if f and f.verdict == "undecided" and f.smallest_effect]
        if sizes:
            effects.setdefault(smallest_effect(max(sizes)), []).append(field.column.heading)
    said = "; ".join(f"{listed(headings)}: {effect}" for effect, headings in effects.items())
    return [f"Undecided (?) by the widest interval of its column. {said}."] if said else []


def _remarks(cells: list[Cell]) -> list[str]:
    remarks = []
    uncertainties = [c.energy_uncertainty for c in cells if c.energy_uncertainty is not None]
    if uncertainties:
        remarks.append(
            f"Joules of a trial are known to ±{max(uncertainties):.1%} or better (95 %), sensor error apart."
        )
    of_net = [c.net_uncertainty for c in cells if c.net_uncertainty is not None]
    if of_net:
        remarks.append(
            f"Net joules of a trial are known to ±{max(of_net):.1%} or better (95 %), idle power and its drift included."
        )
    bases = sorted({basis for c in cells for basis in c.modelled_basis})
    if bases:
        remarks.append(f"Modelled joules are {'; '.join(bases)}: an assumption, not a measurement.")
    windows = sorted({words for c in cells for words in c.windows})
    if windows:
        remarks.append(f"Window: {'; or '.join(windows)}.")
    offered = [c.offered_rate for c in cells if c.offered_rate is not None]
    if offered:
        remarks.append(f"Offered: {figure(statistics.median(offered))} requests/s.")
    remarks += [f"{c.label}: saturated in {c.saturated} of {c.trials} trials." for c in cells if c.saturated]
    return remarks


def _render(table: WorkloadTable, run: str) -> TerminalTable:
    captions = [
        *table.on_intervals,
        *(f"[{letter}] {reason}" for letter, reason in table.notes.items()),
        *table.remarks,
    ]
    rendered = TerminalTable(
        title=Text(f"{run} · {table.workload}: {table.description}"),
        caption=Text("\n".join(captions)) if captions else None,
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for column in table.columns:
        rendered.add_column(
            Text(f"{column.heading}\n{column.unit}".strip()), justify="right", overflow="fold"
        )  # folded on a narrow terminal, never cut
    for row in table.rows:
        rendered.add_row(*(_render_entry(entry) for entry in row.entries), style="bold" if row.is_baseline else None)
    return rendered


def _render_entry(entry: Entry) -> Text:
    text = Text(entry.text)
    if entry.note:
        text.append(f" [{entry.note}]", style="dim")
    if entry.change:
        style = {"better": "green", "worse": "red"}.get(entry.verdict or "", "dim")
        text.append(
            f"\n{SIGNS[entry.verdict] if entry.verdict else ''} {entry.change}".replace("\n ", "\n"), style=style
        )
    return text
