"""A table of a report for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from reports.document.blocks import SIGNS, Entry, Table

_STYLES = {"better": "green", "worse": "red"}


def terminal_table(table: Table, title: str) -> TerminalTable:
    """The table with its caption, notes and remarks beneath; a narrow terminal folds it and cuts nothing."""
    notes = [f"[{letter}] {reason}" for letter, reason in table.notes.items()]
    drawn = TerminalTable(
        title=Text(title),
        caption=Text("\n".join([table.caption, *notes, *table.remarks])),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for column in table.columns:
        drawn.add_column(Text(f"{column.heading}\n{column.unit}".strip()), justify="right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_entry, row.entries), style="bold" if row.is_baseline else None)
    return drawn


def _entry(entry: Entry) -> Text:
    text = Text(entry.text)
    if entry.note:
        text.append(f" [{entry.note}]", style="dim")
    if entry.change:
        sign = f"{SIGNS[entry.verdict]} " if entry.verdict else ""
        text.append(f"\n{sign}{entry.change}", style=_STYLES.get(entry.verdict or "", "dim"))
    return text
