"""Power over time, with the windows over which joules are counted."""

from __future__ import annotations

from collections.abc import Sequence

from base.figures import figure
from reports.analysis.energy.power import PowerFigures
from reports.analysis.records import Analysis, TrialFigures
from reports.document.blocks import Block, Plot, Plots, Prose, Section
from reports.document.chart import Axis, Band, Chart, Marks, ramp
from reports.document.wording import name

GAP_S = 2.0  # drawn between consecutive trials
_POINTED_OUT = 25  # steps of a trial that have a tooltip, at most: the page has its text
_LEDE = (
    "Mean watts in equal steps, from the same counters as the joules. Shaded: the windows; ramps and pauses outside them are not "
    "counted."
)


def timeline_section(analysis: Analysis) -> Section | None:
    """The first block trial by trial, then the configurations of every workload overlaid; None without power."""
    trials = [t for t in analysis.trials if t.power is not None]
    if not trials:
        return None
    first = min(t.block for t in trials)
    in_order = [t for t in trials if t.block == first]
    plots = [
        _overlay(analysis, workload, [t for t in in_order if t.workload == workload])
        for workload in analysis.info.workloads
    ]
    blocks: list[Block] = [Prose(_LEDE, "lede"), Plots([_block(analysis, first, in_order)], abreast=1), Plots(plots)]
    return Section("power", "Power over time", blocks)


def _block(analysis: Analysis, block: int, trials: Sequence[TrialFigures]) -> Plot:
    """One trial after another; the time between trials is cut out, since a run may be resumed on another day."""
    title = f"Block {block + 1}, trial after trial"
    marks, bands, means = [], [], []
    begins = 0.0
    for trial in trials:
        power = trial.power
        if power is None:
            continue
        shift = begins - power.start_s
        label = _label(analysis, trial.label)
        marks.append(
            _line(
                power,
                shift,
                "",
                "ink" if trial.label == analysis.info.baseline else "accent",
                f"{label}, {trial.workload}",
            )
        )
        bands.append(Band(shift, shift + trial.window_s))
        means.append(f"{label}, {trial.workload}: {figure(_mean_in_window(power, trial.window_s))} W")
        begins = marks[-1].x[-1] + GAP_S
    lede = f"{_sources(trials)} The heavy lines are the baseline's. The time between trials is left out."
    axis = Axis("W", (0.0, 1.06 * max(max(m.y) for m in marks)))
    chart = Chart(Axis("s", grid=False), axis, marks, bands=bands, height=260)
    return Plot(title, lede, f"{title}: mean power in the windows: {'; '.join(means)}.", chart)  # fmt: skip


def _overlay(analysis: Analysis, workload: str, trials: Sequence[TrialFigures]) -> Plot:
    """A workload's trials of one block, each from the start of its window."""
    title = f"{workload}: power from the start of the window"
    order = {label: number for number, label in enumerate(analysis.info.labels)}
    found = sorted(((t, t.power) for t in trials if t.power), key=lambda pair: order.get(pair[0].label, 0))
    if not found:
        return Plot(title, absent="no trial of the first block kept its power")
    marks = [
        _line(
            power,
            0.0,
            _label(analysis, trial.label),
            "ink" if trial.label == analysis.info.baseline else ramp(order.get(trial.label, 0), len(order)),
            _label(analysis, trial.label),
        )
        for trial, power in found
    ]
    longest = max(trial.window_s for trial, _ in found)
    means = [
        f"{_label(analysis, t.label)}: {figure(_mean_in_window(p, t.window_s))} W for {figure(t.window_s)} s"
        for t, p in found
    ]
    axis = Axis("W", (0.0, 1.06 * max(max(m.y) for m in marks)))
    chart = Chart(Axis("s"), axis, marks, bands=[Band(0.0, longest)])
    return Plot(title, "", f"{title}. {'; '.join(means)}.", chart)


def _line(power: PowerFigures, shift: float, series: str, colour: str, label: str) -> Marks:
    """A step for each mean, held to its end."""
    x = [power.start_s + shift + number * power.step_s for number in range(len(power.watts) + 1)]
    y = [*power.watts, power.watts[-1]]
    every = -(-len(y) // _POINTED_OUT)
    hover = ["" if number % every else f"{label}\n{figure(watts)} W" for number, watts in enumerate(y)]
    return Marks(x, y, series, colour, line="solid", width=2.4 if colour == "ink" else 1.2, steps=True, hover=hover)


def _mean_in_window(power: PowerFigures, window_s: float) -> float:
    inside = [w for n, w in enumerate(power.watts) if 0 <= power.start_s + (n + 0.5) * power.step_s <= window_s]
    return sum(inside or power.watts) / len(inside or power.watts)


def _label(analysis: Analysis, label: str) -> str:
    return next((name(c.info) for c in analysis.configurations if c.info.label == label), label)


def _sources(trials: Sequence[TrialFigures]) -> str:
    sources = sorted({t.power.source for t in trials if t.power})
    measured = all(t.power.measured for t in trials if t.power)
    return f"Source: {', '.join(sources)}{'' if measured else ', modelled and not measured'}."
