"""Factors of a grid: their effects and interactions, a table for each workload."""

from __future__ import annotations

from collections.abc import Mapping

from reports.analysis.grid import Effect, GridFigures, Interaction
from reports.analysis.quantities import JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT, TTFT
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Column, Entry, Items, Prose, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, PER_CELL, listed, with_interval
from reports.statistics.ratios import Comparison

SHOWN = (OUTPUT_TOKENS_PER_S, TTFT, TPOT, JOULES)
_LEDE = (
    "What each level of a factor does, as a ratio to the factor's reference level, paired within blocks. An interaction is what a level "
    "is worth beside another one, over what it is worth at that one's reference: 1 if the two multiply. Where an interaction leaves out 1, "
    "the mean over the other factor says nothing and is not shown."
)


def grid_section(analysis: Analysis) -> Section | None:
    """None for a run without two levels of a factor."""
    if not any(figures.effects for figures in analysis.grid):
        return None
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    if found := _found(analysis):
        blocks.append(Items(found))
    for workload in dict.fromkeys(figures.workload for figures in analysis.grid):
        shown = {one.quantity: one for one in analysis.grid if one.workload == workload and one.quantity in SHOWN}
        if shown:
            blocks.append(_table(workload, shown))
    return Section("grid", "Factors, and what they do together", blocks)


def _found(analysis: Analysis) -> list[str]:
    """A sentence for each interaction whose interval leaves out 1."""
    sentences = []
    for figures in analysis.grid:
        for one in figures.interactions:
            if one.is_there and figures.quantity in SHOWN:
                (first, second), title = _levels(one.levels), QUANTITIES[figures.quantity].title
                ratio = with_interval(one.comparison)
                sentences.append(
                    f"{figures.workload}, {title}: beside {first}, {second} is worth {ratio} what it is alone."
                )
    return sentences


def _table(workload: str, shown: Mapping[str, GridFigures]) -> Table:
    first = next(iter(shown.values()))
    notes: dict[str, str] = {}
    rows = []
    for place, effect in enumerate(first.effects):
        rows.append(_row(_effect(effect), [one.effects[place].comparison for one in shown.values()], notes))
    for place, interaction in enumerate(first.interactions):
        compared = [one.interactions[place].comparison for one in shown.values()]
        rows.append(_row(_interaction(interaction), compared, notes))
    references = listed(_levels(first.references))
    quantities = [QUANTITIES[key] for key in shown]
    return Table(
        f"{workload}. Reference levels: {references}.",
        [Column("Effect"), *(Column(quantity.title) for quantity in quantities)],
        rows,
        notes=notes,
        remarks=[PER_CELL],
    )


def _row(title: str, compared: list[Comparison], notes: dict[str, str]) -> Row:
    entries = [Entry(title)]
    for found in compared:
        shown = with_interval(found)
        entries.append(Entry(shown) if shown else Entry(ABSENT, note=note_letter(found.reason, notes)))
    return Row(entries)


def _effect(effect: Effect) -> str:
    (own,) = _levels({effect.factor: effect.level})
    if effect.beside is None:
        return f"{own}, mean over the others"
    return f"{own}, at {listed(_levels(effect.beside))}" if effect.beside else own


def _interaction(one: Interaction) -> str:
    together = f"interaction: {' and '.join(_levels(one.levels))}"
    return f"{together}, at {listed(_levels(one.beside))}" if one.beside else together


def _levels(levels: Mapping[str, str]) -> list[str]:
    return [f"{factor} {level}" for factor, level in levels.items()]
