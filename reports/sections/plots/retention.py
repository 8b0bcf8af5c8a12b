"""The share of the baseline's score that each width keeps, task by task."""

from __future__ import annotations

from base.figures import percent
from reports.analysis.quality.tasks import Group, QualityFigures
from reports.analysis.records import Analysis
from reports.document.blocks import Plot
from reports.document.chart import Axis, Marks, Rule, at_least, series_style
from reports.document.wording import listed, name, with_interval
from reports.sections.plots.places import Places


def retention_plot(analysis: Analysis, quality: QualityFigures, group: Group, title: str) -> Plot | None:
    """The tasks of one group over the expansion ratio; None if the group is empty."""
    tasks = [t for t in quality.tasks if t.group == group]
    marks = []
    places = Places.of(analysis)
    drawn: list[float] = []
    for number, task in enumerate(tasks):
        points = [
            (c.info, kept)
            for c in analysis.configurations
            if (kept := task.scores[c.info.label].kept) is not None and kept.ratio is not None
        ]
        if not points:
            continue
        drawn += [end for _, k in points for end in (k.ratio, k.low, k.high) if end is not None]
        marks.append(
            Marks(
                [places.at[info.label] for info, _ in points],
                [kept.ratio or 0.0 for _, kept in points],
                task.task,
                *series_style(number),
                line="solid",
                low=[kept.low for _, kept in points],
                high=[kept.high for _, kept in points],
                hover=[f"{task.task}, {name(info)}\nkeeps {with_interval(kept)}" for info, kept in points],
            )
        )
    if not marks:
        return None
    axis = Axis("share of the baseline's score", at_least(0.9, 1.1, drawn), form="ratio")
    losses = [f"{t.task} loses {percent(t.loss)} per tenth" for t in tasks if t.loss is not None]
    alt = f"{title}: {'; '.join(losses) or listed([t.task for t in tasks])}."
    return Plot(title, "Bars: 95 % intervals over items.", alt, places.chart(axis, marks, Rule(1.0)))
