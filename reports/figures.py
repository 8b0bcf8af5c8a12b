"""The plots, as plotly's own JSON and a text alternative. Colours are names of the page's CSS variables: it has two themes.

A plot whose data are missing is a `Plot` without a figure and with the reason.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from reports.analysis import Analysis, ConfigurationFigures
from reports.answers import speed_quantity
from reports.drawing import (
    Json,
    Point,
    at_least,
    baseline_mark,
    baseline_of,
    block_marks,
    hover,
    level,
    plain_layout,
    points_of,
    ratio_marks,
    round_ticks,
    upright,
    verdict_marks,
)
from reports.quantities import JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT
from reports.wording import figure, listed, name, times, with_interval

RATIO_AXIS = "expansion ratio"
SERIES_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon")


@dataclass(frozen=True)
class Plot:
    """`lede` is the sentence under the title; `alt` says what is seen; `figure` has plotly's data and layout."""

    title: str
    lede: str
    alt: str
    figure: Json | None
    absent: str | None = None  # why there is no figure


def ratio_plot(analysis: Analysis, workload: str, key: str, *, title: str | None = None) -> Plot:
    """A quantity's ratio to the baseline over the expansion ratio, intervals and single blocks with it."""
    quantity = QUANTITIES[key]
    title = title or quantity.title
    points = points_of(analysis, workload, key)
    if not points:
        return Plot(title, "", "", None, _why_absent(analysis, workload, key))
    baseline = baseline_of(analysis)
    median = analysis.cell(baseline.info.label, workload).values[key].median if baseline else None
    lede = f"{quantity.better.capitalize()} is better." + (
        f" Baseline: {figure(median)} {quantity.unit}." if median else ""
    )
    data = [block_marks(points), *verdict_marks(points, quantity.unit)]
    if baseline:
        data.append(baseline_mark(baseline, 1.0))
    layout = plain_layout(RATIO_AXIS, "ratio to the baseline")
    layout["shapes"] = [level(1.0)]
    ratios = [ratio for p in points for ratio in p.comparison.ratios.values()]
    ends = [end for p in points for end in (p.comparison.low, p.comparison.high) if end is not None]
    # Two blocks may give an interval from 0.02 to 20, in which no ratio could be read any more.
    shown = [min(max(end, min(ratios) / 1.5), max(ratios) * 1.5) for end in ends]
    if shown != ends:
        lede += " Intervals go on beyond the axis."
    layout["yaxis"] |= {"range": at_least(0.9, 1.1, [*ratios, *shown]), "tickformat": ".2f"}
    said = [
        f"{name(p.configuration.info)}: {with_interval(p.comparison)}, {p.comparison.verdict or 'no verdict'}"
        for p in points
    ]
    return Plot(title, lede, f"{title}, ratio to the baseline: {'; '.join(said)}.", {"data": data, "layout": layout})


def latency_plot(analysis: Analysis, workload: str, which: str) -> Plot:
    """Latency of single requests by configuration: percentiles 5, 25, 50, 75, 95 as a box, 99 as a point."""
    title = f"{which}, request by request"
    found: list[tuple[str, dict[int, float]]] = []
    for configuration in analysis.configurations:
        cell = analysis.cell(configuration.info.label, workload)
        percentiles = cell.ttft_ms if which == "TTFT" else cell.tpot_ms
        if percentiles:
            found.append((name(configuration.info), percentiles))
    if not found:
        return Plot(title, "", "", None, "no completed request has one")
    names = [html.escape(label) for label, _ in found]
    column = {p: [values[p] for _, values in found] for p in found[0][1]}
    box = {
        "type": "box", "orientation": "h", "y": names, "lowerfence": column[5], "q1": column[25], "median": column[50],
        "q3": column[75], "upperfence": column[95], "line": {"color": "var(--accent)", "width": 1.5},
        "fillcolor": "var(--accent-soft)", "whiskerwidth": 0.6, "hoverinfo": "x+y",
    }  # fmt: skip
    tail = {
        "type": "scatter", "mode": "markers", "x": column[99], "y": names, "hovertemplate": "p99 %{x:.4g} ms<extra></extra>",
        "marker": {"symbol": "line-ns", "size": 11, "line": {"width": 2, "color": "var(--muted)"}},
    }  # fmt: skip
    layout = plain_layout("ms", "", height=120 + 30 * len(found))
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "automargin": True}
    said = [f"{label}: median {figure(v[50])} ms, 99th percentile {figure(v[99])} ms" for label, v in found]
    lede = "Box: middle half of the requests; whiskers: 5th to 95th percentile; tick: 99th."
    return Plot(title, lede, f"{title}. {'; '.join(said)}.", {"data": [box, tail], "layout": layout})


