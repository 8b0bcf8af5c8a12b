"""The report as one self-contained HTML page: template, style, script and plotly inlined; nothing is fetched.

Everything from outside passes through the template's escaping, and the page's content security policy lets only our own
scripts run, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from reports.analysis import Analysis, CheckResult
from reports.answers import Answer, answers, progress
from reports.figures import Plot, latency_plot, order_plot, quality_plot, ratio_plot, speedup_plot
from reports.overview import environment_rows, limits, subtitle, summary, where
from reports.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT, TTFT
from reports.table import SIGNS, WorkloadTable, workload_tables
from reports.wording import TO, sentence

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """A plot with the id under which the page's script finds its figure."""

    id: str
    plot: Plot


@dataclass(frozen=True)
class WorkloadView:
    """What the page shows of one workload."""

    table: WorkloadTable
    plots: list[Shown]


@dataclass(frozen=True)
class RunView:
    """What the page shows of one run."""

    id: str
    analysis: Analysis
    subtitle: str
    progress: str | None
    answers: list[Answer]
    limits: list[CheckResult]
    comparisons: int
    workloads: list[WorkloadView]
    energy: list[Shown]
    quality: list[Shown]
    speedup: Shown
    order: list[Shown]
    environment: list[tuple[str, str]]


def render_page(analyses: Sequence[Analysis]) -> str:
    """The HTML of one or more runs, one after another."""
    views = [_view(analysis, f"run-{number}") for number, analysis in enumerate(analyses, 1)]
    scripts = [get_plotlyjs(), (_TEMPLATES / "report.js").read_text("utf-8")]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(signs=SIGNS, where=where, summary=summary)
    environment.filters |= {"sentence": sentence, "unbroken": _unbroken}
    return environment.get_template("report.html").render(
        views=views,
        title=", ".join(analysis.info.name for analysis in analyses),
        # Our own files, as they are; figures carry outside text, so nothing in them may end their script element.
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        figures=Markup(_json(_figures(views))),  # noqa: S704
    )


def _view(analysis: Analysis, prefix: str) -> RunView:
    names = analysis.info.workloads
    numbers = itertools.count(1)

    def show(plot: Plot) -> Shown:
        return Shown(f"{prefix}-plot-{next(numbers)}", plot)

    return RunView(
        id=prefix,
        analysis=analysis,
        subtitle=subtitle(analysis),
        progress=progress(analysis),
        answers=answers(analysis),
        limits=limits(analysis),
        comparisons=sum(v.comparison is not None and v.comparison.verdict is not None for c in analysis.cells for v in c.values.values()),
        workloads=[
            WorkloadView(table, [show(plot) for plot in _workload_plots(analysis, table.workload)])
            for table in workload_tables(analysis)
        ],
        energy=[show(plot) for plot in _energy_plots(analysis)],
        quality=[show(quality_plot(analysis, name)) for name in names],
        speedup=show(speedup_plot(analysis)),
        order=[show(order_plot(analysis, name)) for name in names],
        environment=environment_rows(analysis.environment),
    )  # fmt: skip


def _workload_plots(analysis: Analysis, workload: str) -> list[Plot]:
    ratios = [ratio_plot(analysis, workload, key) for key in (OUTPUT_TOKENS_PER_S, TTFT, TPOT)]
    return [*ratios, latency_plot(analysis, workload, "TTFT"), latency_plot(analysis, workload, "TPOT")]


def _energy_plots(analysis: Analysis) -> list[Plot]:
    """Measured for every workload, present or absent with the reason; modelled ones only where there are any."""
    title = QUANTITIES[JOULES].title
    plots = [ratio_plot(analysis, w, JOULES, title=f"{w}: {title}, measured") for w in analysis.info.workloads]
    modelled = {c.workload for c in analysis.cells if c.values[MODELLED_JOULES].median is not None}
    plots += [
        ratio_plot(analysis, w, MODELLED_JOULES, title=f"{w}: {title}, modelled, not measured")
        for w in analysis.info.workloads
        if w in modelled
    ]
    return plots


def _figures(views: Sequence[RunView]) -> dict[str, Any]:
    shown = [
        one
        for view in views
        for one in [
            *(p for w in view.workloads for p in w.plots),
            *view.energy,
            *view.quality,
            view.speedup,
            *view.order,
        ]
    ]
    return {one.id: one.plot.figure for one in shown if one.plot.figure is not None}


def _unbroken(text: str) -> str:
    """With word joiners, so that no line ends inside an interval."""
    return text.replace(TO, f"\u2060{TO}\u2060")


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: no "<" is left in it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
