"""The page of many runs: a table to sort and filter, and the pictures of what can be compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from base.files import write_text
from reports.analysis.analyse import analyse_folder
from reports.analysis.quantities import JOULES_KEYS, QUANTITIES
from reports.compare.index import Compared, Group, Row, groups_of
from reports.compare.summary import kept_summary, summarize
from reports.document.blocks import SIGNS, Plot
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.html import render_template
from reports.document.inline_svg import inline_svg
from reports.document.pictures import NO_CHARTS, WIDTHS, can_draw, draw_picture
from reports.document.wording import SIMULATED, with_interval
from reports.errors import ReportError
from reports.statistics.ratios import MARGIN

Progress = Callable[[int, int, str], None]


def build_index(
    folders: Sequence[Path],
    page: Path,
    *,
    margin: float = MARGIN,
    notice: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Path:
    """Write the page and return its path. What is no run, or cannot be read, is left out with a `notice`.

    A run that is kept without its trials has its row from its `index.json`, at the margin of its report.

    Raises ReportError if nothing is left, and naming a path that cannot be written.
    """
    rows = []
    for number, folder in enumerate(folders, 1):
        try:
            kept = kept_summary(folder)
            summary = kept or summarize(analyse_folder(folder, margin=margin))
        except ReportError as error:
            notice(f"left out: {error}")
            continue
        report = next((folder / one for one in ("report.html", "report.md") if (folder / one).exists()), None)
        if kept is not None and kept.margin != margin:
            notice(
                f"{folder}: kept without its trials, so that its verdicts are at a margin of {100 * kept.margin:g} %"
            )
        link = None if report is None else Path(os.path.relpath(report, page.parent)).as_posix()
        rows.append(Row(folder.resolve().name, summary, link))
        progress(number, len(folders), folder.name)
    if not rows:
        raise ReportError("--index: none of these is a run that can be read")
    rows.sort(key=lambda row: row.summary.created_at, reverse=True)
    try:
        write_text(page, index_page(rows))
    except OSError as error:
        raise ReportError(f"{page} cannot be written: {error.strerror}") from None
    return page


def index_page(rows: Sequence[Row]) -> str:
    """The HTML; it needs nothing else but the reports that it links to."""
    groups = groups_of(rows)
    numbers = {id(row): number for number, group in enumerate(groups, 1) for row in group.rows}
    draws = can_draw()
    return render_template(
        "index.html",
        "index.js",
        title=f"{len(rows)} runs",
        rows=rows,
        numbers={rows.index(row): numbers[id(row)] for row in rows if id(row) in numbers},
        filters={
            "machine": sorted({row.summary.machine for row in rows}),
            "model": sorted({row.summary.model for row in rows}),
            "treatment": sorted({kind for row in rows for kind in row.summary.treatments}),
        },
        groups=[(number, group, _drawings(group, number) if draws else []) for number, group in enumerate(groups, 1)],
        absent="" if draws else NO_CHARTS,
    )


def _drawings(group: Group, number: int) -> list[tuple[Plot, Markup]]:
    """Each plot with its SVG element."""
    found = []
    watermark = SIMULATED if group.rows[0].summary.simulated else ""
    for place, compared in enumerate(group.compared(), 1):
        plot = index_plot(compared)
        assert plot.chart is not None  # noqa: S101 - it has two ratios at least
        picture = draw_picture(plot.chart, WIDTHS[1], watermark)
        found.append((plot, Markup(inline_svg(picture.svg, f"group-{number}-{place}"))))  # noqa: S704
    return found


def index_plot(compared: Compared) -> Plot:
    """A row for every ratio, runs one below the other."""
    quantity = QUANTITIES[compared.quantity]
    ratios = list(reversed(compared.ratios))
    marks = []
    for verdict, colour in (("better", "better"), ("worse", "worse"), (None, "same")):
        own = [
            (place, found.comparison)
            for place, (_, found) in enumerate(ratios)
            if (found.comparison.verdict if found.comparison.verdict in {"better", "worse"} else None) == verdict
        ]
        if own:
            marks.append(
                Marks(
                    [found.ratio or 1.0 for _, found in own],
                    [float(place) for place, _ in own],
                    colour=colour,
                    symbol="diamond" if compared.quantity in JOULES_KEYS else "circle",
                    x_low=[found.low for _, found in own],
                    x_high=[found.high for _, found in own],
                )
            )
    ends = [end for _, f in ratios for end in (f.comparison.low, f.comparison.high) if end is not None]
    chart = Chart(
        Axis("ratio to the baseline of the same run", at_least(0.9, 1.1, ends), form="ratio"),
        Axis("", (-0.6, len(ratios) - 0.4), names=[f"{row.title}: {f.configuration}" for row, f in ratios], grid=False),
        marks,
        [Rule(1.0, "x")],
        height=66 + 24 * len(ratios),
    )
    said = [
        f"{row.title}, {f.configuration}: {with_interval(f.comparison)} {SIGNS[f.comparison.verdict or 'undecided']}"
        for row, f in compared.ratios
    ]
    title = f"{compared.workload}: {quantity.title}, {quantity.better} is better"
    return Plot(title, "Simultaneous 95\u00a0% intervals of each run.", f"{'; '.join(said)}.", chart)
