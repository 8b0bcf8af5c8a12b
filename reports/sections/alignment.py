"""Unaligned widths, which kernels handle badly, against their aligned neighbours, in pairs within blocks."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from base.figures import figure
from reports.analysis.quantities import JOULES, QUANTITIES, TPOT
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Plot, Plots, Prose, Section, Table, columns, text_row
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.wording import ABSENT, PER_CELL, listed, with_interval
from reports.sections.plots.ratios import verdict_series
from reports.statistics.ratios import Comparison, compare

ALIGNED = 64  # rows of 128 bytes in 16-bit types: the size of tensor core tiles and cache lines
NEAR = 0.05  # farthest distance of a single neighbour that is compared, as a share of the width
_LEDE = (
    f"Each width that is not a multiple of {ALIGNED} against the value expected from its aligned neighbours: the straight line between "
    "the two around it, or the one within 5 %, in every block. A ratio above 1 is the cost of the unaligned width."
)


@dataclass(frozen=True)
class Misfit:
    """An unaligned width, the largest power of two that divides it, and its aligned neighbours, narrower first."""

    width: int
    divisor: int
    neighbours: tuple[int, ...]
    costs: dict[str, Comparison]  # by quantity


def alignment_section(analysis: Analysis) -> Section | None:
    """The cost of unaligned widths; None if all are aligned."""
    unaligned = [width for width in _labels(analysis) if width % ALIGNED]
    if not unaligned:
        return None
    found = {w: misfits(analysis, w) for w in analysis.info.workloads}
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    if not any(found.values()):
        missing = ", ".join(
            str(round(width / ALIGNED) * ALIGNED or ALIGNED) for width in sorted(unaligned, reverse=True)
        )
        advice = (
            f"This run has no aligned width near enough to {listed([str(w) for w in sorted(unaligned, reverse=True)])} to compare with. "
            f"Add {missing} (multiple_of = {ALIGNED}) to measure what the unaligned widths cost."
        )
        return Section("alignment", "Alignment", [*blocks, Prose(advice)])
    keys = [key for key in (TPOT, JOULES) if any(m.costs[key].ratio is not None for own in found.values() for m in own)]
    plots = [_plot(workload, own, key) for workload, own in found.items() for key in keys if own]
    tables = [_table(workload, own) for workload, own in found.items() if own]
    return Section("alignment", "Alignment", [*blocks, Plots(plots), *tables])


def _labels(analysis: Analysis) -> dict[int, str]:
    """Width -> label of a configuration that has it and every layer: which neurons stayed does not change how fast it is."""
    whole = [c.info for c in reversed(analysis.configurations) if c.info.pruned_alone and not c.info.removed_layers]
    return {info.width: info.label for info in whole if info.width is not None}


def misfits(analysis: Analysis, workload: str) -> list[Misfit]:
    """The unaligned widths that have neighbours to compare with, widest first."""
    labels = _labels(analysis)
    aligned = sorted(width for width in labels if width % ALIGNED == 0)
    found = []
    for width in sorted((w for w in labels if w % ALIGNED), reverse=True):
        neighbours = _neighbours(width, aligned)
        place = (workload, width, neighbours)
        costs = {key: _cost(analysis, labels, place, key) for key in (TPOT, JOULES)}
        if neighbours and any(cost.ratio is not None for cost in costs.values()):
            found.append(Misfit(width, width & -width, neighbours, costs))
    return found


def _neighbours(width: int, aligned: list[int]) -> tuple[int, ...]:
    """The aligned widths around it, or the only one that is near enough."""
    below = max((a for a in aligned if a < width), default=None)
    above = min((a for a in aligned if a > width), default=None)
    if below is not None and above is not None:
        return below, above
    near = [a for a in (below, above) if a is not None and abs(a - width) <= NEAR * width]
    return (near[0],) if near else ()


def _cost(analysis: Analysis, labels: dict[int, str], place: tuple[str, int, tuple[int, ...]], key: str) -> Comparison:
    """The width's value over the one expected from its neighbours, block by block."""
    workload, width, neighbours = place
    own = analysis.by_block(labels[width], workload, key)
    around = [analysis.by_block(labels[n], workload, key) for n in neighbours]
    expected = {}
    for block in own:
        values = [by_block[block] for by_block in around if block in by_block]
        if len(values) == len(neighbours) == 2:
            share = (width - neighbours[0]) / (neighbours[1] - neighbours[0])
            expected[block] = values[0] + share * (values[1] - values[0])
        elif len(values) == len(neighbours) == 1:
            expected[block] = values[0]
    return compare(own, expected, "lower", margin=analysis.margin, looks=analysis.info.looks)


def _plot(workload: str, found: list[Misfit], key: str) -> Plot:
    quantity = QUANTITIES[key]
    title = f"{workload}: {quantity.title} against aligned neighbours"
    compared = [(m, m.costs[key]) for m in found if m.costs[key].ratio is not None]
    if not compared:
        return Plot(title, absent=f"{quantity.title} was not measured for a width and its neighbours in one block")
    marks = [
        Marks([m.width for m, _ in own], [c.ratio or 1.0 for _, c in own], "", colour, symbol, size=10,
              low=[c.low for _, c in own], high=[c.high for _, c in own],
              hover=[f"width {m.width}, a multiple of {m.divisor}\nneighbours {listed([str(n) for n in m.neighbours])}\n{with_interval(c)}" for m, c in own])
        for verdict, symbol, colour in verdict_series()
        if (own := [(m, c) for m, c in compared if c.verdict == verdict])
    ]  # fmt: skip
    ends = [end for _, c in compared for end in (c.low, c.ratio, c.high) if end is not None]
    typical = statistics.median(c.ratio or 1.0 for _, c in compared)
    summary = "; ".join(f"width {m.width}: {with_interval(c)}" for m, c in compared)
    chart = Chart(
        Axis("width"), Axis("ratio to neighbours", at_least(0.9, 1.1, ends), form="ratio"), marks, [Rule(1.0)]
    )
    return Plot(title, f"Lower is better. Median {figure(typical)}.", f"{title}. {summary}.", chart)


def _table(workload: str, found: list[Misfit]) -> Table:
    headings = columns("Width", "A multiple of", "Neighbours", "TPOT", "J/output token")
    rows = [
        text_row(
            str(m.width),
            str(m.divisor),
            listed([str(n) for n in m.neighbours]),
            *(with_interval(m.costs[key]) or ABSENT for key in (TPOT, JOULES)),
        )
        for m in found
    ]
    return Table(f"{workload}: unaligned widths over their aligned neighbours", headings, rows, remarks=[PER_CELL])