def quality_plot(analysis: Analysis, workload: str) -> Plot:
    """Perplexity over cost; the line joins the configurations that no other beats in both."""
    joules = any(c.values[JOULES].median is not None for c in analysis.cells if c.workload == workload)
    cost = QUANTITIES[JOULES if joules else TPOT]
    title = f"{workload}: perplexity against {cost.title}"
    found = []
    for configuration in analysis.configurations:
        quality = configuration.info.quality
        median = analysis.cell(configuration.info.label, workload).values[cost.key].median
        if quality and quality.perplexity and median is not None:
            found.append((median, quality.perplexity, configuration))
    if not found:
        return Plot(title, "", "", None, "no configuration has both a perplexity and this cost")
    front = _front([(x, y) for x, y, _ in found])
    names = [html.escape(name(c.info)) for _, _, c in found]
    line = {
        "type": "scatter", "mode": "lines", "x": [x for x, _ in front], "y": [y for _, y in front], "hoverinfo": "skip",
        "line": {"color": "var(--accent)", "width": 1.5, "dash": "dot"},
    }  # fmt: skip
    marks = {
        "type": "scatter", "mode": "markers+text", "x": [x for x, _, _ in found], "y": [y for _, y, _ in found],
        "text": [html.escape(str(c.info.width)) for _, _, c in found], "textposition": "top right",
        "textfont": {"size": 11, "color": "var(--muted)"}, "customdata": names, "cliponaxis": False,
        "hovertemplate": f"%{{customdata}}<br>%{{x:.4g}} {cost.unit}<br>perplexity %{{y:.4g}}<extra></extra>",
        "marker": {
            "size": 10, "symbol": ["circle" if (x, y) in front else "circle-open" for x, y, _ in found],
            "color": "var(--accent)", "line": {"width": 1.5, "color": "var(--accent)"},
        },
    }  # fmt: skip
    layout = plain_layout(f"{cost.title}, {cost.unit}", "perplexity")
    layout["yaxis"] |= {"type": "log", **round_ticks([y for _, y, _ in found])}
    layout["margin"]["r"] = 36  # room for the last label
    best = listed([name(c.info) for x, y, c in found if (x, y) in front])
    lede = "Lower left is better. Filled: no other configuration is better in both. Labels are widths."
    return Plot(title, lede, f"{title}. Not beaten in both: {best}.", {"data": [line, marks], "layout": layout})


