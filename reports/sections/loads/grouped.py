"""Tables of groups of a load's requests, such as turns or parts, with the ratio of each to the baseline's same group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.analysis.groups import (
    E2E,
    GROUP_QUANTITIES,
    ITL,
    P99_ITL,
    REQUEST_JOULES,
    REQUESTS_PER_S,
    TOKENS_PER_S,
    TPOT,
    TTFT,
    GroupQuantity,
)
from reports.analysis.quantities import GOOD_JOULES, GOOD_PER_S, GOOD_SHARE
from reports.analysis.records import Analysis, GroupCell, GroupFigures
from reports.document.blocks import Column, Entry, Row, Table, note_letter
from reports.document.wording import or_absent, sentence
from reports.sections.loads.quantity_table import in_unit, value_entry

LATENCIES = (TTFT, TPOT, ITL, P99_ITL, E2E)
RATES = (REQUESTS_PER_S, TOKENS_PER_S, REQUEST_JOULES)
OBJECTIVES = (GOOD_PER_S, GOOD_SHARE, GOOD_JOULES)
TURNS = (TTFT, TPOT, E2E, GOOD_SHARE, REQUEST_JOULES)


def grouped_table(
    analysis: Analysis, workload: str, noun: str, caption: str, keys: Sequence[str], *, prompts: bool = True
) -> Table:
    """A row for each configuration and group; `noun` is what a group is. Objectives are left out where no group has any.

    `prompts`: with their lengths, and the share of them from the cache where a server said it.
    """
    cells = [cell for cell in analysis.groups if cell.workload == workload]
    shown = _shown(keys, judged=any(cell.values[GOOD_SHARE].median is not None for cell in cells))
    notes: dict[str, str] = {}
    rows = []
    for cell in cells:
        entries = [value_entry(cell.values[quantity.key], quantity.unit, notes) for quantity in shown]
        # One entry, which stays where a narrow screen scrolls the others.
        name = Entry(cell.label, f"{noun} {cell.group}")
        lengths = _lengths(cell, cells) if prompts else []
        rows.append(Row([name, *lengths, *entries], cell.label == analysis.info.baseline))
    columns = [Column("Configuration"), *(_length_columns(cells) if prompts else []), *map(_column, shown)]
    return Table(caption, columns, rows, notes)


def group_table(caption: str, noun: str, groups: Mapping[str, GroupFigures], keys: Sequence[str]) -> Table:
    """A row for each group of a single load."""
    shown = _shown(keys, judged=any(GOOD_SHARE in group.values for group in groups.values()))
    notes: dict[str, str] = {}
    rows = []
    for name, group in groups.items():
        entries = [
            Entry(in_unit(group.values.get(q.key), q.unit), note=note_letter(group.reasons.get(q.key), notes))
            for q in shown
        ]
        counts = [Entry(f"{group.requests:,}"), Entry(f"{group.failed:,}")]
        rows.append(Row([Entry(name), *counts, *_lengths(group, [*groups.values()]), *entries]))
    columns = [Column(noun.capitalize()), Column("Requests"), Column("Failed"), *_length_columns([*groups.values()])]
    return Table(caption, [*columns, *map(_column, shown)], rows, notes)


def joules_words(analysis: Analysis, workload: str, noun: str) -> str:
    """How the joules of a workload's groups come about, in all configurations."""
    cells = [cell for cell in analysis.cells if cell.workload == workload]
    return shared_joules(noun, sorted({by for cell in cells for by in cell.joules_shared_by}))


def shared_joules(noun: str, by: Sequence[str]) -> str:
    """How the joules of a group come about."""
    active = f", active ones by {' or '.join(by)}" if by else ""
    return sentence(f"joules of a {noun} are those of its requests, shared out{active}, and not metered apart")


def _shown(keys: Sequence[str], *, judged: bool) -> list[GroupQuantity]:
    return [GROUP_QUANTITIES[key] for key in keys if judged or key not in OBJECTIVES]


def _column(quantity: GroupQuantity) -> Column:
    return Column(quantity.title, quantity.unit if quantity.unit == "ms" else "")


def _length_columns(groups: Sequence[GroupCell | GroupFigures]) -> list[Column]:
    """Prompt tokens, and the share from the cache where a server said it."""
    cached = any(group.cached_share is not None for group in groups)
    return [Column("Prompt tokens"), *([Column("From the cache")] if cached else [])]


def _lengths(group: GroupCell | GroupFigures, groups: Sequence[GroupCell | GroupFigures]) -> list[Entry]:
    entries = [Entry(or_absent(group.prompt_tokens)), Entry(in_unit(group.cached_share, "share"))]
    return entries[: len(_length_columns(groups))]
