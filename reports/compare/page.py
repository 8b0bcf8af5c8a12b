"""A comparison of two runs as a page: the same blocks as a report."""

from __future__ import annotations

from reports.compare.runs import ComparedCell, ComparedQuantity, RunComparison
from reports.compare.text import notes, outcome, words
from reports.document.blocks import (
    SIGNS,
    Article,
    Block,
    Entry,
    Heading,
    Items,
    Plot,
    Plots,
    Row,
    Section,
    Table,
    columns,
)
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.html import render_page
from reports.document.pictures import NO_CHARTS, WIDTHS, can_draw, draw_picture
from reports.document.wording import ABSENT, SIMULATED, in_words, with_interval
from reports.errors import ReportError
from reports.statistics.ratios import Verdict

_COLOURS: dict[Verdict | None, str] = {"better": "better", "worse": "worse"}
_HEADINGS = ("Width", "Quantity", "Before", "After", "After / before")


def comparison_page(comparison: RunComparison) -> str:
    """The HTML of a comparison; it needs nothing else. Raises ReportError where nothing is installed that draws."""
    if not can_draw():
        raise ReportError(f"--format html: {NO_CHARTS}")
    article = comparison_article(comparison)
    pictures = {
        placed.id: draw_picture(placed.plot.chart, WIDTHS[placed.abreast], article.watermark)
        for placed in article.plots()
        if placed.plot.chart
    }
    return render_page([article], pictures)


def comparison_article(comparison: RunComparison) -> Article:
    """A section for each workload with picture and table, then what else differs."""
    workloads = dict.fromkeys(cell.workload for cell in comparison.cells)
    sections = [
        _workload(f"workload-{number}", workload, [c for c in comparison.cells if c.workload == workload])
        for number, workload in enumerate(workloads, 1)
    ]
    blocks: list[Block] = []
    for heading, lines in notes(comparison):
        blocks += [Heading(heading), Items(lines)]
    simulated = f" ({SIMULATED})" if comparison.simulated else ""
    return Article(
        id="comparison",
        title=f"{comparison.before} → {comparison.after}{simulated}",
        kicker="prunebench compare",
        subtitle=outcome(comparison),
        sections=[*sections, Section("notes", "What to know about it", blocks)],
        watermark=SIMULATED if comparison.simulated else "",
    )


def _workload(section_id: str, workload: str, cells: list[ComparedCell]) -> Section:
    rows = [row for cell in cells for row in _rows(cell)]
    caption = "Geometric means over trials; beneath a ratio, its verdict."
    return Section(section_id, workload, [Plots([_plot(cells)], abreast=1), Table(caption, columns(*_HEADINGS), rows)])


def _rows(cell: ComparedCell) -> list[Row]:
    if cell.reason:
        return [Row([Entry(cell.name.removeprefix("width ")), Entry(cell.reason), *[Entry(ABSENT)] * 3])]
    return [_row(cell, quantity) for quantity in cell.quantities]


def _row(cell: ComparedCell, quantity: ComparedQuantity) -> Row:
    title, before, after, ratio, reason = words(quantity)
    found = quantity.comparison
    said = f"{found.verdict}{', regression' if quantity.regression else ''}" if found.verdict else reason
    texts = [cell.name.removeprefix("width "), title, before, after]
    return Row([*map(Entry, texts), Entry(ratio, said, found.verdict)])


def _plot(cells: list[ComparedCell]) -> Plot:
    """Every ratio with its interval, a row each, in the order of the table from the top."""
    title = "After / before"
    found = [(c, q) for c in cells for q in c.quantities if q.comparison.ratio is not None]
    if not found:
        return Plot(title, absent="no quantity has a ratio")
    rows = {(c.label_before, c.label_after, q.key): row for row, (c, q) in enumerate(reversed(found))}
    marks = []
    for colour in ("better", "worse", "same"):
        own = [(c, q) for c, q in found if _COLOURS.get(q.comparison.verdict, "same") == colour]
        if own:
            marks.append(
                Marks(
                    [q.comparison.ratio or 1.0 for _, q in own],
                    [rows[c.label_before, c.label_after, q.key] for c, q in own],
                    colour=colour,
                    symbol="circle",
                    x_low=[q.comparison.low for _, q in own],
                    x_high=[q.comparison.high for _, q in own],
                    hover=[f"{c.name}, {q.title}\n{_found(q)}" for c, q in own],
                )
            )
    ends = [end for m in marks for side in (m.x, m.x_low or (), m.x_high or ()) for end in side if end is not None]
    chart = Chart(
        Axis("after / before", at_least(0.9, 1.1, ends), form="ratio"),
        Axis(
            "",
            (-0.6, len(rows) - 0.4),
            names=[f"{c.name.removeprefix('width ')}: {q.title}" for c, q in reversed(found)],
            grid=False,
        ),
        marks,
        [Rule(1.0, "x")],
        height=66 + 24 * len(rows),
    )
    said = [f"{c.name}, {q.title}: {_found(q)}" for c, q in found]
    lede = "Blue: better; orange: worse; grey: neither. Bars: 95\u00a0% intervals, not corrected for their number."
    return Plot(title, lede, f"{'; '.join(said)}.", chart)


def _found(quantity: ComparedQuantity) -> str:
    found = quantity.comparison
    return (
        f"{with_interval(found)} {SIGNS[found.verdict]} {in_words(found)}"
        if found.verdict
        else str(with_interval(found))
    )