def speedup_plot(analysis: Analysis) -> Plot:
    """What size alone would promise, and what each closed-loop workload got."""
    title = "Promised and realised speed-up"
    baseline = baseline_of(analysis)
    if baseline is None:
        return Plot(title, "", "", None, "the baseline was not started")
    configurations = sorted(analysis.configurations, key=lambda c: c.info.expansion_ratio)
    data = [
        _promise(configurations, "bytes per token", [baseline.info.checkpoint_bytes / c.info.checkpoint_bytes for c in configurations], "solid"),
        _promise(configurations, "FLOPs per token", [baseline.info.parameters / c.info.parameters for c in configurations], "dot"),
    ]  # fmt: skip
    said = []
    closed = [w for w in analysis.info.workloads if speed_quantity(analysis, w) == OUTPUT_TOKENS_PER_S]
    for number, workload in enumerate(closed):
        points = points_of(analysis, workload, OUTPUT_TOKENS_PER_S)
        if points:
            data.append(_realised(points, workload, number))
            said += [f"{workload}, {name(p.configuration.info)}: {with_interval(p.comparison)}" for p in points]
    if not said:
        return Plot(title, "", "", None, "no closed-loop workload has a comparison with the baseline")
    layout = plain_layout(RATIO_AXIS, "speed-up", height=380)
    layout |= {"showlegend": True, "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}}
    layout["shapes"] = [level(1.0)]
    lede = (
        "The lines are what decoding would gain if it were bound by reading the checkpoint's bytes once a token, or by "
        "2 FLOPs a parameter a token; the marks are output tokens/s against the baseline. The lines meet where every "
        "parameter has the same size."
    )
    return Plot(title, lede, f"{title}. {'; '.join(said)}.", {"data": data, "layout": layout})


def order_plot(analysis: Analysis, workload: str) -> Plot:
    """Every trial in the order it was run, against the median of its own configuration: what the machine did meanwhile."""
    key = speed_quantity(analysis, workload)
    title = f"{workload}: {QUANTITIES[key].title} in the order of the run"
    trials = [t for t in analysis.trials if t.workload == workload and key in t.values]
    if not trials:
        return Plot(title, "", "", None, "no trial of this workload is finished")
    medians = {c.label: c.values[key].median for c in analysis.cells if c.workload == workload}
    ratios = [t.values[key] / (medians[t.label] or t.values[key]) for t in trials]
    baseline = [t.label == analysis.info.baseline for t in trials]
    labels = {c.info.label: html.escape(name(c.info)) for c in analysis.configurations}
    marks = {
        "type": "scatter", "mode": "markers", "x": [t.order + 1 for t in trials], "y": ratios,
        "text": [f"{labels[t.label]}, block {t.block + 1}" for t in trials],
        "hovertemplate": "%{text}<br>%{y:.3f} of its median<extra></extra>",
        "marker": {
            "size": 8, "color": ["var(--ink)" if b else "var(--accent)" for b in baseline],
            "symbol": ["diamond" if b else "circle" for b in baseline],
        },
    }  # fmt: skip
    layout = plain_layout("trial", "ratio to its median")
    layout["xaxis"]["showgrid"] = False
    layout["yaxis"] |= {"range": at_least(0.95, 1.05, ratios), "tickformat": ".2f"}
    starts = {t.block: t.order for t in reversed(analysis.trials)}
    layout["shapes"] = [level(1.0), *(upright(order + 0.5) for order in sorted(starts.values())[1:])]
    lede = "Each trial over the median of its own configuration. Diamonds: baseline; vertical lines: blocks."
    alt = f"{title}: {len(trials)} trials between {times(min(ratios))} and {times(max(ratios))} of their configuration's median."
    return Plot(title, lede, alt, {"data": [marks], "layout": layout})


def _why_absent(analysis: Analysis, workload: str, key: str) -> str:
    values = [c.values[key] for c in analysis.cells if c.workload == workload and c.label != analysis.info.baseline]
    reasons = [v.reason or (v.comparison.reason if v.comparison else None) for v in values]
    return next((reason for reason in reasons if reason), "there is nothing to compare")


def _promise(configurations: list[ConfigurationFigures], label: str, gains: list[float], dash: str) -> Json:
    return {
        "type": "scatter", "mode": "lines", "name": label, "x": [c.info.expansion_ratio for c in configurations], "y": gains,
        "line": {"color": "var(--muted)" if dash == "solid" else "var(--ink)", "width": 2, "dash": dash},
        "hovertemplate": f"{label}: %{{y:.2f}}<extra></extra>",
    }  # fmt: skip


def _realised(points: list[Point], workload: str, number: int) -> Json:
    colour = f"var(--series-{number % 4 + 1})"
    trace = ratio_marks(points)
    trace["error_y"]["color"] = colour
    return trace | {
        "mode": "markers",
        "name": html.escape(workload),
        "text": [hover(p, "tokens/s") for p in points],
        "marker": {"symbol": SERIES_SYMBOLS[number % len(SERIES_SYMBOLS)], "size": 10, "color": colour},
    }


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point undercuts in both coordinates, by the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
